"""What does a URI name? Nothing is asked of any store here.

All that stands behind the bucket is taken literally, as paths on disk are: no escapes are read, so an
object called `50%.csv` is named so. A URI that carries a key or a token is refused, and no message
repeats it: URIs stand in records and on screens.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from batchscore.errors import SettingsError

#: Scheme → how an address of it is written.
SCHEMES = {
    "abfss": "abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH",
    "s3": "s3://BUCKET/PATH",
    "gs": "gs://BUCKET/PATH",
}

_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://(?P<authority>[^/]*)(?P<path>.*)", re.DOTALL)

#: A `?` alone belongs to a glob; followed by `name=` it begins what signed addresses carry.
_QUERY = re.compile(r"\?[^/?=]+=")
_BUCKET = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._$-]*")
_HOST = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")


@dataclass(frozen=True, slots=True)
class StoredPath:
    """A place in an object store; `key` is the path below the bucket (Azure: container), without end slashes.

    `host` is the account's address, in Azure only.
    """

    scheme: str
    bucket: str
    host: str = ""
    key: str = ""

    def __str__(self) -> str:
        """Return the URI."""
        authority = f"{self.bucket}@{self.host}" if self.host else self.bucket
        return f"{self.scheme}://{authority}/{self.key}".rstrip("/")

    def __truediv__(self, name: str) -> StoredPath:
        """Return a place below this one."""
        return self.at(f"{self.key}/{name}")

    def at(self, key: str) -> StoredPath:
        """Return the place with another key in the same bucket."""
        return replace(self, key="/".join(filter(None, key.split("/"))))

    @property
    def inner(self) -> str:
        """The path as pyarrow's file systems take it."""
        return f"{self.bucket}/{self.key}" if self.key else self.bucket

    @property
    def name(self) -> str:
        """What stands behind the last slash."""
        return PurePosixPath(self.key).name

    @property
    def suffix(self) -> str:
        """The name's last suffix, with its dot."""
        return PurePosixPath(self.key).suffix

    @property
    def parent(self) -> StoredPath:
        """The folder; of the bucket itself the bucket."""
        return self.at(self.key.rpartition("/")[0])

    def with_name(self, name: str) -> StoredPath:
        """Return the place of another name in the same folder."""
        return self.parent / name


#: Where something is read from or written to.
Place = Path | StoredPath


def is_uri(text: str) -> bool:
    """Whether a text names a place by a URI; `./s3://x` is a path."""
    return _URI.match(text) is not None


def place_of(text: str) -> Place:
    """Return the place that a path or a URI names; raises `SettingsError`, which quotes no secret."""
    return stored_path(text) if is_uri(text) else Path(text)


def stored_path(text: str) -> StoredPath:
    """Return the place that a URI names; raises `SettingsError`, which quotes no secret."""
    found = _URI.match(text)
    if found is None:
        raise SettingsError(f"{text!r} is no address of a store")
    scheme = found["scheme"].lower()
    authority, path = found["authority"], found["path"]
    if scheme not in SCHEMES:
        raise SettingsError(
            f"an address that begins with {scheme}:// cannot be read or written; stores are named as "
            f"{', '.join(SCHEMES.values())}"
        )
    as_written = f"write it as {SCHEMES[scheme]}"
    container, separator, host = authority.rpartition("@")
    if _QUERY.search(authority + path) or ":" in container or (separator and scheme != "abfss"):
        raise SettingsError(
            f"an address that begins with {scheme}:// carries a key, a token or a setting of its own, which "
            f"would be seen by others: {as_written}, and put secrets into the environment"
        )
    if scheme == "abfss" and not (_HOST.fullmatch(host) and _BUCKET.fullmatch(container)):
        raise SettingsError(f"an abfss:// address names no container and account: {as_written}")
    bucket, host = (container, host.lower()) if scheme == "abfss" else (authority, "")
    if not _BUCKET.fullmatch(bucket):
        raise SettingsError(f"an address that begins with {scheme}:// names no bucket: {as_written}")
    return StoredPath(scheme, bucket, host).at(path)
