"""Which row errors and checks do several readers share?

No message quotes a cell: records are shown to people who may not see the input.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable

from batchscore.errors import ErrorCode, UnreadableFile
from batchscore.rows import Row, RowError, UnreadableRow

Rows = Generator[Row | UnreadableRow, None, None]


def unreadable_row(file: str, number: int, message: str) -> UnreadableRow:
    """Return the error of a row that breaks the rules of its format; `message` begins with "it"."""
    return UnreadableRow(
        file, number, RowError(ErrorCode.UNREADABLE_ROW, f"The row cannot be read: {message}.")
    )


def not_utf8_row(file: str, number: int) -> UnreadableRow:
    """Return the error of a row in another encoding."""
    message = "it holds bytes that are not UTF-8: convert the file, for example with iconv"
    return unreadable_row(file, number, message)


def too_large_row(file: str, number: int, limit: int) -> UnreadableRow:
    """Return the error of a row over the limit."""
    message = f"The row is larger than {limit} bytes (max_row_bytes)."
    return UnreadableRow(file, number, RowError(ErrorCode.ROW_TOO_LARGE, message))


def unique_names(file: str, columns: Iterable[str]) -> tuple[str, ...]:
    """Return the columns; raises `UnreadableFile` if two have the same name."""
    names = tuple(columns)
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        shown = ", ".join(repr(name[:40]) for name in twice[:5])
        raise UnreadableFile(file, f"several columns have the same name: {shown}. Name each differently")
    return names


def iterate(rows: Iterable[Row | UnreadableRow] = ()) -> Rows:
    """Yield rows that are in memory like every reader does: only once, and closable."""
    yield from rows
