"""What does a run have before it? A quick look, for whoever shows how far it has come.

Small inputs are read whole, of others some stretches, for a fifth of a second of one core at most and not
before the run has lasted a while. All rows of all files count, whether or not earlier runs left their
records, since whoever divides by it counts those, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from batchscore.engine import end_task
from batchscore.plan.already_scored import Standing
from batchscore.plan.extent import FOR_A_RUN, weight
from batchscore.plan.make import counting_of, measuring_for, packed
from batchscore.plan.measure import Measuring
from batchscore.plan.survey import Survey
from batchscore.rows import Expected, Listen
from batchscore.settings.fields import Settings

#: Of no more bytes than these nobody waits for the look.
SMALL_BYTES = 256 * 2**10

#: What is over before that needs no forecast, and a look would cost it a tenth of its time.
LOOK_AFTER_SECONDS = 2.0


@asynccontextmanager
async def expecting(settings: Settings, surveyed: Survey, listen: Listen) -> AsyncIterator[None]:
    """Tell the listener what is to be expected, once that is known, while the block runs.

    The looking is done in a thread where it takes a while; `listen` is called on this loop.
    """
    if settings.shared_output:
        # What is before one of several workers, none of them can know.
        yield
        return
    measuring = measuring_for(
        settings, surveyed, Standing(settings.rows_per_part), counting_of(settings), FOR_A_RUN
    )
    measuring.clock = time.thread_time
    files = [ready.file for ready in surveyed.ready]
    # A store takes its time, however little is asked of it.
    if sum(map(weight, files)) <= SMALL_BYTES and all(isinstance(file.path, Path) for file in files):
        found = expected(settings, measuring)
        if found is not None:
            listen(found)
        yield
        return

    async def look() -> None:
        await asyncio.sleep(LOOK_AFTER_SECONDS)
        found = await asyncio.to_thread(expected, settings, measuring)
        if found is not None:
            listen(found)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        measuring.stop.set()
        await end_task.end(looking)


def expected(settings: Settings, measuring: Measuring) -> Expected | None:
    """Look and return what was found; `None` where the look failed: what is wrong is the run's to tell."""
    try:
        found = packed(settings, measuring)
    except Exception:
        return None
    return Expected(
        rows=found.rows,
        prompt_tokens=found.tokens,
        requests=found.all_requests,
        exact=found.exact,
        prompt_bytes=round(sum(each.prompt_bytes * each.scale for each in found.files)),
    )
