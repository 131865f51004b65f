"""Would the scoring script's `init()` take these environment variables?

It asks what `init()` asks, with a model that could be any: what only the registered model could tell is left
open. Nothing is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchscore.azureml.host import column_of, flags_called_variables
from batchscore.endpoint.from_settings import endpoints_of
from batchscore.errors import BatchscoreError
from batchscore.prompts.spec import parse_spec
from batchscore.settings.declare import VARIABLE_PREFIX
from batchscore.settings.fields import Settings
from batchscore.settings.slices import EndpointSettings, PromptSettings, cut
from batchscore.settings.sources import gather
from batchscore.task import TASKS

#: What the model may say, and what may name a file of the node.
OF_THE_MODEL = ("text_field", "messages")


def start_problem(variables: Mapping[str, object], in_file: Mapping[str, Any]) -> str | None:
    """Return why `init()` would raise, whichever task the model is for; `None` where it would not.

    `in_file` are the settings of the file that BATCHSCORE_CONFIG names.
    """
    if any("${{" in str(value) for value in variables.values()):
        return None  # what an expression will stand for, only the service knows
    left_open = [VARIABLE_PREFIX + name.upper() for name in OF_THE_MODEL]
    environ = {name: str(value) for name, value in variables.items() if name not in left_open}
    in_file = {name: value for name, value in in_file.items() if name not in OF_THE_MODEL}
    reasons = [reason_for(task, environ, in_file) for task in TASKS]
    return reasons[0] if all(reasons) else None


def reason_for(task: str, environ: Mapping[str, str], in_file: Mapping[str, Any]) -> str | None:
    """Return why `init()` would raise with a model of this task."""
    flags = {
        "task": task,
        "model": "any",
        "output": "/output",
        "shared_output": True,
        "column": column_of(environ),
    }
    try:
        with flags_called_variables(environ):
            settings = Settings(**gather(flags, environ=environ, config=in_file))
            parse_spec(cut(PromptSettings, settings))
            endpoints_of(cut(EndpointSettings, settings), environ, None)
    except BatchscoreError as error:
        return str(error)
    return None
