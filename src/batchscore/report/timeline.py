"""How did a run go, from its first second to its last?

Pure: events and a clock in, a timeline out. Memory does not grow with the length of the run: pairs of time
bins are merged if there are too many, and only the slowest requests are stored. It stores no cell of the
input, only names of files, row numbers and ids.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from math import log2
from typing import Any

from batchscore.errors import ErrorCode, name_settings
from batchscore.report.words import json_safe
from batchscore.rows import Attempt, DeploymentState, Event, Heartbeat, Notice, RowsSettled

#: The version of the format of `record()`.
VERSION = 1

#: Greatest number of bins before pairs are merged, and the seconds of the first bins.
MOST_BINS = 240
FIRST_SECONDS = 0.25

#: Latencies are counted in steps of a quarter of a doubling, from 1 ms on; step 0 is 0 to 1 ms.
STEPS_A_DOUBLING = 4
MOST_STEP = 100

MOST_SLOWEST = 20
MOST_NOTICES = 40
LONGEST_TEXT = 300

#: Causes of failed attempts that are not the service's fault.
NOT_FAILED = {"probe", "interrupted"}


@dataclass(slots=True)
class Sums:
    """What adds up over time. Seconds are clock time, of all deployments together.

    `refused` are 429s, `failed_requests` other failed requests. Of the `watched` seconds, the service paused
    us in `paused` and did not respond in `down`, and requests waited for quota in `for_quota`; with several
    deployments, these are weighted by share. `in_flight` is requests times seconds.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    ok: int = 0
    failed: int = 0
    empty: int = 0
    refused: int = 0
    failed_requests: int = 0
    watched: float = 0.0
    paused: float = 0.0
    down: float = 0.0
    for_quota: float = 0.0
    in_flight: float = 0.0


SUMS = tuple(each.name for each in fields(Sums))


@dataclass(slots=True)
class Bin(Sums):
    """One time span; `steps` counts latencies by step, `limits` are (rpm, tpm) by deployment."""

    steps: dict[int, int] = field(default_factory=dict)
    limits: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)

    def merge(self, later: Bin) -> None:
        """Merge the following bin into this one."""
        for name in SUMS:
            setattr(self, name, getattr(self, name) + getattr(later, name))
        for step, count in later.steps.items():
            self.steps[step] = self.steps.get(step, 0) + count
        self.limits = {**self.limits, **later.limits}


@dataclass(slots=True)
class DeploymentTotals:
    """The totals of one deployment, and its last state."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    refused: int = 0
    failed_requests: int = 0
    seconds: float = 0.0
    most_in_flight: int = 0
    paused: float = 0.0
    down: float = 0.0
    state: str = ""
    last_failure: str = ""


class Timeline:
    """A listener that records the timeline of a run. O(1) per event, about a microsecond.

    `clock` returns seconds; the run starts at its first value.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.started = self.pulsed = self.last = clock()
        self.width = FIRST_SECONDS
        self.bins = [Bin()]
        self.latest = self.bins[0]
        self.latest_ends = self.started + self.width
        self.served: dict[str, DeploymentTotals] = {}
        self.retries: Counter[tuple[str, int | None]] = Counter()
        self.slowest: list[tuple[float, int, dict[str, Any]]] = []
        self.slow_from = 0.0
        self.standing: tuple[DeploymentState, ...] = ()
        self.notices: list[dict[str, Any]] = []
        self.notices_left_out = 0

    def __call__(self, event: Event) -> None:
        """Handle one event."""
        kind = type(event)
        if kind is Attempt:
            self.attempted(event)  # type: ignore[arg-type]
        elif kind is RowsSettled:
            self.settled(event)  # type: ignore[arg-type]
        elif kind is Heartbeat:
            self.pulse(event)  # type: ignore[arg-type]
        elif kind is Notice:
            self.noticed(event)  # type: ignore[arg-type]

    def attempted(self, event: Attempt) -> None:
        """Count a request."""
        now = self.last = self.clock()
        into = self.latest if now < self.latest_ends else self.advance(now)
        served = self.served.get(event.deployment)
        if served is None:
            served = self.served[event.deployment] = DeploymentTotals()
        into.requests += event.requests
        served.requests += event.requests
        into.prompt_tokens += event.prompt_tokens
        served.prompt_tokens += event.prompt_tokens
        into.completion_tokens += event.completion_tokens
        served.completion_tokens += event.completion_tokens
        seconds = event.seconds
        served.seconds += seconds * event.requests
        step = step_of(seconds)
        into.steps[step] = into.steps.get(step, 0) + event.requests
        if event.cause:
            self.retries[event.cause, event.status] += 1
            if event.status == 429:
                into.refused += 1
                served.refused += 1
            elif event.cause not in NOT_FAILED:
                into.failed_requests += 1
                served.failed_requests += 1
        if seconds > self.slow_from and event.prompts:
            self.remember(event)

    def remember(self, event: Attempt) -> None:
        """Store one of the slowest requests, named by its first row."""
        first = event.prompts[0]
        found = {
            "seconds": round(event.seconds, 3),
            "file": json_safe(first.file),
            "row": first.row,
            "id": None if first.id is None else json_safe(first.id[:LONGEST_TEXT]),
            "rows": event.rows,
            "status": event.status,
            "cause": event.cause,
            "deployment": event.deployment,
        }
        entry = (event.seconds, sum(served.requests for served in self.served.values()), found)
        if len(self.slowest) < MOST_SLOWEST:
            heapq.heappush(self.slowest, entry)
        else:
            heapq.heapreplace(self.slowest, entry)
        if len(self.slowest) == MOST_SLOWEST:
            self.slow_from = self.slowest[0][0]

    def settled(self, event: RowsSettled) -> None:
        """Count rows that got their record."""
        now = self.last = self.clock()
        into = self.latest if now < self.latest_ends else self.advance(now)
        into.ok += event.ok
        if event.errors:
            empty = event.errors.get(ErrorCode.EMPTY_INPUT, 0)
            into.empty += empty
            into.failed += sum(event.errors.values()) - empty

    def pulse(self, event: Heartbeat) -> None:
        """Record the state of the deployments since the previous pulse."""
        now = self.last = self.clock()
        self.watch(now)
        self.standing = event.deployments
        for each in event.deployments:
            served = self.served.setdefault(each.deployment, DeploymentTotals())
            served.state, served.last_failure = each.state, each.last_failure
            served.most_in_flight = max(served.most_in_flight, each.in_flight)
            self.latest.limits[each.deployment] = (each.rpm, each.tpm)

    def watch(self, now: float) -> None:
        """Add the time since the last pulse to its bins, by the state at that pulse."""
        self.advance(now)
        begun, self.pulsed = self.pulsed, now
        count = len(self.standing)
        if not count or now <= begun:
            return
        paused = sum(each.paused_seconds > 0 for each in self.standing) / count
        down = sum(each.state != "up" for each in self.standing) / count
        for_quota = sum(each.for_quota for each in self.standing) / count
        in_flight = sum(each.in_flight for each in self.standing)
        for each in self.standing:
            served = self.served.setdefault(each.deployment, DeploymentTotals())
            served.paused += now - begun if each.paused_seconds > 0 else 0.0
            served.down += now - begun if each.state != "up" else 0.0
        first, last = self.place(begun), self.place(now)
        for place in range(first, min(last, len(self.bins) - 1) + 1):
            starts = self.started + place * self.width
            seconds = min(now, starts + self.width) - max(begun, starts)
            into = self.bins[place]
            into.watched += seconds
            into.paused += seconds * paused
            into.down += seconds * down
            into.for_quota += seconds * for_quota
            into.in_flight += seconds * in_flight
            for each in self.standing:
                into.limits.setdefault(each.deployment, (each.rpm, each.tpm))

    def noticed(self, event: Notice) -> None:
        """Store the first notices."""
        if len(self.notices) < MOST_NOTICES:
            text = json_safe(name_settings(event.text)[:LONGEST_TEXT])
            self.notices.append({"second": round(self.seconds, 1), "text": text})
        else:
            self.notices_left_out += 1

    @property
    def seconds(self) -> float:
        """The seconds since the start."""
        return self.clock() - self.started

    def place(self, now: float) -> int:
        """Return the number of the bin of this moment."""
        return max(int((now - self.started) / self.width), 0)

    def advance(self, now: float) -> Bin:
        """Return the bin of this moment; merge pairs of bins if there are too many."""
        while self.place(now) >= MOST_BINS:
            for first, later in zip(self.bins[::2], self.bins[1::2], strict=False):
                first.merge(later)
            self.bins = self.bins[::2]
            self.width *= 2
        while len(self.bins) <= self.place(now):
            self.bins.append(Bin())
        self.latest = self.bins[-1]
        self.latest_ends = self.started + len(self.bins) * self.width
        return self.latest

    def record(self, after_seconds: float = 0.0) -> dict[str, Any]:
        """Return the timeline, which starts `after_seconds` after the run; columns have a figure per bin."""
        # After the last event, for example while one file is written, nothing is sent.
        self.watch(self.last)
        names = sorted({name for each in self.bins for name in each.limits})
        limits = {name: [each.limits.get(name, (None, None)) for each in self.bins] for name in names}
        return {
            "version": VERSION,
            "after_seconds": rounded(after_seconds),
            "bin_seconds": self.width,
            "columns": {name: [rounded(getattr(each, name)) for each in self.bins] for name in SUMS},
            "limits": {
                name: {"rpm": [rpm for rpm, _ in pairs], "tpm": [tpm for _, tpm in pairs]}
                for name, pairs in limits.items()
            },
            "round_trips": [sorted(each.steps.items()) for each in self.bins],
            "retries": [
                {"cause": cause, "status": status, "count": count}
                for (cause, status), count in self.retries.most_common()
            ],
            "deployments": {
                name: {each.name: rounded(getattr(served, each.name)) for each in fields(served)}
                for name, served in self.served.items()
            },
            "slowest": [found for _, _, found in sorted(self.slowest, key=lambda entry: -entry[0])],
            "notices": self.notices,
            "notices_left_out": self.notices_left_out,
        }


def rounded(figure: Any) -> Any:
    """Return a figure, rounded to thousandths."""
    return round(figure, 3) if isinstance(figure, float) else figure


def step_of(seconds: float) -> int:
    """Return the step of a latency in seconds."""
    if seconds <= 0.001:
        return 0
    step = int(log2(seconds * 1000) * STEPS_A_DOUBLING) + 1
    return step if step < MOST_STEP else MOST_STEP


def seconds_of(step: int) -> float:
    """Return the longest latency of a step, in seconds."""
    return float(2 ** (step / STEPS_A_DOUBLING)) / 1000


def percentile(steps: dict[int, int], share: float) -> float | None:
    """Return a percentile of the latencies in seconds, accurate to 20 %; `None` if there are none."""
    wanted = share * sum(steps.values())
    counted = 0
    for step in sorted(steps):
        counted += steps[step]
        if counted >= wanted:
            return seconds_of(step)
    return None
