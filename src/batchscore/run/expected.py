"""How much does a run have to do? A quick look, so that its progress can show a share and an ETA.

It reads small inputs whole and some stretches of others. That takes a fifth of a second of one core at most,
and begins only when the run has lasted a while. It counts all rows of all files, including those that earlier
runs have scored, because the progress counts them, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from batchscore.engine import end_task
from batchscore.plan.already_scored import AlreadyScored
from batchscore.plan.extent import FOR_A_RUN, bytes_to_read
from batchscore.plan.measure import Measurement
from batchscore.plan.survey import Survey
from batchscore.report.run_end import RunEnd
from batchscore.rows import Expected, Listen, Notice
from batchscore.settings.fields import Settings
from batchscore.stores.address import Place

#: Inputs up to this size, in this number of files, are looked at before the run starts.
SMALL_BYTES = 256 * 2**10
FEW_FILES = 100

#: A run shorter than this needs no forecast; the look would take a tenth of its time.
LOOK_AFTER_SECONDS = 2.0

#: A table with this many rows takes a second or more to write, while no request is in flight.
LARGE_TABLE = 100_000


@asynccontextmanager
async def announce_expected(settings: Settings, survey: Survey, listen: Listen) -> AsyncIterator[None]:
    """Give the listener the expected work as soon as it is known, while the block runs.

    If the look takes a while, a thread does it; `listen` is called on this loop.
    """
    if settings.shared_output:
        # No worker can know how much the others will do.
        yield
        return
    scored = AlreadyScored(settings.rows_per_part)
    measurement = Measurement(settings, survey, scored, FOR_A_RUN, clock=time.thread_time)
    files = [ready.file for ready in survey.ready]
    # A store takes its time, however little is read.
    small = (
        len(files) <= FEW_FILES
        and sum(map(bytes_to_read, files)) <= SMALL_BYTES
        and all(one.local for one in files)
    )

    async def look() -> None:
        await asyncio.sleep(0 if small else LOOK_AFTER_SECONDS)
        found = await asyncio.to_thread(expected, measurement)
        if found is not None:
            listen(found)

    looking = asyncio.create_task(look())
    try:
        if small:
            await looking
        yield
    finally:
        measurement.stop.set()
        await end_task.end(looking)


def announce_table(file: Place, end: RunEnd, listen: Listen) -> None:
    """Say that a large table is being written; the number of all rows is known by now."""
    if not end.unfinished:
        listen(Expected(end.rows, 0, 0, exact=True))
    if end.rows >= LARGE_TABLE:
        listen(Notice(f"Writing the table {file}."))


def expected(measurement: Measurement) -> Expected | None:
    """Return the expected work; `None` if the look failed, since the run itself reports what is wrong."""
    try:
        totals = measurement.measure()
    except Exception:
        return None
    return Expected(
        rows=totals.rows,
        prompt_tokens=totals.tokens,
        requests=totals.all_requests,
        exact=totals.exact,
        prompt_bytes=round(sum(each.prompt_bytes * each.scale for each in totals.files)),
    )
