"""What of a trained model is deleted at the service, and in which order? It decides, and calls nothing.

A deployment comes before its model, because a service refuses the other order, and files come last. Only what
the state of a folder or the command line names is deleted. Two things are looked for by their name: a file
whose upload got no reply, for no other file has its name, and a deployment, whose owner is read then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from batchscore.finetune.dialects import TrainingDialect
from batchscore.finetune.offered import finetune_command
from batchscore.finetune.state import JobRecord, TrainingState
from batchscore.provider.job_object import ENDED


class Thing(IntEnum):
    """What can be deleted, in the order of deletion."""

    DEPLOYMENT = 0
    MODEL = 1
    JOB = 2
    UPLOAD = 3
    FILE = 4
    #: A file whose upload got no reply: it may be there, by a name that no other file has.
    LOST_FILE = 5


#: How people call it.
NAMES = {
    Thing.DEPLOYMENT: "deployment",
    Thing.MODEL: "model",
    Thing.JOB: "job",
    Thing.UPLOAD: "upload",
    Thing.FILE: "file",
    Thing.LOST_FILE: "file named",
}


@dataclass(frozen=True, slots=True)
class Removal:
    """One thing to delete. `what` describes it. `blocked` says why it cannot be deleted yet, "" if it can.

    `is_named`: the user has named it.
    """

    thing: Thing
    id: str
    what: str
    blocked: str = ""
    is_named: bool = False

    @property
    def name(self) -> str:
        """The thing with its id."""
        return f"{NAMES[self.thing]} {self.id}"


@dataclass(frozen=True, slots=True)
class Named:
    """Things that the command line names."""

    deployments: Sequence[str] = ()
    models: Sequence[str] = ()
    files: Sequence[str] = ()

    def __bool__(self) -> bool:
        """Whether anything is named."""
        return bool(self.deployments or self.models or self.files)

    def removals(self) -> list[Removal]:
        """Return what is named, in the order of deletion."""
        each = (
            (Thing.DEPLOYMENT, self.deployments),
            (Thing.MODEL, self.models),
            (Thing.FILE, self.files),
        )
        return [
            Removal(thing, one, "named in the command", is_named=True)
            for thing, ids in each
            for one in dict.fromkeys(ids)
        ]


def removals_of(
    state: TrainingState, dialect: TrainingDialect, folder: object = "DIR", *, discard_results: bool
) -> list[Removal]:
    """Return what is left of a folder at the service, in the order of deletion."""
    blocked = blocked_by_job(state.job, folder)
    unsaved = ""
    saved = "" if state.results is None else state.results.file_id
    if state.job.result_files and saved not in state.job.result_files and not discard_results:
        save = finetune_command("results", folder)
        unsaved = f"the results are not downloaded yet: run {save}, or add --discard-results"
    models = models_of(state, dialect, blocked, unsaved)
    found = [*deployment_of(state), *models, *files_of(state, blocked, unsaved)]
    # A deployment of a name that was deleted may have been made again.
    left = [each for each in found if each.thing is Thing.DEPLOYMENT or each.id not in state.deleted]
    once = {(each.thing, each.id): each for each in left if each.id}
    return sorted(once.values(), key=lambda each: each.thing)


def blocked_by_job(job: JobRecord, folder: object) -> str:
    """Return why the files of a job must stay, "" if they need not."""
    if not job.may_exist or job.status in ENDED:
        return ""
    if not job.id:
        look = finetune_command("status", folder)
        return f"a job may have been made of it, and its id is not known: run {look}"
    cancel, look = finetune_command("cancel", folder), finetune_command("status", folder)
    return f"the job {job.id} is {job.status or 'not known to have ended'}: run {look}, or {cancel}"


def deployment_of(state: TrainingState) -> Iterator[Removal]:
    """Yield the deployment that was made, or may have been."""
    made = state.deployment
    if made is not None and made.intent_at:
        yield Removal(Thing.DEPLOYMENT, made.name, f"{made.sku or 'deployment'} of {made.model}")


def models_of(
    state: TrainingState, dialect: TrainingDialect, blocked: str, unsaved: str
) -> Iterator[Removal]:
    """Yield the trained model. Azure's dated surface deletes it with its job."""
    job = state.job
    if dialect.deletes_jobs:
        for each in (job.id, *state.earlier_jobs):
            if each:
                what = f"with its model {job.model}" if each == job.id and job.model else "that has ended"
                yield Removal(Thing.JOB, each, what, (blocked or unsaved) if each == job.id else "")
        return
    if job.model:
        yield Removal(Thing.MODEL, job.model, f"trained from {job.base_model}")


def files_of(state: TrainingState, blocked: str, unsaved: str) -> Iterator[Removal]:
    """Yield uploads that were not completed, and the files that were sent or made."""
    for part, record in state.files.items():
        if record.upload is not None and not record.file_id:
            yield Removal(Thing.UPLOAD, record.upload.id, f"of the {part} file, not completed")
        if record.intent_at and not record.file_id:
            yield Removal(Thing.LOST_FILE, record.name, f"{part} file, if it has arrived")
        yield Removal(Thing.FILE, record.file_id, f"{part} file", blocked)
    for each in state.job.result_files:
        yield Removal(Thing.FILE, each, "results", unsaved)
    for each in state.leftovers:
        yield Removal(Thing.FILE, each, "of an earlier preparation")


def is_recorded(state: TrainingState, removal: Removal) -> bool:
    """Whether the deployment to delete has the name of the one that a folder made."""
    made = state.deployment
    return removal.thing is Thing.DEPLOYMENT and made is not None and made.name.lower() == removal.id.lower()


def is_gone(state: TrainingState, removal: Removal) -> TrainingState:
    """Return the state after something was deleted."""
    made = state.deployment
    gone = removal.id
    if made is not None and is_recorded(state, removal):
        gone, made = made.arm_id or removal.id, None
    return replace(state, deployment=made, deleted=tuple(dict.fromkeys((*state.deleted, gone))))


def waits_for(removal: Removal, remaining: Iterable[Removal]) -> str:
    """Return why something must wait for what could not be deleted, "" if it need not."""
    if removal.thing not in {Thing.MODEL, Thing.JOB}:
        return ""
    deployment = next((each for each in remaining if each.thing is Thing.DEPLOYMENT), None)
    return "" if deployment is None else f"its {deployment.name} still exists"
