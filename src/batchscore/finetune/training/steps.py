"""What is the next step of a training? Tables that decide; `start.py` and `follow.py` act.

Neither a file nor a job has an idempotency key. So the creation of a job is sent once, and if its reply is
lost, the job is looked for in the list of jobs before another one is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from batchscore.finetune.service.dialects import TrainingDialect
from batchscore.finetune.state import TRAINING, VALIDATION, TrainingState, with_job
from batchscore.provider.client import CallFailed, NotThere, Unknown
from batchscore.provider.job_object import CANCELLED, FAILED, JobState

#: The metadata by which a job is found again, and by which its training file is known.
RUN_KEY, DIGEST_KEY = "batchscore_run", "digest"

#: A job may be listed with a time before our own clock's: seconds before the call that made it. Jobs are few,
#: and one that is overlooked is paid for again.
CLOCK_SECONDS = 7 * 86_400.0

#: The same for a job that is taken by its likeness.
LIKE_SECONDS = 3600.0

#: What a service may add to the name of a base model: its version.
_VERSION = re.compile(r"(-\d[\d-]*)?")

#: States of jobs that make no model.
STOPPED = frozenset({FAILED, CANCELLED, "cancelling"})

#: How often a job is created again after a failure that may pass.
MOST_TRIES = 5

#: Refusals that waiting does not cure soon, though services send them as 429.
FINAL_CODES = frozenset(
    {"daily_rate_limit_exceeded", "exceeded_quota", "quotaExceeded", "insufficient_quota"}
)

#: Signs of a refusal because a file is not processed yet, in lower case.
NOT_PROCESSED = ("completed file import", "not ready", "file_not_ready", "still being processed")


class TrainingStep(Enum):
    """What to do next."""

    SEND_FILE = "send_file"
    WAIT_FOR_FILE = "wait_for_file"
    CREATE_JOB = "create_job"
    FIND_JOB = "find_job"  # it may exist, but no reply named it
    DONE = "done"  # there is a job


@dataclass(frozen=True, slots=True)
class PartStep:
    """A step, and the part of the data that it is about."""

    step: TrainingStep
    part: str = ""


def next_step(state: TrainingState) -> PartStep:
    """Return the first step that is not done."""
    job = state.job
    if job.id:
        return PartStep(TrainingStep.DONE)
    if job.intent_at:
        return PartStep(TrainingStep.FIND_JOB)
    for part, file in state.files.items():
        if not file.file_id:
            return PartStep(TrainingStep.SEND_FILE, part)
    for part, file in state.files.items():
        if not file.processed:
            return PartStep(TrainingStep.WAIT_FOR_FILE, part)
    return PartStep(TrainingStep.CREATE_JOB)


class JobMove(Enum):
    """What to do after the creation of a job failed."""

    LOOK_AGAIN = "look_again"
    WAIT_FOR_FILE = "wait_for_file"
    STOP = "stop"


def own_jobs(state: TrainingState, found: Iterable[JobState]) -> list[JobState]:
    """Return the jobs of this training in a list, but for those that are recorded as ended.

    They are known by the run in their metadata. Only if the list has none, because a service does not keep
    metadata or a reply was lost, they are known by being what our request makes. The oldest comes first, so
    that all copies of a folder agree; those that make no model come last.
    """
    ended = {each.id for each in state.earlier_jobs if each.ended}
    listed = [each for each in found if each.id]
    signed = [each for each in listed if each.metadata.get(RUN_KEY) == state.run]
    ours = [
        each for each in signed or filter(lambda one: is_alike(state, one), listed) if each.id not in ended
    ]
    return sorted(ours, key=lambda each: (each.status in STOPPED, each.created or 0.0, each.id))


def is_alike(state: TrainingState, job: JobState) -> bool:
    """Whether a job without a run is what our request makes: of our file, with our settings, not before it.

    The format of the file is that of one method, so that is the same, too.
    """
    request = state.job.request
    known = not state.job.doubtful and state.job.intent_at
    return (
        RUN_KEY not in job.metadata
        and bool(state.training.file_id)
        and job.training_file == state.training.file_id
        and job.suffix in {"", request.get("suffix")}
        and is_same_model(state, job)
        and (job.created is None or job.created > (known or state.training.intent_at) - LIKE_SECONDS)
        and all(
            job.settings.get(name, value) == value
            for name, value in parameters_of(request).items()
            if isinstance(value, (int, float))
        )
    )


def is_same_model(state: TrainingState, job: JobState) -> bool:
    """Whether a job trains the base model of our request, perhaps with its version."""
    return _VERSION.fullmatch(job.model.removeprefix(state.job.base_model)) is not None


def with_listed(state: TrainingState, found: Iterable[JobState]) -> TrainingState:
    """Return a state with the other jobs of this training that a list has.

    The doubt ends with the last job.
    """
    for each in own_jobs(state, found):
        if each.id != state.job.id:
            state = with_job(state, each)
    is_over = state.job.ended and not state.doubles
    return replace(state, job=replace(state.job, doubtful=not is_over))


def after_failure(failure: CallFailed, tries: int) -> JobMove:
    """Return the move after a creation failed for the `tries`th time."""
    if failure.code in FINAL_CODES:
        return JobMove.STOP
    if isinstance(failure, Unknown):
        return JobMove.LOOK_AGAIN
    words = f"{failure.code} {failure.words}".lower()
    if (isinstance(failure, NotThere) or any(sign in words for sign in NOT_PROCESSED)) and tries < MOST_TRIES:
        return JobMove.WAIT_FOR_FILE
    return JobMove.STOP


def job_body(state: TrainingState, dialect: TrainingDialect) -> dict[str, Any]:
    """Return the body of the request that creates the job."""
    body: dict[str, Any] = {**state.job.request, "training_file": state.training.file_id}
    if VALIDATION in state.files:
        body["validation_file"] = state.files[VALIDATION].file_id
    if dialect.keeps_metadata:
        body["metadata"] = {RUN_KEY: state.run, DIGEST_KEY: state.files[TRAINING].digest}
    return body


def parameters_of(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the hyperparameters of a request."""
    method = request.get("method") or {}
    found: Mapping[str, Any] = (method.get(method.get("type")) or request).get("hyperparameters") or {}
    return found


def request_of(
    model: str, method: str, parameters: Mapping[str, Any], more: Mapping[str, Any], dialect: TrainingDialect
) -> dict[str, Any]:
    """Return what of a job does not depend on its files.

    `parameters` are the hyperparameters, and `more` the other fields, such as suffix, seed and trainingType.
    A grader and its like belong to reinforcement, as the field `reinforcement` of `more`.
    """
    fields = {name: value for name, value in more.items() if value is not None and name != "reinforcement"}
    request: dict[str, Any] = {"model": model, **fields}
    if method == "supervised" and not dialect.has_method:
        return request | ({"hyperparameters": dict(parameters)} if parameters else {})
    details: dict[str, Any] = dict(more.get("reinforcement") or {}) if method == "reinforcement" else {}
    if parameters:
        details["hyperparameters"] = dict(parameters)
    return request | {"method": {"type": method, method: details}}
