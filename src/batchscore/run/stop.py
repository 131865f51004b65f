"""Must a run end early, and why? The one place that keeps both.

Signals and a lost lock request the stop, and so does a limit that the user set: failed rows, tokens, cost,
time. So does a run whose first answers all break the schema. The engine only reads the event.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from batchscore.engine import end_task
from batchscore.engine.bounds import DRAIN_SECONDS, SAME_REFUSALS
from batchscore.errors import (
    BatchscoreError,
    BoundReached,
    ErrorCode,
    SettingsError,
    TooManyErrors,
    count_text,
    setting_name,
)
from batchscore.report.words import money_text
from batchscore.rows import Attempt, Event, FileOpened, Listen, Notice, RowsSettled
from batchscore.settings.deadline import moment_of, parse_deadline
from batchscore.settings.prices import Live
from batchscore.settings.slices import StopSettings

#: Seconds before a deadline that are kept for writing parts and manifests after the last response.
WRITING_SECONDS = 10.0

#: What a run that stops usually waits for.
REQUESTS = "requests in flight"

#: Seconds between two looks at the clock: a machine may sleep, or somebody may set its clock.
LOOK_SECONDS = 10.0


@dataclass(slots=True)
class Stop:
    """A run's request to stop. `reason` is `None` if a signal or a lost lock made it.

    `failed`: the reason is an error that ended the run, not a request. `waits_for` is what may end first.
    """

    event: asyncio.Event = field(default_factory=asyncio.Event)
    reason: BatchscoreError | None = None
    failed: bool = False
    waits_for: str = REQUESTS

    @property
    def requested(self) -> bool:
        """Whether anything has requested a stop."""
        return self.event.is_set()

    def request(self, reason: BatchscoreError | None = None) -> bool:
        """Let the run end early; return whether this is the first request, since only that one counts."""
        if self.requested:
            return False
        self.reason = self.reason or reason
        self.event.set()
        return True

    @contextmanager
    def keep_error(self) -> Iterator[None]:
        """Keep an error of the block, which ends the run; the first one counts, and more than any request."""
        try:
            yield
        except BatchscoreError as error:
            if not self.failed:
                self.reason, self.failed = error, True


@dataclass(slots=True)
class StopConditions:
    """The stop conditions of one run, and how close the run is to them. O(1) an event.

    `started` and `stops_at`, when the run stops sending to meet its deadline, are seconds since the epoch.
    `too_short`: it has met a deadline that may be shorter than a reply takes.
    Every condition counts this run alone, so that a resumed run has a new budget.
    """

    settings: StopSettings
    started: float
    stops_at: float | None = None
    drain_seconds: float = DRAIN_SECONDS
    stop: Stop = field(default_factory=Stop)
    failed: int = 0
    ok: int = 0
    invalid: int = 0
    known: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    full_price: Live = (0, 0)
    too_short: bool = False
    has_budget: bool = field(init=False)

    def __post_init__(self) -> None:
        """Note whether requests can use up a budget."""
        settings = self.settings
        self.has_budget = settings.max_total_tokens is not None or settings.max_spend is not None

    @property
    def tokens(self) -> int:
        """The tokens that the service has billed, as its replies say."""
        return self.prompt_tokens + self.completion_tokens

    def before(self, listen: Listen) -> Listen:
        """Return a listener that counts every event before it passes it to `listen`."""

        def count_and_pass(event: Event) -> None:
            if type(event) is Attempt and not self.has_budget and not self.too_short:
                listen(event)  # as nearly all are: nothing is to be counted
                return
            reason = self.count(event)
            listen(event)
            if reason is not None:
                self.end(reason, listen)

        return count_and_pass

    def count(self, event: Event) -> BatchscoreError | None:
        """Count one event; return the reason to stop if a limit is reached."""
        if isinstance(event, Attempt):
            self.prompt_tokens += event.prompt_tokens
            self.completion_tokens += event.completion_tokens
            if event.full_price:
                prompts, answers = self.full_price
                self.full_price = prompts + event.prompt_tokens, answers + event.completion_tokens
            if self.too_short and event.cause == "interrupted" and not self.ok + self.failed:
                self.stop.reason = SettingsError(
                    f"no reply arrived within {setting_name('deadline')} {self.settings.deadline}, and the "
                    "same command would end like this again. Set a later one."
                )
            if not self.has_budget:
                return None
            # A probe has no rows.
            answered = event.rows > 0 and not event.cause
            return self.no_usage() if answered and not self.tokens else self.budget_used_up()
        if isinstance(event, RowsSettled):
            self.failed += sum(
                count for code, count in event.errors.items() if code is not ErrorCode.EMPTY_INPUT
            )
            self.ok += event.ok
            self.invalid += event.errors.get(ErrorCode.INVALID_ANSWER, 0)
            return self.too_many_errors() or self.nothing_matches()
        if isinstance(event, FileOpened):
            self.known += event.known
        return None

    def too_many_errors(self) -> TooManyErrors | None:
        """Return the reason to stop if too many rows have failed."""
        most = self.settings.max_errors
        if most is None or self.failed < most:
            return None
        rows = f"{count_text(self.failed, 'row')} of this run {'has' if self.failed == 1 else 'have'}"
        return TooManyErrors(
            f"{rows} failed, and {setting_name('max_errors')} is {most:,}. The error records say why; "
            f"{setting_name('retry_errors', True)} scores these rows again."
        )

    def nothing_matches(self) -> TooManyErrors | None:
        """Return the reason to stop if none of the first answers of an output matches the schema.

        A run that resumes does not stop for this: the user knows the errors and wants the other rows.
        """
        if self.known or self.ok or self.invalid < SAME_REFUSALS:
            return None
        return TooManyErrors(
            f"none of the first {self.invalid:,} answers matches {setting_name('schema')}, with all retries. "
            "The error records say why. If the schema or the prompt is wrong, correct it and score "
            "to a new output. To score the other rows as they are, run the same command again."
        )

    def budget_used_up(self) -> BoundReached | None:
        """Return the reason to stop if the budget of tokens or cost is used up."""
        most_tokens, most_spent = self.settings.max_total_tokens, self.settings.max_spend
        if most_tokens is not None and self.tokens >= most_tokens:
            return BoundReached(
                f"this run has used {self.tokens:,} tokens, and {setting_name('max_total_tokens')} is "
                f"{most_tokens:,}."
            )
        if most_spent is None:
            return None
        spent = self.settings.cost(self.prompt_tokens, self.completion_tokens, self.full_price)
        if spent is None or spent < most_spent:
            return None
        return BoundReached(
            f"this run has cost {money_text(spent)}, and {setting_name('max_spend')} is {most_spent:g}."
        )

    def no_usage(self) -> SettingsError | None:
        """Return the reason to stop if there is a budget that cannot be enforced."""
        budgets = {"max_total_tokens": self.settings.max_total_tokens, "max_spend": self.settings.max_spend}
        names = [setting_name(name) for name, most in budgets.items() if most is not None]
        if not names:
            return None
        return SettingsError(
            f"the service does not report billed tokens (its reply has no usage), so {' and '.join(names)} "
            f"cannot be enforced. Leave that out, or set {setting_name('limit')} instead."
        )

    def end(self, reason: BatchscoreError, listen: Listen) -> None:
        """Stop the run for this reason, unless it stops already."""
        if self.stop.request(reason):
            listen(Notice(f"Stopping: {reason.text} Waiting for {self.stop.waits_for}."))

    @asynccontextmanager
    async def watch_deadline(
        self, listen: Listen, now: Callable[[], float] = time.time
    ) -> AsyncIterator[None]:
        """Stop the run in time for its deadline while the block runs."""
        watch = asyncio.create_task(self.wait_for_deadline(listen, now))
        try:
            yield
        finally:
            await end_task.end(watch)

    async def wait_for_deadline(self, listen: Listen, now: Callable[[], float]) -> None:
        """Wait until the run must stop, then stop it."""
        if self.stops_at is None:
            return
        while (left := self.stops_at - now()) > 0:  # noqa: ASYNC110 - no event reports the wall clock
            await asyncio.sleep(min(left, LOOK_SECONDS))
        text = str(self.settings.deadline)
        # A date does not come again, as a duration does.
        form = parse_deadline(text)
        later = " To resume, set a later one." if isinstance(form, datetime) else ""
        reason = BoundReached(f"the run must end by {setting_name('deadline')} {text}.{later}")
        self.end(reason, listen)
        short = isinstance(form, timedelta) and self.drain_seconds < DRAIN_SECONDS
        self.too_short = short and self.stop.reason is reason


def stop_conditions(settings: StopSettings, started: float) -> StopConditions:
    """Return the stop conditions of a run that began at `started`, seconds since the epoch.

    If the deadline is so near that waiting for responses would take most of the time, half of it is left for
    sending. Raises `UsageError` if the deadline has passed.
    """
    if settings.deadline is None:
        return StopConditions(settings, started)
    ends = moment_of(settings.deadline, datetime.fromtimestamp(started, timezone.utc)).timestamp()
    ending_seconds = min(DRAIN_SECONDS + WRITING_SECONDS, (ends - started) / 2)
    return StopConditions(
        settings,
        started,
        stops_at=ends - ending_seconds,
        drain_seconds=ending_seconds * DRAIN_SECONDS / (DRAIN_SECONDS + WRITING_SECONDS),
    )
