"""What does a line of a batch give, and in which file?

It must not know how many lines there are nor when they run. A line gets the reply that a live call gets.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from batchscore.simulator.batch.faults import FaultScript, LineFault
from batchscore.simulator.batch.input_file import operation_of
from batchscore.simulator.error_replies import (
    ServiceReply,
    Surface,
    content_filtered,
    default_error,
    deployment_not_found,
)
from batchscore.simulator.finetune.tuning import Answering
from batchscore.simulator.reply_shapes import reply_instead
from batchscore.simulator.script import RandomFaults
from batchscore.simulator.service import Service, ServiceCall, reshape
from batchscore.simulator.settings import SimulatorSettings
from batchscore.simulator.too_long import too_long

_ANSWER = re.compile(rb'"(content|text)":"')
#: Line separators of Unicode, which are none in JSON Lines.
_SEPARATORS = "\u2028\u0085".encode()
_REFUSAL = ServiceReply(400, b'{"error":{"message":"Invalid request.","type":"invalid_request_error"}}')


class LineResult(NamedTuple):
    """What is written to the output file, to the error file, and at the very end of the output file.

    `custom_id` is JSON. `reply` has the status that counts, and the tokens.
    """

    custom_id: bytes
    reply: ServiceReply
    output: bytes = b""
    errors: bytes = b""
    last: bytes = b""


@dataclass(frozen=True)
class LineRunner:
    """Runs lines, with what tests and random faults do to them."""

    service: Service
    settings: SimulatorSettings
    random_faults: RandomFaults
    script: FaultScript
    answering: Callable[[str, Surface], Answering]

    async def run(self, raw: bytes, surface: Surface, number: str) -> LineResult:
        """Run a line. `number` is unique."""
        line = orjson.loads(raw)
        custom_id = orjson.dumps(line["custom_id"])
        fault = self.script.for_line(raw)
        reply = await self._reply(line, surface, fault)
        text = write_line(reply, custom_id, surface, number)
        kind = fault.line if fault is not None else None
        if kind is not None:
            assert fault is not None
            return self._spoil(LineResult(custom_id, reply, text), kind, fault.size, surface, number)
        if reply.status == 200:
            return LineResult(custom_id, reply, text)
        return LineResult(custom_id, reply, errors=text)

    async def _reply(self, line: dict[str, Any], surface: Surface, fault: LineFault | None) -> ServiceReply:
        """Return the reply that the line's request gets."""
        if fault is not None:
            if fault.status is not None:
                return default_error(surface, fault.status, code=fault.code, message=fault.message)
            if fault.line == "content_filter":
                return content_filtered(surface)
            if fault.line == "context_length":
                limit = self.settings.context_tokens
                return ServiceReply(*too_long("openai_chat", limit=limit, tokens=limit + 1))
        drawn = self.random_faults.draw() if fault is None else None
        if drawn is not None and drawn.status is not None:
            return default_error(surface, drawn.status)
        body = line["body"]
        operation = operation_of(line["url"], surface)
        assert operation is not None
        answering = self.answering(body["model"], surface)
        if not answering.exists:
            return deployment_not_found(surface, body["model"])
        call = ServiceCall(surface, operation, body["model"], body, answering.learned)
        _, work = self.service.check(call)
        reply = await self.service.answer(call, work, vector_fault=None)
        shape = (fault or drawn or self.settings).shape or self.settings.shape
        if not shape or reply.status != 200:
            return reply
        reply = reshape(reply, shape)
        if reply_instead(shape) is not None:
            return reply._replace(body=orjson.dumps(reply.body.decode("utf-8", "replace")))
        return reply

    def _spoil(self, result: LineResult, kind: str, size: int, surface: Surface, number: str) -> LineResult:
        """Return the result with a fault of `faults.LINE_FAULTS`."""
        reply, custom_id, text = result.reply, result.custom_id, result.output

        def other(reply: ServiceReply = reply, custom_id: bytes = custom_id) -> bytes:
            return write_line(reply, custom_id, surface, number)

        if kind in {"content_filter", "context_length"}:
            return result._replace(output=b"", errors=text)
        if kind == "error_text":
            error = {
                "custom_id": orjson.loads(custom_id),
                "response": {"status_code": 400},
                "error": "Refused.",
            }
            return LineResult(custom_id, _REFUSAL, errors=orjson.dumps(error) + b"\n")
        if kind in {"status_zero", "refused_in_output"}:
            given = _REFUSAL if kind == "refused_in_output" else ServiceReply(0, b"null")
            return LineResult(custom_id, given, other(given))
        changes: dict[str, Callable[[], bytes]] = {
            "missing": lambda: b"",
            "duplicate": lambda: text * 2,
            "different_duplicate": lambda: text + other(reply._replace(body=_other_answer(reply.body))),
            "foreign_id": lambda: other(custom_id=b'"of-somebody-else-%s"' % number.encode()),
            "null_id": lambda: other(custom_id=b"null"),
            "not_json": lambda: text[: len(text) // 2] + b"\n",
            "separators": lambda: _ANSWER.sub(rb'"\1":"' + _SEPARATORS, text),
            "long": lambda: text[:-2] + b',"padding":"%b"}\n' % (b"x" * size),
            "cut_off": lambda: b"",
        }
        changed = changes[kind]()
        if reply.status != 200:
            return LineResult(custom_id, reply, errors=changed)
        return LineResult(
            custom_id, reply, changed, last=text[: len(text) // 2] if kind == "cut_off" else b""
        )


def write_line(reply: ServiceReply, custom_id: bytes, surface: Surface, number: str) -> bytes:
    """Return a line of a result. Azure's has no `id`."""
    if surface is Surface.OPENAI:
        return (
            b'{"id": "batch_req_%b", "custom_id": %b, "response": {"status_code": %d, "request_id": "%b",'
            b' "body": %b}, "error": null}\n'
            % (number.encode(), custom_id, reply.status, number.encode(), reply.body)
        )
    return (
        b'{"custom_id": %b, "response": {"body": %b, "request_id": "%b", "status_code": %d}, "error": null}\n'
        % (custom_id, reply.body, number.encode(), reply.status)
    )


def write_expired(custom_id: bytes, surface: Surface, number: str) -> bytes:
    """Return the line of a request that did not run before the end of the window."""
    head = b'"id": "batch_req_%b", ' % number.encode() if surface is Surface.OPENAI else b""
    message = "This request could not be executed before the completion window expired."
    error = orjson.dumps({"code": "batch_expired", "message": message})
    return b'{%b"custom_id": %b, "response": null, "error": %b}\n' % (head, custom_id, error)


def _other_answer(body: bytes) -> bytes:
    """Return a correct reply with another answer or vector; others stay as they are."""
    document = orjson.loads(body)
    if not isinstance(document, dict):
        return body
    for choice in document.get("choices") or ():
        holder, key = (choice["message"], "content") if "message" in choice else (choice, "text")
        holder[key] = f"{holder[key]} Another answer."
    for item in document.get("data") or ():
        vector = item["embedding"]
        if isinstance(vector, str):
            raw = base64.b64decode(vector)
            item["embedding"] = base64.b64encode(raw[4:] + raw[:4]).decode()
        else:
            item["embedding"] = vector[1:] + vector[:1]
    for item in document.get("output") or ():
        for part in item.get("content", ()):
            part["text"] = f"{part['text']} Another answer."
    return orjson.dumps(document)
