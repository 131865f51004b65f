"""The loop: prompts in, settled rows out, as they settle.

It owns the tasks and their end, and the one decision that needs both packing and requesting: when a
request fails for its content, halve it until the bad row stands alone. It knows no files and no
output. In flight are at most `concurrency` requests, so memory is bounded by the settings.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from batchscore.errors import BatchscoreError, ErrorCode
from batchscore.pack.batches import BodyFormat, Packer
from batchscore.pack.replies import Answers
from batchscore.request.outcome import Outcome, Verdict
from batchscore.request.retry import Asking, Trial
from batchscore.rows import Prompt, Score, Settled

#: Settled rows on their way out; `None` ends the stream.
Done: TypeAlias = "asyncio.Queue[list[Settled] | None]"

#: A request that failed again and again as a whole is halved; its halves need not be as patient.
RETRIES_OF_A_HALF = 1


@dataclass(slots=True)
class Engine:
    """Scores one stream of prompts through one deployment.

    `stop` set from outside ends it early: nothing more is taken from the stream, what is in flight
    has `drain_seconds` to come home, and rows that were not answered are not settled.
    """

    packer: Packer
    form: BodyFormat
    asking: Asking[Answers]
    concurrency: int
    retries: int
    stop: asyncio.Event
    drain_seconds: float

    async def settled(self) -> AsyncGenerator[list[Settled], None]:
        """Give lists of settled rows in the order they settle, each row once.

        Raises the `Refused`, `Outage` or whatever else ended the stream, after giving all that had
        settled before.
        """
        # The queue's bound holds the workers back when the reader of this stream is slow.
        done: Done = asyncio.Queue(maxsize=self.concurrency)
        run = asyncio.create_task(self.run(done))
        try:
            while (rows := await done.get()) is not None:
                yield rows
            await run
        finally:
            run.cancel()
            with suppress(asyncio.CancelledError, BatchscoreError):
                await run

    async def run(self, done: Done) -> None:
        """Keep the workers busy until the stream ends, one of them fails, or we are stopped."""
        try:
            # One request goes ahead: a wrong key or parameter then costs one request, not many, and
            # the number of inputs that the service takes is known before the rest are packed.
            await self.together([self.one_request(done)])
            await self.together([self.work(done) for _ in range(self.concurrency)])
        finally:
            await done.put(None)

    async def together(self, jobs: Sequence[Coroutine[Any, Any, object]]) -> None:
        """Run jobs to their end; raises what the first failing one raised, after the others drained."""
        tasks = [asyncio.create_task(job) for job in jobs]
        stopped = asyncio.create_task(self.stop.wait())
        pending: set[asyncio.Task[Any]] = set(tasks)
        try:
            while pending and not self.stop.is_set():
                finished, _ = await asyncio.wait({*pending, stopped}, return_when=asyncio.FIRST_COMPLETED)
                pending -= finished
                if any(task.exception() for task in finished):
                    self.stop.set()
            if pending:
                await asyncio.wait(pending, timeout=self.drain_seconds)
        finally:
            for task in (*tasks, stopped):
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome

    async def work(self, done: Done) -> None:
        """Send one request after another until the stream ends."""
        while await self.one_request(done):
            pass

    async def one_request(self, done: Done) -> bool:
        """Take a request's worth and settle it; False when the stream has ended or we are stopped."""
        if self.stop.is_set():
            return False
        prompts, errors = self.packer.take()
        if errors:
            await done.put(errors)
        if prompts:
            await self.settle(prompts, done, Trial(self.retries, time.monotonic()))
        return bool(prompts or errors)

    async def settle(self, prompts: Sequence[Prompt], done: Done, trial: Trial) -> bool:
        """Ask until every one of these prompts is settled; True where all were answered at once."""
        result = await self.asking.ask(self.form.body(prompts), len(prompts), trial)
        # Another worker may have renamed it while this request was under way.
        if result.outcome.verdict is Verdict.RENAME and (self.form.rename_max_tokens() or self.form.renamed):
            result = await self.asking.ask(self.form.body(prompts), len(prompts), result.trial)
        if result.answers is not None:
            await done.put(scored(prompts, result.answers.scores))
            return True
        again = result.outcome.verdict is Verdict.AGAIN
        if again and self.stop.is_set():
            return False
        if len(prompts) == 1:
            if not again:
                self.asking.health.refused(result.outcome)
            error = result.outcome.error(result.trial.attempts)
            await done.put([Settled(prompts[0].file, prompts[0].row, error, prompts[0].id, prompts[0].kept)])
            return False
        middle = (len(prompts) + 1) // 2
        trial = replace(result.trial, retries=RETRIES_OF_A_HALF) if again else result.trial
        first = await self.settle(prompts[:middle], done, trial)
        second = await self.settle(prompts[middle:], done, trial)
        if first and second and about_size(result.outcome):
            # Nothing was wrong with any row, so there were too many of them.
            self.packer.shrink(middle)
        return False


def about_size(outcome: Outcome) -> bool:
    """Whether a refusal may mean that a request held too many inputs."""
    return outcome.verdict is Verdict.SPLIT and outcome.code in {
        ErrorCode.INVALID_REQUEST,
        ErrorCode.TOO_LONG,
    }


def scored(prompts: Sequence[Prompt], scores: Sequence[Score]) -> list[Settled]:
    """Return each prompt with its score."""
    return [
        Settled(prompt.file, prompt.row, score, prompt.id, prompt.kept)
        for prompt, score in zip(prompts, scores, strict=True)
    ]
