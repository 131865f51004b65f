"""How is an MLflow model written that holds task, prompt and parameters, for any host?

The folder has two flavours. `openai` has MLflow's own format, so other tools find the task, the model, its
parameters and template. `python_function` runs our engine. The folder holds no code and no secrets:
credentials come from the environment where the model runs.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import yaml

from batchscore.errors import UsageError, setting_name
from batchscore.mlflow_model.folder import (
    ANSWERS,
    FLAVOR,
    LOADER,
    MLMODEL,
    STORED,
    check_answers,
    replace_folder,
)
from batchscore.mlflow_model.resolve import settings_without_output
from batchscore.prompts.prompt import parse_spec
from batchscore.prompts.schema import answer_schema
from batchscore.rows import TEXT_COLUMN
from batchscore.settings.arguments import StoredSettings, show_parameters, show_settings
from batchscore.settings.checks import value_text
from batchscore.settings.fields import Settings
from batchscore.settings.secrets import secret_in
from batchscore.settings.slices import PromptSettings, cut
from batchscore.task import TASKS
from batchscore.version import VERSION

if TYPE_CHECKING:
    from mlflow.models import Model, ModelSignature
    from mlflow.models.model import ModelInfo
    from typing_extensions import Unpack

DATA = "model.yaml"

#: Parameters that `predict` takes besides the stored ones, with MLflow's names of their types.
PARAMS: Mapping[str, Mapping[str, str]] = {
    "vector": {"dimensions": "long", "user": "string"},
    "text": {"temperature": "double", "top_p": "double", "max_tokens": "long", "seed": "long"},
}

#: Parameters that accept fractions, even if the stored value is a whole number.
FRACTIONS = frozenset({"temperature", "top_p", "frequency_penalty", "presence_penalty"})


@show_settings(StoredSettings)
def save_model(
    path: str | os.PathLike[str],
    *,
    task: str | None = None,
    model: str | None = None,
    on_error: str = "record",
    returns: str = "rows",
    pip_requirements: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    mlflow_model: Model | None = None,
    **settings: Unpack[StoredSettings],
) -> None:
    """Write an MLflow model into the folder `path`.

    `settings` are those of the command line that a model stores. `model` may be an MLflow model of any
    writer, which is converted. `on_error` ("record" or "raise") and `returns` ("rows" or "values") are
    options of `predict`. Raises `UsageError` for invalid arguments, `OutputError` if the folder is not empty
    (unless `overwrite`) or cannot be written.
    """
    chosen = settings_of({"task": task, "model": model, **settings})
    answers = {"on_error": on_error, "returns": returns}
    check_answers(answers)
    if not isinstance(path, (str, os.PathLike)):
        raise UsageError(f"path is {value_text(path)}; give the path of a folder.")
    if not isinstance(overwrite, bool):
        raise UsageError(f"overwrite is {value_text(overwrite)}; it must be true or false.")
    if isinstance(pip_requirements, str):
        raise UsageError("pip_requirements is a text; give a list of texts.")
    if any(not str(requirement).strip() for requirement in pip_requirements or ()):
        name = setting_name("requirement")
        raise UsageError(f"{name} is empty; give a package for pip, such as batchscore==1.2.0.")
    with replace_folder(Path(path), overwrite=overwrite) as new:
        write_files(new, chosen, answers, pip_requirements, metadata, mlflow_model)


#: Arguments of `save_model` that are not settings.
NOT_SETTINGS = {"on_error", "returns", "pip_requirements", "metadata", "overwrite", "mlflow_model"}


@show_parameters(
    each
    for each in signature(save_model).parameters.values()
    if each.name not in {"path", "overwrite", "mlflow_model"}
)
def log_model(name: str, *, registered_model_name: str | None = None, **arguments: Any) -> ModelInfo:
    """Write an MLflow model into the tracking store, in the active run if there is one.

    `arguments` are those of `save_model`. With `registered_model_name`, the model is registered as well. The
    returned `model_uri` is an address for the setting `model`.
    """
    from mlflow.models import Model  # noqa: PLC0415

    # Checked before a run is started in the store.
    settings_of({key: value for key, value in arguments.items() if key not in NOT_SETTINGS})
    # MLflow 3 has `name` and MLflow 2 `artifact_path`; neither accepts both.
    three = "name" in signature(Model.log).parameters
    place = {"artifact_path": None, "name": name} if three else {"artifact_path": name}
    info: ModelInfo = Model.log(
        **place, flavor=sys.modules[__name__], registered_model_name=registered_model_name, **arguments
    )
    return info


def settings_of(given: Mapping[str, Any]) -> Settings:
    """Return checked settings; raises `UsageError` for a setting that models do not store."""
    given = dict(given)
    if isinstance(given.get("messages"), (list, tuple)):
        given["messages"] = orjson.dumps(given["messages"]).decode()
    settings = settings_without_output(given, {"task", "model", *StoredSettings.__annotations__})
    secret = secret_in(settings.param)
    if secret is not None:
        raise UsageError(
            f"{setting_name('param')} {secret}: a model stores no secrets. Keys and headers come from the "
            "environment where the model runs."
        )
    prompt = cut(PromptSettings, settings)
    spec = parse_spec(prompt)  # raises if the template is invalid
    if images_alone(settings) and spec.system is None:
        raise UsageError(
            f"{setting_name('image')}: say with {setting_name('prompt')} what to do with images, or name the "
            f"column of the text with {setting_name('column')}."
        )
    answer_schema(prompt)
    return settings


def images_alone(settings: Settings) -> bool:
    """Whether rows have images and no text."""
    texts = (settings.column, settings.prompt, settings.messages)
    return bool(settings.image) and all(each is None for each in texts)


def write_files(
    folder: Path,
    settings: Settings,
    answers: Mapping[str, str],
    pip_requirements: Sequence[str] | None,
    metadata: Mapping[str, Any] | None,
    mlflow_model: Model | None,
) -> None:
    """Write the model's files. `MLmodel` is the last: without it, the folder is not a model."""
    import mlflow.pyfunc  # noqa: PLC0415 - it takes seconds
    from mlflow.models import Model  # noqa: PLC0415

    spec = parse_spec(cut(PromptSettings, settings))
    messages = None if spec.messages is None else [dict(message) for message in spec.messages]
    system = spec.system.columns if spec.system is not None else ()
    template = tuple(dict.fromkeys((*spec.fields, *system)))
    config = {name: getattr(settings, name) for name in STORED} | dict(answers)
    # As text, because YAML would sort the properties, and a model writes them in their order.
    schema = None if settings.schema is None else orjson.dumps(settings.schema).decode()
    config |= {"messages": messages, "schema": schema, "image": [*settings.image], "simulate": False}
    # A column that only the system message uses is not the text's.
    if settings.text_field is None and spec.fields and len(template) == 1:
        config["text_field"] = template[0]
    described = mlflow_model if mlflow_model is not None else Model()
    described.signature = signature_of(settings, config, template)
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


def flavor_data(settings: Settings, messages: list[dict[str, Any]] | None) -> dict[str, Any]:
    """Return the content of the `openai` flavour's file, in the format of MLflow's own writer."""
    task = TASKS[settings.task]
    data: dict[str, Any] = {"model": settings.model, "task": task.mlflow_name, **settings.api_params}
    if messages is None and task.takes_messages and (settings.prompt or settings.system):
        content = settings.prompt or f"{{{settings.column or TEXT_COLUMN}}}"
        messages = [{"role": "user", "content": content}]
        if settings.system is not None:
            messages.insert(0, {"role": "system", "content": settings.system})
    if messages is not None:
        data["messages"] = messages
    elif task.answer == "text" and settings.prompt is not None:
        data["prompt"] = settings.prompt
    return data


def signature_of(settings: Settings, config: Mapping[str, Any], template: Sequence[str]) -> ModelSignature:
    """Return the columns and params that `predict` takes, and the columns that it returns."""
    from mlflow.models import ModelSignature  # noqa: PLC0415
    from mlflow.types import DataType, ParamSchema, ParamSpec, Schema  # noqa: PLC0415
    from mlflow.types.schema import AnyType, Array, ColSpec  # noqa: PLC0415

    column = settings.column
    renamed = {config["text_field"]: column} if column is not None else {}
    names = [renamed.get(name) or name for name in template]
    task = TASKS[settings.task]
    kinds: dict[str, Any] = {}
    if settings.prompt is None and settings.messages is None and not images_alone(settings):
        names = [column or TEXT_COLUMN, *names]
        # A column of conversations holds lists, or their JSON.
        kinds = {task.input_key: AnyType()} if task.takes_messages else {}
    kinds |= dict.fromkeys(settings.image, AnyType())  # bytes or addresses
    inputs = [ColSpec(kinds.get(name, "string"), name) for name in dict.fromkeys([*names, *settings.image])]
    text: Any = Array(DataType.string) if settings.answers_per_row > 1 else DataType.string
    outputs = [ColSpec(DataType.string, "error"), ColSpec(DataType.string, "error_message")]
    if task.answer == "vector":
        outputs.insert(0, ColSpec(Array(DataType.float), task.name))
    else:
        outputs[:0] = [ColSpec(text, settings.task), ColSpec(text, "finish_reason")]
    specs = {name: ParamSpec(name, kind, None) for name, kind in PARAMS[task.answer].items()}
    if task.system_key:
        del specs["seed"]
    stored = {"dimensions": settings.dimensions, "max_tokens": settings.max_tokens, **settings.params}
    if any(name in settings.param for name in task.answer_limits):
        specs.pop("max_tokens", None)
    for name, value in stored.items():
        kind = type_of(value)
        if kind == "long" and name in FRACTIONS:
            kind, value = "double", float(value)  # noqa: PLW2901 - a call may replace a stored 0 by 0.7
        if kind is not None:
            shape = (-1,) if isinstance(value, list) else None
            specs[name] = ParamSpec(name, kind, value, shape=shape)
    for name in ANSWERS:
        specs[name] = ParamSpec(name, "string", None)
    if config["returns"] == "values":
        outputs = outputs[:1]
    params = ParamSchema(list(specs.values()))
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs), params=params)


def type_of(value: Any) -> str | None:
    """Return MLflow's type of a parameter; `None` if it has none, so that calls cannot override it."""
    if isinstance(value, list):
        kinds = {type_of(each) for each in value}
        return kinds.pop() if len(kinds) == 1 and not isinstance(value[0], list) else None
    names = {bool: "boolean", int: "long", float: "double", str: "string"}
    return names.get(type(value))


def default_requirements() -> list[str]:
    """Return the packages that the model requires: ours, and the installed variant of MLflow."""
    for name in ("mlflow", "mlflow-skinny"):
        with suppress(PackageNotFoundError):
            return [f"{name}=={version(name)}", f"batchscore=={VERSION}"]
    return [f"batchscore=={VERSION}"]


def write_environment(folder: Path, requirements: list[str]) -> None:
    """Write the three files from which MLflow's hosts build an environment."""
    python = platform.python_version()
    (folder / "requirements.txt").write_text("\n".join([*requirements, ""]), "utf-8")
    packages = [f"python={python}", "pip", {"pip": requirements}]
    conda = {"name": "mlflow-env", "channels": ["conda-forge"], "dependencies": packages}
    write_yaml(folder / "conda.yaml", conda)
    pip = {"python": python, "build_dependencies": ["pip"], "dependencies": ["-r requirements.txt"]}
    write_yaml(folder / "python_env.yaml", pip)


def write_yaml(path: Path, value: Mapping[str, Any]) -> None:
    """Write a mapping without sorting its keys."""
    text = yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True)
    path.write_text(text, "utf-8")
