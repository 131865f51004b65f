"""What is the JSON of a row's text: one column as it is, or a template that is filled in?

It knows cells and templates, not tables; conversations are in `messages`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchscore.prompts.cells import UnreadableCellError, cell_text, is_blank, json_bytes
from batchscore.prompts.messages import prompt_json
from batchscore.prompts.template import NO_TEXT, Render, Template, missing_column, rename_columns
from batchscore.rows import RowError
from batchscore.task import Task


def render_column(column: str, *, one_text: bool = False) -> Render:
    """Render one column unchanged: the fast path of embeddings and completions.

    A list of tokens is sent as such. With `one_text` a list of texts is an error, and not sent as its JSON.
    """

    def render(values: Mapping[str, Any]) -> bytes | RowError:
        try:
            cell = values[column]
        except KeyError:
            return missing_column(column)
        if not isinstance(cell, str):
            if cell in ([], {}):
                return NO_TEXT
            if isinstance(cell, list) and all(type(token) is int for token in cell):
                return json_bytes(cell)
            if one_text and isinstance(cell, list) and all(isinstance(text, str) for text in cell):
                raise UnreadableCellError(
                    f"a list of {len(cell)} texts, and a row is one: give each text a row"
                )
            cell = cell_text(cell)
        if not cell or cell.isspace():
            return NO_TEXT
        return json_bytes(cell)

    return render


def render_template(
    template: Template, system: Template | None, names: Mapping[str, str], task: Task
) -> Render:
    """Fill a template, and that of the system message."""
    user = rename_columns(template, names)
    first = None if system is None else rename_columns(system, names)
    columns = user.columns
    before, after = prompt_json(task, "\0").split(b'"\\u0000"')
    only = columns[0] if len(user.pieces) == len(columns) == 1 else None

    def render(values: Mapping[str, Any]) -> bytes | RowError:
        try:
            text = None if only is None else values[only]
            if type(text) is not str or not text or text.isspace():  # the text of one column is as it is
                if columns and False not in [is_blank(values[name]) for name in columns]:
                    return NO_TEXT
                text = user.fill(values, cell_text)
            opening = None if first is None else first.fill(values, cell_text)
        except KeyError as missing:
            return missing_column(missing.args[0])
        return before + json_bytes(text) + after if opening is None else prompt_json(task, text, opening)

    return render
