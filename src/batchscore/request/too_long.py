"""Does a refusal mean that the input is too long, and which part of it would fit?

Services say "too long" in words only, and each in its own: the one case in which a message counts. It knows
error objects, not requests. The messages that it was made from are in `simulator/too_long.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: A message that is longer quotes the input.
MOST_CHARACTERS = 4000

TOO_LONG = re.compile(
    r"""
      (?<!_)\bcontext\ (?:length|size|window|limit)\b | ContextWindowExceeded
    | \bmax(?:imum)?\ (?:allowed\ )?(?:input|prompt|sequence|model|text)\ (?:length|size|tokens)
    | \bmaximum\ (?:allowed\ )?(?:token\ size|length\ of\ \d+\ tokens)
    | \bmaximum\ tokens\ exceeded | (?:>|exceeds)\ max_(?:model_len|input_|seq_?len|sequence_)
    | \b(?:input|prompt|text|content|message|request)s?\ (?:(?:is|are|was)\ )?too\ (?:long|large\ to\ process)
    | \b(?:input|prompt|text|sequence)s?(?:\ length)?(?:\ \(?\d[\d,]*\)?)?\ exceeds?\ (?:the\ )?
      (?:(?:model|allowed)\ )?(?:max|limit)
    | \bnumber\ of\ (?:input\ |prompt\ )?tokens\b[^.]{0,20}\bexceeds?\b
    | \bexpected\ maxLength:\ \d+,\ actual | \bshould\ have\ at\ most\ \d+\ characters
    | \btokens?\)?\ is\ too\ large\ to\ process | \bprompt\ exceeds\ max\ length
    | \btoo\ many\ (?:input\ |prompt\ )?tokens\b | \brange\ of\ input\ length | \binput\ tokens\ exceed
    | \btokens?\b,?\ exceed(?:s|ing|ed)?\ (?:the\ )?(?:model|max|limit|context|configured|available)
    | \bexceed(?:s|ed|ing)?\ (?:the\ |model\ |your\ )*max(?:imum)?\ (?:number\ of\ |allowed\ |input\ )?token
    | \btoken\ limit\b
    | \btoken\ count\b.{0,40}?\b(?:exceed|supports\ (?:only\ )?up\ to|cannot|is\ (?:larger|greater|longer))
    | \b(?:less\ than|cannot\ exceed|exceeds|at\ most|fewer\ than)\ \d[\d,]*\ tokens\b
    | \blonger\ than\ the\ (?:maximum|model|context|input|specified)
    | \d\ tokens?\ >\ \d | \binputs?`?\ tokens\ \+
    """,
    re.IGNORECASE | re.VERBOSE,
)

#: A refusal of the answer's length, or of a rate, which a shorter input does not cure.
OTHER = re.compile(
    r"""
      ^\W*max_(?:completion_)?tokens\b | desc\ =\ max_(?:completion_)?tokens\b
    | \bcompletion\ tokens\b.*\bwhereas\b
    | \b(?:token|request)s?\ per\ (?:min|day|hour|sec) | \brate\ limit | \bquota\b
    """,
    re.IGNORECASE | re.VERBOSE,
)

#: vLLM's "(answer > limit - input)": the answer's length is to blame only if it leaves no room for any input.
ANSWER_AND_INPUT = re.compile(r"\((\d+) > (\d+) - (\d+)\)")

#: A limit, and by how much it was exceeded.
EXCEEDED_BY = re.compile(
    r"exceeded by (\d[\d,]*) tokens.*?limit\D{0,40}?(\d[\d,]*) tokens", re.IGNORECASE | re.DOTALL
)

#: The limit before what the request held, answer included.
LIMIT_FIRST = re.compile(
    r"context length is (?:only )?(\d[\d,]*)(?: tokens)?\D+(?:you requested|resulted in|passed)\D*(\d[\d,]*)",
    re.IGNORECASE,
)

#: Counts that are not parts of names, of versions or of places in a list.
COUNT = re.compile(r"(?<![\w.\-\[/'])\d[\d,]*(?![\w\-\]'/]|\.\d)")
PLACE = re.compile(r"\b(?:index|id|input|item|position|row|batch)\s+\d+\b", re.IGNORECASE)

#: A smaller number is not a model's limit.
SMALLEST_LIMIT = 32


def is_too_long(message: str) -> bool:
    """Whether a refusal's message says that the input, or the request, has too many tokens."""
    text = message[:MOST_CHARACTERS]
    if both := ANSWER_AND_INPUT.search(text):
        return number(both[1]) < number(both[2])
    return TOO_LONG.search(text) is not None and OTHER.search(text) is None


def fitting_part(error: Mapping[str, Any], message: str) -> float | None:
    """Return limit / requested if an error names both, as numbers (llama.cpp) or in its message."""
    limit, requested = error.get("n_ctx"), error.get("n_prompt_tokens")
    if type(limit) is int and type(requested) is int:
        return part(limit, requested)
    text = message[:MOST_CHARACTERS]
    if both := ANSWER_AND_INPUT.search(text):
        return part(number(both[2]) - number(both[1]), number(both[3]))
    if over := EXCEEDED_BY.search(text):
        by, limit = number(over[1]), number(over[2])
        return part(limit, limit + by)
    if first := LIMIT_FIRST.search(text):
        return part(number(first[1]), number(first[2]))
    if "at least" in text:
        return None  # the service stopped counting at its limit
    counts = {number(count[0]) for count in COUNT.finditer(PLACE.sub("", text))}
    counts = {count for count in counts if count >= SMALLEST_LIMIT}
    return part(min(counts), max(counts)) if len(counts) == 2 else None


def part(limit: int, requested: int) -> float | None:
    """Return limit / requested, `None` unless more was requested than allowed."""
    return limit / requested if 0 < limit < requested else None


def number(text: str) -> int:
    """Return a count such as 8192 or 1,048,576."""
    return int(text.replace(",", "")[:12])
