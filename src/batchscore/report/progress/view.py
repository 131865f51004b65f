"""What does a run look like at one moment: all that a panel, a line or a log says of it?

A listener of the run's events. An event costs what `Tally` costs; all else is made when it is asked for, or
once a second. It knows no terminal.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from batchscore.report.progress.eta import Done, Eta, Forecast
from batchscore.report.progress.rates import Rates, Totals
from batchscore.report.tally import Statistics, Tally
from batchscore.rows import (
    Attempt,
    DeploymentState,
    Event,
    Expected,
    FileFinished,
    FileOpened,
    Heartbeat,
    RowsSettled,
)

#: A pulse comes once a second; where none has come for so long, the run does something else than asking.
STALE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class View:
    """The facts at one moment, `at` on the clock of `time.monotonic`.

    `total` are all rows, those of earlier runs among them, `None` where nobody has said or there turned out
    to be more. `per_minute` is what was done of late; `rpm` and `tpm` are the limits of all deployments
    together, also of those that do not answer, `None` where one of them has none. `pulse` is `None` before
    the first request. `reading`: a file is open. `cost` is in the money of the prices.
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
        """Return the same facts as they are shown at a later moment: only clocks go on.

        Where no pulse has come for long, what it told is not so any more.
        """
        stale = self.pulse is not None and now - self.pulsed_at >= STALE_SECONDS
        seconds = self.seconds + now - self.at
        if stale:
            return replace(self, at=now, seconds=seconds, pulse=None, eta=None, per_minute=None)
        return replace(self, at=now, seconds=seconds)

    @property
    def rows(self) -> int:
        """Rows that have their records, of this run and earlier ones."""
        return self.statistics.rows + self.statistics.known

    @property
    def deployments(self) -> tuple[DeploymentState, ...]:
        """How each deployment stood when that was last told."""
        return () if self.pulse is None else self.pulse.deployments

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return sum(each.in_flight for each in self.deployments)

    @property
    def limited_by(self) -> str:
        """Which of the two limits is nearer to being used up: tokens or requests."""
        now = self.per_minute or Totals()
        by_tokens = now.tokens / self.tpm if self.tpm else 0.0
        by_requests = now.requests / self.rpm if self.rpm else 0.0
        return "requests" if by_requests > by_tokens or not self.tpm else "tokens"


@dataclass(slots=True)
class Watch:
    """Hears a run's events and gives a view of it.

    `answer_tokens` is what one request is charged for its answers, `None` where nobody bounded them: then
    they are counted as they come. `cost` says what tokens cost, or `None`. O(1) an event and a row.
    """

    answer_tokens: float | None = 0.0
    cost: Callable[[int, int], float | None] = lambda _prompt, _completion: None
    tally: Tally = field(default_factory=Tally)
    started: float = field(default_factory=time.monotonic)
    expected: Expected | None = None
    pulse: Heartbeat | None = None
    pulsed_at: float = 0.0
    prompt_bytes: int = 0
    open_files: set[str] = field(default_factory=set)
    rates: Rates = field(default_factory=Rates)
    forecast: Forecast = field(default_factory=Forecast)

    def __call__(self, event: Event) -> None:
        """Take one event."""
        self.tally.add(event)
        if isinstance(event, RowsSettled):
            return
        if isinstance(event, Attempt):
            asked = event.prompts
            if not event.cause and asked:
                # Most requests that come by the thousand hold one prompt.
                self.prompt_bytes += (
                    len(asked[0].body) if len(asked) == 1 else sum([len(prompt.body) for prompt in asked])
                )
        elif isinstance(event, Heartbeat):
            self.pulse, self.pulsed_at = event, time.monotonic()
            self.take(self.pulsed_at, event)
        elif isinstance(event, FileOpened):
            self.open_files.add(event.file)
        elif isinstance(event, FileFinished):
            self.open_files.discard(event.file)
        elif isinstance(event, Expected):
            self.expected = event

    def take(self, now: float, pulse: Heartbeat) -> None:
        """Note how far the run has come by the time of a pulse."""
        done = self.done()
        self.rates.take(now, Totals(done.rows, self.tally.requests, done.tokens))
        self.forecast.take(now, done, pulse.deployments)

    def done(self) -> Done:
        """Return what is done by now, with tokens counted as a service counts them against its limits."""
        tally = self.tally
        answered = tally.requests - sum(tally.retried.values())
        answers = tally.completion_tokens if self.answer_tokens is None else answered * self.answer_tokens
        return Done(
            rows=tally.ok + sum(tally.errors.values()),
            known=sum(tally.known_of.values()),
            answered=answered,
            prompt_tokens=tally.prompt_tokens,
            tokens=tally.prompt_tokens + answers,
            answer_tokens=self.answer_tokens,
            prompt_bytes=self.prompt_bytes,
        )

    def view(self, now: float) -> View:
        """Return the run as it stands."""
        statistics, expected = self.tally.statistics(), self.expected
        pulse = self.pulse if now - self.pulsed_at < STALE_SECONDS else None
        deployments = () if pulse is None else pulse.deployments
        rows = statistics.rows + statistics.known
        known_total = expected is not None and expected.rows >= rows
        left = self.forecast.left(expected, self.done()) if expected is not None and known_total else None
        return View(
            at=now,
            seconds=now - self.started,
            statistics=statistics,
            total=expected.rows if expected is not None and known_total else None,
            exact=expected is not None and expected.exact,
            per_minute=self.rates.per_minute(now),
            rpm=together([each.rpm for each in deployments]),
            tpm=together([each.tpm for each in deployments]),
            pulse=pulse,
            pulsed_at=self.pulsed_at,
            reading=bool(self.open_files),
            eta=None if left is None or pulse is None else self.forecast.eta(left, pulse.deployments),
            cost=self.cost(statistics.prompt_tokens, statistics.completion_tokens),
        )


def together(limits: list[float | None]) -> float | None:
    """Return what several limits come to; `None` where there is none, or one that is not known."""
    known = [limit for limit in limits if limit is not None]
    return sum(known) if known and len(known) == len(limits) else None
