"""What does this machine give its processes: file locks, an id of its start, a private temporary folder?"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    SYSTEM_FLOCK: Callable[[int, int], object] | None = None
else:
    SYSTEM_FLOCK = fcntl.flock

#: The operations of flock(2), the same on every system that has it.
SHARED, EXCLUSIVE, NONBLOCKING, UNLOCK = 1, 2, 4, 8


def own_folder() -> Path:
    """Return this user's folder in the temporary folder, and create it if needed.

    Raises `OSError` if there is no temporary folder, or if another user owns a folder of that name: files
    that others can exchange must not be trusted.
    """
    user = os.getuid() if hasattr(os, "getuid") else None
    folder = Path(tempfile.gettempdir()) / f"batchscore-{'user' if user is None else user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if user is not None and (found.st_uid != user or not folder.is_dir() or folder.is_symlink()):
        raise PermissionError(13, "another user owns this folder", str(folder))
    return folder


@cache
def boot_id() -> str:
    """Return the id that the system gave to its latest start; empty if it gives none (only Linux does)."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("utf-8", "replace").strip()
    except OSError:
        return ""
