"""How is what a training made at the service deleted, so that a killed command continues?

Each deletion is on disk as soon as it has happened. What is not there counts as deleted. What is deleted, and
in which order, is decided in `removals.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from batchscore.errors import Outage, ServiceRefused, setting_name
from batchscore.finetune.deployment.decide import is_ours
from batchscore.finetune.deployment.make import advice_for, remove_deployment
from batchscore.finetune.deployment.removals import Removal, Thing, is_gone, is_recorded, waits_for
from batchscore.finetune.offered import finetune_command
from batchscore.finetune.service.calls import PURPOSE
from batchscore.finetune.state import TrainingState, write_state
from batchscore.provider import arm, files, jobs, models, uploads
from batchscore.provider.arm import Account
from batchscore.provider.client import CallFailed, ControlPlane, Unknown

#: Refusals to cancel an upload that has expired or was completed: nothing is left of it but its file.
_OVER = frozenset({400, 409, 410})

#: What is said of a thing if a key sees nothing of a folder.
UNSEEN = (
    "this key sees nothing of the folder, nor its job. Run the same command with the endpoint and the key "
    "that started it"
)

#: How long a deployment may take to go.
MOST_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Deletion:
    """What became of one deletion. `why` explains what was not deleted; `for_now`: it may be so later.

    `instead` says what has the name of what was not there.
    """

    removal: Removal
    was_there: bool = True
    why: str = ""
    for_now: bool = False
    instead: str = ""


@dataclass(slots=True)
class Cleaner:
    """Deletes things of one resource. `manager` and `account` are needed for deployments only.

    `folder` and `state` are those of a training, if one is named.
    """

    plane: ControlPlane
    manager: ControlPlane | None = None
    account: Account | None = None
    folder: Path | None = None
    state: TrainingState | None = None
    listen: Callable[[str], object] = str
    clock: Callable[[], float] = time.time
    most_seconds: float = MOST_SECONDS
    outcomes: list[Deletion] = field(default_factory=list)

    async def run(self, removals: Sequence[Removal]) -> list[Deletion]:
        """Delete one thing after the other; a refusal does not keep the others.

        A key of another project sees nothing of a folder. So what is missing is recorded as deleted only if
        the key sees the folder's job or something else of it.
        """
        remaining: list[Removal] = []
        missing: list[Removal] = []
        is_known = await self.sees_job()
        for removal in removals:
            outcome = await self.outcome_of(removal, remaining)
            is_known = is_known or (outcome.was_there and not outcome.why)
            if outcome.why:
                remaining.append(removal)
            elif is_known or removal.is_named:
                self.note_gone(*missing, removal)
                missing = []
            else:
                missing.append(removal)
            self.outcomes.append(outcome)
        return [replace(each, why=UNSEEN) if each.removal in missing else each for each in self.outcomes]

    async def sees_job(self) -> bool:
        """Whether the key sees the job of the folder; also if there is none, or it was deleted."""
        job = "" if self.state is None else self.state.job.id
        if not job or (self.state is not None and job in self.state.deleted):
            return True
        with suppress(CallFailed, ServiceRefused):
            return bool(await jobs.look_at_job(self.plane, job))
        return False

    def note_gone(self, *removals: Removal) -> None:
        """Write to the device what was deleted."""
        if self.state is not None and self.folder is not None:
            for each in removals:
                self.state = is_gone(self.state, each)
            write_state(self.folder, self.state)

    async def outcome_of(self, removal: Removal, remaining: Sequence[Removal]) -> Deletion:
        """Delete one thing."""
        why = removal.blocked or waits_for(removal, remaining) or await self.served_by(removal)
        if why:
            return Deletion(removal, why=why)
        if removal.thing is Thing.DEPLOYMENT:
            self.listen(f"deleting the {removal.name}")
        try:
            if removal.thing is Thing.DEPLOYMENT:
                return await self.delete_deployment(removal)
            return Deletion(removal, await self.delete(removal))
        except Outage as outage:
            return Deletion(removal, why=outage.text.rstrip("."), for_now=True)
        except ServiceRefused as refusal:
            return Deletion(removal, why=refusal.text.rstrip("."))
        except CallFailed as failure:
            is_in_use = failure.status == 409 and removal.thing in {Thing.MODEL, Thing.JOB}
            for_now = isinstance(failure, Unknown) and not is_in_use
            return Deletion(removal, why=why_refused(removal, failure), for_now=for_now)

    async def served_by(self, removal: Removal) -> str:
        """Return why a model cannot go yet, "" if it can: another deployment serves it."""
        model = removal.id
        if removal.thing is Thing.JOB and self.state is not None:
            model = next((each.model for each in self.state.jobs if each.id == removal.id), "")
        if removal.thing not in {Thing.MODEL, Thing.JOB} or self.manager is None or self.account is None:
            return ""
        try:
            found = await arm.list_deployments(self.manager, self.account)
        except (CallFailed, ServiceRefused):
            return ""  # the service itself refuses
        names = [each.name for each in found if model and each.model == model]
        if not names:
            return ""
        flag = setting_name("deployment")
        flags = " ".join(f"{flag} {name}" for name in names)
        return (
            f"it is deployed as {', '.join(names)}, which this folder did not make. If it may go, add {flags}"
        )

    async def delete_deployment(self, removal: Removal) -> Deletion:
        """Delete a deployment, unless this folder had one of this name and it is another one now."""
        assert self.manager is not None
        assert self.account is not None
        found = await arm.look(self.manager, self.account, removal.id)
        if found is None:
            return Deletion(removal, was_there=False)
        state = self.state
        if (
            state is not None
            and is_recorded(state, removal)
            and not is_ours(found, state.deployment, state.run)
        ):
            other = (
                f"another one of that name, of {found.model or 'another model'}, which this folder did "
                "not make, is left as it is"
            )
            return Deletion(removal, was_there=False, instead=other)
        await remove_deployment(self.manager, self.account, found, self.most_seconds, self.clock)
        return Deletion(removal)

    async def delete(self, removal: Removal) -> bool:
        """Delete what is no deployment; return whether it was there. Raises `CallFailed`."""
        if removal.thing is Thing.MODEL:
            return await models.delete_model(self.plane, removal.id)
        if removal.thing is Thing.JOB:
            return await models.delete_job(self.plane, removal.id)
        if removal.thing is Thing.UPLOAD:
            try:
                return await uploads.cancel_upload(self.plane, removal.id)
            except CallFailed as failure:
                if failure.status not in _OVER:
                    raise
                return False
        name = removal.file_name if removal.thing is Thing.FILE else removal.id
        found = await files.find_uploads(self.plane, name, purpose=PURPOSE) if name else []
        for each in found:
            if each.id != removal.id:
                await files.delete(self.plane, each.id)
        if removal.thing is Thing.FILE:
            return await files.delete(self.plane, removal.id)
        return bool(found)


def why_refused(removal: Removal, failure: CallFailed) -> str:
    """Return why something was not deleted, and what helps."""
    if isinstance(failure, Unknown) and failure.status != 409:
        return f"{failure}. Run the same command again"
    if removal.thing is Thing.DEPLOYMENT and (advice := advice_for(failure, arm.DELETE)):
        return f"{failure}. {advice}".rstrip(".")
    if removal.thing in {Thing.MODEL, Thing.JOB} and failure.status in {400, 409}:
        return (
            f"{failure}. The service does not delete a model while a deployment of it exists, or a job "
            "that has not ended: look with: "
            f"{finetune_command('list')}"
        )
    if removal.thing is Thing.MODEL and failure.status in {401, 403}:
        return (
            f"{failure}. This key or identity may not: at OpenAI only owners of the organisation may delete "
            "models, and on Azure a role such as Cognitive Services OpenAI Contributor may"
        )
    return f"{failure}. Check the key or the sign-in, and what it may do"
