"""Which models can be trained and used, until when, and which were made by jobs?

It must not know HTTP. The names are examples: a client reads the dates, it never knows them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from batchscore.simulator.error_replies import Surface
from batchscore.simulator.finetune.rules import FineTuneRules

_DAY = 86_400
_ALL = ("supervised", "dpo")
#: The base models, and the methods by which each can be trained.
BASE_MODELS: Mapping[str, tuple[str, ...]] = {
    "gpt-4.1-2025-04-14": _ALL,
    "gpt-4.1-mini-2025-04-14": _ALL,
    "gpt-4.1-nano-2025-04-14": _ALL,
    "gpt-4o-2024-08-06": _ALL,
    "gpt-4o-mini-2024-07-18": ("supervised",),
    "o4-mini-2025-04-16": ("reinforcement",),
    "babbage-002": ("supervised",),
    "gpt-4o-audio-preview": (),
    "text-embedding-3-small": (),
}


@dataclass
class TunedModel:
    """A model that a job has made, or one of its checkpoints. `learned_from` is its training file."""

    name: str
    base: str
    job: str
    created_at: float
    #: The file that it learned from: a link of its own.
    learned_from: Path
    is_checkpoint: bool = False


def base_model(name: str) -> str | None:
    """Return the dated name of a base model: `gpt-4o-mini` is an alias."""
    if name in BASE_MODELS:
        return name
    dated = [each for each in BASE_MODELS if each.rpartition("-20")[0] == name]
    return dated[0] if dated else None


class Models:
    """The models that a project can name."""

    def __init__(self, born: float) -> None:
        self._born = born
        self._tuned: dict[str, TunedModel] = {}

    def add(self, model: TunedModel) -> None:
        """Take the model of a job."""
        self._tuned[model.name] = model

    def remove(self, model: TunedModel) -> None:
        """Forget a model, with its checkpoints, or one of these alone."""
        for each in [model] if model.is_checkpoint else self.of_job(model.job):
            self._tuned.pop(each.name, None)

    def of_job(self, job: str) -> list[TunedModel]:
        """Return the models of a job."""
        return [one for one in self._tuned.values() if one.job == job]

    def tuned(self, name: str) -> TunedModel | None:
        """Return a model that was made here, by its name or, for a checkpoint, its id."""
        return self._tuned.get(name)

    def all(self) -> Iterator[TunedModel]:
        """Give all that were made here, oldest first."""
        yield from self._tuned.values()

    def methods(self, name: str) -> tuple[str, ...]:
        """Return the methods by which a model can be trained, also one that was tuned before."""
        tuned = self._tuned.get(name)
        found = base_model(tuned.base if tuned else name)
        return BASE_MODELS[found] if found else ()

    def trains_until(self, rules: FineTuneRules) -> float:
        """Return when training ends."""
        return self._born + rules.training_ends

    def answers_until(self, rules: FineTuneRules) -> float:
        """Return when the models are gone."""
        return self._born + rules.inference_ends

    def base_object(self, name: str, surface: Surface, rules: FineTuneRules) -> dict[str, Any]:
        """Return the object of a base model."""
        methods = BASE_MODELS.get(name, ())
        return self._object(name, surface, rules, can_train=bool(methods), created=self._born - 400 * _DAY)

    def tuned_object(self, model: TunedModel, surface: Surface, rules: FineTuneRules) -> dict[str, Any]:
        """Return the object of a tuned model."""
        found = self._object(
            model.name, surface, rules, can_train=not model.is_checkpoint, created=model.created_at
        )
        if surface is Surface.OPENAI:
            return {**found, "owned_by": "org-simulator"}
        return {**found, "model": model.base, "fine_tune": model.job}

    def _object(
        self, name: str, surface: Surface, rules: FineTuneRules, *, can_train: bool, created: float
    ) -> dict[str, Any]:
        ends = self.answers_until(rules)
        found: dict[str, Any] = {"id": name, "object": "model", "created": int(created), "owned_by": "system"}
        if surface is Surface.OPENAI:
            day = datetime.fromtimestamp(ends, tz=timezone.utc).date().isoformat()
            return {**found, "shutdown_date": day}
        chat = not name.startswith(("text-embedding", "babbage"))
        return {
            **found,
            "status": "succeeded",
            "created_at": int(created),
            "updated_at": int(created),
            "capabilities": {
                "fine_tune": can_train,
                "inference": True,
                "completion": name.startswith("babbage"),
                "chat_completion": chat,
                "embeddings": name.startswith("text-embedding"),
            },
            "lifecycle_status": "generally-available",
            "deprecation": {
                **({"fine_tune": int(self.trains_until(rules))} if can_train else {}),
                "inference": int(ends),
            },
        }
