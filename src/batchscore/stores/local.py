"""Is a path on this machine a file that can be read to its end?

A pipe keeps its reader waiting, and a device has no end. Anything may have been put in place of a file.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def refuse_no_file(path: Path) -> None:
    """Raise `OSError` if there is something else than a file at the path, such as a pipe or a device."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.ESPIPE, "it is a pipe or a device, not a file", str(path))
