"""Which deployments does the account of a project have, in which state, and until when?

It must not know HTTP. All of it follows from the clock: a deployment is removed when its time is over.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from batchscore.simulator.finetune.models import Models, base_model
from batchscore.simulator.finetune.rules import FineTuneRules

#: The kinds of deployments, by their name in small letters: a page spells the third one in two ways.
SKUS = {
    "standard": "Standard",
    "globalstandard": "GlobalStandard",
    "datazonestandard": "DataZoneStandard",
    "provisionedmanaged": "ProvisionedManaged",
    "globalprovisionedmanaged": "GlobalProvisionedManaged",
    "developertier": "DeveloperTier",
}
DEVELOPER = "DeveloperTier"
#: Those that are removed when nobody calls them.
_IDLE = frozenset({"Standard", "GlobalStandard"})


class Wanted(NamedTuple):
    """What a deployment shall be."""

    model: str
    version: str | None
    format: str
    sku: str
    capacity: int
    tags: Mapping[str, str] = MappingProxyType({})


@dataclass
class AccountDeployment:
    """A deployment. `tuned`: its model was made by a job. `kept_since` is since when it is of its kind."""

    name: str
    wanted: Wanted
    tuned: bool
    created_at: float
    changed_at: float
    fails: bool
    etag: str = field(default_factory=lambda: str(uuid.uuid4()))
    called_at: float = 0.0
    deleted_at: float | None = None
    ended_at: float | None = None
    ended_by: str | None = None
    kept_since: float = 0.0
    _paid_before: float = 0.0

    def state(self, now: float, rules: FineTuneRules) -> str:
        """Return its provisioning state."""
        if self.deleted_at is not None:
            return "Deleting"
        age = now - self.changed_at
        if rules.creating is None or age < rules.creating:
            return "Accepted" if age < (rules.creating or 0.0) / 4 else "Creating"
        return "Failed" if self.fails else "Succeeded"

    def answers(self, now: float, rules: FineTuneRules) -> bool:
        """Whether it can be called."""
        if self.fails or self.deleted_at is not None or None in {rules.creating, rules.not_ready}:
            return False
        # A change does not interrupt it.
        return now >= self.created_at + (rules.creating or 0.0) + (rules.not_ready or 0.0)

    def paid_seconds(self, now: float) -> float:
        """Return for how long it was there and had a price by the hour."""
        is_paid = self.tuned and not self.fails and self.wanted.sku != DEVELOPER
        until = now if self.ended_at is None else self.ended_at
        return self._paid_before + (until - self.kept_since if is_paid else 0.0)

    def change(self, wanted: Wanted, now: float, *, tuned: bool) -> None:
        """Let it be something else from now on."""
        self._paid_before, self.kept_since = self.paid_seconds(now), now
        self.wanted, self.tuned, self.changed_at = wanted, tuned, now


class Deployments:
    """The deployments of the account."""

    def __init__(self, models: Models, now: Callable[[], float], rules: Callable[[], FineTuneRules]) -> None:
        self._models = models
        self._now = now
        self._rules = rules
        self._by_name: dict[str, AccountDeployment] = {}
        self.ended: list[AccountDeployment] = []
        #: How often each was created, and changed afterwards.
        self.created: Counter[str] = Counter()
        self.changed: Counter[str] = Counter()

    def step(self) -> None:
        """Remove those whose time is over."""
        now, rules = self._now(), self._rules()
        for one in list(self._by_name.values()):
            ends: list[tuple[float, str]] = []
            if one.deleted_at is not None:
                ends.append((one.deleted_at + rules.deleting, "deleted"))
            if one.wanted.sku == DEVELOPER:
                ends.append((one.kept_since + rules.developer_life, "developer_life"))
            if one.tuned and one.wanted.sku in _IDLE:
                ends.append((max(one.kept_since, one.called_at) + rules.idle_removal, "idle"))
            at, reason = min(ends, default=(now + 1, ""))
            if at <= now:
                one.ended_at, one.ended_by = min(at, now), reason
                self.ended.append(self._by_name.pop(one.name))

    def get(self, name: str) -> AccountDeployment | None:
        """Return a deployment."""
        self.step()
        return self._by_name.get(name)

    def all(self) -> list[AccountDeployment]:
        """Return all, oldest first."""
        self.step()
        return list(self._by_name.values())

    def of_models(self, names: set[str]) -> list[AccountDeployment]:
        """Return those of some models."""
        return [one for one in self.all() if one.wanted.model in names]

    def was_deleted(self, name: str) -> bool:
        """Whether there was one of this name, and is no more."""
        return name not in self._by_name and any(one.name == name for one in self.ended)

    def put(self, name: str, wanted: Wanted) -> tuple[AccountDeployment, bool]:
        """Create or change a deployment. Return it, and whether it is new."""
        now, tuned = self._now(), self._models.tuned(wanted.model) is not None
        found = self.get(name)
        if found is not None:
            self.changed[name] += 1
            found.change(wanted, now, tuned=tuned)
            return found, False
        self.created[name] += 1
        fails = self._rules().deployment_fails
        made = AccountDeployment(name, wanted, tuned, now, now, fails, kept_since=now)
        self._by_name[name] = made
        return made, True

    def delete(self, one: AccountDeployment) -> None:
        """Begin to delete a deployment."""
        if one.deleted_at is None:
            one.deleted_at = self._now()
        self.step()

    def busy(self, name: str) -> bool:
        """Whether the account works on another deployment, or deletes this one."""
        now, rules = self._now(), self._rules()
        states = [(one.name, one.state(now, rules)) for one in self.all()]
        return any(
            state == "Deleting" or (other != name and state in {"Accepted", "Creating"})
            for other, state in states
        )

    def usage_name(self, model: str, sku: str) -> str:
        """Return the name of the quota that a model needs: each kind and base has its own."""
        tuned = self._models.tuned(model)
        base = base_model(tuned.base if tuned else model) or model
        return f"OpenAI.{sku}.{base.rpartition('-20')[0] or base}{'-finetune' if tuned else ''}"

    def used(self, usage: str, besides: str = "") -> int:
        """Return how much of a quota is in use, by all but one."""
        return sum(
            one.wanted.capacity
            for one in self.all()
            if one.name != besides and self.usage_name(one.wanted.model, one.wanted.sku) == usage
        )
