"""Which locks does this file system have, and how is one file locked?

It does not know who holds a lock. Several processes may call each function at the same moment, and a folder
may vanish in between.
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
from batchscore.stores.half_written import TEMPORARY
from batchscore.stores.links import open_own, read_own
from batchscore.stores.this_machine import EXCLUSIVE, NONBLOCKING, SYSTEM_FLOCK

#: The errors of a file system without locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}

#: How often an attempt is repeated that can fail for a moment only.
TRIES = 20


@dataclass(frozen=True, slots=True)
class Locking:
    """How locks are held: `flock` is the system's function, `None` if it has none.

    A holder writes a heartbeat every `beat_seconds`. If only heartbeats show whether it lives, it counts as
    dead `stale_seconds` after the last one; some mounts show changes two minutes late. Its successor waits
    `settle_seconds` to see whether another process succeeded it at the same time.
    """

    flock: Callable[[int, int], object] | None = SYSTEM_FLOCK
    beat_seconds: float = 30.0
    stale_seconds: float = 300.0
    settle_seconds: float = 1.0


SYSTEM = Locking()


def probe_locks(folder: Path, locking: Locking) -> tuple[bool, float]:
    """Return whether a folder's file system has locks, and by how many seconds its clock is ahead."""
    probe = folder / f"{TEMPORARY}{secrets.token_hex(8)}.tmp"
    descriptor = open_or_create(probe)
    try:
        ahead = os.fstat(descriptor).st_mtime - time.time()
        with explain_errors(folder, "lock"):
            try:
                return locking.flock is not None and try_lock(descriptor, EXCLUSIVE, locking), ahead
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
        return False, ahead
    finally:
        close_quietly(descriptor)
        with suppress(OSError):
            probe.unlink()


def open_or_create(path: Path) -> int:
    """Return a descriptor of the file, which is created with its folders."""
    with explain_errors(path.parent, "write"):
        for tries_left in reversed(range(TRIES)):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                return open_own(path, os.O_RDWR | os.O_CREAT)
            except (FileNotFoundError, FileExistsError):
                # A holder that ends may just now remove its empty folder.
                if not tries_left:
                    raise
    raise AssertionError


def create_exclusively(path: Path, record: bytes) -> bool:
    """Create the file with this record; return `False` if it exists."""
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
            # Half a record would keep everybody away.
            path.unlink(missing_ok=True)
            raise
    with suppress(OSError):
        # Some mounts let two processes create the same name; the last one has it.
        return read_own(path) == record
    return False


def try_lock(descriptor: int, operation: int, locking: Locking) -> bool:
    """Lock a file if that needs no waiting; raises `OSError` if there are no locks."""
    assert locking.flock is not None
    try:
        locking.flock(descriptor, operation | NONBLOCKING)
    except BlockingIOError:
        return False
    return True


def close_quietly(descriptor: int) -> None:
    """Close a file that is not needed any more; errors do not matter."""
    with suppress(OSError):
        os.close(descriptor)


def has_name(descriptor: int, path: Path) -> bool:
    """Whether an open file still has its name: its last holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
