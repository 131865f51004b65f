"""Which folder of journals is this process's alone, and which were left behind by processes that ended?

Several processes of one machine may work on one input file at once, so each keeps its journals apart. A lock
of the kernel says whose folder is still in use: it ends with its process, however that ends. So the folder
must be on a disk of this machine, never on a mount. What journals hold is not known here.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from batchscore.output.locks.flock import ALONE, SYSTEM, closed, locked, still_named
from batchscore.stores.errors import explain_errors

SUFFIX = ".lock"
_BEGUN = ".begun"


@dataclass(frozen=True, slots=True)
class Claim:
    """A folder that is ours while `descriptor`, which holds the lock, is open."""

    folder: Path
    lock: Path
    descriptor: int

    def give_up(self) -> None:
        """Let go of the folder; where nothing stands in it, nothing is left of it."""
        with suppress(OSError):
            self.folder.rmdir()
        if not self.folder.exists():
            # While it is still locked: who waits for it will see that it has no name any more.
            with suppress(OSError):
                self.lock.unlink()
        closed(self.descriptor)
        with suppress(OSError):
            self.lock.parent.rmdir()


def claimed(home: Path) -> Claim:
    """Claim a new folder below `home`; raises `OutputError` where the disk refuses."""
    token = f"{os.getpid()}-{secrets.token_hex(4)}"
    lock = home / f"{token}{SUFFIX}"
    begun = home / f"{token}{_BEGUN}"
    with explain_errors(home, "write"):
        while True:
            # Another process that ends takes the empty folder along, maybe just now.
            with suppress(FileNotFoundError):
                home.mkdir(parents=True, exist_ok=True, mode=0o700)
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
                descriptor = os.open(begun, flags, 0o600)
                break
        # It gets its name once it is locked, so that nobody takes it for one that was left behind.
        if SYSTEM.flock is not None:
            with suppress(OSError):  # without locks, what a killed process leaves is not taken over
                locked(descriptor, ALONE, SYSTEM)
        begun.replace(lock)
    return Claim(home / token, lock, descriptor)


def left_behind(home: Path) -> Iterator[Claim]:
    """Give the folders of processes that have ended, each held while it is looked at."""
    if SYSTEM.flock is None or not home.is_dir():
        return
    for lock in sorted(home.glob(f"*{SUFFIX}")):
        try:
            descriptor = os.open(lock, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError:
            continue
        claim = Claim(lock.with_suffix(""), lock, descriptor)
        free = False
        with suppress(OSError):
            free = locked(descriptor, ALONE, SYSTEM)
        if not free or not still_named(descriptor, lock):
            closed(descriptor)
            continue
        try:
            yield claim
        finally:
            claim.give_up()
