"""When may the next request start, so that no window of a quota is exceeded and no quota is left unused?

Pure: `now` is an argument, in seconds of any monotonic clock. It knows amounts and rates, not requests,
replies or tasks. Two mechanisms work together. The schedule spreads the charges evenly, so that a service
that limits single seconds sees no burst. The windows are exact: in every window of 1, 10 or 60 s the charges
are at most rate x window + one request (Azure evaluates request rates over 1 and 10 s and tokens over a
minute; learn.microsoft.com, Azure OpenAI quota, seen 2026-09).

benchmarks/README.md says why `aiolimiter` is not enough.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchscore.request.quota.shared_file import SharedSchedule

#: A request that starts late may catch up this much; a larger request waits for the part above it.
SMOOTHING_SECONDS = 0.25

#: Until the quota is known, requests are small: a large one might never fit.
FIRST_TOKENS = 2000.0

#: A large request saves up quota for at most this long before it starts.
LONGEST_SAVING_SECONDS = 10.0

WINDOW_SECONDS = (1.0, 10.0, 60.0)

#: Charges closer to each other than this are stored as one, which bounds the memory of a window.
GRAIN_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class QuotaRates:
    """A quota per second; `None` if it is not limited or not known."""

    tokens: float | None = None
    requests: float | None = None

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return self.tokens is not None or self.requests is not None

    def requests_of(self, tokens: float) -> float | None:
        """Return how many requests of this many tokens may start per second."""
        by_tokens = None if self.tokens is None else self.tokens / max(tokens, 1.0)
        return min((rate for rate in (by_tokens, self.requests) if rate is not None), default=None)


@dataclass(slots=True)
class LocalSchedule:
    """The even spread of a quota's charges: when a steady stream would have paid off tokens and requests.

    It starts empty: its first seconds admit no more than the rate plus one request.
    """

    tokens_due: float
    requests_due: float
    paused_until: float = 0.0

    @classmethod
    def begin(cls, now: float) -> LocalSchedule:
        """Return a schedule without charges and without saved quota."""
        return cls(now + SMOOTHING_SECONDS, now + SMOOTHING_SECONDS)

    def reserve(self, now: float, tokens: float, rates: QuotaRates, requests: float = 1.0) -> float:
        """Charge `requests` of this many tokens together; return when they may start. O(1)."""
        earliest = max(now, self.paused_until)
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

    def correct(self, tokens: float, requests: float, rates: QuotaRates) -> None:
        """Charge this much more, or less if negative, for requests that have started already."""
        if rates.tokens is not None:
            self.tokens_due += tokens / rates.tokens
        if rates.requests is not None:
            self.requests_due += requests / rates.requests

    def pause(self, now: float, until: float) -> None:  # noqa: ARG002 - a shared schedule needs `now`
        """Let no request start before `until`, and then begin without a burst."""
        self.paused_until = max(self.paused_until, until)
        self.tokens_due = max(self.tokens_due, until + SMOOTHING_SECONDS)
        self.requests_due = max(self.requests_due, until + SMOOTHING_SECONDS)

    def release(self, now: float, seconds: float) -> None:
        """Let this many seconds of unused quota be used at once, unless they are saved up already."""
        saved = min(seconds, SMOOTHING_SECONDS)
        self.tokens_due = max(self.tokens_due - saved, min(self.tokens_due, now))
        self.requests_due = max(self.requests_due - saved, min(self.requests_due, now))


@dataclass(slots=True)
class Charge:
    """The amount that was charged between `first` and `at`."""

    first: float
    at: float
    amount: float


@dataclass(slots=True)
class Window:
    """The exact charges of the last `seconds`."""

    seconds: float
    charges: deque[Charge] = field(default_factory=deque)
    total: float = 0.0
    edge: float = -inf

    def earliest(self, now: float, allowed: float) -> float:
        """Return the earliest time from `now` on at which the window holds at most `allowed`."""
        self.forget(now)
        excess = self.total - allowed
        for charge in self.charges:
            if excess <= 0:
                break
            excess -= charge.amount
            now = max(now, charge.at + self.seconds)
        return now

    def add(self, charge: Charge) -> None:
        """Add a charge; charges come in the order of their times."""
        edge = charge.at - self.seconds
        if self.charges and edge < self.charges[0].at:
            self.edge = max(self.edge, edge)
        else:
            self.forget(charge.at)
        self.charges.append(charge)
        self.total += charge.amount

    def forget(self, now: float) -> None:
        """Drop the charges that have left the window."""
        edge = self.edge = max(self.edge, now - self.seconds)
        charges = self.charges
        while charges and charges[0].at <= edge:
            self.total -= charges.popleft().amount
        if not charges:
            self.total = 0.0


@dataclass(slots=True)
class Windows:
    """The charges of one resource in the last 1, 10 and 60 seconds. O(1) amortised.

    What was charged since the last look at the windows is `not_in_windows` yet: at `rate` each had at least
    this much `room` then.
    """

    windows: tuple[Window, ...] = field(
        default_factory=lambda: tuple(Window(seconds) for seconds in WINDOW_SECONDS)
    )
    last: Charge | None = None
    largest: deque[tuple[float, float]] = field(default_factory=deque)
    not_in_windows: float = 0.0
    room: float = -inf
    rate: float = 0.0

    def earliest(self, now: float, rate: float, amount: float) -> float:
        """Return when this charge may come without any window holding more than its rate and one request.

        The one request is the largest: small ones need not wait until a large one has left the window.
        """
        if self.not_in_windows > self.room or rate != self.rate:
            self.rate = rate
            self.update()
        if self.not_in_windows <= self.room:
            return now  # as nearly always, since the schedule spreads the charges
        start = now
        above = max(0.0, self.largest_since(now - WINDOW_SECONDS[0]) - amount)
        for window in self.windows:
            allowed = rate * window.seconds * (1 + 1e-9) + above
            if window.total > allowed:
                start = window.earliest(start, allowed)
        return start

    def update(self, added: Charge | None = None) -> None:
        """Add to the windows what is not in them yet, then a new charge, and note the room that is left."""
        before, self.not_in_windows, self.room = self.not_in_windows, 0.0, inf
        for window in self.windows:
            # A total still counts charges that have left the window since, so it is at most too high.
            window.total += before
            if added is not None:
                window.add(added)
            room = self.rate * window.seconds - window.total
            if room < self.room:
                self.room = room

    def largest_since(self, edge: float) -> float:
        """Return the largest charge after `edge`."""
        while self.largest and self.largest[0][0] <= edge:
            self.largest.popleft()
        return self.largest[0][1] if self.largest else 0.0

    def charge(self, at: float, amount: float) -> Charge:
        """Add a charge; charges come in the order of their times."""
        largest, last = self.largest, self.last
        near = last is not None and at - last.first < GRAIN_SECONDS and last.at > self.windows[0].edge
        # The time of one as large, a moment ago, allows less.
        if not (near and largest and amount <= largest[-1][1]):
            while largest and largest[-1][1] <= amount:
                largest.pop()
            largest.append((at, amount))
        if last is not None and near:
            if at > last.at:
                last.at = at
            last.amount += amount
            self.not_in_windows += amount
            return last
        self.largest_since(at - WINDOW_SECONDS[0])
        added = self.last = Charge(at, at, amount)
        self.update(added)
        return added

    def correct(self, charge: Charge, amount: float) -> None:
        """Add an amount, perhaps negative, to an earlier charge."""
        charge.amount += amount
        if charge.at > self.windows[0].edge:
            self.not_in_windows += amount  # it is in all windows, since the first is the shortest
            return
        for window in self.windows[1:]:
            if charge.at > window.edge:
                window.total += amount
        self.room -= max(0.0, amount)


@dataclass(slots=True)
class Ticket:
    """A request's charge: reserved at `admitted`, to start at `start`. It allows later corrections."""

    admitted: float
    start: float
    tokens: float
    rates: QuotaRates
    charges: tuple[Charge | None, Charge | None] = (None, None)


@dataclass(slots=True)
class Quota:
    """The quota of one deployment as this process sees it."""

    schedule: LocalSchedule | SharedSchedule
    tokens: Windows = field(default_factory=Windows)
    requests: Windows = field(default_factory=Windows)
    latest: float = 0.0

    def reserve(self, now: float, tokens: float, rates: QuotaRates) -> Ticket:
        """Charge one request; the ticket says when it may start. Reserve in the order of starting."""
        a_second, requests_a_second = rates.tokens, rates.requests
        if a_second is None and requests_a_second is None:
            return Ticket(now, now, tokens, rates)
        start = self.schedule.reserve(now, tokens, rates)
        if start < self.latest:
            start = self.latest
        if a_second is not None:
            start = self.tokens.earliest(start, a_second, tokens)
        if requests_a_second is not None:
            start = self.requests.earliest(start, requests_a_second, 1)
        self.latest = start
        of_tokens = None if a_second is None else self.tokens.charge(start, tokens)
        of_requests = None if requests_a_second is None else self.requests.charge(start, 1)
        return Ticket(now, start, tokens, rates, (of_tokens, of_requests))

    def correct(self, ticket: Ticket, tokens: float) -> None:
        """Set a ticket's charge to `tokens`: the estimate was wrong."""
        difference = tokens - ticket.tokens
        if difference and ticket.rates.limited:
            self.schedule.correct(difference, 0.0, ticket.rates)
            if ticket.charges[0] is not None:
                self.tokens.correct(ticket.charges[0], difference)
            ticket.tokens = tokens

    def refund(self, ticket: Ticket) -> None:
        """Return a ticket unused: its request was not sent."""
        self.correct(ticket, 0.0)
        if ticket.rates.limited:
            self.schedule.correct(0.0, -1.0, ticket.rates)
            if ticket.charges[1] is not None:
                self.requests.correct(ticket.charges[1], -1)
