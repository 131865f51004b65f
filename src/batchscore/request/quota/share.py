"""How much of a quota may this worker take where other machines, which it cannot see, use it as well?

It sees what the service says is left of the quota for all of them. How that changes tells how much of the
quota nobody uses, or how far all together are above it. Every worker takes a part of what is free, in equal
steps that grow while more stays free, and gives way in proportion to what it has, so that parts become
equal. Pure: it knows figures and an argument `now`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

#: Between two looks at what is left.
EVERY_SECONDS = 0.35

#: What is left should come to this part of the most that was ever seen left, within so many seconds.
TARGET_LEFT = 0.6
HORIZON_SECONDS = 2.0

#: How much of the way is gone at each look, and how many steps in a row may grow.
GAIN = 0.2
MOST_RISES = 6

#: When nearly everything is left, the change says nothing; at least so much of the quota is taken for free.
FULL = 0.9
FREE_WHEN_FULL = 0.6

CUT = 0.95
LEAST = 0.02


@dataclass(slots=True)
class Sharing:
    """One worker's part of a quota: begins with `share`, moves within it and all of it."""

    share: float
    part: float = field(init=False)
    most_left: float = 0.0
    left: float | None = None
    looked_at: float = 0.0
    rises: int = 0

    def __post_init__(self) -> None:
        """Begin with the share."""
        self.part = self.share

    def told(self, left: float, rate: float, now: float) -> bool:
        """Take in that `left` tokens are left of a quota of `rate` a second; whether the part moved."""
        # A quota holds a second's worth at least; who comes late would take what little is left for all.
        self.most_left = max(self.most_left, left, rate)
        before, passed = self.left, now - self.looked_at
        if before is None or passed > 10 * EVERY_SECONDS:
            self.left, self.looked_at = left, now
            return False
        if passed < EVERY_SECONDS:
            return False
        self.left, self.looked_at = left, now
        free = (left - before) / (rate * passed)
        filled = left / self.most_left
        if filled > FULL and free > -0.1:
            free = max(free, FREE_WHEN_FULL)
        self.move(free + (filled - TARGET_LEFT) * self.most_left / rate / HORIZON_SECONDS)
        return True

    def move(self, wanted: float) -> None:
        """Take more of the quota, or less, towards what is wanted of all workers together."""
        wanted = max(-1.0, min(wanted, 1.0))
        if wanted > 0:
            self.rises = min(self.rises + 1, MOST_RISES)
            self.part = min(1.0, self.part + self.share * wanted * GAIN * self.rises)
        else:
            self.rises = 0
            self.part = max(LEAST * self.share, self.part * (1 + wanted * GAIN))

    def refused(self) -> None:
        """Give way after a 429."""
        self.rises = 0
        self.part = max(LEAST * self.share, self.part * CUT)
