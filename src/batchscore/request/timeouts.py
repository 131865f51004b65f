"""How long may a request wait for its reply?

Long enough not to send again what a healthy service is about to answer, short enough that a dead connection
does not cost ten minutes: 15 s or four times the p99 of similar requests, two minutes while that is unknown,
doubling with each timeout of the same rows. Requests are similar if they hold about as many rows. One watcher
checks all requests in flight, since a timer for each costs more than sending it. Time in which this thread
could not listen (a slow source of rows, a laptop asleep) is not counted.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial


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
LONGEST_SECONDS = 600.0

#: This many latest latencies of each size class are known.
LATEST = 1000

WATCH_SECONDS = 0.25


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
    """The requests in flight of one run, and when each times out.

    `seconds` sets the first timeout. `latencies` are the latest of each size class, in seconds.
    """

    clock: Clock
    seconds: float | None = None
    flights: dict[Flight, None] = field(default_factory=dict)
    latencies: dict[int, deque[float]] = field(
        default_factory=lambda: defaultdict(partial(deque, maxlen=LATEST))
    )

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
        self.latencies[flight.size].append(seconds)

    def timeout(self, size: int, earlier_timeouts: int) -> float:
        """Return the timeout in seconds of a request of this size class."""
        first = self.seconds
        if first is None:
            p99 = self.typical_p99(size)
            first = UNKNOWN_SECONDS if p99 is None else max(SHORTEST_SECONDS, TIMES_P99 * p99)
        return min(first * 2.0**earlier_timeouts, max(LONGEST_SECONDS, first))

    def typical_p99(self, size: int) -> float | None:
        """Return the p99 of similar requests, else the largest that is known, `None` if there is none."""
        similar = self.latencies[size]
        alike = [similar] if len(similar) >= ENOUGH_ANSWERS else list(self.latencies.values())
        known = (sorted(each) for each in alike if len(each) >= ENOUGH_ANSWERS)
        return max((latest[-1 - len(latest) // 100] for latest in known), default=None)

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
