"""What do many tasks wait for at once, such as room, or the reader of their results?"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass(slots=True)
class Valve:
    """What tasks pass while it `is_open`, and wait for else.

    It is an `asyncio.Event` for what every request passes: to ask is to read a field, and to wait takes a
    future and no coroutine.
    """

    is_open: bool = False
    waiting: list[asyncio.Future[None]] = field(default_factory=list)

    def open(self) -> None:
        """Let all pass."""
        self.is_open = True
        if self.waiting:
            waiting, self.waiting = self.waiting, []
            for future in waiting:
                if not future.done():  # its task was cancelled
                    future.set_result(None)

    def opened(self) -> asyncio.Future[None]:
        """Return what to await while it is closed: the next opening."""
        future = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        return future
