"""Is a path on this machine a file that can be read to its end?

A pipe keeps its reader waiting, and a device has no end. Anything may have been put in place of a file.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

#: The errors of opening something else than a file: a folder, a pipe or a device, a link.
NO_FILE = frozenset({errno.EISDIR, errno.ESPIPE, errno.ELOOP, errno.ENXIO})


def require_file(path: Path) -> None:
    """Raise `OSError` if the path is not that of a file, but for example of a pipe or a device."""
    require_file_mode(path, path.stat().st_mode)


def require_file_mode(path: str | Path, mode: int) -> None:
    """Raise `OSError` if this mode is not that of a file."""
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.ESPIPE, "it is a pipe or a device, not a file", str(path))
