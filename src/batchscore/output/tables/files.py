"""How is a table written as csv, tsv or xlsx, so that every program reads the same cells and runs none?

In xlsx texts are written as texts, never as formulas, links or numbers. XlsxWriter keeps the rows in a
temporary file: memory is that of one row. csv and tsv are as RFC 4180 says: quotes doubled within a cell,
CRLF at the end of a record. A cell has quotes also if it holds what another program takes for the end of a
cell, or drops.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import date, datetime, time
from decimal import Decimal
from html import escape
from io import StringIO
from operator import ne
from typing import Any

from batchscore.errors import InputError, OutputError
from batchscore.output.records.json_value import kept_text
from batchscore.rows import replace_surrogates
from batchscore.stores.address import Place
from batchscore.stores.errors import explain_errors
from batchscore.stores.sink import Sink
from batchscore.stores.storage import temporary_folder

#: Excel's limits (support.microsoft.com, Excel specifications and limits, seen 2026-11). Characters are
#: UTF-16 units.
MOST_ROWS = 1_048_576
MOST_COLUMNS = 16_384
MOST_CHARACTERS = 32_767

#: Whole numbers up to this one are exact in a cell, which holds 15 digits.
_MOST_EXACT = 10**15

#: Excel counts days from here, and takes 1900 for a leap year before March.
_FIRST_DAY = datetime(1900, 3, 1)  # noqa: DTZ001 - cells have no time zone

_FORMATS = {"date": "yyyy-mm-dd", "datetime": "yyyy-mm-dd hh:mm:ss", "time": "hh:mm:ss"}

#: Characters that XML cannot hold, and the start of a text that looks like the escape of one.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\ufffe\uffff]")
_LIKE_ESCAPE = re.compile(r"_(?=x[0-9A-Fa-f]{4}_)")

_OTHERS = "Write .csv, .parquet or .jsonl instead"


def write_workbook(sink: Sink, rows: Iterable[Sequence[Any]], destination: Place) -> None:
    """Write rows of cells, the first of which is the header, as the only sheet of a workbook.

    Raises `OutputError` for a text that no cell can hold.
    """
    import xlsxwriter  # noqa: PLC0415 - few runs need it

    with (
        explain_errors(temporary_folder(), "write to"),
        tempfile.TemporaryDirectory(prefix="batchscore-xlsx-") as folder,
        ExitStack() as unfinished,
    ):
        book = xlsxwriter.Workbook(sink, {"constant_memory": True, "use_zip64": True, "tmpdir": folder})
        formats = {name: book.add_format({"num_format": text}) for name, text in _FORMATS.items()}
        sheet = book.add_worksheet("scores")
        sheet._escape_control_characters = _escaped  # noqa: SLF001 - its own is wrong for some texts
        # Only `close` of the workbook closes it.
        unfinished.callback(sheet.row_data_fh.close)
        sheet.freeze_panes(1, 0)
        for number, cells in enumerate(rows):
            if number == MOST_ROWS:
                raise OutputError(f"{destination}: {too_many_rows()}.")
            for column, cell in enumerate(cells):
                if cell is not None and not _write(sheet, number, column, cell, formats):
                    raise OutputError(
                        f"{destination} was not written: in row {number + 1} the cell of column {column + 1} "
                        f"has more than {MOST_CHARACTERS:,} characters, which no xlsx cell can hold. The "
                        "scores are kept. Write another format with: batchscore merge OUT FILE.csv"
                    )
        book.close()


def _write(sheet: Any, row: int, column: int, cell: Any, formats: Mapping[str, Any]) -> bool:
    """Write one cell; return whether it fits. Numbers and dates stay what they are."""
    kind = type(cell)
    if kind is not str:
        if kind is bool:
            sheet.write_boolean(row, column, cell)
            return True
        if (number := _number(cell)) is not None:
            sheet.write_number(row, column, number)
            return True
        if (name := _date(cell)) is not None:
            sheet.write_datetime(row, column, cell, formats[name])
            return True
        cell = kept_text(cell)
        if cell is None:
            return True
    text = _with_line_feeds(cell)
    if not fits(text):
        return False
    if text:
        sheet.write_string(row, column, text)
    return True


def _escaped(text: Any) -> Any:
    """Return a text with escapes for control characters, and for each place that looks like an escape.

    XlsxWriter takes a text from `<r>` to `</r>` for XML, so such a text becomes XML. A truth value stays.
    """
    if not isinstance(text, str):
        return text
    text = _CONTROL.sub(lambda found: f"_x{ord(found[0]):04X}_", _LIKE_ESCAPE.sub("_x005F_", text))
    if text.startswith("<r>") and text.endswith("</r>"):
        return f'<r><t xml:space="preserve">{escape(text, quote=False)}</t></r>'
    return text


def _with_line_feeds(text: str) -> str:
    """Return a text as a cell holds it: Excel ends a line within a cell with LF alone."""
    return replace_surrogates(text.replace("\r\n", "\n").replace("\r", "\n"))


def fits(text: str) -> bool:
    """Whether a cell can hold a text."""
    return (
        len(text) * 2 <= MOST_CHARACTERS or len(text.encode("utf-16-le", "replace")) // 2 <= MOST_CHARACTERS
    )


def _number(cell: Any) -> float | int | None:
    if isinstance(cell, int):
        return int(cell) if abs(cell) < _MOST_EXACT else None
    if isinstance(cell, float):
        return float(cell) if math.isfinite(cell) else None
    if isinstance(cell, Decimal) and cell.is_finite() and len(cell.as_tuple().digits) <= 15:
        return float(cell)
    return None


def _date(cell: Any) -> str | None:
    """Return the format of a date or time that Excel can hold."""
    if isinstance(cell, datetime):
        plain = cell.tzinfo is None and cell.microsecond == 0 and cell >= _FIRST_DAY
        return "datetime" if plain else None
    if isinstance(cell, date):
        return "date" if cell >= _FIRST_DAY.date() else None
    if isinstance(cell, time):
        return "time" if cell.tzinfo is None and cell.microsecond == 0 else None
    return None


def too_many_rows() -> str:
    """Return why no sheet can hold the rows."""
    return f"an xlsx sheet holds {MOST_ROWS - 1:,} rows below its header, and the input has more. {_OTHERS}"


def check_fits(
    file: Place, columns: Sequence[str], rows: Iterable[tuple[str, int, Mapping[str, Any]]]
) -> None:
    """Raise `InputError` if a sheet cannot hold the input, before anything is paid for.

    `rows` are the file, the number and the cells of each row.
    """
    if len(columns) > MOST_COLUMNS:
        raise InputError(
            f"{file}: an xlsx sheet holds {MOST_COLUMNS:,} columns, and the table would have "
            f"{len(columns):,}. {_OTHERS}."
        )
    for number, name in enumerate(columns, 1):
        if not fits(_with_line_feeds(name)):
            raise InputError(
                f"{file}: the name of its column {number}, {name[:40]!r} …, would have more than "
                f"{MOST_CHARACTERS:,} characters, which no xlsx cell can hold. {_OTHERS}."
            )
    for count, (name, number, values) in enumerate(rows, 2):
        if count > MOST_ROWS:
            raise InputError(f"{file}: {too_many_rows()}.")
        for column, value in values.items():
            if type(value) in {int, float, bool, type(None)}:
                continue
            text = value if isinstance(value, str) else kept_text(value) or ""
            if not fits(text) and not fits(_with_line_feeds(text)):
                raise InputError(
                    f"{name}, row {number}: its cell in column {column!r} has more than "
                    f"{MOST_CHARACTERS:,} characters, which no cell of {file} can hold. {_OTHERS}."
                )


_CHUNK = 1 << 20

#: What begins a formula in a spreadsheet program, also as full-width characters in East Asian ones, and the
#: blanks that some programs drop first (OWASP, CSV Injection, seen 2026-11).
_FORMULA = frozenset("=+-@\t\r\n＝＋－＠")  # noqa: RUF001

#: The delimiters that programs try, quotes, ends of lines, and blanks at either end.
_NEEDS_QUOTES = re.compile(r"[,;|\t\r\n\"]|^\s|\s\Z").search

#: A number is not a formula.
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")

#: What begins a formula within a text if a program splits it there: at a semicolon, as Excel does in many
#: countries, at a tab or at a line break, because that program does not know the quotes.
_INNER_FORMULA = re.compile(r'[;\t\r\n]"*[-=+@＝＋－＠]')  # noqa: RUF001

#: A number that is a cell by itself, and an item of a list or a rule in Markdown.
_NUMBER_CELL = re.compile(rf'{_NUMBER.pattern} *(?:[;,\t\r\n"]|\Z)')

_MARKDOWN = re.compile(r"[-+]+(?:\s|\Z)")


def write_delimited(
    sink: Sink, rows: Iterable[Sequence[Any]], *, delimiter: str, bom: bool, allow_formulas: bool
) -> int:
    """Write rows of cells, the first of which is the header; with `bom` Excel takes them for UTF-8.

    Return how many cells got an apostrophe, so that no program runs them as formulas.
    """
    buffer = StringIO("\ufeff" if bom else "", newline="")
    buffer.seek(0, 2)
    guarded = 0
    for cells in rows:
        texts = [cell if type(cell) is str else kept_text(cell) for cell in cells]
        safe = texts if allow_formulas else [*map(without_formula, texts)]
        if safe != texts:
            guarded += sum(map(ne, safe, texts))
        buffer.write(f"{delimiter.join(map(_quoted, safe))}\r\n")
        if buffer.tell() > _CHUNK:
            _flush(buffer, sink)
    _flush(buffer, sink)
    return guarded


def _quoted(text: str | None) -> str:
    if not text or not _NEEDS_QUOTES(text):
        return text or ""
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def _flush(buffer: StringIO, sink: Sink) -> None:
    sink.write(replace_surrogates(buffer.getvalue()).encode())
    buffer.seek(0)
    buffer.truncate()


def without_formula(text: str | None) -> str | None:
    """Return a text with an apostrophe before all that a spreadsheet program would run as a formula."""
    if not text:
        return text
    safe = _INNER_FORMULA.sub(_guarded, text)
    return f"'{safe}" if text[0] in _FORMULA and not _NUMBER.fullmatch(text) else safe


def _guarded(found: re.Match[str]) -> str:
    begins, whole, at = found[0][:-1], found.string, found.end() - 1
    is_item = begins[0] in "\r\n" and _MARKDOWN.match(whole, at)
    return found[0] if is_item or _NUMBER_CELL.match(whole, at) else f"{begins}'{whole[at]}"
