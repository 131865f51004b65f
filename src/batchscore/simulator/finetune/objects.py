"""How does a service show a job, its events, its checkpoints and a model?

It must not know how they came to be. Azure shows `auto` as -1, has no null for it, and adds fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchscore.simulator.error_replies import Surface
from batchscore.simulator.finetune.job import Checkpoint, TuningEvent, TuningJob

#: The words for states that the services name otherwise.
_STATES: Mapping[bool, Mapping[str, str]] = {
    False: {"validating": "validating_files"},
    True: {"validating": "pending", "queued": "pending", "pausing": "running"},
}


def job_object(job: TuningJob, *, metadata: bool, estimated_finish: float | None) -> dict[str, Any]:
    """Return a job as its service shows it now."""
    request = job.request
    is_azure = job.is_azure
    chosen = _hyperparameters(job)
    has_ended = not job.is_active
    error = job.error
    document: dict[str, Any] = {
        "object": "fine_tuning.job",
        "id": job.id,
        "model": request.model,
        "created_at": int(job.created_at),
        "finished_at": None if job.finished_at is None else int(job.finished_at),
        "fine_tuned_model": job.model,
        "organization_id": "" if is_azure else "org-simulator",
        "result_files": [job.result_file] if job.result_file else (None if is_azure else []),
        "status": _STATES[is_azure].get(job.status, job.status),
        "training_file": request.training_file,
        "validation_file": request.validation_file,
        "hyperparameters": chosen,
        "trained_tokens": job.billed_tokens if job.status == "succeeded" else None,
        "error": dict(error) if error else None,
        "seed": request.seed,
        "estimated_finish": None if has_ended or estimated_finish is None else int(estimated_finish),
        "integrations": request.integrations,
        "metadata": dict(request.metadata) if request.metadata is not None and metadata else None,
        "method": {"type": request.method, request.method: {"hyperparameters": chosen}},
    }
    if is_azure:
        document |= {"suffix": request.suffix, "trainingType": request.training_type}
    else:
        document["user_provided_suffix"] = request.suffix
    return document


def _hyperparameters(job: TuningJob) -> dict[str, Any]:
    """Return the numbers, once they are chosen; before, `auto` as the service says it."""
    given = job.request.hyperparameters
    auto = -1 if job.is_azure else "auto"
    chosen = {} if job.plan is None or job.status == "validating" else job.plan.chosen
    return {name: chosen.get(name, auto) if value == "auto" else value for name, value in given.items()}


def event_object(event: TuningEvent, surface: Surface) -> dict[str, Any]:
    """Return an event."""
    level = "warning" if event.level == "warn" and surface is not Surface.OPENAI else event.level
    return {
        "object": "fine_tuning.job.event",
        "id": event.id,
        "created_at": int(event.at),
        "level": level,
        "message": event.message,
        "data": dict(event.data),
        "type": "metrics" if event.data else "message",
    }


def checkpoint_object(checkpoint: Checkpoint, job: TuningJob) -> dict[str, Any]:
    """Return a checkpoint, with the metrics of its step."""
    assert job.plan is not None
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": checkpoint.id,
        "created_at": int(checkpoint.at),
        "fine_tuned_model_checkpoint": checkpoint.model,
        "fine_tuning_job_id": job.id,
        "metrics": job.plan.curve.metrics(checkpoint.step),
        "step_number": checkpoint.step,
    }
