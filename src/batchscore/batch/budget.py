"""How many tokens may be in batches that have not ended?

Services limit them for each model, tell nobody the limit, and refuse the batch that exceeds it. So the budget
is a setting, and it is learned downwards from refusals. A refusal is no row's fault and no outage.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf


@dataclass(slots=True)
class TokenBudget:
    """The tokens of this output's batches that have not ended, by chunk."""

    limit: float = inf
    enqueued: dict[str, float] = field(default_factory=dict)
    refusals: int = 0

    def has_room(self, key: str, tokens: float) -> bool:
        """Whether a chunk may be sent. One that is larger than the limit may be, if nothing else is."""
        others = sum(each for name, each in self.enqueued.items() if name != key)
        return not others or others + tokens <= self.limit

    def is_alone(self, key: str) -> bool:
        """Whether no other chunk is at the service."""
        return not self.enqueued.keys() - {key}

    def add(self, key: str, tokens: float) -> None:
        """Count a chunk that is being sent."""
        self.enqueued[key] = tokens

    def release(self, key: str, *, accepted: bool = True) -> None:
        """Stop counting a chunk that has ended."""
        self.enqueued.pop(key, None)
        if accepted:
            self.refusals = 0

    def refuse(self, key: str) -> None:
        """Note that the service refused a chunk for its tokens: the limit is at most what the others have."""
        self.release(key, accepted=False)
        others = sum(self.enqueued.values())
        if others:
            self.limit = min(self.limit, others)
        self.refusals += 1
