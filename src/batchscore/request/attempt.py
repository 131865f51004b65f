"""What happens when a request is sent once?

It sends, judges the reply and informs the deployment's quota and health, the timeouts and the listener.
Whether to send again is decided in `retry`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf
from typing import Generic, TypeVar

from batchscore.errors import BatchscoreError, ErrorCode, Outage, duration_text
from batchscore.request.deployment import Deployment
from batchscore.request.deployment_pool import DeploymentPool
from batchscore.request.outcome_rules import (
    ANSWERED,
    NEVER_ABOUT_ONE,
    Action,
    Outcome,
    cause_of,
    classify,
    failure_outcome,
    lost_outcome,
    over_limit,
    refused_alone,
    refused_for_now,
    unusable_outcome,
)
from batchscore.request.quota.windows import Ticket
from batchscore.request.rate_headers import wait_seconds
from batchscore.request.request import Request, Result
from batchscore.request.send import NoReply
from batchscore.request.service_words import probe_words
from batchscore.request.timeouts import Clock, Flight, Timeouts
from batchscore.rows import Attempt, InvalidReply, Reply

T = TypeVar("T")

#: A longer wait is not a pause: the quota is used up, or the request can never fit (86,400 is seen for both).
LONGEST_PAUSE_SECONDS = 600.0
#: To send a larger request again after a refusal of its credentials alone would cost too much.
MOST_ROWS_REFUSED_TWICE = 128
#: The header of the simulator's replies.
SIMULATED = "x-simulator"
#: Roughly the cost of a word; a probe is charged like any request.
PROBE_TOKENS = 8.0


@dataclass(slots=True)
class Requester(Generic[T]):
    """Sends single requests to the deployments of a run.

    `read` turns a 200 into answers, given the number of rows and the bytes sent, or raises `InvalidReply`;
    `tokens` gives the billed tokens of answers, `billed` those of any other reply; `most_bytes` bounds the
    size of a reply to this many rows; `probe_body` gives a request of our own; `listen` receives every
    attempt. If `stop` is set, a cancelled request is not counted as a timeout. `note_service` gets with the
    first answer whether the simulator gave it, and may raise.
    """

    deployments: DeploymentPool
    timeouts: Timeouts
    read: Callable[[bytes | memoryview, int, bytes], T]
    tokens: Callable[[T], tuple[int, int]]
    most_bytes: Callable[[int], int]
    probe_body: Callable[[Deployment], bytes]
    stop: asyncio.Event
    listen: Callable[[Attempt], None]
    clock: Clock
    billed: Callable[[bytes, int, bytes], tuple[int, int]] = lambda *_: (0, 0)
    note_service: Callable[[bool], None] = lambda _: None
    simulated: bool | None = None
    probing: dict[Deployment, tuple[float, asyncio.Task[Outcome]]] = field(default_factory=dict)
    closed: bool = False

    async def send(self, request: Request, deployment: Deployment, ticket: Ticket) -> Result[T]:
        """Send once, judge the reply and inform the listener."""
        budget, rows = request.budget, request.rows
        budget.attempts += 1
        if budget.failing_since is not None and not budget.others_answered:
            budget.others_answered = deployment.health.answered_one_sent_since(budget.failing_since)
        body = request.body(deployment, request.complaint)
        flight = self.timeouts.start(rows, budget.timeouts)
        deployment.in_flight += 1
        reply: Reply | Outcome
        try:
            reply = await deployment.send(body, self.most_bytes(rows))
        except (NoReply, BatchscoreError) as reason:
            reply = lost_outcome(reason)
        except asyncio.CancelledError as cancelled:
            reply = self.ended(cancelled, deployment, flight)
        finally:
            self.timeouts.end(flight)
            deployment.in_flight -= 1
        if isinstance(reply, Outcome):
            return self.judge_lost(request, deployment, flight.started, reply)
        if reply.status != 200:
            outcome = classify(reply, body)
            if outcome.action is not Action.KEEP:
                return await self.judge_refusal(request, deployment, ticket, reply, outcome)
        answers, invalid = None, None
        try:
            answers = self.read(reply.received, rows, body)
        except InvalidReply as reason:
            if reason.code is not ErrorCode.INVALID_ANSWER:
                return await self.judge_unusable(request, deployment, ticket, reply, reason)
            invalid = reason  # the service is well
        if (simulated := SIMULATED in reply.headers) is not self.simulated:
            self.note_service(simulated)
            self.simulated = simulated
        billed = self.billed(reply.body, rows, body) if answers is None else self.tokens(answers)
        charged = billed[0] + request.extra_tokens if billed[0] else request.tokens
        self.timeouts.note_answer(flight, reply.seconds)
        deployment.note_answer(ticket, charged, rows, reply)
        if invalid is not None:
            self.report(request, deployment, reply, invalid.code.value, billed)
            budget.note_failure(self.clock.monotonic(), reply.seconds, invalid.code, unusable=invalid)
            request.complaint = invalid.complaint
            return Result(unusable_outcome(invalid, reply, body), instead=invalid.results)
        budget.request_seconds += reply.seconds
        name, prompts = deployment.name, request.prompts
        self.listen(Attempt(rows, reply.status, reply.seconds, "", *billed, prompts, name))
        return Result(ANSWERED, answers)

    def report(
        self,
        request: Request,
        deployment: Deployment,
        reply: Reply,
        cause: str,
        billed: tuple[int, int] | None = None,
    ) -> None:
        """Report an attempt that got a reply to the listener; `billed` is read from it if it is not given."""
        rows, prompts, name = request.rows, request.prompts, deployment.name
        if billed is None and b'"usage"' in reply.body:
            billed = self.billed(reply.body, rows, request.body(deployment, request.complaint))
        asked, answered = billed or (0, 0)
        self.listen(Attempt(rows, reply.status, reply.seconds, cause, asked, answered, prompts, name))

    def ended(self, cancelled: asyncio.CancelledError, deployment: Deployment, flight: Flight) -> Outcome:
        """Return the timeout of a cancelled request; one that ends with the run is reported and raised."""
        waited = self.clock.monotonic() - flight.started
        if not flight.overdue or self.closed or self.stop.is_set():
            self.listen(Attempt(0, None, waited, "interrupted", deployment=deployment.name))
            raise cancelled
        if sys.version_info >= (3, 11):
            flight.task.uncancel()  # it was our timeout; older Pythons do not count cancels
        return failure_outcome(ErrorCode.TIMEOUT, f"waited {duration_text(waited)}")

    def judge_lost(
        self, request: Request, deployment: Deployment, started: float, outcome: Outcome
    ) -> Result[T]:
        """Judge an attempt that got no reply, or only a part of one."""
        now = self.clock.monotonic()
        seconds, name = now - started, deployment.name
        request.budget.note_failure(now, seconds, outcome.code)
        code, status = outcome.code.value, outcome.status
        self.listen(Attempt(request.rows, status, seconds, code, prompts=request.prompts, deployment=name))
        self.note_failure(deployment, outcome)
        return Result(outcome)

    async def judge_unusable(
        self, request: Request, deployment: Deployment, ticket: Ticket, reply: Reply, reason: InvalidReply
    ) -> Result[T]:
        """Judge a reply whose status promised answers; the status within its body is the real one."""
        outcome = unusable_outcome(reason, reply, request.body(deployment, request.complaint))
        if reason.status is not None:
            reply = replace(reply, status=reason.status)
            return await self.judge_refusal(request, deployment, ticket, reply, outcome)
        self.report(request, deployment, reply, cause_of(outcome))
        request.budget.note_failure(self.clock.monotonic(), reply.seconds, outcome.code, unusable=reason)
        self.note_failure(deployment, outcome)
        return Result(outcome)

    async def judge_refusal(
        self, request: Request, deployment: Deployment, ticket: Ticket, reply: Reply, outcome: Outcome
    ) -> Result[T]:
        """Judge a reply without answers."""
        self.report(request, deployment, reply, cause_of(outcome))
        again = outcome.action is Action.RENEW_TOKEN and request.budget.refused_at is not None
        if again or outcome.action is Action.STOP:
            return Result(await self.judge_stop(request, deployment, outcome))
        if outcome.of_rows is not None:
            if confirmed := await self.confirmed(request, deployment, outcome):
                return Result(confirmed)
            outcome = outcome.of_rows
        if outcome.action is not Action.RETRY:
            return Result(outcome)
        limited = outcome.code is ErrorCode.RATE_LIMITED
        request.budget.note_failure(self.clock.monotonic(), reply.seconds, outcome.code)
        if outcome.by_chance:
            return Result(outcome)
        seconds = wait_seconds(reply.headers, limited=limited, now=self.clock.wall(), tokens=request.tokens)
        if seconds is not None and (judged := await self.judge_wait(deployment, outcome, seconds)):
            deployment.quota.correct(ticket, 0.0)
            return judged
        if limited:
            await self.judge_rate_limit(request, deployment, ticket, reply, seconds)
        elif seconds is not None:
            deployment.pause(seconds)
        self.note_failure(deployment, outcome)
        return Result(outcome)

    def note_failure(self, deployment: Deployment, outcome: Outcome) -> None:
        """Note a failure of the service."""
        if outcome.code is not ErrorCode.RATE_LIMITED:
            deployment.concurrency.note_failure()
            deployment.on_capacity()
        longest = self.deployments.most_outage_seconds
        if deployment.health.note_failure(outcome, self.clock.monotonic(), longest):
            self.deployments.mark_down(deployment)

    async def judge_rate_limit(
        self,
        request: Request,
        deployment: Deployment,
        ticket: Ticket,
        reply: Reply,
        seconds: float | None,
    ) -> None:
        """Slow down for a 429, or only this request if others were answered since its last one."""
        budget, now = request.budget, self.clock.monotonic()
        deployment.request_window.note_rate_limit()
        deployment.read_headers(reply.headers, 0.0, now)
        deployment.rate_limits += 1
        deployment.limited_requests += budget.limited_at is None and not budget.limited_for_rows
        counts = deployment.rate_limits, deployment.answers, deployment.limited_requests
        before = budget.note_rate_limit(now, seconds or 0.0, counts)
        answered = before is not None and deployment.health.answered_since(before)
        if budget.limited_for_rows:
            answered = True
        elif before is not None and not answered and not deployment.in_flight:
            # Nobody else can show it.
            answered = (await self.probe(deployment, before)).action is Action.KEEP
            budget.limited_for_rows = answered and request.rows > 1
        budget.limited_alone = budget.limited_alone + 1 if answered else 0
        if answered:
            deployment.quota.correct(ticket, 0.0)
        else:
            longest = self.deployments.most_outage_seconds
            deployment.note_rate_limit(ticket, seconds, longest)

    async def judge_stop(self, request: Request, deployment: Deployment, outcome: Outcome) -> Outcome:
        """Return what a refusal of every request means; if others are answered, it is sent once more.

        Keys may be refused at random, so that is a failure like any, and only a large request is divided.
        """
        at_random = outcome.action is Action.RENEW_TOKEN and request.rows <= MOST_ROWS_REFUSED_TWICE
        first = at_random or (request.budget.refused_at is None and request.rows == 1)
        if confirmed := await self.confirmed(request, deployment, outcome):
            return confirmed
        request.budget.note_failure(self.clock.monotonic(), 0.0, ErrorCode.SERVER_ERROR)
        return refused_alone(outcome, first=first)

    async def confirmed(self, request: Request, deployment: Deployment, outcome: Outcome) -> Outcome | None:
        """Return a refusal of every request if a probe confirms it, and `None` if others are answered.

        A firewall that reads requests, a message that quotes its row, or bad luck give the same. If the probe
        is refused for another reason, that is the reason.
        """
        budget, now = request.budget, self.clock.monotonic()
        if budget.refused_at is None:
            budget.refused_at = now
        if deployment.health.answered_one_sent_since(budget.refused_at):
            return None
        never_answered = deployment.health.last_success is None
        if self.closed or self.stop.is_set() or (never_answered and outcome.status in NEVER_ABOUT_ONE):
            return outcome
        probe = await self.probe(deployment, budget.refused_at)
        if probe.action in {Action.STOP, Action.RENEW_TOKEN}:
            return replace(probe if outcome.of_rows else outcome, words=probe.words)
        if probe.action is Action.KEEP:
            budget.refused_at = -inf  # for its parts, too, no further probe is needed
            return None
        if probe.lasting:
            # Everything is refused, so this is not the row's fault: it keeps its retries.
            budget.reset()
            self.deployments.mark_down(deployment, excuses=True)
        elif probe.action is not Action.ADAPT:
            budget.note_failure(now, 0.0, probe.code)
        return replace(probe, words="")

    async def renew_token(self, deployment: Deployment) -> bool:
        """Return whether there is a different token to try; stop a deployment whose sign-in fails."""
        try:
            return await deployment.renew_token()
        except BatchscoreError as reason:
            self.deployments.stop(deployment, reason)
            return False

    async def judge_wait(self, deployment: Deployment, outcome: Outcome, seconds: float) -> Result[T] | None:
        """Distinguish an exhausted quota from a request that never fits: the first refuses a probe, too.

        `None` if the wait is a pause, or this request alone waits.
        """
        longest = self.deployments.most_outage_seconds
        if seconds <= min(LONGEST_PAUSE_SECONDS, longest):
            return None
        wait = duration_text(seconds)
        probe = await self.probe(deployment)
        if probe.action is not Action.RETRY:
            return Result(over_limit(outcome, wait)) if seconds > LONGEST_PAUSE_SECONDS else None
        if probe.lasting:
            # Everything is refused for now, for a reason of its own.
            self.deployments.mark_down(deployment, excuses=True)
            return Result(outcome)
        if seconds <= longest or self.deployments.others_up(deployment):
            deployment.pause(seconds)
            if seconds > longest:
                self.deployments.mark_down(deployment)
            return Result(outcome)
        exhausted = f"the service asks to wait {wait} ({outcome.status}), so its quota is used up for now."
        reason = Outage(deployment.explain(exhausted), service_reply=probe.words)
        self.deployments.stop(deployment, reason)
        return Result(outcome)

    async def probe(self, deployment: Deployment, since: float | None = None) -> Outcome:
        """Send a word of our own to a deployment, and judge the reply; most refusals count as responses.

        Calls during a probe share its outcome, but an answer only if it was sent `since` a moment, or now: an
        earlier one shows nothing about the time after it.
        """
        since = self.clock.monotonic() if since is None else since
        while True:
            # One that has ended is never awaited again: that would not yield, and the loop would not end.
            if deployment not in self.probing or self.probing[deployment][1].done():
                task = asyncio.create_task(self.send_probe(deployment))
                self.probing[deployment] = self.clock.monotonic(), task
            sent_at, task = self.probing[deployment]
            outcome = await asyncio.shield(task)
            if sent_at >= since or outcome.action is Action.RETRY:
                return outcome

    async def send_probe(self, deployment: Deployment, *, renewed: bool = False) -> Outcome:
        """Send one probe, and another one with a new token if the first one's is refused."""
        deployment.reserve(PROBE_TOKENS)
        flight, body = self.timeouts.start(1, 0), self.probe_body(deployment)
        reply: Reply | Outcome
        try:
            reply = await deployment.send(body, self.most_bytes(1))
        except (NoReply, BatchscoreError) as reason:
            reply = lost_outcome(reason)
        except asyncio.CancelledError as cancelled:
            reply = self.ended(cancelled, deployment, flight)
        finally:
            self.timeouts.end(flight)
        outcome = reply if isinstance(reply, Outcome) else classify(reply, body)
        status, seconds, billed = None, self.clock.monotonic() - flight.started, (0, 0)
        if isinstance(reply, Reply):
            status, seconds, billed = reply.status, reply.seconds, self.billed(reply.body, 1, body)
            if outcome.action is Action.KEEP:
                try:
                    self.read(reply.body, 1, body)
                except InvalidReply as reason:
                    if reason.code is not ErrorCode.INVALID_ANSWER:  # any form will do
                        outcome = unusable_outcome(reason, reply, body)
            if outcome.action not in {Action.KEEP, Action.RENEW_TOKEN}:
                outcome = replace(outcome, words=probe_words(reply.body, deployment.secrets))
        # Counted like any request: it may be billed.
        cause = "probe" if outcome.action is Action.KEEP else cause_of(outcome)
        self.listen(Attempt(0, status, seconds, cause, *billed, deployment=deployment.name))
        if not deployment.health.is_unproven:
            if outcome.action is Action.RENEW_TOKEN and not renewed and await self.renew_token(deployment):
                return await self.send_probe(deployment, renewed=True)
            outcome = refused_for_now(outcome)
        deployment.health.probe_answered = outcome.action is not Action.RETRY
        deployment.health.usable = deployment.health.usable or outcome.action is Action.KEEP
        if outcome.action is Action.RETRY:
            longest = self.deployments.most_outage_seconds
            deployment.health.note_failure(outcome, self.clock.monotonic(), longest)
        else:
            deployment.health.reached = True
            if outcome.action is Action.KEEP:
                deployment.concurrency.note_reachable()
                deployment.on_capacity()
        return outcome

    async def close(self) -> None:
        """Cancel the probes in flight; from now on a cancelled task really ends."""
        self.closed = True
        probes = [task for _, task in self.probing.values()]
        for task in probes:
            task.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
