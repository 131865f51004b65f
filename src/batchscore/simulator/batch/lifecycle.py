"""In which state is a batch, and what is done in it? Nothing happens until somebody looks.

It must not know HTTP nor other batches. `step` brings a batch to the present: it checks the input, runs the
lines that are due and writes the results, in slices, so that other requests get their turns.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

import orjson

from batchscore.simulator.batch.books import Books, TokenUse
from batchscore.simulator.batch.files import FileStore, UploadForm
from batchscore.simulator.batch.input_file import InputScan, file_error
from batchscore.simulator.batch.lines import LineRunner, write_expired
from batchscore.simulator.batch.objects import times_of, usage_of
from batchscore.simulator.batch.rules import BatchRules
from batchscore.simulator.error_replies import Surface

TERMINAL = frozenset({"failed", "completed", "expired", "cancelled"})
#: Lines per turn of the event loop: about 10 ms.
_LINES_PER_TURN = 256


@dataclass(frozen=True)
class BatchRequest:
    """What a batch was created with. `expires_after` is that of its results, in seconds."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: Mapping[str, str] | None
    expires_after: int | None
    surface: Surface


@dataclass(frozen=True)
class BatchTools:
    """What the batches of a project share."""

    files: FileStore
    books: Books
    runner: LineRunner
    rules: Callable[[], BatchRules]


@dataclass
class _Results:
    """The results so far: how many lines ran, how they ended, and what the output file ends with."""

    done: int = 0
    completed: int = 0
    failed: int = 0
    last: bytes = b""
    total: int = 0
    usage: TokenUse = field(default_factory=TokenUse)


class SimulatedBatch:
    """One batch. `number` is its place among those of the project; `scan` reads its own link to the input."""

    def __init__(
        self, request: BatchRequest, scan: InputScan, tools: BatchTools, *, number: int, now: float
    ) -> None:
        self.id = f"batch_{os.urandom(12).hex()}"
        self.request = request
        self.status = "validating"
        self.times = {"created": now, "validating": now, "expires": now + tools.rules().window}
        self._scan = scan
        self._tools = tools
        self._number = number
        self._lock = asyncio.Lock()
        self._order: array[int] = array("I")
        self._results = _Results()
        self._errors: list[dict[str, Any]] = []
        self._file_ids: dict[str, str] = {}
        self._paths = {kind: tools.files.folder / f"{self.id}-{kind}.jsonl" for kind in ("output", "error")}

    @property
    def is_active(self) -> bool:
        """Whether it can still change."""
        return self.status not in TERMINAL

    async def step(self, now: float, patience: float = inf) -> None:
        """Do what is due at this time. Stop after `patience` seconds of work; the next step continues."""
        ends = time.monotonic() + patience
        if self.is_active:
            # A client that hangs up must not stop it in the middle of a line.
            await asyncio.shield(asyncio.ensure_future(self._advance(now, ends)))

    async def check_input(self, ends: float = inf) -> bool:
        """Read the input file. Return whether it has been read to its end by then."""
        while not self._scan.done:
            if time.monotonic() >= ends:
                return False
            self._scan.read(_LINES_PER_TURN)
            await asyncio.sleep(0)
        return True

    def problems(self, now: float, *, quota_only: bool) -> list[dict[str, Any]]:
        """Return why the checked input is refused: errors of its lines, or the limits of its model."""
        scan = self._scan
        if scan.errors and not quota_only:
            return scan.errors
        if self.request.completion_window != "24h" and not quota_only:
            message = f"Invalid completion_window: '{self.request.completion_window}'."
            return [file_error("invalid_request", message, "completion_window")]
        if scan.model is None:
            return []
        refusal = self._tools.books.refusal(*self._enqueued(), self._tools.rules(), now)
        return [] if refusal is None else [file_error(*refusal)]

    async def cancel(self, now: float) -> None:
        """Let no further line run."""
        async with self._lock:
            if self.is_active and self.status != "cancelling":
                self._enter("cancelling", now)

    def to_json(self) -> dict[str, Any]:
        """Return the batch object as it is now, in the usual form."""
        request, results = self.request, self._results
        forms = self._tools.rules().forms
        early = self.is_active and "early_ids" in forms
        ids = self._file_ids
        if early or (self.status == "failed" and "ids_on_failed" in forms):
            ids = {kind: self._file_id(kind) for kind in self._paths}
        counts = {"total": results.total, "completed": results.completed, "failed": results.failed}
        document = {
            "id": self.id,
            "object": "batch",
            "endpoint": request.endpoint,
            "errors": {"object": "list", "data": self._errors} if self._errors else None,
            "input_file_id": request.input_file_id,
            "completion_window": request.completion_window,
            "status": self.status,
            "output_file_id": ids.get("output"),
            "error_file_id": ids.get("error"),
            **times_of(self.times),
            "request_counts": counts,
            "metadata": request.metadata,
        }
        if request.surface is Surface.OPENAI:
            document |= {"model": self._scan.model, "usage": usage_of(results.usage)}
        return document

    def discard(self) -> None:
        """Drop what it does not need any more."""
        self._scan.path.unlink(missing_ok=True)
        self._scan.ends = array("Q")
        self._order = array("I")

    async def _advance(self, now: float, ends: float) -> None:
        async with self._lock:
            act = {
                "validating": self._validate,
                "in_progress": self._run,
                "finalizing": self._finalize,
                "cancelling": self._end_cancelled,
            }
            while self.is_active and await act[self.status](now, ends):
                pass

    def _due(self, state: str) -> float:
        """Return when it leaves a state."""
        seconds: float | None = getattr(self._tools.rules(), state)
        return inf if seconds is None else self.times[state] + seconds

    def _enter(self, state: str, at: float) -> None:
        self.status = state
        self.times[state] = at

    async def _validate(self, now: float, ends: float) -> bool:
        due = self._due("validating")
        if now < due or not await self.check_input(ends):
            return False
        self._errors = self.problems(due, quota_only=False)
        if self._errors:
            self._enter("failed", due)
            self.discard()
            return True
        self._tools.books.enqueue(*self._enqueued())
        self._results.total = self._scan.count
        self._order = array("I", range(self._results.total))
        if self._tools.rules().shuffle:
            random.Random(self._number).shuffle(self._order)  # noqa: S311 - not for secrets
        self._enter("in_progress", due)
        return True

    def _enqueued(self) -> tuple[str, int, int]:
        """Return what it enqueues: the model, tokens and, of embeddings, requests."""
        scan = self._scan
        requests = self._results.total or scan.count
        return (
            scan.model or "",
            scan.input_tokens,
            requests if self.request.endpoint.endswith("embeddings") else 0,
        )

    async def _run(self, now: float, ends: float) -> bool:
        """Run the lines that are due. Only OpenAI's batch ends with its window."""
        expires = self.times["expires"] if self.request.surface is Surface.OPENAI else inf
        until = min(now, expires)
        share = self._tools.rules().share_done(until - self.times["in_progress"])
        total = self._results.total
        if not await self._run_lines(int(share * total + 1e-9), ends):
            return False
        due = self._due("in_progress")
        if self._results.done == total and until >= due:
            self._enter("finalizing", due)
            return True
        if now >= expires:
            await self._write_expired()
            self._end("expired", expires)
        return False

    async def _run_lines(self, target: int, ends: float) -> bool:
        """Run lines until this many are done. Return whether that was possible by then."""
        results = self._results
        if results.done >= target:
            return True
        bill = self._tools.books.bill(self._scan.model or "")
        source = os.open(self._scan.path, os.O_RDONLY)
        try:
            while results.done < target:
                if time.monotonic() >= ends:
                    return False
                outputs: list[bytes] = []
                errors: list[bytes] = []
                ids: list[bytes] = []
                for index in self._order[results.done : min(target, results.done + _LINES_PER_TURN)]:
                    raw = self._raw_line(source, index)
                    result = await self._tools.runner.run(raw, self.request.surface, self._line_number(index))
                    results.done += 1
                    ids.append(result.custom_id)
                    outputs.append(result.output)
                    errors.append(result.errors)
                    results.last = result.last or results.last
                    reply = result.reply
                    if reply.status == 200:
                        results.completed += 1
                        tokens = (reply.tokens - reply.output_tokens, reply.output_tokens)
                        results.usage.add(*tokens, reply.reasoning_tokens)
                        bill.add(*tokens, reply.reasoning_tokens)
                    else:
                        results.failed += 1
                self._write("output", b"".join(outputs))
                self._write("error", b"".join(errors))
                self._tools.books.log_executions(ids)
                await asyncio.sleep(0)
        finally:
            os.close(source)
        return True

    def _raw_line(self, source: int, index: int) -> bytes:
        ends = self._scan.ends
        start = ends[index - 1] if index else 0
        return os.pread(source, ends[index] - start, start)

    def _line_number(self, index: int) -> str:
        return f"{self.id[6:18]}{index:08x}"

    def _file_id(self, kind: str) -> str:
        return f"file-{self.id[6:]}{kind}"

    def _write(self, kind: str, text: bytes) -> None:
        if text:
            with self._paths[kind].open("ab") as target:
                target.write(text)

    async def _write_expired(self) -> None:
        """Write an error for each line that did not run."""
        source = os.open(self._scan.path, os.O_RDONLY)
        try:
            for start in range(self._results.done, self._results.total, _LINES_PER_TURN):
                lines = []
                for index in self._order[start : start + _LINES_PER_TURN]:
                    custom_id = orjson.dumps(orjson.loads(self._raw_line(source, index))["custom_id"])
                    lines.append(write_expired(custom_id, self.request.surface, self._line_number(index)))
                self._write("error", b"".join(lines))
                await asyncio.sleep(0)
        finally:
            os.close(source)

    async def _finalize(self, now: float, _: float) -> bool:
        due = self._due("finalizing")
        if now >= due:
            self._end("completed", due)
        return False

    async def _end_cancelled(self, now: float, ends: float) -> bool:
        due = self._due("cancelling")
        if now < due:
            return False
        if not self._tools.rules().cancel_loses or "in_progress" not in self.times:
            self._end("cancelled", due)
            return False
        if await self._run_lines(self._results.total, ends):
            self._end("completed", due)
        return False

    def _end(self, state: str, at: float) -> None:
        """Publish the results, and free what it has enqueued."""
        self._write("output", self._results.last)
        if "empty_error_file" in self._tools.rules().forms:
            self._paths["error"].touch()
        for kind, path in self._paths.items():
            if path.exists():
                name = f"{self.id}_{kind}.jsonl"
                after = self.request.expires_after
                if after is None and self.request.surface is Surface.OPENAI:
                    after = 30 * 86_400
                file = self._tools.files.add(
                    UploadForm(path, name, "batch_output", after),
                    self.request.surface,
                    identifier=self._file_id(kind),
                )
                self._file_ids[kind] = file.id
        if self._results.total:
            release = at + self._tools.rules().release_after
            self._tools.books.release(*self._enqueued(), release)
        self._enter(state, at)
        self.discard()
