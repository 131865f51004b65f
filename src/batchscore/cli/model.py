"""The command `batchscore model`: writes MLflow models from the terminal.

Its flags are those of `batchscore score`, as far as a model stores them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from batchscore.cli.options import GroupedHelp, options_of
from batchscore.mlflow_model.layout import ANSWERS, STORED
from batchscore.settings.sources import parse_param_flags

SAVE_HELP = """Write an MLflow model into the folder PATH.

It says what to ask: task, model, parameters, template, limits. Every host that loads MLflow models
can score with it, and so can "batchscore score --model PATH". It holds no key and no endpoint; those
come from the environment of whoever scores. With an MLflow model as --model, that one is written anew.

\b
  batchscore model save summaries/ --task chat -m gpt-4o-mini \\
      --prompt "Summarise in one sentence: {text}" --param temperature=0
  batchscore score data/ -o scores/ --model summaries/ --column body

\b
Exit codes: 0 written; 1 somebody must act; 2 wrong usage.
"""


@click.group(short_help="Save what to ask as an MLflow model.")
def model() -> None:
    """Save what to ask as an MLflow model."""


@model.command(help=SAVE_HELP, short_help="Write an MLflow model into a folder.", cls=GroupedHelp)
@click.argument("path", type=click.Path(path_type=Path))
@options_of({"task", "model", "param", "dimensions", "max_tokens", *STORED})
@click.option(
    "--on-error",
    type=click.Choice(ANSWERS["on_error"]),
    help="What predict does with a row that fails: records why, or raises.  [default: record]",
)
@click.option(
    "--returns",
    type=click.Choice(ANSWERS["returns"]),
    help="What predict returns: rows of a frame with errors, or the bare values.  [default: rows]",
)
@click.option(
    "--requirement",
    "pip_requirements",
    multiple=True,
    metavar="SPEC",
    help="What pip installs to load it, instead of mlflow and batchscore as they are here. Repeatable.",
)
@click.option("--overwrite", is_flag=True, help="Replace the model that PATH holds.")
def save(path: Path, *, pip_requirements: tuple[str, ...], overwrite: bool, **given: Any) -> None:
    """Run `batchscore model save`."""
    given["param"] = parse_param_flags(given.get("param") or ())
    answers = {name: given.pop(name) or choices[0] for name, choices in ANSWERS.items()}

    from batchscore.mlflow_model.save import settings_of, write_model  # noqa: PLC0415 - it brings in what reads prompts

    write_model(
        path, settings_of(given), answers, pip_requirements=pip_requirements or None, overwrite=overwrite
    )
    click.echo(f"{path}: saved; score with it: batchscore score INPUT -o OUT --model {path}")
