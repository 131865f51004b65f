"""How long is an answer waited for?

Long enough that a healthy service is not asked twice for what was coming, short enough that a dead
connection does not cost ten minutes: 15 s or four times what nearly all like requests took, two minutes
while that is not known, doubling with each timeout of the same rows. Requests are alike when they hold
about as many rows. One watcher looks after all requests in flight, since a timer for each costs more than
sending it. Time in which this thread could not listen (a slow source of rows, a laptop asleep) is not the
service's and not counted.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from dataclasses import dataclass, field

LEAST_SECONDS = 15.0
TIMES_P99 = 4.0

#: Until so many like requests were answered, what they take is not known, and patience is long.
ENOUGH_ANSWERS = 20
UNKNOWN_SECONDS = 120.0
LONGEST_SECONDS = 600.0

#: Round trips are counted in steps of a quarter.
STEP = math.log(1.25)
HALVED_AT = 10_000

WATCH_SECONDS = 0.25


@dataclass(slots=True)
class RoundTrips:
    """How long like requests took: a histogram that forgets slowly."""

    counts: Counter[int] = field(default_factory=Counter)
    total: int = 0

    def add(self, seconds: float) -> None:
        """Count one answer. O(1)."""
        self.counts[math.ceil(math.log(max(seconds, 1e-3)) / STEP)] += 1
        self.total += 1
        if self.total >= HALVED_AT:
            self.counts = Counter({step: count // 2 for step, count in self.counts.items() if count > 1})
            self.total = self.counts.total()

    def p99(self) -> float | None:
        """Return the seconds in which 99 of 100 were answered; `None` where too few were."""
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
    """One request in flight."""

    task: asyncio.Task[object]
    started: float
    size: int
    timeouts: int
    grace: float = 0.0
    overdue: bool = False


@dataclass(slots=True)
class Patience:
    """The requests in flight of one run, and when each is given up. `seconds` fixes the first timeout."""

    seconds: float | None = None
    flights: dict[Flight, None] = field(default_factory=dict)
    by_size: dict[int, RoundTrips] = field(default_factory=dict)

    def begin(self, rows: int, timeouts: int) -> Flight:
        """Note that this task sends now."""
        flight = Flight(asyncio.current_task(), time.monotonic(), rows.bit_length(), timeouts)  # type: ignore[arg-type]
        self.flights[flight] = None
        return flight

    def end(self, flight: Flight) -> None:
        """Note that it is over, one way or another."""
        self.flights.pop(flight, None)

    def oldest_seconds(self, now: float) -> float:
        """Return how long the request is under way that was sent first. O(1)."""
        first = next(iter(self.flights), None)
        return 0.0 if first is None else now - first.started

    def answered(self, flight: Flight, seconds: float) -> None:
        """Learn from an answer."""
        trips = self.by_size.get(flight.size)
        if trips is None:
            trips = self.by_size[flight.size] = RoundTrips()
        trips.add(seconds)

    def timeout(self, size: int, timeouts: int) -> float:
        """Return the seconds that a request of this size may take after so many timeouts."""
        first = self.seconds
        if first is None:
            p99 = self.usual(size)
            first = UNKNOWN_SECONDS if p99 is None else max(LEAST_SECONDS, TIMES_P99 * p99)
        return min(first * 2.0**timeouts, max(LONGEST_SECONDS, first))

    def usual(self, size: int) -> float | None:
        """Return the p99 of like requests, else of any that is known, `None` where nothing is."""
        trips = self.by_size.get(size)
        known = None if trips is None else trips.p99()
        if known is not None:
            return known
        return max(filter(None, (other.p99() for other in self.by_size.values())), default=None)

    async def watch(self) -> None:
        """Cancel what is overdue, for ever; `Flight.overdue` tells its task why."""
        every = WATCH_SECONDS if self.seconds is None else min(WATCH_SECONDS, self.seconds / 4)
        looked_at = time.monotonic()
        while True:
            await asyncio.sleep(every)
            now = time.monotonic()
            late, looked_at = now - looked_at - every, now
            if late > every:
                for flight in self.flights:
                    flight.grace += late
            bounds: dict[tuple[int, int], float] = {}
            for flight in self.flights:
                kind = (flight.size, flight.timeouts)
                if kind not in bounds:
                    bounds[kind] = self.timeout(*kind)
                if now - flight.started - flight.grace > bounds[kind] and not flight.overdue:
                    flight.overdue = True
                    flight.task.cancel()
