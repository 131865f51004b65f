"""Where are the journals of an output, and how does a run take over those of earlier processes?

They are beside the output if it can hold journals. Otherwise they are on a disk of this machine: in the
scratch folder of the settings, or in this user's own temporary folder. This module knows no parts.

Several processes of one machine may work on one input file at once, so each has its own journals there. A
lock of the kernel shows whose folder is in use: it ends with its process, however that ends. So the folder
must be on a disk of this machine, never on a mount.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import xxhash

from batchscore.errors import OutputError
from batchscore.output.journal import Journals
from batchscore.output.layout import Layout
from batchscore.output.locks.system import SYSTEM, close_quietly, has_name, try_lock
from batchscore.stores import storage
from batchscore.stores.errors import explain_errors
from batchscore.stores.half_written import TEMPORARY
from batchscore.stores.links import create_within, open_own, refuse_link
from batchscore.stores.this_machine import EXCLUSIVE, own_folder
from batchscore.task import TASKS

#: The errors of a file system that can never do something, whatever process tries it.
UNABLE = {
    *(errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS),
    *(errno.EINVAL, errno.ESPIPE, errno.EXDEV, errno.EIO),
}

#: The suffixes of a folder's lock, and of a lock before it is held.
SUFFIX = ".lock"
_NEW = ".begun"


def journal_folder(layout: Layout, scratch: Path | None) -> Path:
    """Return the folder of journals: beside the output, unless it is in a store or `scratch` is given."""
    if scratch is None and isinstance(layout.journals, Path):
        return layout.journals
    return local_folder(layout, scratch, "")


def local_folder(layout: Layout, scratch: Path | None, identity: str) -> Path:
    """Return the folder of an output's journals on a disk of this machine."""
    place = layout.root.absolute() if isinstance(layout.root, Path) else layout.root
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
    answer = TASKS[layout.task].answer
    journals = Journals(journal_folder(layout, scratch), identity, answer)
    journals.find()
    if isinstance(beside, Path) and journals.folder != beside and beside.is_dir():
        take_over(journals, Journals(beside, identity, answer))
    home = None
    with suppress(OutputError):  # without a temporary folder, no worker has left anything there
        home = local_folder(layout, scratch, identity)
    if home is not None:
        take_over_abandoned(journals, home)
    return journals, moved_to


def has_journals(layout: Layout, scratch: Path | None) -> bool:
    """Whether a killed or limited run has left answers in journals."""
    journals = Journals(journal_folder(layout, scratch), "")
    journals.find(tidy=False)
    return bool(journals.present)


def open_shared_journals(
    layout: Layout, scratch: Path | None, identity: str, wanted: Callable[[str], bool], mark: str = ""
) -> tuple[Journals, bool]:
    """Return journals of this process alone, with the wanted ones that ended processes have left.

    Other processes of this machine may work on the same output, and on the same files, at the same time. The
    second value says whether one of them has the same `mark`.
    """
    home = local_folder(layout, scratch, identity)
    same = bool(mark) and is_in_use(home, mark)
    claim = claim_folder(home, mark)
    answer = TASKS[layout.task].answer
    journals = Journals(claim.folder, identity, answer, on_close=claim.release)
    take_over_abandoned(journals, home, wanted)
    return journals, same


def take_over_abandoned(ours: Journals, home: Path, wanted: Callable[[str], bool] = lambda _: True) -> None:
    """Move into ours the wanted journals of workers that have ended."""
    for abandoned in abandoned_folders(home):
        take_over(ours, Journals(abandoned.folder, ours.identity, ours.answer), wanted)


def take_over(ours: Journals, earlier: Journals, wanted: Callable[[str], bool] = lambda _: True) -> None:
    """Move what other journals hold into ours, those whose name is wanted."""
    earlier.find()
    for name in filter(wanted, sorted(earlier.present)):
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
    with explain_errors(folder, "write"):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(b"begun, ")
            try:
                with probe.open("r+b", buffering=0) as file:
                    file.seek(len(b"begun, "))
                    file.write(b"continued")
                probe.replace(other)
                return other.read_bytes() == b"begun, continued"
            except OSError as error:
                # Other errors do not answer the question.
                if error.errno not in UNABLE:
                    raise
                return False
        finally:
            for each in (probe, other):
                with suppress(OSError):
                    each.unlink()


@dataclass(frozen=True, slots=True)
class ClaimedFolder:
    """A folder that is ours while `descriptor`, which holds the lock, is open."""

    folder: Path
    lock: Path
    descriptor: int

    def release(self) -> None:
        """Release the folder; if it is empty, remove it."""
        with suppress(OSError):
            self.folder.rmdir()
        if not self.folder.exists():
            # While it is still locked: a process that waits for it sees that it has no name any more.
            with suppress(OSError):
                self.lock.unlink()
        close_quietly(self.descriptor)
        with suppress(OSError):
            self.lock.parent.rmdir()


def claim_folder(home: Path, mark: str = "") -> ClaimedFolder:
    """Claim a new folder below `home`, whose name ends with `mark`. Raises `OutputError`."""
    token = f"{os.getpid()}-{secrets.token_hex(4)}{mark}"
    lock = home / f"{token}{SUFFIX}"
    new = home / f"{token}{_NEW}"
    with explain_errors(home, "write"):
        refuse_link(home)
        descriptor = create_within(
            home, lambda: open_own(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), mode=0o700
        )
        # The file gets its name after it is locked, so that nobody takes it for an abandoned one.
        if SYSTEM.flock is not None:
            with suppress(OSError):  # without locks, nobody takes over what a killed process leaves
                try_lock(descriptor, EXCLUSIVE, SYSTEM)
        new.replace(lock)
    return ClaimedFolder(home / token, lock, descriptor)


def is_in_use(home: Path, mark: str) -> bool:
    """Whether a running process has a folder whose name ends with `mark`; without locks nobody knows."""
    names = storage.names(home) if SYSTEM.flock is not None and home.is_dir() else []
    for lock in [home / name for name in names if name.endswith(f"{mark}{SUFFIX}")]:
        with suppress(OSError):  # it was removed meanwhile, or is a link
            descriptor = open_own(lock, os.O_RDWR)
            try:
                if not try_lock(descriptor, EXCLUSIVE, SYSTEM):
                    return True
            finally:
                close_quietly(descriptor)
    return False


def abandoned_folders(home: Path) -> Iterator[ClaimedFolder]:
    """Yield the folders of ended processes, each claimed until the next."""
    if SYSTEM.flock is None or not home.is_dir():
        return
    for lock in [home / name for name in storage.names(home) if name.endswith(SUFFIX)]:
        try:
            descriptor = open_own(lock, os.O_RDWR)
        except OSError:  # it was removed meanwhile, or is a link
            continue
        claim = ClaimedFolder(lock.with_suffix(""), lock, descriptor)
        free = False
        with suppress(OSError):
            free = try_lock(descriptor, EXCLUSIVE, SYSTEM)
        if not free or not has_name(descriptor, lock):
            close_quietly(descriptor)
            continue
        try:
            yield claim
        finally:
            claim.release()
