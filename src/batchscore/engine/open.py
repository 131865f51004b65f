"""From settings and endpoints to a running engine: what every door joins the same way.

Files and output are not its business: the source is any iterator of prompts, the results are whatever
the engine settles.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from batchscore.endpoint.credentials import credentials_for
from batchscore.endpoint.from_settings import Endpoint
from batchscore.endpoint.target import Target
from batchscore.engine.engine import Engine
from batchscore.prompts.batches import BodyFormat, Packer
from batchscore.prompts.duplicates import Duplicates
from batchscore.prompts.replies import Answers, BadReply, Reader, billed
from batchscore.prompts.token_estimate import Estimator
from batchscore.prompts.truncate import shorter
from batchscore.request.attempt import Requester
from batchscore.request.clock import REAL_CLOCK, Clock
from batchscore.request.concurrency import Concurrency, ThreadLoad
from batchscore.request.deployment import Deployment
from batchscore.request.deployment_pool import DeploymentPool
from batchscore.request.quota.limits import Limits
from batchscore.request.quota.shared_file import open_schedule
from batchscore.request.quota.windows import Quota
from batchscore.request.retry import AttemptLoop
from batchscore.request.timeouts import Timeouts
from batchscore.request.wire import Send, open_wire
from batchscore.rows import Listen, Notice, Prompt, Settled
from batchscore.settings.fields import Settings

#: How long what is in flight may take to come home once the run is stopped.
DRAIN_SECONDS = 20.0

#: What a probe asks: a word that costs next to nothing.
PROBES = {
    "embeddings": b'"ping"',
    "completions": b'"ping"',
    "chat": b'[{"role":"user","content":"ping"}]',
}


@asynccontextmanager
async def open_engine(
    settings: Settings,
    endpoints: Sequence[Endpoint],
    source: Iterator[Prompt | Settled],
    *,
    environ: Mapping[str, str],
    listen: Listen,
    stop: asyncio.Event,
    dimensions: int | None = None,
    clock: Clock = REAL_CLOCK,
) -> AsyncIterator[Engine]:
    """Give an engine over `source` whose connections are open while the block runs.

    `dimensions` is the vectors' length where it is known already. Raises `SettingsError` where an endpoint
    cannot be used as it is set.
    """
    async with AsyncExitStack() as stack:
        members = [
            await opened(settings, endpoint, stack, environ=environ, listen=listen, clock=clock)
            for endpoint in endpoints
        ]
        reader = Reader(
            settings.task,
            settings.answers_per_row,
            with_usage=settings.usage,
            with_raw=settings.raw,
            dimensions=dimensions,
        )
        forms = {
            member: BodyFormat(
                settings.task, member.model, settings.api_params, may_rename=settings.max_tokens is not None
            )
            for member in members
        }
        deployments = DeploymentPool(members, settings.max_outage, lambda text: listen(Notice(text)), clock)
        requester: Requester[Answers] = Requester(
            deployments=deployments,
            timeouts=Timeouts(clock, settings.timeout),
            read=reader.read,
            unusable=BadReply,
            tokens=lambda answers: (answers.prompt_tokens, answers.completion_tokens),
            probe_body=lambda member: forms[member].body([Prompt("", 0, PROBES[settings.task])]),
            stop=stop,
            listen=listen,
            clock=clock,
            billed=billed,
        )
        deployments.probe = requester.probe
        estimator = Estimator()
        yield Engine(
            packer=Packer(
                source,
                settings.batch_size if settings.task == "embeddings" else 1,
                estimator,
                Duplicates() if settings.dedup else None,
            ),
            forms=forms,
            attempt_loop=AttemptLoop(requester, stop),
            retries=settings.max_retries,
            stop=stop,
            drain_seconds=DRAIN_SECONDS,
            answer_tokens=settings.answer_tokens,
            answers_per_row=settings.answers_per_row,
            shorten=shorter if settings.on_long_input == "truncate" else None,
        )


async def opened(
    settings: Settings,
    endpoint: Endpoint,
    stack: AsyncExitStack,
    *,
    environ: Mapping[str, str],
    listen: Listen,
    clock: Clock,
) -> Deployment:
    """Open the connection to one deployment and the books of its quota."""
    connection = await stack.enter_async_context(connect(endpoint.target, environ=environ))
    schedule = stack.enter_context(open_schedule(endpoint.quota_name, clock.monotonic()))
    return Deployment(
        name=endpoint.name,
        model=connection.model,
        send=connection.send,
        renew_token=connection.renew_token,
        limits=Limits(endpoint.rpm, endpoint.tpm, settings.quota_share),
        quota=Quota(schedule),
        notice=lambda text: listen(Notice(text)),
        concurrency=Concurrency(
            settings.max_concurrency,
            ThreadLoad(clock).share,
            settings.batch_size if settings.task == "embeddings" else 1,
        ),
        clock=clock,
    )


@dataclass(frozen=True, slots=True)
class Connection:
    """`send` posts a body and gives the reply; `renew_token` gets a fresh token after a 401."""

    send: Send
    renew_token: Callable[[], Awaitable[bool]]
    model: str | None


@asynccontextmanager
async def connect(target: Target, *, environ: Mapping[str, str]) -> AsyncIterator[Connection]:
    """Open the connection to a target; raises `SettingsError` where it cannot be used as it is set."""
    credentials = credentials_for(target, environ)
    async with open_wire(target.url, target.headers, credentials.headers) as send:
        yield Connection(send, credentials.refresh, target.body_model)
