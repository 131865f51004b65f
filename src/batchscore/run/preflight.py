"""Does the service answer at all? Checked before paid scores are discarded for new ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace
from typing import TypeAlias

from batchscore.engine.engine import Engine
from batchscore.errors import BatchscoreError, ServiceRefused
from batchscore.rows import Attempt, Event, Listen, Prompt, RowError, Settled
from batchscore.run.event_loop import run_on_fast_loop, stop_on_signals
from batchscore.run.stop import Stop
from batchscore.run.stop_conditions import StopConditions

#: Opens the engine of a run over a source of prompts; `dimensions` is the vectors' length if known.
OpenEngine: TypeAlias = Callable[
    [Iterator[Prompt | Settled], Listen, Stop, int | None], AbstractAsyncContextManager[Engine]
]


def require_an_answer(open_engine: OpenEngine, listen: Listen, conditions: StopConditions) -> None:
    """Send one short text with the run's own parameters, and return when it is answered.

    Raises a `BatchscoreError` saying why it was not, and `KeyboardInterrupt` if a signal came first.
    """
    try:
        # The run's own stop event will belong to another loop.
        reason = run_on_fast_loop(refusal(open_engine, listen, replace(conditions, stop=Stop())))
    except BatchscoreError as error:
        raise type(error)(f"{error.text} Nothing was discarded.") from None
    if reason is not None:
        raise ServiceRefused(f"the service refused a short test text, so nothing was discarded: {reason}")


async def refusal(open_engine: OpenEngine, listen: Listen, conditions: StopConditions) -> str | None:
    """Return why the text was refused; `None` if it was answered."""
    source = iter([Prompt("", 0, conditions.settings.task.probe)])

    def without_rows(event: Event) -> None:
        # The request is billed, but it held no row, and no record keeps the answer.
        listen(replace(event, rows=0, prompts=()) if isinstance(event, Attempt) else event)

    stop = conditions.stop
    with stop_on_signals(stop, listen):
        async with (
            conditions.watch_deadline(listen),
            open_engine(source, without_rows, stop, None) as engine,
            aclosing(engine.settled()) as settled,
        ):
            async for rows in settled:
                result = rows[0].result
                return result.message if isinstance(result, RowError) else None
    raise stop.reason or asyncio.CancelledError
