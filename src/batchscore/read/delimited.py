"""Which records does a csv or tsv file hold?

The standard library's `csv` decides where a record ends and what its cells are. This module adds row
numbers, recovery after a bad record, and bounded memory for any file. All cells are unchanged text. A
record's size is that of its bytes, without its line end.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from enum import Enum
from io import StringIO
from itertools import chain, islice
from typing import TYPE_CHECKING

from batchscore.errors import UnreadableFile
from batchscore.read.input_file import InputFile
from batchscore.read.problems import Rows, iterate, not_utf8_row, too_large_row, unique_names, unreadable_row
from batchscore.read.stream import BLOCK, BlockKind, line_blocks, text_blocks
from batchscore.rows import Row, Table

if TYPE_CHECKING:
    from _csv import Reader

# Decoding turns each byte that is not UTF-8 into one of these, which strict UTF-8 never contains.
_ESCAPED = re.compile("[\udc80-\udcff]")

# A line before the header that gives Excel the delimiter.
_PREFACE = re.compile(rb'"?sep=([,;|\t])"?')

# `csv` of Python 3.10 refuses zero bytes; this replaces them, and no decoding produces it.
_ZERO = "\udc00"


def delimited_table(file: InputFile, max_row_bytes: int, *, delimiter: str) -> Table:
    """Open a csv (`,`) or tsv (tab) file: read its header now, its rows on demand.

    If the first line of a csv has `;` and no `,`, the delimiter is `;`, as Excel writes it in Europe; if it
    has tabs and neither of them, a tab. A line `sep=;` before the header, as Excel writes it, overrides this.
    """
    first = _first_line(file, max_row_bytes)
    if first is None:
        return Table((), (), headerless=False, rows=iterate())
    preface = _PREFACE.fullmatch(first)
    if preface:
        delimiter = preface[1].decode()
    elif delimiter == "," and b"," not in first:
        delimiter = next((other for other in ";\t" if other.encode() in first), ",")
    before = 1 if preface else 0
    columns = _columns(file, delimiter, max_row_bytes, before)
    rows = _rows(file, columns, delimiter, max_row_bytes, before)
    return Table(columns, columns, headerless=False, rows=rows)


def _first_line(file: InputFile, limit: int) -> bytes | None:
    """Return the first line that is not empty."""
    with text_blocks(file, size=limit) as blocks:
        for kind, data in line_blocks(blocks, limit):
            if kind is not BlockKind.LINES:
                raise UnreadableFile(file.name, f"its header is larger than a row may be ({limit} bytes)")
            for line in data.splitlines():
                if line:
                    return line
    return None


def _columns(file: InputFile, delimiter: str, limit: int, before: int) -> tuple[str, ...]:
    """Return the header's columns; `before` is the number of records before it."""
    with text_blocks(file, size=limit) as blocks:
        lines = _Lines(blocks, delimiter, limit)
        try:
            header: list[str] = next(islice(filter(None, lines.reader()), before, None), [])
        except _TooLargeError:
            raise UnreadableFile(
                file.name,
                f"its header is larger than a row may be ({limit} bytes), or a quote in it is never closed",
            ) from None
        if lines.ended and header:
            raise UnreadableFile(file.name, "a quote opened in its header is never closed")
        if _ESCAPED.search("".join(header)):
            raise UnreadableFile(
                file.name,
                "its header is not UTF-8: convert the file, for example with iconv -f WINDOWS-1252 -t UTF-8",
            )
    # pandas writes an unnamed index as an unnamed column.
    named = (name or f"column_{place}" for place, name in enumerate(header))
    return unique_names(file.name, (name.replace(_ZERO, "\0") for name in named))


def _rows(file: InputFile, columns: tuple[str, ...], delimiter: str, limit: int, before: int) -> Rows:
    name, width = file.name, len(columns)
    number = -1 - before  # the header and any line before it
    with text_blocks(file, size=limit) as blocks:
        lines = _Lines(blocks, delimiter, limit)
        while not lines.ended:
            reader = lines.reader()
            try:
                for cells in reader:
                    lines.done = reader.line_num
                    if lines.watch:
                        if lines.ended:
                            raise _unclosed(name, number)
                        oversized = lines.watched_size() > limit
                        if number < 0:
                            if cells:
                                number += 1
                            if number == 0:
                                lines.end_watch()
                            continue
                        lines.end_watch()
                        if oversized:
                            yield too_large_row(name, number, limit)
                            number += 1
                            continue
                        if lines.escaped and _ESCAPED.search("".join(cells)):
                            yield not_utf8_row(name, number)
                            number += 1
                            continue
                        if lines.escaped:
                            cells = [cell.replace(_ZERO, "\0") for cell in cells]  # noqa: PLW2901
                    if len(cells) == width:
                        yield Row(name, number, dict(zip(columns, cells)))  # noqa: B905 - just compared
                    elif not cells or (len(cells) == 1 and cells[0] and not cells[0].strip(" \t")):
                        continue  # a blank line
                    else:
                        yield unreadable_row(
                            name, number, f"it has {_cells(len(cells))}, the header has {_cells(width)}"
                        )
                    number += 1
            except _TooLargeError:
                if not lines.skip():
                    raise _unclosed(name, number) from None
                yield too_large_row(name, number, limit)
                number += 1


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


def _unclosed(name: str, number: int) -> UnreadableFile:
    return UnreadableFile(
        name,
        f"a quote opened in row {number} is never closed, so the rows after it cannot be read: "
        "close it, or double it if it belongs to the text",
    )


class _TooLargeError(Exception):
    """The current record is over the limit; raised through `csv.reader`."""


class _At(Enum):
    """The position within a record, as `csv` sees it."""

    START = "of a cell"
    CELL = "in a cell without quotes"
    QUOTED = "in quotes"
    QUOTE = "after a quote in quotes: it closes them, or the next one makes them a quote"


class _Lines:
    """Feeds `csv.reader` with lines, block by block, and measures the open record.

    A block is not larger than the limit, so only the first record that ends in a block can be too large.
    Only that one is measured: O(1) per record, no cost per line.

    `done` is set by the caller: the reader's `line_num` after the last complete record. `watch` is true if
    the current record must be checked: the first of a block, one near bytes that are not UTF-8, or one that
    the end of the file cuts.
    """

    def __init__(self, blocks: Iterable[bytes], delimiter: str, limit: int) -> None:
        self.done = 0
        self.watch = True
        self.escaped = False
        self.ended = False
        self._blocks = line_blocks(blocks, limit)
        self._delimiter = delimiter
        self._limit = limit
        self._block = b""  # the reader's current block
        self._before = 0  # the reader's line_num at the start of this block
        self._open = 0  # bytes of the open record in earlier blocks
        self._first = True  # no record has ended in this block yet
        self._rest: tuple[BlockKind, bytes] | None = None  # read, but neither yielded nor skipped
        self._at = _At.START  # in a record that is too large: the start of `_rest` or the next block
        self._cell_end = re.compile(rb'%s"|\r\n|\n|\r' % re.escape(delimiter.encode()))
        # Process-wide, and never lowered: our own limit decides.
        needed = 2 * limit + 2 * BLOCK
        if csv.field_size_limit() < needed:
            csv.field_size_limit(needed)

    def reader(self) -> Reader:
        """Return a reader from here on; `_TooLargeError` makes a new one necessary."""
        self.done = self._before = self._open = 0
        self._block = b""
        self._reader = csv.reader(chain.from_iterable(self), delimiter=self._delimiter)
        return self._reader

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> StringIO:
        self._open = self._size_of_open_record()
        inside = self._reader.line_num != self.done
        self.watch = self._first = True
        self._at = _At.QUOTED if inside else _At.START  # a line end within a record is quoted
        if self._open > self._limit:
            raise _TooLargeError
        item = self._next_item()
        if item is None:
            # In the middle of a record the reader now ends it and returns it.
            self.ended = True
            raise StopIteration
        kind, data = item
        if kind is not BlockKind.LINES:
            self._rest = item
            raise _TooLargeError
        self._block, self._before = data, self._reader.line_num
        text, escaped = _decode(data)
        self.escaped = escaped or (inside and self.escaped)
        return StringIO(text, newline="")

    def _next_item(self) -> tuple[BlockKind, bytes] | None:
        item, self._rest = self._rest or next(self._blocks, None), None
        return item

    def _size_of_open_record(self) -> int:
        read = self._reader.line_num
        if read == self.done:
            return 0
        if self.done <= self._before:  # all of the block belongs to it
            return self._open + len(self._block)
        return sum(map(len, self._block.splitlines(keepends=True)[self.done - read :]))

    def watched_size(self) -> int:
        """Return the size of the checked record if it may be over the limit, else 0."""
        lines = self.done - self._before
        if not self._first or (lines == 1 and not self._open):
            return 0
        start = b"".join(self._block.splitlines(keepends=True)[:lines])
        return self._open + len(start.rstrip(b"\r\n"))

    def end_watch(self) -> None:
        """Note that the checked record is done."""
        self._first = False
        self.watch = self.escaped

    def skip(self) -> bool:
        """Skip the rest of the record that is too large; False if its quotes never close."""
        while (item := self._next_item()) is not None:
            data = item[1]
            end = self._end(data)
            if end is not None:
                if end < len(data):
                    self._rest = (BlockKind.LINES, data[end:])
                return True
        self.ended = True
        return self._at is not _At.QUOTED

    def _end(self, data: bytes) -> int | None:
        """Return the position after the record's line end, or None if it is not in `data`.

        As in `csv`, quotes count only at the start of a cell, and doubled quotes are text.
        """
        place = 0
        while place < len(data):
            if self._at is _At.QUOTED:
                place = data.find(b'"', place) + 1
                if not place:
                    return None
                self._at = _At.QUOTE
            elif self._at is _At.CELL:
                found = self._cell_end.search(data, place)
                if found is None:
                    self._at = _At.START if data.endswith(self._delimiter.encode()) else _At.CELL
                    return None
                if not found[0].endswith(b'"'):
                    return found.end()
                place, self._at = found.end(), _At.QUOTED
            else:
                quoted = data.startswith(b'"', place)
                place += quoted
                self._at = _At.QUOTED if quoted else _At.CELL
        return None


def _decode(data: bytes) -> tuple[str, bool]:
    """Return the text, and whether it has replacements of bytes that are not UTF-8 or of zero bytes."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode(errors="surrogateescape")
    else:
        if b"\0" not in data:
            return text, False
    return text.replace("\0", _ZERO), True
