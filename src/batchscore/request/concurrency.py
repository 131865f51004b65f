"""How many requests may be in flight at one deployment?

As many as its latency times its rate, which shows by itself: one until the first is answered, then more
and more, as long as all are used and answers come as quickly as before. Quota is not its business: who
waits for quota holds no request. It knows figures, not tasks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

#: In flight once the first answer has come: few, since all may be refused, but where the answer told the
#: quota, twice what latency times rate needs, up to a bound that is grown beyond only while it helps.
OPENING = 8
MOST_AT_OPENING = 256

#: No Python process sends more a second, so that more need not be in flight than it sends in a round trip.
MOST_A_SECOND = 5000.0

#: Three times as many in flight that take so much longer are no gain: the service (or we) are full.
GROWTH = 3
BUSY = 0.9
SLOWER = 2.5
SLACK_SECONDS = 0.002

#: So many of a round's requests may fail before the service is asked less at once.
FAILING_SHARE = 0.2
CUT = 0.7

#: Round trips vary; fewer are no measure.
FEWEST_TO_JUDGE = 8

#: Requests and replies under way may hold about so many bytes and rows in memory.
MOST_BYTES = 24 * 2**20
MOST_ROWS = 16_384
FEWEST_BY_MEMORY = 4


@dataclass(slots=True)
class OwnWork:
    """How busy the thread is that asks."""

    asked_at: float = field(default_factory=time.monotonic)
    worked: float = field(default_factory=time.thread_time)

    def share(self) -> float:
        """Return the part of the time since it was last asked in which this thread was at work."""
        now, worked = time.monotonic(), time.thread_time()
        share = (worked - self.worked) / max(now - self.asked_at, 1e-9)
        self.asked_at, self.worked = now, worked
        return share


@dataclass(slots=True)
class Concurrency:
    """The bound of one deployment: at most `most`, at least 1. `rows` is how many a full request holds.

    `busy` gives the part of the time since it was last asked in which this thread was at work.
    """

    most: int
    rows: int = 1
    busy: Callable[[], float] = field(default_factory=lambda: OwnWork().share)
    limit: int = 1
    doubling: bool = True
    rate: float | None = None
    best_seconds: float = float("inf")
    round_requests: int = 0
    round_failures: int = 0
    round_seconds: float = 0.0
    round_used: bool = False
    round_bytes: float = 0.0

    def answered(self, seconds: float, row_bytes: float, in_flight: int, *, for_quota: bool) -> None:
        """Note an answer of so many bytes a row; `for_quota`: what the next ones wait for is the quota."""
        self.round_requests += 1
        self.round_seconds += seconds
        self.round_bytes += row_bytes
        if in_flight >= self.limit and not for_quota:
            self.round_used = True
        if self.round_requests >= self.round_size:
            self.end_round()

    def failed(self) -> None:
        """Note that the service did not answer a request."""
        if self.limit == 1 and self.doubling:
            # It may be this one request: another shows whether the service answers at all.
            self.limit = min(2, self.most)
            return
        self.round_requests += 1
        self.round_failures += 1
        if self.round_requests >= self.round_size:
            self.end_round()

    def answers(self) -> None:
        """Note that the service answers, though perhaps not what it was asked."""
        self.limit = max(self.limit, min(OPENING, self.most))

    @property
    def round_size(self) -> int:
        """How many requests are judged together; a few say little, but for the very first."""
        return 1 if self.limit == 1 and self.doubling else max(self.limit, FEWEST_TO_JUDGE)

    def end_round(self) -> None:
        """Judge the requests of a round."""
        answered = self.round_requests - self.round_failures
        if self.round_failures > FAILING_SHARE * self.round_requests and self.limit > 1:
            self.limit = max(1, int(self.limit * CUT))
            self.doubling = False
        elif answered:
            self.judge(self.round_seconds / answered, self.round_bytes / answered)
        self.round_requests = self.round_failures = 0
        self.round_seconds, self.round_bytes, self.round_used = 0.0, 0.0, False

    def judge(self, seconds: float, row_bytes: float) -> None:
        """Grow while it helps and memory allows."""
        rows = min(MOST_ROWS, MOST_BYTES / max(row_bytes, 1.0))
        bound = min(self.most, max(FEWEST_BY_MEMORY, int(rows / self.rows)))
        if self.round_requests >= FEWEST_TO_JUDGE:
            self.best_seconds = min(self.best_seconds, seconds)
        if self.busy() > BUSY and self.limit > 1:
            # Whoever is busy all the time sends no more for having more in flight.
            self.doubling = False
        elif seconds > SLOWER * self.best_seconds + SLACK_SECONDS:
            if self.doubling:
                self.limit = self.limit // GROWTH
            self.doubling = False
        elif self.limit == 1:
            needed = 0 if self.rate is None else int(2 * seconds * min(self.rate, MOST_A_SECOND))
            self.limit = max(OPENING, min(needed, MOST_AT_OPENING))
        elif self.round_used:
            self.limit = self.limit * GROWTH if self.doubling else self.limit + max(1, self.limit // 8)
        self.limit = max(1, min(self.limit, bound))
