"""What does one row ask the model?

It knows the task's shape and the row's columns, nothing of files, requests or endpoints. What cannot
be asked becomes the row's error here and is never sent.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from batchscore.errors import ErrorCode, InputError
from batchscore.prompts.messages import columns_of, render_messages_file, render_ready_messages
from batchscore.prompts.template import (
    NOTHING_TO_ASK,
    Column,
    Render,
    Template,
    UnreadableCellError,
    cell_text,
    is_blank,
    json_bytes,
    lacking,
    with_names,
)
from batchscore.rows import TEXT_COLUMN, Prompt, Row, RowError, Settled, Table, UnreadableRow

#: A column of this name is ready to send, where nothing else was chosen.
READY_COLUMNS = {"embeddings": "input", "completions": "prompt", "chat": "messages"}


NOTHING_KEPT: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user said about prompts: at most one of `column`, `prompt` and `messages`.

    `prompt` and `system` are templates; `messages` a list of chat messages whose texts are templates. With
    `text_field` the template's field of that name stands for the text, and `column` may say where it is.
    `id` and `keep` name the columns that go into records; `keep == ("*",)` means all.
    """

    task: str
    column: str | None = None
    prompt: Template | None = None
    system: Template | None = None
    messages: Sequence[Mapping[str, Any]] | None = None
    id: str | None = None
    keep: tuple[str, ...] = ()
    text_field: str | None = None


@dataclass(frozen=True, slots=True)
class Asker:
    """Turns the rows of one file into prompts."""

    render: Render
    id: str | None
    keep: tuple[str, ...]

    def ask(self, row: Row | UnreadableRow) -> Prompt | Settled:
        """Return what the row asks, or its error record where it asks nothing."""
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
        except RecursionError:  # cells of JSON may be nested a thousand deep
            body = RowError(ErrorCode.UNREADABLE_ROW, "The row is nested too deeply to be asked.")
        except UnreadableCellError as error:
            body = RowError(ErrorCode.UNREADABLE_ROW, f"The row cannot be asked: a cell holds {error}.")
        if isinstance(body, RowError):
            return Settled(row.file, row.number, body, identity, kept)
        return Prompt(row.file, row.number, body, identity, kept)


def asker_for(table: Table, wanted: Wanted) -> Asker:
    """Return how this table's rows are asked; raises `InputError` naming a column it lacks.

    A table with no rows to show (no columns at all) takes any wish: there is nothing to ask.
    """
    empty = not table.columns and not table.headerless
    if not empty and wanted.id is not None:
        need(table, [wanted.id], "--id")
    return Asker(
        render=render_nothing if empty else render_for(table, wanted),
        id=wanted.id,
        keep=wanted.keep,
    )


def render_for(table: Table, wanted: Wanted) -> Render:
    """Return the function that gives a row's body, by what was wanted and what the table has."""
    column = text_column(table, wanted)
    stands: Mapping[str, str] = {}
    if wanted.text_field is not None and column is not None and not table.headerless:
        stands = {wanted.text_field: column}
    opening = named(wanted.system, stands)
    if wanted.messages is not None:
        needed = columns_of(wanted.messages)
        need(table, [stands.get(name, name) for name in needed], "--messages")
        return render_messages_file(wanted.messages, {**stands, **renamed(table, needed)})
    if wanted.prompt is not None:
        asked = named(wanted.prompt, stands)
        need(table, asked, "--prompt")
        # A bare text stands for one column, be it named in one template or in both.
        need(table, (*asked, *opening) if table.headerless else opening, "--system")
        names = {**stands, **renamed(table, (*asked, *opening))}
        if wanted.task != "chat" and len(wanted.prompt.pieces) == 1:
            return render_column(names.get(asked[0], asked[0]))
        return render_template(wanted, wanted.prompt, names)
    assert column is not None
    need(table, opening, "--system")
    if wanted.task == "chat" and column == READY_COLUMNS["chat"] and not table.headerless:
        return render_ready_messages(column, wanted.system)
    if table.headerless:
        column = TEXT_COLUMN
    if wanted.task != "chat":
        return render_column(column)
    return render_template(wanted, Template((Column(column),)), renamed(table, (column, *opening)))


def named(template: Template | None, stands: Mapping[str, str]) -> tuple[str, ...]:
    """Return the columns that a template takes, where `stands` says which of them is called otherwise."""
    return with_names(template, stands).columns if template is not None else ()


def text_column(table: Table, wanted: Wanted) -> str | None:
    """Return the column that holds the rows' text; `None` where a template alone says what is asked.

    Raises `InputError` where it is not there, or where several could be meant.
    """
    if wanted.column is not None:
        if not table.headerless:
            need(table, [wanted.column], "--column")
        return wanted.column
    if wanted.prompt is None and wanted.messages is None:
        return choose_column(table, wanted)
    if wanted.text_field is None or wanted.text_field in table.columns:
        return wanted.text_field
    return only_text_column(table)


def choose_column(table: Table, wanted: Wanted) -> str:
    """Return the ready column, else the only text column; raises `InputError` where there are several."""
    if table.headerless:
        return TEXT_COLUMN
    ready = READY_COLUMNS[wanted.task]
    return ready if ready in table.columns else only_text_column(table)


def only_text_column(table: Table) -> str:
    """Return the one column that holds text; raises `InputError` where there are none or several."""
    if table.headerless:
        return TEXT_COLUMN
    if len(table.text_columns) == 1:
        return table.text_columns[0]
    if not table.text_columns:
        raise InputError(
            f"no column holds text; its columns are {listed(table.columns)}. Name one with --column."
        )
    raise InputError(
        f"several columns hold text: {listed(table.text_columns)}. "
        f"Choose one with --column, or combine them with --prompt."
    )


def need(table: Table, names: Iterable[str], flag: str) -> None:
    """Raise `InputError` where the table lacks a column, listing its columns nearest first."""
    if table.headerless and flag != "--id":
        names = [name for name in names if name != TEXT_COLUMN]
        if len(set(names)) <= 1:
            return
    for name in names:
        if name not in table.columns:
            nearest = sorted(
                table.columns,
                key=lambda own: -difflib.SequenceMatcher(None, name.lower(), own.lower()).ratio(),
            )
            raise InputError(f"no column {name!r} ({flag}); its columns are {listed(nearest)}.")


def listed(names: Sequence[str], most: int = 20) -> str:
    """Return names for a message, cut where there are many or where one is so long that it is a cell."""
    shown = ", ".join(short(name) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def short(name: str, most: int = 40) -> str:
    """Return a column's name without control characters and no longer than a name is."""
    plain = "".join(char if char.isprintable() else "\ufffd" for char in name[: most + 1])
    return plain if len(plain) <= most else plain[: most - 1] + "\u2026"


def renamed(table: Table, needed: Iterable[str]) -> Mapping[str, str]:
    """Return under which name a headerless table's one text is asked for."""
    return dict.fromkeys(needed, TEXT_COLUMN) if table.headerless else {}


def render_nothing(values: Mapping[str, Any]) -> bytes | RowError:
    """Stand in for a table without columns."""
    del values
    return NOTHING_TO_ASK


def render_column(column: str) -> Render:
    """One column as it is: the quick path of embeddings and completions."""

    def render(values: Mapping[str, Any]) -> bytes | RowError:
        try:
            cell = values[column]
        except KeyError:
            return lacking(column)
        text = cell if isinstance(cell, str) else cell_text(cell)
        if not text or text.isspace():
            return NOTHING_TO_ASK
        return json_bytes(text)

    return render


def render_template(wanted: Wanted, template: Template, names: Mapping[str, str]) -> Render:
    """Fill a template, as a text or as the user's chat message after the system's."""
    user = with_names(template, names)
    system = with_names(wanted.system, names) if wanted.system is not None else None
    chat = wanted.task == "chat"

    def render(values: Mapping[str, Any]) -> bytes | RowError:
        try:
            if all(is_blank(values[name]) for name in user.columns):
                return NOTHING_TO_ASK
            text = user.fill(values, cell_text)
            opening = system.fill(values, cell_text) if system is not None else None
        except KeyError as missing:
            return lacking(missing.args[0])
        if not chat:
            return json_bytes(text)
        said = [{"role": "user", "content": text}]
        return json_bytes(said if opening is None else [{"role": "system", "content": opening}, *said])

    return render
