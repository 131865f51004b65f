"""How is a file written whole or not at all, and how is it read, listed and removed?

This module does not know what the bytes mean: parts, manifests and merged files all use it, so a full disk
or a read-only folder is handled in one place. A place is a path on this machine or in an object store. A
store gets each file in one upload: nothing is renamed, appended to or locked there.
"""

# An output may have thousands of small files, and `pathlib` takes longer than the system.
# ruff: noqa: PTH105, PTH108, PTH120, PTH123

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import xxhash

from batchscore.errors import OutputError
from batchscore.stores import objects
from batchscore.stores.address import Place, StoredPath
from batchscore.stores.errors import explain_errors
from batchscore.stores.half_written import open_temporary
from batchscore.stores.links import create_within, open_own, read_own, refuse_link, require_file
from batchscore.stores.sink import Sink, WrittenFile, force, write_pieces

_READ_BYTES = 1 << 20
_REPLACE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC

#: Errors of a file system that cannot rename, and the devices that gave one: files are written in place.
_NO_RENAME = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV}
_WITHOUT_RENAME: set[int] = set()


@contextmanager
def replace_file(path: Place, *, sync: bool = False, private: bool = False) -> Iterator[Sink]:
    """Give a `Sink` that becomes the file `path` if the block succeeds; else nothing changes.

    Until then its bytes are in the same folder under a name with a leading dot, which pandas' globs,
    pyarrow, DuckDB and Spark skip. With `sync` the file and its name are on the device afterwards, if the
    file system can do that; without, a power cut may leave a damaged file, which the digest shows. For a
    store they are kept in a nameless file on this machine until they are complete. If the file system cannot
    rename, they are written in place: a failure then removes the file, and a kill leaves a torn file, which
    the digest shows. With `private` only the owner can read it.
    """
    if isinstance(path, StoredPath):
        with _upload(path) as sink:
            yield sink
        return
    with explain_errors(path, "write"):
        parent = path.parent
        new = [folder for folder in (parent, *parent.parents) if sync and not folder.exists()]
        try:
            temporary, descriptor, held = _open_new(path, parent)
        except FileNotFoundError:
            temporary, descriptor, held = create_within(parent, lambda: _open_new(path, parent))
    sink = Sink(descriptor, path)
    try:
        if private and hasattr(os, "fchmod"):
            # Some mounts have no permissions.
            with suppress(OSError):
                os.fchmod(descriptor, 0o600)
        yield sink
        if sync:
            sink.sync()
        sink.close()
        with explain_errors(path, "write"):
            if temporary is not path:
                _rename(temporary, path, sync=sync)
            for folder in [parent, *(each.parent for each in new)] if sync else ():
                sync_folder(folder)
    except BaseException:
        with suppress(Exception):
            sink.close()
        with suppress(OSError):
            temporary.unlink()
        raise
    finally:
        if held >= 0:
            os.close(held)


def _open_new(path: Path, folder: Path) -> tuple[Path, int, int]:
    """Return the file to write for `path` in its folder, as `open_temporary` does."""
    if is_in_place(folder):
        return path, open_own(path, _REPLACE), -1
    temporary, descriptor, held = open_temporary(folder)
    return Path(temporary), descriptor, held


def sync_folder(folder: Place) -> None:
    """Force the names in a folder to the device, if the file system can do that."""
    if isinstance(folder, StoredPath) or not hasattr(os, "O_DIRECTORY"):
        return
    with explain_errors(folder, "write"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            force(descriptor)
        finally:
            os.close(descriptor)


def is_in_place(folder: Path) -> bool:
    """Whether files of a folder are written in place, because its file system is known not to rename."""
    return bool(_WITHOUT_RENAME) and folder.stat().st_dev in _WITHOUT_RENAME


def _rename(temporary: Path | str, path: Path, *, sync: bool) -> None:
    """Give a complete file its name; copy it if the file system cannot rename."""
    try:
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in _NO_RENAME:
            raise
        _WITHOUT_RENAME.add(path.parent.stat().st_dev)
        # If the target cannot be opened, what it holds stays.
        with open(temporary, "rb") as source, os.fdopen(open_own(path, _REPLACE), "wb") as target:
            try:
                shutil.copyfileobj(source, target)
                target.flush()
                if sync:
                    force(target.fileno())
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        os.unlink(temporary)


def temporary_folder() -> Path:
    """Return the folder of temporary files; raises `OutputError` if the machine has none."""
    try:
        return Path(tempfile.gettempdir())
    except OSError as error:
        raise OutputError(
            "this machine has no folder for temporary files: set TMPDIR to one that can be written, then run "
            "the same command again to continue"
        ) from error


@contextmanager
def _upload(place: StoredPath) -> Iterator[Sink]:
    folder = temporary_folder()
    with ExitStack() as stack:
        with explain_errors(folder, "write to"):
            waiting = stack.enter_context(tempfile.TemporaryFile(buffering=0))
        sink = Sink(os.dup(waiting.fileno()), folder / "a file without a name")
        try:
            yield sink
        finally:
            sink.close()
        waiting.seek(0)
        with explain_errors(place, "write"):
            objects.upload(place, iter(lambda: waiting.read(_READ_BYTES), b""))


def write_whole(
    path: Place, data: bytes | Iterable[bytes | memoryview], *, sync: bool = False, private: bool = False
) -> WrittenFile:
    """Write `data` to `path`, replacing any file there; create its folders. Options as in `replace_file`.

    Raises `OutputError` if the system refuses; then `path` is unchanged.
    """
    if isinstance(data, bytes) and isinstance(path, Path) and not (sync or private or _WITHOUT_RENAME):
        return _write_bytes(path, data)
    with replace_file(path, sync=sync, private=private) as sink:
        for chunk in (data,) if isinstance(data, bytes) else data:
            sink.write(chunk)
    return sink.result()


def _write_bytes(path: Path, data: bytes) -> WrittenFile:
    """Write a file as `replace_file` does, without what only a stream needs: in half the time."""
    with explain_errors(path, "write"):
        folder = os.path.dirname(path) or os.curdir
        try:
            temporary, descriptor, held = open_temporary(folder)
        except FileNotFoundError:
            temporary, descriptor, held = create_within(path.parent, lambda: open_temporary(folder))
        try:
            try:
                write_pieces(descriptor, [data])
            finally:
                # Network mounts may report a failed write only here.
                os.close(descriptor)
            _rename(temporary, path, sync=False)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        finally:
            if held >= 0:
                os.close(held)
    return WrittenFile(len(data), f"xxh3:{xxhash.xxh3_128_hexdigest(data)}")


def remove(path: Place) -> bool:
    """Remove a file; return whether there was one."""
    with explain_errors(path, "remove"):
        try:
            objects.remove(path) if isinstance(path, StoredPath) else path.unlink()
        except FileNotFoundError:
            return False
    return True


def names(folder: Place) -> list[str]:
    """Return the names in a folder, sorted; none if there is no folder. Raises `OSError`."""
    try:
        if isinstance(folder, StoredPath):
            return sorted(entry.name for entry in objects.list_entries(folder))
        return sorted(os.listdir(folder))  # noqa: PTH208 - only names are needed
    except FileNotFoundError:
        return []


def visible_names(folder: Place) -> list[str]:
    """Return the visible names of a folder, sorted; none if there is no folder. Raises `OutputError`."""
    with explain_errors(folder, "list"):
        return [name for name in names(folder) if not name.startswith(".")]


def list_files(folder: Place, suffix: str = "") -> list[Place]:
    """Return the visible files of a folder, sorted; none if there is no folder. Raises `OutputError`."""
    return [folder / name for name in visible_names(folder) if name.endswith(suffix)]


def is_folder(path: Place) -> bool:
    """Whether the path is a folder; in a store: whether there are objects below it."""
    if isinstance(path, Path):
        return os.path.isdir(path)  # noqa: PTH112 - also false for what cannot be a path
    entry = _find_entry(path)
    return entry is not None and entry.is_dir()


def exists(path: Place) -> bool:
    """Whether there is a file or folder at the path."""
    if isinstance(path, Path):
        return os.path.exists(path)  # noqa: PTH110 - as above
    return _find_entry(path) is not None


def size_of(path: Place) -> int | None:
    """Return a file's size in bytes, `None` if there is no file."""
    if isinstance(path, StoredPath):
        entry = _find_entry(path)
        return None if entry is None else entry.size
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _find_entry(path: StoredPath) -> objects.StoredEntry | None:
    with explain_errors(path, "find"):
        return objects.find_entry(path)


def sizes(folder: Place) -> dict[str, int]:
    """Return the size in bytes of each file in a folder, by name; none if there is no folder."""
    with explain_errors(folder, "list"):
        if isinstance(folder, StoredPath):
            return {entry.name: entry.size for entry in objects.list_entries(folder) if entry.is_file()}
        found: dict[str, int] = {}
        with suppress(FileNotFoundError), os.scandir(folder) as scan:
            # A link is not a file of ours.
            for entry in (each for each in scan if each.is_file(follow_symlinks=False)):
                try:
                    found[entry.name] = entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue  # another thread has just given a half-written file its name
        return found


def open_raw(path: Place) -> io.RawIOBase:
    """Open a file without a buffer, to read it from start to end; failures are an `OSError`."""
    if isinstance(path, StoredPath):
        return objects.StoredStream(path)
    require_file(path)
    return path.open("rb", buffering=0)


def open_seekable(path: Place) -> io.RawIOBase | BinaryIO:
    """Open a file to read it at any position; failures are an `OSError`."""
    if isinstance(path, StoredPath):
        return objects.StoredFile(path)
    require_file(path)
    return path.open("rb")


def open_file(path: Place) -> BinaryIO:
    """Open a file of ours to read it from start to end; failures are an `OSError`."""
    if isinstance(path, StoredPath):
        return io.BufferedReader(open_raw(path), _READ_BYTES)
    return open(path, "rb", buffering=_READ_BYTES, opener=open_own)


def chunks(path: Place) -> Iterator[bytes]:
    """Yield the bytes of a file of ours, at most a megabyte at a time; raises `OutputError`."""
    with explain_errors(path, "read"):
        if isinstance(path, StoredPath):
            with open_file(path) as stored:
                yield from iter(lambda: stored.read(_READ_BYTES), b"")
            return
        # Most of our files are small, and a buffer of a megabyte takes longer than they do.
        descriptor = open_own(path, os.O_RDONLY)
        try:
            size = min(os.fstat(descriptor).st_size + 1, _READ_BYTES)
            while chunk := os.read(descriptor, size):
                yield chunk
        finally:
            os.close(descriptor)


def whole(path: Place) -> bytes:
    """Return the bytes of a small file of ours; raises `OutputError`."""
    if isinstance(path, StoredPath):
        return b"".join(chunks(path))
    with explain_errors(path, "read"):
        return read_own(path)


def digest_of(path: Place) -> str:
    """Return the digest of any file in the form of `WrittenFile`; raises `OSError`."""
    digest = xxhash.xxh3_128()
    with open_raw(path) as file:
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
    return f"xxh3:{digest.hexdigest()}"


def digest_file(path: Place) -> str:
    """Return the digest of a file of ours; raises `OutputError`."""
    with explain_errors(path, "read"):
        if isinstance(path, Path):
            refuse_link(path)
        return digest_of(path)
