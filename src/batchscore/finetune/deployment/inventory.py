"""What of fine-tuning is at a service: jobs, trained models, their deployments and files? It changes nothing.

A deployment of a base model is not listed: it is not one of a training. A list that cannot be read becomes a
note, so that the others are shown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from batchscore.errors import ServiceRefused
from batchscore.finetune.deployment.decide import ends_at, is_ours, kind_of
from batchscore.finetune.service.calls import PURPOSE, RESULTS_PURPOSE
from batchscore.finetune.state import TrainingState, with_job
from batchscore.provider import arm, files, jobs
from batchscore.provider.arm import Account, Deployed
from batchscore.provider.client import CallFailed, ControlPlane
from batchscore.provider.files import UploadedFile
from batchscore.provider.job_object import JobState
from batchscore.provider.models import ModelFacts, is_trained, list_models

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HeldModel:
    """A trained model, and until when it can be used: seconds since 1970, `None` if no end is announced."""

    id: str
    used_until: float | None


@dataclass(frozen=True, slots=True)
class HeldDeployment:
    """A deployment of a trained model, how long it is up, and when the service removes it, 0 if it does not.

    `hourly`: it costs by the hour.
    """

    deployed: Deployed
    up_seconds: float
    ends_at: float
    hourly: bool


@dataclass(frozen=True, slots=True)
class Inventory:
    """What is at a service. `notes` say what could not be read, and why."""

    jobs: Sequence[JobState] = ()
    models: Sequence[HeldModel] = ()
    deployments: Sequence[HeldDeployment] = ()
    files: Sequence[UploadedFile] = ()
    notes: Sequence[str] = ()

    @property
    def running(self) -> Sequence[JobState]:
        """The jobs that have not ended."""
        return [job for job in self.jobs if not job.ended]

    @property
    def left(self) -> int:
        """How many things cost, run or take up a quota. Jobs that have ended do not."""
        return len(self.running) + len(self.models) + len(self.deployments) + len(self.files)

    def of(self, state: TrainingState) -> Inventory:
        """Return what of it the state of a folder names, and what its jobs have made since."""
        for job in self.jobs:
            if job.id in {each.id for each in state.jobs}:
                state = with_job(state, job)
        records = (*state.files.values(), *state.leftovers)
        results = [file for job in state.jobs for file in job.result_files]
        files = {*(each.file_id for each in records), *results}
        names = {each.name for each in records if each.intent_at}
        models = {*(job.model for job in state.jobs), state.checkpoint} - {""}
        return replace(
            self,
            jobs=[job for job in self.jobs if job.id in {each.id for each in state.jobs}],
            models=[each for each in self.models if {each.id, checkpoint_of(each.id)} & models],
            deployments=[
                each
                for each in self.deployments
                if each.deployed.model in models or is_ours(each.deployed, state.deployment, state.run)
            ],
            files=[file for file in self.files if file.id in files or file.name in names],
        )


async def take_inventory(
    plane: ControlPlane, manager: ControlPlane | None, account: Account | None, now: float, *, on_azure: bool
) -> Inventory:
    """Return what is at a service; deployments only if a resource is named. Raises `ServiceRefused`.

    If no list can be read at all, the first failure is raised.
    """
    notes: list[str] = []
    failures: list[CallFailed] = []

    async def read(what: str, found: Awaitable[Sequence[T]]) -> Sequence[T]:
        try:
            return await found
        except (CallFailed, ServiceRefused) as failure:
            failures.extend([failure] if isinstance(failure, CallFailed) else [])
            notes.append(f"{what} could not be listed: {failure}")
        return ()

    found_jobs = await read("jobs", jobs.newest_jobs(plane, 0.0))
    found_models = await read("models", list_models(plane))
    found_files = await read("files", all_files(plane))
    if len(failures) == 3:
        raise failures[0]
    deployments: Sequence[Deployed] = ()
    if manager is not None and account is not None:
        deployments = await read("deployments", arm.list_deployments(manager, account))
    made = {job.trained_model for job in found_jobs}
    return Inventory(
        found_jobs,
        held_models(found_models, made, on_azure=on_azure),
        [held(each, now) for each in deployments if is_trained(each.model) or each.model in made],
        found_files,
        notes,
    )


async def all_files(plane: ControlPlane) -> Sequence[UploadedFile]:
    """Return the files of training and of its results, newest first; raises `CallFailed`."""
    sent = await files.list_files(plane, purpose=PURPOSE)
    return [*sent, *await files.list_files(plane, purpose=RESULTS_PURPOSE)]


def held_models(found: Sequence[ModelFacts], made: Iterable[str], *, on_azure: bool) -> Sequence[HeldModel]:
    """Return the trained models among all, with the end of each, or of its base.

    On Azure a checkpoint goes with its model, so only one that was left behind is shown. Elsewhere it is a
    model of its own.
    """
    known, trained = {each.id: each for each in found}, {*made}
    models = []
    for each in found:
        goes_along = on_azure and checkpoint_of(each.id) in known
        if (is_trained(each.id) or each.id in trained) and not goes_along:
            base = known.get(base_of(each.id))
            end = each.used_until or (None if base is None else base.used_until)
            models.append(HeldModel(each.id, end))
    return models


def checkpoint_of(model: str) -> str:
    """Return the model that one is a checkpoint of, "" if it is none."""
    return model.rpartition(":ckpt-step-")[0]


def base_of(model: str) -> str:
    """Return the base of a trained model by its name, "" if it does not say."""
    if model.startswith("ft:"):
        return model.split(":")[1]
    return model.partition(".ft-")[0] if ".ft-" in model else ""


def held(found: Deployed, now: float) -> HeldDeployment:
    """Return a deployment with its hours."""
    kind = kind_of(found.sku or "unknown")
    up = max(0.0, now - found.created_at) if found.created_at else 0.0
    return HeldDeployment(found, up, ends_at(kind, found.created_at), kind.hourly)
