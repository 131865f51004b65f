"""How is a table written as csv or tsv, so that every program reads the same cells and runs none of them?

As RFC 4180 says: quotes doubled within a cell, CRLF at the end of a record. A cell has quotes also if it
holds what another program takes for the end of a cell, or drops.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import Any

from batchscore.output.records.jsonl import kept_text
from batchscore.rows import replace_surrogates
from batchscore.stores.storage import Sink

_CHUNK = 1 << 20

#: What begins a formula in a spreadsheet program, also as full-width characters in East Asian ones, and the
#: blanks that some programs drop first (OWASP, CSV Injection, seen 2026-11).
_FORMULA = frozenset("=+-@\t\r\n＝＋－＠")  # noqa: RUF001

#: The delimiters that programs try, quotes, ends of lines, and blanks at either end.
_NEEDS_QUOTES = re.compile(r"[,;|\t\r\n\"]|^\s|\s\Z").search

#: A number is no formula.
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


def write_delimited(
    sink: Sink,
    rows: Iterable[Sequence[Any]],
    *,
    delimiter: str,
    bom: bool,
    allow_formulas: bool,
) -> None:
    """Write rows of cells, the first of which is the header; with `bom` Excel takes them for UTF-8."""
    buffer = StringIO("\ufeff" if bom else "", newline="")
    buffer.seek(0, 2)
    for cells in rows:
        texts = [cell if type(cell) is str else kept_text(cell) for cell in cells]
        safe = texts if allow_formulas else map(without_formula, texts)
        buffer.write(f"{delimiter.join(map(_quoted, safe))}\r\n")
        if buffer.tell() > _CHUNK:
            _flush(buffer, sink)
    _flush(buffer, sink)


#: What begins a formula within a text if a program splits it there: at a semicolon, as Excel does in many
#: countries, at a tab or at a line break, because that program does not know the quotes.
_INNER_FORMULA = re.compile(r'[;\t\r\n]"*[-=+@＝＋－＠]')  # noqa: RUF001

#: A number that is a cell by itself, and an item of a list or a rule in Markdown.
_NUMBER_CELL = re.compile(rf'{_NUMBER.pattern} *(?:[;,\t\r\n"]|\Z)')
_MARKDOWN = re.compile(r"[-+]+(?:\s|\Z)")


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
