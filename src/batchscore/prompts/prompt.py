"""Which prompt do the settings describe, and what is the prompt of one row?

It knows the task's shape and the row's columns, not files, requests or endpoints. Templates are parsed before
any row is read. A row without a valid prompt gets its error here, and no request is sent for it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from batchscore.errors import ErrorCode, InputError, UsageError, setting_name
from batchscore.prompts.cells import UnreadableCellError, cell_text, id_text, is_blank, json_bytes
from batchscore.prompts.messages import columns_of, read_messages, render_messages_file, render_ready_messages
from batchscore.prompts.template import (
    NO_TEXT,
    Column,
    Render,
    Template,
    missing_column,
    parse_template,
    rename_columns,
)
from batchscore.rows import TEXT_COLUMN, Prompt, Row, RowError, Settled, Table, UnreadableRow
from batchscore.settings.slices import PromptSettings
from batchscore.settings.sources import read_text
from batchscore.task import Task

#: The name that keeps all columns, and the column that is the id then.
EVERY_COLUMN = "*"
ID_COLUMN = "id"

NOTHING_KEPT: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """The parsed settings of the prompt: at most one of `column`, `prompt` and `messages` is set.

    `prompt` and `system` are templates; `messages` is a list of chat messages whose texts are templates. With
    `text_field`, the template's field of that name holds the text, and `column` may name its column. `id` and
    `keep` name the columns that go into records; `keep == ("*",)` means all.
    """

    task: Task
    column: str | None = None
    prompt: Template | None = None
    system: Template | None = None
    messages: Sequence[Mapping[str, Any]] | None = None
    id: str | None = None
    keep: tuple[str, ...] = ()
    text_field: str | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the template or of the messages, each once."""
        if self.messages is not None:
            return columns_of(self.messages)
        return self.prompt.columns if self.prompt is not None else ()


def parse_spec(settings: PromptSettings) -> PromptSpec:
    """Return the prompt that the settings describe; raises `UsageError`."""
    prompt, system = setting_name("prompt"), setting_name("system")
    spec = PromptSpec(
        task=settings.task,
        column=settings.column,
        text_field=settings.text_field,
        prompt=None if settings.prompt is None else parse_template(settings.prompt, where=prompt),
        system=None if settings.system is None else parse_template(settings.system, where=system),
        messages=None if settings.messages is None else parse_messages(settings.messages),
        id=settings.id,
        keep=settings.keep,
    )
    if spec.prompt is not None and not spec.fields:
        raise UsageError(f"{prompt} uses no {{column}}, so the prompt of all rows would be the same.")
    if spec.text_field is not None and spec.text_field not in spec.fields:
        raise UsageError(
            f"{setting_name('text_field')} {spec.text_field}: the template's fields are "
            f"{shorten_names(spec.fields)}."
        )
    return spec


def parse_messages(given: str) -> list[dict[str, Any]]:
    """Return the messages of a JSON text, or of the file with that name; raises `UsageError`."""
    where = setting_name("messages")
    if given.lstrip().startswith("["):
        return read_messages(given, where=where)
    where = f"{where} {given}"
    return read_messages(read_text(given, where), where=where)


@dataclass(frozen=True, slots=True)
class PromptBuilder:
    """Builds the prompts of one file's rows; it needs these `columns` of a row, or all of them (`None`)."""

    render: Render
    id: str | None
    keep: tuple[str, ...]
    columns: frozenset[str] | None = None

    def build(self, row: Row | UnreadableRow) -> Prompt | Settled:
        """Return the row's prompt, or its error if it has none."""
        if isinstance(row, UnreadableRow):
            return Settled(row.file, row.number, row.error)
        values = row.values
        identity = None
        kept = NOTHING_KEPT
        if self.keep:
            kept = values if self.keep == (EVERY_COLUMN,) else {name: values.get(name) for name in self.keep}
        try:
            if self.id is not None:
                cell = values.get(self.id)
                identity = cell if cell is None or type(cell) is str else id_text(cell)
            body = self.render(values)
        except RecursionError:  # JSON cells may be nested a thousand levels deep
            body = RowError(ErrorCode.UNREADABLE_ROW, "The row is nested too deeply to be sent.")
        except UnreadableCellError as error:
            body = RowError(ErrorCode.UNREADABLE_ROW, f"The row cannot be sent: a cell holds {error}.")
        except Exception as error:  # a cell may be an object of any library
            message = f"The row cannot be sent: a cell has no text ({type(error).__name__})."
            body = RowError(ErrorCode.UNREADABLE_ROW, message)
        if isinstance(body, RowError):
            return Settled(row.file, row.number, body, identity, kept)
        return Prompt(row.file, row.number, body, identity, kept)


def builder_for(table: Table, spec: PromptSpec) -> PromptBuilder:
    """Return the builder for this table's rows; raises `InputError` naming a column that it lacks.

    A table without columns has no rows either, so any spec fits it.
    """
    empty = not table.columns and not table.headerless
    everything = spec.keep == (EVERY_COLUMN,)
    # With all columns, the column of this name is the id, which records have a field for.
    own_id = ID_COLUMN if everything and ID_COLUMN in table.columns else None
    identity = own_id if spec.id is None else spec.id
    if not empty and identity is not None:
        require_columns(table, [identity], "id")
    names = set(spec.keep) | ({identity} if identity is not None else set())
    if empty:
        return PromptBuilder(lambda _: NO_TEXT, identity, spec.keep)
    render, used = render_for(table, spec)
    return PromptBuilder(render, identity, spec.keep, None if everything else frozenset({*names, *used}))


def render_for(table: Table, spec: PromptSpec) -> tuple[Render, Iterable[str]]:
    """Return the function that renders a row's JSON for this spec, and the columns that it uses."""
    column = text_column(table, spec)
    system = spec.system.columns if spec.system is not None else ()
    names: Mapping[str, str] = {}
    if spec.text_field is not None and column is not None and not table.headerless:
        names = {spec.text_field: column}
    own, of_system = ([names.get(name, name) for name in columns] for columns in (spec.fields, system))
    require_columns(table, own, "prompt" if spec.messages is None else "messages")
    # A headerless text fills only one column, which prompt and system message may both name.
    require_columns(table, [*own, *of_system] if table.headerless else of_system, "system")
    used = [*own, *of_system, *([column] if column is not None else [])]
    if table.headerless:
        names = dict.fromkeys((*used, TEXT_COLUMN), TEXT_COLUMN)
    if spec.messages is not None:
        return render_messages_file(spec.messages, names), used
    template = spec.prompt
    if template is None:
        assert column is not None
        if spec.task.takes_messages and column == spec.task.input_key and not table.headerless:
            return render_ready_messages(column, spec.system), used
        template = Template((Column(column),))
    if not spec.task.takes_messages and len(template.pieces) == 1:
        return render_column(rename_columns(template, names).columns[0]), used
    return render_template(spec, template, names), used


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


def shorten_names(names: Sequence[str], most: int = 20) -> str:
    """Return column names for a message; cut if there are many, or if one is so long that it is a cell."""
    shown = ", ".join(shorten_name(name) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def shorten_name(name: str, most: int = 40) -> str:
    """Return a column's name without control characters, cut to a usual length.

    It is quoted if it is empty or has spaces at an end.
    """
    printable = "".join(char if char.isprintable() else "\ufffd" for char in name[: most + 1])
    shown = printable if len(printable) <= most else printable[: most - 1] + "\u2026"
    return shown if shown and shown == shown.strip() else repr(shown)
