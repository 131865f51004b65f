"""One deployment as the engine uses it: is it answering, what is its quota, and which worker sends next?

It sends any bytes and knows neither prompts nor other deployments. Turns are first come, first served: the
worker whose turn it is reserves quota and waits for its start. So a large request waits as long as it must
and is then sent; no smaller one overtakes it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import inf

from batchscore.errors import duration_text
from batchscore.request.concurrency import Concurrency
from batchscore.request.health import STOPPED, UP, Health, State
from batchscore.request.quota.limits import Limits
from batchscore.request.quota.windows import FIRST_TOKENS, SMOOTHING_SECONDS, Quota, Ticket
from batchscore.request.rate_headers import RequestWindow, limit_headers
from batchscore.request.send import Send
from batchscore.request.timeouts import Clock
from batchscore.rows import DeploymentState, Reply

#: Reading the limits from every reply would cost too much.
HEADERS_EVERY_SECONDS = 0.1

#: A notice reports waits that are longer.
NOTICE_FROM_SECONDS = 10.0

#: During a longer pause, waiting requests go to other deployments.
SHORT_PAUSE_SECONDS = 0.5

#: The other processes that share the quota pause for at most this long at a time.
LONGEST_SHARED_PAUSE_SECONDS = 600.0

#: After a 429 that is about one request, it is sent again soon, and then after this long, twice this long, …
SOON_AGAIN = 2
SHORTEST_OWN_WAIT_SECONDS = 1.0

#: After a 429 that names no wait: 1 s, then 2, 4, up to this, with jitter.
LONGEST_BLIND_PAUSE_SECONDS = 32.0


@dataclass(slots=True, eq=False)
class Deployment:
    """One deployment: mutable, and only used from the event loop.

    `on_capacity` is called if more requests may be in flight although none was answered. It has many fields,
    since it joins what the other modules keep apart: quota, health, concurrency and the queue of workers.
    `address` is that of the requests, without secrets, and `unused_keys` completes the message about refused
    credentials. Messages never show `secrets`. Of the `backing_off` requests, `resting` ones keep no worker.
    """

    name: str
    model: str | None
    send: Send
    renew_token: Callable[[], Awaitable[bool]]
    limits: Limits
    quota: Quota
    concurrency: Concurrency
    notice: Callable[[str], None]
    clock: Clock
    unused_keys: str = ""
    address: str = ""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    on_capacity: Callable[[], None] = field(default=lambda: None)
    health: Health = field(default_factory=Health)
    paused_until: float = 0.0
    in_flight: int = 0
    headers_read_at: float = float("-inf")
    request_window: RequestWindow = field(default_factory=RequestWindow)
    waited_at: float = float("-inf")
    next_notice_at: float = float("-inf")
    blind_pauses: int = 0
    pause_is_ours: bool = False
    largest_answered: float = 0.0
    usual_seconds: float = 0.0
    slots: asyncio.Lock = field(default_factory=asyncio.Lock)
    queued: int = 0
    backing_off: int = 0
    resting: int = 0
    retry_at: float = 0.0
    rate_limits: int = 0
    limited_requests: int = 0
    answers: int = 0
    front: asyncio.Lock = field(default_factory=asyncio.Lock)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def available(self) -> bool:
        """Whether a request may be sent now or in a moment."""
        return self.health.state is State.UP and self.paused_seconds <= SHORT_PAUSE_SECONDS

    @property
    def paused_seconds(self) -> float:
        """For how long nothing is sent."""
        return max(0.0, self.paused_until - self.clock.monotonic())

    @property
    def opens_at(self) -> float:
        """Roughly when the next request could start: for choosing among several deployments."""
        return max(self.paused_until, self.clock.monotonic() + self.queued)

    def target_tokens(self) -> float:
        """Return how many tokens one request should hold at most, so that the quota is used evenly."""
        rate = self.limits.rates.tokens
        if rate is not None:
            tokens = rate * SMOOTHING_SECONDS
            return tokens if tokens > 1.0 else 1.0
        return FIRST_TOKENS if self.health.last_success is None else inf

    def too_large(self, tokens: float) -> bool:
        """Whether a service that limits single seconds could never admit this many tokens at once."""
        rate = self.limits.rates.tokens
        return rate is not None and tokens > rate

    def fits(self, tokens: float) -> bool:
        """Whether a request of this many tokens can ever be admitted here."""
        return tokens <= self.limits.most_tokens or tokens <= self.largest_answered

    @property
    def most_tokens(self) -> float:
        """The most tokens that one request may hold: a minute's quota, or what was answered already."""
        return max(self.limits.most_tokens, self.largest_answered)

    def explain(self, reason: str, status: int | None = None) -> str:
        """Return a message about this deployment with its address, and with keys that it was not given."""
        address = f"Requests go to {self.address}." if self.address else ""
        return f"{reason} {address} {self.unused_keys if status in {401, 403} else ''}".strip()

    async def wait_until_up(self) -> bool:
        """Wait until it is up and not paused; return False if it is stopped for the rest of this run."""
        while True:
            if self.health.state is State.STOPPED:
                return False
            if self.health.state is State.DOWN:
                await self.changed.wait()
                continue
            pause = self.paused_until - self.clock.monotonic()
            if pause <= 0:
                return True
            self.announce_wait(pause)
            await asyncio.sleep(pause)

    def reserve(self, tokens: float) -> Ticket:
        """Charge a request; it may be sent at the ticket's start."""
        return self.quota.reserve(self.clock.monotonic(), tokens, self.limits.rates)

    def is_free(self) -> bool:
        """Whether no worker waits for a turn, and only the quota can delay a request."""
        return (
            not self.queued
            and self.health.state is UP
            and (not self.paused_until or self.paused_until <= self.clock.monotonic())
        )

    def wants_more_than(self, workers: int) -> bool:
        """Whether more than this many workers may have a request in flight."""
        return workers < self.concurrency.limit + self.resting and self.health.state is not STOPPED

    async def wait_in_turn(self, ticket: Ticket) -> None:
        """Take the turn and wait for a ticket's start."""
        self.queued += 1
        try:
            async with self.turn:
                await self.wait_for_start(ticket)
        finally:
            self.queued -= 1

    async def wait_for_start(self, ticket: Ticket) -> None:
        """Wait for a ticket's start, and for the end of a pause that began meanwhile."""
        while (left := max(ticket.start, self.paused_until) - self.clock.monotonic()) > 0:
            self.waited_at = ticket.start
            self.announce_wait(left)
            await asyncio.sleep(left)

    def announce_wait(self, seconds: float) -> None:
        """Send a notice of a wait that would look like a hang."""
        now = self.clock.monotonic()
        if seconds < NOTICE_FROM_SECONDS or now < self.next_notice_at:
            return
        self.next_notice_at = now + seconds
        reason = "for its quota"
        if self.paused_until > now:
            reason = "as the service asked"
            if self.pause_is_ours:
                reason = "after a rate limit (429) that names no wait"
        wall = self.clock.wall()
        start, end = (datetime.fromtimestamp(at) for at in (wall, wall + seconds))  # noqa: DTZ006 - local time
        moment = f"{end:%H:%M:%S}" if start.date() == end.date() else f"{end:%Y-%m-%d %H:%M}"
        self.notice(f"{self.name} waits {duration_text(seconds)} {reason} and resumes at {moment}.")

    def note_answer(self, ticket: Ticket, tokens: float, rows: int, reply: Reply) -> None:
        """Note an answer: its real charge, and its rows."""
        now, seconds = self.clock.monotonic(), reply.seconds
        self.read_headers(reply.headers, tokens, now)
        self.health.note_success(now, seconds)
        self.blind_pauses = 0
        self.answers += 1
        if ticket.tokens > self.largest_answered:
            self.largest_answered = ticket.tokens
        self.usual_seconds += (seconds - self.usual_seconds) * (0.1 if self.usual_seconds else 1.0)
        self.quota.correct(ticket, tokens)
        for_quota = now - self.waited_at < 1.0
        self.limits.note_answer(tokens, now, used=for_quota)
        if self.concurrency.limit == 1:
            self.concurrency.rate = self.limits.rates.requests_of(tokens)
        # A worker that waits for its next attempt would have a request in flight if the service were well.
        busy = self.in_flight + 1 + self.backing_off
        self.concurrency.note_answer(seconds, len(reply.received) / rows, busy, for_quota=for_quota)

    def read_headers(self, headers: Mapping[str, str], tokens: float, now: float) -> None:
        """Learn the quota from the headers of a reply to this many tokens, now and then."""
        if now - self.headers_read_at < HEADERS_EVERY_SECONDS:
            return
        first = self.headers_read_at == float("-inf")
        self.headers_read_at = now
        self.request_window.observe(headers, now)
        seconds = self.request_window.seconds
        limits = limit_headers(headers, max(tokens, self.largest_answered), seconds)
        if self.limits.learn(limits, now):
            # This request was sent before its quota was known, but the service charges it.
            self.reserve(tokens)
        rate = self.limits.rates.tokens
        if first and rate and limits.remaining_tokens:
            # The service has unused quota: half of it may be used at once, if the windows allow.
            self.quota.schedule.release(now, limits.remaining_tokens / 2 / rate)

    def note_rate_limit(self, ticket: Ticket, seconds: float | None, most_outage_seconds: float) -> None:
        """Note a 429 and its wait: one pause for all, and one cut for all requests before it.

        Without a wait, it may limit how many requests are in flight, so that is tried first. Then the pauses
        grow, but several fit into the longest outage.
        """
        now = self.clock.monotonic()
        # The service counts a refused request, but not its tokens.
        self.quota.correct(ticket, 0.0)
        others = self.in_flight
        if seconds is None and others:
            self.concurrency.note_rate_limit(others)
            if self.limits.rates.limited and self.limits.searched_tokens is None:
                self.limits.note_rate_limit(ticket.admitted, now)
            return
        if not self.limits.note_rate_limit(ticket.admitted, now, blind=seconds is None) and seconds is None:
            return
        self.pause_is_ours = seconds is None
        if seconds is None:
            longest = max(1.0, min(LONGEST_BLIND_PAUSE_SECONDS, most_outage_seconds / 4))
            seconds = min(longest, 2.0 ** min(self.blind_pauses, 10)) * random.uniform(0.75, 1.25)  # noqa: S311
            self.blind_pauses += 1
        self.pause(seconds)

    def own_wait(self, refusals: int) -> float:
        """Return the seconds that one request waits after this many 429s that named no wait."""
        if refusals <= SOON_AGAIN:
            seconds = self.usual_seconds
        else:
            seconds = max(self.usual_seconds, SHORTEST_OWN_WAIT_SECONDS) * 2.0 ** (refusals - SOON_AGAIN - 1)
        return min(seconds, LONGEST_BLIND_PAUSE_SECONDS) * random.uniform(0.75, 1.25)  # noqa: S311

    async def wait_for_slot(self) -> None:
        """Wait until fewer requests are in flight than the service takes at a time."""
        while self.in_flight >= self.concurrency.limit and self.health.state is State.UP:  # noqa: ASYNC110
            await asyncio.sleep(min(max((self.usual_seconds or 0.2) / 4, 0.002), 0.5))

    def pause(self, seconds: float) -> None:
        """Send nothing for this long."""
        now = self.clock.monotonic()
        until = now + seconds
        if until > self.paused_until:
            self.paused_until = until
            # Another process may find out earlier, before hours have passed, that the service answers again.
            self.quota.schedule.pause(now, min(until, now + LONGEST_SHARED_PAUSE_SECONDS))

    def state(self) -> DeploymentState:
        """Return its state at this moment."""
        now, rates = self.clock.monotonic(), self.limits.rates
        up = self.health.state is State.UP
        failure = None if up else self.health.last_outcome
        return DeploymentState(
            deployment=self.name,
            state=self.health.state.value,
            in_flight=self.in_flight,
            waiting=self.queued,
            backing_off=self.backing_off,
            rpm=None if rates.requests is None else rates.requests * 60,
            tpm=None if rates.tokens is None else rates.tokens * 60,
            paused_seconds=self.paused_seconds,
            for_quota=now - self.waited_at < 1.0,
            last_failure="" if failure is None else failure.code.value,
            failing_seconds=0.0 if up else now - (self.health.failing_since or now),
            probe_seconds=0.0 if up else max(0.0, self.health.probe_at - now),
            own_pause=self.pause_is_ours,
            retry_seconds=max(0.0, self.retry_at - now) if self.backing_off else 0.0,
        )

    def set_state(self, state: State) -> None:
        """Change its state, and wake the workers that wait for a change."""
        self.health.state = state
        self.changed.set()
        self.changed = asyncio.Event()
