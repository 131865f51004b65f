"""How do settled rows reach their reader, and when must the engine wait for it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from batchscore.engine.valve import Valve
from batchscore.rows import Settled

#: The engine sends no new requests while this many results wait for their reader.
MOST_ROWS_WAITING = 2048


@dataclass(slots=True)
class ResultQueue:
    """Settled rows on their way to the reader.

    If `most` rows wait, the engine sends no new requests until the reader has taken them. So with `most=1`, a
    row that its reader has not seen belongs to one of the requests that may be in flight at once.
    """

    most: int = MOST_ROWS_WAITING
    rows: list[Settled] = field(default_factory=list)
    filled: Valve = field(default_factory=Valve)
    emptied: Valve = field(default_factory=Valve)
    closed: bool = False

    def put(self, rows: Sequence[Settled]) -> None:
        """Add results."""
        self.rows += rows
        if not self.filled.is_open:
            self.filled.open()
        if len(self.rows) >= self.most:
            self.emptied.is_open = False

    async def take(self) -> list[Settled]:
        """Wait for results and return all of them; an empty list after `close`."""
        if not self.rows and not self.closed:
            self.filled.is_open = False
            await self.filled.opened()
        rows, self.rows = self.rows, []
        self.emptied.open()
        return rows

    def close(self) -> None:
        """Note that no more results will come."""
        self.closed = True
        self.filled.open()
