"""How many requests may be in flight at one deployment?

As many as its latency times its rate, which shows in use: one until the first is answered, then more and
more, while all are used and replies come as quickly as before. Quota is not considered here: a request that
waits for quota is not in flight. It knows figures, not tasks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from batchscore.request.timeouts import Clock

#: In flight after the first reply: few, since all may be refused. If the reply named the quota, twice what
#: latency times rate needs, up to a bound above which it grows only while that helps.
OPENING = 8
MOST_AT_OPENING = 512

#: For a service that answers sooner, as many are in flight as if it took this long: replies that arrive
#: together share what a turn of the loop costs, such as a frame of the journal.
SHORTEST_SPREAD_SECONDS = 0.01

#: No Python process sends more per second, so no more need be in flight than it sends in a round trip.
MOST_A_SECOND = 5000.0

#: Three times as many in flight with replies this much slower are no gain: the service (or we) are at
#: capacity.
GROWTH = 3
BUSY = 0.9
SLOWER = 2.5
SLACK_SECONDS = 0.002

#: If a larger part of a round's requests fails, fewer are sent at a time.
FAILING_SHARE = 0.2
CUT = 0.7

#: After a 429 that names no wait, this many in flight are tried again after some rounds; after twice as many
#: if they are refused again.
GROWTH_AFTER_A_REFUSAL = 1.5
MOST_ROUNDS_TO_HOLD = 64

#: Round trips vary; fewer of them prove nothing.
FEWEST_TO_JUDGE = 8

#: The replies of requests in flight may hold about this many bytes, and the requests this many rows. What
#: the next reply holds is not known; the engine counts the bytes of the requests themselves.
MOST_BYTES = 24 * 2**20
MOST_ROWS = 16_384
FEWEST_BY_MEMORY = 4


def thread_load(clock: Clock) -> Callable[[], float]:
    """Return a function that gives the part of the time since its last call in which this thread worked."""
    before = clock.monotonic(), time.thread_time()

    def load() -> float:
        nonlocal before
        (then, worked), before = before, (clock.monotonic(), time.thread_time())
        return (before[1] - worked) / max(before[0] - then, 1e-9)

    return load


@dataclass(slots=True)
class Concurrency:
    """The bound of one deployment: at most `most`, at least 1. `rows` is the number in a full request.

    `busy` is the function of `thread_load`. `hold` counts the rounds until it may grow after a refusal,
    `next_hold` is their number after the next refusal.
    """

    most: int
    busy: Callable[[], float]
    rows: int = 1
    limit: int = 1
    doubling: bool = True
    hold: int = 0
    next_hold: int = 1
    rate: float | None = None
    best_seconds: float = float("inf")
    round_requests: int = 0
    round_failures: int = 0
    round_seconds: float = 0.0
    round_used: bool = False
    round_bytes: float = 0.0

    def note_answer(self, seconds: float, row_bytes: float, in_flight: int, *, for_quota: bool) -> None:
        """Note an answer with this many bytes per row; `for_quota`: the next requests wait for the quota."""
        self.round_requests += 1
        self.round_seconds += seconds
        self.round_bytes += row_bytes
        if in_flight >= self.limit and not for_quota:
            self.round_used = True
        if self.round_requests >= self.limit and self.round_requests >= self.round_size:
            self.end_round()

    def note_failure(self) -> None:
        """Note that the service did not answer a request."""
        if self.limit == 1 and self.doubling:
            # It may be this one request: another one shows whether the service answers at all.
            self.limit = min(2, self.most)
            return
        self.round_requests += 1
        self.round_failures += 1
        if self.round_requests >= self.round_size:
            self.end_round()

    def note_rate_limit(self, others: int) -> None:
        """Note a 429 while this many others were in flight: perhaps the service takes no more at a time."""
        if not self.hold:
            self.next_hold = min(2 * self.next_hold, MOST_ROUNDS_TO_HOLD)
        self.hold = self.next_hold
        self.limit = max(1, min(self.limit, others))

    def note_reachable(self) -> None:
        """Note that the service answers."""
        self.limit = max(self.limit, min(OPENING, self.most))

    @property
    def round_size(self) -> int:
        """How many requests are judged together; a few prove little, except the very first."""
        if self.limit == 1 and self.doubling and self.next_hold == 1:
            return 1
        return max(self.limit, FEWEST_TO_JUDGE)

    def end_round(self) -> None:
        """Judge the requests of a round."""
        answered = self.round_requests - self.round_failures
        if self.round_failures > FAILING_SHARE * self.round_requests and self.limit > 1:
            self.limit = max(1, int(self.limit * CUT))
            self.doubling = False
        elif answered:
            self.adjust(self.round_seconds / answered, self.round_bytes / answered)
        self.round_requests = self.round_failures = 0
        self.round_seconds, self.round_bytes, self.round_used = 0.0, 0.0, False

    def adjust(self, seconds: float, row_bytes: float) -> None:
        """Grow while it helps and memory allows."""
        rows = min(MOST_ROWS, MOST_BYTES / max(row_bytes, 1.0))
        bound = min(self.most, max(FEWEST_BY_MEMORY, int(rows / self.rows)))
        if self.round_requests >= FEWEST_TO_JUDGE:
            self.best_seconds = min(self.best_seconds, seconds)
        if self.busy() > BUSY and self.limit > 1:
            # A thread that is busy all the time sends no more with more in flight.
            self.doubling = False
        elif seconds > SLOWER * self.best_seconds + SLACK_SECONDS:
            if self.doubling:
                self.limit = self.limit // GROWTH
            self.doubling = False
        elif self.hold:
            self.hold -= 1
        elif self.next_hold > 1:
            if self.round_used:
                self.limit = max(self.limit + 1, int(self.limit * GROWTH_AFTER_A_REFUSAL))
        elif self.limit == 1:
            spread = max(seconds, SHORTEST_SPREAD_SECONDS)
            needed = 0 if self.rate is None else int(2 * spread * min(self.rate, MOST_A_SECOND))
            self.limit = max(OPENING, min(needed, MOST_AT_OPENING))
        elif self.round_used:
            self.limit = self.limit * GROWTH if self.doubling else self.limit + max(1, self.limit // 8)
        self.limit = max(1, min(self.limit, bound))
