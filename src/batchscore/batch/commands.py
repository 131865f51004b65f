"""How do the batches of an output look at their service, and how does a user cancel, adopt or forget one?

It sends no rows and reads no results: the same score command does. Each function that acts says what it did.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from batchscore.batch.custom_id import own_row, probe_id
from batchscore.batch.looks import MANY
from batchscore.batch.results import lines_of, read_line
from batchscore.batch.submit import CLOCK_SECONDS, own_batches
from batchscore.endpoint.target import Endpoint
from batchscore.errors import SettingsError, UsageError, count_text
from batchscore.output.submitted import Chunk, Chunks, Step, batches_command
from batchscore.provider import batches, files
from batchscore.provider.batch_object import BatchState
from batchscore.provider.client import (
    CallFailed,
    CallPace,
    ControlPlane,
    NotThere,
    Refused,
    failing_as_error,
    open_control_plane,
)
from batchscore.task import Task

#: Seconds for which a call is repeated: a person waits.
PATIENCE_SECONDS = 5.0

#: Steps in which a batch of a chunk may exist that no reply named.
UNNAMED = frozenset({Step.UPLOADED, Step.CREATING})

#: Why a batch may not be there, and what to do.
NOT_THERE = (
    "is not there (404): another key or service may have submitted it, or it was removed. Use the endpoint "
    "and the key of that project"
)


@dataclass(frozen=True, slots=True)
class Found:
    """A chunk of an output. `now` is its batch as the service says, `problem` why it does not.

    `others` are batches of the same rows: a creation was not confirmed, and was sent again.
    """

    task: str
    chunks: Chunks
    chunk: Chunk
    now: BatchState | None = None
    problem: str = ""
    others: Sequence[BatchState] = ()

    @property
    def name(self) -> str:
        """Its batch and its rows, as people call it."""
        chunk = self.chunk
        what = f"Batch {chunk.batch}" if chunk.batch else f"Chunk {chunk.key}"
        return f"{what} ({count_text(chunk.rows, 'row')})"


def calls_to(
    endpoint: Endpoint, task: Task, environ: Mapping[str, str]
) -> AbstractAsyncContextManager[ControlPlane]:
    """Return the control plane of a service for a few calls; one that fails is the error of the command."""
    pace = CallPace(patience_seconds=PATIENCE_SECONDS)
    return failing_as_error(open_control_plane(endpoint.target, task, environ, pace))


def select(found: Sequence[Found], words: Collection[str]) -> list[Found]:
    """Return the chunks with these keys or batches, all for no words; raises `UsageError` for others."""
    if not words:
        return list(found)
    known = {each.chunk.key: each for each in found} | {
        each.chunk.batch: each for each in found if each.chunk.batch
    }
    for word in words:
        if word not in known:
            there = ", ".join([each.chunk.key for each in found][:5]) or "none"
            raise UsageError(f"{word!a} is neither a KEY nor a batch ID of this output. Its keys: {there}.")
    chosen = [known[word] for word in words]
    return [each for each in found if each in chosen]


async def look_at_all(plane: ControlPlane, found: Sequence[Found]) -> list[Found]:
    """Return the chunks with the present state of their batches; raises `CallFailed` if none is known."""
    ids = [each.chunk.batch for each in found if each.chunk.batch and not each.chunk.simulated]
    listed: dict[str, BatchState] = {}
    unsure = [each for each in found if each.chunk.unconfirmed and not each.chunk.simulated]
    if unsure or len(ids) > MANY:
        made = [each.chunk.created_at for each in found if each.chunk.batch]
        since = min(made + [each.chunk.creating_at for each in unsure]) - CLOCK_SECONDS
        listed = {each.id: each async for each in batches.newest(plane, since)}

    async def look(each: Found) -> Found:
        if each in unsure:
            ours = own_batches(each.chunk, listed.values())
            if ours and each.chunk.is_open and not each.chunk.batch:
                return replace(each, others=ours[1:])  # the next run takes the first
            each = replace(each, others=[one for one in ours if one.id != each.chunk.batch])
        if each.chunk.batch not in ids:
            return each
        try:
            state = listed.get(each.chunk.batch) or await batches.look(plane, each.chunk.batch)
        except NotThere:
            return replace(each, problem=NOT_THERE)
        return replace(each, now=state)

    return [*await asyncio.gather(*map(look, found))]


async def cancel(plane: ControlPlane, found: Found) -> str:
    """Cancel what runs of a chunk at the service; raises `CallFailed`."""
    chunk = found.chunk
    if chunk.simulated:
        return f"{found.name} is of a rehearsal with the simulator, so nothing runs."
    has_ended = chunk.step in {Step.SETTLED, Step.CLOSED}
    if has_ended and not chunk.unconfirmed:
        return f"{found.name} has ended, and its results were fetched, so nothing runs."
    if not chunk.may_cost and not chunk.unconfirmed:
        return f"{found.name}: no batch was made of it, so nothing runs."
    ids = [] if has_ended or not chunk.batch else [chunk.batch]
    if chunk.unconfirmed:
        since = chunk.creating_at - CLOCK_SECONDS
        ours = own_batches(chunk, [each async for each in batches.newest(plane, since)])
        ids += [each.id for each in ours if each.id != chunk.batch]
        if not ids:
            return f"{found.name}: the service lists no batch of it. The same score command looks again."
    said = []
    for batch in ids:
        try:
            state = await batches.cancel(plane, batch)
        except NotThere:
            said.append(f"Batch {batch} {NOT_THERE}.")
            continue
        # A line may be that of no row.
        answered = min(state.completed + state.failed, chunk.rows)
        counts = f"{answered:,} of {chunk.rows:,} rows answered"
        if not state.ended:
            said.append(f"Batch {batch} is being cancelled, {counts} so far.")
        elif state.status == "cancelled":
            said.append(f"Batch {batch} is cancelled, {counts}.")
        else:
            said.append(f"Batch {batch} had ended before ({state.status}), {counts}.")
    return "\n".join(said)


async def adopt(plane: ControlPlane, found: Sequence[Found], key: str | None, batch: str) -> str:
    """Take a batch as that of a chunk, if it is; raises `UsageError`, `SettingsError` and `CallFailed`."""
    for each in found:
        if each.chunk.batch == batch:
            return f"Batch {batch} is known already: it has the {each.chunk.rows:,} rows of {each.chunk.key}."
    waiting = [each for each in found if each.chunk.step in UNNAMED and not each.chunk.batch]
    if key is not None:
        chosen = [each for each in found if each.chunk.key == key]
        if not chosen:
            select(found, [key])
        if chosen and chosen[0] not in waiting:
            why = f"it has batch {chosen[0].chunk.batch}" if chosen[0].chunk.batch else "it was not uploaded"
            raise UsageError(f"{key} takes no batch: {why}.")
        waiting = chosen
    if not waiting:
        raise UsageError("Each chunk of this output has its batch, so no batch can be adopted.")
    try:
        state = await batches.look(plane, batch)
    except NotThere:
        raise SettingsError(f"Batch {batch} {NOT_THERE}.") from None
    with tempfile.TemporaryDirectory(prefix="batchscore-adopt-") as folder:
        ours = await find_own(plane, waiting, state, Path(folder))
    if ours is None:
        raise SettingsError(
            f"Batch {batch} is not of this output: neither its input file nor the ids of its lines are those "
            "of a chunk here."
        )
    ours.chunks.change(
        ours.chunk,
        step=Step.CREATED,
        batch=state.id,
        input_file=ours.chunk.input_file or state.input_file,
        created_at=state.created or time.time(),
        expires_at=state.expires or 0.0,
    )
    rows = count_text(ours.chunk.rows, "row")
    return f"Batch {batch} is that of {ours.chunk.key} ({rows}). The same score command fetches its results."


async def find_own(
    plane: ControlPlane, waiting: Iterable[Found], state: BatchState, folder: Path
) -> Found | None:
    """Return the chunk whose lines a batch has: by the file that was uploaded, else by all ids of lines."""
    for each in waiting:
        if state.input_file and state.input_file == each.chunk.input_file:
            return each
    # Gateways give files other ids. What was sent proves it best, what came back does too.
    for number, file in enumerate(filter(None, (state.input_file, *state.files))):
        path = folder / str(number)
        try:
            await files.download(plane, file, path)
        except Refused:  # services may not give input files back
            continue
        for each in waiting:
            if await asyncio.to_thread(
                has_only_ids_of, path, each.chunk, each.chunks.read_digests(each.chunk)
            ):
                return each
    return None


def has_only_ids_of(path: Path, chunk: Chunk, digests: bytes) -> bool:
    """Whether a file has lines, and each is of a row of this chunk or its probe."""
    proven = False
    for raw in lines_of(path):
        name = None if (line := read_line(raw)) is None else line.custom_id
        if name == probe_id(chunk.key):
            continue
        if own_row(name, chunk.key, digests) is None:
            return False
        proven = True
    return proven


async def forget(plane: ControlPlane | None, found: Found) -> str:
    """Forget a chunk, so that its rows are sent again; raises `UsageError` if its batch still runs.

    Without `plane` the service is not asked.
    """
    chunk, now = found.chunk, None
    if plane is not None and chunk.batch and not chunk.simulated:
        try:
            now = await batches.look(plane, chunk.batch)
        except CallFailed:
            now = None
    if now is not None and not now.ended and now.status != "cancelling":
        raise UsageError(
            f"{found.name} still runs ({now.status}), and its answers will be billed. Cancel it first: "
            f"{batches_command(found.chunks, 'cancel', chunk.key)}"
        )
    if chunk.step is Step.CLOSED or (chunk.step is Step.SETTLED and chunk.unconfirmed and not chunk.waiting):
        found.chunks.remove(chunk)
        return f"{found.name} is forgotten: no run looks for an unconfirmed batch of it any more."
    found.chunks.close(chunk)
    said = f"{found.name} is forgotten. The same score command sends its rows again."
    if chunk.waiting and not chunk.simulated:
        said += " What the service has answered of them is billed, and will be paid for a second time."
    if chunk.unconfirmed and not chunk.simulated:
        said += " Later runs look for its unconfirmed batch, and cancel it if it appears."
    if chunk.provider_files and not chunk.simulated:
        said += f" Its files stay at the service: {', '.join(chunk.provider_files)}."
    return said
