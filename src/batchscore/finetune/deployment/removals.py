"""What of a trained model is deleted at the service, and in which order? It decides, and calls nothing.

A deployment comes before its model, because a service refuses the other order, and files come last. Only what
the state of a folder or the command line names is deleted. Two things are looked for by their name: a file
of ours and its copies, for no other file has its name, and a deployment, whose owner is read then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from batchscore.finetune.offered import finetune_command
from batchscore.finetune.service.dialects import TrainingDialect
from batchscore.finetune.state import FileRecord, JobRecord, TrainingState


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

    `is_named`: the user has named it. `file_name` is a file's name at the service, by which copies of it are
    found: no other file has it.
    """

    thing: Thing
    id: str
    what: str
    blocked: str = ""
    is_named: bool = False
    file_name: str = ""

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
    unsaved = ""
    saved = "" if state.results is None else state.results.file_id
    if state.job.result_files and saved not in state.job.result_files and not discard_results:
        save = finetune_command("results", folder)
        unsaved = f"the results are not downloaded yet: run {save}, or add --discard-results"
    models = models_of(state, dialect, folder, unsaved)
    found = [*deployment_of(state), *models, *files_of(state, folder, unsaved)]
    # A deployment of a name that was deleted may have been made again.
    left = [each for each in found if each.thing is Thing.DEPLOYMENT or each.id not in state.deleted]
    once = {(each.thing, each.id): each for each in left if each.id}
    return sorted(once.values(), key=lambda each: each.thing)


def blocked_by_job(job: JobRecord, folder: object) -> str:
    """Return why the files of a job must stay, "" if they need not."""
    if not job.may_exist or job.ended:
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


def blocked_by(job: JobRecord, state: TrainingState, folder: object) -> str:
    """Return why what belongs to one job of a folder must stay, "" if it need not."""
    if job is state.job or job.ended:
        return blocked_by_job(job, folder)
    cancel = finetune_command("start", folder)
    return f"the job {job.id}, a double, is {job.status}: to cancel it, run {cancel}"


def models_of(
    state: TrainingState, dialect: TrainingDialect, folder: object, unsaved: str
) -> Iterator[Removal]:
    """Yield the trained models. Azure's dated surface deletes each with its job."""
    for job in state.jobs:
        if dialect.deletes_jobs:
            what = f"with its model {job.model}" if job.model else "that has ended"
            blocked = blocked_by(job, state, folder) or (unsaved if job is state.job else "")
            yield Removal(Thing.JOB, job.id, what, blocked)
        elif job.model:
            yield Removal(Thing.MODEL, job.model, f"trained from {job.base_model}")


def files_of(state: TrainingState, folder: object, unsaved: str) -> Iterator[Removal]:
    """Yield uploads that were not completed, and the files that were sent or made."""
    reasons = (blocked_by(each, state, folder) for each in (state.job, *state.earlier_jobs))
    blocked = "; ".join(filter(None, reasons))
    for part, record in state.files.items():
        yield from files_of_record(record, f"{part} file", blocked)
    for job in state.jobs:
        for each in job.result_files:
            yield Removal(Thing.FILE, each, "results", unsaved if job is state.job else "")
    for record in state.leftovers:
        yield from files_of_record(record, "of an earlier preparation", "")


def files_of_record(record: FileRecord, what: str, blocked: str) -> Iterator[Removal]:
    """Yield what may be at the service of one file."""
    if record.upload is not None and not record.file_id:
        yield Removal(Thing.UPLOAD, record.upload.id, f"{what}, not completed")
    if record.file_id:
        yield Removal(Thing.FILE, record.file_id, what, blocked, file_name=record.name)
    elif record.intent_at:
        yield Removal(Thing.LOST_FILE, record.name, f"{what}, if it has arrived")


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
    state = without_file(state, removal)
    if removal.thing is not Thing.LOST_FILE:  # another one of its name may be sent
        state = replace(state, deleted=tuple(dict.fromkeys((*state.deleted, gone))))
    return replace(state, deployment=made)


def without_file(state: TrainingState, removal: Removal) -> TrainingState:
    """Return a state whose records of files do not have what was deleted, so that `start` sends it again.

    The files of a job stay recorded: the job is known by them.
    """

    def left(file: FileRecord) -> FileRecord:
        if removal.thing is Thing.UPLOAD and file.upload is not None and file.upload.id == removal.id:
            return replace(file, upload=None)
        is_lost = removal.thing is Thing.LOST_FILE and not file.file_id and file.name == removal.id
        is_file = removal.thing is Thing.FILE and file.file_id == removal.id
        if is_lost or (is_file and not state.job.may_exist):
            return replace(file, file_id="", intent_at=0.0, processed=False)
        return file

    return replace(
        state,
        training=left(state.training),
        validation=None if state.validation is None else left(state.validation),
        leftovers=tuple(map(left, state.leftovers)),
    )


def waits_for(removal: Removal, remaining: Iterable[Removal]) -> str:
    """Return why something must wait for what could not be deleted, "" if it need not."""
    if removal.thing not in {Thing.MODEL, Thing.JOB}:
        return ""
    deployment = next((each for each in remaining if each.thing is Thing.DEPLOYMENT), None)
    return "" if deployment is None else f"its {deployment.name} still exists"
