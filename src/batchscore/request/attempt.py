"""What comes of sending a request once?

It sends, judges the reply and tells everybody whom it concerns: the deployment's quota and health, the
patience, the listener. Whether to send again is `retry`'s question.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from batchscore.errors import BatchscoreError, ErrorCode, Outage
from batchscore.request.deployment import Deployment, worded
from batchscore.request.deployment_pool import Deployments
from batchscore.request.outcome import KEPT, Outcome, Verdict, classify, no_reply, refused_alone
from batchscore.request.quota.windows import Ticket
from batchscore.request.reply_headers import wait_seconds
from batchscore.request.timeouts import Flight, Patience
from batchscore.request.wire import NoReply
from batchscore.rows import Attempt, Prompt, Reply

T = TypeVar("T")

#: A wait longer than this is no pause: the quota is used up, or the request can never fit
#: (`retry-after: 86400` is seen for both).
LONGEST_PAUSE_SECONDS = 600.0

#: About what a word costs; a probe is charged like any request.
PROBE_TOKENS = 8.0


@dataclass(slots=True)
class Trial:
    """How far the rows of a request have come.

    `retries` is how many of the service's failures they may meet, `failures` and `limited` how many they have
    met since `failing_since`; `attempts` counts all requests, `asking_seconds` what they took.
    """

    retries: int
    attempts: int = 0
    failures: int = 0
    limited: int = 0
    timeouts: int = 0
    asking_seconds: float = 0.0
    failing_since: float | None = None

    def failed(self, now: float, seconds: float, *, limited: bool = False, timeout: bool = False) -> None:
        """Note a failure of the service after so many seconds."""
        if self.failing_since is None:
            self.failing_since = now
        self.failures += not limited
        self.limited += limited
        self.timeouts += timeout
        self.asking_seconds += seconds

    def forgive(self) -> None:
        """Begin anew: the failures were an outage's."""
        self.failures = self.limited = self.timeouts = 0
        self.asking_seconds = 0.0
        self.failing_since = None

    def of_a_half(self) -> Trial:
        """Return where the halves of a split request begin: what was used up is, but for one more retry."""
        return Trial(
            max(self.retries - self.failures, min(self.retries, 1)),
            self.attempts,
            timeouts=self.timeouts,
            asking_seconds=self.asking_seconds,
        )


@dataclass(slots=True)
class Request:
    """What is asked: `body` gives the bytes for a deployment, `tokens` is the charge it is admitted for.

    `extra_tokens` of these are asked for the answers and charged whether used or not. `prompts` are handed
    on to the listener.
    """

    body: Callable[[Deployment], bytes]
    rows: int
    tokens: float
    extra_tokens: float
    trial: Trial
    prompts: Sequence[Prompt] = ()


@dataclass(slots=True)
class Result(Generic[T]):
    """What became of a request: `answers` where it was kept, else why not."""

    outcome: Outcome
    answers: T | None = None


@dataclass(slots=True)
class Attempts(Generic[T]):
    """Sends to the deployments of a run.

    `read` turns a 200 into answers and may raise `unusable`; `tokens` says what they cost, `billed` what any
    other reply did; `probe_body` gives a request of our own; `listen` hears of every attempt. Set `stop` and
    a timeout is an end.
    """

    deployments: Deployments
    patience: Patience
    read: Callable[[bytes, int], T]
    unusable: type[Exception]
    tokens: Callable[[T], tuple[int, int]]
    probe_body: Callable[[Deployment], bytes]
    stop: asyncio.Event
    listen: Callable[[Attempt], None]
    billed: Callable[[bytes], tuple[int, int]] = lambda _: (0, 0)
    probing: dict[Deployment, asyncio.Task[Outcome]] = field(default_factory=dict)
    closed: bool = False

    async def send(self, request: Request, deployment: Deployment, ticket: Ticket) -> Result[T]:
        """Send once and judge; tells the listener."""
        trial, rows = request.trial, request.rows
        trial.attempts += 1
        body = request.body(deployment)
        flight = self.patience.begin(rows, trial.timeouts)
        deployment.in_flight += 1
        try:
            reply = await self.exchange(deployment, body, flight)
        finally:
            self.patience.end(flight)
            deployment.in_flight -= 1
        if isinstance(reply, Outcome):
            return self.lost(request, deployment, flight.started, reply)
        if reply.status != 200:
            outcome = classify(reply)
            if outcome.verdict is not Verdict.KEPT:
                return await self.refused(request, deployment, ticket, reply, outcome)
        try:
            answers = self.read(reply.body, rows)
        except self.unusable as reason:
            self.tell(request, deployment, reply, ErrorCode.INVALID_RESPONSE.value, *self.billed(reply.body))
            trial.failed(time.monotonic(), reply.seconds)
            unusable = no_reply(ErrorCode.INVALID_RESPONSE, str(reason))
            self.failed(deployment, unusable)
            return Result(unusable)
        trial.asking_seconds += reply.seconds
        prompt_tokens, completion_tokens = self.tokens(answers)
        charged = prompt_tokens + request.extra_tokens if prompt_tokens else request.tokens
        self.patience.answered(flight, reply.seconds)
        deployment.hear(reply.headers, charged)
        # What is asked is in memory twice, as prompts and as a body.
        held = 2 * len(body) + len(reply.body)
        deployment.answered(ticket, charged, rows, reply.seconds, held)
        self.tell(request, deployment, reply, "", prompt_tokens, completion_tokens)
        return Result(KEPT, answers)

    def tell(
        self,
        request: Request,
        deployment: Deployment,
        reply: Reply,
        cause: str,
        prompt_tokens: int,
        completion_tokens: int,
    ) -> None:
        """Tell the listener of an attempt that got a reply."""
        self.listen(
            Attempt(
                request.rows,
                reply.status,
                reply.seconds,
                cause,
                prompt_tokens,
                completion_tokens,
                request.prompts,
                deployment.name,
            )
        )

    async def exchange(self, deployment: Deployment, body: bytes, flight: Flight) -> Reply | Outcome:
        """Return the reply, or why there is none; a request that is broken off with the run is counted."""
        try:
            return await deployment.send(body)
        except NoReply as lost:
            return no_reply(lost.code, lost.detail, needs_person=lost.needs_person)
        except BatchscoreError as reason:
            # Signing in fails: there will be none for any request.
            return Outcome(Verdict.STOP, ErrorCode.CONNECTION_ERROR, str(reason), needs_person=True)
        except asyncio.CancelledError:
            waited = time.monotonic() - flight.started
            if not flight.overdue or self.ending:
                self.listen(Attempt(0, None, waited, "interrupted", deployment=deployment.name))
                raise
            forgive_cancel(flight.task)
            return no_reply(ErrorCode.TIMEOUT, f"none in {worded(waited)}")

    @property
    def ending(self) -> bool:
        """Whether a cancel may be meant as one."""
        return self.closed or self.stop.is_set()

    def lost(self, request: Request, deployment: Deployment, started: float, outcome: Outcome) -> Result[T]:
        """Judge an attempt that got no reply."""
        now = time.monotonic()
        request.trial.failed(now, now - started, timeout=outcome.code is ErrorCode.TIMEOUT)
        self.listen(
            Attempt(
                request.rows,
                None,
                now - started,
                outcome.code.value,
                prompts=request.prompts,
                deployment=deployment.name,
            )
        )
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
        self.tell(request, deployment, reply, cause_of(outcome), *self.billed(reply.body))
        limited = outcome.code is ErrorCode.RATE_LIMITED
        if outcome.verdict is not Verdict.AGAIN:
            if outcome.verdict is Verdict.STOP and await self.is_the_requests_own(deployment, outcome):
                outcome = refused_alone(outcome)
            return Result(outcome)
        request.trial.failed(time.monotonic(), reply.seconds, limited=limited)
        seconds = wait_seconds(reply.headers, limited=limited)
        if seconds is not None and seconds > LONGEST_PAUSE_SECONDS:
            deployment.quota.correct(ticket, 0.0)
            return await self.told_to_wait_long(deployment, outcome, seconds)
        if limited:
            deployment.hear(reply.headers, 0.0)
            deployment.limited(ticket, seconds)
        elif seconds is not None:
            deployment.pause(time.monotonic() + seconds)
        self.failed(deployment, outcome)
        return Result(outcome)

    def failed(self, deployment: Deployment, outcome: Outcome) -> None:
        """Note a failure of the service."""
        if outcome.code is not ErrorCode.RATE_LIMITED:
            deployment.concurrency.failed()
            deployment.more_wanted()
        if deployment.health.failed(outcome):
            self.deployments.down(deployment)

    async def is_the_requests_own(self, deployment: Deployment, outcome: Outcome) -> bool:
        """Whether a refusal of everything is meant for this request only, as by a firewall that reads it."""
        answers = deployment.health.last_success is not None and outcome.code is not ErrorCode.RATE_LIMITED
        return answers and not self.ending and (await self.probe(deployment)).verdict is Verdict.KEPT

    async def told_to_wait_long(self, deployment: Deployment, outcome: Outcome, seconds: float) -> Result[T]:
        """Tell an exhausted quota from a request that can never fit: the first refuses a probe, too."""
        if (await self.probe(deployment)).verdict is not Verdict.AGAIN:
            never_fits = Outcome(
                Verdict.SPLIT,
                ErrorCode.RATE_LIMITED,
                f"The service asks to wait {worded(seconds)} for this request alone: it is larger than the "
                "deployment's limit ever allows.",
                outcome.status,
                "never fits",
            )
            return Result(never_fits)
        if seconds <= self.deployments.most_outage_seconds or self.deployments.others_answer(deployment):
            deployment.pause(time.monotonic() + seconds)
            if seconds > self.deployments.most_outage_seconds:
                self.deployments.down(deployment)
            return Result(outcome)
        exhausted = Outage(
            f"the service asks to wait {worded(seconds)} ({outcome.status}), so its quota is used up for now."
        )
        self.deployments.stop(deployment, exhausted)
        return Result(outcome)

    async def probe(self, deployment: Deployment) -> Outcome:
        """Ask a deployment a word of our own, and judge the reply; `KEPT` and most refusals are answers.

        Who asks while a probe is under way gets what comes of that one.
        """
        under_way = self.probing.get(deployment)
        if under_way is None:
            under_way = self.probing[deployment] = asyncio.create_task(self.probe_once(deployment))
            under_way.add_done_callback(lambda _: self.probing.pop(deployment, None))
        return await asyncio.shield(under_way)

    async def probe_once(self, deployment: Deployment) -> Outcome:
        """Send one probe."""
        deployment.reserve(PROBE_TOKENS)
        flight = self.patience.begin(1, 0)
        try:
            reply = await self.exchange(deployment, self.probe_body(deployment), flight)
        finally:
            self.patience.end(flight)
        outcome = reply if isinstance(reply, Outcome) else classify(reply)
        status, seconds, billed = None, time.monotonic() - flight.started, (0, 0)
        if isinstance(reply, Reply):
            status, seconds, billed = reply.status, reply.seconds, self.billed(reply.body)
            if outcome.verdict is Verdict.KEPT:
                try:
                    self.read(reply.body, 1)
                except self.unusable as reason:
                    outcome = no_reply(ErrorCode.INVALID_RESPONSE, str(reason))
        # Counted like any request: it may cost money.
        cause = "probe" if outcome.verdict is Verdict.KEPT else cause_of(outcome)
        self.listen(Attempt(0, status, seconds, cause, *billed, deployment=deployment.name))
        deployment.health.probe_answered = outcome.verdict is not Verdict.AGAIN
        if outcome.verdict is Verdict.AGAIN:
            deployment.health.failed(outcome)
        else:
            deployment.health.reached = True
            deployment.concurrency.answers()
            deployment.more_wanted()
        return outcome

    async def close(self) -> None:
        """End the probes that are under way; from now on every cancel is meant as one."""
        self.closed = True
        probes = list(self.probing.values())
        for task in probes:
            task.cancel()
        await asyncio.gather(*probes, return_exceptions=True)


def cause_of(outcome: Outcome) -> str:
    """Return why an attempt came to nothing, for the account: what refuses every row has its own name."""
    if outcome.verdict is Verdict.NEW_TOKEN or (outcome.verdict is Verdict.STOP and outcome.status == 403):
        return "access_denied"
    if outcome.verdict is Verdict.STOP and outcome.code is ErrorCode.INVALID_REQUEST:
        return "not_found"
    return outcome.code.value


def forgive_cancel(task: asyncio.Task[object]) -> None:
    """Take back a cancel that was a timeout of ours, where Python counts them (3.11)."""
    uncancel = getattr(task, "uncancel", None)
    if uncancel is not None:
        uncancel()
