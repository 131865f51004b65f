"""How does a row become an example of a training file?

Templates and columns are those of prompts: `{column}` inserts a cell, and a name alone is that column. It
knows rows and formats, not files. What an example must keep to is in `rules`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, TypeAlias

from batchscore.errors import InputError, setting_name
from batchscore.finetune.examples.kinds import CHAT_FORMAT
from batchscore.finetune.prepare.mapping import Mapped, Values, conversation_column, is_ready
from batchscore.finetune.prepare.task_cells import answers_of, list_of, whole_number
from batchscore.prompts.cells import UnreadableCellError, all_plain, cell_text
from batchscore.prompts.columns import named_row, resolve
from batchscore.prompts.images import ImageColumns
from batchscore.prompts.messages import (
    ASSISTANT,
    as_value,
    columns_of,
    conversation_of,
    fill_texts,
    map_texts,
    with_roles,
)
from batchscore.prompts.template import Column, Template, parse_template
from batchscore.rows import RowError, Table
from batchscore.task import CHAT

#: Returns a row's example; raises `NoExample`.
Convert: TypeAlias = Callable[[Values], dict[str, Any]]


class NoExample(ValueError):  # noqa: N818 - named for what is wrong
    """A row that cannot become an example; the message says why and quotes no cell."""


def converter(found: Mapped, table: Table, images: ImageColumns | None, warnings: Counter[str]) -> Convert:
    """Return what makes an example of a row of this table, and counts warnings by their rule.

    Raises `InputError` for a missing column.
    """
    templates = found.fields
    wanted = {name: template.columns for name, template in templates.items()}
    if found.messages is not None:
        wanted["messages"] = columns_of(found.messages)
    paths = _paths(table, wanted)
    fill = {name: _filler(template, found, name) for name, template in templates.items()}
    if found.marks:
        prompt, answer = fill["prompt"], fill["answer"]
        fill["prompt"] = lambda values: found.marks.prompt(prompt(values))
        fill["answer"] = lambda values: found.marks.completion(answer(values))
    make: Convert
    if found.messages is not None:
        make = _from_message_templates(found.messages, fill)
    elif is_ready(found, table):
        make = _from_messages(found, table, fill)
    elif found.kind.name == "question-answering":
        make = _question(fill, templates["context"], warnings)
    else:
        make = partial(_MAKERS.get(found.kind.name, _flat), fill)

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
        if name == "Label":
            return lambda values: whole_number(all_plain(values[column]))
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


def _chat(fill: Fill, values: Values) -> dict[str, Any]:
    messages = [*_messages(fill, values), {"role": "assistant", "content": fill["answer"](values)}]
    return {"messages": messages, **dict(_optional(fill, values, *CHAT_FORMAT.optional))}


def _preference(fill: Fill, values: Values) -> dict[str, Any]:
    return {
        "input": {
            "messages": _messages(fill, values),
            **dict(_optional(fill, values, "tools", "parallel_tool_calls")),
        },
        "preferred_output": _output(fill["answer"](values)),
        "non_preferred_output": _output(fill["rejected"](values)),
    }


def _output(text: str) -> list[Any]:
    """Return one side of a preference: an answer, or of a whole conversation what follows the last user."""
    messages = conversation_of(text, CHAT) if text.startswith("[") else None
    if messages is None:
        return [{"role": ASSISTANT, "content": text}]
    last = max((place for place, each in enumerate(messages) if each.get("role") == "user"), default=-1)
    return [each for each in messages[last + 1 :] if each.get("role") not in {"system", "developer"}]


def _reinforcement(fill: Fill, values: Values) -> dict[str, Any]:
    # The grader may use any column.
    rest = {name: all_plain(value) for name, value in values.items() if name not in {"messages", "tools"}}
    return {"messages": _messages(fill, values), **dict(_optional(fill, values, "tools")), **rest}


def _completion(fill: Fill, values: Values) -> dict[str, Any]:
    return {name: fill[name](values) for name in ("prompt", "completion")}


def _flat(fill: Fill, values: Values) -> dict[str, Any]:
    return {name: each(values) for name, each in fill.items()}


def _tokens(fill: Fill, values: Values) -> dict[str, Any]:
    return {name: list_of(fill[name](values)) for name in ("tokens", "tags")}


def _question(fill: Fill, context: Template, warnings: Counter[str]) -> Convert:
    def make(values: Values) -> dict[str, Any]:
        pieces = [each if isinstance(each, str) else cell_text(values[each.name]) for each in context.pieces]
        places = accumulate(map(len, pieces), initial=0)
        columns = [
            (place, piece)
            for place, piece, each in zip(places, pieces, context.pieces, strict=False)
            if isinstance(each, Column)
        ]
        whole = "".join(pieces)
        start = all_plain(values.get("answer_start"))
        answers, is_sure = answers_of(fill["answers"](values), start, whole, columns)
        if not is_sure:
            warnings["answer_repeated"] += 1
        return {"question": fill["question"](values), "context": whole, "answers": answers}

    return make


_MAKERS: Mapping[str, Callable[[Fill, Values], dict[str, Any]]] = {
    "chat": _chat,
    "preference": _preference,
    "reinforcement": _reinforcement,
    "prompt-completion": _completion,
    "token-classification": _tokens,
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
    column = conversation_column(found, table)
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
        # A null in the schema of a tool may have a meaning.
        cleaned = {name: _without_nulls(example[name]) for name in kind.ready}
        return example | cleaned

    return make


def _has_system(messages: Sequence[Any]) -> bool:
    return any(isinstance(each, dict) and each.get("role") in ("system", "developer") for each in messages)


def _without_nulls(value: Any) -> Any:
    """Return messages without keys of null, which tables add to what lacks them, but for a content."""
    if isinstance(value, dict):
        return {
            key: _without_nulls(item) for key, item in value.items() if item is not None or key == "content"
        }
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


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
