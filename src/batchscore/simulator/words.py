"""How does the simulated model count a text, and what does it answer?

It must not know HTTP: a prompt and options in, a text and a finish reason out, deterministically.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import inf
from typing import Any, NamedTuple

import orjson

from batchscore.simulator.parameters import resolve

#: In a prompt or input: the service refuses it with status 400, `content_filter`.
CONTENT_FILTER_TRIGGER = "simulate-content-filter"
#: In a prompt: 200 with `finish_reason` `content_filter` and no text; with "-partly", half the text.
FILTERED_REPLY_TRIGGER = "simulate-filtered-reply"
PARTLY_FILTERED_REPLY_TRIGGER = "simulate-filtered-reply-partly"
#: In a prompt: 200 with `finish_reason` `stop` and no text.
EMPTY_REPLY_TRIGGER = "simulate-empty-reply"
#: In a line of a file of batch requests: the service refuses the file, and names the line.
REFUSED_LINE_TRIGGER = "simulate-refused-line"

WORD = re.compile(r"\w+")
_LONG_WORD = re.compile(r"\w{4,}")

#: English words that do not describe a subject.
COMMON = frozenset(
    """a about after all also an and any are as at be been but by can could did do does each for from had
    has have he her his how i if in into is it its may me more most my no not of on one only or other our
    out over shall she should so some such than that the their them then there these they this those to
    under up upon us was we were what when which who will with within would you your""".split()  # noqa: SIM905 - a list of words reads best as text
)

#: A text for each format that a schema may demand.
_FORMATS = {
    "date": "2026-11-30",
    "time": "12:30:00Z",
    "date-time": "2026-11-30T12:30:00Z",
    "duration": "P1D",
    "email": "simulator@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "12345678-1234-5678-1234-567812345678",
}

_SENTENCE_END = re.compile(r"(?<=[.!?。\uff01\uff1f])\s+|\n+")
_LONGEST_SENTENCE = 240
_DEEPEST_SCHEMA = 12


def count_tokens(text: str) -> int:
    """Estimate tokens: the larger of bytes / 4 and words (spaces + 1) * 4 / 3, rounded up; at least 1.

    Without a tokenizer: within about 20 % for English prose, too low for Chinese and for code.
    """
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return max(1, -(-size // 4), -(-(text.count(" ") + 1) * 4 // 3))


class AnswerOptions(NamedTuple):
    """The request parameters that change an answer. `max_tokens` counts answer tokens."""

    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    as_json: bool = False
    schema: Any = None
    reasoning_tokens: int = 0


class GeneratedText(NamedTuple):
    """`text` is None if the model gives none. `tokens` counts the text and the reasoning.

    `logprobs` are sent if the request asks for them.
    """

    text: str | None
    finish_reason: str
    tokens: int
    reasoning_tokens: int = 0
    refusal: str | None = None
    logprobs: dict[str, Any] | None = None


#: Gives the text for a prompt, options and the number of the choice.
Writer = Callable[[str, AnswerOptions, int], GeneratedText]


def write_answer(prompt: str, options: AnswerOptions, choice: int = 0) -> GeneratedText:
    """Return the answer with this index: a sentence of the prompt and its key words."""
    if EMPTY_REPLY_TRIGGER in prompt:
        return GeneratedText(None, "stop", 0)
    text = write_json(prompt, options.schema, choice) if options.as_json else _write_prose(prompt, choice)
    if FILTERED_REPLY_TRIGGER in prompt:
        if PARTLY_FILTERED_REPLY_TRIGGER in prompt:
            half = text[: len(text) // 2]
            return GeneratedText(half, "content_filter", count_tokens(half))
        return GeneratedText(None, "content_filter", 0)
    return cut_answer(text, options)


def cut_answer(text: str, options: AnswerOptions) -> GeneratedText:
    """Return a text as the answer, up to a stop word and no longer than the request allows."""
    ends = [at for at in (text.find(word) for word in options.stop) if at >= 0]
    if ends:
        text = text[: min(ends)]
    reasoning = options.reasoning_tokens
    if options.max_tokens is not None and reasoning + count_tokens(text) > options.max_tokens:
        reasoning = min(reasoning, options.max_tokens)
        text = _truncate_to_tokens(text, options.max_tokens - reasoning)
        return GeneratedText(text, "length", options.max_tokens, reasoning)
    return GeneratedText(text, "stop", reasoning + count_tokens(text), reasoning)


def _truncate_to_tokens(text: str, tokens: int) -> str:
    """Return the longest prefix that counts at most `tokens`."""
    low, high = 0, len(text) if tokens else 0
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count_tokens(text[:middle]) <= tokens else (low, middle - 1)
    return text[:low]


def _pick_sentence(text: str, choice: int) -> str:
    # Of most texts only the first sentence is wanted.
    parts = _SENTENCE_END.split(text[:20_000], 0 if choice or text[:1].isspace() else 1)
    sentences = [part.strip() for part in parts if part and part.strip()]
    if not sentences:
        return "Nothing was said."
    sentence = sentences[choice % len(sentences)]
    if len(sentence) > _LONGEST_SENTENCE:
        sentence = sentence[:_LONGEST_SENTENCE].rsplit(" ", 1)[0] + "…"
    return sentence if sentence[-1] in ".!?…。\uff01\uff1f" else sentence + "."


def _find_key_words(text: str) -> list[str]:
    counts: dict[str, int] = {}
    for word in _LONG_WORD.findall(text[:20_000].lower()):
        if word not in COMMON:
            counts[word] = counts.get(word, 0) + 1
    return sorted(counts, key=counts.__getitem__, reverse=True)[:5]


def _write_prose(text: str, choice: int) -> str:
    words = _find_key_words(text)
    about = f" Key words: {', '.join(words)}." if words else ""
    return _pick_sentence(text, choice) + about


def write_json(text: str, schema: Any, choice: int) -> str:
    """Return JSON that matches a schema; enums take the text, or what it mentions."""
    if schema is None:
        value: Any = {"summary": _pick_sentence(text, choice), "keywords": _find_key_words(text)}
    else:
        value = _fill_schema(schema, schema, text, choice, depth=0)
    return orjson.dumps(value).decode()


def _fill_schema(schema: Any, root: Any, text: str, choice: int, *, depth: int) -> Any:
    """Return a value that a common JSON schema accepts; `root` holds its definitions. `pattern` is ignored.

    Deep within a schema that refers to itself, lists are empty and null is taken where it is allowed.
    """
    if not isinstance(schema, dict) or depth > _DEEPEST_SCHEMA:
        return None
    if "$ref" in schema:
        rest = {name: part for name, part in schema.items() if name != "$ref"}
        return _fill_schema(
            {**(resolve(schema["$ref"], root) or {}), **rest}, root, text, choice, depth=depth + 1
        )
    if schema.get("allOf"):
        parts = [resolve(part.get("$ref"), root) or part for part in schema["allOf"]]
        merged = {name: part for each in parts for name, part in each.items()}
        properties = {name: part for each in parts for name, part in each.get("properties", {}).items()}
        merged |= {"properties": properties} if properties else {}
        return _fill_schema(merged, root, text, choice, depth=depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        # "incorrect" mentions "correct", too.
        same = [one for one in schema["enum"] if one == text]
        mentioned = [one for one in schema["enum"] if isinstance(one, str) and one.lower() in text.lower()]
        return (same or mentioned or schema["enum"])[0]
    is_deep = depth > _DEEPEST_SCHEMA // 2
    for word in ("anyOf", "oneOf"):
        if schema.get(word):
            may_be_null = any(isinstance(one, dict) and one.get("type") == "null" for one in schema[word])
            if is_deep and may_be_null:
                return None
            return _fill_schema(schema[word][0], root, text, choice, depth=depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "null")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object":
        properties = schema.get("properties", {})
        return {
            name: _fill_schema(inner, root, text, choice, depth=depth + 1)
            for name, inner in properties.items()
        }
    if kind == "array":
        length = max(schema.get("minItems", 0), 0 if is_deep else 1)
        return [_fill_schema(schema.get("items"), root, text, choice, depth=depth + 1)] * length
    if kind == "string":
        sentence = _FORMATS.get(str(schema.get("format"))) or _pick_sentence(text, choice)
        return sentence[: schema.get("maxLength")].ljust(schema.get("minLength", 0), ".")
    if kind in {"integer", "number"}:
        value = len(text.split()) if kind == "integer" else 0.5
        return min(max(value, schema.get("minimum", value)), schema.get("maximum", inf))
    return True if kind == "boolean" else None
