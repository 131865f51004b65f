"""How does a row become an example of a training file?

Templates and columns are those of prompts: `{column}` inserts a cell, and a name alone is that column. It
knows rows and formats, not files. What an example must keep to is in `rules`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from batchscore.errors import InputError, UsageError, setting_name
from batchscore.finetune.kinds import CHAT_FORMAT, TRANSLATION, ExampleField, ExampleKind
from batchscore.finetune.shapes import answers_of, list_of
from batchscore.finetune.task_rules import FIELD_NAME
from batchscore.prompts.cells import UnreadableCellError, all_plain, cell_text, is_blank
from batchscore.prompts.columns import named_row, resolve, shorten_names
from batchscore.prompts.images import ImageColumns
from batchscore.prompts.messages import (
    as_value,
    columns_of,
    fill_texts,
    map_texts,
    with_roles,
)
from batchscore.prompts.prompt import parse_messages
from batchscore.prompts.template import Column, Template, parse_template
from batchscore.rows import RowError, Table
from batchscore.task import CHAT

Values: TypeAlias = Mapping[str, Any]
#: Returns a row's example; raises `NoExample`.
Convert: TypeAlias = Callable[[Values], dict[str, Any]]

_LANGUAGE = re.compile(r"[a-z]{2,3}(?:[_-][A-Za-z]{2,4})?")


class NoExample(ValueError):  # noqa: N818 - named for what is wrong
    """A row that cannot become an example; the message says why and quotes no cell."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """What each field of an example is made from, as the user said it or as it was found.

    `fields` are templates; `messages` are messages whose texts are templates. `images` are columns.
    """

    kind: ExampleKind
    fields: Mapping[str, Template] = field(default_factory=dict)
    messages: Sequence[Mapping[str, Any]] | None = None
    images: tuple[str, ...] = ()
    image_detail: str = "auto"


def mapped(
    kind: ExampleKind,
    fields: Mapping[str, str],
    messages: str | None = None,
    images: Sequence[str] = (),
    image_detail: str = "auto",
) -> Mapped:
    """Return what the user says of fields, by name; raises `UsageError`."""
    found: dict[str, Template] = {}
    for name, text in fields.items():
        if kind.name == TRANSLATION:
            own: ExampleField | None = ExampleField(name, ()) if FIELD_NAME.fullmatch(name) else None
        else:
            own = kind.field_named(name)
        if own is None and kind is CHAT_FORMAT and name == "messages":
            own = ExampleField("messages", ("messages",), value=True)
        if own is None:
            known = ", ".join(each.name for each in kind.fields) or "codes of languages"
            raise UsageError(f"a training file for {kind.name} has no field {name!r}; it has {known}.")
        template = parse_template(text, where=f"the field {own.name}")
        if not template.columns and own.name != "system":
            template = Template((Column(text.strip()),))
        found[own.name] = template
    if kind.name == TRANSLATION and found and len(found) != 2:
        raise UsageError("a training file for text-translation has two fields, one for each language.")
    if messages is not None and kind is not CHAT_FORMAT:
        raise UsageError(f"message templates are for chat, not for {kind.name}.")
    parsed = None if messages is None else parse_messages(messages, CHAT)
    return Mapped(kind, found, parsed, tuple(images), image_detail)


def find_fields(said: Mapped, table: Table, sample: Sequence[Values]) -> Mapped:
    """Return the mapping with the columns of the fields that the user has not named; raises `InputError`."""
    kind = said.kind
    if said.messages is not None or _is_ready(said, table):
        return said
    if kind.name == TRANSLATION:
        return said if said.fields else replace(said, fields=_languages(table))
    lower = {name.lower(): name for name in reversed(table.columns)}
    taken = {column for template in said.fields.values() for column in template.columns}
    found = dict(said.fields)
    for each in kind.fields:
        own = next((lower[name] for name in each.columns if name in lower and lower[name] not in taken), None)
        if each.name in found or own is None:
            continue
        if not each.required and all(is_blank(values.get(own)) for values in sample):
            continue
        found[each.name] = Template((Column(own),))
        taken.add(own)
    missing = [each.name for each in kind.fields if each.required and each.name not in found]
    if missing:
        columns = shorten_names(table.columns) if table.columns else "none"
        raise InputError(
            f"no column for {', '.join(missing)} of {kind.name}; its columns are {columns}. "
            f"Name one, for example --field {missing[0]}='{{{(table.columns or ('column',))[0]}}}'"
        )
    return replace(said, fields=found)


def _is_ready(said: Mapped, table: Table) -> bool:
    """Whether the table's rows have the keys of examples, and the user names no other column."""
    ready = said.kind.ready
    if said.fields.keys() & {"prompt", "answer", "rejected"} or not ready:
        return False
    return "messages" in said.fields or set(ready) <= set(table.columns) or _conversations(said, table) != ""


def _conversations(said: Mapped, table: Table) -> str:
    names = CHAT.conversation_keys if said.kind.ready == ("messages",) else ()
    return next((name for name in names if name in table.columns), "")


def _languages(table: Table) -> dict[str, Template]:
    codes = [name for name in table.columns if _LANGUAGE.fullmatch(name)]
    if len(codes) != 2:
        raise InputError(
            "which columns hold the two languages is not clear. Name the source first, for example "
            "--field en='{english}' --field de='{german}'"
        )
    return {name: Template((Column(name),)) for name in codes}


def converter(found: Mapped, table: Table, images: ImageColumns | None) -> Convert:
    """Return what makes an example of a row of this table; raises `InputError` for a missing column."""
    templates = found.fields
    wanted = {name: template.columns for name, template in templates.items()}
    if found.messages is not None:
        wanted["messages"] = columns_of(found.messages)
    paths = _paths(table, wanted)
    fill = {name: _filler(template, found, name) for name, template in templates.items()}
    make: Convert
    if found.messages is not None:
        make = _from_message_templates(found.messages, fill)
    elif _is_ready(found, table):
        make = _from_messages(found, table, fill)
    else:
        make = _MAKERS.get(found.kind.name, _flat)(fill)

    def convert(values: Values) -> dict[str, Any]:
        row = named_row(values, paths) if paths else values
        try:
            example = make(row)
            return example if images is None else _with_images(example, row, images)
        except KeyError as missing:
            raise NoExample(f"the row has no value for {missing.args[0]!r}") from None
        except UnreadableCellError as reason:
            raise NoExample(f"a cell holds {reason}") from None
        except RecursionError:
            raise NoExample("a cell is nested too deeply") from None

    return convert


def _paths(table: Table, wanted: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return what the names of columns mean in this table; an error names the field."""
    paths: dict[str, str] = {}
    for name, columns in wanted.items():
        try:
            paths |= resolve(table, [(column, "prompt") for column in columns], ())
        except InputError as error:
            reason = error.text.replace(f" ({setting_name('prompt')})", "")
            raise InputError(f"the field {name}: {reason}") from None
    return paths


def _filler(template: Template, found: Mapped, name: str) -> Callable[[Values], Any]:
    """Return what fills a field: its text, or the value of its only column as it is."""
    pieces = template.pieces
    own = found.kind.field_named(name)
    is_value = name == "messages" or (own is not None and own.value)
    if len(pieces) == 1 and isinstance(pieces[0], Column):
        column = pieces[0].name
        if is_value:
            return lambda values: all_plain(values[column])

        def fill_cell(values: Values) -> Any:
            cell = values[column]
            return cell if type(cell) is str else cell_text(cell)

        return fill_cell
    return lambda values: template.fill(values, cell_text)


Fill: TypeAlias = Mapping[str, Callable[[Values], Any]]


def _optional(fill: Fill, values: Values, *names: str) -> Iterator[tuple[str, Any]]:
    for name in names:
        value = as_value(fill[name](values)) if name in fill else None
        if value is not None and value != "":
            yield name, value


def _messages(fill: Fill, values: Values) -> list[dict[str, Any]]:
    messages = [{"role": "user", "content": fill["prompt"](values)}]
    system = fill["system"](values) if "system" in fill else ""
    return [{"role": "system", "content": system}, *messages] if system else messages


def _chat(fill: Fill) -> Convert:
    def make(values: Values) -> dict[str, Any]:
        messages = [*_messages(fill, values), {"role": "assistant", "content": fill["answer"](values)}]
        return {"messages": messages, **dict(_optional(fill, values, *CHAT_FORMAT.optional))}

    return make


def _preference(fill: Fill) -> Convert:
    def make(values: Values) -> dict[str, Any]:
        return {
            "input": {
                "messages": _messages(fill, values),
                **dict(_optional(fill, values, "tools", "parallel_tool_calls")),
            },
            "preferred_output": [{"role": "assistant", "content": fill["answer"](values)}],
            "non_preferred_output": [{"role": "assistant", "content": fill["rejected"](values)}],
        }

    return make


def _reinforcement(fill: Fill) -> Convert:
    def make(values: Values) -> dict[str, Any]:
        # The grader may use any column.
        rest = {name: all_plain(value) for name, value in values.items() if name not in {"messages", "tools"}}
        return {"messages": _messages(fill, values), **dict(_optional(fill, values, "tools")), **rest}

    return make


def _completion(fill: Fill) -> Convert:
    def make(values: Values) -> dict[str, Any]:
        return {"prompt": fill["prompt"](values), "completion": fill["completion"](values)}

    return make


def _flat(fill: Fill) -> Convert:
    def make(values: Values) -> dict[str, Any]:
        return {name: each(values) for name, each in fill.items()}

    return make


def _tokens(fill: Fill) -> Convert:
    def make(values: Values) -> dict[str, Any]:
        return {name: list_of(fill[name](values)) for name in ("tokens", "tags")}

    return make


def _question(fill: Fill) -> Convert:
    def make(values: Values) -> dict[str, Any]:
        context = fill["context"](values)
        answers = answers_of(fill["answers"](values), values.get("answer_start"), context)
        return {"question": fill["question"](values), "context": context, "answers": answers}

    return make


_MAKERS: Mapping[str, Callable[[Fill], Convert]] = {
    "chat": _chat,
    "preference": _preference,
    "reinforcement": _reinforcement,
    "prompt-completion": _completion,
    "token-classification": _tokens,
    "question-answering": _question,
}


def _from_message_templates(messages: Sequence[Mapping[str, Any]], fill: Fill) -> Convert:
    templates = map_texts(list(messages), lambda text: parse_template(text, where="the messages file"))

    def make(values: Values) -> dict[str, Any]:
        filled = [fill_texts(message, values) for message in templates]
        return {"messages": filled, **dict(_optional(fill, values, *CHAT_FORMAT.optional))}

    return make


def _from_messages(found: Mapped, table: Table, fill: Fill) -> Convert:
    """Take the keys of examples as they are; other columns are left out, except for a grader."""
    kind = found.kind
    column = _conversations(found, table)
    optional = [name for name in kind.optional if name in table.columns and name not in fill]
    keeps_all = kind.name == "reinforcement"

    def make(values: Values) -> dict[str, Any]:
        example: dict[str, Any] = {}
        if keeps_all:
            example = {name: all_plain(value) for name, value in values.items()}
        for name in kind.ready:
            cell = values[column or name] if name not in fill else fill[name](values)
            example[name] = with_roles(as_value(all_plain(cell)))
        example |= {
            name: as_value(all_plain(values[name])) for name in optional if values.get(name) is not None
        }
        example |= dict(_optional(fill, values, *kind.optional))
        system = fill["system"](values) if "system" in fill else ""
        messages = example.get("messages")
        if system and isinstance(messages, list) and not _has_system(messages):
            example["messages"] = [{"role": "system", "content": system}, *messages]
        if column and column != "messages":
            example.pop(column, None)
        return {name: _without_nulls(value) for name, value in example.items()}

    return make


def _has_system(messages: Sequence[Any]) -> bool:
    return any(isinstance(each, dict) and each.get("role") in ("system", "developer") for each in messages)


def _without_nulls(value: Any) -> Any:
    """Return messages without keys of null, which tables add to rows that lack them, but for a content."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        return value
    return [
        {key: item for key, item in each.items() if item is not None or key == "content"} for each in value
    ]


def _with_images(example: dict[str, Any], values: Values, images: ImageColumns) -> dict[str, Any]:
    """Return an example of chat with the row's images behind the text of its last user message."""
    read = images.read(values)
    if isinstance(read, RowError):
        if read.message.startswith("The row has no image"):
            return example
        raise NoExample(read.message.rstrip("."))
    last = next((each for each in reversed(example["messages"]) if each.get("role") == "user"), None)
    if last is None:
        raise NoExample("there is no message of the user for its images")
    content = last["content"]
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    last["content"] = [*parts, *(image_part(image, images.detail) for image in read)]
    return example


def image_part(image: Any, detail: str) -> dict[str, Any]:
    """Return the part of a message for an image."""
    from base64 import b64encode  # noqa: PLC0415 - few examples have images

    url = image.url or f"data:image/{image.kind};base64,{b64encode(image.data).decode()}"
    return {
        "type": "image_url",
        "image_url": {"url": url} if detail == "auto" else {"url": url, "detail": detail},
    }
