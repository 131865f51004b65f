"""How many bytes of prompts may be in memory to be sent, or to be answered?

A prompt may be a word or 50 MB of images, and large ones may follow many small ones: the requests that were
answered say nothing of the next. So the bytes themselves are counted. It sends nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from batchscore.engine.valve import Valve

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

    def add(self, size: int) -> None:
        """Count prompts that are taken."""
        self.held += size
        if self.held >= self.most:
            self.room.is_open = False

    def remove(self, size: int) -> None:
        """Count prompts that are settled."""
        self.held -= size
        if not self.room.is_open and self.held < self.most:
            self.room.open()
