"""How does a JSON value become a row, and which columns do a file's JSON rows have?

It knows values, not bytes: `lines`, `document` and `records` find the values in a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any

from batchscore.errors import UnreadableFile
from batchscore.read.problems import Rows, iterate, unreadable_row
from batchscore.rows import TEXT_COLUMN, Row, Table, UnreadableRow

#: Rows, and bytes of the file, that are read to find the names of columns.
PEEKED_ROWS = 100
PEEKED_BYTES = 1 << 20

#: What may be between objects that follow each other: also commas, and the separator of RFC 7464.
BETWEEN = " \t\r\n,\x1e\ufeff"

#: A string of JSON may be cut between the two halves of a character beyond 16 bits.
HALF_CHARACTER = "half a character: a \\ud800 to \\udfff without its other half"

# Accept a raw tab or line break within a string: a common mistake with a clear meaning.
DECODER = json.JSONDecoder(strict=False)


class BareText(dict[str, Any]):
    """The values of a JSON string; the type distinguishes them from those of an object."""


def is_encodable(value: object) -> bool:
    """Whether all strings within can be written as UTF-8: Python's JSON lets lone surrogates pass."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def row_of(name: str, number: int, value: object, line: int | None = None) -> Row | UnreadableRow:
    """Return the row of a JSON value; `line` is as in `unreadable_row`."""
    if isinstance(value, dict):
        return Row(name, number, value)
    if value is None or isinstance(value, str):
        return Row(name, number, BareText({TEXT_COLUMN: value}))
    return unreadable_row(name, number, "it is neither an object nor a string", line)


def peek_table(open_rows: Callable[[int | None], Rows]) -> Table:
    """Return a table of JSON rows; read the first rows to find its columns.

    `open_rows` is called with the most bytes that it may read, and with None for all rows. Reading goes
    beyond the first megabyte only if no row in it can be read.
    """
    first = _first_rows(open_rows(PEEKED_BYTES), PEEKED_ROWS, cut=True)
    first = first or _first_rows(open_rows(None), 1)
    return _table(first, open_rows(None))


def rows_table(rows: Sequence[Row | UnreadableRow]) -> Table:
    """Return a table of JSON rows that are in memory."""
    return _table([row for row in rows if isinstance(row, Row)], iterate(rows))


def _table(first: Sequence[Row], rows: Rows) -> Table:
    columns, texts = _columns_of([row.values for row in first])
    headerless = bool(first) and all(isinstance(row.values, BareText) for row in first)
    return Table(columns, texts, headerless=headerless, rows=rows, varies=not headerless)


def _first_rows(rows: Rows, wanted: int, *, cut: bool = False) -> list[Row]:
    """Return the first readable rows; raises `UnreadableFile` only if the file breaks off before any row."""
    found: list[Row] = []
    any_row = False
    with closing(rows):
        try:
            for row in rows:
                any_row = True
                if isinstance(row, Row):
                    found.append(row)
                    if len(found) == wanted:
                        break
        except UnreadableFile:
            if not any_row and not cut:
                raise
    return found


def _columns_of(rows: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return all columns, and those whose first value other than null is a text, in file order."""
    first: dict[str, Any] = {}
    for values in rows:
        for column, value in values.items():
            if first.get(column) is None:
                first[column] = value
    return tuple(first), tuple(column for column, value in first.items() if isinstance(value, str))
