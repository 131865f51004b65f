"""How long does a run wait for what a service does in its own time? All in seconds."""

from __future__ import annotations

import random
from dataclasses import dataclass
from math import inf

#: A batch that is older is looked at less often.
HOUR = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Waits:
    """The waits of a run; tests make them shorter.

    `first_look`: until the first look at a batch; the next ones wait `slower` times as long each, up to
    `later_look`, and up to `last_look` once the batch is an hour old. Azure asks for a minute; what is wrong
    with a file shows within seconds. `look_again`: until a batch that may have been made is looked for again,
    for a list may lag. `file`: until a file is looked for again that the service does not find yet. `quota`
    and `longest_quota`: until a batch is made again that was refused for its tokens; the service frees tokens
    late. `turn`: between two looks at whether a chunk may be sent. No more than `calls_per_second` are sent.
    `patience`: until a batch that has not ended is cancelled; `cancelling`: until a run leaves one that is
    being cancelled, which takes minutes. `retry`: until a failed read is repeated for the first time.
    """

    first_look: float = 2.0
    later_look: float = 60.0
    last_look: float = 300.0
    slower: float = 1.5
    look_again: tuple[float, ...] = (30.0, 120.0)
    file: float = 2.0
    quota: float = 60.0
    longest_quota: float = 600.0
    turn: float = 0.2
    calls_per_second: float = 5.0
    patience: float = inf
    cancelling: float = HOUR
    retry: float = 1.0

    def next_look(self, seconds: float, age: float) -> float:
        """Return the wait after one of `seconds`, for a batch of this age."""
        return min(seconds * self.slower, self.last_look if age > HOUR else self.later_look)

    def after_refusals(self, refusals: int) -> float:
        """Return the wait after this many refusals in a row, with a random part."""
        longest: float = min(self.quota * 2 ** (min(refusals, 30) - 1), self.longest_quota)
        return longest * random.uniform(1.0, 1.2)  # noqa: S311 - not for secrets


#: The waits for real services.
PATIENT = Waits()
