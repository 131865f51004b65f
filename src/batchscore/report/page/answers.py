"""What do some thousand answers of an output look like, and are there problems?

Pure. It counts and measures; no answer is stored or shown.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from batchscore.errors import count_text, setting_name
from batchscore.report.page.enums import EnumCounts, label
from batchscore.report.words import finish_reason_text, percent_text

#: Greatest number of bars in a histogram.
MOST_BARS = 24


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


@dataclass(frozen=True, slots=True)
class AnswerStats:
    """The statistics of a sample of answers; `same` is the count of the most frequent answer."""

    sampled: int
    empty: int
    same: int
    different: int
    finish_reasons: dict[str, int]
    lengths: Sequence[Histogram]
    enums: Sequence[EnumCounts] = ()


def answer_stats(answers: Sequence[Answer], enums: Sequence[EnumCounts] = ()) -> AnswerStats:
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
        enums=enums,
    )


def histogram(unit: str, lengths: Sequence[int]) -> Histogram | None:
    """Return the histogram of lengths with bars of a round width; `None` if there are no lengths."""
    if not lengths:
        return None
    ordered = np.sort(lengths)
    # A few very long answers would squeeze all others into one bar: the last bar counts them.
    top = int(ordered[min(int(len(ordered) * 0.99), len(ordered) - 1)]) + 1
    # A round width: 1, 2, 5, 10, 20, 50, …
    width = next(
        step * 10**power
        for power in itertools.count()
        for step in (1, 2, 5)
        if step * 10**power * MOST_BARS >= top
    )
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
