"""What is the prompt of a row that is a whole conversation: a file of message templates, or a column?

It knows messages and cells, not tables or requests; of a task only how it writes a prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from batchscore.errors import ErrorCode, UsageError
from batchscore.prompts.cells import all_plain, cell_text, is_blank, json_bytes, refuse_non_finite
from batchscore.prompts.template import (
    NO_TEXT,
    Render,
    Template,
    missing_column,
    parse_template,
    rename_columns,
)
from batchscore.rows import RowError
from batchscore.task import Task

#: The role of answers.
ASSISTANT = "assistant"

#: The senders of ShareGPT's form of a conversation, `{"from": "human", "value": "Hi"}`, and their roles.
SENDERS = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bard"), ASSISTANT),
    "system": "system",
}

#: The keys of a message whose texts are no templates.
FIXED = frozenset({"role", "type"})


def prompt_json(task: Task, content: str | list[Any], system: str | None = None) -> bytes:
    """Return the JSON of a prompt from its text or messages, and from the system message if there is one."""
    if task.system_key:
        fields = {task.input_key: content}
        return json_bytes(fields if system is None else {**fields, task.system_key: system})
    if task.takes_messages and isinstance(content, str):
        content = [{"role": "user", "content": content}]
    return json_bytes(content if system is None else [{"role": "system", "content": system}, *content])


def conversation_of(cell: Any, task: Task) -> list[Any] | None:
    """Return the messages of a cell, a list or its JSON; `None` if it holds none."""
    messages = with_roles(as_value(cell))
    return messages if not why_invalid(messages, task) else None


def is_share_gpt(message: Any) -> bool:
    """Whether a message has ShareGPT's form, from any sender."""
    return isinstance(message, dict) and message.keys() >= {"from", "value"} and message.get("role") is None


def with_roles(messages: Any) -> Any:
    """Return a conversation in ShareGPT's form in the API's; everything else unchanged."""
    if not isinstance(messages, list) or not all(map(is_share_gpt, messages)):
        return messages
    roles = [SENDERS.get(str(one["from"])) for one in messages]
    if None in roles:  # the call of a function, which has another form
        return messages
    return [{"role": role, "content": one["value"]} for role, one in zip(roles, messages, strict=True)]


def looks_like_messages(cell: Any) -> bool:
    """Whether a cell is a list in the form of messages, even if some are invalid."""
    messages = as_value(cell)
    return (
        isinstance(messages, list)
        and bool(messages)
        and all(is_share_gpt(one) or (isinstance(one, dict) and "role" in one) for one in messages)
    )


def as_value(cell: Any) -> Any:
    """Return what a cell's JSON means; the cell itself if it is not JSON."""
    try:
        return orjson.loads(cell) if isinstance(cell, (str, bytes)) else cell
    except ValueError:
        return cell


def ends_with_answer(cell: Any, task: Task) -> bool:
    """Whether a cell holds a conversation whose last message is the assistant's."""
    messages = conversation_of(cell, task)
    return messages is not None and messages[-1].get("role") == ASSISTANT


def render_messages_file(
    messages: Sequence[Mapping[str, Any]], names: Mapping[str, str], task: Task
) -> Render:
    """Render a list of messages whose texts are templates."""
    columns = tuple(names.get(name, name) for name in columns_of(messages))

    def parse(text: str) -> Template:
        return rename_columns(parse_template(text, where="the messages file"), names)

    templates = map_texts(list(messages), parse)

    def render(values: Mapping[str, Any]) -> bytes | RowError:
        try:
            if columns and all(is_blank(values[name]) for name in columns):
                return NO_TEXT
            return prompt_json(task, [fill_texts(message, values) for message in templates])
        except KeyError as missing:
            return missing_column(missing.args[0])

    return render


def render_ready_messages(
    column: str, system: Template | None, task: Task, *, drop_last_assistant: bool | None = None
) -> Render:
    """Render a column of whole conversations: lists of messages, or their JSON."""

    def render(values: Mapping[str, Any]) -> bytes | RowError:
        if column not in values:
            return missing_column(column)
        cell = values[column]
        if is_blank(cell):
            return NO_TEXT
        messages: Any = cell
        if isinstance(cell, (str, bytes)):
            try:
                messages = orjson.loads(cell)
            except ValueError:
                return RowError(ErrorCode.INVALID_MESSAGES, f"The {column} column is not JSON.")
        else:
            messages = all_plain(cell)  # a frame holds arrays
        messages = with_roles(messages)
        reason = why_invalid(messages, task)
        if reason or not isinstance(messages, list):
            return RowError(ErrorCode.INVALID_MESSAGES, f"The {column} column {reason}.")
        if drop_last_assistant is not False and messages[-1].get("role") == ASSISTANT:
            if not drop_last_assistant:
                message = f"The {column} column ends with the assistant's message (see drop_last_assistant)."
                return RowError(ErrorCode.INVALID_MESSAGES, message)
            # `weight` is for training, and services refuse it.
            messages = [{key: item for key, item in one.items() if key != "weight"} for one in messages[:-1]]
            if not messages:
                return NO_TEXT
        # An Arrow struct has a null for each key that only messages of other rows have.
        messages = [
            {
                key: without_nulls(item)
                for key, item in one.items()
                if item is not None or (key == "content" and one.get("role"))
            }
            for one in messages
        ]
        opening = None
        if system is not None and messages[0].get("role") not in {"system", "developer"}:
            try:
                opening = system.fill(values, cell_text)
            except KeyError as missing:
                return missing_column(missing.args[0])
        body = prompt_json(task, messages, opening)
        if b"null" in body:
            refuse_non_finite(messages)
        return body

    return render


def without_nulls(value: Any) -> Any:
    """Return a part of a message without its null keys."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def why_invalid(cell: Any, task: Task) -> str:
    """Return what is wrong with a list of messages, or an empty text."""
    if not isinstance(cell, list) or not cell:
        return "is not a list of messages"
    for number, one in enumerate(cell):
        if is_share_gpt(one):
            return f"has an unknown sender in message {number}; known are {', '.join(SENDERS)}"
        if not isinstance(one, dict) or not any(isinstance(one.get(key), str) for key in task.item_keys):
            return f"has no {' or '.join(task.item_keys)} in message {number}"
    return ""


def read_messages(text: str, task: Task, *, where: str, may_be_fixed: bool = False) -> list[dict[str, Any]]:
    """Parse a messages file and check its templates; raises `UsageError`.

    They may be the same for all rows if each row has something else, too.
    """
    try:
        messages = orjson.loads(text)
    except ValueError as error:
        raise UsageError(f"{where} is not JSON: {error}.") from None
    reason = why_invalid(messages, task)
    if reason:
        raise UsageError(f"{where} {reason}.")
    if not columns_of(messages, where=where) and not may_be_fixed:
        raise UsageError(f"{where} uses no {{column}}, so the prompt of all rows would be the same.")
    return list(messages)


def columns_of(value: Any, *, where: str = "the messages file") -> tuple[str, ...]:
    """Return the columns that the texts of messages use, each once."""
    found: dict[str, None] = {}
    map_texts(value, lambda text: found.update(dict.fromkeys(parse_template(text, where=where).columns)))
    return tuple(found)


def map_texts(value: Any, change: Callable[[str], Any]) -> Any:
    """Return a part of messages with each text changed, except roles and types."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: item if key in FIXED else map_texts(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [map_texts(item, change) for item in value]
    return value


def fill_texts(value: Any, values: Mapping[str, Any]) -> Any:
    """Return a message with its templates filled in."""
    if isinstance(value, Template):
        return value.fill(values, cell_text)
    if isinstance(value, dict):
        return {key: fill_texts(item, values) for key, item in value.items()}
    return [fill_texts(item, values) for item in value] if isinstance(value, list) else value
