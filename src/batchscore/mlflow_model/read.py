"""Which settings does an MLflow model contain?

It reads the two small files of a model's folder, `MLmodel` and the file of the `openai` flavour. It neither
imports MLflow nor runs code of the model. Our models and those of `mlflow.openai` (2.x and 3.x) become the
same settings.

Facts about the format (mlflow/openai/model.py of 2.5 to 3.17):

- The flavour's file is one flat mapping: `model`, `task`, a template (`messages` or `prompt`, filled like
  `str.format`), and parameters of the API. Samples of 2023 use `engine` or `deployment_id` for Azure's
  deployment.
- A chat template without any field gets one more message, the user's `{content}`.
- The only field of a template takes the column with its name, otherwise the first text column. If several
  columns hold text, we require a choice instead.
- Defaults of the signature's params are sent with every request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from batchscore.errors import SettingsError, UsageError
from batchscore.mlflow_model.folder import ANSWERS, EARLIER_NAMES, FLAVOR, MLMODEL, NOT_SENT, STORED
from batchscore.prompts.messages import columns_of
from batchscore.settings.secrets import is_secret_name
from batchscore.task import TASKS, Task


@dataclass(frozen=True, slots=True)
class SavedModel:
    """An MLflow model as settings; `where` is its address or path, as the user gave it.

    For a model that we saved, `config` holds the options of `predict` and all values that can be overridden
    when it is loaded. For a model of MLflow's own flavour it is empty.
    """

    where: str
    settings: Mapping[str, Any]
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def task(self) -> str:
        """The name of the model's task: one of `TASKS`."""
        return str(self.settings["task"])


def folders_below(path: Path) -> list[Path]:
    """Return the sub-folders that hold an MLflow model."""
    try:
        return sorted(one.parent for one in path.glob(f"*/{MLMODEL}"))
    except OSError:
        return []


def folder_of(path: Path) -> Path | None:
    """Return the folder of the MLflow model: this one, or its only sub-folder that holds a model."""
    try:
        if (path / MLMODEL).is_file():
            return path
    except OSError:
        return None
    below = folders_below(path)
    return below[0] if len(below) == 1 else None


def read_saved(
    folder: Path, *, where: str | None = None, config: Mapping[str, Any] | None = None
) -> SavedModel:
    """Read a model's folder, with `config` over its saved values; raises `SettingsError` if that fails."""
    where = where or str(folder)
    mlmodel = read_yaml(folder / MLMODEL, where)
    flavors = mlmodel.get("flavors")
    if not isinstance(flavors, dict) or not isinstance(flavors.get(FLAVOR), dict):
        has = ", ".join(sorted(map(str, flavors))) if isinstance(flavors, dict) and flavors else "none"
        raise SettingsError(
            f"{where} is an MLflow model without the {FLAVOR} flavour (it has: {has}), so it has no "
            "task and no prompt. Save a model with batchscore model save, and register that."
        )
    data = read_yaml(folder / str(flavors[FLAVOR].get("data") or "model.yaml"), where)
    by_mlflow_name = {task.mlflow_name: name for name, task in TASKS.items()}
    task = by_mlflow_name.get(str(data.get("task")))
    if task is None:
        raise SettingsError(
            f"{where} was saved for the task {data.get('task')!r}; batchscore supports "
            f"{', '.join(by_mlflow_name)}."
        )
    deployment = next((data[name] for name in ("engine", "deployment_id") if data.get(name)), None)
    model = data.get("model") or deployment
    if not isinstance(model, str):
        raise SettingsError(f"{where} does not name a model; save it again with batchscore model save.")
    settings: dict[str, Any] = {"task": task, "model": model}
    if deployment is not None:
        settings["deployment"] = str(deployment)
    # MLflow sends the defaults of the signature's params with every request.
    specs = [spec for spec in in_signature(mlmodel, "params") if isinstance(spec, dict)]
    params = {str(spec.get("name")): spec.get("default") for spec in specs} | data
    check_parameters(params, where)
    settings |= parameters(params, TASKS[task])
    function = flavors.get("python_function")
    # Earlier versions of batchscore have other loader modules.
    if not isinstance(function, dict) or not str(function.get("loader_module")).startswith("batchscore."):
        return SavedModel(where, settings | foreign_template(task, data, mlmodel, where))
    stored = {**(function.get("config") or {}), **(config or {})}
    stored = {EARLIER_NAMES.get(name, name): value for name, value in stored.items()}
    return SavedModel(where, settings | own_settings(stored), stored)


def read_yaml(path: Path, where: str) -> dict[str, Any]:
    """Return a YAML file's mapping; raises `SettingsError`."""
    try:
        found = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"{where}: its file {path.name} cannot be read: {error.strerror}.") from None
    except yaml.YAMLError:
        raise SettingsError(f"{where}: its file {path.name} is not YAML.") from None
    if not isinstance(found, dict):
        raise SettingsError(f"{where}: its file {path.name} is not a mapping.")
    return found


def own_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in the configuration of our own models."""
    settings = {name: config[name] for name in STORED if config.get(name) is not None}
    if isinstance(settings.get("messages"), (list, tuple)):
        settings["messages"] = json.dumps(settings["messages"], ensure_ascii=False)
    if isinstance(settings.get("image"), list):
        settings["image"] = tuple(settings["image"])
    return settings


def parameters(data: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """Return the API parameters in a flat mapping as settings; null values are not sent."""
    given = {name: value for name, value in data.items() if value is not None and name not in ANSWERS}
    params = {name: value for name, value in given.items() if is_sent(name)}
    settings: dict[str, Any] = {}
    limits = ("max_tokens", *task.answer_limits[:1])
    names = {"dimensions": "dimensions", **dict.fromkeys(limits, "max_tokens")}
    for name, setting in names.items():
        if isinstance(params.get(name), int):
            settings[setting] = params.pop(name)
    return {**settings, "param": params}


def is_sent(name: str) -> bool:
    """Whether the entry of a model with this name is a parameter for the service."""
    return name not in NOT_SENT and not is_secret_name(name)


def check_parameters(data: Mapping[Any, Any], where: str) -> None:
    """Raise `SettingsError` for a parameter that no request can hold: YAML has more types than JSON."""
    for name, value in data.items():
        possible = isinstance(name, str)
        if possible and is_sent(name):
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError):
                possible = False
        if not possible:
            raise SettingsError(
                f"{where}: its parameter {name} cannot be sent ({type(value).__name__}). "
                "Write it as a text or a number, in quotes if it looks like a date."
            )


def in_signature(mlmodel: Mapping[str, Any], part: str) -> list[Any]:
    """Return a part of the signature, which is JSON text in `MLmodel`."""
    signature = mlmodel.get("signature")
    text = signature.get(part) if isinstance(signature, dict) else None
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        found = None
    return found if isinstance(found, list) else []


def foreign_template(
    task: str, data: Mapping[str, Any], mlmodel: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Return the template of a model of MLflow's own flavour as settings."""
    if TASKS[task].takes_messages:
        return foreign_messages(data.get("messages"), where)
    prompt = data.get("prompt") if TASKS[task].answer == "text" else None
    if prompt is not None and not isinstance(prompt, str):
        raise SettingsError(f"{where}: its prompt is not a text, so it cannot be a template.")
    if prompt in {None, "{prompt}"}:
        # If the signature has one named column, that column holds the text.
        named = [column.get("name") for column in in_signature(mlmodel, "inputs") if isinstance(column, dict)]
        usable = len(named) == 1 and isinstance(named[0], str) and not set(named[0]) & set("{}")
        return {"prompt": f"{{{named[0]}}}", "text_field": named[0]} if usable else {}
    return {"prompt": prompt, **only_field(prompt, where)}


def foreign_messages(messages: Any, where: str) -> dict[str, Any]:
    """Return chat messages as settings, with the user's `{content}` added if they have no field."""
    if messages is None:
        messages = []
    if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
        raise SettingsError(f"{where}: its messages are not a list of messages with role and content.")
    if not fields_of(messages, where):
        messages = [*messages, {"role": "user", "content": "{content}"}]
    return {"messages": json.dumps(messages, ensure_ascii=False), **only_field(messages, where)}


def only_field(template: Any, where: str) -> dict[str, str]:
    """Return the `text_field` of a template with only one field."""
    names = fields_of(template, where)
    return {"text_field": names[0]} if len(names) == 1 else {}


def fields_of(template: Any, where: str) -> tuple[str, ...]:
    """Return the fields of a template; raises `SettingsError` if it is invalid."""
    try:
        return columns_of(template, where=f"{where}: its template")
    except UsageError as error:
        raise SettingsError(f"{error.text} Correct the template and save the model again.") from None
