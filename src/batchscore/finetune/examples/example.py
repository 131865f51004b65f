"""What is an example of some format: is it valid, how long is it, and what are its input and its answer?

It joins the rules of all formats behind one function. Two examples are equal if their inputs and answers are;
white space and case of the input do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import orjson
import xxhash

from batchscore.finetune.examples.chat_rules import check_chat, check_preference, check_reinforcement
from batchscore.finetune.examples.kinds import (
    CHAT_FORMAT,
    COMPLETION_FORMAT,
    KINDS,
    PREFERENCE_FORMAT,
    REINFORCEMENT_FORMAT,
    TRANSLATION,
    ExampleKind,
)
from batchscore.finetune.examples.rules import BrokenRule, BrokenRules, ServiceRules
from batchscore.finetune.examples.task_rules import check_completion, check_task
from batchscore.prompts.cells import json_bytes
from batchscore.prompts.image_header import UNSEEN, image_tokens

Count: TypeAlias = Callable[[str], float]

#: Tokens around each message, each name and each example (OpenAI's cookbook on preparing chat data).
MESSAGE_TOKENS, NAME_TOKENS, EXAMPLE_TOKENS = 3, 1, 3
#: A system message and tools are the same in most examples.
_REMEMBERED = 64

_CHECKS: Mapping[str, Callable[[Mapping[str, Any], ServiceRules, BrokenRules], None]] = {
    CHAT_FORMAT.name: check_chat,
    COMPLETION_FORMAT.name: check_completion,
    PREFERENCE_FORMAT.name: check_preference,
    REINFORCEMENT_FORMAT.name: check_reinforcement,
}


@dataclass(frozen=True, slots=True)
class Measured:
    """What is kept of a valid example: digests of its input and its answer, messages, images."""

    input: int
    answer: int
    answer_text: str
    turns: int
    images: int


def broken_rules(
    example: Mapping[str, Any], kind: ExampleKind, service: ServiceRules, line: int
) -> list[BrokenRule]:
    """Return the rules that an example breaks."""
    broken = BrokenRules(line, [])
    check = _CHECKS.get(kind.name)
    if check is None:
        check_task(example, kind, broken)
    else:
        check(example, service, broken)
    return broken.found


def kind_of_example(example: Mapping[str, Any]) -> ExampleKind | None:
    """Return the format that an example seems to have; `None` if it has none that is known."""
    keys = example.keys()
    if "messages" in keys:
        messages = example["messages"]
        last = messages[-1] if isinstance(messages, list) and messages else None
        has_more = bool(keys - {"messages", "tools", "parallel_tool_calls", "functions"})
        is_prompt = isinstance(last, dict) and last.get("role") == "user"
        return REINFORCEMENT_FORMAT if is_prompt and has_more else CHAT_FORMAT
    if keys & {"preferred_output", "non_preferred_output"}:
        return PREFERENCE_FORMAT
    if keys & {"prompt", "completion"}:
        return COMPLETION_FORMAT
    for kind in KINDS.values():
        if not kind.hosted and kind.fields and {each.name for each in kind.fields if each.required} <= keys:
            return kind
    if len(keys) == 2 and all(2 <= len(key) <= 3 and key.isalpha() and key.islower() for key in keys):
        return KINDS[TRANSLATION]
    return None


def measure(example: Mapping[str, Any], kind: ExampleKind) -> Measured:
    """Return what is kept of a valid example."""
    if kind.name in {CHAT_FORMAT.name, REINFORCEMENT_FORMAT.name}:
        return _measure_messages(example, kind)
    if kind.name == PREFERENCE_FORMAT.name:
        given = example["input"]
        answer = _text_of((example["preferred_output"], example["non_preferred_output"]))
        return _measured(_text_of(given), answer, len(given["messages"]) + 1, 0)
    if kind.name == TRANSLATION:
        source, target = example.values()
        return _measured(source, target, 1, 0)
    *inputs, answer = (example[each.name] for each in kind.fields if each.name in example)
    text = inputs[0] if len(inputs) == 1 and isinstance(inputs[0], str) else _text_of(inputs)
    return _measured(text, answer if isinstance(answer, str) else _text_of(answer), 1, 0)


def _measure_messages(example: Mapping[str, Any], kind: ExampleKind) -> Measured:
    messages = example["messages"]
    answer, before = "", messages
    if kind.name == CHAT_FORMAT.name:
        last, before = messages[-1], messages[:-1]
        content = last.get("content")
        answer = content if isinstance(content, str) and len(last) == 2 else _text_of(last)
        rest = {key: value for key, value in example.items() if key != "messages"}
    else:
        rest = {key: example[key] for key in example if key == "tools"}
        answer = _text_of({key: example[key] for key in example if key not in {"messages", "tools"}})
    pieces, images = [], 0
    for message in before:
        content = message.get("content")
        if isinstance(content, list):
            images += sum(part.get("type") == "image_url" for part in content)
        pieces.append(message["role"])
        pieces.append(content if isinstance(content, str) and len(message) == 2 else _text_of(message))
    if rest:
        pieces.append(_text_of(rest))
    turns = len(messages) - (messages[0]["role"] in {"system", "developer"})
    return _measured("\n".join(pieces), answer, turns, images)


def _measured(given: str, answer: str, turns: int, images: int) -> Measured:
    same = " ".join(given.split()).casefold()
    return Measured(
        xxhash.xxh3_64_intdigest(same.encode("utf-8", "surrogatepass")),
        xxhash.xxh3_64_intdigest(answer.strip().encode("utf-8", "surrogatepass")),
        answer,
        turns,
        images,
    )


def _text_of(value: Any) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:  # a lone surrogate, a large number, or too deep
        return json_bytes(value).decode("utf-8", "surrogatepass")


class ExampleTokens:
    """Counts the tokens of examples with one model's tokenizer; texts count exactly, the rest about."""

    def __init__(self, count: Count, model: str) -> None:
        self._count = count
        self._again = lru_cache(_REMEMBERED)(count)
        self._model = model

    def tokens(self, example: Mapping[str, Any], kind: ExampleKind) -> tuple[float, ...]:
        """Return the tokens of each conversation of a valid example; a preference has two. O(characters)."""
        if not kind.hosted:
            return (sum(self._count(text) for text in _texts(example)),)
        if kind.name == COMPLETION_FORMAT.name:
            return (self._count(example["prompt"]) + self._count(example["completion"]),)
        if kind.name == PREFERENCE_FORMAT.name:
            given = example["input"]
            sides = (example["preferred_output"], example["non_preferred_output"])
            return tuple(self._conversation(given, [*given["messages"], *side]) for side in sides)
        return (self._conversation(example, example["messages"]),)

    def _conversation(self, example: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> float:
        tokens = float(EXAMPLE_TOKENS)
        for message in messages:
            tokens += MESSAGE_TOKENS
            content = message.get("content")
            if isinstance(content, str):
                count = self._again if message["role"] in {"system", "developer"} else self._count
                tokens += count(content) if content else 0
            elif content is not None:
                tokens += sum(map(self._part, content))
            if len(message) > 2:
                if "name" in message:
                    tokens += NAME_TOKENS + self._count(message["name"])
                for key in ("tool_calls", "function_call"):
                    if message.get(key):
                        tokens += self._count(_text_of(message[key]))
        for key in ("tools", "functions"):
            if example.get(key):
                tokens += self._again(_text_of(example[key]))
        return tokens

    def _part(self, part: Mapping[str, Any]) -> float:
        if part.get("type") == "text":
            return self._count(part["text"])
        detail = part["image_url"].get("detail", "auto")
        return image_tokens(*UNSEEN, self._model, detail)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value] if value else []
    if isinstance(value, Mapping):
        return [text for each in value.values() for text in _texts(each)]
    return [text for each in value for text in _texts(each)] if isinstance(value, list) else []
