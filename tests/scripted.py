"""A `send` that answers by a script, and an engine around it: the one double beside the real server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from batchscore.engine.engine import Engine
from batchscore.engine.requests import RequestBuilder
from batchscore.prompts.batches import BodyFormat, Packer
from batchscore.prompts.duplicates import Duplicates
from batchscore.prompts.replies import ReplyReader, ReplyScores
from batchscore.prompts.token_estimate import Estimator
from batchscore.request.attempt import Requester
from batchscore.request.concurrency import Concurrency, thread_load
from batchscore.request.deployment import Deployment
from batchscore.request.deployment_pool import DeploymentPool
from batchscore.request.quota.limits import Limits
from batchscore.request.quota.windows import LocalSchedule, Quota
from batchscore.request.retry import AttemptLoop
from batchscore.request.timeouts import Timeouts
from batchscore.rows import Attempt, Prompt, Reply, Settled
from batchscore.task import EMBEDDINGS
from virtual_time import LOOP_CLOCK

Answer = Callable[[list[str], int], "Awaitable[Reply]"]


def vector_of(text: str) -> list[float]:
    """The vector that the scripted service has for a text: no two texts share one."""
    number = int(text.rsplit(":", maxsplit=1)[-1])
    return [float(number), float(number % 7), 1.0]


def reply(status: int, body: Any = None, **headers: str) -> Reply:
    """A reply with a JSON body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, named, orjson.dumps(body), 0.01)


def vectors(texts: list[str]) -> Reply:
    """A correct answer to an embeddings request."""
    data = [{"index": index, "embedding": vector_of(text)} for index, text in enumerate(texts)]
    return reply(200, {"data": data, "usage": {"prompt_tokens": len(texts)}})


def refusal(status: int, code: str = "", **fields: Any) -> Reply:
    """A refusal in OpenAI's format."""
    return reply(status, {"error": {"code": code, "message": "quotes the input", **fields}})


@dataclass
class Service:
    """Counts and answers: `answer(texts, number)` decides; request numbers count from 0."""

    answer: Answer
    asked: list[list[str]] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    async def send(self, body: bytes, _most_bytes: int) -> Reply:
        texts = orjson.loads(body)["input"]
        number = len(self.asked)
        self.asked.append(texts)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self.answer(texts, number)
        finally:
            self.in_flight -= 1


def prompts(count: int) -> Iterator[Prompt]:
    """This many rows, whose texts end in their numbers."""
    for row in range(count):
        yield Prompt("file.csv", row, orjson.dumps(f"text:{row}"))


def deployment_of(
    service: Service,
    *,
    concurrency: int = 4,
    rpm: float | None = None,
    tpm: float | None = None,
    name: str = "scripted",
    renew_token: Callable[[], Awaitable[bool]] | None = None,
) -> Deployment:
    """A deployment that is the scripted service."""

    async def no_token() -> bool:
        return False

    return Deployment(
        name=name,
        model="model",
        send=service.send,
        renew_token=renew_token or no_token,
        limits=Limits(rpm, tpm),
        quota=Quota(LocalSchedule.begin(LOOP_CLOCK.monotonic())),
        concurrency=Concurrency(concurrency, thread_load(LOOP_CLOCK)),
        notice=[].append,
        clock=LOOP_CLOCK,
    )


def engine_over(
    service: Service | list[Deployment],
    source: Iterator[Prompt | Settled],
    *,
    rows_a_request: int = 8,
    concurrency: int = 4,
    retries: int = 3,
    drain_seconds: float = 20.0,
    max_outage: float = 60.0,
    timeout: float | None = None,
    dedup: bool = False,
    attempts: list[Attempt] | None = None,
    notices: list[str] | None = None,
    renew_token: Callable[[], Awaitable[bool]] | None = None,
) -> Engine:
    """An embeddings engine that talks to the scripted service, or to several deployments."""
    if isinstance(service, Service):
        members = [deployment_of(service, concurrency=concurrency, renew_token=renew_token)]
    else:
        members = service
    stop = asyncio.Event()
    heard: list[Attempt] = [] if attempts is None else attempts
    forms = {member: BodyFormat(EMBEDDINGS, "model", {}) for member in members}
    texts = [] if notices is None else notices
    deployments = DeploymentPool(members, max_outage, lambda notice: texts.append(notice.text), LOOP_CLOCK)
    requester: Requester[ReplyScores] = Requester(
        deployments=deployments,
        timeouts=Timeouts(LOOP_CLOCK, timeout),
        read=ReplyReader(EMBEDDINGS).read,
        tokens=lambda answers: (answers.prompt_tokens, answers.completion_tokens),
        most_bytes=lambda rows: rows,
        probe_body=lambda member: forms[member].body([Prompt("", 0, b'"ping:0"')]),
        stop=stop,
        listen=heard.append,
        clock=LOOP_CLOCK,
    )
    deployments.probe = requester.probe
    estimator = Estimator()
    return Engine(
        packer=Packer(source, rows_a_request, estimator, Duplicates() if dedup else None),
        requests=RequestBuilder(forms, estimator, retries),
        attempt_loop=AttemptLoop(requester, stop),
        stop=stop,
        drain_seconds=drain_seconds,
    )


async def collected(engine: Engine) -> list[Settled]:
    """Everything that the engine settles."""
    return [settled async for batch in engine.settled() for settled in batch]


def has_its_own_vector(settled: Settled) -> bool:
    """Whether a row's vector is the one of its text."""
    value = getattr(settled.result, "value", None)
    return value is not None and np.array_equal(value, np.float32(vector_of(f"text:{settled.row}")))


@dataclass
class Timed:
    """Replies depend on the texts and the seconds since its first request; `None`: it answers."""

    behave: Callable[[list[str], float], Reply | None]
    takes: float = 0.1
    began: float | None = None
    asked_at: list[float] = field(default_factory=list)

    async def answer(self, texts: list[str], number: int) -> Reply:
        self.began = LOOP_CLOCK.monotonic() if self.began is None else self.began
        self.asked_at.append(LOOP_CLOCK.monotonic() - self.began)
        await asyncio.sleep(self.takes * (1 + number % 7 / 10))
        return self.behave(texts, LOOP_CLOCK.monotonic() - self.began) or vectors(texts)

    @property
    def service(self) -> Service:
        return Service(self.answer)
