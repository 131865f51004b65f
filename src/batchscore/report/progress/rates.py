"""How much was done per minute recently?

Pure: `now` is an argument, in seconds of any steady clock. It gets running totals from time to time, so an
event costs nothing here. Memory is O(1), however long a run lasts.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

#: Seconds over which rates are measured.
WINDOW_SECONDS = 60.0

#: Least seconds between two stored totals, which limits the memory.
GRAIN_SECONDS = 1.0

#: Fewer seconds give no useful rate.
LEAST_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Totals:
    """A run's totals since its start: rows settled, requests sent, tokens charged."""

    rows: float = 0.0
    requests: float = 0.0
    tokens: float = 0.0


@dataclass(slots=True)
class RateWindow:
    """A window over running totals."""

    seconds: float = WINDOW_SECONDS
    stored: deque[tuple[float, Totals]] = field(default_factory=deque)
    latest: Totals = field(default_factory=Totals)

    def add(self, now: float, totals: Totals) -> None:
        """Add the totals of this moment. O(1) amortised; stores at most `seconds` / `GRAIN_SECONDS` + 2."""
        self.latest = totals
        if not self.stored or now - self.stored[-1][0] >= GRAIN_SECONDS:
            self.stored.append((now, totals))
        # The last totals before the window stay: rates are counted from them.
        while len(self.stored) > 1 and self.stored[1][0] <= now - self.seconds:
            self.stored.popleft()

    def per_minute(self, now: float) -> Totals | None:
        """Return the rates per minute in the window up to `now`; `None` if it is too short."""
        if not self.stored:
            return None
        since, then = self.stored[0]
        if now - since < LEAST_SECONDS:
            return None
        scale = 60 / (now - since)
        return Totals(
            (self.latest.rows - then.rows) * scale,
            (self.latest.requests - then.requests) * scale,
            (self.latest.tokens - then.tokens) * scale,
        )
