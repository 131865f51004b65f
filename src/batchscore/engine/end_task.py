"""How is an asyncio task cancelled and waited for?"""

from __future__ import annotations

import asyncio
from typing import Any


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel a task and return when it has ended, with or without an error.

    If the caller is cancelled meanwhile, that is raised after the task has ended: the resources of the task
    must outlive it.
    """
    cancelled: asyncio.CancelledError | None = None
    task.cancel()
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if not task.cancelled():
        task.exception()  # retrieved, so that asyncio does not report it as lost
    if cancelled is not None:
        raise cancelled
