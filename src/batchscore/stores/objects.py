"""What stands at a place in a store, and how are its bytes read, written and removed?

Every failure is a `StoreFailure`, or a `FileNotFoundError` where nothing stands there. Reading is by
ranges of growing size, each asked for while the one before is used, so that memory is bounded.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from batchscore.stores.address import StoredPath
from batchscore.stores.connect import file_system
from batchscore.stores.failures import told

#: Bytes of the first range and of the largest: a look at a head costs little, a whole file few requests.
_FIRST_RANGE = 256 * 1024
_LARGEST_RANGE = 8 * 1024 * 1024

Kind = Literal["file", "folder"]


@dataclass(frozen=True, slots=True)
class Entry:
    """What a folder of a store shows; `size` is in bytes, of a file."""

    name: str
    kind: Kind
    size: int


def look(place: StoredPath) -> Entry | None:
    """Return what stands at a place, `None` where nothing does; an empty folder is nothing."""
    with told(place):
        return _entry(file_system(place).get_file_info(place.inner))


def entries(place: StoredPath) -> list[Entry]:
    """Return what a folder shows, in no order; nothing where there is none.

    A listing may be older than the latest write.
    """
    import pyarrow.fs as pafs  # noqa: PLC0415

    # Google's is asked for all that lies below: its folders are told by nothing but their files' names.
    deep = place.scheme == "gs"
    with told(place):
        selected = pafs.FileSelector(place.inner, recursive=deep, allow_not_found=True)
        found = file_system(place).get_file_info(selected)
    shown: dict[tuple[str, Kind], Entry] = {}
    for info in found:
        name, below, _ = info.path[len(place.inner) + 1 :].partition("/")
        entry = Entry(name, "folder", 0) if below else _entry(info)
        if entry is not None and entry.name:
            shown[entry.name, entry.kind] = entry
    return list(shown.values())


def put(place: StoredPath, blocks: Iterable[bytes]) -> None:
    """Write an object, from its start to its end; what stood there is replaced when the last byte is there.

    Stores know no "never mind": a writer that is given up is an object that ends there. So where the
    blocks themselves fail, what was written is removed again, and with it what stood there before.
    """
    with told(place):
        # By its suffix pyarrow would compress it.
        out = file_system(place).open_output_stream(place.inner, compression=None)
        try:
            for block in blocks:
                out.write(block)
        except BaseException:
            with suppress(Exception):
                out.close()
            with suppress(Exception):
                remove(place)
            raise
        out.close()


def remove(place: StoredPath) -> None:
    """Remove an object; raises `FileNotFoundError` where there is none."""
    # Azure's library asks for a lease first, and where there is nothing it asks again for seconds.
    if place.scheme == "abfss" and look(place) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(place))
    with told(place):
        file_system(place).delete_file(place.inner)


def _entry(info: Any) -> Entry | None:
    import pyarrow.fs as pafs  # noqa: PLC0415

    if info.type is pafs.FileType.NotFound:
        return None
    folder = info.type is pafs.FileType.Directory
    return Entry(info.base_name, "folder" if folder else "file", 0 if folder else info.size)


class StoredFile(io.RawIOBase):
    """An object opened for reading at any place, as readers of Parquet need; `read` gives what was asked."""

    def __init__(self, place: StoredPath) -> None:
        super().__init__()
        self._place = place
        with told(place):
            self._file = file_system(place).open_input_file(place.inner)

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; empty at the end."""
        with told(self._place):
            data: bytes = self._file.read(None if size < 0 else size)
            return data

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def seekable(self) -> bool:
        """Return that it is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place in it."""
        position: int = self._file.seek(offset, whence)
        return position

    def tell(self) -> int:
        """Return the place where the next bytes are read."""
        position: int = self._file.tell()
        return position

    def close(self) -> None:
        """Close it; nothing is lost by a failure here."""
        if not self.closed:
            super().close()
            with told(self._place):
                self._file.close()


class StoredStream(io.RawIOBase):
    """An object read from its start to its end, one range ahead of who reads.

    Memory: two ranges, of at most 8 MB each.
    """

    def __init__(self, place: StoredPath) -> None:
        super().__init__()
        self._file = StoredFile(place)
        self._range = _FIRST_RANGE
        self._begun = False
        self._at_hand = memoryview(b"")
        self._ahead: Future[bytes] | None = None
        self._thread: ThreadPoolExecutor | None = None

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes: `size` of them, fewer only at the end."""
        parts: list[memoryview] = []
        left = size if size >= 0 else sys.maxsize
        while left:
            if not self._at_hand:
                self._at_hand = memoryview(self._next())
                if not self._at_hand:
                    break
            parts.append(self._at_hand[:left])
            self._at_hand = self._at_hand[left:]
            left -= len(parts[-1])
        return b"".join(parts)

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer, as `io.BufferedReader` wishes."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _next(self) -> bytes:
        data = self._file.read(self._range) if self._ahead is None else self._ahead.result()
        self._range = min(2 * self._range, _LARGEST_RANGE)
        if self._begun and data:  # who looks at the head alone asks for nothing more
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, "batchscore-read-ahead")
            self._ahead = self._thread.submit(self._file.read, self._range)
        self._begun = True
        return data

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def close(self) -> None:
        """Close it, once the range that is on its way is here."""
        if not self.closed:
            super().close()
            if self._thread is not None:
                self._thread.shutdown(cancel_futures=True)
            self._file.close()


def chunks(place: StoredPath, size: int) -> Iterator[bytes]:
    """Yield the bytes of an object."""
    with StoredStream(place) as stream:
        while block := stream.read(size):
            yield block
