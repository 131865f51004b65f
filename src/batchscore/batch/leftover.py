"""How are the rows that no batch has answered sent live? A run opens the live engine for them, at its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from batchscore.batch.scratch import PromptFile
from batchscore.errors import count_text
from batchscore.rows import Attempt, Event, Listen, Notice, Prompt, Settled

if TYPE_CHECKING:
    from batchscore.engine.engine import Engine


#: Opens the live engine over prompts; the second argument hears its events.
OpenLive: TypeAlias = "Callable[[Iterator[Prompt], Listen], AbstractAsyncContextManager[Engine]]"


@dataclass(slots=True)
class Leftover:
    """The rows that no batch has answered, in a file of scratch. `engine` is there while they are sent."""

    prompts: PromptFile
    open_live: OpenLive
    listen: Listen
    engine: Engine | None = None

    def add(self, prompt: Prompt) -> None:
        """Keep a row for a live request."""
        self.prompts.put(self.prompts.prompts, prompt)

    async def settled(
        self, drain_seconds: float, note_service: Callable[[bool], None]
    ) -> AsyncIterator[list[Settled]]:
        """Send the rows, and give lists of them with their results."""
        count = self.prompts.prompts
        if not count:
            return
        rows = count_text(count, "row")
        self.listen(
            Notice(f"No batch has answered {rows}. They are sent as live requests, at the full price.")
        )
        found = (prompt for index in range(count) if (prompt := self.prompts.get(index)) is not None)
        async with self.open_live(found, self.hear) as engine:
            engine.keep_each_row(drain_seconds, note_service)
            self.engine = engine
            try:
                async with aclosing(engine.settled()) as lists:
                    async for each in lists:
                        yield each
            finally:
                self.engine = None

    def hear(self, event: Event) -> None:
        """Pass on an event of the live engine; its requests have the full price."""
        self.listen(replace(event, full_price=True) if isinstance(event, Attempt) else event)
