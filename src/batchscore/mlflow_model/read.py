"""What does an MLflow model say that each row is to be asked?

It reads the two small files of a model's folder, `MLmodel` and the `openai` flavour's, and neither imports
MLflow nor runs any of the model's code. Models of ours and those that `mlflow.openai` wrote (2.x and 3.x) end
in the same settings.

Facts of the format (mlflow/openai/model.py of 2.5 to 3.17):

- The flavour's file is one flat mapping: `model`, `task`, a template (`messages` or `prompt`, filled as by
  `str.format`), and parameters of the API. Samples of 2023 say `engine` or `deployment_id` where Azure's
  deployment is meant.
- A chat template without any field gets one more message, the user's `{content}`.
- A template's only field takes the column of its name, else the first text column. Where several columns hold
  text we ask which one is meant instead.
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
from batchscore.mlflow_model.layout import ANSWERS, FLAVOR, LOADER, MLMODEL, NOT_SENT, STORED, TASKS
from batchscore.prompts.messages import columns_of
from batchscore.settings.secrets import SECRET


@dataclass(frozen=True, slots=True)
class SavedModel:
    """An MLflow model as settings: `where` is what its user calls it.

    `config` holds how `predict` answers and, of a model that we saved, everything that can be overridden when
    it is loaded; it is empty of a model that MLflow's own flavour wrote.
    """

    where: str
    settings: Mapping[str, Any]
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def task(self) -> str:
        """What the model is asked for: `embeddings`, `completions` or `chat`."""
        return str(self.settings["task"])


def folders_below(path: Path) -> list[Path]:
    """Return the sub-folders that hold an MLflow model."""
    try:
        return sorted(one.parent for one in path.glob(f"*/{MLMODEL}"))
    except OSError:
        return []


def folder_of(path: Path) -> Path | None:
    """Return where the MLflow model is, in this folder or in its only sub-folder that holds one."""
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
    """Read a model's folder; raises `SettingsError` where nothing of it can be asked.

    `config` takes the place of what the model was saved with.
    """
    where = where or str(folder)
    mlmodel = read_yaml(folder / MLMODEL, where)
    flavors = mlmodel.get("flavors")
    if not isinstance(flavors, dict) or not isinstance(flavors.get(FLAVOR), dict):
        has = ", ".join(sorted(map(str, flavors))) if isinstance(flavors, dict) and flavors else "none"
        raise SettingsError(
            f"{where} is an MLflow model without the {FLAVOR} flavour (it has: {has}), so it does not say "
            "what to ask. Save one with batchscore model save, and register that."
        )
    said = read_yaml(folder / str(flavors[FLAVOR].get("data") or "model.yaml"), where)
    task = TASKS.get(str(said.get("task")))
    if task is None:
        raise SettingsError(
            f"{where} was saved for the task {said.get('task')!r}; batchscore asks for {', '.join(TASKS)}."
        )
    deployment = next((said[name] for name in ("engine", "deployment_id") if said.get(name)), None)
    model = said.get("model") or deployment
    if not isinstance(model, str):
        raise SettingsError(f"{where} names no model; save it again with batchscore model save.")
    settings: dict[str, Any] = {"task": task, "model": model}
    if deployment is not None:
        settings["deployment"] = str(deployment)
    params = {**defaults_of_params(mlmodel), **said}
    refuse_what_cannot_be_sent(params, where)
    settings |= parameters(params)
    function = flavors.get("python_function")
    if not isinstance(function, dict) or function.get("loader_module") != LOADER:
        return SavedModel(where, settings | foreign_template(task, said, mlmodel, where))
    stored = {**(function.get("config") or {}), **(config or {})}
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
        raise SettingsError(f"{where}: its file {path.name} holds no mapping.")
    return found


def own_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in the configuration of a model that we saved."""
    settings = {name: config[name] for name in STORED if config.get(name) is not None}
    if isinstance(settings.get("messages"), (list, tuple)):
        settings["messages"] = json.dumps(settings["messages"], ensure_ascii=False)
    return settings


def parameters(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return a flat mapping's API parameters as settings; what is null is not sent."""
    params = {name: value for name, value in said.items() if is_sent(name) and value is not None}
    for name in ANSWERS:
        params.pop(name, None)
    settings: dict[str, Any] = {}
    for name in ("dimensions", "max_tokens"):
        if isinstance(params.get(name), int):
            settings[name] = params.pop(name)
    return {**settings, "param": params}


def is_sent(name: str) -> bool:
    """Whether a model's entry of that name is a parameter for the service."""
    return name not in NOT_SENT and not SECRET.search(name)


def refuse_what_cannot_be_sent(said: Mapping[Any, Any], where: str) -> None:
    """Raise `SettingsError` for a parameter that no request can hold: YAML knows more than JSON."""
    for name, value in said.items():
        possible = isinstance(name, str)
        if possible and is_sent(name):
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError):
                possible = False
        if not possible:
            raise SettingsError(
                f"{where}: its parameter {name} is nothing that a request can hold ({type(value).__name__}). "
                "Write it as a text or a number, in quotes where it looks like a date."
            )


def defaults_of_params(mlmodel: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults of the signature's params, which MLflow sends with every request."""
    specs = in_signature(mlmodel, "params")
    return {str(spec.get("name")): spec.get("default") for spec in specs if isinstance(spec, dict)}


def in_signature(mlmodel: Mapping[str, Any], part: str) -> list[Any]:
    """Return a part of the signature, which `MLmodel` holds as JSON text."""
    signature = mlmodel.get("signature")
    text = signature.get(part) if isinstance(signature, dict) else None
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        found = None
    return found if isinstance(found, list) else []


def foreign_template(
    task: str, said: Mapping[str, Any], mlmodel: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Return the template of a model that MLflow's own flavour wrote, as settings."""
    if task == "chat":
        return foreign_messages(said.get("messages"), where)
    prompt = said.get("prompt") if task == "completions" else None
    if prompt is not None and not isinstance(prompt, str):
        raise SettingsError(f"{where}: its prompt is not a text, so no row can be filled into it.")
    if prompt in {None, "{prompt}"}:
        # A signature with one named column tells which one holds the text.
        named = [column.get("name") for column in in_signature(mlmodel, "inputs") if isinstance(column, dict)]
        plain = len(named) == 1 and isinstance(named[0], str) and not set(named[0]) & set("{}")
        return {"prompt": f"{{{named[0]}}}", "text_field": named[0]} if plain else {}
    return {"prompt": prompt, **only_field(prompt, where)}


def foreign_messages(messages: Any, where: str) -> dict[str, Any]:
    """Return chat messages as settings, with the user's `{content}` where they have no field."""
    if messages is None:
        messages = []
    if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
        raise SettingsError(f"{where}: its messages are not a list of messages with role and content.")
    if not fields_of(messages, where):
        messages = [*messages, {"role": "user", "content": "{content}"}]
    return {"messages": json.dumps(messages, ensure_ascii=False), **only_field(messages, where)}


def only_field(template: Any, where: str) -> dict[str, str]:
    """Return the `text_field` of a template that has but one field."""
    names = fields_of(template, where)
    return {"text_field": names[0]} if len(names) == 1 else {}


def fields_of(template: Any, where: str) -> tuple[str, ...]:
    """Return the fields of a template; raises `SettingsError` where it cannot be read."""
    try:
        return columns_of(template, where=f"{where}: its template")
    except UsageError as error:
        raise SettingsError(f"{error} Save the model anew with the braces written so.") from None
