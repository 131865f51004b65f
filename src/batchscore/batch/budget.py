"""How many tokens may be in batches that have not ended, and what may they cost?

Services limit the tokens for each model, publish no limit, and refuse the batch that exceeds it. So the
budget is a setting, and it is learned downwards from refusals. A refusal is neither a row's fault nor an
outage. A batch cannot be stopped in the middle of a row, so its cost is reserved before it is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from batchscore.settings.prices import Live


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


@dataclass(slots=True)
class Purse:
    """What this run may cost; `most` is `None` without a limit.

    `cost` gives that of prompt and answer tokens. `answer_tokens` is the most per row. `reserved` are the
    tokens of chunks that are at the service.
    """

    most: float | None
    cost: Callable[[int, int, Live], float | None]
    answer_tokens: float
    prompts: int = 0
    answers: int = 0
    reserved: dict[str, tuple[int, int]] = field(default_factory=dict)

    def allows(self, tokens: int, rows: int) -> bool:
        """Whether a chunk may be sent, on top of what was spent and what is reserved."""
        if self.most is None:
            return True
        prompts = self.prompts + tokens + sum(each[0] for each in self.reserved.values())
        answers = self.answers + self.answers_of(rows) + sum(each[1] for each in self.reserved.values())
        cost = self.cost(prompts, answers, (0, 0))
        return cost is None or cost <= self.most

    def reserve(self, key: str, tokens: int, rows: int) -> None:
        """Reserve the cost of a chunk."""
        self.reserved[key] = tokens, self.answers_of(rows)

    def pay(self, prompt_tokens: int, answer_tokens: int) -> None:
        """Count the tokens of a line of results."""
        self.prompts += prompt_tokens
        self.answers += answer_tokens

    def answers_of(self, rows: int) -> int:
        """Return the most tokens of this many answers."""
        return round(rows * self.answer_tokens)
