"""What time is it for the files and batches of a project?

It must not know them: it is the machine's clock, until a test turns or stops it.
"""

from __future__ import annotations

import time


class ProjectClock:
    """Seconds since 1970. A test can turn it forward and stop it."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._stopped_at: float | None = None

    def now(self) -> float:
        """Return the time."""
        return (time.time() if self._stopped_at is None else self._stopped_at) + self._ahead

    def advance(self, seconds: float) -> None:
        """Turn it forward."""
        if seconds < 0:
            raise ValueError(f"advance must not be negative, not {seconds}")
        self._ahead += seconds

    def run(self, *, running: bool) -> None:
        """Let it run, or stop it. It continues where it stopped."""
        now = self.now()
        self._stopped_at = None if running else time.time()
        self._ahead = now - (time.time() if self._stopped_at is None else self._stopped_at)
