"""From settings and endpoints to a running engine: what every door joins the same way.

Files and output are not its business: the source is any iterator of prompts, the results are whatever
the engine settles.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from batchscore.engine import Engine
from batchscore.pack.batches import BodyFormat, Packer
from batchscore.pack.duplicates import Duplicates
from batchscore.pack.replies import Answers, BadReply, Reader, billed
from batchscore.pack.shorten import shorter
from batchscore.pack.tokens import Estimator
from batchscore.request.attempt import Attempts
from batchscore.request.concurrency import Concurrency
from batchscore.request.connection import connect
from batchscore.request.deployment import Deployment
from batchscore.request.deployments import Deployments
from batchscore.request.endpoint import Target
from batchscore.request.limits import Limits
from batchscore.request.patience import Patience
from batchscore.request.quota import Quota
from batchscore.request.retry import Asking
from batchscore.request.shared_book import shared_book
from batchscore.rows import Listen, Notice, Prompt, Settled
from batchscore.settings import Settings

#: How long what is in flight may take to come home once the run is stopped.
DRAIN_SECONDS = 20.0

#: What a probe asks: a word that costs next to nothing.
PROBES = {
    "embeddings": b'"ping"',
    "completions": b'"ping"',
    "chat": b'[{"role":"user","content":"ping"}]',
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one deployment is and what it allows a minute, as far as that was said."""

    name: str
    target: Target
    rpm: float | None = None
    tpm: float | None = None

    @property
    def quota_name(self) -> str:
        """What tells its quota from others'. Secret: it holds the key."""
        return f"{self.target.url} {self.target.body_model} {self.target.key}"


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
) -> AsyncIterator[Engine]:
    """Give an engine over `source` whose connections are open while the block runs.

    `dimensions` is the vectors' length where it is known already. Raises `SettingsError` where an endpoint
    cannot be used as it is set.
    """
    async with AsyncExitStack() as stack:
        members = [
            await opened(settings, endpoint, stack, environ=environ, listen=listen) for endpoint in endpoints
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
        deployments = Deployments(members, settings.max_outage, lambda text: listen(Notice(text)))
        attempts: Attempts[Answers] = Attempts(
            deployments=deployments,
            patience=Patience(settings.timeout),
            read=reader.read,
            unusable=BadReply,
            tokens=lambda answers: (answers.prompt_tokens, answers.completion_tokens),
            probe_body=lambda member: forms[member].body([Prompt("", 0, PROBES[settings.task])]),
            stop=stop,
            listen=listen,
            billed=billed,
        )
        deployments.probe = attempts.probe
        estimator = Estimator()
        yield Engine(
            packer=Packer(
                source,
                settings.batch_size if settings.task == "embeddings" else 1,
                estimator,
                Duplicates() if settings.dedup else None,
            ),
            forms=forms,
            asking=Asking(attempts, stop),
            retries=settings.retries,
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
) -> Deployment:
    """Open the connection to one deployment and the books of its quota."""
    connection = await stack.enter_async_context(connect(endpoint.target, environ=environ))
    book = stack.enter_context(shared_book(endpoint.quota_name, time.monotonic()))
    return Deployment(
        name=endpoint.name,
        model=connection.model,
        send=connection.send,
        renew_token=connection.renew_token,
        limits=Limits(endpoint.rpm, endpoint.tpm, settings.share),
        quota=Quota(book),
        notice=lambda text: listen(Notice(text)),
        concurrency=Concurrency(
            settings.concurrency, settings.batch_size if settings.task == "embeddings" else 1
        ),
    )
