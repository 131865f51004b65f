"""What can this file system do for a lock, and how is one file of it locked?

It must not know who holds what. Several may call each of these at the same moment, and a folder may vanish
in between.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from batchscore.stores.errors import explain_errors
from batchscore.stores.storage import TEMPORARY

try:
    import fcntl
except ImportError:  # Windows
    SYSTEM_FLOCK: Callable[[int, int], object] | None = None
else:
    SYSTEM_FLOCK = fcntl.flock

#: Of flock(2): with others, alone, without waiting, and no more; the same on every system that has it.
SHARED, ALONE, _NOW, NO_MORE = 1, 2, 4, 8

#: What a file system without locks says.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}

#: So often is tried again what can only last a moment.
TRIES = 20


@dataclass(frozen=True, slots=True)
class Locking:
    """How locks are held: `flock` is the system's, `None` where it has none.

    A holder gives a sign of life every `beat_seconds`; where only these tell, it counts as dead
    `stale_seconds` after the last, which leaves room for mounts that show changes two minutes late. Who
    succeeds it waits `settle_seconds` to see whether somebody else did at the same time.
    """

    flock: Callable[[int, int], object] | None = SYSTEM_FLOCK
    beat_seconds: float = 30.0
    stale_seconds: float = 300.0
    settle_seconds: float = 1.0


SYSTEM = Locking()


def probed(folder: Path, locking: Locking) -> tuple[bool, float]:
    """Return whether a folder's file system has locks, and by how many seconds its clock is ahead."""
    probe = folder / f"{TEMPORARY}{secrets.token_hex(8)}.tmp"
    descriptor = opened(probe)
    try:
        ahead = os.fstat(descriptor).st_mtime - time.time()
        try:
            return locking.flock is not None and locked(descriptor, ALONE, locking), ahead
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return False, ahead
            with explain_errors(folder, "lock"):
                raise
    finally:
        closed(descriptor)
        with suppress(OSError):
            probe.unlink()
    return False, 0.0


def opened(path: Path) -> int:
    """Return a descriptor of the file, which is made with its folders."""
    with explain_errors(path.parent, "write"):
        for _ in range(TRIES):
            # A holder that ends takes its empty folder along, maybe just now.
            with suppress(FileNotFoundError, FileExistsError):
                path.parent.mkdir(parents=True, exist_ok=True)
                return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)


def created(path: Path, record: bytes) -> bool:
    """Make the file with this record; `False` where there is one."""
    with explain_errors(path, "write"):
        try:
            with path.open("xb") as file:
                file.write(record)
        except FileExistsError:
            return False
        except FileNotFoundError:
            with suppress(FileNotFoundError, FileExistsError):
                path.parent.mkdir(parents=True, exist_ok=True)
            return False
        except OSError:
            # Half a record would stand in everybody's way.
            path.unlink(missing_ok=True)
            raise
    with suppress(OSError):
        # Some mounts let two create the same name; the last of them has it.
        return path.read_bytes() == record
    return False


def locked(descriptor: int, how: int, locking: Locking) -> bool:
    """Lock a file, as far as that needs no waiting; raises `OSError` where there are no locks."""
    assert locking.flock is not None
    try:
        locking.flock(descriptor, how | _NOW)
    except BlockingIOError:
        return False
    return True


def closed(descriptor: int) -> None:
    """Close a file of which nothing is wanted any more, so that it may fail."""
    with suppress(OSError):
        os.close(descriptor)


def still_named(descriptor: int, path: Path) -> bool:
    """Whether a file still stands under its name: its last holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
