"""What is the text of a template with `{column}` fields, for one row?

It knows no task and no file. The syntax is a subset of `str.format` on purpose: braces hold only the name of
a column. So a template cannot read attributes of cells, and columns may have any name.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from batchscore.errors import ErrorCode, UsageError
from batchscore.rows import RowError, replace_surrogates

#: Returns a row's JSON body, or the error why it has none.
Render = Callable[[Mapping[str, Any]], "bytes | RowError"]

NO_TEXT = RowError(ErrorCode.EMPTY_INPUT, "The row has no text, so no request was sent.")

BRACES = re.compile(r"\{\{|\}\}|\{([^{}]+)\}|[{}]")


class UnreadableCellError(ValueError):
    """A cell that cannot be sent; the message says what it holds, without quoting it."""


@dataclass(frozen=True, slots=True)
class Column:
    """A field of a template: the name of the column whose cell replaces it."""

    name: str


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template: literal texts and columns in order."""

    pieces: tuple[str | Column, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns that the template uses, each once, in order."""
        return tuple(dict.fromkeys(piece.name for piece in self.pieces if isinstance(piece, Column)))

    def fill(self, values: Mapping[str, Any], cell: Callable[[Any], str]) -> str:
        """Return the text for one row's `values`; raises `KeyError` for a missing column."""
        return "".join(
            [piece if isinstance(piece, str) else cell(values[piece.name]) for piece in self.pieces]
        )


def parse_template(text: str, *, where: str) -> Template:
    """Parse `{column}`, `{{` and `}}`; raises `UsageError`, which names `where`, for a single brace."""
    pieces: list[str | Column] = []
    literal, at = "", 0
    for found in BRACES.finditer(text):
        literal += text[at : found.start()]
        at = found.end()
        brace, name = found[0][0], (found[1] or "").strip()
        if name:
            pieces += [literal, Column(name)] if literal else [Column(name)]
            literal = ""
        elif found[0] == 2 * brace:
            literal += brace
        else:
            problem = "does not enclose a column" if brace == "{" else "has no opening brace"
            character = f"the brace at character {found.start() + 1}"
            raise UsageError(f"{where}: {character} {problem}; write {2 * brace} for a brace.")
    literal += text[at:]
    return Template(tuple([*pieces, literal] if literal else pieces))


def cell_text(value: Any) -> str:
    """Return a cell as text for the model: null is empty; values other than text become JSON.

    Raises `UnreadableCellError` for a value without an equivalent text.
    """
    if isinstance(value, str):
        return value
    if is_blank(value):
        return ""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise UnreadableCellError("bytes that are not UTF-8") from None
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    if not isinstance(value, (bool, int, float, dict, list, tuple)):
        return str(value)
    try:
        text = orjson.dumps(value, default=cell_text, option=orjson.OPT_NON_STR_KEYS).decode()
        suspect = "null" in text
    except TypeError:  # too deep for orjson, more than 64 bits, or a lone surrogate
        text = json.dumps(value, default=cell_text, ensure_ascii=False, separators=(",", ":"))
        suspect = True
    if suspect:
        refuse_non_finite(value)
    return text


def refuse_non_finite(value: Any) -> None:
    """Raise `UnreadableCellError` if a number is infinite or NaN, which JSON would turn into null."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, (list, tuple)):
            pending.extend(item)
        elif isinstance(item, float) and not math.isfinite(item):
            raise UnreadableCellError("a number that is infinite or not a number")


def json_bytes(value: Any) -> bytes:
    """Return `value` as JSON; lone surrogates, which UTF-8 cannot encode, become U+FFFD."""
    try:
        return orjson.dumps(value)
    except TypeError:  # a lone surrogate, a decimal, or too deep for orjson
        clean = without_surrogates(value)
    try:
        return orjson.dumps(clean, default=cell_text)
    except TypeError:
        return json.dumps(clean, default=cell_text, ensure_ascii=False, separators=(",", ":")).encode()


def without_surrogates(value: Any) -> Any:
    """Return `value` without lone surrogates in its texts, and with null for numbers that JSON lacks."""
    if isinstance(value, str):
        return replace_surrogates(value)
    if isinstance(value, dict):
        return {without_surrogates(str(key)): without_surrogates(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_surrogates(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def rename_columns(template: Template, names: Mapping[str, str]) -> Template:
    """Return the template with the table's own names for its columns."""
    if not names:
        return template
    return Template(
        tuple(
            Column(names.get(piece.name, piece.name)) if isinstance(piece, Column) else piece
            for piece in template.pieces
        )
    )


def is_blank(cell: Any) -> bool:
    """Whether a cell is empty: null, NaN, or only white space."""
    if isinstance(cell, (str, bytes)):
        return not cell or cell.isspace()
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def missing_column(column: str) -> RowError:
    """Return the error of a row without a column that other rows have."""
    return RowError(ErrorCode.MISSING_COLUMN, f"The row has no value for {column!r}.")
