"""Where are the journals of an output kept, and how are those taken over that earlier processes left?

Beside the output where that holds journals, else on a disk of this machine: in the folder that was chosen, or
in this user's own temporary one. It knows no parts.
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
from batchscore.output.locks.claims import Claim, claimed, left_behind
from batchscore.stores.errors import explain_errors
from batchscore.stores.storage import TEMPORARY
from batchscore.stores.temporary import own_folder


def folder_of(layout: Layout, scratch: Path | None) -> Path:
    """Return where journals are kept: beside the output, unless it is in a store or a folder is chosen."""
    if scratch is None and isinstance(layout.journals, Path):
        return layout.journals
    return apart(layout, scratch, "")


def apart(layout: Layout, scratch: Path | None, identity: str) -> Path:
    """Return the folder of an output's journals on a disk of this machine."""
    root = layout.root
    place = str(root.absolute() if isinstance(root, Path) else root)
    text = f"{place}\n{layout.task}{identity}"
    name = xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogateescape"))
    return scratch_folder(scratch) / f"journal-{name}"


def scratch_folder(chosen: Path | None) -> Path:
    """Return the folder that was chosen, else this user's own temporary one."""
    if chosen is not None:
        return chosen
    with explain_errors(Path("the temporary folder"), "use"):
        return own_folder()


def found(layout: Layout, scratch: Path | None, identity: str) -> tuple[Journals, str]:
    """Return the journals of an output that is held, with what killed runs have left of them.

    Where the output cannot hold journals, the text names the folder where they are kept instead.
    """
    beside, moved = layout.journals, ""
    if scratch is None and isinstance(beside, Path) and not holds_journals(beside.parent):
        scratch = scratch_folder(None)
        moved = str(scratch)
    journals = Journals(folder_of(layout, scratch), identity)
    journals.find()
    if isinstance(beside, Path) and journals.folder != beside and beside.is_dir():
        earlier = Journals(beside, identity)
        earlier.find()
        take_over(journals, earlier)
        earlier.close()
    return journals, moved


def found_by_one_of_many(
    layout: Layout, scratch: Path | None, identity: str, stems: Iterable[str]
) -> tuple[Journals, Claim]:
    """Return journals of this process alone, with what processes that ended have left of these files.

    Other processes of this machine may work on the same output, and on the same files, at the same time.
    """
    home = apart(layout, scratch, identity)
    claim = claimed(home)
    journals = Journals(claim.folder, identity)
    wanted = set(stems)
    for left in left_behind(home):
        earlier = Journals(left.folder, identity)
        earlier.find()
        take_over(journals, earlier, wanted)
        earlier.close()
    return journals, claim


def take_over(ours: Journals, earlier: Journals, stems: set[str] | None = None) -> None:
    """Take what other journals hold into ours; of the files with these stems alone, where they are given."""
    for name in sorted(earlier.present):
        if stems is not None and name.rpartition("-")[0] not in stems:
            continue
        entries = earlier.replay(name)
        if entries:
            ours.replay(name)  # what it holds already stays
            ours.append(name, list(entries.values()), earlier.spent[name])
        earlier.remove(name)


#: What a file system says that cannot do what it is asked for, whoever asks.
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


def holds_journals(folder: Path) -> bool:
    """Whether journals can stand in a folder, which is made; raises `OutputError` where nothing can."""
    probe = folder / f"{TEMPORARY}{secrets.token_hex(8)}.tmp"
    other = probe.with_name(f"{TEMPORARY}{secrets.token_hex(8)}.tmp")
    with explain_errors(folder, "write"):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            written(probe, os.O_CREAT | os.O_EXCL, 0, b"begun, ")
            return can(lambda: appended(probe)) and can(lambda: probe.replace(other).exists())
        finally:
            for each in (probe, other):
                with suppress(OSError):
                    each.unlink()


def can(attempt: Callable[[], bool]) -> bool:
    """Whether something can be done; other errors than that it cannot are raised."""
    try:
        return attempt()
    except OSError as error:
        if error.errno not in UNABLE:
            raise
        return False


def appended(probe: Path) -> bool:
    """Go on with a file that is there, as a journal does; whether both stand in it then."""
    written(probe, 0, len(b"begun, "), b"gone on")
    return probe.read_bytes() == b"begun, gone on"


def written(path: Path, how: int, place: int, data: bytes) -> None:
    """Write at a place of a file."""
    descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_CLOEXEC", 0) | how, 0o600)
    try:
        if place:
            os.lseek(descriptor, place, os.SEEK_SET)
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
