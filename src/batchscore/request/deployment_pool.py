"""Which deployment takes a request, and what happens while none of them answers?

Work flows to whoever has room and around whoever is down. A deployment that is down gets a probe now
and then and is used again as soon as it answers one; when all have been down for too long, that is the
outage that ends the run. It knows no rows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from batchscore.errors import BatchscoreError, BrokenInvariant, Outage, ServiceRefused
from batchscore.request.deployment import Deployment, worded
from batchscore.request.health import FIRST_PROBE_SECONDS, State
from batchscore.request.outcome import Outcome, Verdict
from batchscore.request.quota.windows import Ticket

#: Asks a deployment something of our own and judges the reply.
Probe = Callable[[Deployment], Awaitable[Outcome]]

#: Probes grow rarer up to this; who was told to wait for long probes less often.
LONGEST_PROBE_SECONDS = 30.0
LONGEST_PAUSED_PROBE_SECONDS = 600.0

#: What was never reached is more likely a wrong address than an outage, and a person may be waiting.
NEVER_REACHED_SECONDS = 20.0


@dataclass(slots=True)
class Deployments:
    """All deployments of a run. `probe` is set by whoever can ask; `notice` hears of outages."""

    members: Sequence[Deployment]
    most_outage_seconds: float
    notice: Callable[[str], None]
    probe: Probe | None = None
    fatal: BatchscoreError | None = None
    probes: set[asyncio.Task[None]] = field(default_factory=set)

    async def admit(self, tokens: float) -> tuple[Deployment, Ticket]:
        """Return a deployment and a ticket whose time has come; waits for quota, pauses and outages.

        Raises what ended the run where none will ever answer.
        """
        while True:
            deployment = await self.choose(tokens)
            deployment.queued += 1
            try:
                async with deployment.turn:
                    if not deployment.available and len(self.members) > 1:
                        continue
                    if not await deployment.ready():
                        continue
                    ticket = deployment.reserve(tokens)
                    await deployment.until_start(ticket)
                    if deployment.health.state is State.UP:
                        return deployment, ticket
                    deployment.quota.refund(ticket)
            finally:
                deployment.queued -= 1

    async def choose(self, tokens: float) -> Deployment:
        """Return the deployment that has room first for so many tokens; waits while none can be used."""
        while True:
            self.raise_fatal()
            up = [member for member in self.members if member.health.state is State.UP]
            usable = up if len(self.members) == 1 else [member for member in up if member.available]
            if usable:
                fitting = [member for member in usable if member.fits(tokens)]
                return min(fitting or usable, key=lambda member: member.opening)
            pauses = [member.paused_until - time.monotonic() for member in up]
            # The events are looked up now: what is set meanwhile wakes at once.
            changes = [asyncio.ensure_future(member.changed.wait()) for member in self.members]
            try:
                await asyncio.wait(
                    changes, timeout=min(pauses, default=None), return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                for change in changes:
                    change.cancel()

    def raise_fatal(self) -> None:
        """Raise what ended the run, if anything did."""
        if self.fatal is not None:
            raise self.fatal

    def stop(self, deployment: Deployment, reason: BatchscoreError) -> None:
        """Send nothing more to a deployment; raises `reason` where it was the last one."""
        if deployment.health.state is not State.STOPPED:
            deployment.set_state(State.STOPPED)
            if len(self.members) > 1:
                self.notice(f"{deployment.name} is not used any more: {reason}")
        if all(member.health.state is State.STOPPED for member in self.members):
            self.end(reason)
        self.raise_fatal()

    def end(self, reason: BatchscoreError) -> None:
        """End the run for this reason, and wake everybody who waits."""
        self.fatal = self.fatal or reason
        for member in self.members:
            member.set_state(State.STOPPED)

    def others_answer(self, deployment: Deployment) -> bool:
        """Whether the run can go on without this deployment."""
        return any(member.health.state is State.UP for member in self.members if member is not deployment)

    def down(self, deployment: Deployment) -> None:
        """Take a deployment for down: probe it until it answers."""
        if deployment.health.state is not State.UP:
            return
        deployment.set_state(State.DOWN)
        task = asyncio.create_task(self.keep_probing(deployment))
        self.probes.add(task)
        task.add_done_callback(self.probing_ended)

    def probing_ended(self, task: asyncio.Task[None]) -> None:
        """End the run where probing broke off: nobody would ever use that deployment again."""
        self.probes.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, BatchscoreError):
            self.end(error)
        elif error is not None:
            self.end(
                BrokenInvariant(f"probing broke off ({type(error).__name__}: {error}); please report this")
            )

    async def keep_probing(self, deployment: Deployment) -> None:
        """Probe until an answer comes, or until everything has been down for too long."""
        told = False
        health = deployment.health
        down_at = time.monotonic()
        since = health.failing_since or down_at
        while True:
            paused = min(deployment.paused_until - time.monotonic(), LONGEST_PAUSED_PROBE_SECONDS)
            wait = max(health.probe_wait, paused)
            health.probe_at = time.monotonic() + wait
            await asyncio.sleep(wait)
            answered = self.probe is None or (await self.probe(deployment)).verdict is not Verdict.AGAIN
            if health.state is not State.DOWN:
                return
            longest = min(LONGEST_PROBE_SECONDS, self.patience(deployment) / 4)
            health.probe_wait = min(health.probe_wait * 2, max(longest, FIRST_PROBE_SECONDS))
            now = time.monotonic()
            if answered:
                if told:
                    self.notice(f"{deployment.name} answers again after {worded(now - since)}.")
                health.answered()
                deployment.paused_until = min(deployment.paused_until, now)
                deployment.quota.book.rest(now)
                deployment.set_state(State.UP)
                return
            if not told and now - down_at > 2 * FIRST_PROBE_SECONDS:
                told = True
                self.notice(self.outage_notice(deployment))
            self.judge_outage(now)
            if health.state is not State.DOWN:
                return

    def outage_notice(self, deployment: Deployment) -> str:
        """Return what a person should know when an outage begins."""
        last = deployment.health.last_outcome
        reason = f" ({last.reason.rstrip('.')})" if last is not None else ""
        if self.others_answer(deployment):
            until = "until it does; meanwhile others do its work"
        else:
            until = f"until it does, for at most {worded(self.patience(deployment))}"
        return f"{deployment.name} does not answer{reason}; it is asked again {until}."

    def patience(self, deployment: Deployment) -> float:
        """Return the seconds that an outage of this deployment may last."""
        if deployment.health.reached:
            return self.most_outage_seconds
        return min(self.most_outage_seconds, NEVER_REACHED_SECONDS)

    def judge_outage(self, now: float) -> None:
        """End the run where every deployment that is left has been down for too long."""
        left = [member for member in self.members if member.health.state is not State.STOPPED]
        if not all(
            member.health.state is State.DOWN
            and now - (member.health.failing_since or now) >= self.patience(member)
            for member in left
        ):
            return
        since = min(member.health.failing_since or now for member in left)
        last = left[0].health.last_outcome
        words = f"the service has not answered for {worded(now - since)}. {last.reason if last else ''}"
        if len(left) > 1:
            reasons = [(member.name, member.health.last_outcome) for member in left]
            each = " ".join(f"{name}: {outcome.reason}" for name, outcome in reasons if outcome is not None)
            words = f"no deployment has answered for {worded(now - since)}. {each}"
        lasting = all(member.health.needs_person for member in left)
        self.end(ServiceRefused(words) if lasting else Outage(words))

    async def close(self) -> None:
        """End all probing."""
        probes = list(self.probes)
        for task in probes:
            task.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
