"""How did several runs, one after another or at the same time, go together?

Pure. They are put on one time axis, without the spans in which no run worked. Counts are added. Limits are
added over machines; the processes of one machine share one quota, so there the highest limit counts.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray

from batchscore.errors import duration_text
from batchscore.report.page.runs import LIMITS, RecordedRun
from batchscore.report.timeline import SUMS

#: Number of spans in a chart; fewer if a span would have fewer requests than this, which shows only noise.
MOST_SPANS = 120
FEWEST_SPANS = 24
REQUESTS_PER_SPAN = 8

#: Longer times without a run, in seconds, are left out of the axis.
LONGEST_GAP = 30.0

#: A shorter overlap, in seconds, is a rounding error.
LEAST_OVERLAP = 1e-5

#: A time axis shows about so few ticks, at multiples of one of these steps in seconds, or of whole days.
MOST_TICKS = 8
ROUND_STEPS = (
    *(0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0),
    *(60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 10800.0, 21600.0, 43200.0, 86400.0),
)

#: Shorter elapsed times are shown in seconds alone: 0.25 s, 1.25 s, 45 s.
LONGEST_IN_SECONDS = 60.0

Figures = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """The axis: `seconds` of each span, and one figure or one counter of latencies per span.

    `limits` per minute are of all deployments and machines, `nan` if unknown. `labels` show elapsed time or
    UTC, as `clock` says; `ticks` are the few round times among them, "" for all other spans. `gaps` without
    a run are left out.
    """

    seconds: Figures
    sums: Mapping[str, Figures]
    limits: Mapping[str, Figures]
    steps: Sequence[Counter[int]]
    labels: Sequence[str]
    ticks: Sequence[str]
    clock: str
    gaps: int

    def total(self, *names: str) -> float:
        """Return the sum of one or more columns."""
        return float(sum(self.sums[name].sum() for name in names))

    def per_minute(self, *names: str) -> Figures:
        """Return the rate of one or more columns."""
        return sum((self.sums[name] for name in names), np.zeros_like(self.seconds)) * 60 / self.seconds

    def used(self, kind: str) -> float | None:
        """Return the used share of a limit, 1 for all of it; `None` if the limit is unknown.

        A limit allows its rate plus one request: the first one, which is sent at once.
        """
        names = ("requests",) if kind == "rpm" else ("prompt_tokens", "completion_tokens")
        limit = self.limits[kind]
        known = ~np.isnan(limit)
        allowed = (limit * np.minimum(self.seconds, self.sums["watched"]))[known].sum() / 60
        used = sum(self.sums[name][known].sum() for name in names)
        first = used / max(self.sums["requests"][known].sum(), 1.0)
        return float(used / (allowed + first)) if allowed else None


def time_axis(runs: Sequence[RecordedRun]) -> TimeAxis | None:
    """Put the timelines of runs on one axis; return `None` if no run has one."""
    timed = [(run, run.timeline) for run in runs if run.timeline is not None]
    if not timed:
        return None
    begun = [run.started + timeline.after for run, timeline in timed]
    ends = [start + timeline.bins * timeline.width for start, (_, timeline) in zip(begun, timed, strict=True)]
    busy = merge_spans(list(zip(begun, ends, strict=True)), LONGEST_GAP)
    finest = min(timeline.width for _, timeline in timed)
    requests = sum(timeline.columns["requests"].sum() for _, timeline in timed)
    wanted = min(max(requests / REQUESTS_PER_SPAN, FEWEST_SPANS), MOST_SPANS)
    # With one run, each bin lies in one span.
    width = finest * max(round(sum(end - start for start, end in busy) / finest / wanted), 1)
    spans: list[tuple[float, float]] = []
    for start, end in busy:
        count = max(round((end - start) / width), 1)
        length = (end - start) / count
        spans += [(start + place * length, length) for place in range(count)]
    starts, seconds = np.array(spans).T
    sums = np.zeros((len(SUMS), len(starts)))
    steps = [Counter[int]() for _ in starts]
    limits: dict[tuple[str, str], Figures] = defaultdict(lambda: np.full((len(LIMITS), len(starts)), np.nan))
    for start, end, (run, timeline) in zip(begun, ends, timed, strict=True):
        first, last = np.searchsorted(starts + seconds, start, "right"), np.searchsorted(starts, end)
        near = slice(first, last)
        bins = start + np.arange(timeline.bins)[:, None] * timeline.width
        overlap = np.minimum(bins + timeline.width, (starts + seconds)[near]) - np.maximum(bins, starts[near])
        overlap[overlap < LEAST_OVERLAP] = 0.0
        # Each bin is added to the spans that it overlaps, by its share; its latencies to one of them.
        shares = overlap / overlap.sum(axis=1, keepdims=True)
        sums[:, near] += np.array([timeline.columns[name] for name in SUMS]) @ shares
        for place, counted in zip(overlap.argmax(axis=1), timeline.round_trips, strict=True):
            steps[first + place].update(counted)
        for deployment, figures in timeline.limits.items():
            found = limits[run.host, deployment][:, near]
            highest = np.fmax.reduce(np.where(overlap > 0, figures[:, :, None], np.nan), axis=1)
            np.fmax(found, highest, out=found)
    of_all = np.array(list(limits.values())).reshape(-1, len(LIMITS), len(starts))
    totals = np.where(np.isnan(of_all).all(axis=0), np.nan, np.nansum(of_all, axis=0))
    clock = "elapsed" if len(timed) == 1 else "UTC"
    times = starts - starts[0] if clock == "elapsed" else starts
    return TimeAxis(
        seconds=seconds,
        sums=dict(zip(SUMS, sums, strict=True)),
        limits=dict(zip(LIMITS, totals, strict=True)),
        steps=steps,
        labels=labels_of(times, clock),
        ticks=ticks_of(times, seconds, clock),
        clock=clock,
        gaps=len(busy) - 1,
    )


def merge_spans(spans: Sequence[tuple[float, float]], gap: float) -> list[tuple[float, float]]:
    """Merge the spans that overlap or are at most `gap` seconds apart."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1] + gap:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def labels_of(times: Figures, clock: str) -> list[str]:
    """Return the labels of times: elapsed time, or time of day."""
    if clock == "elapsed":
        return [f"{each:.4g} s" if each < LONGEST_IN_SECONDS else duration_text(each) for each in times]
    form = "%m-%d %H:%M" if times[-1] - times[0] > 20 * 3600 else "%H:%M:%S"
    return [datetime.fromtimestamp(each, timezone.utc).strftime(form) for each in times]


def ticks_of(times: Figures, seconds: Figures, clock: str) -> list[str]:
    """Return the label of each span in which a round time lies, and "" for the others.

    Round times are multiples of the shortest of `ROUND_STEPS` that gives at most `MOST_TICKS` of them.
    """
    # Times of day have no fractions of a second.
    wanted = max(seconds.sum() / MOST_TICKS, seconds.max(), 1.0 if clock == "UTC" else 0.0)
    step = next((each for each in ROUND_STEPS if each >= wanted), 86400.0 * math.ceil(wanted / 86400))
    # The first multiple at or after the start of each span; it is shown if it lies in the span.
    multiples = np.maximum(np.ceil(times / step - 1e-6), 0.0) * step
    labels = labels_of(multiples, clock)
    inside = multiples < times + seconds - 1e-6
    shown = [label if within else "" for label, within in zip(labels, inside, strict=True)]
    # Across a long gap the labels are those of minutes.
    return [label if label not in shown[:place] else "" for place, label in enumerate(shown)]
