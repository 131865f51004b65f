"""Has a run reached a bound that its user set: failed rows, tokens, money, time?

A listener of the run's events: it adds up, and where a bound is reached it sets `stop` and keeps the
reason. What comes home after that is counted by others; it knows neither requests nor files.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone

from batchscore.engine import end_task
from batchscore.engine.open import DRAIN_SECONDS
from batchscore.errors import BatchscoreError, BoundReached, ErrorCode, SettingsError, TooManyErrors
from batchscore.report.words import money_text
from batchscore.rows import Attempt, Event, Listen, Notice, RowsSettled
from batchscore.settings.deadline import moment_of, parse_deadline
from batchscore.settings.fields import Settings

#: After the last answer, parts and manifests are written; so long before a deadline that is to begin.
WRITING_SECONDS = 10.0

#: The clock is looked at so often, since a machine that slept, or whose clock was set, is not told.
LOOK_SECONDS = 10.0


@dataclass(slots=True)
class Bounds:
    """The bounds of one run, and how far it has come; `reached` is why it was stopped.

    `started` and `begins_to_end`, when it stops asking to be over by its deadline, are seconds since the
    epoch. Every bound counts this run alone, so that the same command goes on with a new budget. O(1) an
    event.
    """

    settings: Settings
    started: float
    begins_to_end: float | None = None
    drain_seconds: float = DRAIN_SECONDS
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    reached: BatchscoreError | None = None
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def tokens(self) -> int:
        """The tokens that the service has billed, as far as its replies say."""
        return self.prompt_tokens + self.completion_tokens

    def listening(self, listen: Listen) -> Listen:
        """Return a listener that hears every event before `listen` does, and tells it of the end."""

        def heard(event: Event) -> None:
            reason = self.reason(event)
            listen(event)
            if reason is not None:
                self.end(reason, listen)

        return heard

    def reason(self, event: Event) -> BatchscoreError | None:
        """Count one event; return what it has reached, `None` where nothing."""
        if isinstance(event, RowsSettled):
            self.failed += sum(
                count for code, count in event.errors.items() if code is not ErrorCode.EMPTY_INPUT
            )
            return self.too_many_errors()
        if isinstance(event, Attempt):
            self.prompt_tokens += event.prompt_tokens
            self.completion_tokens += event.completion_tokens
            return self.uncountable() if is_kept(event) and not self.tokens else self.too_expensive()
        return None

    def too_many_errors(self) -> TooManyErrors | None:
        """Return the reason to stop where too many rows have failed."""
        most = self.settings.max_errors
        if most is None or self.failed < most:
            return None
        rows = "1 row of this run has" if self.failed == 1 else f"{self.failed:,} rows of this run have"
        return TooManyErrors(
            f"{rows} failed, and --max-errors is {most:,}. The error records say why; where the rows can be "
            "answered after all, --retry-errors asks them again."
        )

    def too_expensive(self) -> BoundReached | None:
        """Return the reason to stop where a budget is used up."""
        most_tokens, most_money = self.settings.max_total_tokens, self.settings.max_spend
        spent = self.settings.cost(self.prompt_tokens, self.completion_tokens)
        if most_tokens is not None and self.tokens >= most_tokens:
            return BoundReached(
                f"this run has used {self.tokens:,} tokens, and --max-total-tokens is {most_tokens:,}."
            )
        if most_money is not None and spent is not None and spent >= most_money:
            return BoundReached(f"this run has cost {money_text(spent)}, and --max-spend is {most_money:g}.")
        return None

    def uncountable(self) -> SettingsError | None:
        """Return the reason to stop where there is a budget that cannot be kept."""
        budgets = {
            "--max-total-tokens": self.settings.max_total_tokens,
            "--max-spend": self.settings.max_spend,
        }
        set_here = [name for name, most in budgets.items() if most is not None]
        if not set_here:
            return None
        return SettingsError(
            "the service does not say how many tokens it bills (its reply has no usage), so "
            f"{' and '.join(set_here)} cannot be kept. Leave that out, or bound the rows with --limit."
        )

    def end(self, reason: BatchscoreError, listen: Listen) -> None:
        """Stop the run for this reason, where nothing else has stopped it before."""
        if self.stop.is_set():
            return
        self.reached = reason
        self.stop.set()
        listen(Notice(f"Stopping: {reason} Waiting for answers that are on their way."))

    @asynccontextmanager
    async def watching(self, listen: Listen, now: Callable[[], float] = time.time) -> AsyncIterator[None]:
        """Stop the run in time for its deadline, as long as the block runs."""
        watch = asyncio.create_task(self.watch(listen, now))
        try:
            yield
        finally:
            await end_task.end(watch)

    async def watch(self, listen: Listen, now: Callable[[], float]) -> None:
        """Wait until it is time to end, where there is a deadline, and stop the run."""
        if self.begins_to_end is None:
            return
        while True:
            left = self.begins_to_end - now()
            if left <= 0:
                break
            await asyncio.sleep(min(left, LOOK_SECONDS))
        self.end(BoundReached(deadline_reason(str(self.settings.deadline))), listen)


def bounds_of(settings: Settings, started: float) -> Bounds:
    """Return the bounds of a run that began at `started`, seconds since the epoch.

    Of a deadline so near that waiting for answers would take most of the time, half is left for asking.
    Raises `UsageError` where the deadline has passed.
    """
    if settings.deadline is None:
        return Bounds(settings, started)
    ends = moment_of(settings.deadline, datetime.fromtimestamp(started, timezone.utc)).timestamp()
    ending_seconds = min(DRAIN_SECONDS + WRITING_SECONDS, (ends - started) / 2)
    return Bounds(
        settings,
        started,
        begins_to_end=ends - ending_seconds,
        drain_seconds=ending_seconds * DRAIN_SECONDS / (DRAIN_SECONDS + WRITING_SECONDS),
    )


def is_kept(event: Attempt) -> bool:
    """Whether rows were answered; a probe answers none."""
    return event.rows > 0 and not event.cause


def deadline_reason(text: str) -> str:
    """Return what ends a run at its deadline; a date does not come again, as a duration does."""
    again = " To go on, give a later one." if isinstance(parse_deadline(text), datetime) else ""
    return f"the run is to be over by --deadline {text}.{again}"
