"""What does a row ask when it is a whole conversation: a file of message templates, or a ready column?

It knows chat messages and cells, nothing of tasks, tables or requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from batchscore.errors import ErrorCode, UsageError
from batchscore.prompts.template import (
    NOTHING_TO_ASK,
    Render,
    Template,
    cell_text,
    is_blank,
    json_bytes,
    lacking,
    parse_template,
    refuse_what_json_has_not,
    with_names,
)
from batchscore.rows import RowError


def render_messages_file(messages: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Render:
    """Fill every text of a list of messages."""
    needed = tuple(names.get(name, name) for name in columns_of(messages))
    filled = [with_templates(message, names) for message in messages]

    def render(values: Mapping[str, Any]) -> bytes | RowError:
        try:
            if all(is_blank(values[name]) for name in needed):
                return NOTHING_TO_ASK
            return json_bytes([fill_in(message, values) for message in filled])
        except KeyError as missing:
            return lacking(missing.args[0])

    return render


def render_ready_messages(column: str, system: Template | None) -> Render:
    """Take a column of whole conversations: lists of messages, or the JSON text of one."""

    def render(values: Mapping[str, Any]) -> bytes | RowError:
        if column not in values:
            return lacking(column)
        cell = values[column]
        if is_blank(cell):
            return NOTHING_TO_ASK
        said: Any = cell
        if isinstance(cell, (str, bytes)):
            try:
                said = orjson.loads(cell)
            except ValueError:
                return RowError(ErrorCode.INVALID_MESSAGES, f"The {column} column is not JSON.")
        reason = why_no_messages(said)
        if reason or not isinstance(said, list):
            return RowError(ErrorCode.INVALID_MESSAGES, f"The {column} column {reason}.")
        # Arrow structs carry a null for every key that another row's message has.
        said = [
            {key: without_nulls(item) for key, item in one.items() if item is not None or key == "content"}
            for one in said
        ]
        if system is not None and said[0]["role"] not in {"system", "developer"}:
            try:
                said.insert(0, {"role": "system", "content": system.fill(values, cell_text)})
            except KeyError as missing:
                return lacking(missing.args[0])
        body = json_bytes(said)
        if b"null" in body:
            refuse_what_json_has_not(said)
        return body

    return render


def without_nulls(value: Any) -> Any:
    """Return a part of a message without the keys that are null."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def why_no_messages(cell: Any) -> str:
    """Return what is wrong with a list of chat messages, or nothing."""
    if not isinstance(cell, list) or not cell:
        return "is not a list of messages"
    for number, one in enumerate(cell):
        if not isinstance(one, dict) or not isinstance(one.get("role"), str):
            return f"has no role in message {number}"
    return ""


def read_messages(text: str, *, where: str) -> list[dict[str, Any]]:
    """Parse a messages file and try its templates; raises `UsageError`."""
    try:
        messages = orjson.loads(text)
    except ValueError as error:
        raise UsageError(f"{where} is not JSON: {error}.") from None
    reason = why_no_messages(messages)
    if reason:
        raise UsageError(f"{where} {reason}.")
    if not columns_of(messages, where=where):
        raise UsageError(f"{where} uses no {{column}}, so every row would ask the same.")
    return list(messages)


def columns_of(value: Any, *, where: str = "the messages file") -> tuple[str, ...]:
    """Return every column that the texts of a message use."""
    if isinstance(value, str):
        return parse_template(value, where=where).columns
    if isinstance(value, Mapping):
        value = [item for key, item in value.items() if key != "role"]
    if isinstance(value, (list, tuple)):
        return tuple(dict.fromkeys(name for item in value for name in columns_of(item, where=where)))
    return ()


def with_templates(value: Any, names: Mapping[str, str]) -> Any:
    """Return a message with its texts parsed."""
    if isinstance(value, str):
        return with_names(parse_template(value, where="the messages file"), names)
    if isinstance(value, Mapping):
        return {key: item if key == "role" else with_templates(item, names) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [with_templates(item, names) for item in value]
    return value


def fill_in(value: Any, values: Mapping[str, Any]) -> Any:
    """Return a message with its templates filled."""
    if isinstance(value, Template):
        return value.fill(values, cell_text)
    if isinstance(value, dict):
        return {key: fill_in(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [fill_in(item, values) for item in value]
    return value
