"""What does a URI name? This module calls no store.

The path behind the bucket is taken literally, as paths on disk are: no escapes are read, so an object called
`50%.csv` is written so. A URI with a key or a token in it is refused, and no message repeats it, because
URIs end up in records and on screens.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from batchscore.errors import SettingsError, note_name

#: Scheme → the form of its addresses.
SCHEMES = {
    "abfss": "abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH",
    "s3": "s3://BUCKET/PATH",
    "gs": "gs://BUCKET/PATH",
}

_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://(?P<authority>[^/]*)(?P<path>.*)", re.DOTALL)

#: A `?` alone belongs to a glob; followed by `name=` it begins the query of a signed address.
_QUERY = re.compile(r"\?[^/?=]+=")
_BUCKET = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._$-]*")
_HOST = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")


@dataclass(frozen=True, slots=True)
class StoredPath:
    """A place in an object store; `key` is the path below the bucket (Azure: container), no outer slashes.

    `host` is the account's address, only in Azure.
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
        """The text after the last slash."""
        return self.key.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The name's last suffix, with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> StoredPath:
        """The folder that holds it; for the bucket itself, the bucket."""
        return self.at(self.key.rpartition("/")[0])

    def with_name(self, name: str) -> StoredPath:
        """Return the place of another name in the same folder."""
        return self.parent / name


#: A place to read from or to write to.
Place = Path | StoredPath


def is_uri(text: str) -> bool:
    """Whether a text names a place by a URI; `./s3://x` is a path."""
    return _URI.match(text) is not None


def place_of(text: str) -> Place:
    """Return the place that a path or a URI names; raises `SettingsError`, which quotes no secret.

    A leading `~` is the home folder. A path has a name, unless it is the root: `.` and `..` are resolved.
    """
    note_name(text)
    if is_uri(text):
        return stored_path(text)
    if not text or "\0" in text:
        raise SettingsError("a path is empty" if not text else "a path holds a NUL character")
    path = Path(os.path.expanduser(text))  # noqa: PTH111 - that of pathlib raises for an unknown user
    try:
        path.lstat()
    except UnicodeEncodeError:
        raise SettingsError(f"{path_text(text)}: no path can hold these characters") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise SettingsError(f"{path_text(text)}: the name is too long") from None
    return path if path.name not in {"", ".."} else Path(os.path.abspath(path))  # noqa: PTH100 - links stay


def command_word(place: Place | str) -> str:
    """Return a place as a word of a command, where a leading `-` would be a flag and `~` the home folder."""
    text = str(place)
    return f"./{text}" if text.startswith(("-", "~")) else text


def shell_command(words: Sequence[str]) -> str:
    """Return a command for a shell that can be copied: what a terminal obeys, drops or hides is escaped."""
    return " ".join(shlex.quote(word) if word.isprintable() else _escaped(word) for word in words)


def _escaped(word: str) -> str:
    return "$'" + "".join(map(_escaped_letter, word)) + "'"


def _escaped_letter(letter: str) -> str:
    if letter.isprintable():
        return f"\\{letter}" if letter in "\\'" else letter
    if letter in "\n\t":
        return {"\n": r"\n", "\t": r"\t"}[letter]
    return "".join(f"\\x{byte:02x}" for byte in letter.encode("utf-8", "surrogateescape"))


def stored_path(text: str) -> StoredPath:
    """Return the place that a URI names; raises `SettingsError`, which quotes no secret."""
    match = _URI.match(text)
    if match is None:
        raise SettingsError(f"{text!r} is not the address of a store")
    scheme = match["scheme"].lower()
    authority, path = match["authority"], match["path"]
    if scheme not in SCHEMES:
        raise SettingsError(
            f"addresses that begin with {scheme}:// are not supported; write a store's address as "
            f"{' or '.join(SCHEMES.values())}"
        )
    as_written = f"write it as {SCHEMES[scheme]}"
    container, separator, host = authority.rpartition("@")
    if _QUERY.search(authority + path) or ":" in container or (separator and scheme != "abfss"):
        raise SettingsError(
            f"an address that begins with {scheme}:// contains a key, a token or a parameter, which others "
            f"could read: {as_written}, and put secrets into the environment"
        )
    if scheme == "abfss" and not (_HOST.fullmatch(host) and _BUCKET.fullmatch(container)):
        raise SettingsError(f"an abfss:// address needs a container and an account: {as_written}")
    bucket, host = (container, host.lower()) if scheme == "abfss" else (authority, "")
    if not _BUCKET.fullmatch(bucket):
        raise SettingsError(f"an address that begins with {scheme}:// needs a bucket: {as_written}")
    return StoredPath(scheme, bucket, host).at(path)


def path_text(path: str) -> str:
    r"""Return a path as text that UTF-8 can encode: other bytes, which Linux allows, become `\xff`.

    The two characters that mark a setting's name in a message are written `\x02` and `\x03`, too.
    """
    note_name(path)
    try:
        text = os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # Python holds halves of characters that no path has
        text = path.encode("utf-8", "backslashreplace").decode()
    return text.replace("\x02", r"\x02").replace("\x03", r"\x03")
