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

from batchscore.errors import BatchscoreError, Outage
from batchscore.request.deployment import Deployment
from batchscore.request.health import State
from batchscore.request.quota import Ticket

#: Asks a deployment something of its own and says whether it was answered.
Probe = Callable[[Deployment], Awaitable[bool]]

#: Seconds before the first probe, doubling up to the longest.
FIRST_PROBE_SECONDS = 0.5
LONGEST_PROBE_SECONDS = 30.0

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
        """Return a deployment and when it was told to go; waits for quota, pauses and outages.

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
        """Return the deployment that has room first for so many tokens; waits while all are down."""
        while True:
            self.raise_fatal()
            up = [member for member in self.members if member.health.state is State.UP]
            if up:
                fitting = [member for member in up if member.fits(tokens)]
                return min(fitting or up, key=lambda member: member.opening)
            waits = [
                asyncio.ensure_future(member.change())
                for member in self.members
                if member.health.state is State.DOWN
            ]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    def raise_fatal(self) -> None:
        """Raise what ended the run, if anything did."""
        if self.fatal is not None:
            raise self.fatal

    def stop(self, deployment: Deployment, reason: BatchscoreError) -> None:
        """Send nothing more to a deployment; raises `reason` where it was the last one."""
        if deployment.health.state is not State.STOPPED:
            deployment.set_state(State.STOPPED, reason)
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

    def down(self, deployment: Deployment) -> None:
        """Take a deployment for down: probe it until it answers."""
        if deployment.health.state is not State.UP:
            return
        deployment.set_state(State.DOWN)
        task = asyncio.create_task(self.keep_probing(deployment))
        self.probes.add(task)
        task.add_done_callback(self.probes.discard)

    async def keep_probing(self, deployment: Deployment) -> None:
        """Probe until an answer comes, or until everything has been down for too long."""
        told = False
        wait = FIRST_PROBE_SECONDS
        down_at = time.monotonic()
        since = deployment.health.failing_since or down_at
        while deployment.health.state is State.DOWN:
            await asyncio.sleep(
                max(wait, min(deployment.paused_until - time.monotonic(), LONGEST_PROBE_SECONDS))
            )
            if await self.alive(deployment):
                if told:
                    seconds = time.monotonic() - since
                    self.notice(f"{deployment.name} answers again after {worded(seconds)}.")
                deployment.quota.book.rest(time.monotonic())
                deployment.set_state(State.UP)
                return
            now = time.monotonic()
            if not told and now - down_at > 2 * FIRST_PROBE_SECONDS:
                told = True
                self.notice(self.outage_notice(deployment))
            self.judge_outage(now)
            longest = min(LONGEST_PROBE_SECONDS, self.patience(deployment) / 4)
            wait = min(wait * 2, max(longest, FIRST_PROBE_SECONDS))

    def outage_notice(self, deployment: Deployment) -> str:
        """Return what a person should know when an outage begins."""
        last = deployment.health.last_outcome
        reason = f" ({last.reason.rstrip('.')})" if last is not None else ""
        return (
            f"{deployment.name} does not answer{reason}; it is asked again until it does, for at most "
            f"{worded(self.patience(deployment))}."
        )

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
        last = left[0].health.last_outcome
        since = min(member.health.failing_since or now for member in left)
        self.end(
            Outage(f"the service has not answered for {worded(now - since)}. {last.reason if last else ''}")
        )

    async def alive(self, deployment: Deployment) -> bool:
        """Ask a deployment something of our own; whether it was answered."""
        return self.probe is not None and await self.probe(deployment)

    async def close(self) -> None:
        """End all probing."""
        probes = list(self.probes)
        for task in probes:
            task.cancel()
        await asyncio.gather(*probes, return_exceptions=True)


def worded(seconds: float) -> str:
    """Return a duration as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
