"""How much is done a minute, of late?

Pure: `now` is an argument, in seconds of any steady clock. It is told running totals now and then, so that an
event costs nothing here; memory is O(1) however long a run lasts.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

#: What is shown as a minute's rate is what was done in the last so many seconds.
WINDOW_SECONDS = 60.0

#: Totals nearer to each other than this share a place, which bounds the memory.
GRAIN_SECONDS = 1.0

#: Less than this says nothing.
LEAST_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Totals:
    """What a run has done since it began: rows settled, requests sent, tokens charged."""

    rows: float = 0.0
    requests: float = 0.0
    tokens: float = 0.0


@dataclass(slots=True)
class Rates:
    """A window over running totals, from when the first were told."""

    seconds: float = WINDOW_SECONDS
    kept: deque[tuple[float, Totals]] = field(default_factory=deque)
    latest: Totals = field(default_factory=Totals)

    def take(self, now: float, totals: Totals) -> None:
        """Note the totals of this moment. O(1) amortised.

        At most `seconds` / `GRAIN_SECONDS` + 2 of them are kept.
        """
        self.latest = totals
        if not self.kept or now - self.kept[-1][0] >= GRAIN_SECONDS:
            self.kept.append((now, totals))
        # The last one beyond the window's edge stays: from it on is counted.
        while len(self.kept) > 1 and self.kept[1][0] <= now - self.seconds:
            self.kept.popleft()

    def per_minute(self, now: float) -> Totals | None:
        """Return what was done a minute in the window up to `now`; `None` where it is too short to say."""
        if not self.kept:
            return None
        since, then = self.kept[0]
        if now - since < LEAST_SECONDS:
            return None
        scale = 60 / (now - since)
        return Totals(
            (self.latest.rows - then.rows) * scale,
            (self.latest.requests - then.requests) * scale,
            (self.latest.tokens - then.tokens) * scale,
        )
