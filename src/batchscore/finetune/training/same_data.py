"""Was the same file trained with the same settings before, such as from another folder of the same table?

A second job makes the same model and is paid for, too. This module only reads. Jobs of other settings, and
those whose model was deleted, are no reason to stop.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from batchscore.errors import InputError, visible
from batchscore.finetune.offered import finetune_command
from batchscore.finetune.service.calls import PURPOSE
from batchscore.finetune.state import FileRecord, TrainingState
from batchscore.finetune.training.steps import DIGEST_KEY, RUN_KEY, STOPPED, is_same_model, parameters_of
from batchscore.provider import files, jobs, models
from batchscore.provider.client import ControlPlane, NotThere, Refused
from batchscore.provider.files import UploadedFile
from batchscore.provider.job_object import JobState
from batchscore.report.words import moment_text

#: Seconds after which a model that the service does not know was deleted, and is not only new.
NEW_SECONDS = 86_400.0


def same_data_error(
    found: JobState, state: TrainingState, folder: object, not_cancelled: str = ""
) -> InputError:
    """Return the error for a folder whose data another folder trains with the same settings.

    `not_cancelled` says why the job of this folder may still run.
    """
    made = f", created {moment_text(found.created)}" if found.created else ""
    settings = ", ".join(f"{name} {value}" for name, value in found.settings.items())
    job = visible(f"{found.id} of {found.model} ({found.status}{made}{f'; {settings}' if settings else ''})")
    second = f"The second one, {state.job.id}, was cancelled" if state.job.id else "No second job was created"
    if not_cancelled:
        second = (
            f"The second one, {state.job.id}, could not be cancelled ({not_cancelled}): it may run and "
            f"be paid for. To cancel it, run: {finetune_command('cancel', folder)}\nOtherwise it is kept"
        )
    return InputError(
        f"The same training file was trained before, but not from {folder}: see the job {job}. {second}. To "
        "use that one, continue in its own folder. To train and pay again, run: "
        f"{finetune_command('start', folder, '--again')}"
    )


async def other_job(
    plane: ControlPlane, state: TrainingState, now: float, latest: float = inf
) -> JobState | None:
    """Return another job of the same data and settings, `None` if the service lists none until `latest`.

    A file is known by its digest in the job's metadata. If those are not kept, it is known by its size and
    its name, which holds a part of the digest. Raises `CallFailed`.
    """
    try:
        alike = [
            each
            for each in await jobs.newest_jobs(plane, 0.0)
            if may_be_same(state, each) and (each.created or 0.0) <= latest
        ]
        unsigned = any(DIGEST_KEY not in each.metadata for each in alike)
        listed = await files.list_files(plane, purpose=PURPOSE) if unsigned else []
    except Refused:
        # Not each service has these lists, and not each key may read them.
        return None
    same = same_files(state.training, listed)
    for each in alike:
        digest = each.metadata.get(DIGEST_KEY)
        is_same = each.training_file in same if digest is None else digest == state.training.digest
        if is_same and await is_kept(plane, each, now):
            return each
    return None


def may_be_same(state: TrainingState, job: JobState) -> bool:
    """Whether a job of others makes what our request makes, if its file is the same.

    A setting that one of them leaves to the service does not differ.
    """
    request = state.job.request
    numbers = {**parameters_of(request), "seed": request.get("seed")}
    pairs = [(value, job.settings.get(name)) for name, value in numbers.items()]
    return (
        job.status not in STOPPED
        and job.metadata.get(RUN_KEY) != state.run
        and job.training_file != state.training.file_id
        and job.id not in {each.id for each in state.jobs}
        and is_same_model(state, job)
        and all(mine == theirs for mine, theirs in pairs if is_number(mine) and is_number(theirs))
    )


def is_number(value: object) -> bool:
    """Whether a setting is a number, and not left to the service."""
    return isinstance(value, (int, float))


def same_files(file: FileRecord, listed: Iterable[UploadedFile]) -> set[str]:
    """Return the ids of files with the same content that other folders have sent."""
    return {
        each.id
        for each in listed
        if each.name != file.name
        and content_of(each.name) == content_of(file.name)
        and each.bytes in {0, file.bytes}
    }


def content_of(name: str) -> str:
    """Return the part of a file's name that says what is in it: it follows the run (`begin.new_state`)."""
    return name.partition("-")[2]


async def is_kept(plane: ControlPlane, job: JobState, now: float) -> bool:
    """Whether a job still makes a model, or what it has made was not deleted.

    A new model may be unknown for some minutes; its training file is there then. Later the file shows
    nothing: it often stays when a model is deleted.
    """
    if not job.trained_model:
        return True
    looks = [(models.look_at_model, job.trained_model), (files.look, job.training_file)]
    is_new = job.finished is None or job.finished > now - NEW_SECONDS
    for look, what in looks if is_new else looks[:1]:
        try:
            await look(plane, what)
        except NotThere:
            continue
        except Refused:
            pass
        return True
    return False
