"""What is a file called while it is being written, and what becomes of it if its process is killed?

It knows neither its content nor its final name. Such files have names with a leading dot, which other tools
skip.
"""

from __future__ import annotations

import os
import platform
import secrets
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import xxhash

from batchscore.stores.address import Place, StoredPath
from batchscore.stores.links import open_own
from batchscore.stores.this_machine import EXCLUSIVE, NONBLOCKING, SYSTEM_FLOCK, boot_id

_TRIES = 5

#: The prefix of files that are being written.
TEMPORARY = ".batchscore-"

#: After this time a half-written file is abandoned, even in a folder that other runs share.
STALE_SECONDS = 3600.0


def open_temporary(folder: Path | str) -> tuple[str, int, int]:
    """Return a new file, open and locked, and a second descriptor that holds the lock until it is closed.

    Its name says which machine locks it. It is short: the real one may be as long as the system allows.
    """
    for tries_left in reversed(range(_TRIES)):
        temporary = f"{folder}{os.sep}{_temporary_prefix()}{secrets.token_hex(8)}.tmp"
        descriptor = open_own(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        if SYSTEM_FLOCK is None:
            break
        try:
            SYSTEM_FLOCK(descriptor, EXCLUSIVE | NONBLOCKING)
            # Some mounts count no names, hence the bound.
            lost = os.fstat(descriptor).st_nlink == 0
        except BlockingIOError:
            lost = True  # to `sweep_abandoned` of another process, between the two calls
        except OSError:
            break  # a file system without locks
        if not lost or not tries_left:
            return temporary, descriptor, os.dup(descriptor)
        os.close(descriptor)
    return temporary, descriptor, -1


@cache
def _temporary_prefix() -> str:
    machine = boot_id() or platform.node()
    return f"{TEMPORARY}{xxhash.xxh32_hexdigest(machine.encode())}-"


def sweep(folder: Place, *, older_seconds: float = 0.0) -> None:
    """Remove the half-written files of killed processes.

    The owner of a folder's lock removes all of them; in a shared folder pass `older_seconds`, by the file
    system's times, because others may be writing.
    """
    if isinstance(folder, StoredPath):
        return  # a store has no half-written files
    with suppress(OSError):
        for path in folder.glob(f"{TEMPORARY}*"):
            with suppress(OSError):
                if not older_seconds or time.time() - path.stat().st_mtime > older_seconds:
                    path.unlink()


def sweep_abandoned(folder: Place) -> None:
    """Remove the half-written files of killed processes in a folder where others may be writing.

    On this machine a lock shows that a file is still being written; files of others count by their age.
    """
    sweep(folder, older_seconds=STALE_SECONDS)
    if isinstance(folder, StoredPath) or SYSTEM_FLOCK is None:
        return
    for path in folder.glob(f"{_temporary_prefix()}*.tmp"):
        with suppress(OSError):
            descriptor = open_own(path, os.O_RDWR)
            try:
                SYSTEM_FLOCK(descriptor, EXCLUSIVE | NONBLOCKING)
                path.unlink()
            finally:
                os.close(descriptor)
