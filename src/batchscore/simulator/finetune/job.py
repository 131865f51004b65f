"""In which state is a fine-tuning job, and what has it done so far? Nothing happens until somebody looks.

It must not know HTTP nor other jobs: those give it a place to run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from batchscore.simulator.error_replies import Surface
from batchscore.simulator.finetune.curve import Curve
from batchscore.simulator.finetune.rules import FineTuneRules

TERMINAL = frozenset({"succeeded", "failed", "cancelled"})
#: The most metrics events of a job; a longer one reports every Nth step.
_MOST_METRICS = 200
#: After this share of its training a job is preempted.
_PREEMPTED_AT = 0.5
#: How many checkpoints are kept.
_KEPT_CHECKPOINTS = 3


@dataclass(frozen=True)
class JobRequest:
    """What a job was created with. `hyperparameters` have "auto" where nothing is given."""

    model: str
    training_file: str
    validation_file: str | None
    method: str
    hyperparameters: Mapping[str, Any]
    suffix: str | None
    seed: int
    metadata: Mapping[str, str] | None
    training_type: str | None
    integrations: list[Any]
    surface: Surface


@dataclass(frozen=True)
class TrainingPlan:
    """What will be done: the numbers chosen for `auto`, and the curve. `tokens` are those of one epoch."""

    chosen: Mapping[str, Any]
    tokens: int
    curve: Curve


@dataclass(frozen=True)
class TuningEvent:
    """Something that a job reports. `data` are the metrics of a step."""

    id: str
    at: float
    message: str
    level: str = "info"
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A model as it was after a step."""

    id: str
    at: float
    model: str
    step: int


class TuningJob:
    """One job. It has a `plan` when its files are read and right."""

    def __init__(self, request: JobRequest, rules: FineTuneRules, now: float) -> None:
        self.id = f"ftjob-{os.urandom(16).hex()}"
        self.request = request
        self.plan: TrainingPlan | None = None
        self.status = "validating"
        self.error: Mapping[str, Any] | None = None
        self.created_at = now
        self.finished_at: float | None = None
        self.model: str | None = None
        self.result_file: str | None = None
        self.events: list[TuningEvent] = []
        self.checkpoints: list[Checkpoint] = []
        self.steps = 0
        self.billed_tokens = 0
        self.shown_odd = False
        self.fails, self._fails_at = rules.fails, rules.fails_at
        self._can_be_preempted = (request.training_type or "").lower().startswith("developer")
        self._preempted = False
        self._since = now
        self._trained = 0.0
        name = os.urandom(16).hex()
        self._name = name if self.is_azure else name[:8]
        self._say(now, f"Created fine-tuning job: {self.id}")
        self._say(now, f"Validating training file: {request.training_file}")

    @property
    def is_azure(self) -> bool:
        """Whether it was created on Azure."""
        return self.request.surface is not Surface.OPENAI

    @property
    def is_active(self) -> bool:
        """Whether it can still change."""
        return self.status not in TERMINAL

    @property
    def tokens(self) -> int:
        """All tokens of its training so far."""
        if self.plan is None:
            return 0
        curve = self.plan.curve
        return self.plan.tokens * curve.epochs * self.steps // curve.steps

    def due(self, rules: FineTuneRules, free_since: float | None) -> float | None:
        """Return when it changes by itself; None: never. Since `free_since` there is a place to run."""
        if self.status == "queued":
            if free_since is None or rules.queued is None:
                return None
            return max(self._since + rules.queued, free_since)
        if self.status == "running":
            if rules.running is None:
                return None
            return self._since + max(0.0, rules.running * self._share(rules) - self._trained)
        wait = {"validating": rules.validating, "pausing": rules.pausing}.get(self.status)
        if self.status == "paused" and self._preempted:
            wait = rules.preempts
        return None if wait is None else self._since + wait

    def move(self, rules: FineTuneRules, at: float) -> None:
        """Let it go into its next state, from any but validation."""
        if self.status == "queued":
            self._enter("running", at)
            self._say(at, "Fine-tuning job started" if not self.is_azure else "Training started.")
        elif self.status == "pausing":
            self._enter("paused", at)
            self._say(at, "The job is paused.")
        elif self.status == "paused":
            self.resume(at)
        elif self._is_preempted(rules):
            self._do_steps(rules, at, self._share(rules))
            self._trained += at - self._since
            self._preempted, self._can_be_preempted = True, False
            self._enter("paused", at)
            self._say(at, "The job was preempted and will be resumed.", level="warn")
        else:
            self._do_steps(rules, at, self._share(rules))
            self._trained_to_end(at)

    def _share(self, rules: FineTuneRules) -> float:
        """Return the share of the training after which it stops running."""
        share = self._fails_at if self.fails in {"server_error", "exceeded_quota"} else 1.0
        return min(share, _PREEMPTED_AT) if self._is_preempted(rules) else share

    def train(self, rules: FineTuneRules, now: float) -> None:
        """Do the steps until now, if it runs."""
        if self.status != "running":
            return
        # A job that is stuck is so after a few steps.
        share = 0.3 if rules.running is None else 1.0
        if rules.running:
            share = min(1.0, (self._trained + now - self._since) / rules.running)
        self._do_steps(rules, now, share)

    def _do_steps(self, rules: FineTuneRules, now: float, share: float) -> None:
        """Do the steps of this share of the training that are not done yet."""
        if self.plan is None:
            return
        curve, length = self.plan.curve, rules.running or 0.0
        stride = max(1, -(-curve.steps // _MOST_METRICS))
        last = int(share * curve.steps + 1e-9)
        for step in range(self.steps + 1, last + 1):
            at = min(now, max(self._since, self._since - self._trained + length * step / curve.steps))
            self.steps = step
            if step % stride == 0 or curve.is_epoch_end(step):
                self._report(step, at)
            if curve.is_epoch_end(step):
                self._keep_checkpoint(step, at)

    def pause(self, now: float) -> str | None:
        """Pause it, or return why not."""
        if self.status != "running" or self.steps == 0:
            return "Cannot pause a job that has not completed a training step."
        self._trained += now - self._since
        if not self.checkpoints or self.checkpoints[-1].step != self.steps:
            self._keep_checkpoint(self.steps, now)
        self._enter("pausing", now)
        self._say(now, "The job is pausing.")
        return None

    def resume(self, now: float) -> str | None:
        """Resume it, or return why not."""
        if self.status != "paused":
            return f"Cannot resume a job with status '{self.status}'."
        self._preempted = False
        self._enter("queued", now)
        self._say(now, "The job is resumed.")
        return None

    def cancel(self, now: float) -> str | None:
        """Cancel it, or return why not."""
        if not self.is_active:
            return f"Job has already completed: {self.id}"
        self.billed_tokens = self.tokens
        self._end("cancelled", now, "The job was cancelled.")
        return None

    def end_validation(self, at: float, read: TrainingPlan | Mapping[str, Any]) -> None:
        """Queue it with a plan, or let it fail with an error."""
        if not isinstance(read, TrainingPlan):
            self._fail(at, read)
            return
        self.plan = read
        self._enter("queued", at)
        message = "Files validated, moving job to queued state"
        self._say(at, "Job enqueued. Waiting for jobs ahead to complete." if self.is_azure else message)

    def _is_preempted(self, rules: FineTuneRules) -> bool:
        """Whether it does not run to its end at once."""
        return self._can_be_preempted and rules.preempts != 0

    def _trained_to_end(self, at: float) -> None:
        if self.fails:
            self._fail(at, failure(self.fails, on_azure=self.is_azure))
            return
        assert self.plan is not None
        self.model = self.model_name()
        self.billed_tokens = self.plan.tokens * self.plan.curve.epochs
        self._say(at, f"New fine-tuned model created: {self.model}")
        message = "Job succeeded." if self.is_azure else "The job has successfully completed"
        self._end("succeeded", at, message)

    def model_name(self, step: int | None = None) -> str:
        """Return the name of its model, or of the checkpoint after a step."""
        base, suffix = self.request.model, self.request.suffix
        end = "" if step is None else f":ckpt-step-{step}"
        if self.is_azure:
            # A model that was tuned before keeps the name of its base.
            return f"{base.partition('.ft-')[0]}.ft-{self._name}{f'-{suffix}' if suffix else ''}{end}"
        base = base.split(":")[1] if base.startswith("ft:") else base
        return f"ft:{base}:simulator:{suffix or ''}:{self._name}{end}"

    def _keep_checkpoint(self, step: int, at: float) -> None:
        assert self.plan is not None
        identifier = f"{'ftchkpt-' if self.is_azure else 'ftckpt_'}{os.urandom(12).hex()}"
        is_last = step == self.plan.curve.steps
        name = self.model_name(None if is_last and not self.is_azure else step)
        self.checkpoints = [*self.checkpoints, Checkpoint(identifier, at, name, step)][-_KEPT_CHECKPOINTS:]
        self._say(at, f"Checkpoint created at step {step}")

    def _report(self, step: int, at: float) -> None:
        assert self.plan is not None
        curve = self.plan.curve
        metrics = curve.metrics(step)
        words = {"train_loss": "training loss", "valid_loss": "validation loss"}
        words["full_valid_loss"] = "full validation loss"
        shown = ", ".join(f"{words[key]}={metrics[key]:.2f}" for key in words if key in metrics)
        data = {**metrics, "total_steps": curve.steps}
        self._say(at, f"Step {step}/{curve.steps}: {shown}", data=data)

    def _fail(self, at: float, error: Mapping[str, Any]) -> None:
        self.error = error
        self._end("failed", at, f"The job failed due to: {error['message']}", level="error")

    def _end(self, status: str, at: float, message: str, level: str = "info") -> None:
        self.finished_at = at
        self._enter(status, at)
        self._say(at, message, level=level)

    def _enter(self, status: str, at: float) -> None:
        self.status = status
        self._since = at

    def _say(
        self, at: float, message: str, *, level: str = "info", data: Mapping[str, Any] | None = None
    ) -> None:
        self.events.append(TuningEvent(f"ftevent-{os.urandom(12).hex()}", at, message, level, data or {}))


def _failing(azure: tuple[str, str], openai: tuple[str, str], param: str | None = None) -> Any:
    return [{"code": code, "message": message, "param": param} for code, message in (azure, openai)]


#: The errors of jobs that fail by the rules: on Azure, and on OpenAI.
_FAILURES: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "server_error": _failing(
        ("internalFailure", "The job failed due to an internal error."),
        ("server_error", "The job failed due to an internal error."),
    ),
    "exceeded_quota": _failing(
        ("quotaExceeded", "The quota of the resource is exceeded."),
        ("exceeded_quota", "Creating this fine-tuned model would exceed your current quota."),
    ),
    "safety_before": _failing(
        (
            "contentFilter",
            (
                "The provided training data failed RAI checks for harm types: [hate_fairness, violence]."
                " Please fix the data and try again."
            ),
        ),
        (
            "invalid_training_file",
            (
                "The job failed due to an unsafe training file. This training file was blocked because too"
                " many examples were flagged by our moderation API."
            ),
        ),
        "training_file",
    ),
    "safety_after": _failing(
        (
            "contentFilter",
            (
                "The model is unable to be deployed: evaluation identified harmful content of a level above"
                " the acceptable threshold."
            ),
        ),
        ("unsafe_model", "The model was blocked by our safety evaluations."),
    ),
}


def failure(kind: str, *, on_azure: bool) -> Mapping[str, Any]:
    """Return the error of a job that fails by the rules."""
    azure, openai = _FAILURES[kind]
    return azure if on_azure else openai
