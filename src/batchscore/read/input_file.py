"""What is known of an input file before its rows are read, and how must they be read?"""

# Thousands of small files are looked at: `pathlib` takes longer than the system.
# ruff: noqa: PTH116

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from batchscore.rows import Table
from batchscore.stores.address import Place, StoredPath
from batchscore.stores.links import require_file_mode
from batchscore.stores.storage import open_raw

UTF_8 = "utf-8"

#: A pipe in place of a file must not keep us waiting.
_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

#: The most bytes of a file that is kept in memory once it was read, and of all of them together.
MOST_KEPT = 64 * 2**10
MOST_KEPT_TOGETHER = 16 * 2**20

#: A file that was changed less than this before is not kept: the next change may have the same time.
SETTLED_SECONDS = 2.0


class StandardInput(str):
    """The path of the copy of standard input; the type distinguishes it from an INPUT that the user named."""

    __slots__ = ()


def is_standard_input(inputs: Iterable[str]) -> bool:
    """Whether a run's INPUT is standard input, which has no other INPUT beside it."""
    return any(isinstance(each, StandardInput) for each in inputs)


@dataclass(frozen=True)
class InputFile:
    r"""One file to read.

    `name` is its path below the base folder, with `/`, as in records (bytes that are not UTF-8 as `\xff`).
    `suffix` is in lower case, with its dot, without the suffix of the `compression`, which is `"gz"`,
    `"zst"`, `"bz2"`, `"xz"` or `None`. `size` is in bytes, as stored. `encoding` is Python's name of a text's
    encoding, `None` if unknown as yet. `partitions` are the columns that its folders (`lang=en`) give,
    with their text. `root` is the folder of its INPUT, which the files that its rows name may not leave.
    `content` are the bytes as stored, if they are kept: then nobody reads the file again, as long as it is
    the `version` that was read. `again` opens its table without another look at its beginning. `local` is
    the path as text if it is on this machine.
    """

    path: Place
    name: str
    suffix: str
    compression: str | None
    size: int
    encoding: str | None = None
    partitions: tuple[tuple[str, str | None], ...] = ()
    root: Place | None = None
    content: bytes | None = field(default=None, repr=False, compare=False)
    version: tuple[int, ...] = field(default=(), repr=False, compare=False)
    again: Callable[[], Table] | None = field(default=None, repr=False, compare=False)
    local: str = field(init=False, repr=False, compare=False)

    @classmethod
    def found(
        cls,
        path: str | StoredPath,
        name: str,
        kind: tuple[str, str | None],
        size: int,
        partitions: tuple[tuple[str, str | None], ...],
        root: Place,
    ) -> InputFile:
        """Return a file that a search has found, in a third of the time; a `str` is on this machine."""
        file = object.__new__(cls)
        place = {"local": path} if isinstance(path, str) else {"local": "", "path": path}
        suffix, compression = kind
        file.__dict__.update(
            place,
            name=name,
            suffix=suffix,
            compression=compression,
            size=size,
            partitions=partitions,
            root=root,
        )
        return file

    def __post_init__(self) -> None:
        """Keep a path on this machine as text."""
        self.__dict__["local"] = str(self.path) if isinstance(self.path, Path) else ""

    def __getattr__(self, name: str) -> Any:
        """Make the path of a file that was found: to make thousands takes longer than to read the files."""
        if name != "path":
            raise AttributeError(name)
        path = self.__dict__["path"] = Path(self.local)
        return path

    def open(self) -> io.RawIOBase | BinaryIO:
        """Open the bytes as stored, to read them from start to end; failures are an `OSError`."""
        return open_raw(self.path) if self.content is None else io.BytesIO(self.content)

    def with_content(self, most: int) -> InputFile:
        """Return a small file of at most `most` bytes with its content; any other one as it is.

        To open and read thousands of small files for each look takes longer than the look.
        """
        if self.size > min(most, MOST_KEPT) or not self.local:
            return self
        try:
            descriptor = os.open(self.local, os.O_RDONLY | _FLAGS)
            try:
                found = os.fstat(descriptor)
                require_file_mode(self.local, found.st_mode)
                content = os.read(descriptor, self.size + 1)
                after = os.fstat(descriptor)
            finally:
                os.close(descriptor)
        except OSError:  # who reads the file says why
            return self
        same = len(content) == self.size == found.st_size and _version(found) == _version(after)
        if not same or found.st_mtime > time.time() - SETTLED_SECONDS:
            return self
        return self.but(content=content, version=_version(found))

    def as_it_is(self) -> InputFile:
        """Return the file without the content of another version."""
        if self.content is None:  # only what is on this machine is kept
            return self
        try:
            if _version(os.stat(self.local)) == self.version:
                return self
        except OSError:  # who reads the file says why
            pass
        return self.without_content()

    def without_content(self) -> InputFile:
        """Return the file to be read again."""
        return self.but(content=None, again=None)

    def but(self, **changes: Any) -> InputFile:
        """Return it with these fields changed, as `replace` does, which takes ten times as long."""
        other = object.__new__(InputFile)
        object.__setattr__(other, "__dict__", self.__dict__ | changes)
        return other


def _version(found: os.stat_result) -> tuple[int, ...]:
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


#: The value of a setting that is found from the beginning of each file.
AUTO = "auto"


@dataclass(frozen=True)
class ReadOptions:
    """How files are read.

    `txt`: a row of a txt file is one of its "lines", or the whole "document". `max_row_bytes`: a larger row
    gets an error; it also bounds a reader's memory. `encoding` is that of every text format. `delimiter`,
    `quote`, `escape` (the last two may be "none"), `no_header` and `skip_lines` describe csv and tsv;
    `skip_lines` is `None` to find where the header is. `records` names the member of a JSON object that holds
    the rows, with dots for members of members, or is "." if the object itself is the row. `sheet` is that of
    a workbook, by name or number from 1, `None` for the first; `no_header` and `skip_lines` hold for its
    rows, too. `columns` are those that the rows need, `None` for all: a columnar file's other columns are not
    read.
    """

    txt: str = "lines"
    max_row_bytes: int = 16 * 2**20
    encoding: str = AUTO
    delimiter: str = AUTO
    quote: str = AUTO
    escape: str = AUTO
    no_header: bool = False
    skip_lines: int | None = None
    records: str | None = None
    sheet: str | None = None
    columns: frozenset[str] | None = None
