"""How is a file of ours opened without following a link, and without waiting, whatever was planted?

What a link points to is outside our folders. A path that the user named is another matter: `through_link`.
Anything may be in place of a file: a pipe keeps its reader waiting, and a device has no end.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from batchscore.stores.address import Place

T = TypeVar("T")

#: Tries to create a file whose folder another process may just now remove, or to lock it.
TRIES = 20

#: Bytes of one read of a file that has grown meanwhile.
_READ_BYTES = 2**20

#: Windows has no flag for it.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
#: A pipe in place of a file must not keep us waiting.
_FLAGS = _NO_LINK | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def open_own(path: str | Path, flags: int, mode: int = 0o666) -> int:
    """Return a descriptor of a file of ours; raises `OSError`, also if it is a link, a pipe or a device."""
    if not _NO_LINK:
        refuse_link(path)
    descriptor = os.open(path, flags | _FLAGS, mode)
    try:
        require_file_mode(path, os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def create_within(folder: Path, create: Callable[[], T], *, mode: int = 0o777) -> T:
    """Create the folder, and in it what `create` makes; raises `OSError`.

    Another process that ends may just now remove the folder because it is empty: also between the two steps
    of `mkdir`, which then says that the folder exists.
    """
    for tries_left in reversed(range(TRIES)):
        try:
            folder.mkdir(mode=mode, parents=True, exist_ok=True)
            return create()
        except (FileNotFoundError, FileExistsError):
            if not tries_left:
                raise
    raise AssertionError


def read_own(path: str | Path) -> bytes:
    """Return the content of a file of ours; raises `OSError`, also if it is a link."""
    descriptor = open_own(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        content = os.read(descriptor, size + 1)
        while len(content) != size and (more := os.read(descriptor, _READ_BYTES)):
            content += more
        return content
    finally:
        os.close(descriptor)


def refuse_link(path: str | Path) -> None:
    """Raise `OSError` if the path is a link."""
    if os.path.islink(path):  # noqa: PTH114 - it may be a text
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def real_path(path: str | Path) -> Path:
    """Return the absolute path behind all links; a loop of links stays, where `resolve` raises an error."""
    return Path(os.path.realpath(path))


def through_link(path: Place) -> Place:
    """Return what a path that the user named points to if it is a link: that is read or written."""
    return real_path(path) if isinstance(path, Path) and path.is_symlink() else path


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
