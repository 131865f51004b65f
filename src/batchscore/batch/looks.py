"""How are many batches looked at with few calls? One list of batches answers for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from batchscore.batch.submit import CLOCK_SECONDS
from batchscore.provider import batches
from batchscore.provider.batch_object import BatchState
from batchscore.provider.client import ControlPlane, Refused

#: From this many batches on, they are listed; fewer are looked at one by one.
MANY = 10

#: A list that is younger than this part of the wait before a look serves for it.
FRESH = 0.5


@dataclass(slots=True)
class Looks:
    """The looks at the batches of a run; `watched` has when each was made, `found` what the list said."""

    plane: ControlPlane
    now: Callable[[], float]
    watched: dict[str, float] = field(default_factory=dict)
    found: dict[str, BatchState] = field(default_factory=dict)
    listed_at: float = 0.0
    lists: bool = True
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def look(self, batch: str, created: float, waited: float) -> BatchState:
        """Return a batch as it is, or was less than half of the time before that was `waited`.

        Raises `CallFailed`. An end is always looked at by itself: a list may hold less of a batch.
        """
        self.watched[batch] = created
        if len(self.watched) >= MANY:
            async with self.turn:
                if self.lists and self.now() - self.listed_at > waited * FRESH:
                    await self.read_list()
            state = self.found.get(batch)
            if state is not None and not state.ended:
                return state
        state = await batches.look(self.plane, batch)
        if state.ended:
            del self.watched[batch]
        return state

    async def read_list(self) -> None:
        """Read the list of batches until all that are watched are found."""
        self.found = {}
        since = min(self.watched.values()) - CLOCK_SECONDS
        try:
            async for each in batches.newest(self.plane, since):
                self.found[each.id] = each
                # More of them may be watched by now.
                if all(batch in self.found for batch in self.watched):
                    break
        except Refused:
            self.lists = False
        self.listed_at = self.now()
