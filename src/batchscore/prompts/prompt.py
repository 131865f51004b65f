"""What is the prompt of one row?

It knows the task's shape and the row's columns, not files, requests or endpoints. A row without a valid
prompt gets its error here, and no request is sent for it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from batchscore.errors import ErrorCode, InputError, setting_name
from batchscore.prompts.messages import render_messages_file, render_ready_messages
from batchscore.prompts.spec import PromptSpec, shorten_names
from batchscore.prompts.template import (
    NO_TEXT,
    Column,
    Render,
    Template,
    UnreadableCellError,
    cell_text,
    is_blank,
    json_bytes,
    missing_column,
    rename_columns,
)
from batchscore.rows import TEXT_COLUMN, Prompt, Row, RowError, Settled, Table, UnreadableRow

NOTHING_KEPT: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PromptBuilder:
    """Builds the prompts of one file's rows."""

    render: Render
    id: str | None
    keep: tuple[str, ...]

    def build(self, row: Row | UnreadableRow) -> Prompt | Settled:
        """Return the row's prompt, or its error if it has none."""
        if isinstance(row, UnreadableRow):
            return Settled(row.file, row.number, row.error)
        values = row.values
        identity = None
        kept = NOTHING_KEPT
        if self.keep:
            kept = values if self.keep == ("*",) else {name: values.get(name) for name in self.keep}
        try:
            if self.id is not None:
                cell = values.get(self.id)
                identity = cell if cell is None or type(cell) is str else cell_text(cell)
            body = self.render(values)
        except RecursionError:  # JSON cells may be nested a thousand levels deep
            body = RowError(ErrorCode.UNREADABLE_ROW, "The row is nested too deeply to be sent.")
        except UnreadableCellError as error:
            body = RowError(ErrorCode.UNREADABLE_ROW, f"The row cannot be sent: a cell holds {error}.")
        if isinstance(body, RowError):
            return Settled(row.file, row.number, body, identity, kept)
        return Prompt(row.file, row.number, body, identity, kept)


def builder_for(table: Table, spec: PromptSpec) -> PromptBuilder:
    """Return the builder for this table's rows; raises `InputError` naming a column that it lacks.

    A table without columns has no rows either, so any spec fits it.
    """
    empty = not table.columns and not table.headerless
    if not empty and spec.id is not None:
        require_columns(table, [spec.id], "id")
    return PromptBuilder(
        render=render_nothing if empty else render_for(table, spec),
        id=spec.id,
        keep=spec.keep,
    )


def render_for(table: Table, spec: PromptSpec) -> Render:
    """Return the function that renders a row's JSON, for this spec and this table's columns."""
    column = text_column(table, spec)
    names: Mapping[str, str] = {}
    if spec.text_field is not None and column is not None and not table.headerless:
        names = {spec.text_field: column}
    system_columns = columns_read(spec.system, names)
    if spec.messages is not None:
        require_columns(table, [names.get(name, name) for name in spec.fields], "messages")
        return render_messages_file(spec.messages, {**names, **headerless_names(table, spec.fields)})
    if spec.prompt is not None:
        columns = columns_read(spec.prompt, names)
        require_columns(table, columns, "prompt")
        # A headerless text fills only one column, which prompt and system message may both name.
        both = (*columns, *system_columns)
        require_columns(table, both if table.headerless else system_columns, "system")
        names = {**names, **headerless_names(table, both)}
        if not spec.task.takes_messages and len(spec.prompt.pieces) == 1:
            return render_column(names.get(columns[0], columns[0]))
        return render_template(spec, spec.prompt, names)
    assert column is not None
    require_columns(table, system_columns, "system")
    if spec.task.takes_messages and column == spec.task.input_key and not table.headerless:
        return render_ready_messages(column, spec.system)
    if table.headerless:
        column = TEXT_COLUMN
    if not spec.task.takes_messages:
        return render_column(column)
    return render_template(
        spec, Template((Column(column),)), headerless_names(table, (column, *system_columns))
    )


def columns_read(template: Template | None, names: Mapping[str, str]) -> tuple[str, ...]:
    """Return the columns that a template reads, with the names that the table gives them."""
    return rename_columns(template, names).columns if template is not None else ()


def text_column(table: Table, spec: PromptSpec) -> str | None:
    """Return the column that holds the rows' text; `None` if the template alone defines the prompt.

    Raises `InputError` if it is missing, or if several columns could hold the text.
    """
    if spec.column is not None:
        if not table.headerless:
            require_columns(table, [spec.column], "column")
        return spec.column
    if spec.prompt is None and spec.messages is None:
        ready = not table.headerless and spec.task.input_key in table.columns
        return spec.task.input_key if ready else only_text_column(table)
    if spec.text_field is None or spec.text_field in table.columns:
        return spec.text_field
    return only_text_column(table)


def only_text_column(table: Table) -> str:
    """Return the only column that holds text; raises `InputError` if there are none or several."""
    if table.headerless:
        return TEXT_COLUMN
    if len(table.text_columns) == 1:
        return table.text_columns[0]
    column, prompt = setting_name("column"), setting_name("prompt")
    if not table.text_columns:
        raise InputError(
            f"no column holds text; its columns are {shorten_names(table.columns)}. Name one with {column}."
        )
    raise InputError(
        f"several columns hold text: {shorten_names(table.text_columns)}. "
        f"Choose one with {column}, or combine them with {prompt}."
    )


def require_columns(table: Table, names: Iterable[str], setting: str) -> None:
    """Raise `InputError` if the table lacks a column, listing its columns by similarity."""
    if table.headerless and setting != "id":
        names = [name for name in names if name != TEXT_COLUMN]
        if len(set(names)) <= 1:
            return
    for name in names:
        if name not in table.columns:
            nearest = sorted(
                table.columns,
                key=lambda own: -difflib.SequenceMatcher(None, name.lower(), own.lower()).ratio(),
            )
            raise InputError(
                f"no column {name!r} ({setting_name(setting)}); its columns are {shorten_names(nearest)}."
            )


def headerless_names(table: Table, names: Iterable[str]) -> Mapping[str, str]:
    """Return the column that each name stands for in a headerless table: its only text."""
    return dict.fromkeys(names, TEXT_COLUMN) if table.headerless else {}


def render_nothing(values: Mapping[str, Any]) -> bytes | RowError:
    """Render a row of a table without columns."""
    del values
    return NO_TEXT


def render_column(column: str) -> Render:
    """Render one column unchanged: the fast path of embeddings and completions."""

    def render(values: Mapping[str, Any]) -> bytes | RowError:
        try:
            cell = values[column]
        except KeyError:
            return missing_column(column)
        text = cell if isinstance(cell, str) else cell_text(cell)
        if not text or text.isspace():
            return NO_TEXT
        return json_bytes(text)

    return render


def render_template(spec: PromptSpec, template: Template, names: Mapping[str, str]) -> Render:
    """Fill a template, as a text or as the user's chat message after the system message."""
    user = rename_columns(template, names)
    system = rename_columns(spec.system, names) if spec.system is not None else None
    chat = spec.task.takes_messages

    def render(values: Mapping[str, Any]) -> bytes | RowError:
        try:
            if all(is_blank(values[name]) for name in user.columns):
                return NO_TEXT
            text = user.fill(values, cell_text)
            opening = system.fill(values, cell_text) if system is not None else None
        except KeyError as missing:
            return missing_column(missing.args[0])
        if not chat:
            return json_bytes(text)
        messages = [{"role": "user", "content": text}]
        return json_bytes(
            messages if opening is None else [{"role": "system", "content": opening}, *messages]
        )

    return render
