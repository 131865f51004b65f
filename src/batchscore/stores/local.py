"""Is a path on this machine a file that can be read to its end?

A pipe keeps its reader waiting, and a device has no end. Anything may have been put in place of a file.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

#: The errors of opening what is no file of ours: a folder, a pipe or a device, and a link.
NO_FILE = frozenset({errno.EISDIR, errno.ESPIPE, errno.ELOOP, errno.ENXIO})


def refuse_no_file(path: Path) -> None:
    """Raise `OSError` if there is something else than a file at the path, such as a pipe or a device."""
    refuse_mode_of_no_file(path, path.stat().st_mode)


def refuse_mode_of_no_file(path: str | Path, mode: int) -> None:
    """Raise `OSError` if this mode is not that of a file."""
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.ESPIPE, "it is a pipe or a device, not a file", str(path))
