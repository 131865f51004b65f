"""Where are the journals of an output, and how does a run take over those of earlier processes?

They are beside the output if it can hold journals. Otherwise they are on a disk of this machine: in the
scratch folder of the settings, or in this user's own temporary folder. This module knows no parts.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import xxhash

from batchscore.output.journal import Journals
from batchscore.output.layout import Layout
from batchscore.output.locks.claims import abandoned_folders, claim_folder
from batchscore.stores.errors import explain_errors
from batchscore.stores.storage import TEMPORARY, own_folder

#: The errors of a file system that can never do something, whatever process tries it.
UNABLE = {
    errno.EPERM,
    errno.EACCES,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EINVAL,
    errno.ESPIPE,
    errno.EXDEV,
    errno.EIO,
}


def journal_folder(layout: Layout, scratch: Path | None) -> Path:
    """Return the folder of journals: beside the output, unless it is in a store or `scratch` is given."""
    if scratch is None and isinstance(layout.journals, Path):
        return layout.journals
    return local_folder(layout, scratch, "")


def local_folder(layout: Layout, scratch: Path | None, identity: str) -> Path:
    """Return the folder of an output's journals on a disk of this machine."""
    root = layout.root
    place = str(root.absolute() if isinstance(root, Path) else root)
    text = f"{place}\n{layout.task}{identity}"
    name = xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogateescape"))
    return scratch_folder(scratch) / f"journal-{name}"


def scratch_folder(chosen: Path | None) -> Path:
    """Return the chosen folder, or else this user's own temporary one."""
    if chosen is not None:
        return chosen
    with explain_errors(Path("the temporary folder"), "use"):
        return own_folder()


def open_journals(layout: Layout, scratch: Path | None, identity: str) -> tuple[Journals, str]:
    """Return the journals of an output that this run has for itself, with those of killed runs.

    If the output cannot hold journals, the text names the folder that holds them instead.
    """
    beside, moved_to = layout.journals, ""
    if scratch is None and isinstance(beside, Path) and not can_hold_journals(beside.parent):
        scratch = scratch_folder(None)
        moved_to = str(scratch)
    journals = Journals(journal_folder(layout, scratch), identity)
    journals.find()
    if isinstance(beside, Path) and journals.folder != beside and beside.is_dir():
        take_over(journals, Journals(beside, identity))
    return journals, moved_to


def open_shared_journals(
    layout: Layout, scratch: Path | None, identity: str, stems: Iterable[str]
) -> Journals:
    """Return journals of this process alone, with those that ended processes have left of these files.

    Other processes of this machine may work on the same output, and on the same files, at the same time.
    """
    home = local_folder(layout, scratch, identity)
    claim = claim_folder(home)
    journals = Journals(claim.folder, identity, on_close=claim.release)
    wanted = set(stems)
    for abandoned in abandoned_folders(home):
        take_over(journals, Journals(abandoned.folder, identity), wanted)
    return journals


def take_over(ours: Journals, earlier: Journals, stems: set[str] | None = None) -> None:
    """Move what other journals hold into ours; only of the files with these stems, if given."""
    earlier.find()
    for name in sorted(earlier.present):
        if stems is not None and name.rpartition("-")[0] not in stems:
            continue
        entries = earlier.replay(name)
        if entries:
            ours.replay(name)  # its own entries stay
            ours.append(name, list(entries.values()), earlier.spent[name])
        earlier.remove(name)
    earlier.close()


def can_hold_journals(folder: Path) -> bool:
    """Whether files in this folder can be appended to and renamed; it is created. Raises `OutputError`."""
    probe = folder / f"{TEMPORARY}{secrets.token_hex(8)}.tmp"
    other = probe.with_name(f"{TEMPORARY}{secrets.token_hex(8)}.tmp")

    def append() -> bool:
        write_at(probe, 0, len(b"begun, "), b"continued")
        return probe.read_bytes() == b"begun, continued"

    with explain_errors(folder, "write"):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            write_at(probe, os.O_CREAT | os.O_EXCL, 0, b"begun, ")
            return succeeds(append) and succeeds(lambda: probe.replace(other).exists())
        finally:
            for each in (probe, other):
                with suppress(OSError):
                    each.unlink()


def succeeds(attempt: Callable[[], bool]) -> bool:
    """Whether the file system can do something; errors that do not answer this are raised."""
    try:
        return attempt()
    except OSError as error:
        if error.errno not in UNABLE:
            raise
        return False


def write_at(path: Path, flags: int, position: int, data: bytes) -> None:
    """Write at a position of a file."""
    descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_CLOEXEC", 0) | flags, 0o600)
    try:
        if position:
            os.lseek(descriptor, position, os.SEEK_SET)
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
