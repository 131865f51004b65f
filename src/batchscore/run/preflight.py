"""Does the service answer at all, before paid scores are given up for what it would answer?"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

from batchscore.endpoint.from_settings import Endpoint
from batchscore.engine.open import open_engine
from batchscore.errors import BatchscoreError, ServiceRefused
from batchscore.rows import Attempt, Event, Listen, Prompt, RowError
from batchscore.run.event_loop import on_the_fastest_loop, stopping
from batchscore.run.stop_conditions import Bounds
from batchscore.settings.fields import Settings
from batchscore.settings.slices import RequestSettings, cut
from batchscore.task import TASKS


def require_an_answer(
    settings: Settings,
    endpoints: Sequence[Endpoint],
    environ: Mapping[str, str],
    listen: Listen,
    bounds: Bounds,
) -> None:
    """Ask one short text with the run's own parameters, and return once it was answered.

    Raises a `BatchscoreError` saying why it was not, and `KeyboardInterrupt` where a signal came first.
    """
    try:
        reason = on_the_fastest_loop(refusal(settings, endpoints, environ, listen, bounds))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    except BatchscoreError as error:
        raise type(error)(f"{error.text} Nothing was discarded.") from None
    if reason is not None:
        raise ServiceRefused(f"the service refused a short text of ours, so nothing was discarded: {reason}")


async def refusal(
    settings: Settings,
    endpoints: Sequence[Endpoint],
    environ: Mapping[str, str],
    listen: Listen,
    bounds: Bounds,
) -> str | None:
    """Return why the text was refused, `None` where it was answered."""
    source = iter([Prompt("", 0, TASKS[settings.task].probe)])

    def heard(event: Event) -> None:
        # It was billed, but no row was asked, and no record keeps the answer.
        listen(replace(event, rows=0, prompts=()) if isinstance(event, Attempt) else event)

    # The run's own event will belong to another loop.
    stop = asyncio.Event()
    bounds = replace(bounds, stop=stop)
    with stopping(stop, listen):
        async with (
            bounds.watching(listen),
            open_engine(
                cut(RequestSettings, settings), endpoints, source, environ=environ, listen=heard, stop=stop
            ) as engine,
            aclosing(engine.settled()) as settled,
        ):
            async for rows in settled:
                result = rows[0].result
                return result.message if isinstance(result, RowError) else None
    raise bounds.reached or asyncio.CancelledError
