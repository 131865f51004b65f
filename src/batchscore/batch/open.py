"""How do settings and an endpoint become a running batch engine, and how is cleaned up after it?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import orjson

from batchscore.batch.budget import Purse, TokenBudget
from batchscore.batch.build import Builder
from batchscore.batch.custom_id import identity_of
from batchscore.batch.cut import limits_of, predicted_bytes
from batchscore.batch.desk import Desk, Left, RunClock
from batchscore.batch.engine import BatchEngine
from batchscore.batch.leftover import Leftover
from batchscore.batch.looks import Looks
from batchscore.batch.results import has_answer
from batchscore.batch.scratch import Scratch
from batchscore.batch.waits import Waits
from batchscore.endpoint.target import Endpoint
from batchscore.errors import BatchscoreError, Outage, ServiceRefused, SettingsError, setting_name
from batchscore.output.submitted import Chunks, Step
from batchscore.prompts.batches import BodyFormat
from batchscore.prompts.replies import reader_for
from batchscore.prompts.token_estimate import Estimator
from batchscore.provider import batches, files
from batchscore.provider.client import CallFailed, CallPace, ControlPlane, Unknown, open_control_plane
from batchscore.provider.traits import Traits, traits_of
from batchscore.rows import Listen, Notice, Prompt, Settled
from batchscore.settings.deadline import seconds_of
from batchscore.settings.slices import BatchSettings

if TYPE_CHECKING:
    from batchscore.engine.engine import Engine

#: Seconds that a call which makes a batch has to finish after the run is stopped.
DRAIN_SECONDS = 20.0

#: Seconds after which a file is not removed at the service: it expires there.
PATIENCE_SECONDS = 30.0

#: What is reserved for an answer without a limit: about what long ones have.
LONG_ANSWER_TOKENS = 1000


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a batch engine works with: a service, durable records, bulky files in `scratch`, and time."""

    endpoint: Endpoint
    environ: Mapping[str, str]
    chunks: Chunks
    scratch: Path
    waits: Waits


def check_batch(settings: BatchSettings, endpoints: Sequence[Endpoint]) -> Traits:
    """Return what the service takes; raises `SettingsError` before anything is sent."""
    if len(endpoints) != 1:
        raise SettingsError(
            f"{setting_name('via', 'batch')} has one deployment, and [[deployments]] names {len(endpoints)}. "
            "Name one; a batch has a quota of its own, far above that of live requests."
        )
    traits, task = traits_of(endpoints[0].target), settings.task
    if not traits.takes(task):
        offered = " and ".join(traits.tasks)
        raise SettingsError(
            f"The Batch API of {traits.name} takes {offered}, not {task.name}. Leave {setting_name('via')} "
            f"out to score {task.name} live."
        )
    if settings.finish_live and not traits.takes_live and not settings.live_deployment:
        raise SettingsError(
            f"{setting_name('finish_live')}: a deployment of {traits.name} for batches answers no live "
            f"requests. Name another one of the same model with {setting_name('live_deployment')}."
        )
    if settings.live_deployment and not endpoints[0].target.surface.startswith("azure"):
        raise SettingsError(
            f"{setting_name('live_deployment')} is for Azure; {traits.name} answers live requests for the "
            "model."
        )
    return traits


@asynccontextmanager
async def open_batch_engine(
    settings: BatchSettings,
    around: Surroundings,
    source: Iterator[Prompt | Settled],
    *,
    listen: Listen,
    stop: asyncio.Event,
    dimensions: int | None = None,
    live: Callable[..., AbstractAsyncContextManager[Engine]] | None = None,
) -> AsyncIterator[BatchEngine]:
    """Give an engine over `source` whose connections are open while the block runs.

    `live` opens the engine of live requests.
    """
    traits, task = check_batch(settings, [around.endpoint]), settings.task
    target = around.endpoint.target

    def notice(text: str) -> None:
        listen(Notice(text))

    async def sleep(seconds: float) -> None:
        """Wait, unless the run stops."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)
        if stop.is_set():
            raise Left

    reader = reader_for(settings, dimensions, notice)
    form = BodyFormat(
        task,
        target.body_model,
        settings.api_params,
        may_rename=settings.max_tokens is not None,
        schema=reader.schema,
        notice=notice,
    )
    looks_only = replace(reader, notice=lambda _: None)
    reader.on_ignored = form.leave_form
    # How a parameter is sent may change, what it says does not.
    what = {"params": settings.api_params, "schema": settings.schema, "mode": settings.schema_mode}
    identity = identity_of(
        task.name.encode(),
        urlsplit(target.url).netloc.encode(),
        target.body_model.encode(),
        orjson.dumps(what, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS),
    )
    service = identity_of(urlsplit(target.url).netloc.encode()).hex()
    limit = inf if settings.batch_tokens is None else float(settings.batch_tokens)
    given = settings.batch_patience
    patience = inf if given is None else seconds_of("batch_patience", given)
    answer_tokens = LONG_ANSWER_TOKENS if settings.answer_tokens is None else settings.answer_tokens
    async with AsyncExitStack() as stack:
        plane = await stack.enter_async_context(plane_of(settings, around, settings.max_outage, sleep))
        await require_batches(plane, traits)
        scratch = Scratch(around.scratch)
        stack.callback(scratch.close)
        proven = asyncio.Event()
        if settings.no_canary or around.chunks.is_proven(identity):
            proven.set()
        desk = Desk(
            plane=plane,
            looks=Looks(plane, time.time),
            chunks=around.chunks,
            traits=traits,
            service=service,
            endpoint=f"{traits.endpoint_path}/{task.path}",
            folder=scratch.folder,
            budget=TokenBudget(limit),
            purse=Purse(settings.max_spend, settings.cost, answer_tokens * settings.answers_per_row),
            proven=proven,
            has_answer=partial(has_answer, reader=looks_only),
            clock=RunClock(time.time, sleep, replace(around.waits, patience=patience)),
            listen=listen,
            no_wait=settings.no_wait,
        )
        builder = Builder(
            chunks=around.chunks,
            scratch=scratch,
            identity=identity,
            service=service,
            form=form,
            probe=task.probe,
            url=f"{traits.line_path}/{task.path}",
            limits=limits_of(traits, settings.batch_tokens),
            estimator=Estimator(),
            output_bytes=predicted_bytes(settings, task),
            needs_canary=not proven.is_set(),
            simulated=settings.simulate,
        )
        leftover = None
        if settings.finish_live and live is not None:
            opener = partial(live, stop=stop, dimensions=dimensions)
            leftover = Leftover(
                scratch.prompts("live"), lambda found, hear: opener(found, listen=hear), listen
            )
        yield BatchEngine(
            name=around.endpoint.name,
            source=source,
            desk=desk,
            builder=builder,
            reader=reader,
            rounds=settings.batch_rounds,
            stop=stop,
            drain_seconds=DRAIN_SECONDS,
            leftover=leftover,
        )


def plane_of(
    settings: BatchSettings,
    around: Surroundings,
    patience_seconds: float,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AbstractAsyncContextManager[ControlPlane]:
    """Return the control plane of the service, whose calls are repeated for this long."""
    pace = CallPace(
        patience_seconds=patience_seconds,
        calls_per_second=around.waits.calls_per_second,
        retry_seconds=around.waits.retry,
        sleep=sleep,
    )
    return open_control_plane(around.endpoint.target, settings.task, around.environ, pace)


async def require_answers(settings: BatchSettings, around: Surroundings) -> bool:
    """Return whether live requests prove that rows are answered, too: some deployments only take batches.

    Raises an error if the service has no Batch API, or does not accept the key.
    """
    traits = check_batch(settings, [around.endpoint])
    async with plane_of(settings, around, settings.max_outage) as plane:
        await require_batches(plane, traits)
    return traits.takes_live or settings.live_deployment is not None


async def require_batches(plane: ControlPlane, traits: Traits) -> None:
    """Raise an error if the service has no Batch API, or does not accept the key."""
    try:
        offered = await batches.offers_batches(plane)
    except Left:
        return
    except Unknown as failure:
        raise Outage(
            f"{failure}. Nothing was sent. If this persists, the service may have no Batch API: leave "
            f"{setting_name('via')} out to score live."
        ) from None
    except CallFailed as failure:
        raise ServiceRefused(f"{failure}: check the key or the sign-in, and the endpoint.") from None
    if not offered:
        raise SettingsError(
            f"The Batch API of {traits.name} does not list its batches, so {setting_name('via', 'batch')} "
            "could not tell whether rows were paid for. Leave it out to score live."
        )


async def remove_published(
    settings: BatchSettings, around: Surroundings, listen: Listen, *, read: Collection[str], stopped: bool
) -> None:
    """Forget the chunks whose rows are all published, and remove their files at the service.

    `read` are the names of the files that were read. `stopped`: that was not to their ends, so rows that were
    to be sent again may have no result, and others may have one that a later run can use.
    """
    settled = [
        chunk
        for chunk in around.chunks.read_all()
        if chunk.step is Step.SETTLED
        and not (stopped and chunk.left)
        and not (chunk.unread and (stopped or not chunk.files.keys() <= set(read)))
    ]
    if not settled:
        return
    if not settings.keep_batch_files:
        kept = 0
        async with plane_of(settings, around, PATIENCE_SECONDS) as opened:
            for chunk in settled:
                # A run that finds it does not look for the results: they may be gone.
                around.chunks.change(chunk, step=Step.CLOSED)
                for file in chunk.provider_files:
                    try:
                        await files.delete(opened, file)
                    except (CallFailed, BatchscoreError):
                        kept += 1
        if kept:
            listen(Notice(f"{kept:,} files of batches were not removed at the service; they expire there."))
    for chunk in settled:
        around.chunks.close(chunk)
