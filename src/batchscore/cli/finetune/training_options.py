"""What do the options of a training mean: the service, the request of the job, the estimate?"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from batchscore.cli.finetune import data_options as finetune_spec
from batchscore.cli.finetune.data_options import Estimate
from batchscore.cli.settings_file import settings_file
from batchscore.errors import UsageError
from batchscore.finetune.examples.check_file import CheckedFile
from batchscore.finetune.prepared_folder import read_summary
from batchscore.finetune.service.calls import USUAL, CallLimits, TrainingPlace, address_of, import_url
from batchscore.finetune.service.dialects import TrainingDialect, dialect_of
from batchscore.finetune.state import (
    STATE,
    TRAINING,
    VALIDATION,
    TrainingState,
    local_folder_of,
    read_state,
    require_state,
)
from batchscore.finetune.training.begin import METHODS, digests_of, prepared_of
from batchscore.finetune.training.commands import target_of
from batchscore.finetune.training.readiness import ServiceFacts, service_facts
from batchscore.finetune.training.steps import parameters_of, request_of
from batchscore.mlflow_model.resolve import resolve_settings
from batchscore.settings.deadline import duration_of
from batchscore.settings.read_file import read_file
from batchscore.settings.secrets import HIDDEN, shown_words
from batchscore.settings.service_flags import OF_SERVICE
from batchscore.stores.address import place_of, shell_command

#: Options that are hyperparameters, by the services' names.
_PARAMETERS = {
    "epochs": "n_epochs",
    "batch_size": "batch_size",
    "learning_rate_multiplier": "learning_rate_multiplier",
    "beta": "beta",
}


def training_place(
    folder: str | None,
    chosen: Mapping[str, Any],
    config: str | None,
    limits: CallLimits = USUAL,
    *,
    begins: bool = False,
) -> tuple[TrainingPlace, Any]:
    """Return a folder with the service that its commands call, and the prices; raises a `BatchscoreError`.

    Unless the command `begins` something, it is about what was started from the folder.
    """
    place = local_folder_of(place_of(folder or "."))
    if folder is None:
        state = None
    elif begins:
        state = read_state(place) if place.is_dir() else None
    else:
        state = require_state(place)
    flags = {name: chosen.get(name) for name in (*OF_SERVICE, "prices")}
    # Which model it is changes nothing here: files and jobs are not below a deployment.
    given = {**flags, "task": "chat", "model": "any", "output": folder or "."}
    resolved = resolve_settings(given, environ=os.environ, config=settings_file(config, given))
    where = "" if state is None else where_text(state, place, resolved.settings.api_version)
    target = target_of(resolved.settings, os.environ, resolved.sources, where)
    found = TrainingPlace(folder=place, target=target, environ=os.environ, limits=limits)
    return found, resolved.settings.prices


def where_text(state: TrainingState, folder: Path, version: str | None) -> str:
    """Return which service a command without an endpoint means; nothing is sent to it."""
    words = sys.argv[1:]
    again = shell_command(shown_words(["batchscore", *words[:2], *address_of(state, version), *words[2:]]))
    key = f"put the key of its address in place of {HIDDEN}, and " if HIDDEN in state.address else ""
    return (
        f"No endpoint is set. {folder / STATE} says that its job is at {state.shown_endpoint}. batchscore "
        f"sends no key to a host that only this file names. If the host is right, {key}run: {again}"
    )


def watching(every: float | None) -> CallLimits:
    """Return the limits of a watch, which waits out an outage of an hour."""
    return replace(USUAL, look=every or USUAL.look, pace=replace(USUAL.pace, patience_seconds=3600.0))


def request_of_options(
    place: TrainingPlace, old: TrainingState | None, chosen: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return the request of a job, empty to continue with the recorded one; raises `UsageError`."""
    dialect = dialect_of(place.target)
    model = chosen["model"]
    known = old is not None and bool(old.job.request)
    given = [chosen[name] for name in (*_PARAMETERS, "suffix", "seed", "training_type", "grader")]
    if known and model is None and given == [None] * len(given) and not chosen["hyperparameters"]:
        return {}
    if model is None:
        raise UsageError("Name the base model with -m, such as -m gpt-4.1-mini-2025-04-14.")
    method = METHODS.get(read_summary(place.folder)["format"], "supervised")
    if chosen["beta"] is not None and method != "dpo":
        raise UsageError("--beta is for preferences (DPO).")
    if (chosen["grader"] is not None) is not (method == "reinforcement"):
        needs = (
            "Reinforcement needs --grader" if method == "reinforcement" else "--grader is for reinforcement"
        )
        raise UsageError(f"{needs}.")
    parameters = {key: chosen[name] for name, key in _PARAMETERS.items() if chosen[name] is not None}
    more = {
        "suffix": suffix_of(chosen["suffix"], dialect),
        "seed": chosen["seed"],
        "trainingType": training_type_of(chosen["training_type"], dialect),
        "reinforcement": None if chosen["grader"] is None else {"grader": grader_of(chosen["grader"])},
    }
    return request_of(model, method, {**parameters, **pairs_of(chosen["hyperparameters"])}, more, dialect)


def suffix_of(text: str | None, dialect: TrainingDialect) -> str | None:
    """Return a suffix that the service takes; raises `UsageError`."""
    if text is not None and (not re.fullmatch(r"[A-Za-z0-9_-]+", text) or len(text) > dialect.most_suffix):
        raise UsageError(
            f"--suffix must be 1 to {dialect.most_suffix} letters, digits, - and _ for {dialect.service}."
        )
    return text


def training_type_of(text: str | None, dialect: TrainingDialect) -> str | None:
    """Return the training type, which Azure needs and others do not know; raises `UsageError`."""
    if dialect.training_types and text is None:
        raise UsageError(
            "Azure OpenAI needs --training-type: Standard trains in the region of the resource, "
            "GlobalStandard and Developer are cheaper and may send the data to other regions."
        )
    if text is not None and not dialect.training_types:
        raise UsageError(
            "--training-type is for Azure OpenAI, and the endpoint is another service's: leave it out."
        )
    return text


def grader_of(path: str) -> Any:
    """Return the grader in a JSON file; raises `UsageError`."""
    try:
        found = orjson.loads(read_file(path))
    except OSError as error:
        raise UsageError(f"--grader {path}: {error.strerror}.") from None
    except ValueError:
        raise UsageError(f"--grader {path} is not JSON.") from None
    if not isinstance(found, dict) or "type" not in found:
        raise UsageError(f"--grader {path} must be an object with a type, such as string_check.")
    return found


def pairs_of(pairs: Sequence[str]) -> dict[str, Any]:
    """Return hyperparameters; numbers are numbers. Raises `UsageError`."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not re.fullmatch(r"[a-z_0-9]+", name):
            raise UsageError(f"--hyperparameter {pair!a} must be NAME=VALUE, such as reasoning_effort=low.")
        try:
            found[name] = orjson.loads(text)
        except ValueError:
            found[name] = text
    return found


def import_urls(place: TrainingPlace, chosen: Mapping[str, Any]) -> dict[str, str]:
    """Return the URLs that the service fetches files from, by their part; raises `UsageError`."""
    options = {TRAINING: "training_url", VALIDATION: "validation_url"}
    given = {part: chosen[name] for part, name in options.items() if chosen[name] is not None}
    dialect = dialect_of(place.target)
    if given and not dialect.has_import:
        raise UsageError(
            "--training-url and --validation-url are for Azure OpenAI with --api-version: other services "
            "fetch no files."
        )
    return {
        part: import_url("--" + options[part].replace("_", "-"), text, os.environ)
        for part, text in given.items()
    }


def wait_seconds(text: str | None) -> float | None:
    """Return the seconds of `--max-wait`; raises `UsageError`."""
    if text is None:
        return None
    found = duration_of(text.strip())
    if found is None:
        raise UsageError(f"--max-wait {text!a} must be a duration such as 45s, 90m or 2h.")
    return found.total_seconds()


def estimate_of(
    place: TrainingPlace, request: Mapping[str, Any], old: TrainingState | None, prices: Any
) -> tuple[Estimate, Mapping[str, str]]:
    """Return the estimate of a job on a folder, after its files were checked, and their digests by part."""
    summary = prepared_of(place.folder)
    used = request or (old.job.request if old is not None else {})
    options = {
        "model": str(used["model"]),
        "service": dialect_of(place.target).rules,
        "max_example_tokens": None,
        "format_name": summary["format"],
    }
    epochs = parameters_of(used).get("n_epochs")  # or auto
    number = epochs if isinstance(epochs, int) else None
    found = finetune_spec.estimate(str(place.folder), None, options, number, prices)
    return found, digests_of(summary)


def facts_of(
    data: str, found: Sequence[CheckedFile], chosen: Mapping[str, Any], config: str | None
) -> ServiceFacts:
    """Return what the service says of training a model on files; raises a `BatchscoreError`."""
    place, _ = training_place(data, chosen, config, begins=True)
    return service_facts(place, chosen["model"], tuple(each.size for each in found), time.time())
