"""Can a batch run the lines of this file? If not: which lines are wrong, and how?

It must not know batches nor answers. Lines count from 1. One wrong line is enough to refuse the file.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from batchscore.simulator.batch.rules import BatchRules
from batchscore.simulator.error_replies import ServiceReply, Surface
from batchscore.simulator.generation import TOKENS_PER_MESSAGE
from batchscore.simulator.image_parts import count_images
from batchscore.simulator.service import OPERATIONS, prompt_text
from batchscore.simulator.words import REFUSED_LINE_TRIGGER, count_tokens

#: A deployment whose name ends so takes no batches (Azure: it is of a standard kind).
LIVE_SUFFIX = "-live"
#: What Azure's batches can run.
_AZURE_OPERATIONS = ("chat/completions", "responses")
_LONG = {f"/v1/{name}": name for name in OPERATIONS}
#: URL -> operation, at OpenAI and at Azure.
_OPERATIONS = (_LONG, {**_LONG, **{f"/{name}": name for name in OPERATIONS}})


def operation_of(url: object, surface: Surface) -> str | None:
    """Return the operation that a line's or a batch's URL names; only Azure takes it without `/v1`."""
    return _OPERATIONS[surface is not Surface.OPENAI].get(url) if isinstance(url, str) else None


@dataclass
class InputScan:
    """What has been read of an input file. `ends` are the offsets at which its lines end.

    `input_tokens` is the estimate that is enqueued: that of the prompts, without what they may be answered.
    """

    path: Path
    endpoint: str
    surface: Surface
    rules: BatchRules
    has_deployment: Callable[[str], bool]
    ends: array[int] = field(default_factory=lambda: array("Q"))
    errors: list[dict[str, Any]] = field(default_factory=list)
    model: str | None = None
    input_tokens: int = 0
    inputs: int = 0
    done: bool = False
    _ids: set[str] = field(default_factory=set)
    _operation: str | None = None
    _seen: int = 0

    @property
    def count(self) -> int:
        """How many lines there are."""
        return len(self.ends)

    def read(self, lines: int) -> None:
        """Check this many more lines; at the end, the whole file. Then `done` is true."""
        most = self.rules.max_lines or (50_000 if self.surface is Surface.OPENAI else 100_000)
        with self.path.open("rb") as source:
            at = self.ends[-1] if self.ends else 0
            source.seek(at)
            for _ in range(lines):
                raw = source.readline()
                if not raw:
                    self._end()
                    return
                at += len(raw)
                self.ends.append(at)
                if len(self.ends) > most:
                    message = f"The file has more than {most} lines, the limit of a batch."
                    self.errors = [file_error("too_many_tasks", message)]
                    self._finish()
                    return
                self._check(raw)

    def _end(self) -> None:
        """Check what only the whole file shows."""
        size = self.ends[-1] if self.ends else 0
        if not self.ends:
            self.errors = [file_error("empty_file", "The input file is empty.")]
        elif size > self.rules.max_bytes:
            message = f"The file has {size} bytes; a batch takes at most {self.rules.max_bytes}."
            self.errors = [file_error("invalid_request", message, param="input_file_id")]
        elif self._operation == "embeddings" and self.inputs > self.rules.max_inputs:
            message = f"The file has {self.inputs} inputs; a batch takes at most {self.rules.max_inputs}."
            self.errors = [file_error("invalid_request", message, param="input_file_id")]
        self._finish()

    def _finish(self) -> None:
        self._ids.clear()
        self.done = True

    def _check(self, raw: bytes) -> None:
        problem = self._problem(raw)
        if problem is not None and self._seen < self.rules.max_errors:
            self._seen += 1
            self.errors.append({**problem, "line": len(self.ends)})

    def _problem(self, raw: bytes) -> dict[str, Any] | None:
        """Return what is wrong with a line."""
        try:
            line = orjson.loads(raw)
        except orjson.JSONDecodeError:
            line = None
        if not isinstance(line, dict):
            return file_error("invalid_json_line", "This line is not parseable as valid JSON.")
        custom_id = line.get("custom_id")
        if not isinstance(custom_id, str) or not custom_id:
            return file_error(
                "invalid_request", "Missing or invalid 'custom_id': expected a string.", "custom_id"
            )
        if custom_id in self._ids:
            message = f"The custom_id '{custom_id}' is used by another line of this file."
            return file_error("duplicate_custom_id", message, "custom_id")
        self._ids.add(custom_id)
        if line.get("method") != "POST":
            return file_error("invalid_request", "Invalid 'method': expected 'POST'.", "method")
        return self._url_problem(line.get("url")) or self._body_problem(line.get("body"))

    def _url_problem(self, url: object) -> dict[str, Any] | None:
        """OpenAI compares a line's URL with the batch's endpoint, Azure with that of the other lines."""
        operation = operation_of(url, self.surface)
        if self.surface is Surface.OPENAI:
            self._operation = operation_of(self.endpoint, self.surface)
            if url != self.endpoint:
                message = f"The URL provided for this request does not match the endpoint '{self.endpoint}'."
                return file_error("url_mismatch", message, "url")
            return None
        self._operation = self._operation or operation
        if operation is None or operation != self._operation:
            return file_error("url_mismatch", "The URL of this line is not that of the other lines.", "url")
        if operation not in _AZURE_OPERATIONS:
            return file_error(
                "invalid_request", f"Batches do not support the operation '{operation}'.", "url"
            )
        return None

    def _body_problem(self, body: object) -> dict[str, Any] | None:
        if not isinstance(body, dict):
            return file_error("invalid_request", "Invalid 'body': expected an object.", "body")
        model = body.get("model")
        if not isinstance(model, str) or not model:
            return file_error("invalid_request", "Missing required parameter: 'body.model'.", "body.model")
        if self.model is None and self.has_deployment(model):
            self.model = model
        if model != self.model:
            if not self.has_deployment(model):
                return file_error("model_not_found", f"The model '{model}' does not exist.", "body.model")
            message = f"All lines must have one model; this one has '{model}', others '{self.model}'."
            return file_error("model_mismatch", message, "body.model")
        if model.endswith(LIVE_SUFFIX):
            return file_error("invalid_request", f"'{model}' is not a deployment for batches.", "body.model")
        if body.get("stream"):
            return file_error("invalid_request", "Streaming is not supported in a batch.", "body.stream")
        if REFUSED_LINE_TRIGGER in (prompt := prompt_text(body)):
            return file_error("invalid_request", "The service does not take such a line.", "body")
        given = body.get("input")
        self.inputs += len(given) if isinstance(given, list) else 1
        self.input_tokens += _input_tokens(body, prompt)
        return None


def _input_tokens(body: dict[str, Any], text: str) -> int:
    """Estimate the tokens of a prompt, whose text is `text`, with its images."""
    images: int | ServiceReply = 0
    if "image" in text:
        text = "\n".join(line for line in text.split("\n") if not line.startswith("data:"))
        messages = body.get("messages", body.get("input"))
        images = count_images(messages if isinstance(messages, list) else [], name="messages")
    counted = count_tokens(text) + TOKENS_PER_MESSAGE
    return counted if isinstance(images, ServiceReply) else counted + images


def file_error(code: str, message: str, param: str | None = None) -> dict[str, Any]:
    """Return an error of a file as a whole, or of a line whose number comes later."""
    return {"code": code, "message": message, "param": param, "line": None}
