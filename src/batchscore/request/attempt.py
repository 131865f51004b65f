"""What comes of sending a request once?

It sends, judges the reply and tells everybody whom it concerns: the deployment's quota and health, the
patience, the listener. Whether to send again is `retry`'s question.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from batchscore.errors import ErrorCode, Outage
from batchscore.request.deployment import Deployment
from batchscore.request.deployments import Deployments, worded
from batchscore.request.headers import wait_seconds
from batchscore.request.outcome import KEPT, Outcome, Verdict, classify, no_reply
from batchscore.request.patience import Patience
from batchscore.request.quota import Ticket
from batchscore.request.wire import NoReply
from batchscore.rows import Attempt, Reply

T = TypeVar("T")

#: A wait longer than this is no pause: the quota is used up, or the request can never fit
#: (`retry-after: 86400` is seen for both).
LONGEST_PAUSE_SECONDS = 600.0

#: About what a word costs; a probe is charged like any request.
PROBE_TOKENS = 8.0


@dataclass(slots=True)
class Trial:
    """How far the rows of a request have come.

    `retries` is how many of the service's failures they may meet, `failures` how many they have met while
    others were answered; `attempts` counts all requests, `asking_seconds` what they took.
    """

    retries: int
    started: float
    attempts: int = 0
    failures: int = 0
    limited: int = 0
    timeouts: int = 0
    asking_seconds: float = 0.0

    def of_a_half(self) -> Trial:
        """Return where the halves of a split request begin: what was used up is, but for one more retry."""
        return Trial(
            max(self.retries - self.failures, min(self.retries, 1)),
            self.started,
            self.attempts,
            timeouts=self.timeouts,
            asking_seconds=self.asking_seconds,
        )


@dataclass(slots=True)
class Request:
    """What is asked: `body` gives the bytes for a deployment, `tokens` is the charge it is admitted for.

    `extra_tokens` of these are asked for the answers and charged whether used or not.
    """

    body: Callable[[Deployment], bytes]
    rows: int
    tokens: float
    extra_tokens: float
    trial: Trial


@dataclass(slots=True)
class Result(Generic[T]):
    """What became of a request: `answers` where it was kept, else why not."""

    outcome: Outcome
    answers: T | None = None


@dataclass(slots=True)
class Attempts(Generic[T]):
    """Sends to the deployments of a run.

    `read` turns a 200 into answers and may raise `unusable`; `tokens` says what they cost; `probe_body`
    gives a request of our own; `listen` hears of every attempt. Set `stop` and a timeout is an end.
    """

    deployments: Deployments
    patience: Patience
    read: Callable[[bytes, int], T]
    unusable: type[Exception]
    tokens: Callable[[T], tuple[int, int]]
    probe_body: Callable[[Deployment], bytes]
    stop: asyncio.Event
    listen: Callable[[Attempt], None]

    async def send(self, request: Request, deployment: Deployment, ticket: Ticket) -> Result[T]:
        """Send once and judge; tells the listener."""
        trial, rows = request.trial, request.rows
        trial.attempts += 1
        body = request.body(deployment)
        flight = self.patience.begin(rows, trial.timeouts)
        deployment.in_flight += 1
        try:
            reply = await deployment.send(body)
        except NoReply as lost:
            return self.lost(request, deployment, flight.started, no_reply(lost.code, lost.detail))
        except asyncio.CancelledError:
            if not flight.overdue or self.stop.is_set():
                raise
            forgive_cancel(flight.task)
            waited = time.monotonic() - flight.started
            late = no_reply(ErrorCode.TIMEOUT, f"none in {worded(waited)}")
            return self.lost(request, deployment, flight.started, late)
        finally:
            self.patience.end(flight)
            deployment.in_flight -= 1
        trial.asking_seconds += reply.seconds
        if reply.status != 200:
            outcome = classify(reply)
            if outcome.verdict is not Verdict.KEPT:
                return await self.refused(request, deployment, ticket, reply, outcome)
        try:
            answers = self.read(reply.body, rows)
        except self.unusable as reason:
            self.listen(Attempt(rows, reply.status, reply.seconds, ErrorCode.BAD_REPLY.value))
            trial.failures += 1
            unusable = no_reply(ErrorCode.BAD_REPLY, str(reason))
            self.failed(deployment, unusable)
            return Result(unusable)
        prompt_tokens, completion_tokens = self.tokens(answers)
        charged = prompt_tokens + request.extra_tokens if prompt_tokens else request.tokens
        self.patience.answered(flight, reply.seconds)
        deployment.hear(reply.headers, charged)
        # What is asked is in memory twice, as prompts and as a body.
        held = 2 * len(body) + len(reply.body)
        deployment.answered(ticket, charged, rows, reply.seconds, held)
        self.listen(Attempt(rows, reply.status, reply.seconds, "", prompt_tokens, completion_tokens))
        return Result(KEPT, answers)

    def lost(self, request: Request, deployment: Deployment, started: float, outcome: Outcome) -> Result[T]:
        """Judge an attempt that got no reply."""
        seconds = time.monotonic() - started
        trial = request.trial
        trial.asking_seconds += seconds
        trial.failures += 1
        trial.timeouts += outcome.code is ErrorCode.TIMEOUT
        self.listen(Attempt(request.rows, None, seconds, outcome.code.value))
        self.failed(deployment, outcome)
        return Result(outcome)

    async def refused(
        self,
        request: Request,
        deployment: Deployment,
        ticket: Ticket,
        reply: Reply,
        outcome: Outcome,
    ) -> Result[T]:
        """Judge a reply that is no answer."""
        self.listen(Attempt(request.rows, reply.status, reply.seconds, outcome.code.value))
        if outcome.verdict is not Verdict.AGAIN:
            return Result(outcome)
        seconds = wait_seconds(reply.headers)
        if seconds is not None and seconds > LONGEST_PAUSE_SECONDS:
            return await self.told_to_wait_for_hours(deployment, outcome, seconds)
        if reply.status == 429:
            request.trial.limited += 1
            deployment.hear(reply.headers, 0.0)
            deployment.limited(ticket, seconds)
        else:
            request.trial.failures += 1
            if seconds is not None:
                deployment.pause(time.monotonic() + seconds)
        self.failed(deployment, outcome)
        return Result(outcome)

    def failed(self, deployment: Deployment, outcome: Outcome) -> None:
        """Note a failure of the service."""
        if outcome.code is not ErrorCode.RATE_LIMITED:
            deployment.concurrency.failed()
        if deployment.health.failed(outcome):
            self.deployments.down(deployment)

    async def told_to_wait_for_hours(
        self, deployment: Deployment, outcome: Outcome, seconds: float
    ) -> Result[T]:
        """Tell an exhausted quota from a request that can never fit: the first refuses a probe, too."""
        if await self.probe(deployment):
            never_fits = Outcome(
                Verdict.SPLIT,
                ErrorCode.RATE_LIMITED,
                f"The service asks to wait {worded(seconds)} for this request alone: it is larger than the "
                "deployment's limit ever allows.",
                outcome.status,
                "never fits",
            )
            return Result(never_fits)
        exhausted = Outage(
            f"the service asks to wait {worded(seconds)} ({outcome.status}), so its quota is used up for now."
        )
        self.deployments.stop(deployment, exhausted)
        return Result(outcome)

    async def probe(self, deployment: Deployment) -> bool:
        """Ask a deployment a word of our own; whether it answers, be it with a refusal of that word."""
        deployment.reserve(PROBE_TOKENS)
        flight = self.patience.begin(1, 0)
        try:
            reply = await deployment.send(self.probe_body(deployment))
        except NoReply as lost:
            self.probed(deployment, None, time.monotonic() - flight.started, no_reply(lost.code, lost.detail))
            return False
        except asyncio.CancelledError:
            if not flight.overdue:
                raise
            forgive_cancel(flight.task)
            self.probed(deployment, None, time.monotonic() - flight.started, no_reply(ErrorCode.TIMEOUT))
            return False
        finally:
            self.patience.end(flight)
        outcome = classify(reply)
        self.probed(deployment, reply.status, reply.seconds, outcome)
        if outcome.verdict is Verdict.AGAIN:
            return False
        deployment.health.reached = True
        return True

    def probed(self, deployment: Deployment, status: int | None, seconds: float, outcome: Outcome) -> None:
        """Count a probe like any request: it may cost money."""
        cause = "" if outcome.verdict is Verdict.KEPT else outcome.code.value
        self.listen(Attempt(0, status, seconds, cause or "probe"))
        if outcome.verdict is Verdict.AGAIN:
            deployment.health.failed(outcome)


def forgive_cancel(task: asyncio.Task[object]) -> None:
    """Take back a cancel that was a timeout of ours, where Python counts them (3.11)."""
    uncancel = getattr(task, "uncancel", None)
    if uncancel is not None:
        uncancel()
