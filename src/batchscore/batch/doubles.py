"""Which batch counts if two were made of one file, since the reply to the first creation was lost?

A service's list may show a batch late. So after a creation without a clear end, the list is read at each look
at the batch that was taken, until that has ended and a late one would be listed. If it shows none by then,
the creation stays unconfirmed: later runs look again, for a day.
"""

from __future__ import annotations

import asyncio

from batchscore.batch.build import ChunkWork
from batchscore.batch.desk import Desk, Left
from batchscore.batch.submit import CLOCK_SECONDS, own_batches
from batchscore.engine import end_task
from batchscore.errors import BoundReached, Outage, count_text
from batchscore.output.submitted import Chunk, Step, batches_command, known_by
from batchscore.provider import batches
from batchscore.provider.batch_object import CANCELLED, FAILED, BatchState
from batchscore.provider.client import CallFailed, Refused, Unknown

#: States in which a batch is not waited for if there is another one.
GIVEN_UP = frozenset({CANCELLED, FAILED, "cancelling"})


async def listed(desk: Desk, chunk: Chunk) -> list[BatchState]:
    """Return the batches since a chunk's creation was sent."""
    since = chunk.creating_at - CLOCK_SECONDS
    try:
        return [each async for each in batches.newest(desk.plane, since)]
    except CallFailed as failure:
        if isinstance(failure, Unknown):
            raise
        raise Outage(
            f"it is not known whether a batch was made of file {chunk.input_file}, and the service does "
            "not list its batches now. The same command looks again. If the service's own pages show the "
            f"batch, run: {batches_command(desk.chunks, 'adopt', chunk.key, 'BATCH_ID')}\n"
            f"If they show none, run: {batches_command(desk.chunks, 'forget', chunk.key)}"
        ) from None


async def only_one(desk: Desk, work: ChunkWork, batch: BatchState) -> tuple[BatchState, bool]:
    """Return the batch of a chunk that counts, and whether all others have ended; those are cancelled.

    `batch` counts if it has ended, else the oldest one.
    """
    ours = own_batches(work.chunk, await listed(desk, work.chunk))
    kept = batch
    if not batch.ended:
        kept = next((each for each in ours if each.status not in GIVEN_UP), batch)
    if kept.id != batch.id:
        desk.looks.watched.pop(batch.id, None)
        desk.take(work, kept)
    over = [await give_up(desk, work, each) for each in ours if each.id != kept.id]
    listed_by_now = work.chunk.creating_at + 2 * sum(desk.clock.waits.look_again)
    return kept, all(over) and (not work.chunk.unconfirmed or desk.clock.now() >= listed_by_now)


async def give_up(desk: Desk, work: ChunkWork, batch: BatchState) -> bool:
    """Cancel a batch whose rows another one has; once it has ended, count and say what it costs."""
    batch = await cancelled(desk, batch)
    if batch.ended:
        charge(desk, work.chunk, batch)
        desk.change(work, refused=(*work.chunk.refused, batch.id))
    return batch.ended


async def look_until(stop: asyncio.Event, desk: Desk) -> None:
    """Look once more for batches that were listed late, until the run stops.

    All rows may have their records by then, so the stop is an error: what others have cost is not known.
    """
    looking = asyncio.create_task(look_once_more(desk))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({looking, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end_task.end(stopped)
        await end_task.end(looking)
    if looking.cancelled() or isinstance(looking.exception(), Left):
        raise BoundReached(
            "the run was stopped while it looked for a batch that may have been made twice. The same command "
            "looks again."
        )
    looking.result()


async def look_once_more(desk: Desk) -> None:
    """Look for batches that are listed only after the rows of their chunks are settled, and cancel them.

    Raises `Outage` if they are not listed now.
    """
    for chunk in await asyncio.to_thread(desk.chunks.read_all):
        if not chunk.unconfirmed or chunk.step not in {Step.SETTLED, Step.CLOSED}:
            continue
        try:
            found = await listed(desk, chunk)
            for each in own_batches(chunk, found):
                if each.id != chunk.batch:
                    charge(desk, chunk, await cancelled(desk, each))
                    # The chunk may stay, for rows that later runs read: it is counted once.
                    refused = (*chunk.refused, each.id)
                    chunk = desk.chunks.change(chunk, refused=refused)  # noqa: PLW2901
        except Refused:
            continue
        except Unknown as failure:
            text = (
                f"{failure}, so it is not known whether a batch was made twice. The same command looks again."
            )
            raise Outage(text) from None
        # The list is that of the right project if it has the batch that is known.
        is_ours = chunk.service in {"", desk.service} and chunk.batch in {"", *(each.id for each in found)}
        if chunk.unconfirmed and is_ours and desk.clock.now() >= known_by(chunk):
            chunk = desk.chunks.change(chunk, sent=chunk.known)  # noqa: PLW2901
        if chunk.step is Step.CLOSED and not chunk.unconfirmed:
            desk.chunks.remove(chunk)


def say_unconfirmed(desk: Desk, chunk: Chunk) -> None:
    """Say that a batch is created although an earlier creation may have made one."""
    if chunk.unconfirmed:
        desk.say(
            f"No usable reply came to the creation of a batch of {count_text(chunk.rows, 'row')}, and the "
            "service does not list it. It is created again. If the first one appears later, one of them is "
            "cancelled, and a notice says what it has cost.",
            billed_twice=True,
        )


async def cancelled(desk: Desk, batch: BatchState) -> BatchState:
    """Cancel a batch that runs, and return it as it is then."""
    if batch.ended or batch.status == "cancelling":
        return batch
    return await batches.cancel(desk.plane, batch.id)


def charge(desk: Desk, chunk: Chunk, batch: BatchState) -> None:
    """Count and say what a batch has cost whose rows another one has."""
    rows = min(batch.completed, chunk.rows)  # without the probe
    prompts, answers = batch.usage
    if not prompts:
        prompts, answers = round(chunk.tokens * rows / chunk.rows), desk.purse.answers_of(rows)
    desk.charge(prompts, answers)
    what = "had ended" if batch.ended and batch.status != CANCELLED else "was cancelled"
    desk.say(
        f"Two batches were made of one file. The second one, {batch.id}, {what} after "
        f"{count_text(rows, 'row')}, which may be billed twice.",
        billed_twice=True,
    )
