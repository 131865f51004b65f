"""What is the text of a template with `{column}` fields, for one row?

It knows no task and no file. The syntax is a subset of `str.format` on purpose: braces hold only the name of
a column. So a template cannot read attributes of cells, and columns may have any name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from batchscore.errors import ErrorCode, UsageError
from batchscore.rows import RowError

#: Returns a row's JSON body, or the error why it has none.
Render = Callable[[Mapping[str, Any]], "bytes | RowError"]

NO_TEXT = RowError(ErrorCode.EMPTY_INPUT, "The row has no text, so no request was sent.")

BRACES = re.compile(r"\{\{|\}\}|\{([^{}]+)\}|[{}]")


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


def missing_column(column: str) -> RowError:
    """Return the error of a row without a column that other rows have."""
    return RowError(ErrorCode.MISSING_COLUMN, f"The row has no value for {column!r}.")
