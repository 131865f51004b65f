"""What does a request for a fine-tuning job ask for, or what is wrong with it?

It must not know files nor other jobs. Words: reports of users and the services' references, seen 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from batchscore.simulator.batch.errors import metadata_problem, missing_parameter, refused
from batchscore.simulator.error_replies import Rejection, Surface, unknown_parameter
from batchscore.simulator.finetune.job import JobRequest
from batchscore.simulator.finetune.rules import FineTuneRules

#: What Azure says to a base model that cannot be trained, and to a request without `trainingType`.
NOT_TRAINABLE = "The specified base model does not support fine-tuning."
METHODS = ("supervised", "dpo", "reinforcement")
_BASIC = ("n_epochs", "batch_size", "learning_rate_multiplier")
#: The hyperparameters of each method, and their bounds; a text in place of a number must be "auto".
_NAMES: Mapping[str, tuple[str, ...]] = {
    "supervised": _BASIC,
    "dpo": (*_BASIC, "beta", "l2_multiplier"),
    "reinforcement": (*_BASIC, "reasoning_effort", "compute_multiplier", "eval_interval", "eval_samples"),
}
_BOUNDS: Mapping[str, tuple[float, float]] = {
    "n_epochs": (1, 50),
    "batch_size": (1, 256),
    "learning_rate_multiplier": (1e-9, 1e9),
    "beta": (1e-9, 2),
    "l2_multiplier": (0, 1e9),
    "compute_multiplier": (0.00001, 10),
    "eval_interval": (1, 1e9),
    "eval_samples": (1, 1e9),
    "prompt_loss_weight": (0, 1),
}
_WHOLE = frozenset({"n_epochs", "batch_size", "eval_interval", "eval_samples"})
_EFFORTS = ("default", "low", "medium", "high")
#: Hyperparameters that are shown if nothing is given.
_SHOWN = frozenset({*_BASIC, "beta"})
_FIELDS = frozenset(
    {
        *("model", "training_file", "validation_file", "method", "hyperparameters", "suffix", "seed"),
        *("metadata", "integrations", "trainingType", "prompt_loss_weight"),
    }
)
_AZURE_SUFFIX = re.compile(r"[A-Za-z0-9_-]{1,40}")
_MOST_SEED = 2_147_483_647


def parse_job(body: Mapping[str, Any], surface: Surface, rules: FineTuneRules, seed: int) -> JobRequest:
    """Return what a job is created with; raises `Rejection`. `seed` is that which the service chooses."""
    _check_fields(body, surface)
    kind, hyperparameters = _parse_method(body, surface)
    training_type = body.get("trainingType")
    if surface is not Surface.OPENAI:
        if training_type is None:
            raise refused(surface, NOT_TRAINABLE)
        if not isinstance(training_type, str) or training_type.lower() not in rules.training_types:
            raise refused(surface, f"{training_type} TrainingType not supported.")
    return JobRequest(
        model=body["model"],
        training_file=body["training_file"],
        validation_file=body.get("validation_file"),
        method=kind,
        hyperparameters=hyperparameters,
        suffix=body.get("suffix"),
        seed=seed if body.get("seed") is None else body["seed"],
        metadata=body.get("metadata"),
        training_type=training_type,
        integrations=body.get("integrations") or [],
        surface=surface,
    )


def _wrong(surface: Surface, message: str, *, param: str, code: str | None = None) -> Rejection:
    """Return the rejection of a wrong field. Azure has one code for all of them."""
    return refused(surface, message, param=param, code=code if surface is Surface.OPENAI else None)


def _check_fields(body: Mapping[str, Any], surface: Surface) -> None:
    """Raise `Rejection` for fields that are missing, unknown or of a wrong form."""
    for name in ("model", "training_file"):
        if body.get(name) is None:
            raise missing_parameter(surface, name)
    for name in ("model", "training_file", "validation_file", "suffix"):
        if body.get(name) is not None and not isinstance(body[name], str):
            message = f"Invalid type for '{name}': expected a string."
            raise _wrong(surface, message, param=name, code="invalid_type")
    if not isinstance(body.get("integrations") or [], list):
        raise _wrong(surface, "Invalid type for 'integrations': expected an array.", param="integrations")
    unknown = sorted(body.keys() - _FIELDS)
    if surface is Surface.OPENAI:
        unknown += [name for name in ("trainingType",) if name in body]
    if unknown:
        raise Rejection(unknown_parameter(surface, "responses", unknown[0]))
    suffix = body.get("suffix")
    if suffix is not None:
        fits = 1 <= len(suffix) <= 64 if surface is Surface.OPENAI else _AZURE_SUFFIX.fullmatch(suffix)
        if not fits:
            raise _wrong(surface, "Invalid 'suffix'.", param="suffix", code="invalid_value")
    seed = body.get("seed")
    if seed is not None and (type(seed) is not int or not 0 <= seed <= _MOST_SEED):
        message = f"Invalid 'seed': must be an integer between 0 and {_MOST_SEED}."
        raise _wrong(surface, message, param="seed", code="invalid_value")
    if problem := metadata_problem(body.get("metadata")):
        raise _wrong(surface, problem, param="metadata", code="invalid_type")


def _parse_method(body: Mapping[str, Any], surface: Surface) -> tuple[str, dict[str, Any]]:
    """Return the method and its hyperparameters, from `method` or the older form; raises `Rejection`."""
    given, older = body.get("method"), body.get("hyperparameters")
    if given is None:
        return _hyperparameters("supervised", older, "hyperparameters", surface)
    kind = given.get("type") if isinstance(given, dict) else None
    if kind not in METHODS:
        shown = ", ".join(f"'{one}'" for one in METHODS)
        message = f"Invalid value: '{kind}'. Supported values are: {shown}."
        raise _wrong(surface, message, param="method.type", code="invalid_value")
    inner = given.get(kind) or {}
    if not isinstance(inner, dict):
        raise _wrong(surface, f"Invalid type for 'method.{kind}'.", param=f"method.{kind}")
    if kind == "reinforcement":
        if not isinstance(inner.get("grader"), dict):
            raise missing_parameter(surface, "method.reinforcement.grader")
        if body.get("validation_file") is None:
            raise missing_parameter(surface, "validation_file")
    numbers = inner.get("hyperparameters") or older
    return _hyperparameters(kind, numbers, f"method.{kind}.hyperparameters", surface)


def _hyperparameters(kind: str, given: Any, place: str, surface: Surface) -> tuple[str, dict[str, Any]]:
    if given is not None and not isinstance(given, dict):
        raise _wrong(surface, f"Invalid type for '{place}': expected an object.", param=place)
    known = _NAMES[kind]
    found: dict[str, Any] = {name: "auto" for name in known if name in _SHOWN}
    for name, value in (given or {}).items():
        at = f"{place}.{name}"
        if name not in known and not (name == "prompt_loss_weight" and surface is not Surface.OPENAI):
            raise _wrong(surface, f"Unknown parameter: '{at}'.", param=at, code="unknown_parameter")
        if value is None or value == "auto" or (value == -1 and surface is not Surface.OPENAI):
            continue
        if name == "reasoning_effort":
            fits = value in _EFFORTS
        else:
            low, high = _BOUNDS[name]
            numeric = type(value) is int or (type(value) is float and name not in _WHOLE)
            fits = numeric and low <= value <= high
        if not fits:
            message = f"Invalid '{at}': {value!r} is not allowed."
            raise _wrong(surface, message, param=at, code="invalid_value")
        found[name] = value
    return kind, found
