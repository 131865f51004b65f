"""What does a run ask when `--model` names an MLflow model, and what is said beside it?

Flag beats variable beats file beats model beats default. A value of `--model` is an MLflow model where it is
a `models:/…` or `runs:/…` address, or a folder that holds one; anything else is the name that the service
knows. MLflow itself is needed for addresses only.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchscore.errors import SettingsError, UsageError
from batchscore.settings.config_file import ConfigFile, config_file
from batchscore.settings.fields import Settings
from batchscore.settings.prices import priced
from batchscore.settings.sources import gather

if TYPE_CHECKING:
    from batchscore.mlflow_model.read import SavedModel

#: Where MLflow keeps models for us: a registry's version or alias, a logged model, a run's artifact.
ADDRESS = re.compile(r"(models|runs):/")

#: What can only be a path, so that a folder that is not there is no model's name.
PATH = re.compile(r"(/|\./|\.\./|~/)|.*/$")

#: Settings that say what to ask; one that is given takes the place of the model's whole template.
TEMPLATES = ("prompt", "messages")

#: The answer's bound has three spellings; the one that is given beats the model's, whichever that is.
SAME = {
    "max_tokens": ("max_tokens", "max_completion_tokens"),
    "max_completion_tokens": ("max_tokens", "max_completion_tokens"),
    "dimensions": ("dimensions",),
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """Checked settings, and by whom a setting was given where that was an MLflow model."""

    settings: Settings
    named: Mapping[str, str]


def choose(
    flags: Mapping[str, Any],
    *,
    environ: Mapping[str, str],
    config: ConfigFile | None = None,
) -> Chosen:
    """Merge flag > variable > file > MLflow model > default into checked settings.

    Without a `config` the file counts that BATCHSCORE_CONFIG names. Raises `UsageError` where they contradict
    one another, `SettingsError` where model or file cannot be read.
    """
    file = config_file(None, environ) if config is None else config
    given = gather(flags, environ=environ, config=file.settings, config_name=file.name)
    named = given.get("model")
    if not isinstance(named, str) or not is_address_or_path(named):
        return Chosen(Settings(**priced(given)), {})
    with found(named) as saved:
        if saved is None:
            return Chosen(Settings(**priced(given)), {})
        del given["model"]
        from_model = beneath(saved, given, environ)
    merged = from_model | {name: value for name, value in given.items() if name != "param"}
    return Chosen(Settings(**priced(merged)), dict.fromkeys(from_model.keys() - given.keys(), saved.where))


def is_address_or_path(named: str) -> bool:
    """Whether a value of `--model` may be an MLflow model: what is no path can still be a name."""
    if ADDRESS.match(named) or PATH.match(named):
        return True
    return os.path.isdir(named)  # noqa: PTH112 - pathlib raises for what no folder can be called


@contextmanager
def found(named: str) -> Iterator[SavedModel | None]:
    """Give what a model that was named says; `None` for a folder that only has the name of one."""
    from batchscore.mlflow_model.read import folder_of, folders_below, read_saved  # noqa: PLC0415 - few runs need YAML

    if ADDRESS.match(named):
        with tempfile.TemporaryDirectory(prefix="batchscore-model-") as into:
            downloaded = fetched(named, into)
            yield read_saved(folder_of(downloaded) or downloaded, where=named)
        return
    path = Path(os.path.expanduser(named))  # noqa: PTH111 - pathlib raises for nobody's ~
    folder = folder_of(path)
    if folder is None and PATH.match(named):
        several = ", ".join(below.name for below in folders_below(path))
        if several:
            raise SettingsError(f"{named} holds several MLflow models: {several}. Name one of them.")
        raise SettingsError(
            f"{named} holds no MLflow model (a folder with a file MLmodel). Save one with batchscore model "
            "save, or give the name that the service knows."
        )
    yield None if folder is None else read_saved(folder, where=named)


def fetched(address: str, into: str) -> Path:
    """Fetch a model from MLflow's store; raises `SettingsError`."""
    try:
        from mlflow.artifacts import download_artifacts  # noqa: PLC0415 - seconds, and few runs need it
    except ImportError as error:
        raise SettingsError(f"{address}: MLflow cannot be loaded ({error}). pip install mlflow") from None
    try:
        downloaded = Path(download_artifacts(artifact_uri=address, dst_path=into))
    except Exception as error:
        # Stores are of many kinds, each with errors of its own.
        reason = str(error).strip().split("\n", 1)[0].rstrip(".") or type(error).__name__
        raise SettingsError(
            f"{address} cannot be fetched: {reason}. MLFLOW_TRACKING_URI says in which store to look."
        ) from None
    return downloaded


def beneath(saved: SavedModel, given: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what the model adds to the settings that were given.

    Parameters are merged one by one; one that is given as null is not sent. Raises `UsageError` where the
    two cannot be meant together.
    """
    settings = dict(saved.settings)
    where = saved.where
    if given.get("task", saved.task) != saved.task:
        raise UsageError(f"--task {given['task']}: the model {where} was saved for {saved.task}.")
    if any(name in given for name in TEMPLATES):
        for name in (*TEMPLATES, "column", "text_field"):
            settings.pop(name, None)
        if "messages" in given:
            settings.pop("system", None)
    elif "column" in given and any(name in settings for name in TEMPLATES) and "text_field" not in settings:
        raise UsageError(
            f"--column: the template of {where} takes several columns. Leave it out, or give the whole "
            "template anew with --prompt."
        )
    elif "system" in given and "messages" in settings:
        raise UsageError(
            f"--system: {where} has its own messages. Give all of them anew with --messages, or the user's "
            "with --prompt."
        )
    if any(environ.get(name, "").strip() for name in ("OPENAI_DEPLOYMENT_NAME", "OPENAI_ENGINE")):
        # A variable beats the model, this one's meaning included.
        settings.pop("deployment", None)
    settings["param"] = merged_parameters(settings, given)
    return settings


def merged_parameters(settings: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of both; takes from `settings` what is given under another spelling."""
    said = given.get("param", {})
    params = dict(settings.get("param", {}))
    of_the_model = {*params, *settings}
    for name in (*said, *given):
        for spelling in SAME.get(name, ()):
            params.pop(spelling, None)
            settings.pop(spelling, None)
    merged = {**params, **said}
    return {name: value for name, value in merged.items() if value is not None or name not in of_the_model}
