"""Which batches does a project have, and may it create another one?

It must not know HTTP, nor how a batch proceeds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from batchscore.simulator.batch.books import TokenUse
from batchscore.simulator.batch.clock import ProjectClock
from batchscore.simulator.batch.errors import (
    expiry_seconds,
    metadata_problem,
    missing_parameter,
    no_file,
    refused,
)
from batchscore.simulator.batch.files import SimulatedFile
from batchscore.simulator.batch.input_file import InputScan, operation_of
from batchscore.simulator.batch.lifecycle import BatchRequest, BatchTools, SimulatedBatch
from batchscore.simulator.batch.objects import in_forms, times_of, usage_of
from batchscore.simulator.error_replies import Rejection, Surface
from batchscore.simulator.service import OPERATIONS
from batchscore.simulator.state import retry_after_headers

#: The longest time that a poll works to bring batches to the present.
_POLL_SECONDS = 1.0


class Batches:
    """The batches of a project, oldest first."""

    def __init__(self, tools: BatchTools, clock: ProjectClock, has_deployment: Callable[[str], bool]) -> None:
        self._tools = tools
        self._clock = clock
        self._has_deployment = has_deployment
        self._by_id: dict[str, SimulatedBatch] = {}

    async def create(self, body: dict[str, Any], surface: Surface) -> SimulatedBatch:
        """Create a batch; raises `Rejection`."""
        request = _parse_request(body, surface)
        file = self._input(request)
        rules, now = self._tools.rules(), self._clock.now()
        wait = self._tools.books.seconds_until_creation(now, rules.batches_per_hour)
        if wait > 0:
            message = f"Rate limit reached: {rules.batches_per_hour} batches per hour."
            rejection = refused(surface, message, code="rate_limit_exceeded", status=429)
            raise Rejection(rejection.reply._replace(headers=retry_after_headers(wait)))
        link = self._tools.files.folder / f"input-{os.urandom(12).hex()}.jsonl"
        # The file may be deleted while the batch needs it.
        os.link(file.path, link)
        scan = InputScan(link, request.endpoint, surface, rules, self._has_deployment)
        batch = SimulatedBatch(request, scan, self._tools, number=len(self._by_id), now=now)
        if rules.invalid_at_create or rules.quota_at_create:
            await batch.check_input()
            problems = batch.problems(now, quota_only=not rules.invalid_at_create)
            if problems:
                batch.discard()
                first = problems[0]
                raise refused(surface, first["message"], param=first["param"], code=first["code"])
        self._by_id[batch.id] = batch
        return batch

    async def get(self, identifier: str) -> SimulatedBatch | None:
        """Return a batch as it is now."""
        batch = self._by_id.get(identifier)
        if batch is not None:
            await batch.step(self._clock.now(), _POLL_SECONDS)
        return batch

    async def cancel(self, batch: SimulatedBatch, surface: Surface) -> None:
        """Cancel a batch; raises `Rejection`."""
        if not batch.is_active:
            status = 409 if surface is Surface.OPENAI else 400
            message = f"Cannot cancel a batch with status '{batch.status}'."
            raise refused(surface, message, status=status)
        await batch.cancel(self._clock.now())

    async def step(self, patience: float) -> None:
        """Bring all batches to the present, as far as that is possible in this many seconds of work."""
        ends = time.monotonic() + patience
        for batch in self.active():
            await batch.step(self._clock.now(), max(0.0, ends - time.monotonic()))

    def active(self) -> list[SimulatedBatch]:
        """Return the batches that can still change."""
        return [batch for batch in self._by_id.values() if batch.is_active]

    def object_of(self, batch: SimulatedBatch) -> dict[str, Any]:
        """Return the batch object."""
        return self._shown(batch.to_json())

    def foreign(self, identifier: str) -> dict[str, Any] | None:
        """Return the object of a batch of somebody else."""
        return next((self._shown(one) for one in self._foreign() if one["id"] == identifier), None)

    async def listed(self) -> list[dict[str, Any]]:
        """Return the objects of all that can be seen, newest first unless the rules say otherwise."""
        await self.step(_POLL_SECONDS)
        hidden_after = self._clock.now() - self._tools.rules().batch_hidden
        seen = [batch.to_json() for batch in self._by_id.values() if batch.times["created"] <= hidden_after]
        documents = sorted([*self._foreign(), *seen], key=lambda one: one["created_at"])
        if not self._tools.rules().oldest_first:
            documents.reverse()
        return [self._shown(document) for document in documents]

    def everything(self) -> list[dict[str, Any]]:
        """Return the objects of all batches, also of those that cannot be seen, oldest first."""
        return [batch.to_json() for batch in self._by_id.values()]

    def _shown(self, document: dict[str, Any]) -> dict[str, Any]:
        rules = self._tools.rules()
        return in_forms(document, rules.forms) | ({} if rules.metadata else {"metadata": None})

    def _foreign(self) -> list[dict[str, Any]]:
        """Return the batches of somebody else in the same project, created every ten minutes until now."""
        now = self._clock.now()
        return [
            {
                "id": f"batch_of_somebody_else_{number}",
                "object": "batch",
                "endpoint": "/v1/chat/completions",
                "errors": None,
                "input_file_id": f"file-of-somebody-else-{number}",
                "completion_window": "24h",
                "status": "completed",
                "output_file_id": f"file-output-of-somebody-else-{number}",
                "error_file_id": None,
                **times_of({"created": now - 600 * number - 1, "completed": now, "expires": now + 80_000}),
                "request_counts": {"total": 7, "completed": 7, "failed": 0},
                "metadata": {"owner": "somebody else"},
                "model": "gpt-4o-mini",
                "usage": usage_of(TokenUse()),
            }
            for number in range(self._tools.rules().foreign_batches)
        ]

    def _input(self, request: BatchRequest) -> SimulatedFile:
        """Return the file that a batch reads; raises `Rejection`."""
        surface = request.surface
        file = self._tools.files.get(request.input_file_id)
        if file is None:
            raise no_file(surface, request.input_file_id, param="input_file_id")
        if file.purpose != "batch":
            message = f"Invalid purpose of the input file: '{file.purpose}'. Expected 'batch'."
            raise refused(surface, message, param="input_file_id")
        state = self._tools.files.state(file)
        if state != "processed":
            message = f"The input file {file.id} has the status '{state}'. It must be 'processed'."
            raise refused(surface, message, param="input_file_id")
        return file


def _parse_request(body: dict[str, Any], surface: Surface) -> BatchRequest:
    """Return what a batch is created with; raises `Rejection`."""
    for name in ("input_file_id", "endpoint", "completion_window"):
        if body.get(name) is None:
            raise missing_parameter(surface, name)
        if not isinstance(body[name], str):
            message = f"Invalid type for '{name}': expected a string."
            raise refused(surface, message, param=name, code="invalid_type")
    endpoint, window = body["endpoint"], body["completion_window"]
    if operation_of(endpoint, surface) is None:
        shown = ", ".join(f"'/v1/{name}'" for name in OPERATIONS)
        message = f"Invalid value: '{endpoint}'. Supported values are: {shown}."
        raise refused(surface, message, param="endpoint", code="invalid_value")
    if window != "24h" and surface is Surface.OPENAI:
        message = f"Invalid value: '{window}'. Supported values are: '24h'."
        raise refused(surface, message, param="completion_window", code="invalid_value")
    metadata = body.get("metadata")
    problem = metadata_problem(metadata)
    if problem is not None:
        raise refused(surface, problem, param="metadata", code="invalid_type")
    expires_after = expiry_seconds(surface, "output_expires_after", body.get("output_expires_after"))
    return BatchRequest(body["input_file_id"], endpoint, window, metadata, expires_after, surface)
