"""Files in, finished run out: the one place where reading, asking and writing are joined.

It knows no terminal and no host. What happens is told to one callable as events; how it ended is the
`RunEnd`, whose exit code is the run's.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from batchscore.endpoint.from_settings import Endpoint
from batchscore.engine import end_task
from batchscore.engine.engine import Engine
from batchscore.engine.open import DRAIN_SECONDS, open_engine
from batchscore.errors import BatchscoreError, OutputError, UnreadableFile
from batchscore.output.ledger import Ledger
from batchscore.output.manifest import Manifest
from batchscore.output.parts import FileInParts, Part
from batchscore.plan.survey import Ready, Survey, opened
from batchscore.read import digest
from batchscore.report.run_end import RunEnd
from batchscore.rows import (
    Attempt,
    Event,
    FileFinished,
    FileOpened,
    Listen,
    Notice,
    Prompt,
    RowError,
    RowsSettled,
    Score,
    Settled,
)
from batchscore.settings.fields import Settings
from batchscore.settings.slices import RequestSettings, cut

#: Whether this process may use one core only (`taskset`, small containers).
ONE_CORE = len(os.sched_getaffinity(0)) == 1 if hasattr(os, "sched_getaffinity") else os.cpu_count() == 1

#: So many parts may wait to be written before no more results are taken.
MOST_UNWRITTEN = 1

#: Seconds between two looks at how the deployments stand.
PULSE_SECONDS = 1.0

#: Of so many rows the ids are compared, so that memory stays bounded.
MOST_IDS = 200_000


@dataclass(slots=True)
class Job:
    """One run over the files of a survey."""

    survey: Survey
    settings: Settings
    ledger: Ledger
    endpoints: Sequence[Endpoint]
    environ: Mapping[str, str]
    listen: Listen
    stop: asyncio.Event
    drain_seconds: float = DRAIN_SECONDS
    finished: list[FileFinished] = field(default_factory=list)
    through: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    digests: dict[str, asyncio.Future[str]] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)
    opened: int = 0
    rows_left: int | None = None
    unwritten: list[Part] = field(default_factory=list)
    writer: asyncio.Task[None] | None = None
    limited: bool = False
    ids: set[int] = field(default_factory=set)
    repeated_ids: int = 0

    async def run(self) -> RunEnd:
        """Score everything; a failure that ends the run early is in the outcome, not raised."""
        self.rows_left = self.settings.limit
        for problem in self.survey.problems:
            self.finish_unreadable(problem.file, problem.reason)
        failure: BatchscoreError | None = None
        source = self.prompts()
        try:
            await self.digest_complete()
            engine = open_engine(
                cut(RequestSettings, self.settings),
                self.endpoints,
                source,
                environ=self.environ,
                listen=self.hear,
                stop=self.stop,
                dimensions=self.ledger.dimensions,
            )
            # Closed here, so that an output that fails ends the asking at once and not some time later.
            async with engine as running, aclosing(running.settled()) as settled:
                running.drain_seconds = self.drain_seconds
                # What is in no journal yet would be lost with this process: it is at most what was in flight.
                running.results.most = 1
                pulse = asyncio.create_task(self.pulse(running))
                try:
                    async for rows in settled:
                        self.tell(rows)
                        self.unwritten += self.ledger.settle(rows)
                        await self.write_behind()
                        await self.close_files()
                finally:
                    await end_task.end(pulse)
            await self.write_behind(0)
        except BatchscoreError as error:
            failure = error
        finally:
            source.close()
            if self.writer is not None:
                # What it could not write is tried again when its file is closed.
                await asyncio.wait([self.writer])
        for name in [*self.through, *(name for name in self.ledger.open if name not in self.through)]:
            try:
                await self.close(name)
            except BatchscoreError as error:
                failure = failure or error
        try:
            self.ledger.close()
        except BatchscoreError as error:
            failure = failure or error
        return RunEnd(
            files=(*self.finished, *self.unfinished()),
            limited=self.limited,
            stopped=self.stop.is_set(),
            stopped_by=failure,
            repeated_ids=self.repeated_ids,
        )

    def hear(self, event: Event) -> None:
        """Charge what a request cost to the rows that it was for, and tell the listener."""
        if isinstance(event, Attempt) and event.prompts:
            tokens = event.prompt_tokens + event.completion_tokens
            self.ledger.charge(event.prompts, tokens, kept=not event.cause)
        self.listen(event)

    async def pulse(self, engine: Engine) -> None:
        """Tell the listener now and then how the deployments stand."""
        while True:
            self.listen(engine.heartbeat(len(self.unwritten)))
            await asyncio.sleep(PULSE_SECONDS)

    async def digest_complete(self) -> None:
        """Digest the files that were scored to their end: whether they are the same is asked first."""
        loop = asyncio.get_running_loop()
        for ready in self.survey.ready:
            if self.ledger.needs_digest(ready.file.name):
                self.digests[ready.file.name] = loop.run_in_executor(None, digest, ready.file.path)
                await asyncio.wait([self.digests[ready.file.name]])

    def prompts(self) -> Generator[Prompt | Settled, None, None]:
        """Give what every file's rows ask, but what earlier runs have settled."""
        loop = asyncio.get_running_loop()
        for ready in self.survey.ready:
            if self.rows_left == 0:
                self.limited = True
                return
            self.opened += 1
            name = ready.file.name
            if name not in self.digests:
                # Hashing runs beside the reading; it is needed only when the file is through.
                self.digests[name] = loop.run_in_executor(None, digest, ready.file.path)
            digests = self.digests[name]
            progress = self.ledger.start(name, digests.result() if self.ledger.needs_digest(name) else "")
            self.known[name] = self.standing(self.ledger.manifests[name])
            self.listen(FileOpened(name, self.known[name]))
            if progress is None:
                self.through.append(name)
                if self.rows_left is not None:
                    self.rows_left = max(0, self.rows_left - self.ledger.manifests[name].rows)
                continue
            if progress.damaged and not self.ledger.spec.shared:
                self.listen(Notice(progress.damage))
            try:
                yield from progress.unanswered(self.asked(ready, progress))
                if not progress.limited:
                    progress.end()
            except UnreadableFile as error:
                self.problems[name] = error.reason
            self.through.append(name)

    def asked(self, ready: Ready, progress: FileInParts) -> Iterator[Prompt | Settled]:
        """Give what each row of one file asks, as far as the limit lets."""
        ids = self.ids
        with opened(ready.file, self.survey.options) as table:
            for row in table.rows:
                if self.rows_left is not None:
                    if self.rows_left == 0:
                        progress.limited = self.limited = True
                        return
                    self.rows_left -= 1
                item = ready.builder.build(row)
                if item.id is not None:
                    # Ids that come more than once are counted, as far as memory allows.
                    key = hash(item.id)
                    if key in ids:
                        self.repeated_ids += 1
                    elif len(ids) < MOST_IDS:
                        ids.add(key)
                yield item

    def tell(self, rows: list[Settled]) -> None:
        """Tell the listener what was settled."""
        errors = Counter(row.result.code for row in rows if isinstance(row.result, RowError))
        reasons: Counter[str] = Counter()
        if self.settings.task != "embeddings":
            for row in rows:
                if isinstance(row.result, Score):
                    found = row.result.finish_reason
                    reasons.update(str(each) for each in (found if isinstance(found, list) else [found]))
        self.listen(RowsSettled(len(rows) - sum(errors.values()), errors, reasons))

    async def publish(self, part: Part) -> None:
        """Encode and write a part; writing may take a while, so others go on meanwhile.

        On a single core a second thread that computes gains nothing, and costs the first its caches.
        """
        if ONE_CORE:
            await asyncio.to_thread(self.ledger.publish, self.ledger.encode(part))
        else:
            await asyncio.to_thread(lambda: self.ledger.publish(self.ledger.encode(part)))

    async def write_behind(self, most: int = MOST_UNWRITTEN) -> None:
        """Write parts in the background; wait while more than `most` are not written.

        Results go on into their journals meanwhile.
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
        """Write the part that waits longest."""
        await self.publish(self.unwritten[0])
        del self.unwritten[0]

    async def close_files(self) -> None:
        """Finish the files that are read and wholly settled."""
        for name in [*self.through]:
            progress = self.ledger.open.get(name)
            if progress is None or not progress.waiting:
                await self.write_behind(0)
                self.through.remove(name)
                await self.close(name)

    async def close(self, name: str) -> None:
        """Write a file's last manifest and report it."""
        manifest = self.ledger.manifests[name]
        progress = self.ledger.open.get(name)
        unscored = 0
        failure: OutputError | None = None
        if progress is not None:
            self.known[name] += progress.replayed
            del self.ledger.open[name]
            parts = [part for part in self.unwritten if part.file == name]
            for part in (*parts, *progress.open.values()):
                try:
                    await self.publish(part)
                except OutputError as error:
                    failure = error
                if part.number not in manifest.parts:  # nothing of it is settled, or it cannot be written
                    unscored += part.read
            manifest.problem = self.problems.get(name, "")
            whole = progress.ended and not progress.waiting and failure is None
            manifest.state = "unreadable" if manifest.problem else "complete" if whole else "partial"
            manifest.input = await self.digests[name]
            await asyncio.to_thread(self.ledger.finish, name)
        self.digests.pop(name, None)
        complete = manifest.state == "complete" or (progress is not None and progress.ended)
        self.finished.append(self.account(name, manifest.state, unscored, complete=complete))
        self.listen(self.finished[-1])
        if failure is not None:
            raise failure

    def finish_unreadable(self, name: str, reason: str) -> None:
        """Account for a file that was never opened for scoring."""
        self.finished.append(FileFinished(name, "unreadable", 0, 0, 0, 0, problem=reason, complete=False))
        self.listen(self.finished[-1])

    def unfinished(self) -> Iterator[FileFinished]:
        """Account for the files that the run did not come to, or could not close."""
        told = {file.file for file in self.finished}
        for place, ready in enumerate(self.survey.ready):
            name = ready.file.name
            before = self.ledger.manifests.get(name)
            if name in told:
                continue
            if place < self.opened:
                yield self.account(name, "partial", complete=False)
            elif before is not None and before.is_done(retry_errors=self.settings.retry_errors):
                yield self.account(name, "complete", complete=True)
            else:
                yield self.account(name, "not_started", complete=False)

    def standing(self, manifest: Manifest) -> int:
        """Return how many of a file's rows this run need not ask."""
        return manifest.final_rows(retry_errors=self.settings.retry_errors)

    def account(self, name: str, state: str, unscored: int = 0, *, complete: bool) -> FileFinished:
        """Return a file's figures: those of its manifest, and the `unscored` rows that it doesn't hold."""
        manifest = self.ledger.manifests.get(name) or Manifest(name, self.settings.task, {})
        return FileFinished(
            file=name,
            state=state,
            rows=manifest.rows + unscored,
            ok=manifest.ok,
            errors=manifest.errors,
            empty=manifest.empty,
            known=self.known.get(name, self.standing(manifest)),
            problem=manifest.problem,
            complete=complete,
            **manifest.costs,
        )
