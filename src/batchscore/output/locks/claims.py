"""Which folder of journals belongs to this process, and which did ended processes leave?

Several processes of one machine may work on one input file at once, so each has its own journals. A lock of
the kernel shows whose folder is in use: it ends with its process, however that ends. So the folder must be on
a disk of this machine, never on a mount. This module does not know what journals hold.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from batchscore.output.locks.flock import EXCLUSIVE, SYSTEM, close_quietly, has_name, try_lock
from batchscore.stores.errors import explain_errors

SUFFIX = ".lock"
_NEW = ".begun"


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


def claim_folder(home: Path) -> ClaimedFolder:
    """Claim a new folder below `home`; raises `OutputError` if the disk fails."""
    token = f"{os.getpid()}-{secrets.token_hex(4)}"
    lock = home / f"{token}{SUFFIX}"
    new = home / f"{token}{_NEW}"
    with explain_errors(home, "write"):
        while True:
            # Another process that ends may just now remove the empty folder.
            with suppress(FileNotFoundError):
                home.mkdir(parents=True, exist_ok=True, mode=0o700)
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
                descriptor = os.open(new, flags, 0o600)
                break
        # The file gets its name after it is locked, so that nobody takes it for an abandoned one.
        if SYSTEM.flock is not None:
            with suppress(OSError):  # without locks, nobody takes over what a killed process leaves
                try_lock(descriptor, EXCLUSIVE, SYSTEM)
        new.replace(lock)
    return ClaimedFolder(home / token, lock, descriptor)


def abandoned_folders(home: Path) -> Iterator[ClaimedFolder]:
    """Yield the folders of ended processes, each claimed until the next."""
    if SYSTEM.flock is None or not home.is_dir():
        return
    for lock in sorted(home.glob(f"*{SUFFIX}")):
        try:
            descriptor = os.open(lock, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError:
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
