"""Which row errors and checks do several readers share?

No message quotes a cell: records are shown to people who may not see the input.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable
from itertools import count

from batchscore.errors import ErrorCode, UnreadableFile, name_settings, setting_name
from batchscore.read.input_file import UTF_8
from batchscore.rows import Row, RowError, UnreadableRow

Rows = Generator[Row | UnreadableRow, None, None]


def unreadable_row(file: str, number: int, message: str, line: int | None = None) -> UnreadableRow:
    """Return the error of a row that breaks the rules of its format; `message` begins with "it".

    `line` is the line of the file at which the row begins, from 1, if that is known.
    """
    where = "" if line is None else f" (line {line})"
    text = f"The row cannot be read{where}: {name_settings(message)}."
    return UnreadableRow(file, number, RowError(ErrorCode.UNREADABLE_ROW, text))


def not_utf8_row(
    file: str, number: int, encoding: str | None = UTF_8, line: int | None = None
) -> UnreadableRow:
    """Return the error of a row in another encoding; `line` is as in `unreadable_row`."""
    message = "it holds bytes that are not UTF-8: convert the file, for example with iconv"
    if encoding not in {None, UTF_8}:
        message = f"it holds bytes that are not {encoding}"
    return unreadable_row(file, number, message, line)


def too_large_row(file: str, number: int, limit: int) -> UnreadableRow:
    """Return the error of a row over the limit."""
    message = f"The row is larger than {limit} bytes (max_row_bytes)."
    return UnreadableRow(file, number, RowError(ErrorCode.ROW_TOO_LARGE, message))


def unclosed_quote(file: str, number: int) -> UnreadableFile:
    """Return the error of a file of which no rows can be read after a quote."""
    return UnreadableFile(
        file,
        f"a quote opened in row {number} is never closed, so the rows after it cannot be read: "
        "close it, or double it if it belongs to the text; "
        f"if no cell is quoted, give {setting_name('quote', 'none')}",
    )


def unique_names(file: str, columns: Iterable[str]) -> tuple[str, ...]:
    """Return the columns; raises `UnreadableFile` if two have the same name."""
    names = tuple(columns)
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if twice:
        shown = ", ".join(repr(name[:40]) for name in twice[:5])
        raise UnreadableFile(file, f"several columns have the same name: {shown}. Name each differently")
    return names


def number_repeated(columns: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns, with a number behind a name that an earlier one has, and the repeated names."""
    names: dict[str, None] = {}
    given = list(columns)
    if len(set(given)) == len(given):
        return tuple(given), ()
    repeated = tuple(name for name, times in Counter(given).items() if times > 1)
    for name in given:
        free = (other for number in count(1) if (other := f"{name}_{number}") not in given)
        names[name if name not in names else next(other for other in free if other not in names)] = None
    return tuple(names), repeated


def repeated_text(repeated: Iterable[str], *, hidden: bool) -> str:
    """Return what is said of columns with the same name, nothing if there are none."""
    shown = ", ".join(repr(name[:40]) for name in [*repeated][:5])
    named = "with the same name" if hidden else f"named {shown}"
    return f"several columns {named}, the later ones numbered" if shown else ""


def iterate(rows: Iterable[Row | UnreadableRow] = ()) -> Rows:
    """Yield rows that are in memory like every reader does: only once, and closable."""
    yield from rows
