"""Is a deployment answering?

One object per deployment, informed of every reply. It decides what a failure means: a row's bad luck while
other rows are answered, an outage if none is. Only the event loop uses it; it waits for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from batchscore.errors import ErrorCode, ServiceRefused
from batchscore.request.outcome import Outcome

#: The same refusal of this many single rows before any success means a wrong parameter, not bad rows.
SAME_REFUSALS = 20

#: After this many failures in a row, the deployment gets probes instead of requests.
FAILURES_OF_AN_OUTAGE = 8

#: If nothing was ever answered, the user should know soon.
FAILURES_BEFORE_ANY_ANSWER = 3

#: If a probe was answered and requests fail, these rows may be the cause: they use up their retries.
FAILURES_AFTER_A_PROBE = 64

#: Seconds before the first probe, doubling until a request is answered.
FIRST_PROBE_SECONDS = 0.5

#: 429s are ordinary; they are an outage only after this many seconds without any success.
LIMITED_SECONDS = 60.0


class State(Enum):
    """What may be sent to a deployment."""

    UP = "up"
    DOWN = "down"  # only a probe now and then
    STOPPED = "stopped"  # nothing more in this run


@dataclass(slots=True)
class Health:
    """The state of one deployment, and the replies that led to it. Times are the monotonic clock's."""

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

    def note_success(self, now: float) -> None:
        """Note that a request was answered."""
        self.last_success = now
        self.reached = True
        if self.failing_since is not None:
            self.end_failures()
            self.probe_answered = False
            self.probe_wait = FIRST_PROBE_SECONDS
        if self.refusals:
            self.refusals.clear()

    def end_failures(self) -> None:
        """End a series of failures."""
        self.failures = 0
        self.failing_since = None

    def note_failure(self, outcome: Outcome, now: float) -> bool:
        """Note that the service failed a request; return whether the deployment is down from now on."""
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
    def needs_action(self) -> bool:
        """Whether it was never reached, for a reason that waiting does not fix."""
        return not self.reached and self.last_outcome is not None and self.last_outcome.needs_action

    def answered_since(self, moment: float) -> bool:
        """Whether any request was answered after a moment."""
        return self.last_success is not None and self.last_success >= moment

    def note_refusal(self, outcome: Outcome) -> None:
        """Note that a single row was refused; raise `ServiceRefused` if all are, for the same reason."""
        if outcome.code is not ErrorCode.INVALID_REQUEST or self.last_success is not None:
            return
        count = self.refusals[outcome.detail] = self.refusals.get(outcome.detail, 0) + 1
        if count >= SAME_REFUSALS:
            raise ServiceRefused(
                f"the service refused the first {SAME_REFUSALS} rows for the same reason, so a parameter is "
                f"probably wrong: {outcome.reason}"
            )
