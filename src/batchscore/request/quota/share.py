"""How much of a quota may this worker use if workers on other machines, which it cannot see, use it too?

It sees how much of the quota is left, as the service reports it for all workers. The change of that figure
shows how much quota nobody uses, or how far all workers together exceed it. Each worker takes a part of the
free quota, in equal steps that grow while quota stays free. It gives way in proportion to its part, so that
the parts become equal. Pure: it knows figures and an argument `now`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

#: Seconds between two looks at the remaining quota.
EVERY_SECONDS = 0.35

#: The remaining quota should reach this part of its observed maximum, within this many seconds.
TARGET_LEFT = 0.6
HORIZON_SECONDS = 2.0

#: The part of the difference that each look corrects, and how many rises in a row make the steps larger.
GAIN = 0.2
MOST_RISES = 6

#: If nearly all quota is left, its change means nothing; then at least this part of the quota counts as free.
FULL = 0.9
FREE_WHEN_FULL = 0.6

CUT = 0.95
LEAST = 0.02


@dataclass(slots=True)
class QuotaShare:
    """One worker's part of a quota: it begins with `share` and changes between almost none and all."""

    share: float
    part: float = field(init=False)
    most_left: float = 0.0
    left: float | None = None
    looked_at: float = 0.0
    rises: int = 0

    def __post_init__(self) -> None:
        """Begin with the share."""
        self.part = self.share

    def observe(self, left: float, rate: float, now: float) -> bool:
        """Note that `left` tokens remain of a quota of `rate` per second; return whether the part changed."""
        # A quota holds at least one second's worth; a late worker would aim at the little that it sees.
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
        self.adjust(free + (filled - TARGET_LEFT) * self.most_left / rate / HORIZON_SECONDS)
        return True

    def adjust(self, change: float) -> None:
        """Take more or less of the quota; `change` is what all workers together should add."""
        change = max(-1.0, min(change, 1.0))
        if change > 0:
            self.rises = min(self.rises + 1, MOST_RISES)
            self.part = min(1.0, self.part + self.share * change * GAIN * self.rises)
        else:
            self.rises = 0
            self.part = max(LEAST * self.share, self.part * (1 + change * GAIN))

    def cut(self) -> None:
        """Take less after a 429."""
        self.rises = 0
        self.part = max(LEAST * self.share, self.part * CUT)
