"""Which training does a folder begin, or continue? It compares files and records, and calls nothing."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from batchscore.errors import InputError, SettingsError, UsageError
from batchscore.finetune.examples.kinds import KINDS
from batchscore.finetune.offered import finetune_command
from batchscore.finetune.prepared_folder import SUMMARY, file_of, read_summary
from batchscore.finetune.service.dialects import TrainingDialect
from batchscore.finetune.state import STATE, TRAINING, VALIDATION, FileRecord, JobRecord, TrainingState
from batchscore.provider.job_object import SUCCEEDED
from batchscore.stores import storage

#: The method of training for each format.
METHODS = {
    "chat": "supervised",
    "prompt-completion": "supervised",
    "preference": "dpo",
    "reinforcement": "reinforcement",
}

#: The names of the parts in prepare.json.
_PARTS = {TRAINING: "train", VALIDATION: "validation"}


def prepared_of(folder: Path) -> dict[str, Any]:
    """Return the content of prepare.json if its files can be sent; raises `InputError`.

    A file that was changed after its preparation is refused: its checks and its estimate would be wrong.
    """
    summary = read_summary(folder)
    if not KINDS[summary["format"]].hosted:
        raise InputError(
            f"{folder} holds {summary['format']} for Azure ML, which trains on it in a pipeline of its own. "
            "Prepare it as chat to train with this command."
        )
    for part in _PARTS.values():
        listed = summary["parts"].get(part) or {}
        if not listed.get("file"):
            continue
        place = folder / file_of(part)
        if not storage.exists(place) or storage.digest_file(place) != listed["digest"]:
            raise InputError(
                f"{place} is not as it was prepared. Run `batchscore finetune prepare` again, so that it is "
                "checked and split as a whole."
            )
    return summary


def require_own(state: TrainingState, folder: Path) -> None:
    """Raise `InputError` if a job was made of other files than those of its folder.

    `prepare` changes no folder that has a job, so the record is that of another one.
    """
    if not state.job.may_exist or not storage.exists(folder / SUMMARY):
        return
    listed = read_summary(folder)["parts"].get(_PARTS[TRAINING]) or {}
    if listed.get("digest", state.training.digest) != state.training.digest:
        raise InputError(
            f"{folder / STATE} is that of another folder: its job was not made of the files of {folder}. "
            f"Move it back to its folder. To train on the files of {folder}, start without it."
        )


def digests_of(summary: Mapping[str, Any]) -> dict[str, str]:
    """Return the digest of each file that is sent, by its part."""
    listed = {part: summary["parts"].get(name) or {} for part, name in _PARTS.items()}
    return {part: each["digest"] for part, each in listed.items() if each.get("file")}


def new_state(
    folder: Path, summary: Mapping[str, Any], host: str, dialect: TrainingDialect, request: Mapping[str, Any]
) -> TrainingState:
    """Return the state of a training of which nothing was sent."""
    run = uuid.uuid4().hex
    records: dict[str, FileRecord] = {}
    for part, digest in digests_of(summary).items():
        name = _PARTS[part]
        listed = summary["parts"][name]
        # No other file at the service has this name, so that one whose reply was lost is found by it.
        own = f"{run[:12]}-{digest[-8:]}-{file_of(name)}"
        records[part] = FileRecord(
            name=own, digest=digest, bytes=listed["bytes"], examples=listed["examples"]
        )
    if TRAINING not in records:
        raise InputError(f"{folder} has no {file_of('train')}. Prepare it with a training part.")
    return TrainingState(
        run=run,
        endpoint=host,
        dialect=dialect.name,
        training=records[TRAINING],
        validation=records.get(VALIDATION),
        job=JobRecord(request=request),
    )


def continued(old: TrainingState | None, new: TrainingState, folder: Path, *, again: bool) -> TrainingState:
    """Return the state to continue with: `old` for the same data, with the new settings until there is a job.

    `again`: make a new job if there is one; it must have failed, or be cancelled. Raises `SettingsError` if
    settings would change a job, and `UsageError` if `again` follows another one.
    """
    if old is None:
        return new
    if old.job.may_exist and not again:
        differing = [
            name for name, value in sorted(new.job.request.items()) if value != old.job.request.get(name)
        ]
        if differing:
            raise SettingsError(
                f"The job of {folder} was created with other settings ({', '.join(differing)}). To continue, "
                "leave these settings out. For another job, prepare a new folder."
            )
        return old
    if old.job.may_exist:
        old = before_again(old, folder)
    request = new.job.request or old.job.request
    kept = {part: file.digest for part, file in old.files.items()}
    if kept == {part: file.digest for part, file in new.files.items()}:
        return replace(old, job=replace(old.job, request=request))
    # The folder was prepared again before there was a job.
    stale = tuple(file for file in old.files.values() if file.intent_at or file.file_id or file.upload)
    return replace(
        old,
        training=new.training,
        validation=new.validation,
        job=replace(old.job, request=request),
        leftovers=(*old.leftovers, *stale),
    )


def before_again(old: TrainingState, folder: Path) -> TrainingState:
    """Return a state without its job, which has failed or was cancelled; raises `UsageError` for others."""
    job = old.job
    if job.id and job.status == SUCCEEDED:
        raise UsageError(
            f"The job {job.id} of {folder} has succeeded. Prepare a new folder to train once more: each "
            "folder is one model."
        )
    if job.id and not job.ended:
        raise UsageError(
            f"The job {job.id} of {folder} is {job.status}. To cancel it, so that a new one can be created, "
            f"run: {finetune_command('cancel', folder)}"
        )
    if not job.id:
        raise UsageError(f"No job of {folder} has failed, so there is none to repeat.")
    # The service may have removed the files meanwhile: each is looked at.
    files = {part: replace(file, processed=False) for part, file in old.files.items()}
    return replace(
        old,
        training=files[TRAINING],
        validation=files.get(VALIDATION),
        job=JobRecord(request=job.request),
        earlier_jobs=(*old.earlier_jobs, job),
        results=None,
        checkpoint="",
    )
