"""What is the next step of a training? Tables that decide; `start.py` and `follow.py` act.

Neither a file nor a job has an idempotency key. So the creation of a job is sent once, and if its reply is
lost, the job is looked for in the list of jobs before another one is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from batchscore.finetune.dialects import TrainingDialect
from batchscore.finetune.state import TRAINING, VALIDATION, TrainingState
from batchscore.provider.client import CallFailed, NotThere, Unknown
from batchscore.provider.job_object import CANCELLED, ENDED, FAILED, JobState

#: The metadata by which a job is found again.
RUN_KEY = "batchscore_run"

#: A job may be listed with a time before our own clock's: seconds before the call that made it. Jobs are few,
#: and one that is overlooked is paid for again.
CLOCK_SECONDS = 7 * 86_400.0

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
    FOLLOW_JOB = "follow_job"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class PartStep:
    """A step, and the part of the data that it is about."""

    step: TrainingStep
    part: str = ""


def next_step(state: TrainingState) -> PartStep:
    """Return the first step that is not done."""
    job = state.job
    if job.id:
        return PartStep(TrainingStep.DONE if job.status in ENDED else TrainingStep.FOLLOW_JOB)
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
    """What to do about a job that was looked for, or whose creation failed."""

    ADOPT = "adopt"
    LOOK_AGAIN = "look_again"
    CREATE = "create"
    WAIT_FOR_FILE = "wait_for_file"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class JobDecision:
    """A move. `job` is adopted; `doubles` were made besides it, and must be cancelled."""

    move: JobMove
    job: JobState | None = None
    doubles: tuple[JobState, ...] = ()
    seconds: float = 0.0


def after_looking(state: TrainingState, found: Iterable[JobState], waits: Sequence[float]) -> JobDecision:
    """Return the move after the list of jobs was read; `waits` are left until it is read again."""
    ours = own_jobs(state, found)
    if ours:
        return JobDecision(JobMove.ADOPT, ours[0], tuple(each for each in ours[1:] if not each.ended))
    if waits:
        return JobDecision(JobMove.LOOK_AGAIN, seconds=waits[0])
    return JobDecision(JobMove.CREATE)


def own_jobs(state: TrainingState, found: Iterable[JobState]) -> list[JobState]:
    """Return the jobs of this training: by the run, else by the file and the suffix.

    The oldest comes first, so that all copies of a folder agree; those without a model come last.
    """
    suffix = state.job.request.get("suffix") or ""
    ours = [
        each
        for each in found
        if each.id
        and each.id not in state.earlier_jobs
        and (
            each.metadata.get(RUN_KEY) == state.run
            or (
                RUN_KEY not in each.metadata
                and state.training.file_id
                and each.training_file == state.training.file_id
                and (not each.suffix or each.suffix == suffix)
            )
        )
    ]
    return sorted(ours, key=lambda each: (each.status in {FAILED, CANCELLED}, each.created or 0.0, each.id))


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
        body["metadata"] = {RUN_KEY: state.run, "digest": state.files[TRAINING].digest}
    return body


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
