"""How do loss and accuracy develop over the steps of a training, and how does its result file show it?

It must not know jobs nor HTTP: everything follows from a seed and the lengths.
Columns: the vintages that the services' guides and users' files show, seen 2026-11.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import exp

#: The steps between two values of validation. There is also one at the end of each epoch.
_EVERY = 5


@dataclass(frozen=True)
class Curve:
    """The course of a training. `best_epoch`: from there on validation becomes worse; 0: it never does."""

    seed: int
    epoch_steps: int
    epochs: int
    validates: bool
    best_epoch: int = 0
    tokens: int = 0
    examples: int = 0

    @property
    def steps(self) -> int:
        """All steps."""
        return self.epoch_steps * self.epochs

    def train_loss(self, step: int) -> float:
        """Return the loss of training at a step."""
        noise = 0.12 * (self._chance("train", step) - 0.5)
        return round(max(0.0, 0.22 + 1.9 * exp(-1.6 * step / self.epoch_steps) + noise), 5)

    def valid_loss(self, step: int, *, full: bool = False) -> float:
        """Return that of validation: on a part of the file, or on all of it."""
        passed = step / self.epoch_steps
        worse = max(0.0, passed - self.best_epoch) * 0.35 if self.best_epoch else 0.0
        noise = 0.0 if full else 0.1 * (self._chance("valid", step) - 0.5)
        return round(max(0.0, 0.31 + 1.8 * exp(-1.5 * passed) + worse + noise), 5)

    def is_epoch_end(self, step: int) -> bool:
        """Whether an epoch ends with a step."""
        return step % self.epoch_steps == 0

    def metrics(self, step: int) -> dict[str, float]:
        """Return what is known at a step."""
        loss = self.train_loss(step)
        found: dict[str, float] = {
            "step": step,
            "train_loss": loss,
            "train_mean_token_accuracy": _accuracy(loss),
        }
        if self.validates and (step % _EVERY == 0 or self.is_epoch_end(step) or step == self.steps):
            loss = self.valid_loss(step)
            found |= {"valid_loss": loss, "valid_mean_token_accuracy": _accuracy(loss)}
        if self.validates and self.is_epoch_end(step):
            loss = self.valid_loss(step, full=True)
            found |= {"full_valid_loss": loss, "full_valid_mean_token_accuracy": _accuracy(loss)}
        return found

    def _chance(self, *words: object) -> float:
        seeded = "\0".join(map(str, (self.seed, *words))).encode()
        return int.from_bytes(hashlib.blake2b(seeded, digest_size=7).digest(), "big") / 2**56


def _accuracy(loss: float) -> float:
    return round(max(0.05, min(0.99, 1 - 0.32 * loss)), 5)


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_TRAIN, _VALID = "train_mean_token_accuracy", "valid_mean_token_accuracy"
_LOSSES = ("full_valid_loss", "full_valid_mean_token_accuracy")
#: The columns of each vintage, and which value of a step each has.
_VINTAGES: Mapping[str, Mapping[str, str]] = {
    "gpt3": {
        **_same("step", "elapsed_tokens", "elapsed_examples"),
        "training_loss": "train_loss",
        "training_sequence_accuracy": "train_sequences",
        "training_token_accuracy": _TRAIN,
        "validation_loss": "valid_loss",
        "validation_sequence_accuracy": "valid_sequences",
        "validation_token_accuracy": _VALID,
    },
    "chat": {**_same("step", "train_loss"), "train_accuracy": _TRAIN, **_same("valid_loss", _VALID)},
    "full": {
        **_same("step", "train_loss"),
        "train_accuracy": _TRAIN,
        **_same("valid_loss", _VALID, *_LOSSES),
    },
    "azure": _same("step", "train_loss", _TRAIN, "valid_loss", _VALID, *_LOSSES),
    "reinforcement": {
        "step": "step",
        "train_mean_reward": _TRAIN,
        "full_valid_mean_reward": "full_valid_mean_token_accuracy",
        **_same("reasoning_tokens_mean", "completion_tokens_mean", "mean_unresponsive_rewards"),
    },
}


def result_csv(curve: Curve, until: int, *, columns: str, missing: str) -> bytes:
    """Return the rows of the steps so far. `missing` is written where there is no value."""
    vintage = _VINTAGES[columns]
    lines = [",".join(vintage)]
    for step in range(1, until + 1):
        found = _values(curve, step)
        lines.append(",".join(str(found.get(name, missing)) for name in vintage.values()))
    return ("\n".join(lines) + "\n").encode()


def _values(curve: Curve, step: int) -> dict[str, float]:
    """Return all values of a step."""
    found = curve.metrics(step)
    sequences = {
        name: round(found[accuracy] ** 3, 5)
        for name, accuracy in (("train_sequences", _TRAIN), ("valid_sequences", _VALID))
        if accuracy in found
    }
    return {
        **found,
        **sequences,
        "elapsed_tokens": curve.tokens * step // curve.steps,
        "elapsed_examples": curve.examples * step // curve.steps,
        "reasoning_tokens_mean": 300 + step,
        "completion_tokens_mean": 80 + step / 2,
        "mean_unresponsive_rewards": 0.0,
    }
