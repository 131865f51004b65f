"""How did several runs, one after another or at the same time, go together?

Pure. They are put on one time axis, without the spans in which no run worked. Counts are added. Limits are
added over machines; the processes of one machine share one quota, so there the highest limit counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

from batchscore.errors import duration_text
from batchscore.report.page.runs import RecordedRun, RunTimeline
from batchscore.report.timeline import SUMS, percentile

#: Number of spans in a chart; fewer if a span would have fewer requests than this, which shows only noise.
MOST_SPANS = 120
FEWEST_SPANS = 24
REQUESTS_PER_SPAN = 8

#: Longer times without a run, in seconds, are left out of the axis.
LONGEST_GAP = 30.0


@dataclass(slots=True)
class Span:
    """A span of the axis, from `starts` (seconds since 1970) on; `after_gap`: no run worked just before."""

    starts: float
    seconds: float
    after_gap: bool = False
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SUMS, 0.0))
    steps: Counter[int] = field(default_factory=Counter)
    limits: dict[str, dict[tuple[str, str], float]] = field(default_factory=lambda: {"rpm": {}, "tpm": {}})

    def per_minute(self, *names: str) -> float:
        """Return the rate of one or more counts per minute."""
        return sum(self.sums[name] for name in names) * 60 / self.seconds

    def limit(self, kind: str) -> float | None:
        """Return the limit per minute, of all deployments and machines."""
        return sum(self.limits[kind].values()) if self.limits[kind] else None

    def percentile(self, share: float) -> float | None:
        """Return a percentile of the latencies in seconds."""
        return percentile(self.steps, share)


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """The axis and its spans; `labels` show elapsed time or UTC, as `clock` says."""

    spans: Sequence[Span]
    labels: Sequence[str]
    clock: str
    gaps: int

    def total(self, name: str) -> float:
        """Return the sum over all spans."""
        return sum(each.sums[name] for each in self.spans)

    @property
    def steps(self) -> Counter[int]:
        """Latencies by step."""
        return sum((each.steps for each in self.spans), Counter())

    def used(self, kind: str) -> float | None:
        """Return the used share of a limit, 1 for all of it; `None` if the limit is unknown.

        A limit allows its rate plus one request: the first one, which is sent at once.
        """
        allowed = used = requests = 0.0
        names = ("requests",) if kind == "rpm" else ("prompt_tokens", "completion_tokens")
        for each in self.spans:
            limit = each.limit(kind)
            if limit is not None:
                allowed += limit * min(each.seconds, each.sums["watched"]) / 60
                used += sum(each.sums[name] for name in names)
                requests += each.sums["requests"]
        return used / (allowed + used / max(requests, 1.0)) if allowed else None


def time_axis(runs: Sequence[RecordedRun]) -> TimeAxis | None:
    """Put the timelines of runs on one axis; return `None` if no run has one."""
    timed = [(run, run.timeline) for run in runs if run.timeline is not None]
    if not timed:
        return None
    busy = merge_spans([span_of(run, timeline) for run, timeline in timed])
    total = sum(end - start for start, end in busy)
    finest = min(timeline.width for _, timeline in timed)
    requests = sum(sum(timeline.columns["requests"]) for _, timeline in timed)
    wanted = min(max(requests / REQUESTS_PER_SPAN, FEWEST_SPANS), MOST_SPANS)
    # With one run, each bin lies in one span.
    width = finest * max(round(total / finest / wanted), 1)
    spans: list[Span] = []
    for start, end in busy:
        count = max(round((end - start) / width), 1)
        seconds = (end - start) / count
        spans += [
            Span(start + place * seconds, seconds, place == 0 and bool(spans)) for place in range(count)
        ]
    for run, timeline in timed:
        add_to_spans(run, timeline, spans)
    clock = "elapsed" if len(timed) == 1 else "UTC"
    return TimeAxis(spans, labels_of(spans, clock), clock, len(busy) - 1)


def span_of(run: RecordedRun, timeline: RunTimeline) -> tuple[float, float]:
    """Return the start and the end of a run's timeline, in seconds since 1970."""
    begun = run.started + timeline.after
    return begun, begun + max(timeline.bins * timeline.width, 0.001)


def merge_spans(spans: Sequence[tuple[float, float]], gap: float = LONGEST_GAP) -> list[tuple[float, float]]:
    """Merge the spans that overlap or are at most `gap` seconds apart."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1] + gap:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def add_to_spans(run: RecordedRun, timeline: RunTimeline, spans: Sequence[Span]) -> None:
    """Add a run's bins to the spans that they overlap, each by its share."""
    at = 0
    for place in range(timeline.bins):
        start = run.started + timeline.after + place * timeline.width
        end = start + timeline.width
        while at < len(spans) - 1 and spans[at].starts + spans[at].seconds <= start:
            at += 1
        into, most = at, 0.0
        covered = []
        for index in range(at, len(spans)):
            span = spans[index]
            overlap = min(end, span.starts + span.seconds) - max(start, span.starts)
            if span.starts >= end:
                break
            if overlap > 0:
                covered.append((span, overlap))
                into, most = (index, overlap) if overlap > most else (into, most)
        whole = sum(overlap for _, overlap in covered)
        for span, overlap in covered:
            for name in SUMS:
                span.sums[name] += timeline.columns[name][place] * overlap / whole
            for deployment, kinds in timeline.limits.items():
                for kind in ("rpm", "tpm"):
                    limit = kinds[kind][place]
                    if limit is not None:
                        key = (run.host, deployment)
                        span.limits[kind][key] = max(span.limits[kind].get(key, 0.0), limit)
        spans[into].steps.update(timeline.round_trips[place])


def labels_of(spans: Sequence[Span], clock: str) -> list[str]:
    """Return the labels of the axis: time since the start, or time of day."""
    first = spans[0].starts
    if clock == "elapsed":
        return [duration_text(each.starts - first) for each in spans]
    long = spans[-1].starts - first > 20 * 3600
    form = "%m-%d %H:%M" if long else "%H:%M:%S"
    return [datetime.fromtimestamp(each.starts, timezone.utc).strftime(form) for each in spans]
