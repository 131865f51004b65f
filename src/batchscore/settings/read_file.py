"""How is a small file read that a setting names, such as a schema, messages or a certificate?"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

#: A shell gives the output of a command, as in `<(command)`, under these names.
_OF_A_SHELL = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")


def read_file(name: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a file, below the home folder if its name begins with `~`; raises `OSError`.

    A pipe may have no writer and a device no end, so of these only the pipes of a shell and nothing at all
    (`/dev/null`) are read.
    """
    path = os.path.expanduser(os.fspath(name))  # noqa: PTH111 - that of pathlib raises for an unknown user
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except ValueError:
        raise OSError(errno.EINVAL, "no file can have this name") from None
    is_file = stat.S_ISREG(mode) or stat.S_ISDIR(mode)  # a folder has its own error
    if not is_file and path != os.devnull and not path.startswith(_OF_A_SHELL):
        raise OSError(errno.EINVAL, "it is not a regular file; write its data to a file first")
    return Path(path).read_bytes()
