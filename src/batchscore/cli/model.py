"""The command `batchscore model`: save MLflow models from the terminal.

Its flags are those of `batchscore score` that a model stores.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from batchscore.cli.options import GroupedHelp, local_path, options_of
from batchscore.cli.say import say
from batchscore.mlflow_model.folder import ANSWERS, STORED
from batchscore.settings.checks import ANSWER_PARAMS
from batchscore.settings.service_flags import ENDPOINT_VARIABLES
from batchscore.settings.sources import parse_param_flags
from batchscore.settings.trust import is_saved_model
from batchscore.stores.address import shell_command

SAVE_HELP = """Write an MLflow model into the folder PATH.

It stores task, model, parameters, template and limits. Any host that loads MLflow models can score
with it, and so can "batchscore score --model PATH". It stores no key and no endpoint: they come from
the environment of the scoring process. If --model is an MLflow model, a copy of it is written.

\b
  batchscore model save summaries/ --task chat -m gpt-4o-mini \\
      --prompt "Summarise in one sentence: {text}" --temperature 0
  batchscore score data/ -o scores/ --model summaries/ --column body

\b
Exit codes: 0 saved; 1 error: fix settings or PATH; 2 usage error.
"""


@click.group(short_help="Save settings as an MLflow model.")
def model() -> None:
    """Save settings as an MLflow model."""


@model.command(help=SAVE_HELP, short_help="Write an MLflow model into a folder.", cls=GroupedHelp)
@click.argument("path", type=local_path)
@options_of({"task", "model", "param", "dimensions", "max_tokens", *ANSWER_PARAMS, *STORED})
@click.option(
    "--on-error",
    type=click.Choice(ANSWERS["on_error"]),
    help="What predict does if a row fails: return an error record, or raise.  [default: record]",
)
@click.option(
    "--returns",
    type=click.Choice(ANSWERS["returns"]),
    help="What predict returns: a frame of rows with errors, or only the values.  [default: rows]",
)
@click.option(
    "--requirement",
    "pip_requirements",
    multiple=True,
    metavar="SPEC",
    help="pip requirement of the model. Default: mlflow and batchscore at their versions here. Repeatable.",
)
@click.option("--overwrite", is_flag=True, help="Replace the model in PATH.")
def save(path: Path, *, pip_requirements: tuple[str, ...], overwrite: bool, **given: Any) -> None:
    """Run `batchscore model save`."""
    given["param"] = parse_param_flags(given.get("param") or ())
    given |= {name: given[name] or choices[0] for name, choices in ANSWERS.items()}

    from batchscore.mlflow_model.save import save_model  # noqa: PLC0415 - loads the prompt code

    save_model(path, **given, pip_requirements=pip_requirements or None, overwrite=overwrite)
    named = str(path) if is_saved_model(str(path)) else f"./{path}"
    words, how = ["batchscore", "score", "INPUT", "-o", "OUT", "--model", named], "To score with it, run"
    if not any(os.environ.get(name) for name in ENDPOINT_VARIABLES):
        words += ["--endpoint", "ENDPOINT"]
        how = "It holds no endpoint: to score with it, write the service's address for ENDPOINT, and run"
    say(f"Saved {path}. {how}: {shell_command(words)}")
