"""When is a request sent again, and when is it given up?

It knows replies and verdicts, not what a body holds. The first attempt runs bare, since nearly all
succeed and tenacity costs more than the attempt itself; a failure enters tenacity. Every attempt is
admitted by a deployment's quota anew, at whichever deployment has room. Failures of the service count
against a row only while others are answered: an outage is nobody's fault.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Generic, TypeVar

import tenacity

from batchscore.errors import BatchscoreError, ErrorCode, ServiceRefused
from batchscore.request.attempt import Attempts, Request, Result, Trial
from batchscore.request.deployment import Deployment
from batchscore.request.deployment_pool import Deployments
from batchscore.request.outcome import Verdict
from batchscore.request.quota.windows import Ticket

T = TypeVar("T")

#: Seconds before the second attempt, doubling up to the longest, and the random part of each. The
#: least wait is not random: retries that all fall into one instant meet one and the same trouble.
FIRST_WAIT_SECONDS = 0.5
JITTER_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
BACKOFF = tenacity.wait_exponential(FIRST_WAIT_SECONDS, LONGEST_BACKOFF_SECONDS) + tenacity.wait_random(
    0, JITTER_SECONDS
)

#: Being refused for the rate costs no retry, but it ends: several rows are halved, one is given up.
MOST_LIMITED_OF_MANY = 6
MOST_LIMITED_OF_ONE = 25

#: The attempts of one row may take so long together, waiting not counted.
LONGEST_ASKING_SECONDS = 1800.0


@dataclass(slots=True)
class Asking(Generic[T]):
    """All deployments of a run as the engine asks them. Set `stop` and nothing is sent again."""

    attempts: Attempts[T]
    stop: asyncio.Event

    @property
    def deployments(self) -> Deployments:
        """The deployments that requests may go to."""
        return self.attempts.deployments

    async def ask(self, request: Request, deployment: Deployment, ticket: Ticket) -> Result[T]:
        """Return what became of an admitted request, after as many attempts as it may have.

        Raises `ServiceRefused` when no request can succeed, `Outage` when nobody answers for too long.
        """
        result = await self.attempts.send(request, deployment, ticket)
        if result.answers is not None:
            return result
        return await self.after_failure(request, deployment, result)

    async def after_failure(self, request: Request, deployment: Deployment, failed: Result[T]) -> Result[T]:
        """Send a failed request until it is settled one way or another."""
        result = failed
        renewed: set[Deployment] = set()
        while not self.stop.is_set():
            verdict = result.outcome.verdict
            if verdict is Verdict.NEW_TOKEN and deployment not in renewed:
                renewed.add(deployment)
                if not await self.renews_token(deployment):
                    continue
                deployment, result = await self.elsewhere(request)
                continue
            if verdict in {Verdict.STOP, Verdict.NEW_TOKEN}:
                # Raises where no other deployment is left.
                self.deployments.stop(deployment, ServiceRefused(result.outcome.reason))
                deployment, result = await self.elsewhere(request)
                continue
            if verdict is Verdict.SPLIT and request.rows == 1:
                deployment.health.refused(result.outcome)
            if verdict is not Verdict.AGAIN or self.should_halve(request, deployment, result):
                return result
            if not self.used_up(request.trial):
                deployment, result = await self.again(request, deployment, result)
                continue
            if await self.answers_others(request.trial, deployment):
                return result
            # Nobody is answered, so this is no fault of the row's: it keeps its attempts.
            self.deployments.down(deployment)
            request.trial.forgive()
            deployment, result = await self.elsewhere(request)
        return result

    async def renews_token(self, deployment: Deployment) -> bool:
        """Whether there is another token to try; a deployment that none can be had for is given up."""
        try:
            return await deployment.renew_token()
        except BatchscoreError as reason:
            self.deployments.stop(deployment, reason)
            return False

    async def answers_others(self, trial: Trial, deployment: Deployment) -> bool:
        """Whether a deployment has answered anything since these rows began to fail, or does so now."""
        since = trial.failing_since
        if since is not None and deployment.health.answered_since(since):
            return True
        return (await self.attempts.probe(deployment)).verdict is not Verdict.AGAIN

    async def elsewhere(self, request: Request) -> tuple[Deployment, Result[T]]:
        """Ask whoever has room."""
        deployment, ticket = await self.deployments.admit(request.tokens)
        return deployment, await self.attempts.send(request, deployment, ticket)

    async def again(
        self, request: Request, deployment: Deployment, failed: Result[T]
    ) -> tuple[Deployment, Result[T]]:
        """Repeat with growing waits until something else than a failure of the service comes, or enough."""
        last = deployment, failed
        unjudged = [last]

        async def next_result() -> tuple[Deployment, Result[T]]:
            nonlocal last
            # Tenacity judges the bare attempt first, as if it had made it.
            last = unjudged.pop() if unjudged else await self.elsewhere(request)
            return last

        def enough(state: tenacity.RetryCallState) -> bool:
            del state
            return self.stop.is_set() or self.used_up(request.trial) or self.should_halve(request, *last)

        def give_up(state: tenacity.RetryCallState) -> tuple[Deployment, Result[T]]:
            del state
            return last

        async def back_off(seconds: float) -> None:
            deployment.backing_off += 1
            try:
                await asyncio.sleep(seconds)
            finally:
                deployment.backing_off -= 1

        def wait(state: tenacity.RetryCallState) -> float:
            # The pause of a 429 is the deployment's, and admission waits for its end.
            return 0.0 if last[1].outcome.code is ErrorCode.RATE_LIMITED else BACKOFF(state)

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_result(lambda result: result[1].outcome.verdict is Verdict.AGAIN),
            stop=enough,
            wait=wait,
            retry_error_callback=give_up,
            sleep=back_off,
        )
        final: tuple[Deployment, Result[T]] = await retrying(next_result)
        return final

    def used_up(self, trial: Trial) -> bool:
        """Whether a request has had its attempts."""
        return (
            trial.failures > trial.retries
            or trial.limited > MOST_LIMITED_OF_ONE
            or trial.asking_seconds > LONGEST_ASKING_SECONDS
        )

    def should_halve(self, request: Request, deployment: Deployment, result: Result[T]) -> bool:
        """Whether fewer rows may do where these do not: after a timeout, or when refused for their number."""
        if request.rows == 1:
            return False
        limited = request.trial.limited
        return (
            result.outcome.code is ErrorCode.TIMEOUT
            or limited > MOST_LIMITED_OF_MANY
            or (limited > 0 and deployment.too_large(request.tokens))
        )
