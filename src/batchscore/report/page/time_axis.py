"""How did several runs, one after another or side by side, go together?

Pure. They are laid on one axis of time, in which stretches without any run are left out. What adds up is
added; limits are added over machines, but processes of one machine keep to one quota together, so that
there the highest counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

from batchscore.report.page.runs import Course, Run
from batchscore.report.timeline import SUMS, percentile

#: So many stretches a picture shows; fewer where each would hold less than some requests, since one request
#: here and none there show nothing but chance.
MOST_STRETCHES = 120
FEWEST_STRETCHES = 24
REQUESTS_A_STRETCH = 8

#: Seconds without a run that are left out of the axis.
LONGEST_GAP = 30.0


@dataclass(slots=True)
class Stretch:
    """Some seconds of the axis, from `starts` (since 1970) on; `after_gap`: nothing ran right before."""

    starts: float
    seconds: float
    after_gap: bool = False
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SUMS, 0.0))
    steps: Counter[int] = field(default_factory=Counter)
    limits: dict[str, dict[tuple[str, str], float]] = field(default_factory=lambda: {"rpm": {}, "tpm": {}})

    def a_minute(self, *names: str) -> float:
        """Return a rate."""
        return sum(self.sums[name] for name in names) * 60 / self.seconds

    def limit(self, kind: str) -> float | None:
        """Return the limit in force a minute, of all deployments and machines."""
        return sum(self.limits[kind].values()) if self.limits[kind] else None

    def percentile(self, share: float) -> float | None:
        """Return the seconds in which such a share of requests was over."""
        return percentile(self.steps, share)


@dataclass(frozen=True, slots=True)
class Together:
    """The axis and all that stands on it; `labels` are as `clock` says: elapsed time, or UTC."""

    stretches: Sequence[Stretch]
    labels: Sequence[str]
    clock: str
    gaps: int

    def total(self, name: str) -> float:
        """Return a sum over all of it."""
        return sum(each.sums[name] for each in self.stretches)

    @property
    def steps(self) -> Counter[int]:
        """Round trips by their length."""
        return sum((each.steps for each in self.stretches), Counter())

    def used(self, kind: str) -> float | None:
        """Return the share of a limit that was used, where it is known; 1 is all of it.

        A limit allows its rate and one request: the one that goes at once, when nothing went before.
        """
        allowed = used = requests = 0.0
        names = ("requests",) if kind == "rpm" else ("prompt_tokens", "completion_tokens")
        for each in self.stretches:
            limit = each.limit(kind)
            if limit is not None:
                allowed += limit * min(each.seconds, each.sums["watched"]) / 60
                used += sum(each.sums[name] for name in names)
                requests += each.sums["requests"]
        return used / (allowed + used / max(requests, 1.0)) if allowed else None


def together(runs: Sequence[Run]) -> Together | None:
    """Lay the courses of runs on one axis; `None` where none has any."""
    timed = [(run, run.course) for run in runs if run.course is not None]
    if not timed:
        return None
    busy = joined([span(run, course) for run, course in timed])
    total = sum(end - start for start, end in busy)
    finest = min(course.width for _, course in timed)
    requests = sum(sum(course.columns["requests"]) for _, course in timed)
    wanted = min(max(requests / REQUESTS_A_STRETCH, FEWEST_STRETCHES), MOST_STRETCHES)
    # Of one run so many bins together that each lies in one stretch.
    width = finest * max(round(total / finest / wanted), 1)
    stretches: list[Stretch] = []
    for start, end in busy:
        count = max(round((end - start) / width), 1)
        seconds = (end - start) / count
        stretches += [
            Stretch(start + place * seconds, seconds, place == 0 and bool(stretches))
            for place in range(count)
        ]
    for run, course in timed:
        lay(run, course, stretches)
    clock = "elapsed" if len(timed) == 1 else "UTC"
    return Together(stretches, labels_of(stretches, clock), clock, len(busy) - 1)


def span(run: Run, course: Course) -> tuple[float, float]:
    """Return when a run's course begins and ends, in seconds since 1970."""
    begun = run.started + course.after
    return begun, begun + max(course.bins * course.width, 0.001)


def joined(spans: Sequence[tuple[float, float]], gap: float = LONGEST_GAP) -> list[tuple[float, float]]:
    """Return spans of time with those that touch, or are at most a gap apart, made one."""
    found: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1] + gap:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def lay(run: Run, course: Course, stretches: Sequence[Stretch]) -> None:
    """Add a run's bins to the stretches that they lie in, each by the share that lies there."""
    at = 0
    for place in range(course.bins):
        start = run.started + course.after + place * course.width
        end = start + course.width
        while at < len(stretches) - 1 and stretches[at].starts + stretches[at].seconds <= start:
            at += 1
        into, most = at, 0.0
        covered = []
        for index in range(at, len(stretches)):
            stretch = stretches[index]
            overlap = min(end, stretch.starts + stretch.seconds) - max(start, stretch.starts)
            if stretch.starts >= end:
                break
            if overlap > 0:
                covered.append((stretch, overlap))
                into, most = (index, overlap) if overlap > most else (into, most)
        whole = sum(overlap for _, overlap in covered)
        for stretch, overlap in covered:
            for name in SUMS:
                stretch.sums[name] += course.columns[name][place] * overlap / whole
            for deployment, kinds in course.limits.items():
                for kind in ("rpm", "tpm"):
                    limit = kinds[kind][place]
                    if limit is not None:
                        key = (run.host, deployment)
                        stretch.limits[kind][key] = max(stretch.limits[kind].get(key, 0.0), limit)
        stretches[into].steps.update(course.round_trips[place])


def labels_of(stretches: Sequence[Stretch], clock: str) -> list[str]:
    """Return what the axis says: time since the start, or the time of day."""
    first = stretches[0].starts
    if clock == "elapsed":
        return [elapsed(each.starts - first) for each in stretches]
    long = stretches[-1].starts - first > 20 * 3600
    form = "%m-%d %H:%M" if long else "%H:%M:%S"
    return [datetime.fromtimestamp(each.starts, timezone.utc).strftime(form) for each in stretches]


def elapsed(seconds: float) -> str:
    """Return a duration as a clock shows it: 0.5 s, 12 s, 2:05, 1:02:03."""
    if seconds < 60:
        return f"{seconds:.1f} s".replace(".0 s", " s") if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
