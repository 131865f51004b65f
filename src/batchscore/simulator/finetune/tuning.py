"""What does a project have of fine-tuning? It joins the parts that follow its rules and its clock.

It must not know HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from batchscore.simulator.batch.clock import ProjectClock
from batchscore.simulator.batch.errors import refused
from batchscore.simulator.batch.files import FileStore
from batchscore.simulator.batch.rules import changed_rules
from batchscore.simulator.error_replies import Surface
from batchscore.simulator.finetune.deployments import AccountDeployment, Deployments
from batchscore.simulator.finetune.job import TuningJob
from batchscore.simulator.finetune.jobs import TuningJobs, TuningTools
from batchscore.simulator.finetune.learned import learned_answers
from batchscore.simulator.finetune.models import Models, TunedModel
from batchscore.simulator.finetune.rules import FineTuneRules
from batchscore.simulator.finetune.training_file import TrainingFiles
from batchscore.simulator.finetune.uploads import Uploads
from batchscore.simulator.service import Learned


class Answering(NamedTuple):
    """Whether a name answers, what its model has learned to say, and whether it was made in this project."""

    exists: bool
    learned: Learned | None = None
    made: bool = False


class Tuning:
    """Uploads, jobs, models and deployments of one project."""

    def __init__(self, files: FileStore, clock: ProjectClock, rules: FineTuneRules) -> None:
        self.rules = rules
        self.clock = clock
        self.training = TrainingFiles(files, clock, lambda: self.rules)
        files.examiner = self.training
        self.models = Models(clock.now())
        self.uploads = Uploads(files, clock, lambda: self.rules)
        tools = TuningTools(files, self.training, self.models, clock, lambda: self.rules)
        self.jobs = TuningJobs(tools)
        self.deployments = Deployments(self.models, clock.now, lambda: self.rules)

    def change_rules(self, changes: Mapping[str, Any]) -> None:
        """Change some of its rules."""
        self.step()
        self.rules = changed_rules(self.rules, changes)

    def step(self) -> None:
        """Bring all of it to the present."""
        self.jobs.step()
        self.deployments.step()

    def delete_job(self, job: TuningJob) -> None:
        """Delete a job with its model; raises `Rejection`."""
        if job.is_active:
            raise refused(Surface.AZURE, "The job has not ended.", code="conflict", status=409)
        models = self.models.of_job(job.id)
        self._check_unused(models, Surface.AZURE)
        for each in models:
            self.models.remove(each)
        self.jobs.remove(job)

    def sees(self, model: TunedModel) -> bool:
        """Whether a model is known already, and still."""
        now = self.clock.now()
        hidden = 0.0 if ".ft-" in model.name else self.rules.model_hidden
        return model.created_at + hidden <= now < self.models.answers_until(self.rules)

    def model_objects(self, names: Iterable[str], surface: Surface) -> list[dict[str, Any]]:
        """Return the objects of base models and of all tuned ones."""
        self.step()
        found = [self.models.base_object(name, surface, self.rules) for name in names]
        tuned = [one for one in self.models.all() if self.sees(one) and not one.name.startswith("ftchkpt-")]
        return [*found, *(self.models.tuned_object(one, surface, self.rules) for one in tuned)]

    def delete_model(self, model: TunedModel, surface: Surface) -> None:
        """Delete a model with its checkpoints; raises `Rejection`."""
        self._check_unused(self.models.of_job(model.job), surface)
        self.models.remove(model)

    def _check_unused(self, models: list[TunedModel], surface: Surface) -> None:
        """Raise `Rejection` if one of the models has a deployment."""
        found = self.deployments.of_models({model.name for model in models})
        if found:
            message = f"Cannot delete a model if it has an existing deployment: '{found[0].name}'."
            raise refused(surface, message, code="conflict", status=409)

    def made(self, name: str) -> bool:
        """Whether a model or deployment of this name was made here."""
        self.step()
        return self.models.tuned(name) is not None or self.deployments.get(name) is not None

    def answering(self, name: str, surface: Surface) -> Answering:
        """Return whether a name answers here, and by which tuned model. A call of it counts as use."""
        self.step()
        deployment = None if surface is Surface.OPENAI else self.deployments.get(name)
        tuned = self.models.tuned(name)
        if deployment is not None:
            deployment.called_at = self.clock.now()
            tuned = self.models.tuned(deployment.wanted.model)
            answers = deployment.answers(self.clock.now(), self.rules)
            is_over = self.clock.now() >= self.models.answers_until(self.rules)
            return Answering(answers and not is_over, _learned(tuned), made=True)
        if surface is not Surface.OPENAI:
            # The name of a model is not that of a deployment.
            return Answering(tuned is None and not self.deployments.was_deleted(name))
        if tuned is None:
            return Answering(not name.startswith("ft:"))
        return Answering(self.sees(tuned), _learned(tuned), made=True)

    def meter(self, files: int) -> dict[str, Any]:
        """Return what was paid until now, how often what was created, and what is still there."""
        self.step()
        jobs = self.jobs.everything()
        now, training = self.clock.now(), training_bill(jobs, self.rules)
        deployments = self.deployments
        hosting = hosting_bill([*deployments.ended, *deployments.all()], now, self.rules)
        return {
            "now": now,
            "training": training,
            "hosting": hosting,
            "total": training["cost"] + hosting["cost"],
            "created": {"jobs": dict(self.jobs.created), "deployments": dict(deployments.created)},
            "changed": {"deployments": dict(deployments.changed)},
            "held": {
                "files": files,
                "uploads": self.uploads.active(),
                "jobs": sum(job.is_active for job in jobs),
                "models": len({model.job for model in self.models.all()}),
                "deployments": len(deployments.all()),
            },
        }


def _learned(model: TunedModel | None) -> Learned | None:
    return None if model is None else learned_answers(model.learned_from).write


def training_bill(jobs: Iterable[TuningJob], rules: FineTuneRules) -> dict[str, Any]:
    """Return what the jobs cost. Those that failed cost nothing, a cancelled one what was done."""
    by_job = {
        job.id: {"tokens": job.billed_tokens, "cost": job.billed_tokens / 1e6 * rules.training_price}
        for job in jobs
        if job.billed_tokens
    }
    tokens = sum(each["tokens"] for each in by_job.values())
    return {"tokens": tokens, "cost": tokens / 1e6 * rules.training_price, "jobs": by_job}


def hosting_bill(
    deployments: Sequence[AccountDeployment], now: float, rules: FineTuneRules
) -> dict[str, Any]:
    """Return what the deployments of tuned models cost, by the hours that they were there."""
    shown = []
    for one in deployments:
        paid = one.paid_seconds(now) / 3600
        until = now if one.ended_at is None else one.ended_at
        shown.append(
            {
                "name": one.name,
                "model": one.wanted.model,
                "sku": one.wanted.sku,
                "capacity": one.wanted.capacity,
                "created_at": one.created_at,
                "ended_at": one.ended_at,
                "ended_by": one.ended_by,
                "hours": (until - one.created_at) / 3600,
                "cost": paid * rules.hosting_price,
            }
        )
    return {
        "hours": sum(one.paid_seconds(now) for one in deployments) / 3600,
        "cost": sum(one["cost"] for one in shown),
        "running": [one["name"] for one in shown if one["ended_at"] is None],
        "deployments": shown,
    }
