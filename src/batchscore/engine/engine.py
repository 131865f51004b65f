"""The loop: prompts in, settled rows out, as they settle.

It owns the tasks and their end, and the decisions that need both packing and requesting: which prompts go
to which deployment, and halving a request that failed for its content until the bad row stands alone. It
knows no files and no output. Memory is bounded: prompts are taken off the stream when they can be sent, and
nothing more is taken while the reader of the results is behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from batchscore.engine import end_task
from batchscore.errors import BrokenInvariant, ErrorCode
from batchscore.prompts.batches import BodyFormat, Packer
from batchscore.prompts.replies import Answers
from batchscore.request.attempt import Request, RetryBudget
from batchscore.request.deployment import Deployment
from batchscore.request.outcome import Action, Outcome
from batchscore.request.quota.windows import Ticket
from batchscore.request.retry import AttemptLoop
from batchscore.rows import Heartbeat, Prompt, RowError, Score, Settled

#: So many results may wait for their reader before no more is asked.
MOST_ROWS_WAITING = 2048

#: So many refused rows are held back at most while it may be a parameter that is wrong.
MOST_SUSPECTS = 256


@dataclass(slots=True)
class Outlet:
    """Settled rows on their way to the reader.

    Where `most` wait and the reader is busy with something else, nothing more is asked.
    """

    most: int = MOST_ROWS_WAITING
    rows: list[Settled] = field(default_factory=list)
    awaited: bool = False
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    emptied: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False

    def put(self, rows: Sequence[Settled]) -> None:
        """Add results."""
        self.rows += rows
        self.filled.set()
        waiting = len(self.rows)
        if waiting >= MOST_ROWS_WAITING or (waiting >= self.most and not self.awaited):
            self.emptied.clear()

    async def take(self) -> list[Settled]:
        """Return what has come, once something has; nothing once it is closed."""
        if not self.rows and not self.closed:
            self.filled.clear()
            self.awaited = True
            try:
                await self.filled.wait()
            finally:
                self.awaited = False
        rows, self.rows = self.rows, []
        self.emptied.set()
        return rows

    def close(self) -> None:
        """Say that nothing more comes."""
        self.closed = True
        self.filled.set()


@dataclass(slots=True)
class Taken:
    """A request's worth of the stream, and when it may go."""

    prompts: list[Prompt]
    request: Request
    ticket: Ticket


@dataclass(slots=True)
class Engine:
    """Scores one stream of prompts through one or more deployments.

    `forms` gives each deployment's JSON around the prompts. `answer_tokens` bounds the answers to one row,
    `None` where nobody did. `stop` set from outside ends it early: nothing more is taken from the stream,
    what is in flight has `drain_seconds` to come home, and rows that were not answered are not settled.
    """

    packer: Packer
    forms: dict[Deployment, BodyFormat]
    attempt_loop: AttemptLoop[Answers]
    retries: int
    stop: asyncio.Event
    drain_seconds: float
    answer_tokens: float | None = 0.0
    answers_per_row: int = 1
    shorten: Callable[[Prompt, float | None], Prompt | None] | None = None
    outlet: Outlet = field(default_factory=Outlet)
    workers: set[asyncio.Task[None]] = field(default_factory=set)
    working: dict[Deployment, int] = field(default_factory=dict)
    waiting: set[asyncio.Task[Any]] = field(default_factory=set)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    resolved: asyncio.Event = field(default_factory=asyncio.Event)
    suspects: list[tuple[Prompt, RowError]] = field(default_factory=list)
    failure: BaseException | None = None
    ended: bool = False

    @property
    def over(self) -> bool:
        """Whether nothing more is to be taken from the stream."""
        return self.ended or self.stop.is_set()

    async def settled(self) -> AsyncGenerator[list[Settled], None]:
        """Give lists of settled rows in the order they settle, each row once.

        Raises the `ServiceRefused`, `Outage` or whatever else ended the stream, after giving all that had
        settled before.
        """
        run = asyncio.create_task(self.run())
        try:
            while rows := await self.outlet.take():
                yield rows
            await run
        finally:
            await end_task.end(run)

    async def run(self) -> None:
        """Keep the workers busy until the stream ends, one of them fails, or we are stopped."""
        watch = asyncio.create_task(self.attempt_loop.requester.timeouts.watch())
        stopped = asyncio.create_task(self.stop.wait())
        done = asyncio.create_task(self.idle.wait())
        self.outlet.emptied.set()
        try:
            for deployment in self.forms:
                deployment.on_capacity = partial(self.hire, deployment)
                self.hire(deployment)
            await asyncio.wait({stopped, done, watch}, return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                await watch  # it never ends by itself, so this raises
            if self.workers:
                await self.drain()
        finally:
            # A worker that is cancelled from here on is meant to end.
            self.ended = self.attempt_loop.requester.closed = True
            helpers = [watch, stopped, done, *self.workers]
            for task in helpers:
                task.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            await self.attempt_loop.deployments.close()
            await self.attempt_loop.requester.close()
            if self.failure is None and self.attempt_loop.deployments.fatal is None:
                self.clear_suspects()
            self.outlet.close()
        if self.failure is not None:
            raise self.failure
        self.attempt_loop.deployments.raise_fatal()

    def heartbeat(self, unwritten: int) -> Heartbeat:
        """Return how each deployment stands at this moment, and what is under way."""
        return Heartbeat(
            tuple([member.state() for member in self.attempt_loop.deployments.members]),
            unwritten,
            self.attempt_loop.requester.timeouts.oldest_seconds(),
            self.stop.is_set(),
        )

    async def drain(self) -> None:
        """Let go whoever has nothing in flight, and wait for the others."""
        flying = {flight.task for flight in self.attempt_loop.requester.timeouts.flights}
        for worker in self.workers:
            if worker not in flying:
                worker.cancel()
        await asyncio.wait(self.workers, timeout=self.drain_seconds)

    def hire(self, deployment: Deployment) -> None:
        """Start workers for a deployment until it has as many as may be in flight."""
        if self.over:
            return
        missing = deployment.concurrency.limit - self.working.get(deployment, 0)
        for _ in range(missing):
            self.working[deployment] = self.working.get(deployment, 0) + 1
            worker = asyncio.create_task(self.work(deployment))
            self.workers.add(worker)
            worker.add_done_callback(self.left)

    def left(self, worker: asyncio.Task[None]) -> None:
        """Note that a worker has ended, and why."""
        self.workers.discard(worker)
        failure: BaseException | None = None
        if not worker.cancelled():
            failure = worker.exception()
        elif not self.over:
            failure = BrokenInvariant("a worker was cancelled in the middle of a run; please report this")
        if failure is not None and self.failure is None:
            self.failure = failure
            self.stop.set()
        if not self.workers:
            self.idle.set()

    async def work(self, deployment: Deployment) -> None:
        """Send one request after another until the stream ends or fewer workers are wanted."""
        try:
            while not self.over and deployment.wants_more_than(self.working[deployment] - 1):
                if not self.outlet.emptied.is_set():
                    await self.outlet.emptied.wait()
                if deployment.free:
                    taken = self.take(deployment)
                    if taken is not None and taken.ticket.start > taken.ticket.admitted:
                        await deployment.wait_in_turn(taken.ticket)
                else:
                    taken = await self.take_in_turn(deployment)
                if taken is None:
                    await self.resolved.wait()
                    continue
                await self.settle(taken.prompts, taken.request, deployment, taken.ticket)
                if deployment.wants_more_than(self.working[deployment]) and not self.ended:
                    self.hire(deployment)
        finally:
            self.working[deployment] -= 1

    async def take_in_turn(self, deployment: Deployment) -> Taken | None:
        """Wait for a turn, then take the next request's prompts and wait until it may go."""
        worker = asyncio.current_task()
        assert worker is not None
        self.waiting.add(worker)
        deployment.queued += 1
        try:
            # One of those who would take something new waits for the turn, so that what is to be sent again
            # is not behind all of them.
            async with deployment.front, deployment.turn:
                if not await deployment.wait_until_up():
                    self.attempt_loop.deployments.raise_fatal()
                    return None
                if self.over:
                    return None
                taken = self.take(deployment)
                self.waiting.discard(worker)
                if taken is not None:
                    await deployment.wait_for_start(taken.ticket)
                return taken
        finally:
            self.waiting.discard(worker)
            deployment.queued -= 1

    def take(self, deployment: Deployment) -> Taken | None:
        """Take the next request's prompts and charge them; `None` where what came asks nothing."""
        pack = self.packer.take(deployment.target_tokens)
        if pack.settled:
            self.outlet.put(pack.settled)
        # Where everything that comes waits for answers to its equals, nothing is taken until one has come.
        if pack.prompts or pack.settled or pack.ended:
            self.resolved.set()
        elif self.suspects:
            self.clear_suspects()  # others may be waiting for just these
        else:
            self.resolved.clear()
        if not pack.prompts:
            if pack.ended and not pack.settled:
                self.end()
            return None
        prompts = pack.prompts
        request = self.request(prompts, pack.size, RetryBudget(self.retries))
        if len(prompts) == 1 and not deployment.fits(request.tokens):
            fitting = self.fitted(prompts[0])
            if fitting is None:
                return None
            prompts, request = [fitting], self.request([fitting], len(fitting.body), request.budget)
        return Taken(prompts, request, deployment.reserve(request.tokens))

    def end(self) -> None:
        """Note the end of the stream, and let go who waits for a turn to take from it."""
        self.ended = True
        for worker in self.waiting - {asyncio.current_task()}:
            worker.cancel()

    def request(self, prompts: Sequence[Prompt], size: int, budget: RetryBudget) -> Request:
        """Return what these prompts ask, and what it will be charged."""
        estimator = self.packer.estimator
        answer = estimator.usual_answer if self.answer_tokens is None else self.answer_tokens
        extra = answer * self.answers_per_row * len(prompts)

        def body(deployment: Deployment) -> bytes:
            return self.forms[deployment].body(prompts)

        return Request(body, len(prompts), estimator.tokens(size) + extra, extra, budget, prompts)

    def fitted(self, prompt: Prompt) -> Prompt | None:
        """Return a prompt that some deployment's minute lets through; `None` where its row is settled now.

        It is the same one, or where that is wanted a shorter one.
        """
        estimator = self.packer.estimator
        most = max(member.limits.most_tokens for member in self.attempt_loop.deployments.members)
        while True:
            request = self.request([prompt], len(prompt.body), RetryBudget(self.retries))
            needed = estimator.at_least(len(prompt.body)) + request.extra_tokens
            if needed <= most:
                return prompt
            for_prompt = needed - request.extra_tokens
            shorter = self.shorten and self.shorten(
                prompt, max(most - request.extra_tokens, 0.0) / for_prompt
            )
            if not shorter:
                break
            prompt = shorter
        needs = f"about {request.tokens:,.0f} tokens"
        if request.extra_tokens:
            needs += f", {request.extra_tokens:,.0f} of them for the answer"
        message = f"The row needs {needs}, and the deployment's limit is {most:,.0f} a minute."
        self.give([prompt], [RowError(ErrorCode.OVER_QUOTA, message, None, 0)])
        return None

    async def settle(
        self, prompts: Sequence[Prompt], request: Request, deployment: Deployment, ticket: Ticket
    ) -> bool:
        """Ask until every one of these prompts is settled; True where all were answered at once."""
        if not deployment.available and len(self.attempt_loop.deployments.members) > 1:
            deployment.quota.refund(ticket)
            deployment, ticket = await self.attempt_loop.deployments.admit(request.tokens)
        result = await self.attempt_loop.run(request, deployment, ticket)
        if result.outcome.action is Action.RENAME and self.rename():
            result = await self.attempt_loop.run(
                request, *await self.attempt_loop.deployments.admit(request.tokens)
            )
        if result.answers is not None:
            answers = result.answers
            size = sum([len(prompt.body) for prompt in prompts])
            self.packer.estimator.learn(size, answers.prompt_tokens, answers.completion_tokens, len(prompts))
            self.clear_suspects()
            self.give(prompts, answers.scores)
            return True
        if self.stop.is_set() and (result.outcome.action is not Action.SPLIT or len(prompts) > 1):
            # What was not judged to its end is no row's error.
            return False
        if len(prompts) == 1:
            shorter = self.shortened(prompts[0], result.outcome)
            if shorter is not None:
                await self.ask_anew([shorter], request.budget)
            else:
                self.give_error(prompts[0], result.outcome.error(request.budget.attempts), deployment)
            return False
        if await self.ask_halves(prompts, request.budget) and about_size(result.outcome):
            # Nothing was wrong with any row, so there were too many of them.
            self.packer.shrink((len(prompts) + 1) // 2)
        return False

    def give_error(self, prompt: Prompt, error: RowError, deployment: Deployment) -> None:
        """Hand out a row's error, at once or when it is clear that it is the row's.

        While nothing was ever answered, a refusal may be a wrong parameter's and every row's.
        """
        if error.code is ErrorCode.INVALID_REQUEST and deployment.health.last_success is None:
            self.suspects.append((prompt, error))
            if len(self.suspects) >= MOST_SUSPECTS:
                self.clear_suspects()
        else:
            self.give([prompt], [error])

    def clear_suspects(self) -> None:
        """Hand out the errors that were held back."""
        suspects, self.suspects = self.suspects, []
        for prompt, error in suspects:
            self.give([prompt], [error])

    async def ask_anew(self, prompts: Sequence[Prompt], budget: RetryBudget) -> bool:
        """Ask some prompts of a request that failed, at whichever deployment has room."""
        request = self.request(prompts, sum(len(prompt.body) for prompt in prompts), budget)
        if len(prompts) > 1 and all(
            member.too_large(request.tokens) for member in self.attempt_loop.deployments.members
        ):
            return await self.ask_halves(prompts, budget)
        deployment, ticket = await self.attempt_loop.deployments.admit(request.tokens)
        return await self.settle(prompts, request, deployment, ticket)

    async def ask_halves(self, prompts: Sequence[Prompt], budget: RetryBudget) -> bool:
        """Ask each half by itself; True where all were answered at once."""
        middle = (len(prompts) + 1) // 2
        first = await self.ask_anew(prompts[:middle], budget.for_half())
        second = await self.ask_anew(prompts[middle:], budget.for_half())
        return first and second

    def shortened(self, prompt: Prompt, outcome: Outcome) -> Prompt | None:
        """Return a shorter prompt where the row was too long and that is wanted."""
        if self.shorten is None or outcome.code is not ErrorCode.INPUT_TOO_LONG:
            return None
        return self.shorten(prompt, outcome.fitting)

    def rename(self) -> bool:
        """Say `max_completion_tokens`; another worker may have done so while a request was under way."""
        renamed = [form.rename_max_tokens() or form.renamed for form in self.forms.values()]
        return any(renamed)

    def give(self, prompts: Sequence[Prompt], results: Sequence[Score | RowError]) -> None:
        """Hand out the result of each prompt, and of the rows that asked the same."""
        settled = [
            Settled(prompt.file, prompt.row, result, prompt.id, prompt.kept, prompt.truncated)
            for prompt, result in zip(prompts, results, strict=True)
        ]
        if self.packer.duplicates is not None:
            self.packer.duplicates.resolve(prompts, settled)
            self.resolved.set()
        self.outlet.put(settled)


def about_size(outcome: Outcome) -> bool:
    """Whether a refusal may mean that a request held too many inputs."""
    return outcome.action is Action.SPLIT and outcome.code in {
        ErrorCode.INVALID_REQUEST,
        ErrorCode.INPUT_TOO_LONG,
    }
