"""What does Azure ML's batch host say, and which settings are that?

It reads the host's variables and the arguments of its process, and knows neither files nor threads. Facts
(learn.microsoft.com, "Author scoring scripts for batch deployments" and "Use parallel jobs in pipelines",
seen 2026-11; what is not in these pages is used where it is there, and nothing relies on it):

- `AZUREML_MODEL_DIR` is the registered model's folder, or one above it; `AZUREML_BI_OUTPUT_PATH` the output.
  A pipeline's parallel step has neither: both come as arguments of ours among the host's own.
- `AZUREML_BI_TEXT_COLUMN` is a habit of the samples.
- Each call may take so many seconds (`--run_invocation_timeout`), then its process is killed.
- `AZUREML_NODE_COUNT` machines share the deployment's quota; processes of one machine share their books.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from typing import Any, NoReturn

from batchscore.errors import BatchscoreError, SettingsError, UnreadableFile, UsageError, name_settings
from batchscore.mlflow_model.resolve import ResolvedSettings, resolve_settings
from batchscore.settings.config_file import config_file
from batchscore.settings.declare import as_flag, variable_of
from batchscore.settings.fields import Settings

TEXT_COLUMN = "AZUREML_BI_TEXT_COLUMN"

#: Our arguments, and of the host's own the one that says how long a call may take.
ARGUMENTS = ("--batchscore-model", "--batchscore-output", "--batchscore-base-dir", "--run_invocation_timeout")

#: Of the host's timeout so much is left for what was on its way and for writing, at most so many seconds.
LEFT_FOR_ENDING = 0.1
MOST_LEFT_SECONDS = 300.0
MINUTE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Host:
    """What the host says: folders, absolute; how many machines there are; seconds that a call may take."""

    model: str
    output: str
    root: str | None
    machines: int
    timeout_seconds: float | None


class _Arguments(argparse.ArgumentParser):
    """Arguments that raise instead of ending the process, which is the host's."""

    def error(self, message: str) -> NoReturn:
        """Raise `UsageError`."""
        raise UsageError(f"the arguments of the scoring script: {message}")


def host_of(arguments: Sequence[str], environ: Mapping[str, str]) -> Host:
    """Return what the host says in its arguments and variables; our own arguments win.

    Raises `SettingsError` where it does not say which model, or where the scores go.
    """
    parser = _Arguments(add_help=False, allow_abbrev=False)
    for name in ARGUMENTS:
        # The host's own may come without a value in some version.
        parser.add_argument(name, nargs="?")
    said = vars(parser.parse_known_args(list(arguments))[0])
    model = said["batchscore_model"] or environ.get("AZUREML_MODEL_DIR", "").strip()
    output = said["batchscore_output"] or environ.get("AZUREML_BI_OUTPUT_PATH", "").strip()
    if not model:
        raise SettingsError(
            "no model: AZUREML_MODEL_DIR is not set. A batch deployment needs a registered model; a parallel "
            "step gives --batchscore-model ${{inputs.model}} among its program_arguments."
        )
    if not output:
        raise SettingsError(
            "no output: AZUREML_BI_OUTPUT_PATH is not set. A parallel step gives --batchscore-output "
            "${{outputs.score}} among its program_arguments."
        )
    root = said["batchscore_base_dir"]
    return Host(
        model=os.path.abspath(model),  # noqa: PTH100 - a link in it stays as it is
        output=os.path.abspath(output),  # noqa: PTH100
        root=None if root is None else os.path.abspath(root),  # noqa: PTH100
        machines=max(1, int(number(environ.get("AZUREML_NODE_COUNT")) or 1)),
        timeout_seconds=number(said["run_invocation_timeout"]),
    )


def number(text: str | None) -> float | None:
    """Return what a host's text counts, `None` where it is no number above 0."""
    with suppress(TypeError, ValueError, OverflowError):
        found = float(text or "")
        return found if 0 < found < 1e9 else None
    return None


def settings_of(host: Host, environ: Mapping[str, str]) -> ResolvedSettings:
    """Return the settings of every call, from the host, the variables, the file they name and the model.

    A file is looked for beside the scoring script: the working folder is a temporary one. Raises `UsageError`
    or `SettingsError`, in words of variables.
    """
    # The script puts its own folder first.
    file = config_file(None, environ, folders=[folder for folder in sys.path if folder])

    def unset(setting: str) -> bool:
        return not environ.get(f"BATCHSCORE_{setting}", "").strip()

    flags: dict[str, Any] = {"model": host.model, "output": host.output, "shared_output": True}
    flags["column"] = column_of(environ)
    if unset("BASE_DIR"):
        flags["base_dir"] = host.root
    if unset("QUOTA_SHARE") and "quota_share" not in file.settings and host.machines > 1:
        flags["quota_share"] = max(1 / host.machines, 0.001)
    if unset("DEADLINE") and "deadline" not in file.settings and host.timeout_seconds is not None:
        flags["deadline"] = own_deadline(host.timeout_seconds)
    with flags_called_variables(environ):
        return resolve_settings(flags, environ=environ, config=file)


def column_of(environ: Mapping[str, str]) -> str | None:
    """Return the text column that the samples' variable names, where our own does not name one."""
    return (
        None if environ.get("BATCHSCORE_COLUMN", "").strip() else environ.get(TEXT_COLUMN, "").strip() or None
    )


def own_deadline(timeout_seconds: float) -> str:
    """Return by when a call is to be over that the host kills after so many seconds."""
    seconds = timeout_seconds - min(timeout_seconds * LEFT_FOR_ENDING, MOST_LEFT_SECONDS)
    return f"{seconds:.0f}s" if seconds >= MINUTE_SECONDS else f"{max(seconds, 0.01):.2f}s"


@contextmanager
def flags_called_variables(environ: Mapping[str, str]) -> Iterator[None]:
    """Let errors speak of the variables that a deployment can set, where they would speak of flags."""
    try:
        yield
    except UnreadableFile:
        raise
    except BatchscoreError as error:
        raise type(error)(in_variables(error.text, environ)) from None


def in_variables(text: str, environ: Mapping[str, str]) -> str:
    """Return a text in which settings have the names of their variables."""
    names = {
        declared.name: variable_of(declared)
        for declared in fields(Settings)
        if not (declared.metadata["only_flag"] or declared.metadata["only_file"])
    }
    if not environ.get(names["column"], "").strip():
        names["column"] = TEXT_COLUMN

    def variable(flag: re.Match[str]) -> str:
        return names.get(flag[1].replace("-", "_"), flag[0])

    named = name_settings(text, lambda name: names.get(name, as_flag(name)))
    return re.sub(r"(?<![\w-])--([a-z][a-z-]*[a-z])", variable, named)
