"""How do bytes get into a file that is open?

It collects small pieces, writes what a call has left over, and takes the digest on the way.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

import xxhash

from batchscore.errors import BrokenInvariant
from batchscore.stores.address import Place
from batchscore.stores.errors import explain_errors

#: Errors of a file system that cannot force a file or a folder to its device.
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EROFS}

#: Bytes and pieces that one call writes (Linux: IOV_MAX).
_WRITE_BYTES = 1 << 20
_MOST_PIECES = 1024


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that was written: its length in bytes, and its digest as `xxh3:<32 hex digits>`."""

    bytes: int
    digest: str


class Sink:
    """A file-like object for a file that is being written.

    It collects a megabyte and writes it in one call, which takes a third of the time of one call for each
    line. Any call may raise `OutputError` if the system refuses to write.
    """

    def __init__(self, descriptor: int, path: Place) -> None:
        self._descriptor = descriptor
        self._path = path
        self._position = 0
        self._digest = xxhash.xxh3_128()
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self.closed = False

    def write(self, data: bytes | memoryview) -> int:
        """Append `data`; return its length in bytes."""
        if self.closed:
            raise BrokenInvariant(f"{self._path} was written to after it was closed; please report this")
        # Copy: the caller may reuse its buffer as soon as this returns.
        piece = data if isinstance(data, bytes) else bytes(data)
        self._digest.update(piece)
        self._position += len(piece)
        self._pending.append(piece)
        self._pending_bytes += len(piece)
        if self._pending_bytes >= _WRITE_BYTES or len(self._pending) == _MOST_PIECES:
            self.flush()
        return len(piece)

    def tell(self) -> int:
        """Return the bytes written so far."""
        return self._position

    def flush(self) -> None:
        """Write the collected bytes, in as many system calls as needed."""
        pieces, self._pending, self._pending_bytes = self._pending, [], 0
        with explain_errors(self._path, "write"):
            write_pieces(self._descriptor, pieces)

    def sync(self) -> None:
        """Force the bytes so far to the device."""
        self.flush()
        with explain_errors(self._path, "write"):
            force(self._descriptor)

    def close(self) -> None:
        """Close the file; network mounts may report a failed write only here."""
        if not self.closed:
            self.closed = True
            # A later write must hit a closed descriptor, never another file with the same number.
            try:
                self.flush()
            finally:
                descriptor, self._descriptor = self._descriptor, -1
                with explain_errors(self._path, "write"):
                    os.close(descriptor)

    def result(self) -> WrittenFile:
        """Return the length and digest of the bytes so far."""
        return WrittenFile(self._position, f"xxh3:{self._digest.hexdigest()}")


def force(descriptor: int) -> None:
    """Force a file or folder to its device, if the file system can do that."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def write_pieces(descriptor: int, pieces: list[bytes]) -> None:
    """Write pieces in order, in as few system calls as possible; raises `OSError`."""
    while pieces:
        # A call may write only a part: near a limit, or above 2 GiB. Windows has no `writev`.
        if hasattr(os, "writev"):
            written = os.writev(descriptor, pieces[:_MOST_PIECES])
        else:
            written = os.write(descriptor, b"".join(pieces))
        if written == 0 and any(pieces):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        pieces = unwritten(pieces, written)


def unwritten(pieces: list[bytes], written: int) -> list[bytes]:
    """Return the rest of the pieces after `written` bytes."""
    if written == sum(map(len, pieces)):  # as nearly always
        return []
    for place, piece in enumerate(pieces):
        if written < len(piece):
            return [piece[written:], *pieces[place + 1 :]]
        written -= len(piece)
    return []
