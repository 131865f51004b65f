"""How does a chunk get from its plan to the end of its batch? It acts as the tables of `submit.py` decide.

The record of the chunk says what is about to happen before each call that costs, and what came of it after.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from pathlib import Path

from batchscore.batch.build import ChunkWork
from batchscore.batch.desk import Desk, Left
from batchscore.batch.doubles import listed, only_one, say_unconfirmed
from batchscore.batch.submit import (
    MOST_LOOKS,
    MOST_REFUSALS,
    Decision,
    Move,
    after_end,
    after_failure,
    after_looking,
)
from batchscore.errors import (
    BatchscoreError,
    BoundReached,
    Outage,
    ServiceRefused,
    SettingsError,
    count_text,
    setting_name,
)
from batchscore.output.submitted import Step, batches_command
from batchscore.provider import batches, files
from batchscore.provider.batch_object import CANCELLED, FAILED, BatchState
from batchscore.provider.client import CallFailed, NotThere, Refused, Unknown


class TooLarge(Exception):  # noqa: N818 - not an error
    """A chunk has more tokens than the service allows at all."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A chunk whose batch has ended; `decision` says what its end means, `results` are its files."""

    work: ChunkWork
    decision: Decision
    results: tuple[Path, ...] = ()


async def bring_to_end(desk: Desk, work: ChunkWork) -> Ended | None:
    """Submit a chunk, wait for its batch, and fetch its results; `None` if it stays as it is.

    Raises the `BatchscoreError` that ends the run.
    """
    try:
        if work.chunk.step is Step.PLANNED:
            await wait_for_turn(desk, work)
            await upload(desk, work)
        while True:
            if work.chunk.step in {Step.UPLOADED, Step.CREATING}:
                await submit(desk, work)
            batch = await wait_for_end(desk, work)
            decision = after_end(batch, work.chunk.rows)
            if decision.move is not Move.WAIT_FOR_QUOTA:
                break
            refused = (*work.chunk.refused, batch.id)
            desk.change(work, step=Step.UPLOADED, batch="", refused=refused)
            await wait_for_quota(desk, work)
        desk.budget.release(work.chunk.key)
        if decision.move is Move.STOP:
            refuse_chunk(desk, work, decision.code)
        results = tuple(await fetch(desk, work))
        if work.chunk.probes and any(map(desk.has_answer, results)):
            desk.proven.set()  # the other batches are made while the input is still read
        return Ended(work, decision, results)
    except Left:
        return None
    except TooLarge:
        return Ended(work, Decision(Move.HALVE))
    except CallFailed as failure:
        raise run_error(failure) from None


def run_error(failure: CallFailed) -> BatchscoreError:
    """Return the error that ends the run for a call that failed."""
    if isinstance(failure, Unknown):
        return Outage(f"{failure}. Batches that were submitted keep running.")
    if failure.status in {401, 403}:
        return ServiceRefused(f"{failure}: check the key or the sign-in, and that it may use batches.")
    return ServiceRefused(f"{failure}.")


async def wait_for_turn(desk: Desk, work: ChunkWork) -> None:
    """Wait until the service is known to take such requests, and for room in the budgets.

    Raises `BoundReached` if the rest of the run's budget does not cover the chunk.
    """
    chunk, purse = work.chunk, desk.purse
    while not (chunk.probes or desk.proven.is_set()) or not desk.budget.has_room(chunk.key, chunk.tokens):
        if desk.no_wait and not desk.unsettled:
            raise Left
        await desk.clock.sleep(desk.clock.waits.turn)
    while not purse.allows(chunk.tokens, chunk.rows + chunk.probes):
        if not purse.reserved:
            rows = count_text(chunk.rows, "row")
            raise BoundReached(
                f"{setting_name('max_spend')} {purse.most:g} may not cover the next batch of {rows}. The "
                "cost of a batch is reserved before it is sent."
            )
        if desk.no_wait:
            raise Left
        await desk.clock.sleep(desk.clock.waits.turn)
    desk.unsettled.add(chunk.key)
    work.sending = True
    reserve(desk, work)


def reserve(desk: Desk, work: ChunkWork) -> None:
    """Count a chunk in the budgets."""
    chunk = work.chunk
    desk.budget.add(chunk.key, chunk.tokens)
    desk.purse.reserve(chunk.key, chunk.tokens, chunk.rows + chunk.probes)


async def upload(desk: Desk, work: ChunkWork) -> None:
    """Upload a chunk's file."""
    assert work.upload is not None
    expiry = desk.traits.expiry_seconds
    seconds = None if expiry is None else expiry[1]
    name = f"batchscore-{work.chunk.key}.jsonl"
    file = await files.upload(
        desk.plane, work.upload, name, purpose=desk.traits.purpose, expires_seconds=seconds
    )
    desk.change(work, step=Step.UPLOADED, input_file=file.id)
    usable = await files.wait_until_usable(desk.plane, file)
    if usable.status in files.BROKEN:
        refuse_chunk(desk, work, f"its file is {usable.status}")
    if usable.bytes not in {0, work.chunk.bytes}:
        refuse_chunk(desk, work, f"{usable.bytes:,} of {work.chunk.bytes:,} bytes arrived")
    work.upload.unlink()
    work.upload = None


def refuse_chunk(desk: Desk, work: ChunkWork, code: str) -> None:
    """Raise the error of a file that the service refuses as a whole: nothing of it was run."""
    rows = count_text(work.chunk.rows, "row")
    refused = f"the service refused a file of {rows} for its Batch API ({code})."
    if work.chunk.unconfirmed and not work.chunk.batch:
        raise ServiceRefused(
            f"{refused} An earlier reply was lost, so a batch of it may exist that the service does not list "
            "yet. Run the same command later to look again. If there is none, run: "
            f"{batches_command(desk.chunks, 'forget', work.chunk.key)}"
        )
    desk.chunks.close(work.chunk)
    raise ServiceRefused(f"{refused} Nothing of it ran.")


async def submit(desk: Desk, work: ChunkWork) -> None:
    """Make the batch of a chunk, exactly once."""
    # Unconfirmed is also what was sent by a run that was killed before the reply.
    decision = Decision(Move.LOOK_AGAIN if work.chunk.unconfirmed else Move.CREATE)
    desk.budget.add(work.chunk.key, work.chunk.tokens)
    looks, tries = list(desk.clock.waits.look_again), 0
    while decision.move is not Move.ADOPT:
        if decision.move is Move.CREATE:
            await desk.clock.sleep(0)  # not if the run stops
            decision = await create(desk, work, tries)
        elif decision.move is Move.LOOK_AGAIN:
            await desk.clock.sleep(decision.seconds)
            decision = after_looking(work.chunk, await listed(desk, work.chunk), looks)
            del looks[:1]
            if decision.move is Move.CREATE:
                say_unconfirmed(desk, work.chunk)
        elif decision.move is Move.WAIT_FOR_FILE:
            tries += 1
            await desk.clock.sleep(desk.clock.waits.file)
            decision = Decision(Move.CREATE)
        elif decision.move is Move.WAIT_FOR_QUOTA:
            await wait_for_quota(desk, work)
            decision = Decision(Move.CREATE)
        else:
            refuse_chunk(desk, work, decision.code)
    assert decision.batch is not None
    desk.take(work, decision.batch, step=Step.CREATED)
    work.sending = False


async def create(desk: Desk, work: ChunkWork, tries: int) -> Decision:
    """Send one creation, and return the next move."""
    # A batch whose reply was lost is looked for from the first attempt on.
    now, sent = desk.clock.now(), work.chunk.sent
    since = work.chunk.creating_at if work.chunk.unconfirmed else now
    desk.change(work, step=Step.CREATING, creating_at=since, sent_at=now, sent=sent + 1)
    metadata = {"chunk": work.chunk.key} if desk.traits.takes_metadata else None
    try:
        batch = await batches.create(
            desk.plane,
            input_file=work.chunk.input_file,
            endpoint=desk.endpoint,
            window=desk.traits.window,
            metadata=metadata,
        )
    except CallFailed as failure:
        decision = after_failure(failure, tries)
        if decision.move is Move.LOOK_AGAIN and failure.arrived:
            return decision
        desk.change(work, sent=sent)
        if work.chunk.unconfirmed and decision.move is not Move.LOOK_AGAIN:
            # What is refused may be the second batch: the one whose reply was lost was listed late.
            looked = after_looking(work.chunk, await listed(desk, work.chunk), ())
            decision = looked if looked.move is Move.ADOPT else decision
        if decision.move is not Move.ADOPT:
            desk.change(work, step=Step.UPLOADED)
        return decision
    return Decision(Move.ADOPT, batch)


async def wait_for_quota(desk: Desk, work: ChunkWork) -> None:
    """Wait until a chunk that was refused for its tokens may be sent again."""
    budget, chunk = desk.budget, work.chunk
    alone = budget.refusals >= MOST_REFUSALS and budget.enqueued.keys() <= {chunk.key}
    if alone and chunk.rows > 1 and not chunk.unconfirmed:
        budget.release(chunk.key)
        raise TooLarge
    budget.refuse(chunk.key)
    if budget.refusals == 1:
        desk.say(
            "The service's limit of tokens in batches is reached. The next batch is sent when others have "
            "ended; they may belong to others who use the account."
        )
    if desk.no_wait:
        raise Left
    await desk.clock.sleep(desk.clock.waits.after_refusals(budget.refusals))
    while not budget.has_room(chunk.key, chunk.tokens):
        await desk.clock.sleep(desk.clock.waits.turn)
    budget.add(chunk.key, chunk.tokens)


async def wait_for_end(desk: Desk, work: ChunkWork) -> BatchState:
    """Look at a batch until it has ended, and write down its files."""
    desk.budget.add(work.chunk.key, work.chunk.tokens)
    seconds, waited, cancelled = desk.clock.waits.first_look, desk.clock.waits.first_look, False
    last_wait = inf
    # By our own clock: services round their times.
    last_moment = (work.chunk.creating_at or work.chunk.created_at) + desk.clock.waits.patience
    while True:
        try:
            batch = await desk.looks.look(work.chunk.batch, work.chunk.created_at, waited)
        except NotThere:
            raise SettingsError(
                f"the batch {work.chunk.batch} of this output is not there (404). Use the key of the project "
                "that submitted it. If it was removed, its rows must be paid for again: to do so, run "
                f"{batches_command(desk.chunks, 'forget', work.chunk.key)}"
            ) from None
        is_only = True
        if work.chunk.unconfirmed:
            batch, is_only = await only_one(desk, work, batch)
        work.rows_done = min(batch.completed + batch.failed, work.chunk.rows)
        if not batch.ended and not cancelled and desk.clock.now() >= last_moment:
            cancelled = True
            batch = await cancel_slow(desk, batch)
        if batch.ended and is_only:
            break
        if batch.status == "cancelling" or batch.ended:
            last_wait = min(last_wait, desk.clock.now() + desk.clock.waits.cancelling)
        is_long = desk.clock.now() >= last_wait
        if is_long and batch.ended:
            break  # another one of its file is still being cancelled
        if is_long:
            desk.say(f"Batch {batch.id} is still being cancelled. The same command looks at it again.")
        if desk.no_wait or is_long:
            raise Left
        waited = seconds if cancelled else min(seconds, max(0.0, last_moment - desk.clock.now()))
        await desk.clock.sleep(waited)
        age = 0.0 if cancelled else desk.clock.now() - work.chunk.created_at
        seconds = desk.clock.waits.next_look(seconds, age)
    found = {"output_file": batch.output_file, "error_file": batch.error_file, "status": batch.status}
    if work.chunk.step is not Step.SETTLED:
        found["step"] = Step.ENDED
    desk.change(work, **found, ended_at=desk.clock.now())
    return batch


async def cancel_slow(desk: Desk, batch: BatchState) -> BatchState:
    """Cancel a batch that takes too long, and return it; one that cannot be cancelled keeps running."""
    if batch.status == "cancelling":
        return batch
    try:
        found = await batches.cancel(desk.plane, batch.id)
    except Refused:
        desk.say(f"Batch {batch.id} is older than {setting_name('batch_patience')}, but was not cancelled.")
        return batch
    if not found.ended or found.status == CANCELLED:
        desk.say(
            f"Batch {batch.id} has not ended within {setting_name('batch_patience')} and is cancelled. The "
            "answers that it has are kept."
        )
    return found


async def fetch(desk: Desk, work: ChunkWork) -> list[Path]:
    """Download the results of a chunk."""
    chunk, found = work.chunk, []
    for number, file in enumerate((chunk.output_file, chunk.error_file)):
        if not file:
            continue
        path = desk.folder / f"{chunk.key}-{number}.results"
        for is_last in (*[False] * MOST_LOOKS, True):
            try:
                await files.download(desk.plane, file, path)
            except NotThere:
                if chunk.status == FAILED:  # services name files of failed batches that were never written
                    break
                if is_last:
                    raise SettingsError(
                        f"the results {file} of batch {chunk.batch} are not there (404), so the rows of this "
                        "batch must be paid for again. To do so, run "
                        f"{batches_command(desk.chunks, 'forget', chunk.key)}"
                    ) from None
                await desk.clock.sleep(desk.clock.waits.file)
            else:
                found.append(path)
                break
    return found
