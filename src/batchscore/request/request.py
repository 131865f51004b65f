"""What is sent once, and what came of it?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from batchscore.request.deployment import Deployment
from batchscore.request.outcome_rules import Outcome
from batchscore.request.retry_budget import RetryBudget
from batchscore.rows import Prompt

T = TypeVar("T")


@dataclass(slots=True)
class Request:
    """One request: `body` gives the bytes for a deployment, `tokens` is the charge it is admitted for.

    `body` must not refer to the request: such a cycle keeps both in memory until the garbage is collected.
    `extra_tokens` of these are for the answers, charged whether used or not. `prompts`, of `size` bytes, are
    for the listener. `complaint` says what was wrong with the last answer, as JSON that `body` adds.
    """

    body: Callable[[Deployment, bytes], bytes]
    rows: int
    tokens: float
    extra_tokens: float
    budget: RetryBudget
    prompts: Sequence[Prompt] = ()
    size: int = 0
    complaint: bytes = b""


@dataclass(slots=True)
class Result(Generic[T]):
    """The result of one attempt: `answers`, or why not; `instead` is for rows that never get any."""

    outcome: Outcome
    answers: T | None = None
    instead: T | None = None
