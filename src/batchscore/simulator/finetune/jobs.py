"""Which fine-tuning jobs does a project have, and may it create another one?

It must not know HTTP, nor what a job does in a state.
"""

from __future__ import annotations

import base64
import os
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from batchscore.simulator.batch.clock import ProjectClock
from batchscore.simulator.batch.errors import refused
from batchscore.simulator.batch.files import DAY, FileStore, SimulatedFile, UploadForm
from batchscore.simulator.error_replies import Surface
from batchscore.simulator.finetune.create import NOT_TRAINABLE, parse_job
from batchscore.simulator.finetune.curve import Curve, result_csv
from batchscore.simulator.finetune.job import JobRequest, TrainingPlan, TuningJob, failure
from batchscore.simulator.finetune.models import Models, TunedModel, base_model
from batchscore.simulator.finetune.objects import job_object
from batchscore.simulator.finetune.rules import FineTuneRules
from batchscore.simulator.finetune.training_file import LEAST_EXAMPLES, TrainingFiles

#: What `auto` means for the learning rate.
_RATE = 1.8
#: The formats that each method takes.
_FORMATS = {"supervised": {"chat", "completion"}, "dpo": {"dpo"}, "reinforcement": {"reinforcement"}}
#: What a job of unknown length says of its end: sooner than it ends.
_GUESS = 1320


@dataclass(frozen=True)
class TuningTools:
    """What the parts of a project's fine-tuning share."""

    files: FileStore
    training: TrainingFiles
    models: Models
    clock: ProjectClock
    rules: Callable[[], FineTuneRules]


class TuningJobs:
    """The jobs of a project, oldest first."""

    def __init__(self, tools: TuningTools) -> None:
        self._tools = tools
        self._by_id: dict[str, TuningJob] = {}
        #: Those that were deleted; they were paid nevertheless.
        self._deleted: list[TuningJob] = []
        #: How often each was created: by model, suffix and the content of the training file.
        self.created: Counter[str] = Counter()
        self._freed_at = 0.0

    def create(self, body: Mapping[str, Any], surface: Surface) -> TuningJob:
        """Create a job; raises `Rejection`."""
        rules, now = self._tools.rules(), self._tools.clock.now()
        request = parse_job(body, surface, rules, seed=random.randrange(2**31 - 1))  # noqa: S311 - not for secrets
        self._check_model(request)
        self._check_files(request)
        self._check_limits(request)
        # `gpt-4o-mini` is an alias of a dated name.
        request = replace(request, model=base_model(request.model) or request.model)
        job = TuningJob(request, rules, now)
        self._by_id[job.id] = job
        file = self._tools.files.get(request.training_file)
        assert file is not None
        digest = self._tools.training.scan(file).digest
        self.created[f"{request.model} {request.suffix or '-'} {digest[:12]}"] += 1
        return job

    def get(self, identifier: str) -> TuningJob | None:
        """Return a job as it is now."""
        self.step()
        return self._by_id.get(identifier)

    def newest(self) -> list[TuningJob]:
        """Return all, newest first."""
        self.step()
        return list(self._by_id.values())[::-1]

    def everything(self) -> list[TuningJob]:
        """Return all, also those that were deleted."""
        self.step()
        return [*self._deleted, *self._by_id.values()]

    def remove(self, job: TuningJob) -> None:
        """Delete a job."""
        self._deleted.append(self._by_id.pop(job.id))

    def free_place(self) -> None:
        """Note that a job does not run any more."""
        self._freed_at = self._tools.clock.now()

    def step(self) -> None:
        """Bring all jobs to the present, in the order in which their states end."""
        now = self._tools.clock.now()
        while (found := self._next()) is not None and found[0] <= now:
            at, job = found
            self._move(job, at)
        for job in self._by_id.values():
            if job.status == "running":
                self._train(job, now)

    def object_of(self, job: TuningJob) -> dict[str, Any]:
        """Return the object of a job."""
        rules = self._tools.rules()
        start = job.created_at
        length = rules.running if rules.running is not None else _GUESS
        finish = start + length * (1 - rules.finish_slips)
        shown = job_object(
            job,
            metadata=rules.metadata,
            estimated_finish=finish if job.is_azure or job.status == "running" else None,
        )
        if rules.odd_status and job.status == "running" and not job.shown_odd:
            job.shown_odd = True
            shown["status"] = rules.odd_status
        return shown

    def _next(self) -> tuple[float, TuningJob] | None:
        """Return the next job whose state ends by itself, and when."""
        rules = self._tools.rules()
        running = sum(job.status in {"running", "pausing"} for job in self._by_id.values())
        free_since = self._freed_at if running < rules.running_jobs else None
        due = [(job.due(rules, free_since), job) for job in self._by_id.values() if job.is_active]
        known = [(at, job) for at, job in due if at is not None]
        return min(known, key=lambda one: one[0], default=None)

    def _move(self, job: TuningJob, at: float) -> None:
        if job.status == "validating":
            job.end_validation(at, self._read(job))
            return
        was = job.status
        job.move(self._tools.rules(), at)
        if was in {"running", "pausing"}:
            self._freed_at = at
        if job.status == "succeeded":
            self._write_results(job)
            self._make_models(job, at)
        elif job.status == "paused":
            self._make_models(job, at)

    def _train(self, job: TuningJob, now: float) -> None:
        before = job.steps
        job.train(self._tools.rules(), now)
        if job.steps > before and job.is_azure and self._tools.rules().mid_results:
            self._write_results(job)

    def _read(self, job: TuningJob) -> TrainingPlan | Mapping[str, Any]:
        """Return what a job will do, by what is in its files; or the error with which it fails."""
        request = job.request
        files = {"training_file": request.training_file, "validation_file": request.validation_file}
        counts: dict[str, int] = {}
        for param, identifier in files.items():
            if identifier is None:
                continue
            file = self._tools.files.get(identifier)
            if file is None:
                message = f"The file {identifier} could not be found."
                return {"code": f"invalid_{param}", "message": message, "param": param}
            problem = self._content_problem(file, param, request)
            if problem is not None:
                return problem
            counts[param] = self._tools.training.scan(file).examples
        file = self._tools.files.get(request.training_file)
        assert file is not None
        scan = self._tools.training.scan(file)
        if scan.unsafe or job.fails == "safety_before":
            return failure("safety_before", on_azure=job.is_azure)
        self._tools.training.keep(file, job.id)
        chosen = _choose(request, scan.examples, self._tools.rules().epochs)
        epochs, batch = chosen["n_epochs"], chosen["batch_size"]
        curve = Curve(
            seed=request.seed,
            epoch_steps=ceil(scan.examples / batch),
            epochs=epochs,
            validates="validation_file" in counts,
            best_epoch=max(1, epochs // 2) if self._tools.rules().overfits else 0,
            tokens=scan.tokens * epochs,
            examples=scan.examples * epochs,
        )
        return TrainingPlan(chosen, scan.tokens, curve)

    def _content_problem(self, file: SimulatedFile, param: str, request: JobRequest) -> dict[str, Any] | None:
        scan = self._tools.training.scan(file)
        wrong = scan.not_json or scan.problem
        other = sorted(scan.kinds - _FORMATS[request.method])
        if wrong is None and other:
            wrong = f"Invalid file format. The method {request.method} does not take examples like these."
        if wrong is not None:
            return {"code": "invalid_file_format", "message": wrong, "param": param}
        if param == "training_file" and scan.examples < LEAST_EXAMPLES:
            message = (
                f"Training file has {scan.examples} example(s), but must have at least {LEAST_EXAMPLES}"
                " examples"
            )
            return {"code": "invalid_n_examples", "message": message, "param": param}
        return None

    def _check_model(self, request: JobRequest) -> None:
        """Raise `Rejection` if the model cannot be trained, or nobody here may train."""
        surface, rules = request.surface, self._tools.rules()
        if not rules.eligible:
            message = "Your organization is not eligible to create fine-tuning jobs."
            raise refused(surface, message, code="permission_denied", status=403)
        methods = self._tools.models.methods(request.model)
        is_over = self._tools.clock.now() >= self._tools.models.trains_until(rules)
        if request.method in methods and not is_over:
            return
        if surface is not Surface.OPENAI:
            raise refused(surface, NOT_TRAINABLE)
        message = f"Model {request.model} is not available for fine-tuning or does not exist."
        if methods and not is_over:
            message = f"The method {request.method} is not supported for model {request.model}."
        raise refused(surface, message, param="model", code="model_not_available")

    def _check_files(self, request: JobRequest) -> None:
        """Raise `Rejection` if a file is not there, or not ready on Azure."""
        surface = request.surface
        for param in ("training_file", "validation_file"):
            identifier = getattr(request, param)
            if identifier is None:
                continue
            file = self._tools.files.get(identifier)
            if file is None:
                raise refused(surface, f"invalid {param}: {identifier}", param=param)
            if file.purpose != "fine-tune":
                message = f"Invalid purpose of the file: '{file.purpose}'. Expected 'fine-tune'."
                raise refused(surface, message, param=param)
            if surface is not Surface.OPENAI and self._tools.files.state(file) != "processed":
                message = "The specified file reference must point to a completed file import."
                raise refused(surface, message, param=param)

    def _check_limits(self, request: JobRequest) -> None:
        """Raise `Rejection` if there are too many jobs."""
        surface, rules, now = request.surface, self._tools.rules(), self._tools.clock.now()
        self.step()
        jobs = [*self._deleted, *self._by_id.values()]
        today = sum(job.created_at > now - DAY for job in jobs)
        if rules.daily_jobs is not None and today >= rules.daily_jobs:
            message = (
                "This fine-tune request has been rate-limited. Your organization has reached the maximum of"
                f" {rules.daily_jobs} requests per day for the model '{request.model}'."
            )
            raise refused(surface, message, code="daily_rate_limit_exceeded", status=429)
        active = [job.status for job in self._by_id.values() if job.is_active]
        running = sum(status in {"running", "pausing"} for status in active)
        if len(active) < rules.running_jobs + rules.queued_jobs and len(self._by_id) < rules.max_jobs:
            return
        message = (
            f"This fine-tune request has been rate-limited. Your organization has reached the maximum of"
            f" {len(active)} active requests ({running} running, {len(active) - running} pending) for the"
            f" model '{request.model}'."
        )
        code = "rate_limit_exceeded" if surface is Surface.OPENAI else "quotaExceeded"
        raise refused(surface, message, code=code, status=429)

    def _write_results(self, job: TuningJob) -> None:
        """Write the result file of a job, or as much as there is so far."""
        rules, surface = self._tools.rules(), job.request.surface
        assert job.plan is not None
        if job.result_file is not None and self._tools.files.get(job.result_file) is None:
            return
        columns = rules.columns or ("azure" if job.is_azure else "full")
        content = result_csv(
            job.plan.curve, job.steps, columns=columns, missing="-1" if columns == "azure" else ""
        )
        if (rules.encoding or ("plain" if job.is_azure else "base64")) == "base64":
            content = base64.b64encode(content)
        job.result_file = job.result_file or f"file-{os.urandom(16).hex()}"
        path = self._tools.files.folder / f"results-{job.result_file}.csv"
        path.write_bytes(content)
        name = "results.csv" if job.is_azure else "step_metrics.csv"
        self._tools.files.add(
            UploadForm(path, name, "fine-tune-results"), surface, identifier=job.result_file
        )

    def _make_models(self, job: TuningJob, at: float) -> None:
        """Let the model and the checkpoints of a job be used."""
        continued = self._tools.models.tuned(job.request.model)
        base = continued.base if continued else job.request.model
        kept = self._tools.training.kept(job.id)
        for checkpoint in job.checkpoints:
            for name in (checkpoint.model, checkpoint.id) if job.is_azure else (checkpoint.model,):
                self._tools.models.add(
                    TunedModel(name, base, job.id, checkpoint.at, kept, is_checkpoint=True)
                )
        if job.model is not None:
            self._tools.models.add(TunedModel(job.model, base, job.id, at, kept))


def _choose(request: JobRequest, examples: int, epochs: int | None) -> dict[str, Any]:
    """Return the hyperparameters with what `auto` means: OpenAI's cookbook has the rule of epochs."""
    usual = 3
    if examples * usual < 100:
        usual = min(25, max(1, 100 // examples))
    elif examples * usual > 25_000:
        usual = max(1, 25_000 // examples)
    auto = {
        "n_epochs": epochs or usual,
        "batch_size": max(1, min(256, round(examples * 0.002))),
        "learning_rate_multiplier": _RATE,
        "beta": 0.1,
    }
    given = request.hyperparameters
    return {name: auto.get(name, 1) if value == "auto" else value for name, value in given.items()}
