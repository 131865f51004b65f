"""What does a service say of a training job, its events and its checkpoints?

It reads the forms of OpenAI and of both surfaces of Azure (their specifications, seen 2026-11): -1 and null
for auto, states of several names, levels `warn` and `warning`. An unknown state counts as running. It never
raises, and it calls nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batchscore.provider.batch_object import fields_of, moment, name_of, text_of, whole

#: States of a job after which nothing more happens. All others, also unknown ones, count as still going.
SUCCEEDED, FAILED, CANCELLED = "succeeded", "failed", "cancelled"
ENDED = frozenset({SUCCEEDED, FAILED, CANCELLED})

#: States of a job that waits, that trains, that waits to be resumed, and that is on its way there.
QUEUED, RUNNING, PAUSED, PAUSING = "queued", "running", "paused", "pausing"

#: Azure and other services have names of their own for some states.
OTHER_STATES = {"canceled": CANCELLED, "pending": QUEUED, "notrunning": QUEUED, "created": QUEUED}

#: Hyperparameters of which the service chooses the value.
AUTO = "auto"

#: The part of a message that a terminal shows.
MOST_MESSAGE = 400


@dataclass(frozen=True, slots=True)
class JobState:
    """A job as its service describes it. Times are seconds since the epoch, `None` if it gives none.

    `model` is the base model and `trained_model` what the job has made, "" before. `error_code` is a name;
    `error_words` are for a terminal only. `settings` are the hyperparameters and the seed.
    """

    id: str
    status: str
    model: str
    trained_model: str
    training_file: str
    suffix: str
    created: float | None
    finished: float | None
    estimated: float | None
    trained_tokens: int
    result_files: tuple[str, ...]
    error_code: str
    error_words: str
    settings: Mapping[str, Any]
    metadata: Mapping[str, str]

    @property
    def ended(self) -> bool:
        """Whether nothing more happens."""
        return self.status in ENDED


@dataclass(frozen=True, slots=True)
class TrainingEvent:
    """One event of a job. `message` is the service's, for a terminal only. `metrics` are those of a step."""

    id: str
    created: float | None
    level: str
    message: str
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class JobCheckpoint:
    """One checkpoint that the service has kept. `model` is the name by which it is used."""

    id: str
    created: float | None
    step: int
    model: str
    metrics: Mapping[str, float]


def job_state(found: Any) -> JobState:
    """Return the state that a job's object describes; its `id` is empty if the reply was not a job."""
    given = fields_of(found)
    status, error = text_of(given.get("status")).strip().lower(), fields_of(given.get("error"))
    results = given.get("result_files")
    return JobState(
        id=text_of(given.get("id")),
        status=OTHER_STATES.get(status, status),
        model=text_of(given.get("model")),
        trained_model=text_of(given.get("fine_tuned_model")),
        training_file=text_of(given.get("training_file")),
        suffix=text_of(given.get("suffix") or given.get("user_provided_suffix")),
        created=moment(given.get("created_at")),
        finished=moment(given.get("finished_at")),
        estimated=moment(given.get("estimated_finish")),
        trained_tokens=whole(given.get("trained_tokens")),
        result_files=tuple(filter(None, map(text_of, results))) if isinstance(results, list) else (),
        error_code=name_of(error.get("code")),
        error_words=text_of(error.get("message"))[:MOST_MESSAGE],
        settings=settings_of(given),
        metadata={str(name): text_of(value) for name, value in fields_of(given.get("metadata")).items()},
    )


def settings_of(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the hyperparameters and the seed of a job, numbers and names only; -1 and null are auto."""
    method = fields_of(given.get("method"))
    own = fields_of(fields_of(method.get(text_of(method.get("type")))).get("hyperparameters"))
    found = {**fields_of(given.get("hyperparameters")), **own}
    if given.get("seed") is not None:
        found["seed"] = given["seed"]
    return {
        str(name): AUTO if value is None or value == -1 else value
        for name, value in found.items()
        if value is None or isinstance(value, (int, float)) or name_of(value)
    }


def training_event(found: Any) -> TrainingEvent:
    """Return an event."""
    given = fields_of(found)
    level = text_of(given.get("level")).lower()
    return TrainingEvent(
        id=text_of(given.get("id")),
        created=moment(given.get("created_at")),
        level="warn" if level == "warning" else level,
        message=text_of(given.get("message"))[:MOST_MESSAGE],
        metrics=numbers_of(given.get("data")),
    )


def job_checkpoint(found: Any) -> JobCheckpoint:
    """Return a checkpoint."""
    given = fields_of(found)
    return JobCheckpoint(
        id=text_of(given.get("id")),
        created=moment(given.get("created_at")),
        step=whole(given.get("step_number")),
        model=text_of(given.get("fine_tuned_model_checkpoint")),
        metrics=numbers_of(given.get("metrics")),
    )


def numbers_of(value: Any) -> dict[str, float]:
    """Return the finite numbers among the fields of an object."""
    return {
        str(name): float(each)
        for name, each in fields_of(value).items()
        if isinstance(each, (int, float)) and not isinstance(each, bool) and math.isfinite(each)
    }
