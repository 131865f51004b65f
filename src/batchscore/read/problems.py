"""The row errors and the checks that several readers share, in one wording.

No message quotes a cell: records are shown to people who may not see the input.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable

from batchscore.errors import ErrorCode, UnreadableFile
from batchscore.rows import Row, RowError, UnreadableRow

Rows = Generator[Row | UnreadableRow, None, None]


def unreadable(file: str, number: int, message: str) -> UnreadableRow:
    """Make the error of a row that breaks the rules of its format; `message` begins with "it"."""
    return UnreadableRow(file, number, RowError(ErrorCode.UNREADABLE_ROW, sentence(message)))


def not_utf8(file: str, number: int) -> UnreadableRow:
    """Make the error of a row in another encoding."""
    return unreadable(
        file, number, "it holds bytes that are not UTF-8: convert the file, for example with iconv"
    )


def too_large(file: str, number: int, limit: int) -> UnreadableRow:
    """Make the error of a row over the limit."""
    return UnreadableRow(
        file,
        number,
        RowError(ErrorCode.ROW_TOO_LARGE, f"The row is larger than {limit} bytes (--max-row-bytes)."),
    )


def sentence(message: str) -> str:
    """Return what is wrong with a row as a sentence of its own."""
    return f"The row cannot be read: {message.rstrip('.')}."


def named_once(file: str, columns: Iterable[str]) -> tuple[str, ...]:
    """Give the columns, or raise `UnreadableFile` where two have one name: a cell could not be told by it."""
    names = tuple(columns)
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else ()
    if twice:
        shown = ", ".join(repr(name[:40]) for name in twice[:5])
        raise UnreadableFile(file, f"several columns have the same name: {shown}. Name each differently")
    return names


def given(rows: Iterable[Row | UnreadableRow] = ()) -> Rows:
    """Give rows that are in memory as every reader gives them: once, and closable."""
    yield from rows
