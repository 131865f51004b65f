"""When is a request sent again, and when does it fail?

It knows replies and outcomes, not what a body holds; `RULES` in `outcome_rules` say which replies are worth
a retry. The first attempt runs without tenacity, since nearly all succeed and tenacity costs more than the
attempt itself; only a failure enters it. The quota admits every attempt separately, at any deployment with
room. Failures of the service count against a row only while other rows are answered: an outage is not the
row's fault.
"""

from __future__ import annotations

import asyncio
import random
import sys
from dataclasses import dataclass, replace
from functools import cache
from typing import Generic, TypeVar

import tenacity

from batchscore.errors import ErrorCode, ServiceRefused, duration_text
from batchscore.request.attempt import Requester
from batchscore.request.deployment import NOTICE_FROM_SECONDS, Deployment
from batchscore.request.deployment_pool import DeploymentPool
from batchscore.request.outcome_rules import ANSWERED, Action, Outcome
from batchscore.request.request import Request, Result
from batchscore.request.retry_budget import RetryBudget

T = TypeVar("T")

#: Seconds before the second attempt, doubling up to the longest, and the random part of each. The first part
#: is not random: retries that all fall into one instant meet the same trouble.
FIRST_WAIT_SECONDS = 0.5
JITTER_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
BACKOFF = tenacity.wait_exponential(FIRST_WAIT_SECONDS, LONGEST_BACKOFF_SECONDS) + tenacity.wait_random(
    0, JITTER_SECONDS
)

#: A 429 costs no retry, but their number is limited: then several rows are halved, and a single row fails;
#: earlier if others are answered between its refusals.
MOST_LIMITED_OF_MANY = 6
MOST_LIMITED_OF_ONE = 25
MOST_LIMITED_ALONE = 4
#: The same of a row whose request was divided this often, with a 429 for one part and answers for the others.
MOST_LIMITED_OF_PART = 1
CERTAIN_DIVISIONS = 3

#: A limit that lasts a minute or two may refuse a row and answer others, because of its size or by chance. So
#: a row's last two attempts are this long after its first 429, and so long if many others were refused, too.
#: After other failures its last attempt is as late as if the row had been sent alone with all of its retries.
#: `MOST_RESTING` rows wait without keeping a worker from others.
PASSING_SECONDS = 125.0
MOST_LIMITED_AGAIN = 2
LONGEST_LIMITED_SECONDS = 4 * PASSING_SECONDS
MOST_RESTING = 256

#: After this many failures fewer rows are tried, if the service answers others; after one if a request holds
#: more rows than this: what the rows of such a request cost is bounded, too.
FAILURES_OF_MANY = 2
MOST_ROWS_SENT_TWICE = 256

#: A failed request of so few rows is divided into single rows.
MOST_ROWS_SENT_ALONE = 4

#: A row may time out this often: the timeouts double.
MOST_TIMEOUTS = 4

#: The attempts of one row may take this long in total, without the waits between them.
LONGEST_REQUEST_SECONDS = 1800.0


@dataclass(slots=True)
class AttemptLoop(Generic[T]):
    """Sends requests until they are settled. Set `stop` and nothing is sent again.

    Requests of more than `usual_rows` have failed where smaller ones were answered.
    """

    requester: Requester[T]
    stop: asyncio.Event
    usual_rows: int = sys.maxsize

    @property
    def deployments(self) -> DeploymentPool:
        """The deployments that requests may go to."""
        return self.requester.deployments

    async def settle(self, request: Request, deployment: Deployment, first: Result[T]) -> Result[T]:
        """Return the result of a request without answers, after as many further attempts as it may have.

        Raises `ServiceRefused` if no request can succeed, `Outage` if no service answers for too long.
        """
        result = first
        renewed: set[Deployment] = set()
        while not self.stop.is_set():
            action = result.outcome.action
            if action is Action.RENEW_TOKEN and deployment not in renewed:
                renewed.add(deployment)
                if await self.requester.renew_token(deployment):
                    deployment, result = await self.send_anywhere(request)
                continue
            if action is Action.RENEW_TOKEN:
                result = Result(await self.requester.judge_stop(request, deployment, result.outcome))
                action = result.outcome.action
            if action in {Action.STOP, Action.RENEW_TOKEN}:
                # Raises if no other deployment is left.
                text = deployment.explain(result.outcome.reason, result.outcome.status)
                self.deployments.stop(deployment, ServiceRefused(text, service_reply=result.outcome.words))
                deployment, result = await self.send_anywhere(request)
                continue
            if action is not Action.RETRY and (request.rows > 1 or not result.outcome.by_chance):
                return result
            if self.should_halve(request, deployment, result):
                request.budget.limited_for_rows |= self.is_limited_alone(request.budget, deployment)
                return result
            may_retry = action is Action.RETRY and not self.is_used_up(request.budget)
            if may_retry and not self.may_be_too_large(request, result):
                deployment, result = await self.retry(request, deployment, result)
                continue
            is_well = result.outcome.code is ErrorCode.INVALID_ANSWER
            if is_well or await self.answers_other_rows(request, result, deployment):
                if request.rows == 1 and await self.let_pass(request, deployment, result):
                    deployment, result = await self.send_in_slot(request)
                    continue
                if self.may_be_of_one_outage(request, result):
                    # Others are answered now; whether they were before, nothing shows.
                    request.budget.others_answered = True
                    deployment, result = await self.send_anywhere(request)
                    continue
                return self.final(request, deployment, result)
            # The service answers nothing, so this is not the row's fault: it keeps its retries.
            self.deployments.mark_down(deployment, excuses=True)
            request.budget.reset()
            deployment, result = await self.send_anywhere(request)
        return result

    def final(self, request: Request, deployment: Deployment, result: Result[T]) -> Result[T]:
        """Return the result of a request that has had its attempts, though others are answered."""
        if result.instead is not None:
            return Result(ANSWERED, result.instead)
        outcome, seconds = result.outcome, request.budget.request_seconds
        limited = outcome.code is ErrorCode.RATE_LIMITED
        if limited and request.rows == 1 and request.tokens > deployment.largest_answered:
            text = (
                "The service's rate limit refused this row again and again, and answers smaller ones: it is "
                "larger than the limit ever allows."
            )
            outcome = Outcome(Action.SPLIT, ErrorCode.OVER_QUOTA, text, outcome.status)
        elif outcome.code is ErrorCode.TIMEOUT and request.budget.timeouts > 1:
            text = f"{outcome.reason.rstrip('.')}; all attempts took {duration_text(seconds)}."
            outcome = replace(outcome, reason=text)
        return replace(result, outcome=outcome)

    async def answers_other_rows(self, request: Request, result: Result[T], deployment: Deployment) -> bool:
        """Whether a deployment has answered others since these rows began to fail, or does so now.

        Before an error is given to a row, that must have been since the row itself failed.
        """
        budget, health = request.budget, deployment.health
        if budget.others_answered or (budget.is_limited and self.is_certain(budget)):
            return True
        no_error = self.may_be_too_large(request, result) or self.may_pass(budget, result.outcome)
        since = budget.first_failed if no_error else budget.failing_since
        answered = health.answered_since if budget.is_limited else health.answered_one_sent_since
        if since is not None and answered(since):
            return True
        return (await self.requester.probe(deployment, since)).action is not Action.RETRY

    async def probe_before_last(self, budget: RetryBudget, deployment: Deployment) -> None:
        """Ask whether others are answered if one more timeout of a row is its last: another takes minutes."""
        since, after = budget.failing_since or 0.0, replace(budget)
        after.note_failure(self.requester.clock.monotonic(), budget.request_seconds, ErrorCode.TIMEOUT)
        known = budget.others_answered or deployment.health.answered_one_sent_since(since)
        if not known and self.is_used_up(after):
            probe = await self.requester.probe(deployment, since)
            budget.others_answered = probe.action is Action.KEEP

    def may_be_of_one_outage(self, request: Request, result: Result[T]) -> bool:
        """Whether all failures of a row may be those of one outage.

        They are not if another request, sent after one of them, was answered before the last attempt.
        Rate limits of one row take minutes, so that most outages are over by then.
        """
        never = {ErrorCode.INVALID_ANSWER, ErrorCode.RATE_LIMITED}
        return request.rows == 1 and result.outcome.code not in never and not request.budget.failed_by_itself

    async def send_anywhere(self, request: Request) -> tuple[Deployment, Result[T]]:
        """Send a request to the deployment that first has room."""
        if len(self.deployments.members) == 1:  # while it waited, another worker may have taken its place
            return await self.send_in_slot(request)
        deployment, ticket = await self.deployments.admit(request.tokens)
        return deployment, await self.requester.send(request, deployment, ticket)

    async def send_in_slot(self, request: Request) -> tuple[Deployment, Result[T]]:
        """Send a request when fewer are in flight than the service takes at a time."""
        deployment = await self.deployments.choose(request.tokens)
        async with deployment.slots:
            await deployment.wait_for_slot()
            deployment, ticket = await self.deployments.admit(request.tokens)
            await deployment.wait_for_slot()
        return deployment, await self.requester.send(request, deployment, ticket)

    def others_show(self, request: Request, deployment: Deployment, outcome: Outcome) -> bool:
        """Whether other parts should be sent first: they show if a failure is one part's own.

        If the service answers none of several requests, their size may be the reason.
        """
        if outcome.by_chance or request.budget.is_limited:
            return True
        answered = deployment.health.answered_since(request.budget.first_failed or 0.0)
        return outcome.action is Action.RETRY and (answered or not deployment.in_flight)

    async def let_pass_if_few(self, request: Request, deployment: Deployment, result: Result[T]) -> None:
        """Wait before the rows of a failed request are sent alone, so that this is not necessary later."""
        if request.rows > MOST_ROWS_SENT_ALONE or result.outcome.code is ErrorCode.RATE_LIMITED:
            return
        if await self.let_pass(request, deployment, result):
            # Meanwhile another worker has taken its place.
            async with deployment.slots:
                await deployment.wait_for_slot()

    async def let_pass(self, request: Request, deployment: Deployment, result: Result[T]) -> bool:
        """Wait until what made a request fail has passed, if it passes; return whether that was necessary."""
        budget = request.budget
        if self.stop.is_set() or not self.may_pass(budget, result.outcome):
            return False
        left = self.passed_at(budget, result.outcome) - self.requester.clock.monotonic()
        budget.begin_long_wait(max(0, self.most_alone(budget) - MOST_LIMITED_AGAIN))
        deployment.health.end_failures()  # nothing may be sent meanwhile, and that is no outage
        asked = budget.asked_wait if budget.is_limited else 0.0
        left = max(min(left, PASSING_SECONDS) * random.uniform(1.0, 1.05), asked)  # noqa: S311
        announce_rest(deployment, result.outcome, left)
        await self.back_off(deployment, left, rests=deployment.resting < MOST_RESTING)
        return True

    def may_pass(self, budget: RetryBudget, outcome: Outcome) -> bool:
        """Whether what made a row fail may have passed since its latest attempt, or may pass soon."""
        return budget.failed_at < self.passed_at(budget, outcome)

    def passed_at(self, budget: RetryBudget, outcome: Outcome) -> float:
        """Return when what made a row fail has passed, if it passes at all."""
        if budget.first_failed is None or budget.same_again or outcome.code is ErrorCode.INVALID_ANSWER:
            return 0.0
        if outcome.code is not ErrorCode.RATE_LIMITED:
            return budget.first_failed + usual_seconds(budget.retries)
        own = budget.few_others_limited and budget.limited_alone >= self.most_alone(budget)
        return budget.first_failed + (PASSING_SECONDS if own else LONGEST_LIMITED_SECONDS)

    async def back_off(self, deployment: Deployment, seconds: float, *, rests: bool) -> None:
        """Wait before the next attempt; if it `rests`, another worker sends requests meanwhile."""
        deployment.backing_off += 1
        deployment.resting += rests
        deployment.retry_at = max(deployment.retry_at, deployment.clock.monotonic() + seconds)
        if rests:
            deployment.on_capacity()
        try:
            await asyncio.sleep(seconds)
        finally:
            deployment.backing_off -= 1
            deployment.resting -= rests

    async def retry(
        self, request: Request, deployment: Deployment, failed: Result[T]
    ) -> tuple[Deployment, Result[T]]:
        """Retry with growing waits until the service does not fail, or the budget is used up."""
        last = deployment, failed
        unjudged = [last]

        async def next_result() -> tuple[Deployment, Result[T]]:
            nonlocal last
            # Tenacity judges the first attempt first, as if it had made it.
            if unjudged:
                last = unjudged.pop()
            elif not self.may_be_too_large(request, last[1]) and not self.should_halve(request, *last):
                code = last[1].outcome.code
                limited = code is ErrorCode.RATE_LIMITED
                if code is ErrorCode.TIMEOUT and request.rows == 1:
                    await self.probe_before_last(request.budget, last[0])
                last = await (self.send_in_slot if limited else self.send_anywhere)(request)
            return last

        def lets_others_pass() -> bool:
            """Whether rows that nobody has sent yet can show whether a 429 is for these rows."""
            limited = last[1].outcome.code is ErrorCode.RATE_LIMITED and request.budget.rate_limits == 1
            return limited and request.rows > 1 and last[0].concurrency.limit == 1 and not last[0].resting

        def wait(state: tenacity.RetryCallState) -> float:
            if last[1].outcome.code is ErrorCode.INVALID_ANSWER:
                return 0.0  # the service is well
            if last[1].outcome.code is not ErrorCode.RATE_LIMITED:
                # After a pause for all, others are sent before it.
                return BACKOFF(state) + min(member.paused_seconds for member in self.deployments.members)
            # Admission waits for the end of a 429's pause; if there is none, only this request waits.
            if not last[0].available:
                return last[0].paused_seconds + FIRST_WAIT_SECONDS if lets_others_pass() else 0.0
            return max(last[0].own_wait(request.budget.rate_limits), request.budget.asked_wait)

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_result(lambda result: result[1].outcome.action is Action.RETRY),
            stop=lambda _: (
                self.stop.is_set()
                or self.is_used_up(request.budget)
                or self.should_halve(request, *last)
                or self.may_be_too_large(request, last[1])
            ),
            wait=wait,
            retry_error_callback=lambda _: last,
            sleep=lambda seconds: self.back_off(last[0], seconds, rests=lets_others_pass()),
        )
        await retrying(next_result)
        return last

    def most_alone(self, budget: RetryBudget) -> int:
        """Return how many 429s may be a request's own before it is given up."""
        return MOST_LIMITED_OF_PART if self.is_certain(budget) else MOST_LIMITED_ALONE

    def is_certain(self, budget: RetryBudget) -> bool:
        """Whether enough divisions have shown that a 429 is for this row: all other parts were answered."""
        return budget.limited_for_rows and budget.parted >= CERTAIN_DIVISIONS

    def is_used_up(self, budget: RetryBudget) -> bool:
        """Whether a request has had its attempts."""
        # A part of a divided request fails twice after the time of its retries, and not several times: the
        # failures before may have been those of another row.
        divisions = 1 if budget.refused_at is None else CERTAIN_DIVISIONS  # refusals may be random
        is_part = budget.parted >= divisions and budget.alike > 1 and not budget.is_limited
        late = is_part and budget.failed_at - (budget.first_failed or 0.0) >= usual_seconds(budget.retries)
        return (
            budget.failures > budget.retries
            or late
            or budget.same_again
            or budget.rate_limits > MOST_LIMITED_OF_ONE
            or budget.limited_alone >= self.most_alone(budget)
            or budget.timeouts >= MOST_TIMEOUTS
            or budget.request_seconds > LONGEST_REQUEST_SECONDS
        )

    def should_halve(self, request: Request, deployment: Deployment, result: Result[T]) -> bool:
        """Whether fewer rows are tried in any case: after a timeout, 429s for their number, or by form."""
        if request.rows == 1:
            return False
        limited = request.budget.rate_limits
        return (
            result.outcome.code is ErrorCode.TIMEOUT
            or request.budget.same_again
            or (limited > 0 and request.budget.limited_for_rows)
            or self.is_limited_alone(request.budget, deployment)
            or (limited > 0 and not request.budget.asked_wait and request.rows > self.usual_rows)
            or (limited > 0 and request.rows > MOST_ROWS_SENT_TWICE)
            or limited > MOST_LIMITED_OF_MANY
            or (limited > 0 and deployment.too_large(request.tokens))
        )

    def is_limited_alone(self, budget: RetryBudget, deployment: Deployment) -> bool:
        """Whether others were answered and got no 429 since the first of this request's last ones."""
        if budget.rate_limits < FAILURES_OF_MANY or deployment.rate_limits != budget.counts[0]:
            return False
        return budget.failing_since is not None and deployment.health.answered_one_sent_since(
            budget.failing_since
        )

    def rows_of_part(self, rows: int) -> int:
        """Return the rows of each part of a failed request: the usual number, if it held more."""
        return self.usual_rows if rows > self.usual_rows else division(rows)[1]

    def may_be_too_large(self, request: Request, result: Result[T]) -> bool:
        """Whether fewer rows may succeed if the service answers others: a size, or one row, makes it fail.

        A part of a failed request, and one that is larger than those that succeed, or very large, fails once;
        others twice.
        """
        if request.rows == 1 or result.outcome.action is not Action.RETRY:
            return False
        if result.outcome.code is ErrorCode.RATE_LIMITED:
            return False
        budget = request.budget
        once = budget.parted or request.rows > min(self.usual_rows, MOST_ROWS_SENT_TWICE)
        return budget.alike >= (1 if once else FAILURES_OF_MANY)


@cache
def division(rows: int) -> tuple[int, int]:
    """Return how many requests find one bad row at most, and the rows of each part for that."""
    sizes = [(parts, -(-rows // parts)) for parts in (2, 3, 4) if parts <= rows]
    return min([(parts + division(size)[0], size) for parts, size in sizes], default=(0, 1))


def usual_seconds(retries: int) -> float:
    """Return how long a row that is sent alone waits between all its attempts, without the random parts."""
    waits = [FIRST_WAIT_SECONDS * 2.0**count for count in range(min(retries, 20))]
    return min(sum(min(seconds, LONGEST_BACKOFF_SECONDS) for seconds in waits), PASSING_SECONDS)


def announce_rest(deployment: Deployment, outcome: Outcome, seconds: float) -> None:
    """Send a notice of a row that waits until its failure may have passed, if no other row waits so."""
    if not deployment.resting and seconds >= NOTICE_FROM_SECONDS:
        again = f"It is sent again in {duration_text(seconds)}, others meanwhile."
        why = outcome.reason.rstrip(".")
        deployment.notice(f"{deployment.name} answers other rows and not this one: {why}. {again}")
