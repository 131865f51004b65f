"""What is the state of a run at one moment: all facts for a panel, a line or a log?

A listener of the run's events. An event costs what `Tally` costs; everything else is computed on request or
once a second. It knows nothing of terminals.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import astuple, dataclass, field, replace

from batchscore.report.progress.eta import Eta, Forecast, WorkDone, remaining_work
from batchscore.report.tally import Statistics, Tally
from batchscore.rows import (
    Attempt,
    BatchesState,
    DeploymentState,
    Event,
    Expected,
    FileFinished,
    FileOpened,
    Heartbeat,
    RowsSettled,
)

#: A pulse comes once a second while requests are sent; after this many seconds the last one is stale.
STALE_SECONDS = 3.0

#: Seconds over which rates are measured.
WINDOW_SECONDS = 60.0

#: Least seconds between two stored totals, which limits the memory.
GRAIN_SECONDS = 1.0

#: Fewer seconds give no useful rate.
LEAST_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Totals:
    """A run's totals since its start: rows settled, requests sent, tokens charged."""

    rows: float = 0.0
    requests: float = 0.0
    tokens: float = 0.0


@dataclass(slots=True)
class RateWindow:
    """A window over running totals."""

    seconds: float = WINDOW_SECONDS
    stored: deque[tuple[float, Totals]] = field(default_factory=deque)
    latest: Totals = field(default_factory=Totals)

    def add(self, now: float, totals: Totals) -> None:
        """Add the totals of this moment. O(1) amortised; stores at most `seconds` / `GRAIN_SECONDS` + 2."""
        self.latest = totals
        if not self.stored or now - self.stored[-1][0] >= GRAIN_SECONDS:
            self.stored.append((now, totals))
        # The last totals before the window stay: rates are counted from them.
        while len(self.stored) > 1 and self.stored[1][0] <= now - self.seconds:
            self.stored.popleft()

    def per_minute(self, now: float) -> Totals | None:
        """Return the rates per minute in the window up to `now`; `None` if it is too short."""
        since, then = self.stored[0] if self.stored else (now, self.latest)
        if now - since < LEAST_SECONDS:
            return None
        pairs = zip(astuple(self.latest), astuple(then), strict=True)
        return Totals(*((latest - first) * 60 / (now - since) for latest, first in pairs))


@dataclass(frozen=True, slots=True)
class View:
    """The facts at one moment, `at` on the clock of `time.monotonic`.

    `total` are all rows, including those of earlier runs; `None` if unknown or if there are more than
    expected. `per_minute` are the recent rates. `rpm` and `tpm` are the limits of all deployments together,
    also of those that are down; `None` if one has no known limit. `pulse` is `None` before the first request.
    `reading`: a file is open. `cost` is in the currency of the prices.
    """

    at: float
    seconds: float
    statistics: Statistics
    total: int | None
    exact: bool
    per_minute: Totals | None
    rpm: float | None
    tpm: float | None
    pulse: Heartbeat | None
    pulsed_at: float
    reading: bool
    eta: Eta | None
    cost: float | None

    def later(self, now: float) -> View:
        """Return the same facts for a later moment, without those of a stale pulse."""
        later = replace(self, at=now, seconds=self.seconds + now - self.at)
        stale = self.pulse is not None and now - self.pulsed_at >= STALE_SECONDS
        return replace(later, pulse=None, eta=None, per_minute=None) if stale else later

    @property
    def rows(self) -> int:
        """Rows with a record, of this run and earlier ones."""
        return self.statistics.rows + self.statistics.known

    @property
    def deployments(self) -> tuple[DeploymentState, ...]:
        """The last known state of each deployment."""
        return () if self.pulse is None else self.pulse.deployments

    @property
    def batches(self) -> BatchesState | None:
        """The batches, `None` while requests are sent live."""
        return None if self.pulse is None else self.pulse.batches

    @property
    def in_flight(self) -> int:
        """Requests in flight."""
        return sum(each.in_flight for each in self.deployments)

    @property
    def limited_by(self) -> str:
        """The limit that is closer to being reached: tokens or requests."""
        now = self.per_minute or Totals()
        by_tokens = now.tokens / self.tpm if self.tpm else 0.0
        by_requests = now.requests / self.rpm if self.rpm else 0.0
        return "requests" if by_requests > by_tokens or not self.tpm else "tokens"


@dataclass(slots=True)
class Watch:
    """A listener that gives a view of a run. O(1) per event and row.

    `answer_tokens` is what one request is charged for its answers; `None` if they have no limit: then the
    actual answers are counted. `cost` returns what tokens cost, some at the full price, or `None`.
    """

    answer_tokens: float | None = 0.0
    cost: Callable[[int, int, tuple[float, float]], float | None] = lambda *_: None
    tally: Tally = field(default_factory=Tally)
    started: float = field(default_factory=time.monotonic)
    expected: Expected | None = None
    pulse: Heartbeat | None = None
    pulsed_at: float = 0.0
    prompt_bytes: int = 0
    open_files: set[str] = field(default_factory=set)
    rates: RateWindow = field(default_factory=RateWindow)
    forecast: Forecast = field(default_factory=Forecast)

    def __call__(self, event: Event) -> None:
        """Handle one event."""
        self.tally.add(event)
        if isinstance(event, RowsSettled):
            return
        if isinstance(event, Attempt):
            prompts = event.prompts
            if not event.cause and prompts:
                # Most requests hold one prompt; that case must be fast.
                self.prompt_bytes += (
                    len(prompts[0].body) if len(prompts) == 1 else sum([len(each.body) for each in prompts])
                )
        elif isinstance(event, Heartbeat):
            self.pulse, self.pulsed_at = event, time.monotonic()
            done = self.done()
            self.rates.add(self.pulsed_at, Totals(done.rows, self.tally.requests, done.tokens))
            self.forecast.observe(self.pulsed_at, done, event.deployments)
        elif isinstance(event, FileOpened):
            self.open_files.add(event.file)
        elif isinstance(event, FileFinished):
            self.open_files.discard(event.file)
        elif isinstance(event, Expected):
            self.expected = event

    def done(self) -> WorkDone:
        """Return what is done so far, with tokens counted as a service counts them against its limits."""
        tally = self.tally
        answered = tally.requests - sum(tally.retried.values())
        answers = tally.completion_tokens if self.answer_tokens is None else answered * self.answer_tokens
        return WorkDone(
            rows=tally.rows,
            known=tally.known,
            answered=answered,
            prompt_tokens=tally.prompt_tokens,
            tokens=tally.prompt_tokens + answers,
            answer_tokens=self.answer_tokens,
            prompt_bytes=self.prompt_bytes,
        )

    def view(self, now: float) -> View:
        """Return the run's state."""
        statistics, expected = self.tally.statistics(), self.expected
        pulse = self.pulse if now - self.pulsed_at < STALE_SECONDS else None
        deployments = () if pulse is None else pulse.deployments
        if expected is not None and expected.rows < statistics.rows + statistics.known:
            expected = None
        left = None if expected is None else remaining_work(expected, self.done())
        return View(
            at=now,
            seconds=now - self.started,
            statistics=statistics,
            total=None if expected is None else expected.rows,
            exact=expected is not None and expected.exact,
            per_minute=self.rates.per_minute(now),
            rpm=total_limit([each.rpm for each in deployments]),
            tpm=total_limit([each.tpm for each in deployments]),
            pulse=pulse,
            pulsed_at=self.pulsed_at,
            reading=bool(self.open_files),
            eta=None if left is None or pulse is None else self.forecast.eta(left, pulse.deployments),
            cost=self.cost(statistics.prompt_tokens, statistics.completion_tokens, statistics.full_price),
        )


def total_limit(limits: list[float | None]) -> float | None:
    """Return the sum of limits; `None` if there is none, or one is unknown."""
    known = [limit for limit in limits if limit is not None]
    return sum(known) if known and len(known) == len(limits) else None
