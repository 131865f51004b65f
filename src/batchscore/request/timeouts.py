"""How long may a request wait for its reply?

Long enough not to send again what a healthy service is about to answer, short enough that a dead connection
does not cost ten minutes: 15 s or four times the p99 of similar requests, two minutes while that is unknown,
doubling with each timeout of the same rows. What timed out and is sent again while few others were answered
waits for a multiple of the slowest of these. Requests are similar if they hold about as many rows. One
watcher checks all requests in flight, since a timer for each costs more than sending it. Time in which this
thread could not listen (a slow source of rows, a laptop asleep) is not counted.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Clock:
    """Two ways to read the time, in seconds: from an arbitrary start without jumps, and since 1970."""

    monotonic: Callable[[], float]
    wall: Callable[[], float]


REAL_CLOCK = Clock(time.monotonic, time.time)

SHORTEST_SECONDS = 15.0
TIMES_P99 = 4.0

#: Until this many similar requests were answered, their latency is unknown, and the timeout is long.
ENOUGH_ANSWERS = 20
UNKNOWN_SECONDS = 120.0
TIMES_SLOWEST = 16.0
LONGEST_SECONDS = 600.0

#: Latencies are counted in steps of a quarter, and the counts are halved at times. Short answers must not
#: make slow ones forgotten, since these would then time out and be paid for again.
STEP = math.log(1.25)
HALVED_AT = 10_000

#: Shorter round trips count as this long.
SHORTEST_STEP = 1e-3
FIRST_STEP = math.ceil(math.log(SHORTEST_STEP) / STEP)

WATCH_SECONDS = 0.25


@dataclass(slots=True)
class RoundTrips:
    """The latency of similar requests: a histogram that forgets slowly."""

    counts: Counter[int] = field(default_factory=Counter)
    total: int = 0

    def add(self, seconds: float) -> None:
        """Count one answer. O(1)."""
        self.counts[math.ceil(math.log(seconds) / STEP) if seconds > SHORTEST_STEP else FIRST_STEP] += 1
        self.total += 1
        if self.total >= HALVED_AT:
            self.counts = Counter({step: count // 2 for step, count in self.counts.items() if count > 1})
            self.total = self.counts.total()

    def slowest(self) -> float:
        """Return the seconds of the slowest answer that is not forgotten, or 0."""
        return math.exp(max(self.counts) * STEP) if self.counts else 0.0

    def p99(self) -> float | None:
        """Return the seconds within which 99 of 100 were answered; `None` if there are too few."""
        if self.total < ENOUGH_ANSWERS:
            return None
        beyond = self.total // 100
        for step in sorted(self.counts, reverse=True):
            if beyond < self.counts[step]:
                return math.exp(step * STEP)
            beyond -= self.counts[step]
        return None


@dataclass(slots=True, eq=False)
class Flight:
    """One request in flight: its task, its size class, and how often its rows have timed out before."""

    task: asyncio.Task[object]
    started: float
    size: int
    earlier_timeouts: int
    grace: float = 0.0
    overdue: bool = False


@dataclass(slots=True)
class Timeouts:
    """The requests in flight of one run, and when each times out. `seconds` sets the first timeout.

    The first timeout while the latency is unknown is no longer than `max_outage`: a service that only seems
    to answer must end the run in time.
    """

    clock: Clock
    seconds: float | None = None
    max_outage: float = math.inf
    flights: dict[Flight, None] = field(default_factory=dict)
    by_size: dict[int, RoundTrips] = field(default_factory=lambda: defaultdict(RoundTrips))

    def start(self, rows: int, earlier_timeouts: int) -> Flight:
        """Note that the current task sends a request now."""
        task = asyncio.current_task()
        flight = Flight(task, self.clock.monotonic(), rows.bit_length(), earlier_timeouts)  # type: ignore[arg-type]
        self.flights[flight] = None
        return flight

    def end(self, flight: Flight) -> None:
        """Note that a request is no longer in flight."""
        self.flights.pop(flight, None)

    def oldest_seconds(self) -> float:
        """Return how long the oldest request has been in flight. O(1)."""
        first = next(iter(self.flights), None)
        return 0.0 if first is None else self.clock.monotonic() - first.started

    def note_answer(self, flight: Flight, seconds: float) -> None:
        """Learn from an answer."""
        self.by_size[flight.size].add(seconds)

    def timeout(self, size: int, earlier_timeouts: int) -> float:
        """Return the timeout in seconds of a request of this size class."""
        first = self.seconds
        if first is None:
            p99 = self.typical_p99(size)
            unknown = min(UNKNOWN_SECONDS, max(SHORTEST_SECONDS, self.max_outage))
            slowest = max((other.slowest() for other in self.by_size.values()), default=0.0)
            if p99 is None and earlier_timeouts and slowest:
                first = min(unknown, max(SHORTEST_SECONDS, TIMES_SLOWEST * slowest))
            else:
                first = unknown if p99 is None else max(SHORTEST_SECONDS, TIMES_P99 * p99)
        return min(first * 2.0**earlier_timeouts, max(LONGEST_SECONDS, first))

    def typical_p99(self, size: int) -> float | None:
        """Return the p99 of similar requests, else the largest that is known, `None` if there is none."""
        known = self.by_size[size].p99()
        if known is not None:
            return known
        return max(filter(None, (other.p99() for other in self.by_size.values())), default=None)

    async def watch(self) -> None:
        """Cancel overdue requests, for ever; `Flight.overdue` gives their tasks the reason."""
        every = WATCH_SECONDS if self.seconds is None else min(WATCH_SECONDS, self.seconds / 4)
        looked_at = self.clock.monotonic()
        while True:
            await asyncio.sleep(every)
            now = self.clock.monotonic()
            late, looked_at = now - looked_at - every, now
            if late > every:
                for flight in self.flights:
                    flight.grace += late
            bounds: dict[tuple[int, int], float] = {}
            for flight in self.flights:
                kind = (flight.size, flight.earlier_timeouts)
                if kind not in bounds:
                    bounds[kind] = self.timeout(*kind)
                if now - flight.started - flight.grace > bounds[kind] and not flight.overdue:
                    flight.overdue = True
                    flight.task.cancel()
