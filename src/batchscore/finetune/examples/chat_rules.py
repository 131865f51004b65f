"""Which rules do the messages of an example break?

It knows parsed JSON, not lines or files. Rules are those of OpenAI's API description (fine-tuning chat input)
and of the services' guides, seen 2026-11; where the guides are silent, what failed jobs have reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from batchscore.finetune.examples.image_rules import check_image
from batchscore.finetune.examples.rules import BrokenRules, ServiceRules, name_text, type_text
from batchscore.finetune.examples.tool_rules import check_calls, check_results, check_tools

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
#: The keys of a message, and those that only the assistant's may have.
MESSAGE_KEYS = frozenset({"role", "content", "name"})
ASSISTANT_KEYS = frozenset({"weight", "tool_calls", "function_call", "refusal", "audio"})
#: Rules whose breaks hide who says what.
_OF_ROLES = frozenset({"unknown_role", "wrong_type"})
CHAT_KEYS = frozenset({"messages", "tools", "parallel_tool_calls", "functions"})


def check_chat(example: Mapping[str, Any], service: ServiceRules, broken: BrokenRules) -> None:
    """Check an example of supervised chat."""
    if example.keys() - CHAT_KEYS:
        check_keys(example, CHAT_KEYS, broken)
    messages = messages_of(example, "messages", broken)
    tools = check_tools(example, broken)
    if messages is None:
        return
    check_messages(messages, tools, service, broken)
    if any(each.rule in _OF_ROLES for each in broken.found):
        return  # what follows would have the same cause
    answers = [each for each in messages if each["role"] == "assistant"]
    if not answers:
        broken.add("no_assistant", "it has no message of the assistant, so there is nothing to train on")
        return
    if messages[-1] is not answers[-1]:
        text = "the last message is not the assistant's: remove what follows the last answer"
        broken.add("last_role", text, len(messages))
    if all(type(each.get("weight")) is int and each["weight"] == 0 for each in answers):
        broken.add("no_weight", "the weight of all its answers is 0, so nothing is trained on", key="weight")


def check_reinforcement(example: Mapping[str, Any], service: ServiceRules, broken: BrokenRules) -> None:
    """Check an example of reinforcement: a prompt, and other keys for the grader."""
    messages = messages_of(example, "messages", broken)
    tools = check_tools(example, broken)
    if messages is None:
        return
    check_messages(messages, tools, service, broken)
    if not isinstance(messages[-1], dict) or messages[-1].get("role") != "user":
        broken.add("last_not_user", "the last message is not the user's", len(messages))


def check_preference(example: Mapping[str, Any], service: ServiceRules, broken: BrokenRules) -> None:
    """Check an example of a preference: an input and two outputs."""
    sides = ("preferred_output", "non_preferred_output")
    check_keys(example, frozenset({"input", *sides}), broken)
    given = example.get("input")
    if isinstance(given, dict):
        check_keys(given, CHAT_KEYS - {"functions"}, broken)
        tools = check_tools(given, broken)
        messages = messages_of(given, "messages", broken)
        if messages is not None:
            check_messages(messages, tools, service, broken)
            if service.refuses_preference_images and any(map(_has_parts, messages)):
                broken.add("preference_output", "a preference may hold texts only, no images", key="input")
    else:
        tools = frozenset[str]()
        missing = "the key is missing" if given is None else f"it is {type_text(given)}, not an object"
        broken.add("missing_key" if given is None else "wrong_type", missing, key="input")
    texts = [_check_side(example, side, tools, service, broken) for side in sides]
    if None in texts:
        return
    preferred, other = (str(text).strip() for text in texts)
    if preferred == other:
        broken.add("equal_outputs", "both outputs are equal", key=sides[1])
    elif preferred and other and not 0.1 <= len(preferred) / len(other) <= 10:
        broken.add("unequal_lengths", "one output is more than ten times as long as the other", key=sides[1])


def _check_side(
    example: Mapping[str, Any],
    side: str,
    tools: frozenset[str] | None,
    service: ServiceRules,
    broken: BrokenRules,
) -> str | None:
    """Check one output of a preference; return its text, `None` if it has none."""
    messages = messages_of(example, side, broken)
    if messages is None:
        return None
    before = len(broken.found)
    check_messages(messages, tools, service, broken, key=side)
    if any(each.rule in _OF_ROLES for each in broken.found[before:]):
        return None
    roles = [each["role"] for each in messages]
    if set(roles) - {"assistant", "tool"}:
        broken.add("preference_output", "it may hold messages of the assistant and of tools only", key=side)
    elif roles.count("assistant") != 1 and len(broken.found) == before:
        count = roles.count("assistant")
        broken.add("preference_output", f"it has {count} messages of the assistant, not one", key=side)
    return str([each.get("content") or each.get("tool_calls") for each in messages])


def _has_parts(message: Any) -> bool:
    content = message.get("content") if isinstance(message, dict) else None
    return isinstance(content, list) and any(
        isinstance(part, dict) and part.get("type") == "image_url" for part in content
    )


def check_keys(example: Mapping[str, Any], known: frozenset[str], broken: BrokenRules) -> None:
    """Note keys beside the known ones."""
    for key in example.keys() - known:
        text = f"the key {name_text(key)} is not known here; known are {', '.join(sorted(known))}"
        broken.add("unknown_key", text, key=key if name_text(key)[0] == '"' else "")


def messages_of(example: Mapping[str, Any], key: str, broken: BrokenRules) -> Sequence[Any] | None:
    """Return a list of messages with at least one; note why there is none."""
    messages = example.get(key)
    if messages is None:
        broken.add("missing_key", f"the key {key} is missing", key=key)
    elif not isinstance(messages, list):
        broken.add("wrong_type", f"it is {type_text(messages)}, not a list of messages", key=key)
    elif not messages:
        broken.add("no_messages", "the list of messages is empty", key=key)
    else:
        return messages
    return None


def check_messages(
    messages: Sequence[Any],
    tools: frozenset[str] | None,
    service: ServiceRules,
    broken: BrokenRules,
    *,
    key: str = "",
) -> None:
    """Check each message, and how they follow each other. `tools` are the names that may be called."""
    images = 0
    roles: list[str] = []
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict):
            broken.add("wrong_type", f"it is {type_text(message)}, not an object", number, key)
            roles.append("")
            continue
        role = message.get("role")
        if not isinstance(role, str) or role not in ROLES:
            roles.append("")
            text = "the role is missing" if role is None else "the role is not known"
            broken.add("unknown_role", f"{text}; it is one of {', '.join(sorted(ROLES))}", number, "role")
            continue
        roles.append(role)
        content = message.get("content")
        if role == "assistant":
            _check_assistant(message, tools, number, broken)
        elif len(message) > 2:
            _check_other(message, number, broken)
        if isinstance(content, str):
            if not content or content.isspace():
                _check_blank(message, number, broken)
        elif content is None:
            if role != "assistant" or not message.keys() & {"tool_calls", "function_call"}:
                broken.add("missing_content", "it has no content", number, "content")
        elif isinstance(content, list) and role == "user":
            images += _check_parts(content, number, broken)
        elif isinstance(content, list):
            rule = "image_role" if _has_parts(message) else "content_type"
            text = "a list of parts is allowed in a message of the user only; write a text"
            broken.add(rule, text, number, "content")
        else:
            text = f"it is {type_text(content)}, not a text"
            broken.add("content_type", text, number, "content")
    if images > service.most_images:
        broken.add("image_count", f"it has {images} images; at most {service.most_images} are allowed")
    check_results(messages, broken)
    if not key:
        _check_order(roles, broken)


def _check_assistant(
    message: Mapping[str, Any], tools: frozenset[str] | None, number: int, broken: BrokenRules
) -> None:
    if len(message) == 2 and "content" in message:
        return
    for name in message.keys() - MESSAGE_KEYS - ASSISTANT_KEYS:
        _unknown(name, number, broken)
    if "weight" in message:
        weight = message["weight"]
        if type(weight) is not int or weight not in {0, 1}:
            broken.add("weight_value", "the weight must be the number 0 or 1", number, "weight")
    refusal, audio = message.get("refusal"), message.get("audio")
    if refusal is not None and not isinstance(refusal, str):
        broken.add("wrong_type", f"it is {type_text(refusal)}, not a text", number, "refusal")
    if audio is not None and not (isinstance(audio, dict) and isinstance(audio.get("id"), str)):
        broken.add("wrong_type", f"it is {type_text(audio)}, not an object with an id", number, "audio")
    _check_name(message, number, broken)
    if message.get("tool_calls") is not None or message.get("function_call") is not None:
        check_calls(message, tools, number, broken)


def _check_other(message: Mapping[str, Any], number: int, broken: BrokenRules) -> None:
    role = message["role"]
    for name in message.keys() - MESSAGE_KEYS:
        if name == "weight":
            text = f"a weight is allowed on messages of the assistant only, and this is one of the {role}"
            broken.add("weight_role", text, number, "weight")
        elif name in ASSISTANT_KEYS:
            text = f"{name} is allowed in messages of the assistant only, and this is one of the {role}"
            broken.add("tool_call", text, number, name)
        elif not (name == "tool_call_id" and role == "tool"):
            _unknown(name, number, broken)
    _check_name(message, number, broken)


def _check_name(message: Mapping[str, Any], number: int, broken: BrokenRules) -> None:
    if "name" in message and not (isinstance(message["name"], str) and message["name"]):
        broken.add("wrong_type", "the name is not a text", number, "name")


def _unknown(name: Any, number: int, broken: BrokenRules) -> None:
    text = f"the key {name_text(name)} is not known in a message"
    broken.add("unknown_key", text, number, name if name_text(name)[0] == '"' else "")


def _check_blank(message: Mapping[str, Any], number: int, broken: BrokenRules) -> None:
    """Note an empty content, unless the message has something else to say, or is a tool's result."""
    role = message["role"]
    if role in {"tool", "function"} or (message.get("tool_calls") or message.get("function_call")):
        return
    what = "the answer is empty" if role == "assistant" else "the content is empty"
    broken.add("empty_content", what, number, "content")


def _check_parts(content: Sequence[Any], number: int, broken: BrokenRules) -> int:
    """Check the parts of a user's message; return the number of images."""
    images = 0
    if not content:
        broken.add("empty_content", "the list of parts is empty", number, "content")
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            if not isinstance(part.get("text"), str) or not part["text"]:
                broken.add("content_type", "a part of the type text needs a text", number, "content")
        elif kind == "image_url":
            images += 1
            check_image(part, number, broken)
        else:
            text = "a part is neither a text nor an image: its type must be text or image_url"
            broken.add("content_type", text, number, "content")
    return images


def _check_order(roles: Sequence[str], broken: BrokenRules) -> None:
    if "user" not in roles:
        broken.add("no_user", "it has no message of the user")
    late = next((n for n, role in enumerate(roles, 1) if role in {"system", "developer"} and n > 1), 0)
    if late:
        broken.add("system_place", "the system message is usually the first one", late, "role")
    repeated = next((n for n in range(1, len(roles)) if roles[n] == roles[n - 1] == "user"), 0)
    if repeated:
        broken.add("repeated_role", "two messages of the user follow each other", repeated + 1, "role")
