"""How does a task end in good order?"""

from __future__ import annotations

import asyncio
from typing import Any


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel a task and return when it is over, whatever came of it.

    Who is cancelled while waiting learns of it afterwards: nothing that the task uses may go before it.
    """
    cancelled: asyncio.CancelledError | None = None
    task.cancel()
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if not task.cancelled():
        task.exception()  # looked at, so that asyncio does not report it as lost
    if cancelled is not None:
        raise cancelled
