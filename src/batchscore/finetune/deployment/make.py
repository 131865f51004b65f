"""How does a trained model come to answer: which deployment is made, and how long until it answers?

The intent is on disk before the one call that makes a deployment. Without a reply the deployment is looked
for by its name, which cannot exist twice. What comes next is decided in `deployment.py`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from batchscore.endpoint.target import Target
from batchscore.errors import Outage, ServiceRefused, SettingsError, duration_text
from batchscore.finetune.deployment.decide import (
    OPENAI_FORMAT,
    DeployDecision,
    DeployStep,
    WantedDeployment,
    ends_at,
    kind_of,
    next_step,
    no_room,
    room_for,
    versioned,
)
from batchscore.finetune.offered import removal_command
from batchscore.finetune.state import DeploymentRecord, TrainingState, write_state
from batchscore.provider import arm
from batchscore.provider.arm import Account, CapacityLeft, Deployed
from batchscore.provider.client import CallFailed, ControlPlane, Refused, Unknown
from batchscore.provider.models import answers

#: Until a deployment is looked at again: at first soon, then less and less often.
FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.5, 10.0

#: How often a deployment is looked for whose creation got no reply, before the user is asked to come back.
MOST_LOOKS = 5

#: How often a creation is repeated that was refused because the resource is busy.
MOST_BUSY = 60

#: Refusals because the resource is busy: nothing was made.
_BUSY = frozenset({409, 429})


@dataclass(frozen=True, slots=True)
class Offer:
    """What would be made, for the user to agree to, and what is left for it, `None` if nobody says.

    `may` says whether this identity may make it, `None` if nobody says.
    """

    wanted: WantedDeployment
    left: int | None
    may: bool | None
    base: str


@dataclass(frozen=True, slots=True)
class Agreed:
    """What the user has agreed to. Nothing is made, and nothing removed to make it again, without it."""

    wanted: WantedDeployment


@dataclass(slots=True)
class Deployer:
    """The way from a trained model to a deployment that answers. `listen` gets a line for people.

    `agree` asks the user, once. `sent`: the deployment was asked for and not refused, so it is only looked
    for. `busy` counts refusals for now.
    """

    manager: ControlPlane
    account: Account
    folder: Path
    state: TrainingState
    wanted: WantedDeployment
    agree: Callable[[Offer], bool]
    listen: Callable[[str], object] = str
    most_seconds: float = 1800.0
    clock: Callable[[], float] = time.time
    others: Sequence[Deployed] = field(default_factory=tuple)
    begun: float = 0.0
    sent: bool = False
    busy: int = 0

    async def ask(self, location: str) -> Agreed | None:
        """Read what can be known before anything is made, and ask; `None` if the user does not agree.

        Raises `ServiceRefused` if it would be refused.
        """
        base = self.state.job.base_model
        wanted = replace(self.wanted, format=await read_format(self.manager, self.account, self.state))
        left = await read_room(self.manager, self.account, location, wanted, base)
        may = await read_permission(self.manager, self.account)
        if may is False:
            raise ServiceRefused(f"{may_not(arm.WRITE)} Nothing was made.")
        problem = no_room(left, wanted)
        if problem:
            raise ServiceRefused(f"{problem} Nothing was made.")
        return Agreed(wanted) if self.agree(Offer(wanted, left, may, base)) else None

    async def run(self) -> DeployDecision | None:
        """Do all steps until a deployment has been made, and return the decision to use it.

        `None` if the user does not agree. Raises errors of all kinds.
        """
        self.begun = self.clock()
        facts = await arm.look_at_account(self.manager, self.account)
        check_account(self.account, facts, self.state.endpoint)
        self.others = await arm.list_deployments(self.manager, self.account)
        agreed: Agreed | None = None
        looks = missing = removed = 0
        while True:
            step = next_step(self.wanted, self.state.deployment, self.others, self.state.run, self.folder)
            if step.step is DeployStep.REFUSE:
                raise SettingsError(step.why)
            found = step.deployed
            if step.step in {DeployStep.PROBE, DeployStep.REUSE} and found is not None:
                if step.step is DeployStep.PROBE:
                    self.note_made(found)
                return step
            if step.step in {DeployStep.CREATE, DeployStep.REMOVE} and agreed is None:
                agreed = await self.ask(facts.location)
                if agreed is None:
                    return None
                # The user may have thought about it for long.
                self.begun = self.clock()
                self.others = await arm.list_deployments(self.manager, self.account)
                continue
            if step.step is DeployStep.REMOVE and found is not None and agreed is not None:
                removed += 1
                if removed > 1:
                    raise ServiceRefused(
                        f"{step.why} again ({found.problem or 'no code'}). Try another kind, or another "
                        "day: the region may have trouble."
                    )
                self.listen(f"{step.why}: removing it, to make it again")
                await remove_deployment(self.manager, self.account, found, self.most_seconds, self.clock)
                self.sent = False
            elif step.step is DeployStep.CREATE and agreed is not None and not self.sent:
                await self.create(agreed)
                await self.look_again()
                continue
            elif step.step is DeployStep.CREATE:
                missing += 1
                if missing > MOST_LOOKS:
                    raise Outage(
                        "The creation of the deployment was not confirmed, and it is not there. Run the same "
                        "command again: it looks for the deployment first."
                    )
            looks += 1
            stays = self.stays(found if step.step is DeployStep.WAIT else None)
            await self.wait(looks, f"the deployment {self.wanted.name}", stays)
            await self.look_again()

    async def create(self, agreed: Agreed) -> None:
        """Make the deployment, by one call; `sent` is then true. While the resource is busy, it waits."""
        wanted = agreed.wanted
        name = wanted.name
        self.note(
            DeploymentRecord(
                arm_id=self.account.deployment_id(name),
                name=name,
                model=wanted.model,
                sku=wanted.kind.sku,
                capacity=wanted.capacity,
                intent_at=self.clock(),
            )
        )
        self.listen(f"making the deployment {name}, {wanted.kind.sku}, capacity {wanted.capacity}")
        self.sent = True
        try:
            await arm.create(self.manager, self.account, name, wanted.body(self.state.run))
        except Refused as failure:
            # An earlier call without a reply may have made it after all.
            if await arm.look(self.manager, self.account, name) is None:
                self.note(None)
            raise refusal_of(failure, wanted) from None
        except Unknown as failure:
            self.busy += failure.status in _BUSY
            self.sent = failure.status not in _BUSY or self.busy > MOST_BUSY
            if not self.sent:
                self.listen("the resource is busy with another deployment: waiting")
                await self.wait(self.busy, "the resource")
                await self.manager.sleep(failure.wait_seconds)

    async def look_again(self) -> None:
        """Look at the wanted deployment."""
        mine = await arm.look(self.manager, self.account, self.wanted.name)
        rest = [each for each in self.others if each.name.lower() != self.wanted.name.lower()]
        self.others = [*rest, *([] if mine is None else [mine])]

    async def wait(self, looks: int, what: str, stays: str = "") -> None:
        """Wait until the next look; raises `Outage` if this has taken too long. `stays` is said then, too."""
        if self.clock() - self.begun > self.most_seconds:
            trouble = "If it stays so, the region may have trouble: remove it and deploy again. "
            raise Outage(
                f"{what} is not ready after {duration_text(self.most_seconds)}. Run the same command "
                f"again to wait longer. {trouble + stays if stays else ''}".rstrip()
            )
        if looks in {1, 8, 24} or not looks % 60:
            self.listen(f"waiting for {what}")
        await self.manager.sleep(look_seconds(looks))

    def stays(self, made: Deployed | None) -> str:
        """Return what is said of the folder's deployment when a command ends before it answers."""
        if made is None or made.state == arm.DELETING:
            return ""
        costs = ", and costs by the hour while it exists" if kind_of(made.sku or "unknown").hourly else ""
        remove = removal_command(self.folder, made.name)
        return f"The deployment {made.name} is there{costs}. To remove it, run: {remove}"

    def note(self, deployment: DeploymentRecord | None) -> None:
        """Write to the device what is known of the deployment."""
        self.state = write_state(self.folder, replace(self.state, deployment=deployment))

    def note_made(self, made: Deployed) -> None:
        """Record a deployment that exists."""
        record = self.state.deployment or DeploymentRecord(intent_at=self.clock())
        created = made.created_at or record.created_at or self.clock()
        self.note(
            replace(
                record,
                arm_id=self.account.deployment_id(made.name),
                name=made.name,
                model=made.model or self.wanted.model,
                sku=made.sku or record.sku,
                capacity=made.capacity or record.capacity,
                created_at=created,
                ends_at=ends_at(kind_of(made.sku or record.sku), created),
            )
        )


def look_seconds(looks: int) -> float:
    """Return the seconds until the next look."""
    return min(LONGEST_LOOK_SECONDS, FIRST_LOOK_SECONDS * 1.5 ** min(looks - 1, 20))


async def wait_for_answer(
    plane: ControlPlane, target: Target, name: str, wait: Callable[[int, str], Awaitable[None]]
) -> None:
    """Send the smallest request until it is answered; `wait` raises if that takes too long."""
    looks = 0
    while True:
        with suppress(Unknown):  # not ready, or a failure that passes
            if await answers(plane, target, name):
                return
        looks += 1
        await wait(looks, f"an answer of {name}")


async def remove_deployment(
    manager: ControlPlane, account: Account, made: Deployed, most_seconds: float, clock: Callable[[], float]
) -> None:
    """Remove a deployment that was looked at, and wait until it is gone.

    If the reply is lost, or the resource is busy, it is asked for again after a look. Raises `Refused`, and
    `Outage` if it takes too long.
    """
    begun, looks = clock(), 0
    found: Deployed | None = made
    while found is not None and found.is_same_as(made):
        if found.state != arm.DELETING:
            try:
                await arm.delete(manager, account, found)
            except Unknown as failure:
                await manager.sleep(failure.wait_seconds)
        if clock() - begun > most_seconds:
            raise Outage(f"The deployment {made.name} is still being deleted. Run the same command again.")
        looks += 1
        found = await arm.look(manager, account, made.name)
        if found is not None:
            await manager.sleep(look_seconds(looks))
            found = await arm.look(manager, account, made.name)


async def read_permission(manager: ControlPlane, account: Account) -> bool | None:
    """Return whether this identity may make deployments, `None` if it is not allowed to know."""
    try:
        return await arm.may_write(manager, account)
    except CallFailed:
        return None


async def read_format(manager: ControlPlane, account: Account, state: TrainingState) -> str:
    """Return the format of a trained model, or of its base; OpenAI if the service does not say."""
    with suppress(CallFailed):
        base = state.job.base_model
        names = (state.job.model, base, versioned(base)[0])
        return await arm.model_format(manager, account, names) or OPENAI_FORMAT
    return OPENAI_FORMAT


async def read_room(
    manager: ControlPlane, account: Account, location: str, wanted: WantedDeployment, base: str
) -> int | None:
    """Return how much can be deployed, as far as the service says."""
    capacities: Sequence[CapacityLeft] = ()
    usages: Sequence[CapacityLeft] = ()
    with suppress(CallFailed):
        capacities = await arm.capacity_left(manager, account, location, *versioned(base))
    with suppress(CallFailed):
        usages = await arm.quotas_left(manager, account, location)
    return room_for(wanted, base, capacities, usages)


def check_account(account: Account, facts: arm.AccountFacts, endpoint: str) -> None:
    """Raise `SettingsError` if a resource is another one than that of an endpoint.

    A resource has several hosts with one name. The host of a gateway says nothing.
    """
    names = {host.partition(".")[0].partition(":")[0] for host in facts.hosts}
    is_azure = endpoint.partition(":")[0].endswith((".azure.com", ".azure.us", ".azure.cn"))
    if names and is_azure and endpoint.partition(".")[0] not in names:
        raise SettingsError(
            f"--resource names {account.name}, whose address is {', '.join(sorted(facts.hosts))}. The "
            f"model was trained at {endpoint}. Name the resource of that endpoint."
        )


def refusal_of(failure: Refused, wanted: WantedDeployment) -> ServiceRefused:
    """Return the error of a deployment that the service refuses; it was surely not made."""
    advice = advice_for(failure, arm.WRITE)
    if failure.code.lower() == "insufficientquota":
        advice = (
            f"The quota for {wanted.kind.sku} in this region is too small for --capacity "
            f"{wanted.capacity}. Choose a lower one, remove other deployments, or ask for more in the portal."
        )
    elif not advice:
        advice = (
            f"{wanted.model} may have failed the safety evaluation, its base may be retired, or the "
            f"region may not offer {wanted.kind.sku}. A model can have one deployment only."
        )
    return ServiceRefused(f"{failure}. Nothing was made, and nothing is billed. {advice}")


#: What helps if Resource Manager refuses to make or delete a deployment, by its codes in lower case.
_ADVICE = {
    "requestdisallowedbypolicy": "A policy of the subscription forbids it: ask who administers it.",
    "scopelocked": "A lock on the resource, its group or its subscription forbids it: remove the lock first.",
    "readonlydisabledsubscription": "The subscription is disabled: enable it in the portal.",
    "missingsubscriptionregistration": (
        "The subscription must know the service first: az provider register --namespace "
        "Microsoft.CognitiveServices"
    ),
    "deploymentlimitreached": "The resource has as many deployments of trained models as it may: remove one.",
}


def advice_for(failure: CallFailed, permission: str) -> str:
    """Return what helps if a change of a deployment, which needs a permission, is refused; "" if unknown."""
    by_status = {
        401: "The sign-in is not accepted: run az login again, and check the tenant.",
        403: may_not(permission),
        404: "There is no such resource: check --resource, and whether this identity may see it.",
    }
    return _ADVICE.get(failure.code.lower()) or by_status.get(failure.status or 0, "")


def may_not(permission: str) -> str:
    """Return what is said to an identity that lacks a permission."""
    return (
        f"This identity may not: it needs the permission {permission} on the resource, which the role "
        "Cognitive Services Contributor has. To be allowed to train is not enough."
    )
