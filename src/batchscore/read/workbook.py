"""Which rows does a sheet of an xlsx workbook hold, as people see them?

openpyxl reads the sheet row by row; the texts that cells share are in memory, so their size has a bound. It
is imported only when a workbook is opened. The values of formulas are those that were saved with them.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from batchscore.errors import UnreadableFile
from batchscore.read.first_bytes import looks_like, page_in
from batchscore.read.header import HeaderLines, header_doubt, hidden_names, unnamed
from batchscore.read.input_file import InputFile, ReadOptions
from batchscore.read.problems import (
    Rows,
    iterate,
    number_repeated,
    repeated_text,
    too_large_row,
    unreadable_row,
)
from batchscore.read.sheet_rows import SheetRows
from batchscore.read.stream import explain_read_errors
from batchscore.read.workbook_cells import shown_value
from batchscore.rows import Row, Table
from batchscore.stores.storage import open_seekable

if TYPE_CHECKING:
    from openpyxl.workbook import Workbook

    from batchscore.read.workbook_parts import Parts

#: Rows from which the columns are found, and rows that are read at a time.
_SAMPLE = 100
_BATCH = 64

#: Adjacent columns without any cell in the first rows that may belong to the table.
_MOST_EMPTY = 64

_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"

#: In a sheet's XML: the range of merged cells, and a formula without a stored value.
_MERGED = re.compile(rb"<(?:\w+:)?mergeCell [^<>]*?ref=\"([A-Z]+)(\d+):([A-Z]+)(\d+)\"")
_NO_VALUE = re.compile(rb"(?:</(?:\w+:)?f>|<(?:\w+:)?f(?: [^<>]*)?/>)(?:<v\s*/>|<v></v>)?</(?:\w+:)?c>")
_DIMENSION = re.compile(rb"<(?:\w+:)?dimension [^<>]*?ref=\"[A-Z]+(\d+):[A-Z]+(\d+)\"")
_BLOCK = 2**20


@dataclass(slots=True)
class _Sheet:
    """One sheet of an open workbook; `merged` are the vertical merges by their first row: column and end."""

    name: str
    path: str
    rows: Iterator[Any]
    count: int
    merged: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    unvalued: bool = False


def workbook_table(file: InputFile, options: ReadOptions) -> Table:
    """Open a sheet: its first row that is not empty is the header. Empty rows are no rows."""
    with _open(file, options) as sheet:
        first = list(islice(_filled_rows(sheet, options, _places_of(options)), _SAMPLE + 1))
        if not first:
            return Table((), (), headerless=False, rows=iterate())
        name, several, unvalued = sheet.name, sheet.count > 1 and options.sheet is None, sheet.unvalued
    width = max(len(cells) for cells in first)
    named = [] if options.no_header else [_header_text(cell) for cell in first[0]]
    sample = first if options.no_header else first[1:]
    filled = {place for cells in sample for place, cell in enumerate(cells) if cell is not None}
    filled |= {place for place, name in enumerate(named) if name}
    places = _places(filled, width)
    given = [named[place] if place < len(named) else "" for place in places]
    free = [*unnamed(width)]
    names = [name or free[place] for name, place in zip(given, places, strict=True)]
    columns, repeated = number_repeated(names)
    texts = {place for cells in sample for place, cell in enumerate(cells) if isinstance(cell, str)}
    doubt = "" if options.no_header else header_doubt(tuple(names))
    hidden = () if options.no_header else hidden_names(tuple(given), columns)
    notes = (
        f"sheet {name!r}, the first one" if several else "",
        "formulas without a stored value are empty: open the file in a spreadsheet program and save it"
        if unvalued
        else "",
        repeated_text(repeated, hidden=bool(hidden)),
    )
    rows = _places_of(options)
    return Table(
        columns,
        tuple(name for place, name in zip(places, columns, strict=True) if place in texts),
        headerless=False,
        rows=_rows(file, options, columns, places, rows),
        notes=tuple(filter(None, notes)),
        repeated=repeated,
        doubt=doubt,
        hidden=hidden,
        sheet_row=rows,
    )


def _places_of(options: ReadOptions) -> SheetRows:
    return SheetRows((options.skip_lines or 0) + (not options.no_header))


def rows_of_sheet(file: InputFile, options: ReadOptions) -> int | None:
    """Return about how many rows a sheet has, from its stated size; `None` if it states none."""
    with _workbook(file) as (parts, book), parts.open(_chosen(file, options, book)[0]) as xml:
        found = _DIMENSION.search(xml.read(4096))
    return None if found is None else int(found[2]) - int(found[1]) + int(options.no_header)


def _places(filled: Collection[int], width: int) -> list[int]:
    """Return the places of the columns: all, but for long runs of empty ones before a stray cell."""
    places: list[int] = []
    for place in range(width):
        last = places[-1] if places else -1
        if place in filled and place - last > _MOST_EMPTY:
            places.append(place)
        elif place in filled:
            places += range(last + 1, place + 1)
    return places


def _rows(
    file: InputFile, options: ReadOptions, columns: Sequence[str], places: Sequence[int], found: SheetRows
) -> Rows:
    name, limit, width = file.name, options.max_row_bytes, places[-1] + 1 if places else 0
    blank = [None] * width
    left_out = sorted({*range(width)} - {*places})
    with _open(file, options) as sheet:
        rows = _filled_rows(sheet, options, found)
        header = HeaderLines([] if options.no_header else next(rows, []), 0)
        for number, cells in enumerate(rows):
            if len(cells) > width:
                message = f"it has {len(cells)} cells, and the sheet has {width} columns"
                yield unreadable_row(name, number, message)
            elif message := header.problem(number, cells):
                yield unreadable_row(name, number, message)
            elif left_out and any(cells[place] is not None for place in left_out if place < len(cells)):
                yield unreadable_row(name, number, "it has a cell between the table and a stray one")
            elif sum(len(cell) for cell in cells if type(cell) is str) * 4 > limit and _size(cells) > limit:
                yield too_large_row(name, number, limit)
            else:
                whole = [*cells, *blank[len(cells) :]]
                named = [whole[place] for place in places] if left_out else whole
                yield Row(name, number, dict(zip(columns, named, strict=True)))


def _size(cells: Sequence[Any]) -> int:
    return sum(len(cell.encode(errors="replace")) for cell in cells if isinstance(cell, str))


def _filled_rows(sheet: _Sheet, options: ReadOptions, places: SheetRows) -> Iterator[list[Any]]:
    """Yield the cells of each row that has any, without empty ones at its end, and note the blank rows.

    A cell that is merged with those below it counts in each of its rows, but not in the header.
    """
    merged: list[tuple[int, int, Any]] = []
    is_header = True
    skipped, following = options.skip_lines or 0, 0 if options.no_header else -1
    for number, raw in enumerate(sheet.rows, 1):
        if number <= skipped:
            continue
        cells = [shown_value(cell) for cell in raw]
        while cells and cells[-1] is None:
            cells.pop()
        filled = bool(cells)
        merged = [each for each in merged if each[1] >= number]
        for column, _, value in merged if filled and not is_header else ():
            cells += [None] * (column + 1 - len(cells))
            cells[column] = value
        for column, end in sheet.merged.get(number, ()):
            if column < len(cells):
                merged.append((column, end, cells[column]))
        if filled:
            is_header = False
            following += 1
            yield cells
        else:
            places.note_blank(following)


def _header_text(cell: Any) -> str:
    if cell is None:
        return ""
    return str(cell.isoformat()) if hasattr(cell, "isoformat") else str(cell)


@contextmanager
def _workbook(file: InputFile) -> Iterator[tuple[Parts, Workbook]]:
    """Give the workbook and its parts; any error of openpyxl means that it is damaged."""
    from batchscore.read.workbook_parts import DAMAGED, Parts, load_book  # noqa: PLC0415 - imports openpyxl

    with explain_read_errors(file.name):
        with file.open() as raw:
            head = raw.read(4096) or b""
        if not head.startswith(_ZIP):
            what = looks_like(head) or page_in(head)
            if head.startswith(_OLE):
                what = "a workbook with a password, or an old one: save it as xlsx without password"
            raise UnreadableFile(
                file.name,
                f"it is not an Excel workbook, but {what}" if what else "it is not an Excel workbook",
            )
        with open_seekable(file.path) as source:
            try:
                with Parts(source, file.name) as parts:
                    with _no_warnings():
                        book = load_book(parts)
                    yield parts, book
            except (UnreadableFile, OSError):
                raise
            except Exception as error:  # each kind of damage has its own
                raise UnreadableFile(file.name, DAMAGED) from error


@contextmanager
def _open(file: InputFile, options: ReadOptions) -> Iterator[_Sheet]:
    with _workbook(file) as (parts, book):
        path, name, count = _chosen(file, options, book)
        sheet = book[name]
        opened = _Sheet(name, path, _quietly(parts.rows(sheet)), count)
        _look_through(parts, opened)
        yield opened


@contextmanager
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _quietly(rows: Iterator[Any]) -> Iterator[Any]:
    """Yield the rows without openpyxl's warnings of what it does not read, such as charts."""
    while True:
        with _no_warnings():
            batch = list(islice(rows, _BATCH))
        if not batch:
            return
        yield from batch


def _chosen(file: InputFile, options: ReadOptions, book: Workbook) -> tuple[str, str, int]:
    """Return path and name of the chosen sheet, and how many there are; raises `UnreadableFile`."""
    sheets = book.worksheets
    visible = [each for each in sheets if each.sheet_state == "visible"] or sheets
    wanted = options.sheet
    if wanted is None:
        found = visible[:1]
    else:
        found = [each for each in sheets if each.title == wanted]
        found = found or [each for each in sheets if each.title.strip().lower() == wanted.strip().lower()]
        if not found and wanted.isdecimal():
            found = sheets[int(wanted) - 1 : int(wanted)] if int(wanted) else []
    if not found:
        names = ", ".join(repr(each.title[:40]) for each in sheets[:20])
        raise UnreadableFile(file.name, f"it has no sheet {wanted!r}; its sheets are {names}")
    return found[0]._worksheet_path, found[0].title, len(visible)  # noqa: SLF001 - it has no public name


def _look_through(parts: Parts, sheet: _Sheet) -> None:
    """Find what openpyxl does not report while it streams: merged cells, and formulas without a value."""
    from openpyxl.utils import column_index_from_string  # noqa: PLC0415

    rest = b""
    with parts.open(sheet.path) as xml:
        while block := xml.read(_BLOCK):
            text = rest + block
            sheet.unvalued = sheet.unvalued or _NO_VALUE.search(text) is not None
            for found in _MERGED.finditer(text):
                left, top, _, bottom = found.groups()
                if int(bottom) > int(top):
                    place = (column_index_from_string(left.decode()) - 1, int(bottom))
                    places = sheet.merged.setdefault(int(top), [])
                    if place not in places:
                        places.append(place)
            rest = text[-_LONGEST_TAGS:]


#: More bytes than the tags of one pattern have.
_LONGEST_TAGS = 4096
