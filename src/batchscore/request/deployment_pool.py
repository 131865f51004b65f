"""Which deployment takes a request, and what happens while none of them answers?

Work goes to deployments with free quota and avoids those that are down. A deployment that is down gets a
probe now and then and is used again when it answers one. If all have been down for too long, that outage
ends the run. It knows no rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from batchscore.errors import (
    BatchscoreError,
    BrokenInvariant,
    ErrorCode,
    Outage,
    ServiceRefused,
    duration_text,
)
from batchscore.request.deployment import Deployment
from batchscore.request.health import FIRST_PROBE_SECONDS, Health, State
from batchscore.request.outcome_rules import Action, Outcome
from batchscore.request.quota.windows import Ticket
from batchscore.request.timeouts import Clock
from batchscore.rows import Notice

#: Sends a small request of our own to a deployment and judges the reply.
Probe = Callable[[Deployment], Awaitable[Outcome]]

#: The longest wait between two probes, and after a reply that asks for a long wait.
LONGEST_PROBE_SECONDS = 30.0
LONGEST_PAUSED_PROBE_SECONDS = 600.0

#: A deployment that has never answered is more likely misconfigured than down, so the run fails early.
NEVER_REACHED_SECONDS = 20.0

NEVER_USABLE = (
    "It has never sent a usable reply: check its address (http or https, port and path), and whether it is a "
    "service of this kind."
)

NEVER_REACHED = "Nothing has ever answered there: check the host and the port, or start the server."


@dataclass(slots=True)
class DeploymentPool:
    """All deployments of a run. `probe` is set by the sender of requests; `notice` reports outages."""

    members: Sequence[Deployment]
    most_outage_seconds: float
    notice: Callable[[Notice], None]
    clock: Clock
    probe: Probe | None = None
    fatal: BatchscoreError | None = None
    probes: set[asyncio.Task[None]] = field(default_factory=set)

    async def admit(self, tokens: float) -> tuple[Deployment, Ticket]:
        """Return a deployment and a ticket that may start now; wait for quota, pauses and outages.

        Raises the error that ended the run if no deployment will ever answer.
        """
        while True:
            deployment = await self.choose(tokens)
            deployment.queued += 1
            try:
                async with deployment.turn:
                    if not deployment.available and len(self.members) > 1:
                        continue
                    if not await deployment.wait_until_up():
                        continue
                    ticket = deployment.reserve(tokens)
                    await deployment.wait_for_start(ticket)
                    if deployment.health.state is State.UP:
                        return deployment, ticket
                    deployment.quota.refund(ticket)
            finally:
                deployment.queued -= 1

    async def choose(self, tokens: float) -> Deployment:
        """Return the deployment that first has room for this many tokens; wait while none can be used."""
        while True:
            self.raise_fatal()
            up = [member for member in self.members if member.health.state is State.UP]
            usable = up if len(self.members) == 1 else [member for member in up if member.available]
            if usable:
                fitting = [member for member in usable if member.fits(tokens)]
                return min(fitting or usable, key=lambda member: member.opens_at)
            pauses = [member.paused_until - self.clock.monotonic() for member in up]
            # Wait on the current events, so that a change in the meantime wakes this task at once.
            changes = [asyncio.ensure_future(member.changed.wait()) for member in self.members]
            try:
                await asyncio.wait(
                    changes, timeout=min(pauses, default=None), return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                for change in changes:
                    change.cancel()

    def raise_fatal(self) -> None:
        """Raise the error that ended the run, if there is one."""
        if self.fatal is not None:
            raise self.fatal

    def stop(self, deployment: Deployment, reason: BatchscoreError) -> None:
        """Send nothing more to a deployment; raise `reason` if it was the last one."""
        if deployment.health.state is not State.STOPPED:
            deployment.set_state(State.STOPPED)
            if len(self.members) > 1:
                text = f"{deployment.name} is no longer used: {reason.text}"
                self.notice(Notice(text, reason.service_reply))
        if all(member.health.state is State.STOPPED for member in self.members):
            self.end_run(reason)
        self.raise_fatal()

    def end_run(self, reason: BatchscoreError) -> None:
        """End the run for this reason, and wake all waiting tasks."""
        self.fatal = self.fatal or reason
        for member in self.members:
            member.set_state(State.STOPPED)

    def others_up(self, deployment: Deployment) -> bool:
        """Whether the run can continue without this deployment."""
        return any(member.health.state is State.UP for member in self.members if member is not deployment)

    def mark_down(self, deployment: Deployment, *, excuses: bool = False) -> None:
        """Stop sending requests to a deployment, and probe it until it answers."""
        deployment.health.excuses |= excuses
        if deployment.health.state is not State.UP:
            return
        deployment.set_state(State.DOWN)
        task = asyncio.create_task(self.keep_probing(deployment))
        self.probes.add(task)
        task.add_done_callback(self.on_probing_end)

    def on_probing_end(self, task: asyncio.Task[None]) -> None:
        """End the run if probing failed: otherwise the deployment would never be used again."""
        self.probes.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, BatchscoreError):
            self.end_run(error)
        elif error is not None:
            self.end_run(
                BrokenInvariant(f"probing failed ({type(error).__name__}: {error}); please report this")
            )

    async def keep_probing(self, deployment: Deployment) -> None:
        """Probe until an answer arrives, or until everything has been down for too long."""
        announced = False
        health = deployment.health
        down_at = self.clock.monotonic()
        since = health.failing_since or down_at
        while True:
            now = self.clock.monotonic()
            # A refusal of everything may last less long than what failed before it.
            quarter = self.longest_outage(deployment) / 4
            longest = max(min(LONGEST_PROBE_SECONDS, quarter), FIRST_PROBE_SECONDS)
            own = min(health.probe_wait, longest)
            wait = max(own, min(deployment.paused_until - now, LONGEST_PAUSED_PROBE_SECONDS))
            health.probe_at = now + wait
            await asyncio.sleep(wait)
            action = Action.KEEP if self.probe is None else (await self.probe(deployment)).action
            if health.state is not State.DOWN:
                return
            health.probe_wait = min(own * 2, longest)
            now = self.clock.monotonic()
            if action is not Action.RETRY:
                if announced and action not in {Action.STOP, Action.RENEW_TOKEN}:
                    text = f"{deployment.name} responds again after {duration_text(now - since)}."
                    self.notice(Notice(text))
                health.end_outage(now)
                if self.is_never_answered(deployment, now):
                    if self.others_up(deployment):
                        self.stop(deployment, refused(deployment))
                    self.judge_outage(now)
                    if health.state is not State.DOWN:
                        return
                deployment.paused_until = min(deployment.paused_until, now)
                deployment.quota.schedule.pause(now, now)
                deployment.set_state(State.UP)
                return
            if not announced and now - down_at > 2 * FIRST_PROBE_SECONDS:
                announced = True
                self.announce_outage(deployment)
            if health.lasting_since and self.others_up(deployment) and self.is_too_long(deployment, now):
                self.stop(deployment, refused(deployment))
            self.judge_outage(now)
            if health.state is not State.DOWN:
                return

    def announce_outage(self, deployment: Deployment) -> None:
        """Send a notice of the beginning of an outage."""
        last = deployment.health.last_outcome
        reason = f" ({last.reason.partition('. ')[0].rstrip('.')})" if last is not None else ""
        rest = "The run waits for it."
        if all(each is deployment or each.health.state is State.STOPPED for each in self.members):
            rest = f"The run waits for it, at most {duration_text(self.longest_outage(deployment))}."
        if self.others_up(deployment):
            rest = "Other deployments do its work until it responds."
        text = deployment.explain(f"{deployment.name} {complaint(last)[0]}{reason}. {rest}")
        self.notice(Notice(text))

    def longest_outage(self, deployment: Deployment) -> float:
        """Return how many seconds an outage of this deployment may last."""
        if deployment.health.reached and not needs_action(deployment.health):
            return self.most_outage_seconds
        return min(self.most_outage_seconds, NEVER_REACHED_SECONDS)

    def is_too_long(self, deployment: Deployment, now: float) -> bool:
        """Whether a deployment has been down for too long, or has refused all requests for too long."""
        health = deployment.health
        since = health.failing_since or now
        return self.is_never_answered(deployment, now) or (
            health.state is State.DOWN
            and (
                now - (health.lasting_since or since) >= self.longest_outage(deployment)
                or now - since >= self.most_outage_seconds
            )
        )

    def is_never_answered(self, deployment: Deployment, now: float) -> bool:
        """Whether a deployment has answered nothing but probes for too long, with outages between."""
        longest = max(self.most_outage_seconds, NEVER_REACHED_SECONDS)
        return deployment.health.unanswered_seconds(now) >= longest

    def judge_outage(self, now: float) -> None:
        """End the run if every remaining deployment has been down for too long."""
        remaining = [member for member in self.members if member.health.state is not State.STOPPED]
        if not all(self.is_too_long(member, now) for member in remaining):
            return
        seconds = max(
            max(now - (member.health.failing_since or now), member.health.unanswered_seconds(now))
            for member in remaining
        )
        permanent = all(needs_action(member.health) for member in remaining)
        last = {member: member.health.last_outcome for member in remaining}
        has_reason = any(outcome.lasting for outcome in last.values() if outcome is not None)
        more = f" {NEVER_USABLE}" if permanent and not has_reason else ""
        if not permanent and not any(member.health.reached for member in self.members):
            more = f" {NEVER_REACHED}"
        reasons = {
            member.name: member.explain(
                f"{outcome.reason[:1].upper()}{outcome.reason[1:]}{more}", outcome.status
            )
            for member, outcome in last.items()
            if outcome is not None
        }
        reply = next((outcome.words for outcome in last.values() if outcome and outcome.words), "")
        who, why = "the service has not", " ".join(reasons.values())
        if len(remaining) > 1:
            who = "no deployment has"
            why = " ".join(f"{name}: {reason}" for name, reason in reasons.items())
        whats = {complaint(outcome)[1] for outcome in last.values()}
        what = whats.pop() if len(whats) == 1 else "responded"
        if any(self.is_never_answered(member, now) for member in remaining):
            what = "answered a request, only test requests now and then,"
        text = f"{who} {what} for {duration_text(seconds)}. {why}"
        self.end_run((ServiceRefused if permanent else Outage)(text, service_reply=reply))

    async def close(self) -> None:
        """End all probing."""
        probes = list(self.probes)
        for task in probes:
            task.cancel()
        await asyncio.gather(*probes, return_exceptions=True)


def complaint(outcome: Outcome | None) -> tuple[str, str]:
    """Return what a service does whose latest failure this is, and what it has not done."""
    if outcome is not None and outcome.code is ErrorCode.INVALID_RESPONSE:
        return "sends no usable reply", "sent a usable reply"
    if outcome is not None and outcome.lasting:
        return "refuses all requests", "accepted a request"
    return "does not respond", "responded"


def refused(deployment: Deployment) -> ServiceRefused:
    """Return what to say of a deployment that refuses all requests."""
    last = deployment.health.last_outcome
    return ServiceRefused("" if last is None else deployment.explain(last.reason, last.status))


def needs_action(health: Health) -> bool:
    """Whether waiting does not fix the latest failure."""
    last = health.last_outcome
    return last is not None and last.needs_action and (last.lasting or health.is_unproven)
