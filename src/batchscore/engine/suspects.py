"""Whose fault is it if one row after the other is refused: the rows', or a parameter's?

The errors of refused rows are held back until a row is answered, or until a probe shows that our own word is
refused in the same way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from batchscore.engine.bounds import SAME_REFUSALS
from batchscore.errors import BatchscoreError, ErrorCode, ServiceRefused
from batchscore.request.deployment import Deployment
from batchscore.request.outcome_rules import Action, Outcome
from batchscore.request.retry_budget import RetryBudget
from batchscore.rows import Prompt, RowError

#: Codes of refusals whose cause may be that the request held too many rows, or a parameter.
NOT_SURELY_THE_ROW = frozenset({ErrorCode.INVALID_REQUEST, ErrorCode.INPUT_TOO_LONG})

#: Maximum number of refused rows whose errors are held back, and of their bytes.
MOST_SUSPECTS = 256
MOST_SUSPECT_BYTES = 40 * 10**6


@dataclass(frozen=True, slots=True)
class Suspect:
    """A refused row, and why."""

    prompt: Prompt
    outcome: Outcome
    budget: RetryBudget
    deployment: Deployment

    @property
    def error(self) -> RowError:
        """The row's error, if the row is the cause."""
        return self.outcome.error(self.budget.attempts)

    @property
    def is_surely_bad(self) -> bool:
        """Whether the refusal can only be about this row."""
        outcome = self.outcome
        return outcome.action is Action.RETRY or outcome.by_chance or outcome.code not in NOT_SURELY_THE_ROW


@dataclass(slots=True)
class Suspects:
    """The refused rows since the last answer.

    `probe` sends a word of our own with the run's parameters. `adapt` uses another form of a parameter, if
    there is one. `give` settles a row with its error, `send_again` sends one.
    """

    probe: Callable[[Deployment], Awaitable[Outcome]]
    adapt: Callable[[str], bool]
    give: Callable[[Suspect], None]
    send_again: Callable[[Prompt], Awaitable[bool]]
    held: list[Suspect] = field(default_factory=list)
    judge_at: int = SAME_REFUSALS
    judging: bool = False

    async def add(self, refused: Suspect) -> None:
        """Give a row its error, or hold the error back until it is clear that the row is the cause.

        Raises `ServiceRefused` if no request can succeed.
        """
        if refused.is_surely_bad:
            self.give(refused)
            return
        self.held.append(refused)
        alike = sum([refused.outcome.is_like(each.outcome) for each in self.held])
        size = sum([len(each.prompt.body) for each in self.held])
        many = alike >= self.judge_at or len(self.held) >= MOST_SUSPECTS or size >= MOST_SUSPECT_BYTES
        if many and not self.judging:
            await self.judge()

    def end_series(self) -> None:
        """Note that a row was answered: the held errors are those of the rows."""
        self.judge_at = SAME_REFUSALS
        if self.held and not self.judging:
            self.settle()

    def settle(self) -> None:
        """Settle the rows whose errors were held back."""
        held, self.held = self.held, []
        for each in held:
            self.give(each)

    async def judge(self) -> None:
        """Settle the rows whose errors were held back, or send them again."""
        if await self.are_the_cause():
            self.settle()
        held, self.held = self.held, []
        for each in held:
            await self.send_again(each.prompt)

    @property
    def are_unproven(self) -> bool:
        """Whether no row was answered: the errors of these may be those of all rows."""
        return bool(self.held) and self.held[-1].deployment.health.last_success is None

    async def judge_last(self, stopped: asyncio.Task[bool]) -> BatchscoreError | None:
        """Judge at the end of a run in which no row was answered; return the error that ends it, if any.

        A run that is `stopped` does not wait for it.
        """
        if not self.are_unproven:
            return None
        judging = asyncio.create_task(self.judge())
        try:
            await asyncio.wait({judging, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            judging.cancel()
        (failure,) = await asyncio.gather(judging, return_exceptions=True)
        if failure is None or isinstance(failure, asyncio.CancelledError):
            return None
        if isinstance(failure, BatchscoreError):
            return failure
        raise failure

    def settle_last(self, *, stopped: bool) -> None:
        """Settle the rows whose errors are held back, unless the run was `stopped` before the judgement."""
        if not (stopped and self.are_unproven):
            self.settle()

    async def are_the_cause(self) -> bool:
        """Return whether the rows are the cause; if not, they can be sent again, since `adapt` helped."""
        self.judging = True
        self.judge_at *= 2
        last, count = self.held[-1], len(self.held)
        began = last.deployment.clock.monotonic()
        try:
            probe = await self.probe(last.deployment)
            if not probe.is_like(last.outcome):
                return True
            # This parameter is ours, not the user's.
            if self.adapt("encoding_format") and (await self.probe(last.deployment)).action is Action.KEEP:
                return False
        finally:
            self.judging = False
        if last.deployment.health.answered_one_sent_since(began):
            return True
        first = "the first " if last.deployment.health.last_success is None else ""
        rows = f"{first}{count} rows for the same reason" if count > 1 else "the first row and a test request"
        text = f"the service refused {rows}, so a parameter is probably wrong: {last.outcome.reason}"
        raise ServiceRefused(last.deployment.explain(text), service_reply=probe.words)
