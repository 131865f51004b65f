"""What do some thousand of an output's answers look like, and is something wrong with them?

Pure. It counts and measures; no answer is kept or shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from batchscore.report.page.words import percent

#: Bars of a picture of lengths.
MOST_BARS = 24


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer's measures: `digest` tells equal ones, `tokens` are known where its usage is there."""

    characters: int
    digest: int
    finish_reason: str
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Bars:
    """Counts of lengths: the bar `n` counts those from `starts[n]` to below the next."""

    unit: str
    starts: Sequence[int]
    counts: Sequence[int]
    middle: int
    longest: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What a sample of answers shows; `same` is how often the most frequent answer came."""

    sampled: int
    empty: int
    same: int
    different: int
    finish_reasons: dict[str, int]
    lengths: Sequence[Bars]


def measured(answers: Sequence[Answer]) -> Measured:
    """Return the measures of answers."""
    full = [answer for answer in answers if answer.characters]
    equal = Counter(answer.digest for answer in full)
    lengths = [bars("characters", [answer.characters for answer in answers])]
    tokens = [answer.tokens for answer in answers if answer.tokens is not None]
    if tokens:
        lengths.append(bars("tokens", tokens))
    return Measured(
        sampled=len(answers),
        empty=len(answers) - len(full),
        same=max(equal.values(), default=0),
        different=len(equal),
        finish_reasons=dict(Counter(answer.finish_reason for answer in answers).most_common()),
        lengths=[each for each in lengths if each is not None],
    )


def bars(unit: str, lengths: Sequence[int]) -> Bars | None:
    """Return counts of lengths in bars of one round width; `None` where there is nothing to count."""
    if not lengths:
        return None
    ordered = sorted(lengths)
    # A few very long ones would squeeze all others into one bar: the last bar takes what is beyond.
    top = ordered[min(int(len(ordered) * 0.99), len(ordered) - 1)] + 1
    width = round_up(top / MOST_BARS)
    count = min((ordered[-1] // width) + 1, MOST_BARS + 1)
    found = [0] * count
    for length in ordered:
        found[min(length // width, count - 1)] += 1
    starts = [place * width for place in range(count)]
    return Bars(unit, starts, found, ordered[len(ordered) // 2], ordered[-1])


def round_up(width: float) -> int:
    """Return the next of 1, 2, 5, 10, 20, 50, …"""
    size = 1
    while True:
        for step in (1, 2, 5):
            if step * size >= width:
                return step * size
        size *= 10


def findings(found: Measured) -> list[tuple[str, str]]:
    """Return what can be said of the answers at a glance: `fine` or `look`, and a sentence."""
    if not found.sampled:
        return [("look", "There are no answers to look at.")]
    said: list[tuple[str, str]] = []
    cut = found.finish_reasons.get("length", 0)
    filtered = found.finish_reasons.get("content_filter", 0)
    if cut:
        share = part(cut, found.sampled)
        said.append(
            ("look", f"{share} were cut off by the token limit (finish_reason length): raise --max-tokens.")
        )
    if filtered:
        said.append(
            ("look", f"{part(filtered, found.sampled)} were filtered (finish_reason content_filter).")
        )
    if found.empty:
        said.append(("look", f"{part(found.empty, found.sampled)} are empty."))
    if found.same > 0.2 * found.sampled and found.same > 5 and found.different > 1:
        said.append(("look", f"{part(found.same, found.sampled)} are one and the same text."))
    elif found.different == 1 and found.same > 1:
        said.append(
            ("look", "All answers are the same text. That may be meant, as with labels; else see the prompt.")
        )
    if not said:
        said.append(("fine", f"The answers look sound: {found.sampled:,} looked at, none empty or cut off."))
    return said


def part(count: int, of: int) -> str:
    """Return a count with its share."""
    return f"{count:,} ({percent(count / of)}) of the {of:,} answers looked at"


def answer_of(value: Any, finish_reason: Any, usage: Any) -> Answer:
    """Return the measures of one record's answer; several answers of a row count as one."""
    parts = value if isinstance(value, list) else [value]
    joined = "\n".join(each for each in parts if isinstance(each, str))
    reasons = finish_reason if isinstance(finish_reason, list) else [finish_reason]
    shown = {str(each) for each in reasons}
    reason = shown.pop() if len(shown) == 1 else "several"
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return Answer(len(joined), hash(joined), reason, tokens if type(tokens) is int else None)
