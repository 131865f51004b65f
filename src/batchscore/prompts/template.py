"""What a text with `{column}` fields becomes for one row.

It knows no task and no file. The grammar is smaller than `str.format`'s on purpose: between braces
stands a column's name and nothing else, so that no cell's attribute can be reached and a column
may be called anything.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from batchscore.errors import ErrorCode, UsageError
from batchscore.rows import RowError

#: Gives a row's JSON body, or why it has none.
Render = Callable[[Mapping[str, Any]], "bytes | RowError"]

NOTHING_TO_ASK = RowError(ErrorCode.EMPTY_INPUT, "The row has no text, so nothing was asked.")


class UnreadableCellError(ValueError):
    """A cell cannot be asked as it is; the text says what it holds, and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Column:
    """A field of a template: the name of the column whose cell stands there."""

    name: str


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed text: literal pieces and columns in turn."""

    pieces: tuple[str | Column, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names that the template uses, each once, in order."""
        return tuple(dict.fromkeys(piece.name for piece in self.pieces if isinstance(piece, Column)))

    def fill(self, values: Mapping[str, Any], cell: Callable[[Any], str]) -> str:
        """Return the text for one row's `values`; raises `KeyError` for a column it lacks."""
        return "".join(
            [piece if isinstance(piece, str) else cell(values[piece.name]) for piece in self.pieces]
        )


def parse_template(text: str, *, where: str) -> Template:
    """Parse `{column}`, `{{` and `}}`; raises `UsageError` naming `where` for a stray brace."""
    pieces: list[str | Column] = []
    literal: list[str] = []
    at = 0
    while at < len(text):
        char = text[at]
        if char in "{}" and text[at : at + 2] == char * 2:
            literal.append(char)
            at += 2
        elif char == "{":
            end = text.find("}", at)
            name = text[at + 1 : end].strip() if end > at else ""
            if not name or "{" in name:
                raise UsageError(
                    f"{where}: the brace at character {at + 1} opens no column; write {{{{ for a brace."
                )
            if literal:
                pieces.append("".join(literal))
                literal = []
            pieces.append(Column(name))
            at = end + 1
        elif char == "}":
            raise UsageError(
                f"{where}: the brace at character {at + 1} closes nothing; write }}}} for a brace."
            )
        else:
            end = min(
                (found for found in (text.find("{", at), text.find("}", at)) if found >= 0), default=len(text)
            )
            literal.append(text[at:end])
            at = end
    if literal:
        pieces.append("".join(literal))
    return Template(tuple(pieces))


def cell_text(value: Any) -> str:
    """Return a cell as the text that a model reads: null is empty, what is no text is JSON.

    Raises `UnreadableCellError` for what has no text that means the same.
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
    except TypeError:  # deeper than orjson goes, more than 64 bits, half a character
        text = json.dumps(value, default=cell_text, ensure_ascii=False, separators=(",", ":"))
        suspect = True
    if suspect:
        refuse_what_json_has_not(value)
    return text


def refuse_what_json_has_not(value: Any) -> None:
    """Raise `UnreadableCellError` where a number is infinite or none: JSON would turn it into null."""
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            left.extend(item.values())
        elif isinstance(item, (list, tuple)):
            left.extend(item)
        elif isinstance(item, float) and not math.isfinite(item):
            raise UnreadableCellError("a number that is infinite or not a number")


def json_bytes(value: Any) -> bytes:
    """Return `value` as JSON; lone surrogates, which JSON cannot carry, become U+FFFD."""
    try:
        return orjson.dumps(value)
    except TypeError:  # half a character, a decimal, or deeper than orjson goes
        clean = without_surrogates(value)
    try:
        return orjson.dumps(clean, default=cell_text)
    except TypeError:
        return json.dumps(clean, default=cell_text, ensure_ascii=False, separators=(",", ":")).encode()


def without_surrogates(value: Any) -> Any:
    """Return `value` with every text in it made encodable, and no number that JSON has not."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {without_surrogates(str(key)): without_surrogates(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_surrogates(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def with_names(template: Template, names: Mapping[str, str]) -> Template:
    """Return the template with its columns called by the table's own names."""
    if not names:
        return template
    return Template(
        tuple(
            Column(names.get(piece.name, piece.name)) if isinstance(piece, Column) else piece
            for piece in template.pieces
        )
    )


def is_blank(cell: Any) -> bool:
    """Whether a cell has nothing to read in it: null, not a number, or only white space."""
    if isinstance(cell, (str, bytes)):
        return not cell or cell.isspace()
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def lacking(column: str) -> RowError:
    """Return the error of a row that has not the column its neighbours have."""
    return RowError(ErrorCode.MISSING_COLUMN, f"The row has no value for {column!r}.")
