"""Writes an MLflow model that carries what to ask, for every host that can load one.

The folder has two flavours: `openai`, in MLflow's own shape, so that whatever looks for it finds the task,
the model, its parameters and template; and `python_function`, which runs our engine. It holds no code, and no
secret: credentials come from the environment of whoever scores.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import yaml

from batchscore.errors import UsageError
from batchscore.mlflow_model.choose import choose
from batchscore.mlflow_model.folder import written_whole
from batchscore.mlflow_model.layout import ANSWERS, FLAVOR, LOADER, MLMODEL, STORED, TASKS
from batchscore.prompts.messages import columns_of
from batchscore.prompts.spec import wanted_by
from batchscore.rows import TEXT_COLUMN
from batchscore.settings.argument_names import flags_called_arguments
from batchscore.settings.fields import Settings
from batchscore.settings.secrets import secret_in
from batchscore.settings.sources import without_settings
from batchscore.version import VERSION

if TYPE_CHECKING:
    from mlflow.models import Model, ModelSignature
    from mlflow.models.model import ModelInfo

DATA = "model.yaml"

#: Parameters that `predict` takes beside those that the model stores, with MLflow's name of their type.
PARAMS: Mapping[str, Mapping[str, str]] = {
    "embeddings": {"dimensions": "long", "user": "string"},
    "completions": {"temperature": "double", "top_p": "double", "max_tokens": "long", "seed": "long"},
    "chat": {"temperature": "double", "top_p": "double", "max_tokens": "long", "seed": "long"},
}

#: Parameters that take fractions, also where a whole number is stored.
FRACTIONS = frozenset({"temperature", "top_p", "frequency_penalty", "presence_penalty"})


def save_model(
    path: str | Path,
    *,
    task: str | None = None,
    model: str | None = None,
    on_error: str = "record",
    returns: str = "rows",
    pip_requirements: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    mlflow_model: Model | None = None,
    **settings: Any,
) -> None:
    """Write an MLflow model into the folder `path`.

    `settings` are those of the command line by their long names, as far as a model stores them (`deployment`,
    `prompt`, `column`, `param`, `rpm`, ...); `model` may be an MLflow model of any writer, which is written
    anew. `on_error` and `returns` say how `predict` answers. Raises `UsageError` for what cannot be meant,
    `OutputError` where the folder has something in it (unless `overwrite`) or cannot be written.
    """
    with flags_called_arguments():
        chosen = settings_of({"task": task, "model": model, **settings})
    if isinstance(pip_requirements, str):
        raise UsageError("pip_requirements is a text; give a list of texts, such as a list of one.")
    write_model(
        Path(path),
        chosen,
        answers_of(on_error=on_error, returns=returns),
        pip_requirements=pip_requirements,
        metadata=metadata,
        overwrite=overwrite,
        mlflow_model=mlflow_model,
    )


def write_model(
    folder: Path,
    settings: Settings,
    answers: Mapping[str, str],
    *,
    pip_requirements: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    mlflow_model: Model | None = None,
) -> None:
    """Write a model by settings that are checked.

    Raises `OutputError`, and `UsageError` for a requirement that is blank.
    """
    if any(not str(requirement).strip() for requirement in pip_requirements or ()):
        raise UsageError("--requirement is empty; give what pip installs, such as batchscore==1.2.0.")
    with written_whole(folder, overwrite=overwrite) as new:
        write_files(new, settings, answers, pip_requirements, metadata, mlflow_model)


def log_model(
    name: str,
    *,
    registered_model_name: str | None = None,
    **arguments: Any,
) -> ModelInfo:
    """Write an MLflow model into the tracking store, in the active run if there is one.

    `arguments` are those of `save_model`; with `registered_model_name` it is registered as well. What MLflow
    gives back holds `model_uri`, which `batchscore score --model` takes.
    """
    from inspect import signature  # noqa: PLC0415

    from mlflow.models import Model  # noqa: PLC0415

    # Refused before a run is begun in the store.
    with flags_called_arguments():
        settings_of({key: value for key, value in arguments.items() if key not in NOT_SETTINGS})
    # MLflow 3 calls it `name` and 2 `artifact_path`; each wants the other one left alone.
    three = "name" in signature(Model.log).parameters
    place = {"artifact_path": None, "name": name} if three else {"artifact_path": name}
    info: ModelInfo = Model.log(
        **place,
        flavor=sys.modules[__name__],
        registered_model_name=registered_model_name,
        **arguments,
    )
    return info


#: Arguments of `save_model` that are no settings.
NOT_SETTINGS = frozenset(
    {"on_error", "returns", "pip_requirements", "metadata", "overwrite", "mlflow_model", "path"}
)


def settings_of(given: Mapping[str, Any]) -> Settings:
    """Return checked settings; raises `UsageError` for one that no model stores."""
    given = dict(given)
    known = {"task", "model", "param", "dimensions", "max_tokens", *STORED}
    for name in given:
        if name not in known:
            raise UsageError(f"a model does not store {name}; it stores {', '.join(sorted(known))}.")
    if isinstance(given.get("messages"), (list, tuple)):
        given["messages"] = orjson.dumps(given["messages"]).decode()
    # A variable that says nothing about models must not keep one from being saved.
    environ = without_settings(os.environ, {declared.name for declared in fields(Settings)} - known)
    settings = choose({**given, "output": "nowhere"}, environ=environ).settings
    secret = secret_in(settings.param)
    if secret is not None:
        raise UsageError(
            f"--param {secret}: a model keeps no secrets. Keys and headers come from the environment of "
            "whoever scores."
        )
    wanted_by(settings)
    return settings


def answers_of(**given: str) -> dict[str, str]:
    """Return how `predict` answers; raises `UsageError`."""
    for name, value in given.items():
        if value not in ANSWERS[name]:
            raise UsageError(f"{name} is {value!r}; it must be one of {', '.join(ANSWERS[name])}.")
    return given


def write_files(
    folder: Path,
    settings: Settings,
    answers: Mapping[str, str],
    pip_requirements: Sequence[str] | None,
    metadata: Mapping[str, Any] | None,
    mlflow_model: Model | None,
) -> None:
    """Write the model's files, `MLmodel` as the last: a folder without it is no model."""
    import mlflow.pyfunc  # noqa: PLC0415 - it takes seconds
    from mlflow.models import Model  # noqa: PLC0415

    messages = messages_of(settings)
    fields_of_template = template_fields(settings)
    config = {name: getattr(settings, name) for name in STORED} | dict(answers)
    config |= {"messages": messages, "simulate": False}
    # A column that a system message takes beside the text is not the text's.
    has_template = settings.prompt is not None or settings.messages is not None
    if settings.text_field is None and has_template and len(fields_of_template) == 1:
        config["text_field"] = fields_of_template[0]
    described = mlflow_model if mlflow_model is not None else Model()
    described.signature = signature_of(settings, config, fields_of_template)
    if metadata is not None:
        described.metadata = {**(described.metadata or {}), **metadata}
    mlflow.pyfunc.add_to_model(
        described,
        loader_module=LOADER,
        data=DATA,
        conda_env="conda.yaml",
        python_env="python_env.yaml",
        model_config=config,
    )
    described.add_flavor(FLAVOR, openai_version=version(FLAVOR), data=DATA, code=None)
    write_yaml(folder / DATA, flavor_data(settings, messages))
    write_environment(folder, list(pip_requirements or default_requirements()))
    described.save(str(folder / MLMODEL))


def messages_of(settings: Settings) -> list[dict[str, Any]] | None:
    """Return the whole conversation that a model stores, where it was given as one."""
    messages = wanted_by(settings).messages
    return None if messages is None else [dict(message) for message in messages]


def template_fields(settings: Settings) -> tuple[str, ...]:
    """Return the fields of the templates, each once."""
    wanted = wanted_by(settings)
    said = columns_of(wanted.messages) if wanted.messages is not None else ()
    templates = [template for template in (wanted.prompt, wanted.system) if template is not None]
    return tuple(dict.fromkeys([*said, *(name for template in templates for name in template.columns)]))


def flavor_data(settings: Settings, messages: list[dict[str, Any]] | None) -> dict[str, Any]:
    """Return the `openai` flavour's file, in the shape that MLflow's own writer gives it."""
    named = {ours: theirs for theirs, ours in TASKS.items()}
    data: dict[str, Any] = {"model": settings.model, "task": named[settings.task], **settings.api_params}
    if messages is None and settings.task == "chat" and (settings.prompt or settings.system):
        asked = settings.prompt or f"{{{settings.column or TEXT_COLUMN}}}"
        messages = [{"role": "user", "content": asked}]
        if settings.system is not None:
            messages.insert(0, {"role": "system", "content": settings.system})
    if messages is not None:
        data["messages"] = messages
    elif settings.task == "completions" and settings.prompt is not None:
        data["prompt"] = settings.prompt
    return data


def signature_of(settings: Settings, config: Mapping[str, Any], template: Sequence[str]) -> ModelSignature:
    """Return the columns and params that `predict` takes, and what it gives."""
    from mlflow.models import ModelSignature  # noqa: PLC0415
    from mlflow.types import DataType, ParamSchema, ParamSpec, Schema  # noqa: PLC0415
    from mlflow.types.schema import AnyType, Array, ColSpec  # noqa: PLC0415

    column = settings.column
    renamed = {config["text_field"]: column} if column is not None else {}
    names = [renamed.get(name) or name for name in template]
    if settings.prompt is None and settings.messages is None:
        names = [column or TEXT_COLUMN, *names]
    # A ready conversation is a list, or its JSON.
    ready = settings.task == "chat" and settings.prompt is None and settings.messages is None
    kinds: dict[str, Any] = {"messages": AnyType()} if ready else {}
    inputs = [ColSpec(kinds.get(name, "string"), name) for name in dict.fromkeys(names)]
    text: Any = Array(DataType.string) if settings.answers_per_row > 1 else DataType.string
    outputs = [ColSpec(DataType.string, "error"), ColSpec(DataType.string, "error_message")]
    if settings.task == "embeddings":
        outputs.insert(0, ColSpec(Array(DataType.float), "embeddings"))
    else:
        outputs[:0] = [ColSpec(text, settings.task), ColSpec(text, "finish_reason")]
    specs = {name: ParamSpec(name, kind, None) for name, kind in PARAMS[settings.task].items()}
    stored = {"dimensions": settings.dimensions, "max_tokens": settings.max_tokens, **settings.param}
    if "max_completion_tokens" in settings.param:
        specs.pop("max_tokens", None)
    for name, value in stored.items():
        kind = type_of(value)
        if kind == "long" and name in FRACTIONS:
            kind, value = "double", float(value)  # noqa: PLW2901 - a call may then give 0.7 for a stored 0
        if kind is not None:
            shape = (-1,) if isinstance(value, list) else None
            specs[name] = ParamSpec(name, kind, value, shape=shape)
    for name in ANSWERS:
        specs[name] = ParamSpec(name, "string", None)
    if config["returns"] == "values":
        outputs = outputs[:1]
    return ModelSignature(
        inputs=Schema(inputs), outputs=Schema(outputs), params=ParamSchema(list(specs.values()))
    )


def type_of(value: Any) -> str | None:
    """Return MLflow's type of a parameter; `None` where it has none, so that it is sent but not offered."""
    if isinstance(value, list):
        kinds = {type_of(each) for each in value}
        return kinds.pop() if len(kinds) == 1 and not isinstance(value[0], list) else None
    names = {bool: "boolean", int: "long", float: "double", str: "string"}
    return names.get(type(value))


def default_requirements() -> list[str]:
    """Return the packages that loading the model needs: ours, and MLflow in the make that is installed."""
    for name in ("mlflow", "mlflow-skinny"):
        with suppress(PackageNotFoundError):
            return [f"{name}=={version(name)}", f"batchscore=={VERSION}"]
    return [f"batchscore=={VERSION}"]


def write_environment(folder: Path, requirements: list[str]) -> None:
    """Write the three files from which MLflow's hosts make an environment."""
    python = platform.python_version()
    (folder / "requirements.txt").write_text("\n".join([*requirements, ""]), "utf-8")
    write_yaml(
        folder / "conda.yaml",
        {
            "name": "mlflow-env",
            "channels": ["conda-forge"],
            "dependencies": [f"python={python}", "pip", {"pip": requirements}],
        },
    )
    write_yaml(
        folder / "python_env.yaml",
        {"python": python, "build_dependencies": ["pip"], "dependencies": ["-r requirements.txt"]},
    )


def write_yaml(path: Path, value: Mapping[str, Any]) -> None:
    """Write a mapping in its own order."""
    text = yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True)
    path.write_text(text, "utf-8")
