"""Which prompt do the settings describe, and what is the prompt of one row?

It knows the task's shape and the row's columns, not files, requests or endpoints. Templates are parsed before
any row is read. A row without a valid prompt gets its error here, and no request is sent for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from batchscore.errors import ErrorCode, InputError, UsageError, setting_name
from batchscore.prompts.cells import UnreadableCellError, id_text, is_blank
from batchscore.prompts.columns import (
    Choice,
    column_of,
    first_rows,
    holds_conversations,
    named_row,
    only_text_column,
    path_of,
    ready_column,
    resolve,
    shorten_names,
)
from batchscore.prompts.images import ImageColumns, ReadFile, add_images, digest_of
from batchscore.prompts.kept_cells import packed
from batchscore.prompts.messages import (
    columns_of,
    ends_with_answer,
    looks_like_messages,
    read_messages,
    render_messages_file,
    render_ready_messages,
)
from batchscore.prompts.render import render_column, render_template
from batchscore.prompts.template import (
    NO_TEXT,
    Column,
    Render,
    Template,
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
NO_NAMES: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """The parsed settings of the prompt: at most one of `column`, `prompt` and `messages` is set.

    `prompt` and `system` are templates; `messages` is a list of chat messages whose texts are templates. With
    `text_field`, the template's field of that name holds the text, and `column` may name its column. `id` and
    `keep` name the columns that go into records; `keep == ("*",)` means all. `drop_last_assistant`:
    whether conversations are sent without the answer at their end; `None` if that is an error. `image` names
    the columns of images, `model` and `image_detail` say what they cost.
    """

    task: Task
    column: str | None = None
    prompt: Template | None = None
    system: Template | None = None
    messages: Sequence[Mapping[str, Any]] | None = None
    id: str | None = None
    keep: tuple[str, ...] = ()
    text_field: str | None = None
    drop_last_assistant: bool | None = None
    image: tuple[str, ...] = ()
    image_detail: str = "auto"
    model: str = ""

    @property
    def of_system(self) -> tuple[str, ...]:
        """The columns that the system message uses."""
        return self.system.columns if self.system is not None else ()

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
        messages=None
        if settings.messages is None
        else parse_messages(settings.messages, settings.task, with_images=bool(settings.image)),
        id=settings.id,
        keep=settings.keep,
        drop_last_assistant=settings.drop_last_assistant,
        image=settings.image,
        image_detail=settings.image_detail,
        model=settings.model,
    )
    if spec.prompt is not None and not spec.fields and not spec.image:
        raise UsageError(f"{prompt} uses no {{column}}, so the prompt of all rows would be the same.")
    if spec.text_field is not None and spec.text_field not in spec.fields:
        raise UsageError(
            f"{setting_name('text_field')} {spec.text_field}: the template's fields are "
            f"{shorten_names(spec.fields)}."
        )
    return spec


def parse_messages(given: str, task: Task, *, with_images: bool = False) -> list[dict[str, Any]]:
    """Return the messages of a JSON text, or of the file with that name; raises `UsageError`."""
    where = setting_name("messages")
    if not given.lstrip().startswith("["):
        where = f"{where} {given}"
        given = read_text(given, where)
    return read_messages(given, task, where=where, may_be_fixed=with_images)


@dataclass(frozen=True, slots=True)
class PromptBuilder:
    """Builds the prompts of one file's rows.

    `choice` is the column that holds the text; `None` if a template has several. `paths` are the names that
    mean another column, or a value within a cell. If all columns are kept, none may have one of the
    `reserved` names, in small letters; those of the table's columns that have none are `free`. Of a row only
    these `columns` are needed, `None` for all; the prompt is made of those that are `sent`, if rows have
    columns. `images` reads those of a row. `names` are those of the kept columns.
    """

    render: Render
    id: str | None
    keep: tuple[str, ...]
    choice: Choice | None = None
    paths: Mapping[str, str] = field(default_factory=dict)
    reserved: frozenset[str] = frozenset()
    free: frozenset[str] = frozenset()
    columns: frozenset[str] | None = None
    sent: tuple[str, ...] = ()
    images: ImageColumns | None = None
    names: tuple[str, ...] = ()

    def build(
        self, row: Row | UnreadableRow, note_images: Callable[[bytes], None] | None = None
    ) -> Prompt | Settled:
        """Return the row's prompt, or its error if it has none; `note_images` gets a digest of its images."""
        if isinstance(row, UnreadableRow):
            return Settled(row.file, row.number, row.error)
        values = row.values
        identity = None
        kept, clash = NOTHING_KEPT, NO_NAMES
        image_bytes = image_tokens = 0
        if self.paths:
            values = named_row(values, self.paths)
        if self.keep:
            everything = self.keep == (EVERY_COLUMN,)
            kept = row.values if everything else {name: values.get(name) for name in self.keep}
            if self.reserved and not kept.keys() <= self.free:
                clash = self.clash(kept)
        try:
            images = None if self.images is None else self.images.read(values)
            if images is not None and note_images is not None:
                note_images(digest_of(images))
            if self.id is not None:
                cell = values.get(self.id)
                identity = cell if cell is None or type(cell) is str else id_text(cell)
            body = self.render(values)
            if self.images is None or images is None:
                pass
            elif isinstance(images, RowError):
                body = body if isinstance(body, RowError) else images
            elif not isinstance(body, RowError):
                body, image_bytes = add_images(body, images, self.images)
                image_tokens = sum(image.tokens for image in images)
        except RecursionError:  # JSON cells may be nested a thousand levels deep
            body = RowError(ErrorCode.UNREADABLE_ROW, "The row is nested too deeply to be sent.")
        except UnreadableCellError as error:
            body = RowError(ErrorCode.UNREADABLE_ROW, f"The row cannot be sent: a cell holds {error}.")
        except Exception as error:  # a cell may be an object of any library
            message = f"The row cannot be sent: a cell has no text ({type(error).__name__})."
            body = RowError(ErrorCode.UNREADABLE_ROW, message)
        if clash:
            kept = {name: value for name, value in kept.items() if name not in clash}
            body = RowError(
                ErrorCode.UNREADABLE_ROW,
                f"The row cannot be kept: its column {clash[0]!r} has the name of a field of records.",
            )
        if isinstance(body, RowError):
            return Settled(row.file, row.number, body, identity, kept)
        if kept:
            kept = packed(kept, self.names)
        return Prompt(row.file, row.number, body, identity, kept, False, image_bytes, image_tokens)

    def digest_of_images(self, row: Row) -> bytes:
        """Return a digest of what the row's images are now."""
        assert self.images is not None
        try:
            return digest_of(self.images.read(named_row(row.values, self.paths)))
        except Exception:  # the row gets its error when its prompt is built
            return b""

    def clash(self, kept: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the kept columns that have a reserved name."""
        return tuple(name for name in kept if name.lower() in self.reserved)


def builder_for(
    table: Table, spec: PromptSpec, reserved: Iterable[str] = (), *, read_file: ReadFile | None = None
) -> PromptBuilder:
    """Return the builder for this table's rows; raises `InputError` naming a column that it lacks.

    A table without columns has no rows either, so any spec fits it. Some or all of the table's rows are read
    if the columns alone do not say what to send. `read_file` reads the images that rows name; `None` if they
    may not name files.
    """
    everything = spec.keep == (EVERY_COLUMN,)
    # With all columns, the column of this name is the id, which records have a field for.
    own_id = ID_COLUMN if everything and ID_COLUMN in table.columns else None
    identity = own_id if spec.id is None else spec.id
    if not table.columns and not table.headerless:
        return PromptBuilder(render=lambda _: NO_TEXT, id=identity, keep=spec.keep)
    whole = spec.column is None or is_usual(spec.column, spec.task)
    sample, rows = first_rows(table, whole=whole) if needs_sample(table, spec) else ([], table.rows)
    choice = choose(table, spec, sample)
    names: Mapping[str, str] = {}
    if spec.text_field is not None and choice is not None and not table.headerless:
        names = {spec.text_field: choice.column}
    own = [names.get(name, name) for name in spec.fields]
    of_system = [names.get(name, name) for name in spec.of_system]
    of_id = [] if identity is None else [(identity, "id")]
    images = spec.image
    if table.headerless and images:
        refuse_two_columns(table, [*own, *images], "image")
        images = (TEXT_COLUMN,)
    if table.headerless:
        paths = resolve(table, of_id, ())
        refuse_two_columns(table, own, "prompt" if spec.messages is None else "messages")
        # A headerless text fills only one column, which prompt and system message may both name.
        refuse_two_columns(table, [*own, *of_system], "system")
        names = dict.fromkeys((*own, *of_system, choice.column if choice else TEXT_COLUMN), TEXT_COLUMN)
    else:
        of_prompt = "prompt" if spec.messages is None else "messages"
        wanted = [(choice.column, "column")] if choice is not None else []
        wanted += [(name, of_prompt) for name in own] + [(name, "system") for name in of_system]
        wanted += [(name, "image") for name in images]
        paths = resolve(table, wanted + of_id, rows)
        paths |= {name: path for name in spec.keep if (path := path_of(table, name)) not in {None, name}}
        paths |= {name: name for name in spec.keep if "." in name}
    column = None if choice is None else choice.column
    taken = frozenset(reserved) - {identity} if everything else frozenset()
    if not table.varies:  # then the columns decide for all rows
        taken &= {name.lower() for name in table.columns}
    sent = dict.fromkeys((*own, *of_system, *([] if column is None else [column]), *images))
    used = [*sent, *spec.keep, *([] if identity is None else [identity])]
    return PromptBuilder(
        render=render_for(spec, column, names, is_ready=is_ready(table, spec, column, sample)),
        id=identity,
        keep=spec.keep,
        choice=choice,
        paths=paths,
        reserved=taken,
        free=frozenset(name for name in table.columns if name.lower() not in taken),
        columns=None if everything else frozenset(column_of(table, paths.get(name, name)) for name in used),
        sent=() if table.headerless else tuple(paths.get(name, name) for name in sent),
        names=table.columns if everything else spec.keep,
        images=ImageColumns(images, spec.task, spec.model, spec.image_detail, read_file) if images else None,
    )


def needs_sample(table: Table, spec: PromptSpec) -> bool:
    """Whether the first rows decide what is sent."""
    if spec.column is not None:
        return spec.task.takes_messages
    free = spec.prompt is None and spec.messages is None
    return not table.headerless and (free or (spec.text_field or "") not in ("", *table.columns))


def choose(table: Table, spec: PromptSpec, sample: Sequence[Mapping[str, Any]]) -> Choice | None:
    """Return the column that holds the rows' text; `None` if the template alone defines the prompt.

    Raises `InputError` if several columns could hold the text, or if it is in doubt whether one does.
    """
    if spec.column is not None:
        return Choice(spec.column)
    if spec.image:
        images = {column_of(table, path_of(table, name) or name) for name in spec.image}
        texts = [] if table.headerless else [name for name in table.text_columns if name not in images]
        table = replace(table, text_columns=tuple(texts))
    if spec.prompt is None and spec.messages is None:
        choice = ready_column(table, spec.task, sample)
        # What a batch request says besides its prompt must not get lost.
        path = f"body.{spec.task.system_key}"
        if choice is not None and "." in choice.column and spec.task.system_key and spec.system is None:
            named = [named_row(values, {path: path}).get(path) for values in sample]
            if not all(map(is_blank, named)):
                raise InputError(
                    f"its batch requests have {spec.task.system_key}. Give "
                    f"{setting_name('system', f'{{{path}}}')} to send them."
                )
        if choice is None and spec.image and not table.text_columns:
            if spec.system is None:
                raise InputError(
                    f"no column holds text; say with {setting_name('prompt')} what to do with images"
                )
            return None
        return choice or only_text_column(table, sample)
    if spec.text_field is None:
        return None
    return Choice(spec.text_field) if spec.text_field in table.columns else only_text_column(table, sample)


def text_column(table: Table, spec: PromptSpec) -> str | None:
    """Return the name of the column that holds the rows' text, as `choose` does."""
    choice = choose(table, spec, [])
    return None if choice is None else choice.column


def is_usual(column: str, task: Task) -> bool:
    """Whether conversations are expected in a column, by its name."""
    return column.rpartition(".")[2] in task.conversation_keys


def is_ready(table: Table, spec: PromptSpec, column: str | None, sample: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a column holds whole conversations; raises `InputError` if they hold their answers, too."""
    if column is None or spec.fields or table.headerless or not spec.task.takes_messages:
        return False
    cells = [named_row(values, {column: column}).get(column) for values in sample]
    if is_usual(column, spec.task):
        ready = holds_conversations(cells, spec.task)
    else:
        filled = [cell for cell in cells if not is_blank(cell)]
        ready = bool(filled) and all(map(looks_like_messages, filled))
    if not ready:
        return False
    if spec.drop_last_assistant is None and any(ends_with_answer(cell, spec.task) for cell in cells):
        raise InputError(
            f"conversations in its column {column!r} end with the assistant's message. Give "
            f"{setting_name('drop_last_assistant', True)} to leave it out, or set that to false in a "
            "settings file or a variable to send it along."
        )
    return True


def render_for(spec: PromptSpec, column: str | None, names: Mapping[str, str], *, is_ready: bool) -> Render:
    """Return the function that renders a row's JSON; `names` are the table's own names of fields."""
    if spec.messages is not None:
        return render_messages_file(spec.messages, names, spec.task)
    template = spec.prompt
    if template is None and column is None:
        template = Template(())  # the images are all there is
    if template is None:
        assert column is not None
        if is_ready:
            drop = spec.drop_last_assistant
            return render_ready_messages(column, spec.system, spec.task, drop_last_assistant=drop)
        template = Template((Column(column),))
    if not spec.task.takes_messages and len(template.pieces) == 1:
        own = rename_columns(template, names).columns[0]
        return render_column(own, one_text=own.rpartition(".")[2] == spec.task.input_key)
    return render_template(template, spec.system, names, spec.task)


def refuse_two_columns(table: Table, names: Iterable[str], setting: str) -> None:
    """Raise `InputError` if texts without columns should fill two columns."""
    others = {name: None for name in names if name != TEXT_COLUMN}
    if len(others) > 1:
        resolve(table, [(name, setting) for name in others], ())
