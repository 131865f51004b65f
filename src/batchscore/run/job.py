"""How do prompts become published parts? The one loop that joins reading, requests and writing.

It knows no terminal and no host. It reports what happens to one listener; how each file ended is returned.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any, Protocol

from batchscore.engine import end_task
from batchscore.engine.valve import Valve
from batchscore.errors import UnreadableFile
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
from batchscore.run.ending_file import EndingFile
from batchscore.run.prompt_source import PromptSource
from batchscore.run.stop import Stop
from batchscore.task import Task

#: Whether this process may use one core only (`taskset`, small containers).
ONE_CORE = len(os.sched_getaffinity(0)) == 1 if hasattr(os, "sched_getaffinity") else os.cpu_count() == 1

#: Parts that may wait to be written before no more results are taken.
MOST_UNWRITTEN = 1

#: Files of which the last parts and manifests are written in one turn, unless their rows take more memory.
FILES_AT_ONCE = 64
BYTES_AT_ONCE = 4 * 2**20

#: Seconds between two reports of the deployments' state.
PULSE_SECONDS = 1.0


class RunningEngine(Protocol):
    """What answers the prompts of a run: live requests, or the service's Batch API.

    It takes an iterator of prompts and of rows that need none. It gives each row once, and stops on the run's
    stop event.
    """

    def keep_each_row(
        self, drain_seconds: float, note_service: Callable[[bool], None], ready: Valve | None = None
    ) -> None:
        """Serve a run that records each row, before the first one is taken.

        `note_service` gets with the first answer, and with a change, whether the simulator answers. After a
        stop, calls in flight have `drain_seconds`. The next prompt can be taken without waiting while `ready`
        is open.
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
    #: The last parts of each file, which are written with its last manifest.
    last: dict[str, list[Part]] = field(default_factory=dict)
    writer: asyncio.Task[None] | None = None

    async def run(self) -> tuple[FileFinished, ...]:
        """Score everything and return each file's figures; an error that ends the run goes to `stop`."""
        for each in self.source.survey.problems:
            figures = FileFinished(each.name, "unreadable", 0, 0, 0, 0, problem=each.reason, complete=False)
            self.finish(figures)
        with self.stop.keep_error():
            await self.settle_all()
        names = [*dict.fromkeys((*self.source.through.names, *self.ledger.open))]
        with self.stop.keep_error():
            await self.close(names)
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
                        for part in self.ledger.settle(rows):
                            ends = self.is_settled(part.file)
                            (self.last.setdefault(part.file, []) if ends else self.unwritten).append(part)
                        await self.write_behind()
                        await self.close_files([row.file for row in rows])
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
        if type(event) is Attempt and event.prompts:
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
        scores = [row.result for row in rows if isinstance(row.result, Score)]
        errors = Counter([row.result.code for row in rows if isinstance(row.result, RowError)])
        answers, reasons = list[Any](), list[str | None]()
        for score in scores if self.task.answer == "text" else ():
            # A single answer may be a list, too.
            if isinstance(score.finish_reason, list):
                answers += score.value
                reasons += score.finish_reason
            else:
                answers.append(score.value)
                reasons.append(score.finish_reason)
        without_text = answers.count(None) + answers.count("")
        self.listen(RowsSettled(len(scores), errors, Counter(map(str, reasons)), without_text))

    def is_settled(self, name: str) -> bool:
        """Whether a file is read to its end and no row of it waits."""
        progress = self.ledger.open.get(name)
        return progress is None or (progress.ended and not progress.waiting)

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

    async def close_files(self, settled: Iterable[str]) -> None:
        """Finish the files that are read and of which no row waits; `settled` are those with new results."""
        through = self.source.through
        # All others are as they were when this was last asked.
        names = [name for name in dict.fromkeys((*settled, *through.take_new())) if name in through.names]
        names = [name for name in names if (file := self.ledger.open.get(name)) is None or not file.waiting]
        if names:
            await self.write_behind(0)
            await self.close(names)

    async def close(self, names: Iterable[str]) -> None:
        """Write the last parts and manifests of files, and report the files' figures.

        What fails keeps no other file from its end; the first failure is raised after the last file.
        """
        failures, files, memory = list[Exception](), list[EndingFile](), 0
        for name in names:
            try:
                if (file := await self.begin_to_close(name)) is not None:
                    files.append(file)
                    memory += file.memory
            except Exception as error:
                failures.append(error)
            if len(files) >= FILES_AT_ONCE or memory > BYTES_AT_ONCE:
                failures += await self.end_files(files)
                files, memory = [], 0
        failures += await self.end_files(files)
        if failures:
            raise failures[0]

    async def begin_to_close(self, name: str) -> EndingFile | None:
        """Return a file with what is left to write of it; report one that was not opened, and return none."""
        source = self.source
        source.through.names.pop(name, None)
        progress, problem = self.ledger.open.pop(name, None), source.problems.get(name, "")
        if progress is None:  # its records stay as they are
            state = "unreadable" if problem else self.ledger.manifests[name].state
            figures = self.figures(name, state, complete=state == "complete")
            self.finish(replace(figures, problem=problem) if problem else figures)
            return None
        source.known[name] += progress.replayed
        unwritten = [part for part in self.unwritten if part.file == name]
        parts = [*unwritten, *self.last.pop(name, ()), *progress.open.values()]
        file = EndingFile(self.ledger, self.ledger.manifests[name], progress, parts)
        try:
            file.manifest.input = await source.end_digest(name, whole=progress.ended)
        except UnreadableFile as error:  # it was removed after it was opened
            problem = problem or error.reason
        file.manifest.problem = problem
        return file

    async def end_files(self, files: list[EndingFile]) -> list[Exception]:
        """Write the last parts and manifests of files, and report their figures; return what failed."""
        if ONE_CORE and sum(file.memory for file in files) <= BYTES_AT_ONCE:
            for file in files:
                file.encode()
        if files:
            # One thread for all: to begin one takes longer than to write a small file.
            await asyncio.to_thread(self.write_files, files)
        failures = [file.failure for file in files if file.failure is not None]
        for file in files:
            manifest = file.manifest
            read = file.progress.ended and self.ledger.spec.share.is_whole
            ended = manifest.state == "complete" or read
            try:
                figures = self.figures(manifest.file, manifest.state, file.unscored, complete=ended)
                self.finish(replace(figures, in_journal=file.in_journal, not_saved=file.not_saved))
            except Exception as error:
                failures.append(error)
        return failures

    def write_files(self, files: Iterable[EndingFile]) -> None:
        """Write the last parts and manifests of files."""
        for file in files:
            file.write()

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
        figures = manifest.totals()
        figures["state"] = state
        figures["rows"] += unscored
        known = self.source.known.get(name)
        return FileFinished(
            **figures,
            known=self.source.settled_rows(manifest) if known is None else known,
            complete=complete,
            input=manifest.input,
            records_digest=manifest.records_digest,
        )
