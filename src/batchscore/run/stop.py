"""Must a run end early, and why? The one place that keeps both.

Signals, stop conditions and a lost lock request the stop; the engine only reads the event.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from batchscore.errors import BatchscoreError


@dataclass(slots=True)
class Stop:
    """A run's request to stop. `reason` is `None` if a signal or a lost lock made it.

    `failed`: the reason is an error that ended the run, not a request.
    """

    event: asyncio.Event = field(default_factory=asyncio.Event)
    reason: BatchscoreError | None = None
    failed: bool = False

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

    def fail(self, error: BatchscoreError) -> None:
        """Record the error that ended the run; the first one counts, and more than any request."""
        if not self.failed:
            self.reason, self.failed = error, True
