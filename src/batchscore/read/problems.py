"""Which row errors and checks do several readers share?

No message quotes a cell: records are shown to people who may not see the input.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable

from batchscore.errors import ErrorCode, UnreadableFile
from batchscore.rows import Row, RowError, UnreadableRow

Rows = Generator[Row | UnreadableRow, None, None]


def unreadable_row(file: str, number: int, message: str) -> UnreadableRow:
    """Return the error of a row that breaks the rules of its format; `message` begins with "it"."""
    text = f"The row cannot be read: {message}."
    return UnreadableRow(file, number, RowError(ErrorCode.UNREADABLE_ROW, text))


def not_utf8_row(file: str, number: int) -> UnreadableRow:
    """Return the error of a row in another encoding."""
    return unreadable_row(
        file, number, "it holds bytes that are not UTF-8: convert the file, for example with iconv"
    )


def too_large_row(file: str, number: int, limit: int) -> UnreadableRow:
    """Return the error of a row over the limit."""
    return UnreadableRow(
        file,
        number,
        RowError(ErrorCode.ROW_TOO_LARGE, f"The row is larger than {limit} bytes (max_row_bytes)."),
    )


def unique_names(file: str, columns: Iterable[str]) -> tuple[str, ...]:
    """Return the columns; raises `UnreadableFile` if two have the same name."""
    names = tuple(columns)
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else ()
    if twice:
        shown = ", ".join(repr(name[:40]) for name in twice[:5])
        raise UnreadableFile(file, f"several columns have the same name: {shown}. Name each differently")
    return names


def iterate(rows: Iterable[Row | UnreadableRow] = ()) -> Rows:
    """Yield rows that are in memory like every reader does: only once, and closable."""
    yield from rows
