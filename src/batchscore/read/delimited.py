"""Which records does a csv or tsv file hold?

The standard library's `csv` decides where a record ends and what its cells are. This module adds row
numbers, recovery after a bad record, and bounded memory for any file; `dialect` says how records are
written. All cells are unchanged text. A record's size is that of its bytes, without its line end.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from contextlib import nullcontext
from enum import Enum
from io import StringIO
from itertools import chain
from typing import TYPE_CHECKING

from batchscore.errors import UnreadableFile, count_text, setting_name
from batchscore.read.dialect import (
    SPANS_ROWS,
    ZERO,
    Dialect,
    begin,
    decode_text,
    is_blank_line,
    plain_dialect,
    spans_rows,
)
from batchscore.read.header import (
    HeaderLines,
    divider_doubt,
    header_doubt,
    hidden_names,
    plain_header,
    unnamed,
)
from batchscore.read.input_file import InputFile, ReadOptions
from batchscore.read.problems import (
    Rows,
    iterate,
    not_utf8_row,
    number_repeated,
    repeated_text,
    too_large_row,
    unclosed_quote,
    unreadable_row,
)
from batchscore.read.sheet_rows import SheetRows
from batchscore.read.stream import BLOCK, BlockKind, line_blocks, text_blocks, without_lines
from batchscore.rows import Row, Table, UnreadableRow

if TYPE_CHECKING:
    from _csv import Reader

# Decoding turns each byte that is not UTF-8 into one of these, which strict UTF-8 never contains.
_ESCAPED = re.compile("[\udc80-\udcff]")


def delimited_table(file: InputFile, options: ReadOptions, *, delimiter: str) -> Table:
    """Open a csv (`,`) or tsv (tab) file: find its dialect and read its header now, its rows on demand."""
    limit = options.max_row_bytes
    dialect, content = begin(file, options, delimiter)
    if (header := _header(file, dialect, limit, content)) is None:
        return Table((), (), headerless=False, rows=iterate())
    columns, repeated = header
    hidden = hidden_names(columns, columns) if dialect.header else ()
    notes = tuple(filter(None, [dialect.text(), repeated_text(repeated, hidden=bool(hidden))]))

    def opened() -> Table:
        # A spreadsheet program does not show the preface.
        places = SheetRows(dialect.skipped - dialect.preface + dialect.header)
        return Table(
            columns,
            columns,
            headerless=False,
            rows=_rows(file, columns, dialect, limit, places),
            notes=notes,
            repeated=repeated,
            doubt=header_doubt(columns) or divider_doubt(dialect.divider) if dialect.header else "",
            hidden=hidden,
            sheet_row=places,
            again=None if file.content is None else opened,
        )

    return opened()


def _header(
    file: InputFile, dialect: Dialect, limit: int, content: bytes | None
) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return the columns, and the names that several of them have; `None` if there is no record.

    The file is not opened again if its `content` is known.
    """
    if (
        dialect is plain_dialect(dialect.own)
        and content
        and len(content) <= limit
        and (plain := plain_header(content, dialect.own))
    ):
        return number_repeated(plain)
    known = None if content is None or len(content) > limit else nullcontext(filter(None, [content]))
    with known or text_blocks(file, size=limit) as blocks:
        lines = _Lines(without_lines(blocks, dialect.skipped), dialect, limit)
        try:
            filled = (cells for cells in lines.reader() if not is_blank_line(cells))
            cells: list[str] | None = next(filled, None)
        except _TooLargeError:
            raise UnreadableFile(
                file.name,
                f"its header is larger than a row may be ({limit} bytes), or a quote in it is never closed",
            ) from None
        except csv.Error:
            reason = "a quote opened in its header is never closed"
            if not lines.ended:
                reason = f"in its header {_AFTER_QUOTE}"
            raise UnreadableFile(file.name, reason) from None
        if cells is None:
            return None
        if not dialect.header:
            return tuple(unnamed(len(cells))), ()
        if _ESCAPED.search("".join(cells)):
            raise UnreadableFile(
                file.name,
                "its header is not UTF-8: convert the file, for example with iconv -f WINDOWS-1252 -t UTF-8",
            )
    if dialect.is_prepared:
        cells = [dialect.restore(cell) for cell in cells]
    if dialect.trailing < 0:
        cells.pop()
    if dialect.spaced:
        cells = [cell.strip(" ") for cell in cells]
    # pandas writes an unnamed index as an unnamed column.
    names = [name.replace(ZERO, "\0") or f"column_{place}" for place, name in enumerate(cells)]
    return number_repeated(names)


def _rows(file: InputFile, columns: tuple[str, ...], dialect: Dialect, limit: int, places: SheetRows) -> Rows:
    name, width = file.name, len(columns)
    wider = width + dialect.trailing if dialect.trailing > 0 else -1
    number, header = -1 if dialect.header else 0, HeaderLines()
    # The lines before the reader's first; unknown behind a record that was too large to be read.
    before: int | None = dialect.skipped
    with text_blocks(file, size=limit) as blocks:
        lines = _Lines(without_lines(blocks, dialect.skipped), dialect, limit)
        reader, done = lines.reader(), 0
        while True:
            try:
                for cells in reader:
                    lines.done = line = reader.line_num
                    if lines.watch:
                        if number < 0:
                            done, (number, header) = line, _after_header(cells, lines, places)
                            continue
                        checked = _checked(file, number, cells, lines, limit, _line(before, done))
                        if isinstance(checked, UnreadableRow):
                            yield checked
                            number, done = number + 1, line
                            continue
                        cells = checked  # noqa: PLW2901
                    if line - done > 1 and spans_rows(dialect, cells, width):
                        message = SPANS_ROWS
                    elif len(cells) == width or (len(cells) == wider and not any(cells[width:])):
                        message = header.problem(number, cells)
                    elif is_blank_line(cells):
                        done = line
                        places.note_blank(number)
                        continue
                    else:
                        its, wanted = count_text(len(cells), "cell"), count_text(width, "cell")
                        message = f"it has {its}, the header has {wanted}"
                    row = Row(name, number, dict(zip(columns, cells)))  # noqa: B905 - a wrong width has a message
                    yield unreadable_row(name, number, message, _line(before, done)) if message else row
                    number, done = number + 1, line
            except csv.Error:
                if lines.ended:
                    raise unclosed_quote(name, number) from None
                yield unreadable_row(name, number, _AFTER_QUOTE, _line(before, done))
                lines.done = done = reader.line_num
                lines.end_watch()
                number += 1
            except _TooLargeError:
                if not lines.skip():
                    raise unclosed_quote(name, number) from None
                yield too_large_row(name, number, limit)
                number += 1
                reader, done, before = lines.reader(), 0, None
            else:
                return


def _after_header(cells: list[str], lines: _Lines, places: SheetRows) -> tuple[int, HeaderLines]:
    """Return the number of the next record and the header; -1 if these cells are a blank line before it."""
    if is_blank_line(cells):
        places.note_blank(-1)
        return -1, HeaderLines()
    lines.end_watch()
    return 0, HeaderLines([lines.dialect.restore(cell) for cell in cells], 0)


def _line(before: int | None, done: int) -> int | None:
    """Return the line at which a record begins, behind `done` lines of the reader; `None` if unknown."""
    return None if before is None else before + done + 1


def _checked(
    file: InputFile, number: int, cells: list[str], lines: _Lines, limit: int, line: int | None
) -> list[str] | UnreadableRow:
    """Return the cells of a record that must be checked, or its error."""
    oversized = lines.watched_size() > limit
    lines.end_watch()
    if oversized:
        return too_large_row(file.name, number, limit)
    if lines.escaped:
        if _ESCAPED.search("".join(cells)):
            return not_utf8_row(file.name, number, file.encoding, line)
        cells = [cell.replace(ZERO, "\0") for cell in cells]
    return [lines.dialect.restore(cell) for cell in cells] if lines.dialect.is_prepared else cells


_AFTER_QUOTE = (
    "text follows a closing quote. If quotes within texts are escaped, name how with "
    f"{setting_name('escape')}, and if quotes enclose no cells, give {setting_name('quote', 'none')}"
)


_LINE_END = re.compile(rb"\r\n|\n|\r")


class _TooLargeError(Exception):
    """The current record is over the limit; raised through `csv.reader`."""


class _At(Enum):
    """The position within a record, as `csv` sees it."""

    START = "of a cell"
    CELL = "in a cell without quotes"
    QUOTED = "in quotes"
    QUOTE = "after a quote in quotes: it closes them, or the next one makes them a quote"
    BROKEN = "in text after a closing quote, which is an error: the record ends with its line"


class _Lines:
    """Feeds `csv.reader` with lines, block by block, and measures the open record.

    A block is not larger than the limit, so only the first record that ends in a block can be too large.
    Only that one is measured: O(1) per record, no cost per line.

    `done` is set by the caller: the reader's `line_num` after the last complete record. `watch` is true if
    the current record must be checked: the first of a block, one near bytes that are not UTF-8, or any in a
    dialect whose cells have marks.
    """

    def __init__(self, blocks: Iterable[bytes], dialect: Dialect, limit: int) -> None:
        self.done = 0
        self.watch = True
        self.escaped = False
        self.ended = False
        self._blocks = line_blocks(blocks, limit)
        self.dialect = dialect
        self._delimiter = dialect.delimiter.encode()
        self._quote = b"" if dialect.quote is None else dialect.quote.encode()
        self._escape = b"" if dialect.escape is None else dialect.escape.encode()
        self._limit = limit
        self._block = b""  # the reader's current block
        self._before = 0  # the reader's line_num at the start of this block
        self._open = 0  # bytes of the open record in earlier blocks
        self._first = True  # no record has ended in this block yet
        self._rest: tuple[BlockKind, bytes] | None = None  # read, but neither yielded nor skipped
        self._at = _At.START  # in a record that is too large: the start of `_rest` or the next block
        opening = re.escape(self._delimiter + self._quote) + b"|" if self._quote else b""
        self._cell_end = re.compile(opening + rb"\r\n|\n|\r")
        # Process-wide, and never lowered: our own limit decides.
        needed = 2 * limit + 2 * BLOCK
        if csv.field_size_limit() < needed:
            csv.field_size_limit(needed)

    def reader(self) -> Reader:
        """Return a reader from here on; `_TooLargeError` makes a new one necessary."""
        self.done = self._before = self._open = 0
        self._block = b""
        self._reader = csv.reader(chain.from_iterable(self), **self.dialect.csv_options)
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
        text, escaped = decode_text(data)
        self.escaped = escaped or (inside and self.escaped)
        if self.dialect.is_prepared:
            text = self.dialect.prepare(text)
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
        self.watch = self.escaped or self.dialect.is_prepared

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
                place = data.find(self._quote, place) + len(self._quote)
                if place < len(self._quote):
                    return None
                if not self._is_escaped(data, place - len(self._quote)):
                    self._at = _At.QUOTE
            elif self._at is _At.CELL:
                found = self._cell_end.search(data, place)
                if found is None:
                    self._at = _At.START if data.endswith(self._delimiter) else _At.CELL
                    return None
                if found[0] in {b"\r\n", b"\n", b"\r"}:
                    return found.end()
                place, self._at = found.end(), _At.QUOTED
            elif self._at is _At.BROKEN:
                found = _LINE_END.search(data, place)
                return None if found is None else found.end()
            elif self._at is _At.QUOTE and not data.startswith(
                (self._quote, self._delimiter, b"\r", b"\n"), place
            ):
                self._at = _At.BROKEN
            else:
                quoted = bool(self._quote) and data.startswith(self._quote, place)
                place += len(self._quote) if quoted else 0
                self._at = _At.QUOTED if quoted else _At.CELL
        return None

    def _is_escaped(self, data: bytes, place: int) -> bool:
        before = data[:place]
        return bool(self._escape) and (len(before) - len(before.rstrip(self._escape))) % 2 == 1
