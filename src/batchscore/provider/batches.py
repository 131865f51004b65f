"""How is a batch made at a service, looked at, found and cancelled?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import openai

from batchscore.provider.batch_object import BatchState, batch_state
from batchscore.provider.client import CallFailed, ControlPlane, NotThere, Unknown
from batchscore.provider.lists import newest_first


async def create(
    plane: ControlPlane, *, input_file: str, endpoint: str, window: str, metadata: Mapping[str, str] | None
) -> BatchState:
    """Make a batch. It is asked for one time only: if `Unknown` is raised, look for it with `newest`."""

    async def call(headers: Mapping[str, str]) -> BatchState:
        found = await plane.client.batches.create(
            input_file_id=input_file,
            endpoint=endpoint,  # type: ignore[arg-type]  # Azure's has no version
            completion_window=window,  # type: ignore[arg-type]  # others have windows of their own
            metadata=dict(metadata) if metadata is not None else openai.omit,
            extra_headers=headers,
        )
        return known(found, "the creation of a batch")

    return await plane.once("the creation of a batch", call)


async def look(plane: ControlPlane, batch: str) -> BatchState:
    """Return a batch as it is now. Raises `CallFailed`; `NotThere` also for another project's."""

    async def call(headers: Mapping[str, str]) -> BatchState:
        return known(await plane.client.batches.retrieve(batch, extra_headers=headers), "a look at a batch")

    return await plane.repeat("a look at a batch", call)


async def cancel(plane: ControlPlane, batch: str) -> BatchState:
    """Cancel a batch, and return it; one that has ended stays as it is. Raises `CallFailed`."""

    async def call(headers: Mapping[str, str]) -> BatchState:
        return batch_state(await plane.client.batches.cancel(batch, extra_headers=headers))

    try:
        await plane.once("the cancellation of a batch", call)
    except NotThere:
        raise
    except CallFailed:
        # It has ended, or a lost reply hides that it is being cancelled.
        state = await look(plane, batch)
        if state.ended or state.status == "cancelling":
            return state
        await plane.repeat("the cancellation of a batch", call)
    return await look(plane, batch)


async def newest(plane: ControlPlane, since: float) -> AsyncIterator[BatchState]:
    """Give the batches of a resource, as it lists them, but none made before `since`. Raises `CallFailed`.

    A list that is newest first, as that of OpenAI and Azure, is not read beyond them.
    """
    listed = newest_first(plane, "the list of batches", plane.client.batches.list, batch_state, since)
    async for each in listed:
        yield each


async def offers_batches(plane: ControlPlane) -> bool:
    """Whether the service has a Batch API: it lists its batches. Raises `CallFailed`."""
    batches = plane.client.batches
    try:
        await plane.repeat(
            "the list of batches", lambda headers: batches.list(limit=1, extra_headers=headers)
        )
    except CallFailed as failure:
        if failure.status in {404, 405, 501}:
            return False
        raise
    return True


def known(found: Any, what: str) -> BatchState:
    """Return the state of a batch; raises `Unknown` if the reply was something else."""
    state = batch_state(found)
    if not state.id:
        raise Unknown(what, why="the reply is not a batch")
    return state
