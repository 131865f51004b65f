"""What is wrong with a training example, as a service sees it?

It must not know files: an example in, a message and a key out. It is written apart from the checks of
`finetune/`, which must find at least what a service finds.
Words: reports of users on failed jobs of OpenAI, and the forms in OpenAI's OpenAPI description, seen 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from batchscore.simulator.error_replies import Surface

#: A message with the key it is about.
Problem: TypeAlias = tuple[str, str]

ANSWERS = ("preferred_output", "non_preferred_output")
#: The keys of a chat example; one with others is for a grader, which reads them.
_CHAT_KEYS = frozenset({"messages", "tools", "parallel_tool_calls", "functions"})
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_MESSAGE_KEYS = frozenset({"role", "content", "name", "weight"})
#: What a message of a role may have besides.
_ROLE_KEYS = {
    "assistant": frozenset({"tool_calls", "function_call", "refusal", "audio"}),
    "tool": frozenset({"tool_call_id"}),
}
_MOST_IMAGES = {Surface.OPENAI: 10, Surface.AZURE: 64, Surface.AZURE_V1: 64}
_DETAILS = (None, "auto", "low", "high")


def kind_of(example: dict[str, Any]) -> str:
    """Return what an example is for: chat, completion, dpo or reinforcement."""
    if any(key in example for key in ANSWERS):
        return "dpo"
    if "prompt" in example or "completion" in example:
        return "completion"
    return "reinforcement" if example.keys() - _CHAT_KEYS and "messages" in example else "chat"


def problem_of(example: dict[str, Any], kind: str, surface: Surface) -> Problem | None:
    """Return the first thing that is wrong with an example."""
    return next(_problems(example, kind, surface), None)


def _problems(example: dict[str, Any], kind: str, surface: Surface) -> Iterator[Problem]:
    if kind == "completion":
        for key in ("prompt", "completion"):
            if not isinstance(example.get(key), str):
                yield "Input should be a valid string", key
        if surface is not Surface.OPENAI and not example["prompt"]:
            yield "The prompt is empty", "prompt"
        yield from _extra(example.keys() - {"prompt", "completion"})
        return
    given: Any = example.get("input") if kind == "dpo" else example
    if not isinstance(given, dict):
        yield "Input should be a valid dictionary", "input"
        return
    prefix = "input." if kind == "dpo" else ""
    if not isinstance(given.get("parallel_tool_calls", True), bool):
        yield "Input should be a valid boolean", f"{prefix}parallel_tool_calls"
    tools = [*_tool_names(given.get("tools"))]
    yield from _dialogue(given.get("messages"), f"{prefix}messages", tools, surface, ends=kind == "chat")
    for key in ANSWERS if kind == "dpo" else ():
        yield from _dialogue(example.get(key), key, tools, surface, ends=True)


def _extra(keys: set[str]) -> Iterator[Problem]:
    yield from ((f'contains an extra "{key}"', key) for key in sorted(keys))


def _tool_names(tools: Any) -> Iterator[Any]:
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict) and isinstance(tool.get("function"), dict):
            yield tool["function"].get("name")


def _dialogue(
    messages: Any, key: str, tools: list[Any], surface: Surface, *, ends: bool
) -> Iterator[Problem]:
    """Give what is wrong with messages. `ends`: one of them must be an answer."""
    if not isinstance(messages, list) or not messages:
        yield "Input should be a valid list with at least one message", key
        return
    open_calls: list[Any] = []
    images = 0
    for at, message in enumerate(messages):
        place = f"{key}[{at}]"
        if not isinstance(message, dict):
            yield "Input should be a valid dictionary", place
            return
        yield from _message(message, place, surface)
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                yield "tool_call_id is not that of a call before", f"{place}.tool_call_id"
            open_calls = [one for one in open_calls if one != message["tool_call_id"]]
        elif open_calls:
            message_text = "An assistant message with 'tool_calls' must be followed by tool messages"
            yield message_text, place
        for call in message.get("tool_calls") or ():
            yield from _call(call, f"{place}.tool_calls", tools)
            open_calls.append(call["id"])
        content = message.get("content")
        images += sum(part["type"] == "image_url" for part in content) if isinstance(content, list) else 0
    if images > _MOST_IMAGES[surface]:
        yield f"Example has {images} images, but at most {_MOST_IMAGES[surface]} are allowed", key
    if ends and not any(message["role"] == "assistant" for message in messages):
        yield "Example must have at least one message from the assistant", key


def _message(message: dict[str, Any], place: str, surface: Surface) -> Iterator[Problem]:
    role, content = message.get("role"), message.get("content")
    if role not in _ROLES:
        yield "Input should be 'system', 'developer', 'user', 'assistant' or 'tool'", f"{place}.role"
    yield from _extra(message.keys() - _MESSAGE_KEYS - _ROLE_KEYS.get(str(role), frozenset()))
    calls = message.get("tool_calls") or message.get("function_call")
    if content is None and not (role == "assistant" and calls):
        yield "Field required", f"{place}.content"
    if isinstance(content, list) and role == "user":
        for part in content:
            yield from _part(part, f"{place}.content")
    elif content is not None and not isinstance(content, str):
        yield "Input should be a valid string", f"{place}.content"
    if role == "user" and content == "" and surface is not Surface.OPENAI:
        yield "The prompt is empty", f"{place}.content"
    if "weight" in message and (role != "assistant" or type(message["weight"]) is not int):
        yield "weight must be 0 or 1, and only on assistant messages", f"{place}.weight"
    if message.get("weight", 1) not in (0, 1):
        yield "weight must be 0 or 1", f"{place}.weight"
    if not isinstance(message.get("name", ""), str):
        yield "Input should be a valid string", f"{place}.name"
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        yield "Field required", f"{place}.tool_call_id"
    if message.get("tool_calls") is not None and not isinstance(message["tool_calls"], list):
        yield "Input should be a valid list", f"{place}.tool_calls"


def _part(part: Any, place: str) -> Iterator[Problem]:
    if not isinstance(part, dict) or part.get("type") not in ("text", "image_url"):
        yield "Input should be a part of type 'text' or 'image_url'", place
    elif part["type"] == "text":
        if not isinstance(part.get("text"), str):
            yield "Input should be a valid string", f"{place}.text"
    else:
        given = part.get("image_url")
        image = given if isinstance(given, dict) else {}
        url = image.get("url")
        if not isinstance(url, str) or not url.startswith(("https://", "http://", "data:image/")):
            yield "Input should be a valid URL", f"{place}.image_url.url"
        elif image.get("detail") not in _DETAILS:
            yield "Input should be 'auto', 'low' or 'high'", f"{place}.image_url.detail"


def _call(call: Any, place: str, tools: list[Any]) -> Iterator[Problem]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        yield "Input should be a valid string", f"{place}.function.arguments"
    elif not isinstance(call.get("id"), str):
        yield "Field required", f"{place}.id"
    elif call.get("type") != "function":
        yield "Input should be 'function'", f"{place}.type"
    elif function.get("name") not in tools:
        yield "The function is not among the tools", f"{place}.function.name"
