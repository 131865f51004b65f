"""Is a deployment answering?

One object a deployment, told of every reply. It decides what a failure means: a row's bad luck while
others are answered, an outage when nobody is. Touched from the event loop only; it waits for nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum

from batchscore.errors import ErrorCode, ServiceRefused
from batchscore.request.outcome import Outcome

#: The same refusal of so many single rows before any success is a wrong parameter, not bad rows.
SAME_REFUSALS = 20

#: So many failures with no success between them, and the deployment is probed instead of asked.
FAILURES_OF_AN_OUTAGE = 8

#: Where nothing was ever answered, a person is told soon.
FAILURES_BEFORE_ANY_ANSWER = 3

#: Where a probe was answered and requests fail, it may be these rows: they use up their attempts.
FAILURES_AFTER_A_PROBE = 64

#: Seconds before the first probe, doubling until a request is answered.
FIRST_PROBE_SECONDS = 0.5

#: 429s are ordinary; only after so long without any success are they an outage.
LIMITED_SECONDS = 60.0


class State(Enum):
    """What may be sent to a deployment."""

    UP = "up"
    DOWN = "down"  # nothing but a probe now and then
    STOPPED = "stopped"  # nothing more in this run


@dataclass(slots=True)
class Health:
    """What is known of a deployment."""

    state: State = State.UP
    last_success: float | None = None
    failing_since: float | None = None
    failures: int = 0
    reached: bool = False
    last_outcome: Outcome | None = None
    probe_wait: float = FIRST_PROBE_SECONDS
    probe_at: float = 0.0
    probe_answered: bool = False
    refusals: dict[str, int] = field(default_factory=dict)

    def succeeded(self, now: float) -> None:
        """Note that a request was answered."""
        self.last_success = now
        self.reached = True
        if self.failing_since is not None:
            self.answered()
            self.probe_answered = False
            self.probe_wait = FIRST_PROBE_SECONDS
        if self.refusals:
            self.refusals.clear()

    def answered(self) -> None:
        """End a series of failures."""
        self.failures = 0
        self.failing_since = None

    def failed(self, outcome: Outcome) -> bool:
        """Note that the service failed a request; True where it has to be taken for down now."""
        now = time.monotonic()
        self.failures += 1
        self.last_outcome = outcome
        self.reached = self.reached or outcome.status is not None
        if self.failing_since is None:
            self.failing_since = now
        enough = FAILURES_BEFORE_ANY_ANSWER if self.last_success is None else FAILURES_OF_AN_OUTAGE
        if self.probe_answered:
            enough = FAILURES_AFTER_A_PROBE
        if self.state is not State.UP or self.failures < enough:
            return False
        limited = outcome.code is ErrorCode.RATE_LIMITED
        return not limited or now - self.failing_since > LIMITED_SECONDS

    @property
    def needs_person(self) -> bool:
        """Whether it was never reached, for a reason that waiting does not mend."""
        return not self.reached and self.last_outcome is not None and self.last_outcome.needs_person

    def answered_since(self, moment: float) -> bool:
        """Whether any request was answered after a moment of `time.monotonic`."""
        return self.last_success is not None and self.last_success >= moment

    def refused(self, outcome: Outcome) -> None:
        """Note that a single row was refused; raises `ServiceRefused` when every row is, for one reason."""
        if outcome.code is not ErrorCode.INVALID_REQUEST or self.last_success is not None:
            return
        count = self.refusals[outcome.detail] = self.refusals.get(outcome.detail, 0) + 1
        if count >= SAME_REFUSALS:
            raise ServiceRefused(
                f"the service refused the first {SAME_REFUSALS} rows for the same reason, so it is "
                f"probably a parameter: {outcome.reason}"
            )
