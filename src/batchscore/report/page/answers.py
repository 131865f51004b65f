"""What do some thousand answers of an output look like, and are there problems?

Pure. It counts and measures; no answer is stored or shown. It reads a JSON Schema as far as it leads to
enums: properties, items and references. The values that it counts are those of the schema.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import orjson

from batchscore.errors import count_text, setting_name
from batchscore.report.words import finish_reason_text, percent_text
from batchscore.settings.json_schema import resolve

#: Greatest number of bars in a histogram.
MOST_BARS = 24

#: Greatest numbers of enum fields, of their values, and of steps to a field.
MOST_FIELDS = 24
MOST_VALUES = 30
DEEPEST = 8
#: Parts of a schema that are looked at: those that many references lead to are met again and again.
MOST_PARTS = 5000


@dataclass(frozen=True, slots=True)
class Answer:
    """The measures of one answer: equal answers have one `digest`; `tokens` are known if usage is stored."""

    characters: int
    digest: int
    finish_reason: str
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of lengths: bar `n` counts those from `starts[n]` to below the next."""

    unit: str
    starts: Sequence[int]
    counts: Sequence[int]
    median: int
    longest: int


#: The counts of the values of each enum field, also of those that do not occur.
EnumCounts: TypeAlias = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class AnswerStats:
    """The statistics of a sample of answers; `same` is the count of the most frequent answer."""

    sampled: int
    empty: int
    same: int
    different: int
    finish_reasons: dict[str, int]
    lengths: Sequence[Histogram]
    enums: EnumCounts = field(default_factory=dict)


def answer_stats(answers: Sequence[Answer], enums: EnumCounts | None = None) -> AnswerStats:
    """Return the statistics of answers, and the counts of their `enums`."""
    full = [answer for answer in answers if answer.characters]
    equal = Counter(answer.digest for answer in full)
    lengths = [histogram("characters", [answer.characters for answer in answers])]
    tokens = [answer.tokens for answer in answers if answer.tokens is not None]
    if tokens:
        lengths.append(histogram("tokens", tokens))
    return AnswerStats(
        sampled=len(answers),
        empty=len(answers) - len(full),
        same=max(equal.values(), default=0),
        different=len(equal),
        finish_reasons=dict(Counter(answer.finish_reason for answer in answers).most_common()),
        lengths=[each for each in lengths if each is not None],
        enums=enums or {},
    )


def histogram(unit: str, lengths: Sequence[int]) -> Histogram | None:
    """Return the histogram of lengths with bars of a round width; `None` if there are no lengths."""
    if not lengths:
        return None
    ordered = np.sort(lengths)
    # A few very long answers would squeeze all others into one bar: the last bar counts them.
    top = int(ordered[min(int(len(ordered) * 0.99), len(ordered) - 1)]) + 1
    # A round width: 1, 2, 5, 10, 20, 50, …
    widths = (step * 10**power for power in itertools.count() for step in (1, 2, 5))
    width = next(width for width in widths if width * MOST_BARS >= top)
    longest = int(ordered[-1])
    bars = min(longest // width + 1, MOST_BARS + 1)
    counts = np.bincount(np.minimum(ordered // width, bars - 1), minlength=bars).tolist()
    return Histogram(unit, range(0, bars * width, width), counts, int(ordered[len(ordered) // 2]), longest)


def findings(stats: AnswerStats) -> list[tuple[str, str]]:
    """Return the obvious problems of the answers: `fine` or `look`, and a sentence."""
    if not stats.sampled:
        return [("look", "There are no answers to look at.")]
    reasons = stats.finish_reasons
    cut = f"were cut off by the token limit (finish_reason length): raise {setting_name('max_tokens')}"
    counts = {
        cut: reasons.get("length", 0),
        "were filtered (finish_reason content_filter)": reasons.get("content_filter", 0),
        "are empty": stats.empty,
    }
    problems = [f"{share_text(count, stats.sampled)} {what}." for what, count in counts.items() if count]
    if stats.same > 0.2 * stats.sampled and stats.same > 5 and stats.different > 1:
        problems.append(f"{share_text(stats.same, stats.sampled)} are the same text.")
    elif stats.different == 1 and stats.same > 1:
        problems.append("All answers are the same text. If that is unexpected, check the prompt.")
    if problems:
        return [("look", problem) for problem in problems]
    sampled = count_text(stats.sampled, "answer")
    return [("fine", f"No problems found in {sampled} read: none is empty or cut off.")]


def share_text(count: int, of: int) -> str:
    """Return a count with its share."""
    return f"{count:,} ({percent_text(count, of, decimals=1)}) of the {of:,} answers read"


def answers_of(value: Any, finish_reason: Any) -> list[Any]:
    """Return the answers of a record: several if it has several finish reasons."""
    return value if isinstance(value, list) and isinstance(finish_reason, list) else [value]


def answer_of(value: Any, finish_reason: Any, usage: Any) -> Answer:
    """Return the measures of one record's answer; several answers for one row count as one."""
    reasons = finish_reason if isinstance(finish_reason, list) else [finish_reason]
    parts = answers_of(value, finish_reason)
    joined = "\n".join(label(each) for each in parts if each is not None)
    shown = {finish_reason_text(str(each)) for each in reasons}
    reason = shown.pop() if len(shown) == 1 else "several"
    names = ("completion_tokens", "output_tokens")
    tokens = next((usage[name] for name in names if name in usage), None) if isinstance(usage, dict) else None
    return Answer(len(joined), hash(joined), reason, tokens if type(tokens) is int else None)


def enum_fields(schema: Any) -> dict[tuple[str, ...], list[Any]]:
    """Return the enums of a schema by the path to their field; a step `[]` means each item of an array."""
    found: dict[tuple[str, ...], list[Any]] = {}
    pending: deque[tuple[tuple[str, ...], Any]] = deque([((), schema)])
    met = 0
    while pending and len(found) < MOST_FIELDS and met < MOST_PARTS:
        path, part = pending.popleft()
        met += 1
        if not isinstance(part, Mapping) or len(path) > DEEPEST:
            continue
        if "$ref" in part:
            pending.append(((*path, ""), resolve(part["$ref"], schema)))
        values = [part["const"]] if "const" in part else part.get("enum")
        if isinstance(values, list):
            found.setdefault(tuple(step for step in path if step), values)
        for word in ("anyOf", "oneOf", "allOf"):
            choices = part.get(word)
            pending += [((*path, ""), each) for each in (choices if isinstance(choices, list) else ())]
        properties = part.get("properties")
        if isinstance(properties, Mapping):
            pending += [((*path, str(name)), each) for name, each in properties.items()]
        if "items" in part:
            pending.append(((*path, "[]"), part["items"]))
    return found


def enum_counts(answers: Sequence[Any], schema: Any) -> EnumCounts:
    """Return the counts of each enum field; a missing field counts as null."""
    shown = {}
    for path, values in enum_fields(schema).items():
        known = {label(value): 0 for value in values}
        seen = Counter(label(value) for answer in answers for value in values_at(answer, path))
        counts = {name: seen.get(name, 0) for name in list(known)[:MOST_VALUES]}
        if "null" in seen:
            counts["null"] = seen["null"]
        place = "".join(step if step == "[]" else f".{step}" for step in path).removeprefix(".")
        shown[place or "the answer"] = counts
    return shown


def label(value: Any) -> str:
    """Return a value of an enum, or an answer, as text: itself, or JSON."""
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()


def values_at(value: Any, path: Sequence[str]) -> Iterator[Any]:
    """Yield the values at a path within an answer; null for a field that it does not have."""
    if not path:
        yield value
    elif path[0] == "[]":
        for each in value if isinstance(value, list) else ():
            yield from values_at(each, path[1:])
    elif isinstance(value, Mapping):
        yield from values_at(value.get(path[0]), path[1:])
