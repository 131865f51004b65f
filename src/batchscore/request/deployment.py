"""One deployment as the engine asks it: its wire, its quota, its health, and whose turn it is.

It sends whatever bytes it is given and knows neither prompts nor other deployments. Turns go first
come, first served: whoever holds the turn reserves quota and waits for its start, so a large request
waits its time and is then sent, and nobody passes it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import inf

from batchscore.request.concurrency import Concurrency
from batchscore.request.health import Health, State
from batchscore.request.quota.limits import Limits
from batchscore.request.quota.windows import SMOOTHING_SECONDS, Quota, Ticket
from batchscore.request.reply_headers import limit_headers
from batchscore.request.wire import Send
from batchscore.rows import DeploymentState

#: Reading the limits from every reply would cost more than it tells.
HEADERS_EVERY_SECONDS = 0.1

#: Before anything is known of a quota, little is asked: a large request might never fit.
FIRST_TOKENS = 2000.0

#: A wait longer than this is told.
TOLD_FROM_SECONDS = 10.0

#: A pause longer than this lets requests that are in hand go elsewhere.
SHORT_PAUSE_SECONDS = 0.5

#: Those who share the quota are held back at most so long at a time.
LONGEST_REST_SECONDS = 600.0

#: Where a 429 says no wait, 1 s is waited, then 2, 4, up to this, with jitter.
LONGEST_BLIND_PAUSE_SECONDS = 32.0


@dataclass(slots=True, eq=False)
class Deployment:
    """One deployment: mutable, and only ever touched from the event loop.

    `more_wanted` is called when more may be in flight though nothing was answered.
    """

    name: str
    model: str | None
    send: Send
    renew_token: Callable[[], Awaitable[bool]]
    limits: Limits
    quota: Quota
    concurrency: Concurrency
    notice: Callable[[str], None]
    more_wanted: Callable[[], None] = field(default=lambda: None)
    health: Health = field(default_factory=Health)
    paused_until: float = 0.0
    in_flight: int = 0
    heard_at: float = float("-inf")
    waited_at: float = float("-inf")
    told_at: float = float("-inf")
    blind_pauses: int = 0
    queued: int = 0
    backing_off: int = 0
    front: asyncio.Lock = field(default_factory=asyncio.Lock)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def available(self) -> bool:
        """Whether it may be sent something now or within a moment."""
        return self.health.state is State.UP and self.paused_until - time.monotonic() <= SHORT_PAUSE_SECONDS

    @property
    def opening(self) -> float:
        """About when the next request could go, of `time.monotonic`: for choosing among several."""
        return max(self.paused_until, time.monotonic() + self.queued)

    @property
    def smooth_tokens(self) -> float:
        """How many tokens one request should hold at most, so that the quota is used evenly."""
        rate = self.limits.rates.tokens
        if rate is not None:
            return max(1.0, rate * SMOOTHING_SECONDS)
        return FIRST_TOKENS if self.health.last_success is None else inf

    def too_large(self, tokens: float) -> bool:
        """Whether a service that judges single seconds could never let so many tokens through at once."""
        rate = self.limits.rates.tokens
        return rate is not None and tokens > rate

    def fits(self, tokens: float) -> bool:
        """Whether a request of so many tokens can ever be admitted here."""
        return tokens <= self.limits.most_tokens

    async def ready(self) -> bool:
        """Wait until it is up and not paused; False where it never will be in this run."""
        while True:
            if self.health.state is State.STOPPED:
                return False
            if self.health.state is State.DOWN:
                await self.changed.wait()
                continue
            paused = self.paused_until - time.monotonic()
            if paused <= 0:
                return True
            self.tell_wait(paused)
            await asyncio.sleep(paused)

    def reserve(self, tokens: float) -> Ticket:
        """Charge a request; it may go at the ticket's start."""
        return self.quota.reserve(time.monotonic(), tokens, self.limits.rates)

    @property
    def free(self) -> bool:
        """Whether nobody waits for a turn, and nothing has to be waited for but quota."""
        return (
            not self.queued
            and self.health.state is State.UP
            and (not self.paused_until or self.paused_until <= time.monotonic())
        )

    def wants_more_than(self, workers: int) -> bool:
        """Whether more than so many may have a request in flight."""
        return workers < self.concurrency.limit and self.health.state is not State.STOPPED

    async def wait_in_turn(self, ticket: Ticket) -> None:
        """Wait for a ticket's start while it is nobody else's turn."""
        self.queued += 1
        try:
            async with self.turn:
                await self.until_start(ticket)
        finally:
            self.queued -= 1

    async def until_start(self, ticket: Ticket) -> None:
        """Wait for a ticket's start, and for the end of a pause that began meanwhile."""
        while (left := max(ticket.start, self.paused_until) - time.monotonic()) > 0:
            self.waited_at = ticket.start
            self.tell_wait(left)
            await asyncio.sleep(left)

    def tell_wait(self, seconds: float) -> None:
        """Tell a person of a wait that would look like a hang."""
        now = time.monotonic()
        if seconds < TOLD_FROM_SECONDS or now < self.told_at:
            return
        self.told_at = now + seconds
        reason = "the service asked for that" if self.paused_until > now else "for its quota"
        clock = (datetime.now() + timedelta(seconds=seconds)).strftime("%H:%M:%S")  # noqa: DTZ005 - for a person
        self.notice(f"{self.name} waits {worded(seconds)} ({reason}) and goes on at {clock}.")

    def answered(self, ticket: Ticket, tokens: float, rows: int, seconds: float, size: int) -> None:
        """Note an answer: what it was really charged, its rows, its round trip, and the bytes it held."""
        now = time.monotonic()
        self.health.succeeded(now)
        self.blind_pauses = 0
        self.quota.correct(ticket, tokens)
        for_quota = now - self.waited_at < 1.0
        self.limits.passed(tokens, now, used=for_quota)
        if self.concurrency.limit == 1:
            self.concurrency.rate = self.limits.rates.of_requests(tokens)
        # Who waits before another attempt would be in flight, were the service well.
        busy = self.in_flight + 1 + self.backing_off
        self.concurrency.answered(seconds, size / rows, busy, for_quota=for_quota)

    def hear(self, headers: Mapping[str, str], tokens: float) -> None:
        """Take in what the headers of a reply to so many tokens say of the quota, now and then."""
        now = time.monotonic()
        if now - self.heard_at < HEADERS_EVERY_SECONDS:
            return
        first = self.heard_at == float("-inf")
        self.heard_at = now
        said = limit_headers(headers)
        if self.limits.told(said, now):
            # What told the quota was asked before it was known, and is charged all the same.
            self.reserve(tokens)
        rate = self.limits.rates.tokens
        if first and rate and said.remaining_tokens:
            # The service has quota in store: half of it may be used at once, as far as windows allow.
            self.quota.book.allow(now, said.remaining_tokens / 2 / rate)

    def limited(self, ticket: Ticket, seconds: float | None) -> None:
        """Note a 429 and its wait: one pause for all, and one cut for all that went before it."""
        now = time.monotonic()
        first_of_burst = self.limits.refused(ticket.admitted, now)
        if seconds is None and first_of_burst:
            seconds = min(LONGEST_BLIND_PAUSE_SECONDS, 2.0**self.blind_pauses) * random.uniform(0.75, 1.25)  # noqa: S311
            self.blind_pauses += 1
        # A refused request took its place among the requests, but no tokens.
        self.quota.correct(ticket, 0.0)
        if seconds is not None:
            self.pause(now + seconds)

    def pause(self, until: float) -> None:
        """Send nothing before `until`."""
        if until > self.paused_until:
            self.paused_until = until
            # Others may find sooner than after hours that the service answers again.
            self.quota.book.rest(min(until, time.monotonic() + LONGEST_REST_SECONDS))

    def state(self) -> DeploymentState:
        """Return how it stands at this moment."""
        now, rates = time.monotonic(), self.limits.rates
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
            paused_seconds=max(0.0, self.paused_until - now),
            for_quota=now - self.waited_at < 1.0,
            last_failure="" if failure is None else failure.code.value,
            failing_seconds=0.0 if up else now - (self.health.failing_since or now),
            probe_seconds=0.0 if up else max(0.0, self.health.probe_at - now),
        )

    def set_state(self, state: State) -> None:
        """Change its health, and wake who waits for that."""
        self.health.state = state
        self.changed.set()
        self.changed = asyncio.Event()


def worded(seconds: float) -> str:
    """Return a duration as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
