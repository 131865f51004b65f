"""Is the service answering, and has it asked us to wait?

One object a deployment, told of every reply. It decides what a failure means: a row's bad luck while
others are answered, an outage when nobody is.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from batchscore.errors import ErrorCode, Outage, Refused
from batchscore.request.outcome import Outcome

#: The same refusal of so many single rows before any success is a wrong parameter, not bad rows.
SAME_REFUSALS = 20

#: A wait longer than this is an exhausted quota, not a pause (`retry-after: 86400` is seen).
LONGEST_WAIT_SECONDS = 600.0


@dataclass(slots=True)
class Health:
    """What is known of a deployment: mutable, and only ever touched from the event loop."""

    last_success: float | None = None
    paused_until: float = 0.0
    refusals: dict[str, int] = field(default_factory=dict)

    def succeeded(self) -> None:
        """Note that a request was answered."""
        self.last_success = time.monotonic()
        self.refusals.clear()

    def answered_since(self, started: float) -> bool:
        """Whether any request was answered after `started` (of `time.monotonic`)."""
        return self.last_success is not None and self.last_success >= started

    def pause(self, seconds: float) -> None:
        """Hold every request back for so long; raises `Outage` for a wait of hours."""
        if seconds > LONGEST_WAIT_SECONDS:
            raise Outage(
                f"the service asks to wait {seconds / 3600:.1f} hours (429), so its quota is used up for now."
            )
        self.paused_until = max(self.paused_until, time.monotonic() + seconds)

    @property
    def pause_seconds(self) -> float:
        """Return how long the deployment is still paused; 0 or less when it is not."""
        return self.paused_until - time.monotonic()

    def refused(self, outcome: Outcome) -> None:
        """Note that a single row was refused; raises `Refused` when every row is, for one reason."""
        if outcome.code is not ErrorCode.INVALID_REQUEST or self.last_success is not None:
            return
        count = self.refusals[outcome.detail] = self.refusals.get(outcome.detail, 0) + 1
        if count >= SAME_REFUSALS:
            raise Refused(
                f"the service refused the first {SAME_REFUSALS} rows for the same reason, so it is "
                f"probably a parameter: {outcome.reason}"
            )
