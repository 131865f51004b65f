"""Whose fault is it if one row after the other is refused: the rows', or a parameter's?

The errors of refused rows are held back until a row is answered, or until a probe shows that our own word is
refused in the same way. It sends nothing but the probe.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from batchscore.errors import ErrorCode, ServiceRefused
from batchscore.request.deployment import Deployment
from batchscore.request.outcome import Action, Outcome
from batchscore.request.retry_budget import RetryBudget
from batchscore.rows import Prompt, RowError

#: Codes of refusals whose cause may be that the request held too many rows, or a parameter.
NOT_SURELY_THE_ROW = frozenset({ErrorCode.INVALID_REQUEST, ErrorCode.INPUT_TOO_LONG})

#: The same refusal of this many rows, with no answer in between, may be a fault of every request.
SAME_REFUSALS = 20

#: Maximum number of refused rows whose errors are held back.
MOST_SUSPECTS = 256


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
    """The refused rows since the last answer. `probe` sends a word of our own with the run's parameters."""

    probe: Callable[[Deployment], Awaitable[Outcome]]
    held: list[Suspect] = field(default_factory=list)
    judge_at: int = SAME_REFUSALS
    judging: bool = False

    def add(self, refused: Suspect) -> bool:
        """Hold a row's error back; return whether it is time to judge."""
        self.held.append(refused)
        alike = sum([refused.outcome.is_like(each.outcome) for each in self.held])
        return not self.judging and (alike >= self.judge_at or len(self.held) >= MOST_SUSPECTS)

    def end_series(self) -> bool:
        """Note that a row was answered; return whether the held errors are those of the rows."""
        self.judge_at = SAME_REFUSALS
        return bool(self.held) and not self.judging

    def release(self) -> list[Suspect]:
        """Return the rows whose errors were held back, and hold them no longer."""
        held, self.held = self.held, []
        return held

    async def are_the_cause(self, adapt: Callable[[str], bool]) -> bool:
        """Return whether the rows are the cause; if not, they can be sent again, since `adapt` helped.

        Raises `ServiceRefused` if no request can succeed.
        """
        self.judging = True
        self.judge_at *= 2
        last, count = self.held[-1], len(self.held)
        began = last.deployment.clock.monotonic()
        try:
            probe = await self.probe(last.deployment)
            if not probe.is_like(last.outcome):
                return True
            # This parameter is ours, not the user's.
            if adapt("encoding_format") and (await self.probe(last.deployment)).action is Action.KEEP:
                return False
        finally:
            self.judging = False
        if last.deployment.health.answered_one_sent_since(began):
            return True
        rows = "row" if count == 1 else f"{count} rows"
        never = last.deployment.health.last_success is None
        text = f"the service refused the first {rows}" if never else f"the service refused {rows} in a row"
        text += f" for the same reason, so a parameter is probably wrong: {last.outcome.reason}"
        raise ServiceRefused(last.deployment.explain(text, probe.words))
