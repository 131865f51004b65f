"""The loop that scores many rows: how do prompts become settled rows, as fast as the quota allows?

It owns the tasks, and the decisions that need both packing and requesting: which prompts go to which
deployment, and splitting a request that failed for its content until the bad row is alone. It knows no files
and no output. Memory is bounded: prompts are taken off the stream when they can be sent, and no more are
taken while the reader of the results is behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from batchscore.engine import end_task
from batchscore.engine.in_flight import BytesInFlight
from batchscore.engine.requests import RequestBuilder
from batchscore.engine.result_queue import ResultQueue
from batchscore.engine.suspects import NOT_SURELY_THE_ROW, Suspect, Suspects
from batchscore.engine.valve import Valve
from batchscore.errors import BrokenInvariant, ErrorCode
from batchscore.prompts.batches import Packer
from batchscore.prompts.replies import ReplyScores
from batchscore.request.deployment import Deployment
from batchscore.request.outcome_rules import Action, Outcome
from batchscore.request.quota.windows import Ticket
from batchscore.request.request import Request, Result
from batchscore.request.retry import AttemptLoop
from batchscore.request.retry_budget import RetryBudget
from batchscore.rows import Heartbeat, Prompt, RowError, Score, Settled

#: A request that failed, and is not settled.
Failed = tuple[Request, Deployment, Ticket, Result[ReplyScores]]
#: Workers that begin in one turn of the loop: the first of hundreds need not wait until all are connecting.
HIRED_AT_ONCE = 32


@dataclass(slots=True)
class Engine:
    """Scores one stream of prompts through one or more deployments.

    Setting `stop` ends the engine early: no more prompts are taken, requests in flight have `drain_seconds`
    to finish, and rows that were not answered are not settled. `ready` is open while the stream need not be
    waited for. The fields from `results` on are the state of the running engine.
    """

    packer: Packer
    requests: RequestBuilder
    attempt_loop: AttemptLoop[ReplyScores]
    stop: asyncio.Event
    drain_seconds: float
    ready: Valve = field(default_factory=lambda: Valve(is_open=True))
    results: ResultQueue = field(default_factory=ResultQueue)
    in_flight: BytesInFlight = field(default_factory=BytesInFlight)
    workers: set[asyncio.Task[None]] = field(default_factory=set)
    working: dict[Deployment, int] = field(default_factory=dict)
    waiting: set[asyncio.Task[Any]] = field(default_factory=set)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    resolved: Valve = field(default_factory=Valve)
    suspects: Suspects = field(init=False)
    large_answered_at: float = float("-inf")
    failure: BaseException | None = None
    ended: bool = False

    def __post_init__(self) -> None:
        """Begin without refused rows."""
        self.suspects = Suspects(
            self.attempt_loop.requester.probe,
            self.requests.adapt,
            lambda refused: self.give([refused.prompt], [refused.error]),
            lambda prompt: self.send_again([prompt], RetryBudget(self.requests.max_retries)),
        )

    def is_over(self) -> bool:
        """Whether no more prompts may be taken from the stream."""
        return self.ended or self.stop.is_set()

    def keep_each_row(
        self, drain_seconds: float, note_service: Callable[[bool], None], ready: Valve | None = None
    ) -> None:
        """Give each result at once: a killed process loses what is in no journal yet."""
        self.ready, self.results.most = ready or self.ready, 1
        self.drain_seconds, self.attempt_loop.requester.note_service = drain_seconds, note_service

    async def settled(self) -> AsyncGenerator[list[Settled], None]:
        """Give lists of settled rows in the order in which they settle, each row once.

        Raises what ended the stream, such as `ServiceRefused` or `Outage`, after all rows that settled
        before.
        """
        run = asyncio.create_task(self.run())
        try:
            while rows := await self.results.take():
                yield rows
            await run
        finally:
            await end_task.end(run)

    async def run(self) -> None:
        """Run the workers until the stream ends, one of them fails, or `stop` is set."""
        watch = asyncio.create_task(self.attempt_loop.requester.timeouts.watch())
        stopped = asyncio.create_task(self.stop.wait())
        done = asyncio.create_task(self.idle.wait())
        self.results.emptied.open()
        try:
            for deployment in self.attempt_loop.deployments.members:
                deployment.on_capacity = partial(self.hire, deployment)
                self.hire(deployment)
            await asyncio.wait({stopped, done, watch}, return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                await watch  # it ends only with an error, so this raises
            if self.workers:
                await self.drain()
            if self.failure is None and not self.stop.is_set():
                self.failure = await self.suspects.judge_last(stopped)
        finally:
            # From here on, the cancellation of a worker is not an error.
            self.ended = self.attempt_loop.requester.closed = True
            helpers = [watch, stopped, done, *self.workers]
            for task in helpers:
                task.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            await self.attempt_loop.deployments.close()
            await self.attempt_loop.requester.close()
            if self.failure is None and self.attempt_loop.deployments.fatal is None:
                self.suspects.settle_last(stopped=self.stop.is_set())
            self.results.close()
        if self.failure is not None:
            raise self.failure
        self.attempt_loop.deployments.raise_fatal()

    def heartbeat(self, unwritten: int) -> Heartbeat:
        """Return the current state of each deployment and of the requests in flight."""
        return Heartbeat(
            tuple([member.state() for member in self.attempt_loop.deployments.members]),
            unwritten,
            self.attempt_loop.requester.timeouts.oldest_seconds(),
            self.stop.is_set(),
        )

    async def drain(self) -> None:
        """Cancel the workers without a request in flight, and wait for the others."""
        flying = {flight.task for flight in self.attempt_loop.requester.timeouts.flights}
        for worker in self.workers - flying:
            worker.cancel()
        await asyncio.wait(self.workers, timeout=self.drain_seconds)

    def hire(self, deployment: Deployment) -> None:
        """Start workers for a deployment, up to its current concurrency."""
        if self.is_over():
            return
        missing = deployment.concurrency.limit + deployment.resting - self.working.get(deployment, 0)
        if missing > HIRED_AT_ONCE:
            asyncio.get_running_loop().call_soon(self.hire, deployment)
        for _ in range(min(missing, HIRED_AT_ONCE)):
            self.working[deployment] = self.working.get(deployment, 0) + 1
            worker = asyncio.create_task(self.work(deployment))
            self.workers.add(worker)
            worker.add_done_callback(self.on_worker_end)

    def on_worker_end(self, worker: asyncio.Task[None]) -> None:
        """Note that a worker has ended, and its failure if it has one."""
        self.workers.discard(worker)
        failure = None if worker.cancelled() else worker.exception()
        if worker.cancelled() and not self.is_over():
            failure = BrokenInvariant("a worker was cancelled in the middle of a run; please report this")
        if failure is not None and self.failure is None:
            self.failure = failure
            self.stop.set()
        if not self.workers:
            self.idle.set()

    async def work(self, deployment: Deployment) -> None:
        """Send requests until the stream ends or the concurrency shrinks."""
        try:
            while not self.is_over() and deployment.wants_more_than(self.working[deployment] - 1):
                for valve in (self.results.emptied, self.in_flight.room, self.ready):
                    if not valve.is_open:
                        await valve.opened()
                if deployment.is_free():
                    taken = self.take(deployment)
                    if taken is not None and taken[1].start > taken[1].admitted:
                        await deployment.wait_in_turn(taken[1])
                else:
                    taken = await self.take_in_turn(deployment)
                if taken is None:
                    if not self.resolved.is_open:
                        await self.resolved.opened()
                    continue
                request, ticket = taken
                await self.settle(request, deployment, ticket)
                self.in_flight.remove(request.prompts, request.size)
                del taken, request  # while it waits, it would keep megabytes of images that are answered
                if deployment.wants_more_than(self.working[deployment]) and not self.ended:
                    self.hire(deployment)
        finally:
            self.working[deployment] -= 1

    async def take_in_turn(self, deployment: Deployment) -> tuple[Request, Ticket] | None:
        """Wait for a turn, then take the next request and wait until it may be sent."""
        worker = asyncio.current_task()
        assert worker is not None
        self.waiting.add(worker)
        deployment.queued += 1
        try:
            # Only one worker with new prompts waits for the turn, so that retries are not behind all of them.
            async with deployment.front, deployment.turn:
                if not await deployment.wait_until_up():
                    self.attempt_loop.deployments.raise_fatal()
                    return None
                if self.is_over():
                    return None
                taken = self.take(deployment)
                self.waiting.discard(worker)
                if taken is not None:
                    await deployment.wait_for_start(taken[1])
                return taken
        finally:
            self.waiting.discard(worker)
            deployment.queued -= 1

    def take(self, deployment: Deployment) -> tuple[Request, Ticket] | None:
        """Take the next request and charge the quota; `None` if there are no prompts yet, or no room."""
        if not self.in_flight.room.is_open or not self.ready.is_open:
            return None
        pack = self.packer.take(deployment.target_tokens() if self.packer.largest_rows > 1 else 0.0)
        if pack.settled:
            self.results.put(pack.settled)
        # If all rows wait for answers to their duplicates, take no more until an answer has come.
        if pack.prompts or pack.settled or pack.ended:
            if not self.resolved.is_open:
                self.resolved.open()
        elif self.suspects.held:
            self.suspects.settle()  # duplicates may be waiting for these
        else:
            self.resolved.is_open = False
        if not pack.prompts:
            if pack.ended and not pack.settled:
                self.end()
            return None
        request = self.requests.request(pack.prompts, pack.size, RetryBudget(self.requests.max_retries))
        if len(pack.prompts) == 1 and not deployment.fits(request.tokens):
            # No error if a minute's quota of another deployment is larger.
            most = max(member.most_tokens for member in self.attempt_loop.deployments.members)
            fitting, error = self.requests.fitted(pack.prompts[0], most)
            if error is not None:
                self.give([fitting], [error])
                return None
            request = self.requests.request([fitting], len(fitting.body), request.budget)
        self.in_flight.add(request.prompts, request.size)
        return request, deployment.reserve(request.tokens)

    def end(self) -> None:
        """Note the end of the stream, and cancel the workers that wait for a turn to take from it."""
        self.ended = True
        for worker in self.waiting - {asyncio.current_task()}:
            worker.cancel()

    async def settle(
        self,
        request: Request,
        deployment: Deployment,
        ticket: Ticket,
        failed: list[Failed] | None = None,
        first: Result[ReplyScores] | None = None,
    ) -> bool:
        """Send requests until all prompts are settled; return whether the first one answered all of them.

        `first` is the result of the first one, if it was sent before. If it fails, and there is a list of the
        `failed` ones, it may be added there and not settled.
        """
        prompts = request.prompts
        if first is None and len(self.attempt_loop.deployments.members) > 1 and not deployment.available:
            deployment.quota.refund(ticket)
            deployment, ticket = await self.attempt_loop.deployments.admit(request.tokens)
        while True:
            adapted = self.requests.adapted
            result = first or await self.attempt_loop.requester.send(request, deployment, ticket)
            if result.answers is not None:
                break
            outcome = result.outcome
            if failed is not None and self.attempt_loop.others_show(request, deployment, outcome):
                failed.append((request, deployment, ticket, result))
                return False
            first = None
            result = await self.attempt_loop.settle(request, deployment, result)
            if result.outcome.action is Action.ADAPT and self.requests.adapted == adapted:
                self.requests.adapt(result.outcome.detail)
            # Another worker may have adapted while the request was in flight.
            unchanged = self.requests.adapted == adapted
            if unchanged or result.outcome.action not in {Action.ADAPT, Action.SPLIT}:
                break
            deployment, ticket = await self.attempt_loop.deployments.admit(request.tokens)
        if self.packer.note_request(prompts, answered=result.answers is not None):
            self.attempt_loop.usual_rows = max(self.attempt_loop.usual_rows, len(prompts))
        if result.answers is not None:
            answers = result.answers
            self.requests.learn(request, answers)
            if 2 * len(prompts) > self.packer.most_rows:
                self.large_answered_at = self.attempt_loop.requester.clock.monotonic()
            self.suspects.end_series()
            if answers.complete:
                self.give(prompts, answers.scores)
                return True
            return await self.settle_partly(prompts, answers.scores, request.budget)
        if self.stop.is_set() and (result.outcome.action is not Action.SPLIT or len(prompts) > 1):
            # An unfinished attempt is not an error of a row.
            return False
        outcome = result.outcome
        if len(prompts) == 1:
            too_long = outcome.code in {ErrorCode.INPUT_TOO_LONG, ErrorCode.OVER_QUOTA}
            shorter = self.requests.shorter(prompts[0], outcome.fitting) if too_long else None
            if shorter is not None:
                await self.send_again([shorter], request.budget)
            else:
                await self.suspects.add(Suspect(prompts[0], outcome, request.budget, deployment))
            return False
        size = self.attempt_loop.rows_of_part(len(prompts))
        is_failure = outcome.action is Action.RETRY or outcome.by_chance
        part, own = request.budget.for_part(failed=is_failure), is_failure and not request.budget.is_limited
        if await self.send_parts(prompts, size, part, request.budget.failed_at if own else None):
            self.note_too_many_rows(outcome, size, request.budget)
        return False

    async def settle_partly(
        self, prompts: Sequence[Prompt], results: Sequence[Score | RowError], budget: RetryBudget
    ) -> bool:
        """Settle the answered rows of a reply, and send the others again; a row alone gets its error."""
        if len(prompts) == 1 and isinstance(results[0], RowError):
            self.give(prompts, [replace(results[0], attempts=budget.attempts)])
            return False
        pairs = list(zip(prompts, results, strict=True))
        answered = [pair for pair in pairs if isinstance(pair[1], Score)]
        self.give([prompt for prompt, _ in answered], [score for _, score in answered])
        if not self.stop.is_set():
            rest = [prompt for prompt, result in pairs if isinstance(result, RowError)]
            await self.send_again(rest, budget.for_part(failed=False))
        return False

    def note_too_many_rows(self, outcome: Outcome, size: int, budget: RetryBudget) -> None:
        """Remember that a request held too many rows, since all of its parts were answered at once.

        A failure may have had another reason, if a request as large was answered since.
        """
        of_rows = budget.limited_for_rows or outcome.code is not ErrorCode.RATE_LIMITED
        fails_since = self.large_answered_at < (budget.first_failed or 0.0)
        if outcome.action is Action.RETRY and of_rows and fails_since:
            self.attempt_loop.usual_rows = min(self.attempt_loop.usual_rows, size)
            self.packer.shrink(size)
        elif outcome.action is Action.SPLIT and outcome.code in NOT_SURELY_THE_ROW and not outcome.by_chance:
            self.packer.shrink(size)

    async def send_again(
        self, prompts: Sequence[Prompt], budget: RetryBudget, failed: list[Failed] | None = None
    ) -> bool:
        """Send some prompts of a failed request to any deployment that has room."""
        most = self.attempt_loop.usual_rows
        if len(prompts) > most:
            return await self.send_parts(prompts, most, budget)
        request = self.requests.request(prompts, sum(len(prompt.body) for prompt in prompts), budget)
        if len(prompts) > 1 and all(
            member.too_large(request.tokens) for member in self.attempt_loop.deployments.members
        ):
            return await self.send_parts(prompts, (len(prompts) + 1) // 2, budget.for_part(failed=False))
        deployment, ticket = await self.attempt_loop.deployments.admit(request.tokens)
        return await self.settle(request, deployment, ticket, failed)

    async def send_parts(
        self, prompts: Sequence[Prompt], size: int, budget: RetryBudget, failed_at: float | None = None
    ) -> bool:
        """Send each part of a request, which may have failed; return whether all were answered at once."""
        parts = [prompts[start : start + size] for start in range(0, len(prompts), size)]
        # The others first: they show whether a failure is one part's own, and need not wait for it.
        failed: list[Failed] = []
        answered: list[bool] = []
        for part in parts:
            if self.stop.is_set():
                return False  # the requests in flight end, and no others begin
            # If one after the other fails, the size may be the reason: a smaller one is to be found soon.
            all_failed = bool(failed) and not any(answered) and not failed[0][0].budget.is_limited
            answered.append(await self.send_again(part, replace(budget), None if all_failed else failed))
        one_part_failed = sum(answered) == len(parts) - 1
        for request, deployment, ticket, result in failed:
            request.budget.limited_for_rows &= len(failed) == 1
            if one_part_failed and failed_at is not None and not request.budget.is_limited:
                request.budget.failing_since = failed_at  # that failure was because of this part
            if any(answered):
                await self.attempt_loop.let_pass_if_few(request, deployment, result)
            await self.settle(request, deployment, ticket, first=result)
        return all(answered)

    def give(self, prompts: Sequence[Prompt], results: Sequence[Score | RowError]) -> None:
        """Settle the row of each prompt, and the rows with the same prompt."""
        settled = [prompt.settled(result) for prompt, result in zip(prompts, results, strict=True)]
        if self.packer.duplicates is not None:
            self.packer.duplicates.resolve(prompts, settled)
            self.resolved.open()
        self.results.put(settled)
