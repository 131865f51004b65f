"""Does the service answer a short text, sent with a run's own parameters before paid scores are discarded?

It knows no output. What it sends is billed, and belongs to no row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace

from batchscore.errors import ErrorCode
from batchscore.rows import Attempt, Event, Listen, Prompt, RowError
from batchscore.run.event_loop import stop_on_signals
from batchscore.run.job import RunningEngine
from batchscore.run.stop import Stop, StopConditions


async def refusal_of_test(
    open_engine: Callable[..., AbstractAsyncContextManager[RunningEngine]],
    conditions: StopConditions,
    hear: Listen,
) -> str | None:
    """Return why a short text was refused; `None` if it was answered.

    Raises the `BatchscoreError` that ends a run, and `asyncio.CancelledError` after a signal.
    """
    stop = Stop()  # the run's own stop event will belong to another loop
    conditions = replace(conditions, stop=stop)
    source = iter([Prompt("", 0, conditions.settings.task.probe)])

    def without_rows(event: Event) -> None:
        # The request is billed, but it held no row, and no record keeps the answer.
        hear(replace(event, rows=0, prompts=()) if isinstance(event, Attempt) else event)

    with stop_on_signals(stop, hear):
        async with (
            conditions.watch_deadline(hear),
            open_engine(source, listen=without_rows, stop=stop.event, dimensions=None) as engine,
            aclosing(engine.settled()) as settled,
        ):
            async for rows in settled:
                result = rows[0].result
                if isinstance(result, RowError) and result.code is not ErrorCode.INVALID_ANSWER:
                    return result.message
                return None
    raise stop.reason or asyncio.CancelledError
