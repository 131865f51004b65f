"""When is a request sent again, and when is it given up?

It knows replies and verdicts, not what a body holds. The first attempt runs bare, since nearly all
succeed and tenacity costs more than the attempt itself; a failure enters tenacity.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import tenacity

from batchscore.errors import ErrorCode, Outage, Refused
from batchscore.request.headers import wait_seconds
from batchscore.request.health import Health
from batchscore.request.outcome import Outcome, Verdict, classify, no_reply
from batchscore.request.wire import NoReply, Send
from batchscore.rows import Attempt, Reply

T = TypeVar("T")

#: Seconds before the second attempt, doubling up to the longest, and the random part of each. The
#: least wait is not random: retries that all fall into one instant meet one and the same trouble.
FIRST_WAIT_SECONDS = 0.5
JITTER_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
BACKOFF = tenacity.wait_exponential(FIRST_WAIT_SECONDS, LONGEST_BACKOFF_SECONDS) + tenacity.wait_random(
    0, JITTER_SECONDS
)

#: A service that cannot be reached at the very start is more likely a wrong address than an outage.
RETRIES_BEFORE_FIRST_CONTACT = 2

#: Waiting for quota is not failing, so a 429 costs no retry; but it ends.
LONGEST_RATE_LIMIT_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class Trial:
    """How far the rows of a request have come: attempts made since `started` (of `time.monotonic`).

    `retries` is how many of the service's failures they may still meet in one request.
    """

    retries: int
    started: float
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Result(Generic[T]):
    """What became of a request: `answers` where it was kept, else the last `outcome`."""

    outcome: Outcome
    trial: Trial
    answers: T | None = None


@dataclass(slots=True)
class Asking(Generic[T]):
    """One deployment as the engine asks it.

    `read` turns a 200 into answers and may raise `unusable`; `renew_token` gets a fresh token after a
    401, False where there is none to get; `listen` hears of every attempt. Set
    `stop` and nothing is sent again.
    """

    send: Send
    read: Callable[[bytes, int], T]
    unusable: type[Exception]
    tokens: Callable[[T], tuple[int, int]]
    renew_token: Callable[[], Awaitable[bool]]
    health: Health
    stop: asyncio.Event
    listen: Callable[[Attempt], None]

    async def ask(self, body: bytes, rows: int, trial: Trial) -> Result[T]:
        """Return what became of a request for `rows` rows, after as many attempts as it may have.

        Raises `Refused` when no request can succeed, `Outage` when the attempts are used up and
        nobody else was answered since the trial began.
        """
        result = await self.attempt(body, rows, trial)
        if result.outcome.verdict is Verdict.NEW_TOKEN and await self.renew_token():
            result = await self.attempt(body, rows, result.trial)
        if result.outcome.verdict is Verdict.AGAIN:
            result = await self.again(body, rows, result)
        outcome = result.outcome
        if outcome.verdict in {Verdict.STOP, Verdict.NEW_TOKEN}:
            raise Refused(outcome.reason)
        alone = not self.stop.is_set() and not self.health.answered_since(trial.started)
        if outcome.verdict is Verdict.AGAIN and alone:
            raise Outage(
                f"the service did not answer {result.trial.attempts} attempts in a row. {outcome.reason}"
            )
        return result

    async def again(self, body: bytes, rows: int, failed: Result[T]) -> Result[T]:
        """Send a failed request until it is settled one way or another."""
        retries = failed.trial.retries
        last, counted = failed, 0
        unjudged = [failed]

        async def next_result() -> Result[T]:
            nonlocal last
            # Tenacity judges the bare attempt first, as if it had made it.
            last = unjudged.pop() if unjudged else await self.attempt(body, rows, last.trial)
            return last

        def used_up(state: tenacity.RetryCallState) -> bool:
            nonlocal counted
            if last.outcome.code is ErrorCode.RATE_LIMITED:
                return (state.seconds_since_start or 0) > LONGEST_RATE_LIMIT_SECONDS
            counted += 1
            out_of_reach = last.outcome.code is ErrorCode.CONNECTION and self.health.last_success is None
            return counted > (min(retries, RETRIES_BEFORE_FIRST_CONTACT) if out_of_reach else retries)

        def give_up(state: tenacity.RetryCallState) -> Result[T]:
            del state
            return last

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_result(lambda result: result.outcome.verdict is Verdict.AGAIN),
            stop=lambda state: self.stop.is_set() or used_up(state),
            wait=BACKOFF,
            sleep=self.sleep,
            retry_error_callback=give_up,
        )
        final: Result[T] = await retrying(next_result)
        return final

    async def attempt(self, body: bytes, rows: int, trial: Trial) -> Result[T]:
        """Send once and judge; tells the listener."""
        while (paused := self.health.pause_seconds) > 0 and not self.stop.is_set():
            await self.sleep(paused)
        if trial.attempts and self.stop.is_set():
            return Result(no_reply(ErrorCode.CONNECTION, "stopped"), trial)
        trial = replace(trial, attempts=trial.attempts + 1)
        started = time.perf_counter()
        try:
            reply = await self.send(body)
        except NoReply as lost:
            outcome = no_reply(lost.code, lost.detail)
            self.listen(Attempt(rows, None, time.perf_counter() - started, outcome.code.value))
            return Result(outcome, trial)
        outcome = classify(reply)
        if outcome.verdict is not Verdict.KEPT:
            self.listen(Attempt(rows, reply.status, reply.seconds, outcome.code.value))
            self.heed(reply)
            return Result(outcome, trial)
        try:
            answers = self.read(reply.body, rows)
        except self.unusable as reason:
            self.listen(Attempt(rows, reply.status, reply.seconds, ErrorCode.BAD_REPLY.value))
            return Result(no_reply(ErrorCode.BAD_REPLY, str(reason)), trial)
        self.health.succeeded()
        prompt_tokens, completion_tokens = self.tokens(answers)
        self.listen(Attempt(rows, reply.status, reply.seconds, "", prompt_tokens, completion_tokens))
        return Result(outcome, trial, answers)

    def heed(self, reply: Reply) -> None:
        """Hold everything back when the service says so."""
        if reply.status in {429, 503}:
            seconds = wait_seconds(reply.headers)
            if seconds is not None:
                self.health.pause(seconds)

    async def sleep(self, seconds: float) -> None:
        """Sleep between attempts, but not past a stop."""
        try:
            await asyncio.wait_for(self.stop.wait(), seconds)
        except asyncio.TimeoutError:
            return
