"""How many bytes of prompts may be in memory to be sent, or to be answered?

A prompt may be a word or 50 MB of images, and large ones may follow many small ones: the requests that were
answered say nothing of the next. So the bytes themselves are counted, with those of the cells that the rows
keep for their records. It sends nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from batchscore.engine.valve import Valve
from batchscore.prompts.kept_cells import memory_of_cells
from batchscore.rows import Prompt

#: No further prompts are taken while those in flight have this many bytes. They are in memory twice, as
#: prompts and as a body, and the next request is read and encoded: together about 160 MB.
MOST_BYTES_IN_FLIGHT = 60 * 10**6
#: Texts that share requests are small and many, and each prompt is an object; this is 3 million tokens, more
#: than any quota gives a second.
MOST_PACKED_BYTES = 12 * 10**6


@dataclass(slots=True)
class BytesInFlight:
    """The bytes of the prompts in flight; `room` is open while more may be taken.

    One request of any size may always go, since there is room while nothing is in flight.
    """

    most: int = MOST_BYTES_IN_FLIGHT
    held: int = 0
    room: Valve = field(default_factory=lambda: Valve(is_open=True))

    def add(self, prompts: Sequence[Prompt], size: int) -> None:
        """Count prompts of this size that are taken."""
        self.held += size if not prompts[0].kept else with_kept_cells(prompts, size)
        if self.held >= self.most:
            self.room.is_open = False

    def remove(self, prompts: Sequence[Prompt], size: int) -> None:
        """Count prompts that are settled, and were counted as these."""
        self.held -= size if not prompts[0].kept else with_kept_cells(prompts, size)
        if not self.room.is_open and self.held < self.most:
            self.room.open()


def with_kept_cells(prompts: Sequence[Prompt], size: int) -> int:
    """Return the bytes of prompts of this size and of their kept cells, which all rows have, or none."""
    return size + sum([memory_of_cells(each.kept) for each in prompts])
