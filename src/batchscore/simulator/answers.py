"""Which text does the simulated model answer, and why does it end?

It must not know the wire: a text and a few wishes in, a text and a finish reason out, always the same.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import orjson

from batchscore.simulator.words import (
    COMMON,
    EMPTY_REPLY_TRIGGER,
    FILTERED_REPLY_TRIGGER,
    PARTLY_FILTERED_REPLY_TRIGGER,
    WORD,
    count_tokens,
)

_SENTENCE_END = re.compile(r"(?<=[.!?。\uff01\uff1f])\s+|\n+")
_LONGEST_SENTENCE = 240
_DEEPEST_SCHEMA = 8


@dataclass(frozen=True)
class Wishes:
    """What of the request's parameters changes an answer; `most_tokens` counts answer tokens."""

    most_tokens: int | None = None
    stop: tuple[str, ...] = ()
    json: bool = False
    schema: Any = None
    reasoning_tokens: int = 0


@dataclass(frozen=True)
class Answer:
    """`text` is None where the model gives none; `tokens` are those of the text and of reasoning."""

    text: str | None
    finish_reason: str
    tokens: int
    reasoning_tokens: int = 0


def answer(asked: str, wishes: Wishes, *, choice: int = 0) -> Answer:
    """Give the `choice`-th answer: a sentence of the text and its key words."""
    if EMPTY_REPLY_TRIGGER in asked:
        return Answer(None, "stop", 0)
    text = _as_json(asked, wishes.schema, choice) if wishes.json else _as_prose(asked, choice)
    if FILTERED_REPLY_TRIGGER in asked:
        if PARTLY_FILTERED_REPLY_TRIGGER in asked:
            half = text[: len(text) // 2]
            return Answer(half, "content_filter", count_tokens(half))
        return Answer(None, "content_filter", 0)
    ends = [at for at in (text.find(word) for word in wishes.stop) if at >= 0]
    if ends:
        text = text[: min(ends)]
    thought = wishes.reasoning_tokens
    if wishes.most_tokens is not None and thought + count_tokens(text) > wishes.most_tokens:
        thought = min(thought, wishes.most_tokens)
        text = _cut(text, wishes.most_tokens - thought)
        return Answer(text, "length", wishes.most_tokens, thought)
    return Answer(text, "stop", thought + count_tokens(text), thought)


def _cut(text: str, tokens: int) -> str:
    """Give the longest beginning that counts at most `tokens`."""
    low, high = 0, len(text) if tokens else 0
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count_tokens(text[:middle]) <= tokens else (low, middle - 1)
    return text[:low]


def _sentence(text: str, choice: int) -> str:
    sentences = [part.strip() for part in _SENTENCE_END.split(text[:20_000]) if part and part.strip()]
    if not sentences:
        return "Nothing was said."
    sentence = sentences[choice % len(sentences)]
    if len(sentence) > _LONGEST_SENTENCE:
        sentence = sentence[:_LONGEST_SENTENCE].rsplit(" ", 1)[0] + "…"
    return sentence if sentence[-1] in ".!?…。\uff01\uff1f" else sentence + "."


def _key_words(text: str) -> list[str]:
    found = (word for word in WORD.findall(text[:20_000].lower()) if len(word) > 3 and word not in COMMON)
    return [word for word, _ in Counter(found).most_common(5)]


def _as_prose(text: str, choice: int) -> str:
    words = _key_words(text)
    about = f" Key words: {', '.join(words)}." if words else ""
    return _sentence(text, choice) + about


def _as_json(text: str, schema: Any, choice: int) -> str:
    if schema is None:
        value: Any = {"summary": _sentence(text, choice), "keywords": _key_words(text)}
    else:
        value = _fill(schema, text, choice, depth=0)
    return orjson.dumps(value).decode()


def _fill(schema: Any, text: str, choice: int, *, depth: int) -> Any:
    """Give a value that a JSON schema of the usual kind accepts; `$ref` and `pattern` are not followed."""
    if not isinstance(schema, dict) or depth > _DEEPEST_SCHEMA:
        return None
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        named = [one for one in schema["enum"] if isinstance(one, str) and one.lower() in text.lower()]
        return (named or schema["enum"])[0]
    for word in ("anyOf", "oneOf"):
        if schema.get(word):
            return _fill(schema[word][0], text, choice, depth=depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "null")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: _fill(inner, text, choice, depth=depth + 1) for name, inner in properties.items()}
    if kind == "array":
        return [_fill(schema.get("items"), text, choice, depth=depth + 1)]
    simple = {"string": _sentence(text, choice), "integer": len(text.split()), "number": 0.5, "boolean": True}
    return simple.get(str(kind))
