"""Which settings apply, if the setting `model` may name an MLflow model?

Flag beats variable beats config file beats model beats default. A value of `model` is an MLflow model if it
is a `models:/…` or `runs:/…` address, or is written as a path (`./x`, `x/`) and there is one. Any other value
is the name at the service, so a folder that somebody put into the working folder changes nothing. Names may
look like paths (vLLM's are those of the weights), but without a task a path is that of an MLflow model, which
has one. MLflow is needed only for addresses.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchscore.errors import SettingsError, UsageError, setting_name
from batchscore.settings.arguments import FileSettings, check_names
from batchscore.settings.checks import ANSWER_PARAMS, check_required
from batchscore.settings.config_file import ConfigFile, config_file
from batchscore.settings.declare import VARIABLE_PREFIX
from batchscore.settings.fields import Settings
from batchscore.settings.json_schema import schema_document
from batchscore.settings.prices import add_prices
from batchscore.settings.sources import gather, without_settings
from batchscore.settings.trust import is_address, is_saved_model
from batchscore.task import TASKS

if TYPE_CHECKING:
    from batchscore.mlflow_model.read import SavedModel

#: Settings that define the prompt; one that is given replaces the model's template.
TEMPLATES = ("prompt", "messages")

#: Settings and parameters that replace each other: the answer's limit and its form have several spellings.
LIMITS = tuple(dict.fromkeys(name for task in TASKS.values() for name in task.answer_limits))
FORMS = ("schema", "schema_mode", "schema_feedback", "response_format")
SAME = {
    **dict.fromkeys(LIMITS, LIMITS),
    **dict.fromkeys(("schema", "response_format"), FORMS),
    "dimensions": ("dimensions",),
}


@dataclass(frozen=True, slots=True)
class ResolvedSettings:
    """Checked settings. `sources` names each value's variable, file or model; `warnings` are for the user."""

    settings: Settings
    sources: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def resolve_settings(
    flags: Mapping[str, Any], *, environ: Mapping[str, str], config: ConfigFile | None = None
) -> ResolvedSettings:
    """Merge flag > variable > file > MLflow model > default into checked settings.

    Without `config`, the file that BATCHSCORE_CONFIG names is read. Raises `UsageError` if settings
    contradict each other, `SettingsError` if the model or the file cannot be read.
    """
    file = config_file(None, environ) if config is None else config
    given, sources = gather(flags, environ=environ, file=file)
    model = given.get("model")
    with_task, hint = given.get("task") is not None, ""
    saved = saved_model(model, may_be_name=with_task) if isinstance(model, str) else None
    if saved is not None:
        del given["model"]
        from_model = settings_below(saved, given, environ)
        sources |= dict.fromkeys(from_model.keys() - given.keys(), saved.where)
        given = from_model | {name: value for name, value in given.items() if name != "param"}
    elif isinstance(model, str):
        hint = folder_hint(model)
        if model and not with_task:
            # Perhaps a folder of a saved model was meant, which has a task.
            check_required(given, f" ({hint or f'{model} is not a folder of a saved model.'})")
        if is_saved_model(model):
            hint = f"{model} holds no MLflow model, so it is sent as the model's name."
    given["schema"] = schema_document(given.get("schema"))
    try:
        settings = Settings(**add_prices(given))
    except UsageError as error:
        raise UsageError(_with_sources(error.text, sources)) from None
    return ResolvedSettings(settings, sources, (hint,) if hint else ())


def _with_sources(text: str, sources: Mapping[str, str]) -> str:
    """Return a message in which settings of a variable or a file are named as they are there."""
    for name, source in sources.items():
        named = source if source == f"{VARIABLE_PREFIX}{name.upper()}" else f"{name} in {source}"
        text = text.replace(setting_name(name), named)
    return text


def folder_hint(model: str) -> str:
    """Return how to mean a folder with an MLflow model whose name was given; empty if there is none."""
    if is_saved_model(model) or not os.path.isfile(f"{model}/MLmodel"):  # noqa: PTH113 - it raises for no name
        return ""
    return f"{model} is taken as the model's name. To mean the MLflow model in that folder, write ./{model}."


def settings_without_output(given: Mapping[str, Any], known: Collection[str]) -> Settings:
    """Return checked settings for a caller that writes no output and takes only the `known` settings.

    The variables of other settings are ignored. Raises `UsageError` for an unknown name.
    """
    check_names(given, known)
    environ = without_settings(os.environ, {"output", *FileSettings.__annotations__} - set(known))
    return resolve_settings({**given, "output": "unused"}, environ=environ).settings


def saved_model(model: str, *, may_be_name: bool = False) -> SavedModel | None:
    """Return the MLflow model with this address or path; `None` for a name, or a folder without a model.

    `may_be_name`: a path without a model is a name. Raises `SettingsError` for other paths without one.
    """
    if not is_saved_model(model):
        return None
    from batchscore.mlflow_model.read import folder_of, folders_below, read_saved  # noqa: PLC0415 - few runs need YAML

    if is_address(model):
        with tempfile.TemporaryDirectory(prefix="batchscore-model-") as into:
            downloaded = download(model, into)
            return read_saved(folder_of(downloaded) or downloaded, where=model)
    path = Path(os.path.expanduser(model))  # noqa: PTH111 - pathlib raises for an unknown user's ~
    folder = folder_of(path)
    if folder is not None:
        return read_saved(folder, where=model)
    several = ", ".join(below.name for below in folders_below(path))
    if several:
        raise SettingsError(f"{model} holds several MLflow models: {several}. Name one of them.")
    if not may_be_name:
        raise SettingsError(
            f"{model} is not an MLflow model (a folder with a file MLmodel). Save one with batchscore "
            f"model save. If it is the model's name at the service, set {setting_name('task')}, too."
        )
    return None


def download(address: str, into: str) -> Path:
    """Download a model from MLflow's store; raises `SettingsError`."""
    try:
        from mlflow.artifacts import download_artifacts  # noqa: PLC0415 - seconds, and few runs need it
    except ImportError as error:
        raise SettingsError(f"{address}: MLflow cannot be loaded ({error}). Run pip install mlflow") from None
    try:
        return Path(download_artifacts(artifact_uri=address, dst_path=into))
    except Exception as error:
        # Each kind of store has its own errors.
        reason = str(error).strip().split("\n", 1)[0].rstrip(".") or type(error).__name__
        if type(error).__name__ == "UnsupportedModelRegistryStoreURIException":
            # mlflow-skinny knows no databases, which are MLflow's default.
            reason = "a database store needs all of MLflow (pip install mlflow), not only mlflow-skinny"
        raise SettingsError(
            f"{address} cannot be downloaded: {reason}. MLFLOW_TRACKING_URI names the store."
        ) from None


def settings_below(saved: SavedModel, given: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the model's settings, without those that the given settings replace.

    Parameters are merged one by one; a parameter that is given as null is not sent. Raises `UsageError` if
    the given settings contradict the model.
    """
    settings = dict(saved.settings)
    where = saved.where
    if given.get("task", saved.task) != saved.task:
        raise UsageError(
            f"{setting_name('task')} {given['task']}: the model {where} was saved for {saved.task}."
        )
    if any(name in given for name in TEMPLATES):
        for name in (*TEMPLATES, "column", "text_field"):
            settings.pop(name, None)
        if "messages" in given:
            settings.pop("system", None)
    elif "column" in given and any(name in settings for name in TEMPLATES) and "text_field" not in settings:
        raise UsageError(
            f"{setting_name('column')}: the template of {where} uses several columns. Leave it out, or "
            f"replace the whole template with {setting_name('prompt')}."
        )
    elif "system" in given and "messages" in settings:
        raise UsageError(
            f"{setting_name('system')}: {where} has its own messages. Replace all of them with "
            f"{setting_name('messages')}, or the user's with {setting_name('prompt')}."
        )
    if any(environ.get(name, "").strip() for name in ("OPENAI_DEPLOYMENT_NAME", "OPENAI_ENGINE")):
        # A variable beats the model, also one that is not ours.
        settings.pop("deployment", None)
    settings["param"] = merged_parameters(settings, given)
    return settings


def merged_parameters(settings: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of both; removes from `settings` what is given in another spelling."""
    said = given.get("param", {})
    params = dict(settings.get("param", {}))
    of_the_model = {*params, *settings}
    for name in (*said, *given):
        for spelling in SAME.get(name, ()):
            params.pop(spelling, None)
            settings.pop(spelling, None)
    for name in ANSWER_PARAMS:
        if name in given:
            params.pop(name, None)
    if "reasoning_effort" in given:  # its form in the Responses API
        params.pop("reasoning", None)
    merged = {**params, **said}
    return {name: value for name, value in merged.items() if value is not None or name not in of_the_model}
