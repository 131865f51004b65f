"""What does an MLflow model's folder hold, and how is it written completely, or not at all?

Credentials and the client settings of other writers are not stored.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from batchscore.errors import OutputError, UsageError, setting_name
from batchscore.settings.arguments import StoredSettings
from batchscore.settings.checks import ANSWER_PARAMS

MLMODEL = "MLmodel"
FLAVOR = "openai"
#: The module that loads our models for MLflow. Its name is in each saved model, so it must not change.
LOADER = "batchscore.api.mlflow_function"

#: Entries of a model for its client, which are not sent to the service. The host decides on address and rate,
#: and credentials come only from the environment.
NOT_SENT = frozenset(
    {
        *("model", "task", "messages", "prompt", "input", "engine", "deployment_id", "deployment_name"),
        *("api_base", "base_url", "azure_endpoint", "api_key", "api_key_path", "api_type", "api_version"),
        *("azure_ad_token", "organization", "project", "headers", "extra_headers", "default_headers"),
        *("batch_size", "max_retries", "timeout", "request_timeout", "stream", "stream_options"),
    }
)

#: Settings that a model stores; parameters of the API are stored apart.
_APART = {"param", "dimensions", "max_tokens", *ANSWER_PARAMS}
STORED = tuple(name for name in StoredSettings.__annotations__ if name not in _APART)

#: Names of settings in models that were saved before 0.1.0.
EARLIER_NAMES = {"share": "quota_share", "concurrency": "max_concurrency", "retries": "max_retries"}

#: Options of `predict`; each may also be given in its `params`.
ANSWERS = {"on_error": ("record", "raise"), "returns": ("rows", "values")}

#: Files of models, MLflow's and ours; a folder with other files is more than a model.
MODEL_FILES = frozenset(
    {
        *(MLMODEL, "model.yaml", "requirements.txt", "conda.yaml", "python_env.yaml", "code", "metadata"),
        *("input_example.json", "serving_input_example.json", "registered_model_meta"),
        *("openai.yaml", "auxiliary.yaml", ".amlignore", ".amlignore.amltmp"),
    }
)


def check_answers(given: Mapping[str, str]) -> None:
    """Raise `UsageError` for an option of `predict` with an unknown value."""
    for name, choices in ANSWERS.items():
        if given[name] not in choices:
            raise UsageError(f"{name} is {given[name]!r}; it must be one of {', '.join(choices)}.")


@contextmanager
def replace_folder(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a temporary folder to write a model into; after the block, it replaces `folder`.

    Raises `OutputError` if `folder` is not empty, unless it is a model and `overwrite` is set.
    """
    target = Path(os.path.realpath(folder))  # `resolve` raises for a loop of links
    try:
        refuse_other_files(folder, overwrite=overwrite)
        with tempfile.TemporaryDirectory(prefix="batchscore-model-") as new:
            yield Path(new)
            target.mkdir(parents=True, exist_ok=True)
            for old in target.iterdir():
                if old.is_dir() and not old.is_symlink():
                    shutil.rmtree(old)
                else:
                    old.unlink()
            # The file that makes the folder a model comes last.
            for file in sorted(Path(new).iterdir(), key=lambda file: file.name == MLMODEL):
                shutil.move(file, target / file.name)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}.") from None


def refuse_other_files(folder: Path, *, overwrite: bool) -> None:
    """Raise `OutputError` if a folder holds files that must not be replaced."""
    if not folder.is_dir():
        if folder.exists():
            raise OutputError(f"{folder} cannot be written: it is a file. Name a folder.")
        return
    names = sorted(file.name for file in folder.iterdir())
    if names and (not overwrite or MLMODEL not in names):
        replace = setting_name("overwrite", True)
        raise OutputError(f"{folder} is not empty. Name another folder, or replace a model with {replace}.")
    others = ", ".join([name for name in names if name not in MODEL_FILES][:5])
    if others:
        raise OutputError(
            f"{folder} holds other files than a model: {others}. They would be lost. Move them away, or name "
            "another folder."
        )
