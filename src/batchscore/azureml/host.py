"""What does Azure ML's batch host say, and which settings follow from it?

It reads the host's variables and the arguments of its process, and knows neither files nor threads. The facts
are from learn.microsoft.com, "Author scoring scripts for batch deployments" and "Use parallel jobs in
pipelines", seen 2026-11. Anything that these pages do not mention is used if present, but never needed:

- `AZUREML_MODEL_DIR` is the registered model's folder, or one above it; `AZUREML_BI_OUTPUT_PATH` the output.
  A parallel step of a pipeline has neither: both are arguments of ours among the host's own.
- `AZUREML_BI_TEXT_COLUMN` is a convention of the samples.
- A call may take `--run_invocation_timeout` seconds; then the host kills its process.
- `AZUREML_NODE_COUNT` machines share the deployment's quota; processes of one machine share a quota file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from datetime import timedelta
from itertools import pairwise
from typing import Any

from batchscore.errors import (
    BatchscoreError,
    SettingsError,
    UnreadableFile,
    UsageError,
    name_settings,
    setting_name,
)
from batchscore.mlflow_model.resolve import ResolvedSettings, resolve_settings
from batchscore.settings.config_file import config_file
from batchscore.settings.deadline import parse_deadline
from batchscore.settings.declare import as_flag, variable_of
from batchscore.settings.fields import Settings

#: The variable of Azure's samples that names the text column.
SAMPLES_COLUMN = "AZUREML_BI_TEXT_COLUMN"

#: Our arguments, and the host's argument for the time that a call may take.
ARGUMENTS = ("--batchscore-model", "--batchscore-output", "--batchscore-base-dir", "--run_invocation_timeout")

#: The share of the host's timeout that is kept for requests in flight and for writing, and its maximum.
ENDING_SHARE = 0.1
MOST_ENDING_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Host:
    """What the host says: absolute folders, the number of machines, the seconds that a call may take."""

    model: str
    output: str
    base_dir: str | None
    machines: int
    timeout_seconds: float | None


def arguments_of(words: Sequence[str]) -> dict[str, str]:
    """Return the arguments of a command line by name; the value of one without a value is empty."""
    given: dict[str, str] = {}
    for word, after in pairwise([*words, ""]):
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            given[name] = value if equals else "" if after.startswith("--") else after
    return given


def host_of(arguments: Sequence[str], environ: Mapping[str, str]) -> Host:
    """Return what the host says in its arguments and variables; our own arguments win.

    Raises `SettingsError` if it names no model or no output.
    """
    given = arguments_of(arguments)
    model, output, base_dir, timeout = (given.get(name, "") for name in ARGUMENTS)
    model = model or environ.get("AZUREML_MODEL_DIR", "").strip()
    output = output or environ.get("AZUREML_BI_OUTPUT_PATH", "").strip()
    if not model:
        raise SettingsError(
            "no model: AZUREML_MODEL_DIR is not set. A batch deployment needs a registered model; for a "
            "parallel step add --batchscore-model ${{inputs.model}} to its program_arguments."
        )
    if not output:
        raise SettingsError(
            "no output: AZUREML_BI_OUTPUT_PATH is not set. For a parallel step add --batchscore-output "
            "${{outputs.score}} to its program_arguments."
        )
    return Host(
        model=os.path.abspath(model),  # noqa: PTH100 - links in it are not resolved
        output=os.path.abspath(output),  # noqa: PTH100
        base_dir=os.path.abspath(base_dir) if base_dir else None,  # noqa: PTH100
        machines=max(1, int(positive_number(environ.get("AZUREML_NODE_COUNT")) or 1)),
        timeout_seconds=positive_number(timeout),
    )


def positive_number(text: str | None) -> float | None:
    """Return the number that a host's text holds; `None` if it is not a number above 0."""
    with suppress(TypeError, ValueError, OverflowError):
        found = float(text or "")
        return found if 0 < found < 1e9 else None
    return None


def settings_of(host: Host, environ: Mapping[str, str]) -> ResolvedSettings:
    """Return the settings of every call, from the host, the variables, the file they name and the model.

    The file must be beside the scoring script, since the working folder is temporary. Raises `UsageError` or
    `SettingsError`, whose messages name variables.
    """
    # The scoring script puts its own folder first.
    file = config_file(None, environ, folders=[folder for folder in sys.path if folder])

    def unset(setting: str) -> bool:
        return not environ.get(f"BATCHSCORE_{setting}", "").strip()

    flags: dict[str, Any] = {"model": host.model, "output": host.output, "shared_output": True}
    flags["column"] = column_of_samples(environ)
    if unset("BASE_DIR"):
        flags["base_dir"] = host.base_dir
    if unset("QUOTA_SHARE") and "quota_share" not in file.settings and host.machines > 1:
        flags["quota_share"] = max(1 / host.machines, 0.001)
    if unset("DEADLINE") and "deadline" not in file.settings and host.timeout_seconds is not None:
        flags["deadline"] = call_deadline(host.timeout_seconds)
    with errors_name_variables(environ):
        refuse_batches(environ, file.settings)
        return resolve_settings(flags, environ=environ, config=file)


def refuse_batches(environ: Mapping[str, str], in_file: Mapping[str, Any]) -> None:
    """Raise `UsageError` if the rows of mini-batches should go through the Batch API."""
    if (environ.get("BATCHSCORE_VIA", "").strip() or in_file.get("via")) == "batch":
        raise UsageError(
            f"{setting_name('via', 'batch')} is not for mini-batches: a node would wait for hours, and each "
            "file would be a batch of its own. Start deployment/batch-api.yml on a schedule instead "
            "(docs/how-to/azure-ml.md), or leave it out to score live."
        )


def column_of_samples(environ: Mapping[str, str]) -> str | None:
    """Return the text column that the samples' variable names, unless our own variable names one."""
    own = environ.get("BATCHSCORE_COLUMN", "").strip()
    return None if own else environ.get(SAMPLES_COLUMN, "").strip() or None


def call_deadline(timeout_seconds: float) -> str:
    """Return the deadline of a call that the host kills after this many seconds."""
    seconds = timeout_seconds - min(timeout_seconds * ENDING_SHARE, MOST_ENDING_SECONDS)
    return f"{max(seconds, 0.01):g}s"


def deadline_seconds(deadline: object) -> float | None:
    """Return how long a call may take by its own deadline; `None` if that is not a duration."""
    with suppress(UsageError):
        found = parse_deadline(str(deadline))
        return found.total_seconds() if isinstance(found, timedelta) else None
    return None


@contextmanager
def errors_name_variables(environ: Mapping[str, str]) -> Iterator[None]:
    """Let errors name the variables that a deployment sets."""
    try:
        yield
    except UnreadableFile:
        raise
    except BatchscoreError as error:
        raise type(error)(name_variables(error.text, environ)) from None


def name_variables(text: str, environ: Mapping[str, str]) -> str:
    """Return a message in which settings have the names of their variables."""
    names = {each.name: variable_of(each) for each in fields(Settings) if each.metadata["only"] is None}
    if not environ.get(names["column"], "").strip():
        names["column"] = SAMPLES_COLUMN
    return name_settings(text, lambda name: names.get(name, as_flag(name)))
