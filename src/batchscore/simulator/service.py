"""How does the service respond to a request whose body has been read?

It must not know aiohttp nor scripts: bytes in, status, headers and bytes out.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from batchscore.simulator import embeddings, error_replies, generation
from batchscore.simulator.answer_key import read_key
from batchscore.simulator.embeddings import EmbeddingsRequest, Vectors
from batchscore.simulator.error_replies import Rejection, ServiceReply, Surface
from batchscore.simulator.generation import GenerationRequest
from batchscore.simulator.reply_shapes import change_reply, reply_instead
from batchscore.simulator.responses import ResponsesRequest, check_responses, write_response
from batchscore.simulator.settings import SimulatorSettings
from batchscore.simulator.state import SimulatedDeployment
from batchscore.simulator.vector_table import read_table
from batchscore.simulator.words import AnswerOptions, GeneratedText, Writer, write_answer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: What the limits admit: a valid request, or an error reply.
Work = EmbeddingsRequest | GenerationRequest | ResponsesRequest | ServiceReply

OPERATIONS = {
    "embeddings": "Embeddings_Create",
    "completions": "Completions_Create",
    "chat/completions": "ChatCompletions_Create",
    "responses": "Responses_Create",
}
#: Vectors per turn of the event loop: about 5 ms.
_VECTORS_PER_TURN = 64
#: Names with this prefix never exist.
_UNKNOWN_PREFIX = "no-such-"


#: Gives what a model has learned to say to a prompt, by options; None if that is nothing.
Learned = Callable[[str, AnswerOptions], GeneratedText | None]


class ServiceCall(NamedTuple):
    """One request. `body` is its JSON object, or the rejection of a body that is none.

    `learned` is what a tuned model answers with.
    """

    surface: Surface
    operation: str
    name: str
    body: dict[str, Any] | Rejection
    learned: Learned | None = None


def parse_body(raw: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; raises `Rejection`."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        text = (
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your"
            " HTTP library correctly. The API expects a JSON payload, but what was sent was not valid JSON.)"
        )
        raise Rejection(error_replies.invalid_request(text)) from None
    if not isinstance(body, dict):
        raise Rejection(error_replies.invalid_request("The body of your request must be a JSON object."))
    return body


def prompt_text(body: Any) -> str:
    """Return all text that a model would read: the strings in the fields of a prompt, one per line."""
    texts: list[str] = []
    fields = ("instructions", "input", "prompt", "messages")
    pending = [body.get(key) for key in fields] if isinstance(body, dict) else []
    while pending:
        value = pending.pop(0)
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, dict):
            pending[:0] = value.values()
        elif isinstance(value, list) and not all(isinstance(one, int) for one in value):
            pending[:0] = value
    return "\n".join(texts)


def reshape(reply: ServiceReply, shape: str) -> ServiceReply:
    """Return a correct reply in another form (`reply_shapes`); errors stay as they are."""
    if not shape or reply.status != 200:
        return reply
    instead = reply_instead(shape)
    if instead is not None:
        body, kind = instead
        return reply._replace(body=body, headers={**reply.headers, "content-type": kind})
    document = orjson.loads(reply.body)
    change_reply(document, shape)
    return reply._replace(body=orjson.dumps(document))


class Service:
    """The models behind every deployment."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._key = read_key(settings.answers) if settings.answers else None
        self._table = read_table(settings.vectors) if settings.vectors else None
        if self._table is not None:
            settings = replace(settings, dimensions=self._table.dimensions)
        self._settings = settings
        self._vectors = Vectors(settings.dimensions)

    def has_deployment(self, name: str) -> bool:
        """Whether a deployment of this name exists."""
        if name.startswith(_UNKNOWN_PREFIX):
            return False
        return not self._settings.deployments or name in self._settings.deployments

    def admit(
        self, call: ServiceCall, state: SimulatedDeployment, wording: str | None = None
    ) -> tuple[Work, dict[str, str]]:
        """Check a request and charge the limits, even if it is invalid. Status 429: the limits refuse it.

        `wording` names the service in whose words an input is too long.
        """
        tokens, work = self.check(call, wording)
        admission = state.limits.admit(tokens, time.monotonic(), call.surface)
        limit, seconds = admission.refused_by, admission.wait_seconds
        if limit is not None:
            operation = OPERATIONS[call.operation]
            work = error_replies.rate_limited(
                call.surface, call.name, operation=operation, limit=limit, seconds=seconds
            )
        return work, admission.headers

    async def answer(self, call: ServiceCall, work: Work, *, vector_fault: str | None) -> ServiceReply:
        """Return the reply. Other requests get their turns between the vectors of a large one."""
        if isinstance(work, ServiceReply):
            return work
        model = f"simulator:{call.name}"
        if isinstance(work, EmbeddingsRequest):
            return await self._embed(work, model, vector_fault)
        identifier = hashlib.blake2b(orjson.dumps(call.body), digest_size=12).hexdigest()
        write = self._writer(call.name, call.learned)
        if isinstance(work, ResponsesRequest):
            return write_response(work, model=model, identifier=identifier, write=write)
        chat = call.operation == "chat/completions"
        return generation.write_reply(
            work, chat=chat, model=model, identifier=identifier, surface=call.surface, write=write
        )

    def _writer(self, name: str, learned: Learned | None) -> Writer:
        """Return what writes the answers of a deployment; one that knows answers writes others as usual."""
        key = self._key
        if key is None and learned is None:
            return write_answer

        def write(prompt: str, options: AnswerOptions, choice: int) -> GeneratedText:
            found = None if learned is None else learned(prompt, options)
            if found is None and key is not None:
                found = key.write(name, prompt, options, choice)
            return found or write_answer(prompt, options, choice)

        return write

    def check(self, call: ServiceCall, wording: str | None = None) -> tuple[int, Work]:
        """Check a request. Return its tokens, and what `answer` needs."""
        wording = wording or self._settings.wording
        if isinstance(call.body, Rejection):
            return 0, call.body.reply
        settings = (
            self._settings if wording == self._settings.wording else replace(self._settings, wording=wording)
        )
        if call.operation == "completions":
            return generation.check_completions(call.body, surface=call.surface, settings=settings)
        if call.operation == "responses":
            return check_responses(call.body, name=call.name, surface=call.surface, settings=settings)
        check = embeddings.check_embeddings if call.operation == "embeddings" else generation.check_chat
        return check(call.body, name=call.name, surface=call.surface, settings=settings)

    async def _embed(self, work: EmbeddingsRequest, model: str, fault: str | None) -> ServiceReply:
        as_base64 = work.as_base64 and fault != "floats"
        items: list[bytes] = []
        for index, text in enumerate(work.texts):
            vector = self._embed_text(text, work.dimensions)
            items.append(embeddings.encode_item(index, vector, as_base64=as_base64))
            if index % _VECTORS_PER_TURN == _VECTORS_PER_TURN - 1:
                await asyncio.sleep(0)
        items = embeddings.spoil_items(
            fault, items, lambda at: self._embed_text(work.texts[at], work.dimensions), as_base64=as_base64
        )
        return embeddings.write_reply(items, model=model, tokens=work.tokens)

    def _embed_text(self, text: str, dimensions: int) -> NDArray[np.float32]:
        found = None if self._table is None else self._table.find(text)
        return self._vectors.embed(text, dimensions) if found is None else found[:dimensions]
