"""When may the next request go, so that no window of a quota is overdrawn and none is left unused?

Pure: `now` is an argument, in seconds of any steady clock. It knows amounts and rates, not requests,
replies or tasks. Two accounts work together. The schedule spreads what is charged evenly, so that a
service which judges single seconds sees no burst. The windows hold the promise to the letter: in every
window of 1, 10 or 60 s no more is charged than rate x window + one request (Azure evaluates request
rates over 1 and 10 s and tokens over a minute; learn.microsoft.com, Azure OpenAI quota, seen 2026-09).

Why not `aiolimiter` alone: it refuses amounts above its rate, wakes the smallest waiter first, lets
twice the rate through in its first second, cannot be corrected afterwards and knows one process only
(benchmarks/README.md has the figures).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

#: A late wake-up may be made good for as much as this; larger requests wait for what they exceed it by.
SMOOTHING_SECONDS = 0.25

#: Nothing is saved up for longer than this before it is sent.
LONGEST_SAVING_SECONDS = 10.0

WINDOW_SECONDS = (1.0, 10.0, 60.0)

#: Charges nearer to each other than this share an entry, which bounds the memory of a window.
GRAIN_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class Rates:
    """A quota per second; `None` where it is not limited or not known."""

    tokens: float | None = None
    requests: float | None = None

    @property
    def limited(self) -> bool:
        """Whether there is anything to keep to."""
        return self.tokens is not None or self.requests is not None

    def of_requests(self, tokens: float) -> float | None:
        """Return how many requests of so many tokens may go a second."""
        by_tokens = None if self.tokens is None else self.tokens / max(tokens, 1.0)
        return min((rate for rate in (by_tokens, self.requests) if rate is not None), default=None)


class Book(Protocol):
    """Where the schedule is kept: in this process, or shared by several."""

    def reserve(self, now: float, tokens: float, rates: Rates) -> float:
        """Charge one request of so many tokens; returns when it may go, `now` at the earliest."""

    def correct(self, tokens: float, requests: float, rates: Rates) -> None:
        """Charge so much more, or less where it is negative, for what has gone already."""

    def rest(self, until: float) -> None:
        """Let nothing go before `until`, and then begin without a burst."""

    def allow(self, now: float, seconds: float) -> None:
        """Let so many seconds of quota go at once, `SMOOTHING_SECONDS` at most: the service has them."""


@dataclass(slots=True)
class Schedule:
    """When a steady stream would have paid off what is charged: tokens and requests, each on its own.

    It starts drained: over its first seconds no more goes than the rate gives, plus one request.
    """

    tokens_due: float
    requests_due: float
    resting_until: float = 0.0

    @classmethod
    def begin(cls, now: float) -> Schedule:
        """Return a schedule in which nothing is charged and nothing is saved."""
        return cls(now + SMOOTHING_SECONDS, now + SMOOTHING_SECONDS)

    def reserve(self, now: float, tokens: float, rates: Rates, requests: float = 1.0) -> float:
        """Charge `requests` of so many tokens together; returns when they may go. O(1)."""
        earliest = max(now, self.resting_until)
        if rates.tokens is not None:
            earliest = max(earliest, self.tokens_due - SMOOTHING_SECONDS)
        if rates.requests is not None:
            earliest = max(earliest, self.requests_due - SMOOTHING_SECONDS)
        start = earliest
        if rates.tokens is not None:
            cost = tokens / rates.tokens
            self.tokens_due = max(self.tokens_due, earliest) + cost
            start += max(0.0, min(cost, LONGEST_SAVING_SECONDS) - SMOOTHING_SECONDS)
        if rates.requests is not None:
            self.requests_due = max(self.requests_due, earliest) + requests / rates.requests
        return start

    def correct(self, tokens: float, requests: float, rates: Rates) -> None:
        """Charge so much more, or less where it is negative."""
        if rates.tokens is not None:
            self.tokens_due += tokens / rates.tokens
        if rates.requests is not None:
            self.requests_due += requests / rates.requests

    def rest(self, until: float) -> None:
        """Let nothing go before `until`, and then begin without a burst."""
        self.resting_until = max(self.resting_until, until)
        self.tokens_due = max(self.tokens_due, until + SMOOTHING_SECONDS)
        self.requests_due = max(self.requests_due, until + SMOOTHING_SECONDS)

    def allow(self, now: float, seconds: float) -> None:
        """Let so many seconds of quota go at once, as far as they are not saved up already."""
        saved = min(seconds, SMOOTHING_SECONDS)
        self.tokens_due = max(self.tokens_due - saved, min(self.tokens_due, now))
        self.requests_due = max(self.requests_due - saved, min(self.requests_due, now))


@dataclass(slots=True)
class Entry:
    """What was charged between `first` and `at`."""

    first: float
    at: float
    amount: float


@dataclass(slots=True)
class Window:
    """What was charged over the last `seconds`, exactly."""

    seconds: float
    entries: deque[Entry] = field(default_factory=deque)
    total: float = 0.0
    edge: float = float("-inf")

    def opening(self, now: float, allowed: float) -> float:
        """Return the earliest time from `now` on at which the window holds no more than `allowed`."""
        self.forget(now)
        excess = self.total - allowed
        for entry in self.entries:
            if excess <= 0:
                break
            excess -= entry.amount
            now = max(now, entry.at + self.seconds)
        return now

    def charge(self, entry: Entry) -> None:
        """Note a charge; charges come in the order of their times."""
        self.forget(entry.at)
        self.entries.append(entry)
        self.total += entry.amount

    def forget(self, now: float) -> None:
        """Drop what has left the window."""
        edge = self.edge = max(self.edge, now - self.seconds)
        entries = self.entries
        while entries and entries[0].at <= edge:
            self.total -= entries.popleft().amount
        if not entries:
            self.total = 0.0


@dataclass(slots=True)
class Windows:
    """What was charged of one resource over the last 1, 10 and 60 seconds. O(1) amortised."""

    windows: tuple[Window, ...] = field(
        default_factory=lambda: tuple(Window(seconds) for seconds in WINDOW_SECONDS)
    )
    last: Entry | None = None
    largest: deque[tuple[float, float]] = field(default_factory=deque)

    def opening(self, now: float, rate: float, amount: float) -> float:
        """Return when this charge may come without any window holding more than its rate and one request.

        The one request is the largest: small ones need not wait until a large one has left the window.
        """
        opening = now
        above = max(0.0, self.largest_since(now - self.windows[0].seconds) - amount)
        for window in self.windows:
            allowed = rate * window.seconds * (1 + 1e-9) + above
            # The total still counts what has left the window meanwhile, so it is at most too high.
            if window.total > allowed:
                opening = window.opening(opening, allowed)
        return opening

    def largest_since(self, edge: float) -> float:
        """Return the largest charge after `edge`."""
        while self.largest and self.largest[0][0] <= edge:
            self.largest.popleft()
        return self.largest[0][1] if self.largest else 0.0

    def charge(self, at: float, amount: float) -> Entry:
        """Note a charge; charges come in the order of their times."""
        while self.largest and self.largest[-1][1] <= amount:
            self.largest.pop()
        self.largest.append((at, amount))
        last = self.last
        if last is not None and at - last.first < GRAIN_SECONDS and last.at > self.windows[0].edge:
            last.at = max(last.at, at)
            last.amount += amount
            for window in self.windows:
                window.total += amount
            return last
        entry = self.last = Entry(at, at, amount)
        for window in self.windows:
            window.charge(entry)
        return entry

    def correct(self, entry: Entry, amount: float) -> None:
        """Change what an earlier charge came to."""
        for window in self.windows:
            if entry.at > window.edge:
                window.total += amount
        entry.amount += amount


@dataclass(slots=True)
class Ticket:
    """A charge that was admitted at `admitted` and may go at `start`: what it can be corrected by."""

    admitted: float
    start: float
    tokens: float
    rates: Rates
    entries: tuple[Entry | None, Entry | None] = (None, None)


@dataclass(slots=True)
class Quota:
    """The quota of one deployment as this process sees it."""

    book: Book
    tokens: Windows = field(default_factory=Windows)
    requests: Windows = field(default_factory=Windows)
    latest: float = 0.0

    def reserve(self, now: float, tokens: float, rates: Rates) -> Ticket:
        """Charge one request; the ticket says when it may go. Reserve in the order of going."""
        if not rates.limited:
            return Ticket(now, now, tokens, rates)
        start = max(self.book.reserve(now, tokens, rates), self.latest)
        if rates.tokens is not None:
            start = self.tokens.opening(start, rates.tokens, tokens)
        if rates.requests is not None:
            start = self.requests.opening(start, rates.requests, 1)
        self.latest = start
        charged = None if rates.tokens is None else self.tokens.charge(start, tokens)
        counted = None if rates.requests is None else self.requests.charge(start, 1)
        return Ticket(now, start, tokens, rates, (charged, counted))

    def correct(self, ticket: Ticket, tokens: float) -> None:
        """Make a ticket's charge `tokens`: the estimate was off."""
        difference = tokens - ticket.tokens
        if difference and ticket.rates.limited:
            self.book.correct(difference, 0.0, ticket.rates)
            if ticket.entries[0] is not None:
                self.tokens.correct(ticket.entries[0], difference)
            ticket.tokens = tokens

    def refund(self, ticket: Ticket) -> None:
        """Give a ticket back: nothing was sent."""
        self.correct(ticket, 0.0)
        if ticket.rates.limited:
            self.book.correct(0.0, -1.0, ticket.rates)
            if ticket.entries[1] is not None:
                self.requests.correct(ticket.entries[1], -1)
