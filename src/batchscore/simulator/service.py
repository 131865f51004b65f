"""What does the service answer to a request whose body has been read?

It must not know aiohttp nor scripts: bytes in, status, headers and bytes out.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass, field
from typing import Any

import orjson

from batchscore.simulator import embeddings, generation, problems
from batchscore.simulator.books import DeploymentBook
from batchscore.simulator.embeddings import Embeddings
from batchscore.simulator.generation import Generation
from batchscore.simulator.problems import Problem, Surface
from batchscore.simulator.settings import SimulatorSettings
from batchscore.simulator.vectors import Vectors

OPERATIONS = {
    "embeddings": "Embeddings_Create",
    "completions": "Completions_Create",
    "chat/completions": "ChatCompletions_Create",
}
#: Vectors made between two looks at other requests: about 5 ms.
_SLICE = 64
_NEVER_SERVED = "no-such-"


@dataclass(frozen=True)
class Outcome:
    """A whole answer, to be sent; `tokens` are those it is billed for."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    tokens: int = 0


@dataclass(frozen=True)
class Admitted:
    """A request that the limits let through; `work` may still be a refusal for its content."""

    name: str
    operation: str
    surface: Surface
    work: Embeddings | Generation | Problem
    headers: dict[str, str]
    parsed: dict[str, Any] | Problem


def refusal(problem: Problem) -> Outcome:
    """Give the answer that a problem is."""
    return Outcome(problem.status, orjson.dumps(problem.body))


def parse(raw: bytes) -> dict[str, Any] | Problem:
    """Give the JSON object of a body."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return problems.invalid(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your"
            " HTTP library correctly. The API expects a JSON payload, but what was sent was not valid JSON.)"
        )
    if not isinstance(body, dict):
        return problems.invalid("The body of your request must be a JSON object.")
    return body


def texts_of(body: Any) -> str:
    """Give all that a model would read: every string below input, prompt and messages, by lines."""
    found: list[str] = []
    pending = [body.get(key) for key in ("input", "prompt", "messages")] if isinstance(body, dict) else []
    while pending:
        value = pending.pop(0)
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, dict):
            pending[:0] = value.values()
        elif isinstance(value, list) and not all(isinstance(one, int) for one in value):
            pending[:0] = value
    return "\n".join(found)


class Service:
    """The models behind every deployment."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._vectors = Vectors(settings.dimensions)

    def serves(self, name: str) -> bool:
        """Say whether there is a deployment of that name."""
        if name.startswith(_NEVER_SERVED):
            return False
        return not self._settings.deployments or name in self._settings.deployments

    def admit(
        self,
        parsed: dict[str, Any] | Problem,
        *,
        name: str,
        operation: str,
        surface: Surface,
        book: DeploymentBook,
    ) -> Admitted | Outcome:
        """Check and charge: a call that is wrong uses up quota too. An Outcome is the refusal by a limit."""
        tokens, work = self._check(parsed, name=name, operation=operation, surface=surface)
        verdict = book.limits.admit(tokens, time.monotonic(), surface)
        if verdict.what is None:
            return Admitted(name, operation, surface, work, verdict.headers, parsed)
        refused = problems.rate_limited(
            surface,
            name,
            operation=OPERATIONS[operation],
            what=verdict.what,
            seconds=verdict.wait_seconds,
        )
        return Outcome(refused.status, orjson.dumps(refused.body), verdict.headers)

    async def answer(self, admitted: Admitted, *, vector_fault: str | None = None) -> Outcome:
        """Give the answer; other requests get their turns while many vectors are made."""
        work, headers, surface = admitted.work, admitted.headers, admitted.surface
        if isinstance(work, Problem):
            return Outcome(work.status, orjson.dumps(work.body), headers)
        model = f"simulator:{admitted.name}"
        if isinstance(work, Embeddings):
            return Outcome(200, await self._embed(work, model, vector_fault), headers, work.tokens)
        chat = admitted.operation == "chat/completions"
        written = generation.chat_reply if chat else generation.completions_reply
        identifier = hashlib.blake2b(orjson.dumps(admitted.parsed), digest_size=12).hexdigest()
        body, billed = written(
            work, model=model, identifier=identifier, created=int(time.time()), surface=surface
        )
        return Outcome(200, body, headers, billed)

    def _check(
        self, parsed: dict[str, Any] | Problem, *, name: str, operation: str, surface: Surface
    ) -> tuple[int, Embeddings | Generation | Problem]:
        if isinstance(parsed, Problem):
            return 0, parsed
        if operation == "embeddings":
            return embeddings.check(parsed, name=name, surface=surface, settings=self._settings)
        if operation == "completions":
            return generation.check_completions(parsed, surface=surface, settings=self._settings)
        return generation.check_chat(parsed, name=name, surface=surface, settings=self._settings)

    async def _embed(self, work: Embeddings, model: str, fault: str | None) -> bytes:
        as_base64 = work.as_base64 and fault != "floats"
        items: list[bytes] = []
        for index, text in enumerate(work.texts):
            vector = self._vectors.of(text, work.dimensions)
            items.append(embeddings.item(index, vector, as_base64=as_base64))
            if index % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
        items = embeddings.spoil_items(
            fault, items, lambda at: self._vectors.of(work.texts[at], work.dimensions), as_base64=as_base64
        )
        return embeddings.reply(items, model=model, tokens=work.tokens)
