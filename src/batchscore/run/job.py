"""How do prompts become published parts? The one loop that joins reading, requests and writing.

It knows no terminal and no host. It reports what happens to one listener; how each file ended is returned.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Protocol

from batchscore.engine import end_task
from batchscore.errors import OutputError, UnreadableFile
from batchscore.output.ledger import Ledger
from batchscore.output.manifest import Manifest
from batchscore.output.parts import Part
from batchscore.rows import (
    Attempt,
    Event,
    FileFinished,
    Heartbeat,
    Listen,
    RowError,
    RowsSettled,
    Score,
    Settled,
)
from batchscore.run.prompt_source import PromptSource
from batchscore.run.stop import Stop
from batchscore.task import Task

#: Whether this process may use one core only (`taskset`, small containers).
ONE_CORE = len(os.sched_getaffinity(0)) == 1 if hasattr(os, "sched_getaffinity") else os.cpu_count() == 1

#: Parts that may wait to be written before no more results are taken.
MOST_UNWRITTEN = 1

#: Seconds between two reports of the deployments' state.
PULSE_SECONDS = 1.0


class RunningEngine(Protocol):
    """What answers the prompts of a run: live requests, or the service's Batch API.

    It takes an iterator of prompts and of rows that need none. It gives each row once, and stops on the run's
    stop event.
    """

    def keep_each_row(
        self, drain_seconds: float, note_service: Callable[[bool], None], ready: asyncio.Event | None = None
    ) -> None:
        """Serve a run that records each row, before the first one is taken.

        `note_service` gets with the first answer, and with a change, whether the simulator answers. After a
        stop, calls in flight have `drain_seconds`. The next prompt can be taken without waiting while `ready`
        is set.
        """

    def settled(self) -> AsyncGenerator[list[Settled], None]:
        """Give lists of settled rows. When the next list is taken, the last one is in the journal."""

    def heartbeat(self, unwritten: int) -> Heartbeat:
        """Return the state of the deployments."""


@dataclass(slots=True)
class Job:
    """One run's loop over its files."""

    task: Task
    source: PromptSource
    ledger: Ledger
    open_engine: Callable[..., AbstractAsyncContextManager[RunningEngine]]
    listen: Listen
    stop: Stop
    drain_seconds: float
    #: Whether the engine has work of its own, beside the prompts: batches that earlier runs have sent.
    opens_without_prompts: bool = False
    finished: list[FileFinished] = field(default_factory=list)
    unwritten: list[Part] = field(default_factory=list)
    writer: asyncio.Task[None] | None = None

    async def run(self) -> tuple[FileFinished, ...]:
        """Score everything and return each file's figures; an error that ends the run goes to `stop`."""
        for each in self.source.survey.problems:
            figures = FileFinished(each.name, "unreadable", 0, 0, 0, 0, problem=each.reason, complete=False)
            self.finish(figures)
        with self.stop.keep_error():
            await self.settle_all()
        through = self.source.through
        for name in [*through, *(name for name in self.ledger.open if name not in through)]:
            with self.stop.keep_error():
                await self.close(name)
        with self.stop.keep_error():
            self.ledger.close()
        return *self.finished, *self.unfinished()

    async def settle_all(self) -> None:
        """Send what is not settled, and take the results until there are no more or the run must stop."""
        self.source.is_stopping = self.stop.event.is_set
        prompts = self.source.prompts()
        try:
            await self.source.digest_complete_files()
            # A finished output needs no engine, whose imports and connections are a third of a short run.
            first = list(islice(prompts, 1))
            if not first and not self.opens_without_prompts:
                return
            engine = self.open_engine(
                chain(first, prompts),
                listen=self.charge_and_listen,
                stop=self.stop.event,
                dimensions=self.ledger.dimensions,
            )
            # Closed here, so that an output that fails ends the requests at once and not some time later.
            async with engine as running, aclosing(running.settled()) as settled:
                running.keep_each_row(self.drain_seconds, self.ledger.note_service, self.source.ready)
                pulse = asyncio.create_task(self.pulse(running))
                try:
                    async for rows in settled:
                        self.report(rows)
                        self.unwritten += self.ledger.settle(rows)
                        await self.write_behind()
                        await self.close_files()
                finally:
                    await end_task.end(pulse)
            await self.write_behind(0)
        finally:
            prompts.close()
            if self.writer is not None:
                # What it could not write is tried again when its file is closed.
                await asyncio.wait([self.writer])

    def charge_and_listen(self, event: Event) -> None:
        """Charge a request's tokens to its rows, and pass the event on."""
        if isinstance(event, Attempt) and event.prompts:
            tokens = event.prompt_tokens + event.completion_tokens
            self.ledger.charge(event.prompts, tokens, event.requests, kept=not event.cause)
        self.listen(event)

    async def pulse(self, engine: RunningEngine) -> None:
        """Report the deployments' state regularly."""
        while True:
            self.listen(engine.heartbeat(len(self.unwritten)))
            await asyncio.sleep(PULSE_SECONDS)

    def report(self, rows: list[Settled]) -> None:
        """Report settled rows to the listener."""
        errors = Counter([row.result.code for row in rows if isinstance(row.result, RowError)])
        reasons: dict[str, int] = {}
        without_text = 0
        for row in rows if self.task.answer == "text" else ():
            if isinstance(row.result, Score):
                found, value = row.result.finish_reason, row.result.value
                # A single answer may be a list, too.
                values, of_values = (value, found) if isinstance(found, list) else ((value,), (found,))
                for answer, reason in zip(values, of_values, strict=True):
                    reasons[str(reason)] = reasons.get(str(reason), 0) + 1
                    without_text += answer is None or answer == ""
        self.listen(RowsSettled(len(rows) - sum(errors.values()), errors, reasons, without_text))

    async def publish(self, part: Part) -> None:
        """Encode and write a part in a thread, so that requests continue meanwhile.

        On a single core a second thread that computes gains nothing, and costs the first its caches.
        """
        if ONE_CORE:
            await asyncio.to_thread(self.ledger.publish, self.ledger.encode(part))
        else:
            await asyncio.to_thread(lambda: self.ledger.publish(self.ledger.encode(part)))

    async def write_behind(self, most: int = MOST_UNWRITTEN) -> None:
        """Write parts in the background; wait while more than `most` are not written.

        Results still go into their journals meanwhile.
        """
        while self.unwritten:
            if self.writer is None:
                self.writer = asyncio.create_task(self.write_first())
            if self.writer.done() or len(self.unwritten) > most:
                writer, self.writer = self.writer, None
                await writer
            else:
                return

    async def write_first(self) -> None:
        """Write the part that has waited longest."""
        await self.publish(self.unwritten[0])
        del self.unwritten[0]

    async def close_files(self) -> None:
        """Finish the files that are read and whose rows are all settled."""
        for name in [*self.source.through]:
            progress = self.ledger.open.get(name)
            if progress is None or not progress.waiting:
                await self.write_behind(0)
                self.source.through.remove(name)
                await self.close(name)

    async def close(self, name: str) -> None:
        """Write a file's last manifest and report its figures."""
        source = self.source
        progress = self.ledger.open.get(name)
        problem = source.problems.get(name, "")
        if progress is None and problem:  # it was not opened, so its records stay as they are
            self.finish(replace(self.figures(name, "unreadable", complete=False), problem=problem))
            return
        manifest = self.ledger.manifests[name]
        unscored = in_journal = not_saved = 0
        failure: OutputError | None = None
        if progress is not None:
            source.known[name] += progress.replayed
            del self.ledger.open[name]
            parts = [part for part in self.unwritten if part.file == name]
            for part in (*parts, *progress.open.values()):
                try:
                    await self.publish(part)
                except OutputError as error:
                    failure = error
                    with suppress(OutputError):
                        saved, lost = self.ledger.scores_in_journal(part)
                        in_journal, not_saved = in_journal + saved, not_saved + lost
                if part.number not in manifest.parts:  # none of its rows is settled, or it cannot be written
                    unscored += part.read
            try:
                manifest.input = await source.end_digest(name, whole=progress.ended)
            except UnreadableFile as error:  # it was removed after it was opened
                problem = problem or error.reason
            manifest.problem = problem
            complete = progress.ended and not progress.waiting and failure is None
            manifest.state = "unreadable" if manifest.problem else "complete" if complete else "partial"
            try:
                await asyncio.to_thread(self.ledger.finish, name)
            except OutputError as error:
                failure, manifest.state = failure or error, "partial"
        read = progress is not None and progress.ended and self.ledger.spec.share.is_whole
        ended = manifest.state == "complete" or read
        figures = self.figures(name, manifest.state, unscored, complete=ended)
        self.finish(replace(figures, in_journal=in_journal, not_saved=not_saved))
        if failure is not None:
            raise failure

    def finish(self, file: FileFinished) -> None:
        """Report a file's figures."""
        self.finished.append(file)
        self.listen(file)

    def unfinished(self) -> Iterator[FileFinished]:
        """Give the figures of the files that the run did not reach, or could not close."""
        reported = {file.file for file in self.finished}
        for place, ready in enumerate(self.source.survey.ready):
            name = ready.file.name
            before = self.ledger.manifests.get(name)
            if name in reported:
                continue
            done = before is not None and before.is_done(retry_errors=self.ledger.spec.retry_errors)
            opened = place < self.source.files_opened
            state = "partial" if opened else "complete" if done else "not_started"
            yield self.figures(name, state, complete=state == "complete")

    def figures(self, name: str, state: str, unscored: int = 0, *, complete: bool) -> FileFinished:
        """Return a file's figures: those of its manifest, and the `unscored` rows that it does not hold."""
        manifest = self.ledger.manifests.get(name) or Manifest(name, self.task.name, {})
        figures = manifest.totals() | {"state": state, "rows": manifest.rows + unscored}
        known = self.source.known.get(name, self.source.settled_rows(manifest))
        figures |= {"input": manifest.input, "records_digest": manifest.records_digest}
        return FileFinished(**figures, known=known, complete=complete)
