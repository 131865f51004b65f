"""May a trained model be deployed on Azure, as what, and what is the next step?

It decides, and calls nothing.

Facts of the field (Microsoft's pages on deploying fine-tuned models, seen 2026-11): a trained model has one
deployment per resource. It costs by the hour while it exists, except as DeveloperTier, which is removed
after 24 hours. One that gets no call for 15 days is removed, too; the model stays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from batchscore.errors import UsageError
from batchscore.finetune.offered import removal_command
from batchscore.finetune.state import DeploymentRecord
from batchscore.provider.arm import DELETING, GOING, SUCCEEDED, CapacityLeft, Deployed
from batchscore.settings.prices import training_prices

DAY_SECONDS = 86_400.0

#: The tag of a deployment that holds the run which made it.
TAG = "batchscore"

#: Thousands of tokens a minute. One is about a request a minute for a trained model, useless for scoring.
DEFAULT_CAPACITY = 50

#: The format of OpenAI's models; an open model has that of its provider.
OPENAI_FORMAT = "OpenAI"

#: What the service allows in the name of a deployment.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{1,63}")
_MOST_NAME = 64

#: What follows the base in a trained model's name on Azure; some letters of its id tell models apart.
_TUNED = re.compile(r"(?P<id>[0-9a-f]{8,})(?P<more>.*)")
_ID_LETTERS = 10

#: A base model's name with the date or number of its version.
_VERSIONED = re.compile(r"(?P<name>.+?)-(?P<version>\d{4}(-\d{2}-\d{2})?)")


@dataclass(frozen=True, slots=True)
class DeploymentKind:
    """A kind of deployment: our name for it, the service's, and what it means.

    `hourly`: it costs by the hour while it exists. `life_seconds`: the service removes it then, 0 if it does
    not. `by_unit`: its capacity is a number of units, and each costs by the hour.
    """

    name: str
    sku: str
    means: str
    hourly: bool = True
    life_seconds: float = 0.0
    by_unit: bool = False

    @property
    def unit(self) -> str:
        """What its capacity counts."""
        return "provisioned throughput units" if self.by_unit else "thousands of tokens a minute"


KINDS: Mapping[str, DeploymentKind] = {
    kind.name: kind
    for kind in (
        DeploymentKind(
            "developer",
            "DeveloperTier",
            "for evaluation: no hourly price, removed 24 hours after it was made, no SLA, and texts may be "
            "processed in any region",
            hourly=False,
            life_seconds=DAY_SECONDS,
        ),
        DeploymentKind("standard", "Standard", "texts stay in the region of the resource"),
        DeploymentKind("global", "GlobalStandard", "texts may be processed in any region"),
        DeploymentKind(
            "provisioned",
            "ProvisionedManaged",
            "billed by provisioned throughput units, in the region",
            by_unit=True,
        ),
    )
}


def kind_of(given: str) -> DeploymentKind:
    """Return the kind of a name, ours or the service's; one that we do not know costs by the hour."""
    plain = given.strip().lower()
    known = next((kind for kind in KINDS.values() if plain in {kind.name, kind.sku.lower()}), None)
    return known or DeploymentKind(
        given.strip(),
        given.strip(),
        "a kind that batchscore does not know",
        by_unit="provisioned" in plain,
    )


def checked_kind(given: str) -> DeploymentKind:
    """Return the kind that the user chose; raises `UsageError`."""
    found = kind_of(given)
    # Azure's own names begin with a capital letter.
    if found not in KINDS.values() and not re.fullmatch(r"[A-Z][A-Za-z0-9]{1,63}", found.sku):
        raise UsageError(
            f"--kind {given!r}: it must be one of {', '.join(KINDS)}, or a SKU as Azure writes it, such as "
            "DataZoneStandard."
        )
    return found


def checked_capacity(kind: DeploymentKind, given: int | None) -> int:
    """Return the capacity that the user chose, or the usual one; raises `UsageError` if there is none."""
    if given is None and kind.by_unit:
        raise UsageError(f"--kind {kind.name} is billed for each unit: say how many, with --capacity N.")
    return DEFAULT_CAPACITY if given is None else given


@dataclass(frozen=True, slots=True)
class WantedDeployment:
    """The deployment that the user wants. `chosen` are the options that the user gave.

    `format` is OpenAI, or the provider of an open model.
    """

    name: str
    model: str
    kind: DeploymentKind
    capacity: int = DEFAULT_CAPACITY
    chosen: frozenset[str] = field(default_factory=frozenset)
    format: str = OPENAI_FORMAT

    def body(self, run: str) -> dict[str, Any]:
        """Return the request that makes it, marked with the run that it belongs to."""
        return {
            "sku": {"name": self.kind.sku, "capacity": self.capacity},
            "properties": {"model": {"format": self.format, "name": self.model, "version": "1"}},
            "tags": {TAG: run},
        }


def name_for(model: str) -> str:
    """Return a name for the deployment of a model: of its base, its id and its suffix, as a name may be."""
    base, mark, rest = model.partition(".ft-")
    found = _TUNED.fullmatch(rest)
    if mark and found is not None:
        model = f"{versioned(base)[0]}-ft-{found['id'][:_ID_LETTERS]}{found['more']}"
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", model).strip("-_")
    return plain[-_MOST_NAME:].lstrip("-_")


def checked_name(name: str) -> str:
    """Return a name that the user chose; raises `UsageError`."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"--name {name!r}: it must have 2 to 64 letters, digits, - or _.")
    return name


def versioned(base: str) -> tuple[str, str]:
    """Return a base model's name and its version, "" if the name has none."""
    found = _VERSIONED.fullmatch(base)
    return (base, "") if found is None else (found["name"], found["version"])


class DeployStep(str, Enum):
    """What to do next about a deployment."""

    #: Make it.
    CREATE = "create"
    #: It is being made or deleted: look again.
    WAIT = "wait"
    #: Ours has failed: remove it, then make it again.
    REMOVE = "remove"
    #: It is there: find out whether it answers.
    PROBE = "probe"
    #: Another one serves this model: use that.
    REUSE = "reuse"
    #: Nothing can be done: `why` says what the user can do.
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class DeployDecision:
    """A step; `deployed` is what it is about, `why` is for people."""

    step: DeployStep
    deployed: Deployed | None = None
    why: str = ""


def is_ours(found: Deployed, record: DeploymentRecord | None, run: str) -> bool:
    """Whether a deployment is the one that this folder made, or may have made if the reply was lost."""
    if found.tags.get(TAG) == run:
        return True
    if record is None or not record.intent_at or TAG in found.tags:
        return False
    if found.created_at and record.created_at and found.created_at != record.created_at:
        return False
    return found.name.lower() == record.name.lower() and found.model == record.model


def reused(other: Deployed) -> DeployDecision:
    """Return the decision to use a deployment of the model that this folder did not make."""
    return DeployDecision(DeployStep.REUSE, other, f"{other.model} is deployed already, as {other.name}.")


def next_step(
    wanted: WantedDeployment,
    record: DeploymentRecord | None,
    deployments: Sequence[Deployed],
    run: str,
    folder: object = "DIR",
) -> DeployDecision:
    """Return what to do next, given all deployments of the resource. Never over one that is not ours."""
    name = wanted.name.lower()
    earlier = next(
        (each for each in deployments if each.name.lower() != name and is_ours(each, record, run)), None
    )
    if earlier is not None:
        use = " To use it, leave out --name." if "name" in wanted.chosen else ""
        return DeployDecision(
            DeployStep.REFUSE,
            earlier,
            f"This folder has the deployment {earlier.name} of {earlier.model or 'a model'}.{use} To remove "
            f"it first, run: {removal_command(folder, earlier.name)}",
        )
    mine = next((each for each in deployments if each.name.lower() == name), None)
    if mine is None:
        serving = (each for each in deployments if each.model == wanted.model and each.state != DELETING)
        other = next(serving, None)
        return DeployDecision(DeployStep.CREATE) if other is None else reused(other)
    if not is_ours(mine, record, run):
        if mine.model == wanted.model and mine.state == SUCCEEDED:
            return reused(mine)
        return DeployDecision(
            DeployStep.REFUSE,
            mine,
            f"The resource has a deployment {mine.name} of {mine.model or 'another model'}, which this "
            "folder did not make. It is left as it is. Choose another name with --name.",
        )
    if mine.state == DELETING or mine.state in GOING:
        return DeployDecision(DeployStep.WAIT, mine)
    if mine.model != wanted.model:
        return DeployDecision(
            DeployStep.REFUSE,
            mine,
            f"{mine.name} serves {mine.model}, an earlier model of this folder. Choose another name with "
            f"--name. To remove it, run: {removal_command(folder, mine.name)}",
        )
    if mine.state != SUCCEEDED:
        return DeployDecision(DeployStep.REMOVE, mine, f"{mine.name} ended as {mine.state}")
    differs = differences(wanted, mine)
    if differs:
        return DeployDecision(
            DeployStep.REFUSE,
            mine,
            f"{mine.name} exists with {differs}. To remove it and make another one, run first: "
            f"{removal_command(folder, mine.name)}",
        )
    return DeployDecision(DeployStep.PROBE, mine)


def differences(wanted: WantedDeployment, mine: Deployed) -> str:
    """Return in which chosen option a deployment differs from what is wanted, "" if in none."""
    if "kind" in wanted.chosen and mine.sku and mine.sku.lower() != wanted.kind.sku.lower():
        return f"the SKU {mine.sku}"
    if "capacity" in wanted.chosen and mine.capacity and mine.capacity != wanted.capacity:
        return f"the capacity {mine.capacity}"
    return ""


def no_room(left: int | None, wanted: WantedDeployment) -> str:
    """Return why what is left is not enough, "" if it is or it is not known."""
    if left is None or left >= wanted.capacity:
        return ""
    what = f"{wanted.kind.sku} deployments of this model"
    if left < 1:
        return f"The quota for {what} is used up in this region: free some, or ask for more in the portal."
    return (
        f"The quota for {what} has {left} left in this region, and {wanted.capacity} are "
        f"wanted. Choose --capacity {left}, free some, or ask for more in the portal."
    )


def room_for(
    wanted: WantedDeployment, base: str, capacities: Sequence[CapacityLeft], usages: Sequence[CapacityLeft]
) -> int | None:
    """Return what is left for a deployment: by the model's capacity, and by the quotas that name it.

    Quotas are named like OpenAI.Standard.gpt-4o-finetune; one of trained models counts before the base's. It
    is `None` if nobody says.
    """
    sku, model = wanted.kind.sku.lower(), versioned(base)[0].lower()
    lefts = [each.left for each in capacities if each.name.lower() == sku]
    named = [each for each in usages if quota_parts(each.name)[0] == sku and is_of(each.name, model)]
    tuned = [each for each in named if "finetune" in each.name.lower().replace("-", "")]
    if tuned or not lefts:
        lefts += [each.left for each in tuned or named]
    return max(0, min(lefts)) if lefts else None


def quota_parts(name: str) -> tuple[str, str]:
    """Return the kind of deployment and the model that a quota's name holds, in lower case."""
    parts = name.lower().split(".", 2)
    return (parts[1], parts[2]) if len(parts) == 3 else ("", "")


def is_of(name: str, model: str) -> bool:
    """Whether a quota's name is that of a model, perhaps of its trained forms."""
    return re.sub(r"-?fine-?tuned?$", "", quota_parts(name)[1]) == model


def ends_at(kind: DeploymentKind, created_at: float) -> float:
    """Return when the service removes a deployment by itself, 0 if it does not."""
    return created_at + kind.life_seconds if kind.life_seconds and created_at else 0.0


def hosting_hour(kind: DeploymentKind, capacity: int, price: float | None) -> float | None:
    """Return what an hour of a deployment costs, `None` if no price is known.

    `price` is that of an hour, or of an hour of a unit if the kind is billed by unit.
    """
    if price is None or not kind.hourly:
        return None if kind.hourly else 0.0
    return price * capacity if kind.by_unit else price


def hosting_price(prices: str | Mapping[str, Any] | None, *models: str) -> float | None:
    """Return the price of an hour of a deployment in the user's list, for the first of these models listed.

    A model may be listed without its version. Raises `UsageError` if the list cannot be read.
    """
    names = dict.fromkeys(name for model in models for name in (model, versioned(model)[0]) if name)
    found = (training_prices(prices, name)[1] for name in names)
    return next((price for price in found if price is not None), None)
