"""How are a store's objects listed, read, written and removed, with credentials from the environment alone?

Each store's own library finds credentials as its other tools do; the variables that it does not read are
added here. Each bucket has one connection, which all threads use.
Every failure is a `StoreFailure`, or a `FileNotFoundError` if the object does not exist. Reading is by
ranges of growing size; the next one is requested while the current one is used, so memory is bounded.
"""

from __future__ import annotations

import base64
import errno
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from batchscore.errors import SettingsError
from batchscore.stores.address import Place, StoredPath
from batchscore.stores.errors import explain_store_errors
from batchscore.stores.links import refuse_link, require_file

if TYPE_CHECKING:
    import pyarrow.fs as pafs

#: By default Google's library retries for fifteen minutes.
_GOOGLE_RETRY_TIME = timedelta(seconds=60)


def file_system(place: StoredPath) -> pafs.FileSystem:
    """Return the file system of a place; raises `SettingsError` or `StoreFailure`."""
    return _connect(place.at(""))


@lru_cache(maxsize=64)
def _connect(bucket: StoredPath) -> pafs.FileSystem:
    try:
        with explain_store_errors(bucket):
            return _BUILDERS[bucket.scheme](bucket, os.environ)
    except (AttributeError, ImportError, TypeError):
        # pyarrow's wheels support different stores, and older ones know fewer settings.
        raise SettingsError(
            f"the installed pyarrow does not support {bucket.scheme}:// stores: install the newest version"
        ) from None


def _s3(bucket: StoredPath, environ: Mapping[str, str]) -> pafs.FileSystem:
    """Return the file system of Amazon S3, or of a service with its API.

    The variables are those of AWS's own tools:
    https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html, seen 2026-11.
    """
    import pyarrow.fs as pafs  # noqa: PLC0415 - takes 0.1 s that only stores need

    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or None
    name, address = _first(environ, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    if address:
        scheme, authority, _ = _split_address(name, address)
        options = {"scheme": scheme, "endpoint_override": authority, "region": region or "us-east-1"}
    else:
        options = {"region": pafs.resolve_s3_region(bucket.bucket)}
    try:
        # A small object is then one request instead of three.
        return pafs.S3FileSystem(allow_delayed_open=True, **options)
    except TypeError:  # an older pyarrow
        return pafs.S3FileSystem(**options)


def _google(bucket: StoredPath, environ: Mapping[str, str]) -> pafs.FileSystem:  # noqa: ARG001 - same parameters as the others
    """Return that of Google Cloud Storage; the variable of Google's libraries names an emulator."""
    import pyarrow.fs as pafs  # noqa: PLC0415

    name, address = _first(environ, "STORAGE_EMULATOR_HOST")
    if address:
        scheme, authority, _ = _split_address(name, address if "://" in address else f"http://{address}")
        return pafs.GcsFileSystem(
            anonymous=True, scheme=scheme, endpoint_override=authority, retry_time_limit=_GOOGLE_RETRY_TIME
        )
    return pafs.GcsFileSystem(retry_time_limit=_GOOGLE_RETRY_TIME)


def _azure(bucket: StoredPath, environ: Mapping[str, str]) -> pafs.FileSystem:
    """Return that of Azure Blob Storage and Data Lake Storage, by the variables of Azure's command line.

    https://learn.microsoft.com/cli/azure/storage, seen 2026-11. A key or token belongs to one account and
    is never sent to another.
    """
    import pyarrow.fs as pafs  # noqa: PLC0415

    account, _, domain = bucket.host.partition(".")
    options: dict[str, Any] = {"account_name": account}
    name, address = _first(environ, "AZURE_STORAGE_SERVICE_ENDPOINT")
    if address:
        scheme, authority, path = _split_address(name, address)
        if path not in {"", account}:
            raise SettingsError(f"{name} is the address of another account than {account}")
        for service in ("blob", "dfs"):
            options[f"{service}_storage_authority"] = authority
            options[f"{service}_storage_scheme"] = scheme
    elif domain != "dfs.core.windows.net":
        options["dfs_storage_authority"] = f".{domain}"
        options["blob_storage_authority"] = f".{domain.replace('dfs.', 'blob.', 1)}"
    if environ.get("AZURE_STORAGE_ACCOUNT", account) == account:
        key, token = environ.get("AZURE_STORAGE_KEY"), environ.get("AZURE_STORAGE_SAS_TOKEN")
        if key:
            try:
                base64.b64decode(key, validate=True)
            except ValueError:
                reason = "AZURE_STORAGE_KEY is not the key of a storage account: copy it again"
                raise SettingsError(reason) from None
            return pafs.AzureFileSystem(account_key=key, **options)
        if token:
            return pafs.AzureFileSystem(sas_token=f"?{token.removeprefix('?')}", **options)
    identity = environ.get("DEFAULT_IDENTITY_CLIENT_ID")
    return pafs.AzureFileSystem(**options, **({"client_id": identity} if identity else {}))


_BUILDERS: dict[str, Callable[[StoredPath, Mapping[str, str]], Any]] = {
    "s3": _s3,
    "gs": _google,
    "abfss": _azure,
}


def _first(environ: Mapping[str, str], *names: str) -> tuple[str, str]:
    """Return the first variable that is set, and its value."""
    return next(((name, environ[name]) for name in names if environ.get(name)), (names[0], ""))


def _split_address(name: str, address: str) -> tuple[str, str, str]:
    """Return scheme, host with port, and path of a service's address."""
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.netloc or "@" in parts.netloc or parts.query:
        raise SettingsError(f"{name} is not an address such as http://127.0.0.1:9000")
    return parts.scheme, parts.netloc, parts.path.strip("/")


#: Bytes of the first range and of the largest: reading a header is cheap, a whole file takes few requests.
_FIRST_RANGE = 256 * 1024
_LARGEST_RANGE = 8 * 1024 * 1024

Kind = Literal["file", "folder"]


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One entry of a store's folder: `path` below the bucket, with a leading `/`; `size` in bytes, of a file.

    It has the methods of `os.DirEntry` that a walk needs.
    """

    name: str
    path: str
    kind: Kind
    size: int

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return self.kind == "folder"

    def is_file(self) -> bool:
        """Whether it is a file."""
        return self.kind == "file"

    def is_symlink(self) -> bool:
        """Whether it is a link; stores have none."""
        return False


def find_entry(place: StoredPath) -> StoredEntry | None:
    """Return the file or folder at a place, or `None`; an empty folder does not count."""
    with explain_store_errors(place):
        return _entry_of(file_system(place).get_file_info(place.inner), place)


def list_entries(place: StoredPath) -> list[StoredEntry]:
    """Return a folder's entries, unsorted; none if there is no folder.

    A listing may be older than the latest write.
    """
    import pyarrow.fs as pafs  # noqa: PLC0415

    # Google knows folders only by the names of the files below them, so list all of these.
    deep = place.scheme == "gs"
    with explain_store_errors(place):
        selector = pafs.FileSelector(place.inner, recursive=deep, allow_not_found=True)
        infos = file_system(place).get_file_info(selector)
    entries: dict[tuple[str, Kind], StoredEntry] = {}
    for info in infos:
        name, below, _ = info.path[len(place.inner) + 1 :].partition("/")
        at = place / name
        entry = StoredEntry(name, f"/{at.key}", "folder", 0) if below else _entry_of(info, at)
        if name and entry is not None:
            entries[name, entry.kind] = entry
    return list(entries.values())


def upload(place: StoredPath, blocks: Iterable[bytes]) -> None:
    """Write an object from start to end; it replaces the object there when the last byte has arrived.

    Stores cannot abandon an upload: closing the writer makes an object of the bytes so far. So if the
    blocks fail, that object is removed, and the one it has replaced is lost.
    """
    with explain_store_errors(place):
        # Without `compression=None` pyarrow compresses by the suffix.
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
    """Remove an object; raises `FileNotFoundError` if there is none."""
    # Azure's library requests a lease first, and retries for seconds if there is no object.
    if place.scheme == "abfss" and find_entry(place) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(place))
    with explain_store_errors(place):
        file_system(place).delete_file(place.inner)


def _entry_of(info: Any, place: StoredPath) -> StoredEntry | None:
    import pyarrow.fs as pafs  # noqa: PLC0415

    if info.type is pafs.FileType.NotFound:
        return None
    if info.type is pafs.FileType.Directory:
        return StoredEntry(place.name, f"/{place.key}", "folder", 0)
    return StoredEntry(place.name, f"/{place.key}", "file", info.size)


class StoredFile(io.RawIOBase):
    """An object that can be read at any position, as Parquet readers do; `read` gives all requested bytes."""

    def __init__(self, place: StoredPath) -> None:
        super().__init__()
        self._place = place
        with explain_store_errors(place):
            self._file = file_system(place).open_input_file(place.inner)

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; empty at the end."""
        with explain_store_errors(self._place):
            data: bytes = self._file.read(None if size < 0 else size)
            return data

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def seekable(self) -> bool:
        """Return that it is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position in it."""
        position: int = self._file.seek(offset, whence)
        return position

    def tell(self) -> int:
        """Return the position of the next bytes."""
        position: int = self._file.tell()
        return position

    def close(self) -> None:
        """Close it; no data is lost if that fails."""
        if not self.closed:
            super().close()
            with explain_store_errors(self._place):
                self._file.close()


class StoredStream(io.RawIOBase):
    """An object read from start to end, one range ahead of the reader.

    Memory: two ranges, of at most 8 MB each.
    """

    def __init__(self, place: StoredPath) -> None:
        super().__init__()
        self._file = StoredFile(place)
        self._range = _FIRST_RANGE
        self._buffer = memoryview(b"")
        self._ahead: Future[bytes] | None = None
        self._thread = ThreadPoolExecutor(1, "batchscore-read-ahead")

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes: `size` of them, fewer only at the end."""
        parts: list[memoryview] = []
        left = size if size >= 0 else sys.maxsize
        while left:
            if not self._buffer:
                self._buffer = memoryview(self._read_range())
                if not self._buffer:
                    break
            parts.append(self._buffer[:left])
            self._buffer = self._buffer[left:]
            left -= len(parts[-1])
        return b"".join(parts)

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer, for `io.BufferedReader`."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _read_range(self) -> bytes:
        data = self._file.read(self._range) if self._ahead is None else self._ahead.result()
        is_first = self._range == _FIRST_RANGE  # a reader of the header needs no more
        self._range = min(2 * self._range, _LARGEST_RANGE)
        if data and not is_first:
            self._ahead = self._thread.submit(self._file.read, self._range)
        return data

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def close(self) -> None:
        """Close it, after the range in flight has arrived."""
        if not self.closed:
            super().close()
            self._thread.shutdown(cancel_futures=True)
            self._file.close()


def open_arrow_part(place: Place) -> Any:
    """Open a file of ours for pyarrow; raises `OSError`, also if it is a link that somebody planted."""
    if not isinstance(place, StoredPath):
        refuse_link(place)
    return open_arrow_file(place)


@contextmanager
def open_parquet_part(place: Place) -> Iterator[Any]:
    """Give a Parquet file of ours; raises `OSError` like `open_arrow_part`, or an error of Arrow.

    Of a store, Arrow reads all that will be needed in few requests, and keeps it. A disk needs no such help.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415

    ahead = isinstance(place, StoredPath)
    with open_arrow_part(place) as opened, pq.ParquetFile(opened, pre_buffer=ahead) as file:
        yield file


def open_arrow_file(place: Place, *, mapped: bool = False) -> Any:
    """Open a file for pyarrow to read at any position; `mapped`: a file on disk as a memory map."""
    import pyarrow as pa  # noqa: PLC0415

    if isinstance(place, StoredPath):
        return pa.PythonFile(StoredFile(place), "r")
    require_file(place)
    return (pa.memory_map if mapped else pa.OSFile)(os.fsencode(place))
