"""What do all chunks of a run share, and how is it written down and said what happens to one?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchscore.batch.budget import Purse, TokenBudget
from batchscore.batch.build import ChunkWork
from batchscore.batch.looks import Looks
from batchscore.batch.waits import Waits
from batchscore.output.submitted import Chunks
from batchscore.provider.batch_object import BatchState
from batchscore.provider.client import ControlPlane
from batchscore.provider.traits import Traits
from batchscore.rows import Attempt, Listen, Notice


class Left(Exception):  # noqa: N818 - not an error
    """A chunk stays as it is: the run stops, or it does not wait."""


@dataclass(frozen=True, slots=True)
class RunClock:
    """The time of a run, and how long it waits. `sleep` raises `Left` if the run stops."""

    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    waits: Waits


@dataclass(slots=True)
class Desk:
    """What all chunks of a run share.

    `service` is a digest of its address, `endpoint` is that of requests, `folder` for what is downloaded.
    `proven`: the service has answered such a request; `has_answer` says whether a file of results shows that.
    With `no_wait`, nothing is waited for. `unsettled` are the keys of chunks whose turn has come and whose
    rows are not settled.
    """

    plane: ControlPlane
    looks: Looks
    chunks: Chunks
    traits: Traits
    service: str
    endpoint: str
    folder: Path
    budget: TokenBudget
    purse: Purse
    proven: asyncio.Event
    has_answer: Callable[[Path], bool]
    clock: RunClock
    listen: Listen
    no_wait: bool = False
    unsettled: set[str] = field(default_factory=set)

    def change(self, work: ChunkWork, **changes: Any) -> None:
        """Write down what has happened to a chunk, or is about to."""
        work.chunk = self.chunks.change(work.chunk, **changes)

    def take(self, work: ChunkWork, batch: BatchState, **changes: Any) -> None:
        """Write down that a batch is that of a chunk."""
        created, expires = batch.created or self.clock.now(), batch.expires or 0.0
        self.change(work, batch=batch.id, created_at=created, expires_at=expires, **changes)

    def say(self, text: str, *, billed_twice: bool = False) -> None:
        """Tell people something; the run's record keeps that rows may be `billed_twice`."""
        self.listen(Notice(text, billed_twice=billed_twice))

    def charge(self, prompt_tokens: int, answer_tokens: int) -> None:
        """Count tokens that are billed for no row's record."""
        self.purse.pay(prompt_tokens, answer_tokens)
        self.listen(Attempt(0, None, 0.0, prompt_tokens=prompt_tokens, completion_tokens=answer_tokens))
