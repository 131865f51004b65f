"""How does the service respond to a request whose body has been read?

It must not know aiohttp nor scripts: bytes in, status, headers and bytes out.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass, field
from typing import Any

import orjson

from batchscore.simulator import embeddings, error_replies, generation
from batchscore.simulator.embeddings import EmbeddingsRequest
from batchscore.simulator.error_replies import ErrorReply, Surface
from batchscore.simulator.generation import GenerationRequest
from batchscore.simulator.settings import SimulatorSettings
from batchscore.simulator.state import SimulatedDeployment
from batchscore.simulator.vectors import Vectors

OPERATIONS = {
    "embeddings": "Embeddings_Create",
    "completions": "Completions_Create",
    "chat/completions": "ChatCompletions_Create",
}
#: Vectors per turn of the event loop: about 5 ms.
_VECTORS_PER_TURN = 64
#: Names with this prefix never exist.
_UNKNOWN_PREFIX = "no-such-"


@dataclass(frozen=True)
class ServiceReply:
    """A whole reply. `tokens` counts the billed tokens."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    tokens: int = 0


@dataclass(frozen=True)
class AdmittedRequest:
    """A request that the limits admitted. `work` may still be an error reply."""

    name: str
    operation: str
    surface: Surface
    work: EmbeddingsRequest | GenerationRequest | ErrorReply
    headers: dict[str, str]
    parsed: dict[str, Any] | ErrorReply


def encode_error(error: ErrorReply, headers: dict[str, str] | None = None) -> ServiceReply:
    """Return an error reply as status, bytes and headers."""
    return ServiceReply(error.status, orjson.dumps(error.body), headers or {})


def parse_body(raw: bytes) -> dict[str, Any] | ErrorReply:
    """Return the JSON object of a body, or the service's error reply."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return error_replies.invalid_request(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your"
            " HTTP library correctly. The API expects a JSON payload, but what was sent was not valid JSON.)"
        )
    if not isinstance(body, dict):
        return error_replies.invalid_request("The body of your request must be a JSON object.")
    return body


def prompt_text(body: Any) -> str:
    """Return all text that a model would read: the strings in input, prompt and messages, one per line."""
    texts: list[str] = []
    pending = [body.get(key) for key in ("input", "prompt", "messages")] if isinstance(body, dict) else []
    while pending:
        value = pending.pop(0)
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, dict):
            pending[:0] = value.values()
        elif isinstance(value, list) and not all(isinstance(one, int) for one in value):
            pending[:0] = value
    return "\n".join(texts)


class Service:
    """The models behind every deployment."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._vectors = Vectors(settings.dimensions)

    def has_deployment(self, name: str) -> bool:
        """Whether a deployment of this name exists."""
        if name.startswith(_UNKNOWN_PREFIX):
            return False
        return not self._settings.deployments or name in self._settings.deployments

    def admit(
        self,
        parsed: dict[str, Any] | ErrorReply,
        *,
        name: str,
        operation: str,
        surface: Surface,
        state: SimulatedDeployment,
    ) -> AdmittedRequest | ServiceReply:
        """Check a request and charge the limits, even if it is invalid. A ServiceReply refuses it."""
        tokens, work = self._check(parsed, name=name, operation=operation, surface=surface)
        admission = state.limits.admit(tokens, time.monotonic(), surface)
        limit, seconds = admission.refused_by, admission.wait_seconds
        if limit is None:
            return AdmittedRequest(name, operation, surface, work, admission.headers, parsed)
        error = error_replies.rate_limited(
            surface, name, operation=OPERATIONS[operation], limit=limit, seconds=seconds
        )
        return encode_error(error, admission.headers)

    async def answer(self, admitted: AdmittedRequest, *, vector_fault: str | None = None) -> ServiceReply:
        """Return the reply. Other requests get their turns between the vectors of a large one."""
        work, headers, surface = admitted.work, admitted.headers, admitted.surface
        if isinstance(work, ErrorReply):
            return encode_error(work, headers)
        model = f"simulator:{admitted.name}"
        if isinstance(work, EmbeddingsRequest):
            return ServiceReply(200, await self._embed(work, model, vector_fault), headers, work.tokens)
        chat = admitted.operation == "chat/completions"
        identifier = hashlib.blake2b(orjson.dumps(admitted.parsed), digest_size=12).hexdigest()
        body, billed = generation.encode_reply(
            work, chat=chat, model=model, identifier=identifier, surface=surface
        )
        return ServiceReply(200, body, headers, billed)

    def _check(
        self, parsed: dict[str, Any] | ErrorReply, *, name: str, operation: str, surface: Surface
    ) -> tuple[int, EmbeddingsRequest | GenerationRequest | ErrorReply]:
        if isinstance(parsed, ErrorReply):
            return 0, parsed
        if operation == "embeddings":
            return embeddings.check_embeddings(parsed, name=name, surface=surface, settings=self._settings)
        if operation == "completions":
            return generation.check_completions(parsed, surface=surface, settings=self._settings)
        return generation.check_chat(parsed, name=name, surface=surface, settings=self._settings)

    async def _embed(self, work: EmbeddingsRequest, model: str, fault: str | None) -> bytes:
        as_base64 = work.as_base64 and fault != "floats"
        items: list[bytes] = []
        for index, text in enumerate(work.texts):
            vector = self._vectors.embed(text, work.dimensions)
            items.append(embeddings.encode_item(index, vector, as_base64=as_base64))
            if index % _VECTORS_PER_TURN == _VECTORS_PER_TURN - 1:
                await asyncio.sleep(0)
        items = embeddings.spoil_items(
            fault, items, lambda at: self._vectors.embed(work.texts[at], work.dimensions), as_base64=as_base64
        )
        return embeddings.encode_reply(items, model=model, tokens=work.tokens)
