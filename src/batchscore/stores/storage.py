"""How do bytes come to stand under a name, whole or not at all?

It must not know what the bytes mean: parts, manifests and merged files all pass through here, so that
there is one place where a full disk or a read-only folder is met. A place is a path on this machine or
one in an object store, where a file is one put: nothing is renamed, appended to or locked there.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import xxhash

from batchscore.errors import BrokenInvariant, OutputError
from batchscore.stores import objects
from batchscore.stores.address import Place, StoredPath
from batchscore.stores.failures import StoreFailure
from batchscore.stores.system_errors import ADVICE, AGAIN

#: How the names of files begin that are being written.
TEMPORARY = ".batchscore-"

_READ_BYTES = 1 << 20

#: A file that has been half-written for so long is nobody's any more, whoever shares the folder.
STALE_SECONDS = 3600.0

#: What a file system says that cannot rename, and the devices that said so: there files are written in place.
_NO_RENAME = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV}
_WITHOUT_RENAME: set[int] = set()

#: So much is written by one call, of at most so many pieces (Linux: IOV_MAX).
_WRITE_BYTES = 1 << 20
_MOST_PIECES = 1024


@dataclass(frozen=True, slots=True)
class Written:
    """What stands under a name now: its length in bytes, and its digest as `xxh3:<32 hex digits>`."""

    bytes: int
    digest: str


class Sink:
    """A file that is being written: what takes a file-like object to write to may take this.

    Bytes are gathered until there is a megabyte of them, and then written in one call, which takes a third
    of the time that a call a line takes. What cannot be written raises `OutputError`, there or at the end.
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
        """Append `data`; gives its length in bytes."""
        if self.closed:
            raise BrokenInvariant(f"{self._path} is written to after its end; please report this")
        # Others' buffers may be used again by them as soon as this returns.
        kept = data if isinstance(data, bytes) else bytes(data)
        self._digest.update(kept)
        self._position += len(kept)
        self._pending.append(kept)
        self._pending_bytes += len(kept)
        if self._pending_bytes >= _WRITE_BYTES or len(self._pending) == _MOST_PIECES:
            self.flush()
        return len(kept)

    def tell(self) -> int:
        """Bytes written so far."""
        return self._position

    def flush(self) -> None:
        """Hand to the system what was gathered, however many calls that takes."""
        pieces, self._pending, self._pending_bytes = self._pending, [], 0
        with told(self._path, "write"):
            write_pieces(self._descriptor, pieces)

    def close(self) -> None:
        """End the file; network mounts report here what they could not write."""
        if not self.closed:
            self.closed = True
            # Whoever writes later meets a closed descriptor, never another file under the same number.
            try:
                self.flush()
            finally:
                descriptor, self._descriptor = self._descriptor, -1
                with told(self._path, "write"):
                    os.close(descriptor)

    def written(self) -> Written:
        """Return what was written so far."""
        return Written(self._position, _text(self._digest.digest()))


@contextmanager
def replacing(path: Place) -> Iterator[Sink]:
    """Give a `Sink` whose bytes stand under `path` once the block ends well; else nothing has changed.

    Meanwhile they stand in the same folder under a name with a leading dot, which pandas' globs,
    pyarrow, DuckDB and Spark pass over. Not synced to the device: after a power cut the digest tells.
    What goes to a store waits in a nameless file on this machine until it is whole. Where the file system
    cannot rename, they are written in place, from the start to the end: who fails leaves nothing there, and
    who is killed a beginning, which the digest tells.
    """
    if isinstance(path, StoredPath):
        with _uploaded(path) as sink:
            yield sink
        return
    with told(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Its own short name: the real one may already be as long as the system allows.
        temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(8)}.tmp"
        if is_in_place(path.parent):
            temporary = path
        descriptor = _begun(temporary, os.O_TRUNC if temporary is path else os.O_EXCL)
    sink = Sink(descriptor, path)
    try:
        yield sink
        sink.close()
        with told(path, "write"):
            if temporary is not path:
                _renamed(temporary, path)
    except BaseException:
        with suppress(Exception):
            sink.close()
        with suppress(OSError):
            temporary.unlink()
        raise


def is_in_place(folder: Path) -> bool:
    """Whether files of a folder are known to be written in place, since its file system cannot rename."""
    return bool(_WITHOUT_RENAME) and folder.stat().st_dev in _WITHOUT_RENAME


def _begun(path: Path, how: int) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | how, 0o666)


def _renamed(temporary: Path, path: Path) -> None:
    """Give a whole file its name; where it cannot be renamed, by writing it once more."""
    try:
        temporary.replace(path)
    except OSError as error:
        if error.errno not in _NO_RENAME:
            raise
        _WITHOUT_RENAME.add(path.parent.stat().st_dev)
        descriptor = _begun(path, os.O_TRUNC)
        try:
            with temporary.open("rb", buffering=0) as file:
                while chunk := file.read(_WRITE_BYTES):
                    write_pieces(descriptor, [chunk])
        except BaseException:
            path.unlink()
            raise
        finally:
            os.close(descriptor)
        temporary.unlink()


@contextmanager
def _uploaded(place: StoredPath) -> Iterator[Sink]:
    folder = Path(tempfile.gettempdir())
    with ExitStack() as stack:
        with told(folder, "write to"):
            waiting = stack.enter_context(tempfile.TemporaryFile(buffering=0))
        sink = Sink(os.dup(waiting.fileno()), folder / "a file without a name")
        try:
            yield sink
        finally:
            sink.close()
        waiting.seek(0)
        with told(place, "write"):
            objects.put(place, iter(lambda: waiting.read(_READ_BYTES), b""))


def write_whole(path: Place, data: bytes | Iterable[bytes | memoryview]) -> Written:
    """Write `data` under `path`, replacing what stood there; its folders are made.

    Raises `OutputError` where the system refuses; then `path` is as it was before.
    """
    with replacing(path) as sink:
        for chunk in (data,) if isinstance(data, bytes) else data:
            sink.write(chunk)
    return sink.written()


def sweep(folder: Place, *, older_seconds: float = 0.0) -> None:
    """Remove what a killed process left half-written.

    Who holds the folder sweeps all; who shares it only what is older, by the file system's times, since
    others may be writing.
    """
    if isinstance(folder, StoredPath):
        return  # nothing is half-written there
    with suppress(OSError):
        for path in folder.glob(f"{TEMPORARY}*"):
            with suppress(OSError):
                if not older_seconds or time.time() - path.stat().st_mtime > older_seconds:
                    path.unlink()


def remove(path: Place) -> bool:
    """Remove the file; whether there was one."""
    with told(path, "remove"):
        try:
            objects.remove(path) if isinstance(path, StoredPath) else path.unlink()
        except FileNotFoundError:
            return False
    return True


def names(folder: Place) -> list[str]:
    """Return the names that a folder shows, sorted; none where there is no folder. Raises `OSError`."""
    try:
        if isinstance(folder, StoredPath):
            return sorted(entry.name for entry in objects.entries(folder))
        return sorted(os.listdir(folder))  # noqa: PTH208 - names are what is wanted
    except FileNotFoundError:
        return []


def is_folder(path: Place) -> bool:
    """Whether a folder stands there; in a store: whether something stands below."""
    if isinstance(path, Path):
        return path.is_dir()
    with told(path, "look at"):
        found = objects.look(path)
    return found is not None and found.kind == "folder"


def exists(path: Place) -> bool:
    """Whether anything stands there."""
    if isinstance(path, Path):
        return path.exists()
    with told(path, "look at"):
        return objects.look(path) is not None


def size_of(path: Place) -> int | None:
    """Return a file's bytes, `None` where there is none."""
    if isinstance(path, StoredPath):
        with told(path, "look at"):
            found = objects.look(path)
        return None if found is None else found.size
    try:
        return path.stat().st_size
    except OSError:
        return None


def sizes(folder: Place) -> dict[str, int]:
    """Return the bytes of each file in a folder by its name; none where there is no folder."""
    with told(folder, "list"):
        if isinstance(folder, StoredPath):
            return {entry.name: entry.size for entry in objects.entries(folder) if entry.kind == "file"}
        try:
            with os.scandir(folder) as scan:
                return {entry.name: entry.stat().st_size for entry in scan if entry.is_file()}
        except FileNotFoundError:
            return {}


def opened(path: Place) -> BinaryIO:
    """Open a file of ours, to be read once from its start; what fails is an `OSError`."""
    if isinstance(path, StoredPath):
        return io.BufferedReader(objects.StoredStream(path), _READ_BYTES)
    return path.open("rb")


def chunks(path: Place) -> Iterator[bytes]:
    """Yield the bytes of a file of ours, a megabyte at a time."""
    with told(path, "read"), opened(path) as file:
        while chunk := file.read(_READ_BYTES):
            yield chunk


def digest_file(path: Place) -> str:
    """Return the digest of a file, as `Written` has it."""
    digest = xxhash.xxh3_128()
    for chunk in chunks(path):
        digest.update(chunk)
    return _text(digest.digest())


def digest_bytes(data: bytes) -> str:
    """Return the digest that `data` would have as a file."""
    return _text(xxhash.xxh3_128(data).digest())


def write_pieces(descriptor: int, pieces: list[bytes]) -> None:
    """Write pieces one after the other, by as few system calls as that takes; raises `OSError`."""
    while pieces:
        # A call may write less than it was given: near a limit, or above 2 GiB. Windows has no `writev`.
        gathering = hasattr(os, "writev")
        written = (
            os.writev(descriptor, pieces[:_MOST_PIECES])
            if gathering
            else os.write(descriptor, b"".join(pieces))
        )
        if written == 0 and any(pieces):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        pieces = after(pieces, written)


def after(pieces: list[bytes], written: int) -> list[bytes]:
    """Return what is left of pieces after so many bytes."""
    for place, piece in enumerate(pieces):
        if written < len(piece):
            return [piece[written:], *pieces[place + 1 :]]
        written -= len(piece)
    return []


def _text(digest: bytes) -> str:
    return f"xxh3:{digest.hex()}"


@contextmanager
def told(path: Place, what: str) -> Iterator[None]:
    """Turn the system's errors into ours: the one border."""
    try:
        yield
    except StoreFailure as error:
        raise OutputError(f"cannot {what} {path}: {error.reason}; {error.advice}, {AGAIN}") from error
    except OSError as error:
        happened, advice = ADVICE.get(
            error.errno or 0, (error.strerror or str(error), "see that the folder can be written")
        )
        raise OutputError(f"cannot {what} {path}: {happened}; {advice}, {AGAIN}") from error
