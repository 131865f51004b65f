"""Can journals stand in a folder: can a file that is there be gone on with, and be given another name?

Tried out on a file of its own, since no name of a mount tells: those over object stores often do neither.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from batchscore.write.storage import TEMPORARY, told

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
    with told(folder, "write"):
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
