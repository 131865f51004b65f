"""The rows of a run, answered by a service's Batch API: how does each prompt come back settled, once?

It keeps the contract of the live engine. It reads the whole source, sends its rows in chunks, and settles
them as batches end. If the run stops, batches that were made keep running, and the same command continues.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf

from batchscore.batch.billing import Billing
from batchscore.batch.build import Builder, ChunkWork
from batchscore.batch.custom_id import DIGEST_BYTES, row_digest
from batchscore.batch.desk import Desk, Left
from batchscore.batch.doubles import look_until
from batchscore.batch.leftover import Leftover
from batchscore.batch.open_rows import OpenRows
from batchscore.batch.progress import Phase, left_text
from batchscore.batch.settle import Settling
from batchscore.batch.submit import SAME_PROBLEMS, Move
from batchscore.batch.work import Ended, bring_to_end, reserve
from batchscore.engine import end_task
from batchscore.engine.valve import Valve
from batchscore.errors import BoundReached, ServiceRefused, SettingsError, count_text, setting_name
from batchscore.output.submitted import Chunk, Step, submitted_text, unconfirmed_text
from batchscore.prompts.replies import ReplyReader
from batchscore.provider import files
from batchscore.provider.client import CallFailed
from batchscore.rows import DeploymentState, Heartbeat, Prompt, Settled

#: Rows that are read between two moments in which other tasks may work.
ROWS_AT_ONCE = 50


@dataclass(slots=True)
class SentAgain:
    """The rows of a chunk that are sent again: how many, and those of them that no chunk can hold."""

    rows: int = 0
    failed: list[Settled] = field(default_factory=list)


@dataclass(slots=True)
class BatchEngine:
    """Scores one stream of prompts through batches of one deployment, named `name`.

    Setting `stop` ends it early: nothing more is sent, and calls that make a batch have `drain_seconds` to
    finish. With 0 `rounds`, it only fetches results; `not_sent` counts the rows that have none. The fields
    from `note_service` on are set by the run, and the state.
    """

    name: str
    source: Iterator[Prompt | Settled]
    desk: Desk
    builder: Builder
    reader: ReplyReader
    rounds: int
    stop: asyncio.Event
    drain_seconds: float
    note_service: Callable[[bool], None] = lambda _: None
    leftover: Leftover | None = None
    phase: Phase = field(default_factory=Phase)
    tasks: dict[asyncio.Task[Ended | None], ChunkWork] = field(default_factory=dict)
    taken_over: list[ChunkWork] = field(default_factory=list)
    not_sent: int = 0
    rows_open: OpenRows = field(default_factory=lambda: OpenRows.of([]))

    def keep_each_row(
        self, drain_seconds: float, note_service: Callable[[bool], None], ready: Valve | None = None
    ) -> None:
        """Serve a run that records each row: results are given a part of a chunk at a time anyway.

        Batches are made of all prompts at once, so none needs to be `ready`.
        """
        del ready
        self.drain_seconds, self.note_service = drain_seconds, note_service

    def heartbeat(self, unwritten: int) -> Heartbeat:
        """Return the state of the batches: those at the service are in flight, the others wait."""
        if self.leftover is not None and self.leftover.engine is not None:
            return self.leftover.engine.heartbeat(unwritten)
        found = self.phase.state([*self.tasks.values()], self.desk.clock.now())
        state = DeploymentState(
            deployment=self.name,
            state="up",
            in_flight=found.running,
            waiting=found.unsent,
            backing_off=0,
            rpm=None,
            tpm=None,
            paused_seconds=0.0,
            for_quota=False,
        )
        return Heartbeat((state,), unwritten, found.oldest_seconds, self.stop.is_set(), found)

    async def settled(self) -> AsyncGenerator[list[Settled], None]:
        """Give lists of settled rows, each row once; what is given is recorded when the next list is taken.

        Raises what ends the run, such as `ServiceRefused` or `Outage`.
        """
        try:
            await self.take_over()
            async for rows in self.read_source():
                yield rows
            self.phase.reading = False
            self.start_retries()
            while (ended := await self.next_ended()) is not None:
                self.phase.collecting = True
                async for rows in self.settle(ended):
                    yield rows
                self.phase.collecting = False
                self.phase.settled += 1
                self.start_retries()
            if self.leftover is not None and not self.stop.is_set():
                async for rows in self.leftover.settled(self.drain_seconds, self.note_service):
                    yield rows
            if not self.stop.is_set():
                await look_until(self.stop, self.desk)
        finally:
            await self.leave()
        self.raise_if_open()

    async def take_over(self) -> None:
        """Take over the chunks of earlier runs; those whose batch is not made or not needed are dropped."""
        chunks = self.desk.chunks
        await asyncio.to_thread(chunks.sweep)
        for chunk in await asyncio.to_thread(chunks.read_all):
            if not chunk.may_cost:
                if not chunk.unconfirmed:
                    await self.drop(chunk)
                continue
            if chunk.identity != self.builder.identity.hex():
                self.refuse_other(chunk)
                continue
            digests = await asyncio.to_thread(chunks.read_digests, chunk)
            prompts = self.builder.scratch.prompts(chunk.key)
            self.taken_over.append(ChunkWork(chunk, prompts, None, digests))
            for parameter in chunk.adapted:
                self.builder.form.adapt(parameter)
            # The run that sent it knew that such rows are answered, or its canary is this one.
            if chunk.probes or chunks.is_proven(self.builder.identity) is not None:
                self.builder.needs_canary = False
                if not chunk.probes:
                    self.desk.proven.set()
        self.rows_open = OpenRows.of([work.digests for work in self.taken_over])
        for work in self.taken_over:
            if work.chunk.is_open:
                reserve(self.desk, work)

    async def drop(self, chunk: Chunk) -> None:
        """Forget a chunk of which nothing is needed, and remove its files at the service."""
        for file in chunk.provider_files:
            try:
                await files.delete(self.desk.plane, file)
            except (CallFailed, Left):
                self.desk.say(f"The file {file} at the service was not removed. Nothing uses it.")
        self.desk.chunks.close(chunk)

    def refuse_other(self, chunk: Chunk) -> None:
        """Refuse to send what is at a service already in another form; forget what costs nothing."""
        # Nothing was paid for what a rehearsal has left.
        if not chunk.waiting or chunk.simulated:
            self.desk.chunks.close(chunk)
            return
        raise SettingsError(
            f"This output has {submitted_text([chunk])}, sent to another service or with other parameters. "
            "Run the same command as then until the batches have ended, or score to a new output."
        )

    async def read_source(self) -> AsyncIterator[list[Settled]]:
        """Read the source: rows of open chunks are remembered for them, the others go into new chunks."""
        waiting: list[Settled] = []
        for count, item in enumerate(self.source, 1):
            if isinstance(item, Settled):
                waiting.append(item)
            else:
                settled = self.take(item)
                if settled is not None:
                    waiting.append(settled)
            if count % ROWS_AT_ONCE == 0:
                if waiting:
                    yield waiting
                    waiting = []
                await asyncio.sleep(0)
                self.raise_failures()
                if self.stop.is_set():
                    break
        if waiting:
            yield waiting
        if self.stop.is_set():
            return
        if 1 in self.builder.building:
            self.start(self.builder.finish(1))
        for work in self.taken_over:
            # All rows of a settled chunk are recorded, unless the machine lost some of them.
            if work.chunk.is_open or work.prompts.prompts:
                self.start(work)

    def take(self, prompt: Prompt) -> Settled | None:
        """Take one row; return it if it cannot be sent."""
        digest = row_digest(self.builder.identity, prompt)
        found = self.rows_open.find(digest)
        if found is not None:
            chunk, index = found
            self.taken_over[chunk].prompts.put(index, prompt)
            return None
        return self.add(prompt, digest, 1)

    def add(self, prompt: Prompt, digest: bytes, number: int) -> Settled | None:
        """Add a row to the chunk of a round; return it if it cannot be sent.

        After the last round, it goes live or stays without a result.
        """
        if number > self.rounds:
            if self.leftover is None:
                self.not_sent += 1
            else:
                self.leftover.add(prompt)
            return None
        added = self.builder.add(prompt, digest, number)
        if isinstance(added, ChunkWork):
            self.start(added)
        elif added is not None:
            return prompt.settled(added)
        return None

    def start(self, work: ChunkWork) -> None:
        """Work on a chunk."""
        if work.chunk.may_cost:
            self.desk.unsettled.add(work.chunk.key)
        task = asyncio.create_task(bring_to_end(self.desk, work))
        self.tasks[task] = work

    def start_retries(self) -> None:
        """Start the chunks of rows that are sent again, if nothing else is at the service."""
        if self.stop.is_set() or any(work.chunk.may_cost for work in self.tasks.values()):
            return
        for number in sorted(self.builder.building):
            self.builder.needs_canary = not self.desk.proven.is_set()
            self.start(self.builder.finish(number))
        if not any(work.chunk.probes for work in self.tasks.values()):
            # Whatever the canary's rows were refused for, the service takes such requests.
            self.desk.proven.set()

    def raise_failures(self) -> None:
        """Raise what ended the work on a chunk."""
        for task in self.tasks:
            if task.done() and not task.cancelled() and (failure := task.exception()) is not None:
                raise failure

    async def next_ended(self) -> Ended | None:
        """Wait until a batch has ended; return `None` if the run stops or no chunk is left."""
        while self.tasks and not self.stop.is_set():
            stopped = asyncio.create_task(self.stop.wait())
            try:
                await asyncio.wait({stopped, *self.tasks}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await end_task.end(stopped)
            self.raise_failures()
            for task in [task for task in self.tasks if task.done()]:
                work, ended = self.tasks.pop(task), task.result()
                if ended is not None:
                    return ended
                self.desk.unsettled.discard(work.chunk.key)
        return None

    async def settle(self, ended: Ended) -> AsyncIterator[list[Settled]]:
        """Give the settled rows of an ended chunk; the others go into the chunk of the next round."""
        work = ended.work
        self.note_service(self.desk.plane.simulated)
        sent, unread, is_first = SentAgain(), self.unread_rows(work), not work.chunk.settling
        work.chunk = self.desk.chunks.change(work.chunk, settling=True)
        if ended.decision.move is Move.HALVE:
            self.builder.limits = replace(self.builder.limits, tokens=work.chunk.tokens / 2)
        known = self.desk.chunks.is_proven(self.builder.identity)
        settling = Settling(
            ended=ended,
            reader=self.reader,
            form=self.builder.form,
            billing=Billing(self.desk.listen, self.desk.purse.pay, self.name, work.chunk.seconds, is_first),
            rounds=self.rounds if self.rounds and self.leftover is None else inf,
            again=partial(self.send_again, work, sent),
            most_alike=inf if known else SAME_PROBLEMS if self.desk.proven.is_set() else 0,
        )
        try:
            for rows in settling.rows():
                yield rows
                await asyncio.sleep(0)
        except ServiceRefused:
            # None of its rows was answered, so nothing is lost: other settings send them again.
            if settling.unusable:
                self.desk.chunks.note_proven(self.builder.identity, answers=False)
            if not settling.answered:
                work.chunk = self.desk.chunks.change(work.chunk, step=Step.CLOSED)
                await self.drop(work.chunk)
            raise
        if sent.failed:
            yield sent.failed
        if settling.proven:
            self.desk.proven.set()
            if not known:
                self.desk.chunks.note_proven(self.builder.identity)
        if work.chunk.batch:
            work.chunk = self.desk.chunks.change(work.chunk, step=Step.SETTLED, left=sent.rows, unread=unread)
        else:  # it was too large to be sent, and nothing of it is at the service but its file
            await self.drop(work.chunk)
        self.desk.unsettled.discard(work.chunk.key)
        self.desk.purse.reserved.pop(work.chunk.key, None)
        self.builder.scratch.remove(work.prompts)
        for path in ended.results:
            path.unlink()
        self.say_ended(work, settling, counts_unread=is_first)

    def send_again(
        self,
        work: ChunkWork,
        sent: SentAgain,
        index: int,
        prompt: Prompt,
        counts: bool,  # noqa: FBT001 - given by position
    ) -> None:
        """Put a row into the chunk of the next round, or of the same one."""
        sent.rows += 1
        digest = work.digests[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES]
        settled = self.add(prompt, digest, work.chunk.round + counts)
        if settled is not None:
            sent.failed.append(settled)

    def unread_rows(self, work: ChunkWork) -> int:
        """Return how many rows of a chunk may have no record and were not read.

        If a run was killed while it recorded the rows of this chunk, some have records. Which, the source
        does not say, so all of them count: otherwise a run that reads few rows would drop paid answers.
        """
        known = work.chunk.unread if work.chunk.step is Step.SETTLED else work.chunk.rows
        return max(0, known - work.prompts.prompts)

    def say_ended(self, work: ChunkWork, settling: Settling, *, counts_unread: bool) -> None:
        """Say how a batch ended; `counts_unread`: no row of it had a record before."""
        chunk = work.chunk
        rows = count_text(chunk.rows, "row")
        if not chunk.batch:
            self.desk.say(f"The service takes no batch of {rows}, so they are sent in smaller ones.")
            return
        text = f"Batch {chunk.batch}: {chunk.status}, {settling.answered:,} of {rows} answered."
        if anomalies := str(settling.anomalies):
            text += f" Lines of results that count for no row: {anomalies}."
        if counts_unread and chunk.unread:
            rows = count_text(chunk.unread, "row")
            text += f" {rows} of it were not read: the input has them no more, or a later run fetches them."
        self.desk.say(text)

    async def leave(self) -> None:
        """Stop the work on chunks; a call that makes a batch may finish."""
        waits, self.desk.no_wait = not self.desk.no_wait, True
        creating = [task for task, work in self.tasks.items() if work.chunk.step is Step.CREATING]
        if creating:
            await asyncio.wait(creating, timeout=self.drain_seconds)
        for task in self.tasks:
            await end_task.end(task)
        left = [chunk for chunk in self.desk.chunks.read_all() if chunk.is_open]
        if left and waits:
            self.desk.say(left_text(left))
        if unconfirmed := unconfirmed_text(self.desk.chunks):
            self.desk.say(unconfirmed, billed_twice=True)

    def raise_if_open(self) -> None:
        """Raise `BoundReached` if the run does not wait for batches."""
        if self.stop.is_set():
            return
        chunks = self.desk.chunks.read_all()
        left = [chunk for chunk in chunks if chunk.is_open]
        waiting = [chunk.rows for chunk in chunks if not chunk.may_cost and chunk.step is not Step.CLOSED]
        texts = []
        if waiting:
            texts.append(f"{count_text(sum(waiting), 'row')} are not submitted yet.")
        if left:
            texts.append(left_text(left))
        if self.not_sent:
            rows = count_text(self.not_sent, "row")
            texts.append(
                f"{setting_name('batch_rounds', 0)} sends nothing, which leaves {rows} without a result. To "
                "send them, run the same command without it."
            )
        if texts:
            raise BoundReached(" ".join(texts))
