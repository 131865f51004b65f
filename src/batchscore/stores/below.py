"""How is a file read that data names, and never one outside a folder?

The author of the data chose the name: it may lead anywhere, also through links. So only regular files are
read, and only if they are really below the folder.
"""

# Names from data are strings, which may be no valid paths.
# ruff: noqa: PTH118

from __future__ import annotations

import errno
import os
import posixpath
from dataclasses import dataclass
from pathlib import Path

from batchscore.stores.address import Place, StoredPath
from batchscore.stores.links import open_own
from batchscore.stores.storage import open_raw


@dataclass(frozen=True, slots=True)
class FolderReader:
    """Reads files by names that are relative to `folder`; they must be below `root`.

    With `follow_links` a link may lead out. A file of more than `most` bytes is not read. `outside` says why
    a file elsewhere is not.
    """

    folder: Place
    root: Place
    most: int
    follow_links: bool = False
    outside: str = "it is outside the folder of the input"

    def read(self, name: str) -> bytes:
        """Return a file's content; raises `OSError`, whose `strerror` says why, as the end of a sentence."""
        try:
            if isinstance(self.folder, StoredPath):
                return self.read_stored(self.folder, name)
            return self.read_local(self.folder, name)
        except FileNotFoundError as error:
            raise FileNotFoundError(error.errno, "there is no such file") from None
        except ValueError:  # a null character, or a lone surrogate
            raise FileNotFoundError(errno.ENOENT, "there is no such file") from None

    def read_local(self, folder: Path, name: str) -> bytes:
        """Read a file of this machine."""
        path = os.path.join(folder, name)
        resolve = os.path.abspath if self.follow_links else os.path.realpath
        if not is_below(resolve(path), resolve(self.root)):  # type: ignore[arg-type]
            raise PermissionError(errno.EACCES, self.outside)
        with os.fdopen(open_own(os.path.realpath(path), os.O_RDONLY), "rb") as file:
            self.check(os.fstat(file.fileno()).st_size)
            data = file.read(self.most + 1)
        self.check(len(data))
        return data

    def read_stored(self, folder: StoredPath, name: str) -> bytes:
        """Read a file of a bucket."""
        key = posixpath.normpath(posixpath.join(f"/{folder.key}", name))
        assert isinstance(self.root, StoredPath)
        if not is_below(key, f"/{self.root.key}"):
            raise PermissionError(errno.EACCES, self.outside)
        pieces, size = [], 0
        with open_raw(folder.at(key[1:])) as file:
            while piece := file.read(1 << 20):
                size += len(piece)
                self.check(size)
                pieces.append(piece)
        return b"".join(pieces)

    def check(self, size: int) -> None:
        """Raise `OSError` for a file that is too large."""
        if size > self.most:
            raise OSError(errno.EFBIG, f"it is larger than {self.most // 10**6} MB")


def is_below(path: str, folder: str) -> bool:
    """Whether a normal path is below a folder."""
    return path.startswith(folder.rstrip("/" + os.sep) + os.sep)
