"""How do settings and endpoints become a running engine? All doors build it here.

It knows no files and no output: the source is any iterator of prompts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from batchscore.endpoint.credentials import FixedCredentials, credentials_for
from batchscore.endpoint.target import Endpoint, Target
from batchscore.endpoint.tls import tls_context
from batchscore.engine.bounds import DRAIN_SECONDS
from batchscore.engine.engine import Engine
from batchscore.engine.in_flight import MOST_BYTES_IN_FLIGHT, MOST_PACKED_BYTES, BytesInFlight
from batchscore.engine.requests import RequestBuilder
from batchscore.prompts.batches import BodyFormat, Packer
from batchscore.prompts.duplicates import Duplicates
from batchscore.prompts.replies import ReplyScores, reader_for
from batchscore.prompts.token_estimate import Estimator
from batchscore.prompts.truncate import truncate
from batchscore.request.attempt import Requester
from batchscore.request.concurrency import Concurrency, thread_load
from batchscore.request.deployment import Deployment
from batchscore.request.deployment_pool import DeploymentPool
from batchscore.request.quota.limits import Limits
from batchscore.request.quota.shared_file import open_schedule
from batchscore.request.quota.windows import Quota
from batchscore.request.reply_body import ReplyMemory
from batchscore.request.retry import AttemptLoop
from batchscore.request.timeouts import REAL_CLOCK, Timeouts
from batchscore.rows import Listen, Notice, Prompt, Settled
from batchscore.settings.secrets import keys_in_path, without_secrets
from batchscore.settings.slices import RequestSettings

#: Headers whose values are no secrets.
_PLAIN_HEADERS = {"accept", "content-type", "user-agent"}


@asynccontextmanager
async def open_engine(
    settings: RequestSettings,
    endpoints: Sequence[Endpoint],
    source: Iterator[Prompt | Settled],
    *,
    environ: Mapping[str, str],
    listen: Listen,
    stop: asyncio.Event,
    dimensions: int | None = None,
) -> AsyncIterator[Engine]:
    """Give an engine over `source` whose connections are open while the block runs.

    `dimensions` is the length of the vectors if it is known already. Raises `SettingsError` if an endpoint
    cannot be used.
    """
    async with AsyncExitStack() as stack:
        memory = ReplyMemory()
        members = [
            await open_deployment(settings, endpoint, stack, memory, environ=environ, listen=listen)
            for endpoint in endpoints
        ]
        reader = reader_for(settings, dimensions, lambda text: listen(Notice(text)))
        forms = {
            member: BodyFormat(
                settings.task,
                member.model,
                settings.api_params,
                may_rename=settings.max_tokens is not None,
                schema=reader.schema,
                notice=lambda text: listen(Notice(text)),
            )
            for member in members
        }
        reader.on_ignored = lambda: leave_form(forms.values())
        deployments = DeploymentPool(members, settings.max_outage, listen, REAL_CLOCK)
        requester: Requester[ReplyScores] = Requester(
            deployments=deployments,
            timeouts=Timeouts(REAL_CLOCK, settings.timeout, settings.max_outage),
            read=reader.read,
            tokens=lambda answers: (answers.prompt_tokens, answers.completion_tokens),
            most_bytes=reader.most_bytes,
            probe_body=lambda member: forms[member].body([Prompt("", 0, settings.task.probe)]),
            stop=stop,
            listen=listen,
            clock=REAL_CLOCK,
            billed=reader.billed,
        )
        deployments.probe = requester.probe
        estimator = Estimator()
        yield Engine(
            packer=Packer(
                source,
                settings.batch_size if settings.task.packs_many else 1,
                estimator,
                Duplicates() if settings.dedup else None,
            ),
            requests=RequestBuilder(
                forms,
                estimator,
                settings.max_retries,
                answer_tokens=settings.answer_tokens,
                answers_per_row=settings.answers_per_row,
                fixed_bytes=0 if reader.schema is None else reader.schema.size,
                truncate=truncate if settings.on_long_input == "truncate" else None,
            ),
            attempt_loop=AttemptLoop(requester, stop),
            in_flight=BytesInFlight(MOST_PACKED_BYTES if settings.task.packs_many else MOST_BYTES_IN_FLIGHT),
            stop=stop,
            drain_seconds=DRAIN_SECONDS,
        )


def leave_form(forms: Iterable[BodyFormat]) -> None:
    """Send the service its schema in another way."""
    for form in forms:
        form.leave_form()


async def open_deployment(
    settings: RequestSettings,
    endpoint: Endpoint,
    stack: AsyncExitStack,
    memory: ReplyMemory,
    *,
    environ: Mapping[str, str],
    listen: Listen,
) -> Deployment:
    """Open the connection to one deployment, and the file that shares its quota."""
    # A finished output needs no connection.
    from batchscore.request.wire import open_wire  # noqa: PLC0415

    target = endpoint.target
    credentials = credentials_for(target, environ)
    tls = tls_context(target.certificate)
    sign = credentials.fixed if isinstance(credentials, FixedCredentials) else credentials.headers
    wire = open_wire(target.request_url, target.headers, sign, memory, tls=tls)
    send = await stack.enter_async_context(wire)
    schedule = stack.enter_context(open_schedule(endpoint.quota_name, REAL_CLOCK.monotonic()))
    return Deployment(
        name=endpoint.name,
        model=target.body_model,
        unused_keys=target.unused_keys,
        address=target.shown_url,
        secrets=tuple(secret_texts(settings.api_params, target)),
        send=send,
        renew_token=credentials.refresh,
        limits=Limits(endpoint.rpm, endpoint.tpm, settings.quota_share),
        quota=Quota(schedule),
        notice=lambda text: listen(Notice(text)),
        concurrency=Concurrency(
            settings.max_concurrency,
            thread_load(REAL_CLOCK),
            settings.batch_size if settings.task.packs_many else 1,
        ),
        clock=REAL_CLOCK,
    )


def secret_texts(params: Mapping[str, Any], target: Target) -> Iterator[str]:
    """Give the texts of a run that no message may show."""
    own = {name: value for name, value in target.headers.items() if name.lower() not in _PLAIN_HEADERS}
    key = (target.key or "").split(":") if target.auth == "basic" else target.key
    pending: list[tuple[Any, Any]] = [(params, without_secrets(params))]
    pending.append(([key, own, dict(target.query), keys_in_path(target.url)], None))
    while pending:
        value, shown = pending.pop()
        if isinstance(value, dict):
            pending += [
                (each, shown.get(name) if isinstance(shown, dict) else None) for name, each in value.items()
            ]
        elif isinstance(value, (list, tuple)):
            fitting = isinstance(shown, list) and len(shown) == len(value)
            pending += [(each, shown[at] if fitting else None) for at, each in enumerate(value)]
        elif isinstance(value, str) and value != shown and value:
            yield value.removeprefix("Bearer ")
