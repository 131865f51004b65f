"""The command line: which commands are there, and how does each of them end?

Each of our errors ends as one message with its exit code, never as a traceback.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import Any, NoReturn

import click
import orjson

from batchscore.cli.batches import batches
from batchscore.cli.check import check
from batchscore.cli.evaluate import evaluate
from batchscore.cli.finetune import finetune
from batchscore.cli.finetune_deploy import DEPLOY_COMMANDS
from batchscore.cli.finetune_job import JOB_COMMANDS
from batchscore.cli.model import model
from batchscore.cli.outputs import merge, report, verify
from batchscore.cli.plan import plan
from batchscore.cli.say import say, worded
from batchscore.cli.score import score
from batchscore.cli.simulate import simulate
from batchscore.errors import BatchscoreError, ExitCode, OutputError, name_settings, visible_message
from batchscore.report.words import json_safe
from batchscore.settings.declare import as_flag
from batchscore.settings.secrets import mask_text


class Commands(click.Group):
    """The commands; Ctrl-C ends them without the empty line that click would print."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words before a command."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.option_name != "-v":
                raise
            raise click.NoSuchOption("-v", f"{error.message} The version is shown by -V.", ctx=ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.Abort from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(None, "-V", "--version", package_name="batchscore")
def cli() -> None:
    """Score every row of a folder of files with a model for embeddings or text."""


for command in (score, plan, batches, merge, verify, report, evaluate, check, finetune, model, simulate):
    cli.add_command(command)
for of_training in (*JOB_COMMANDS, *DEPLOY_COMMANDS):
    finetune.add_command(of_training)


def main() -> NoReturn:
    """Run the command line, and exit with its exit code."""
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(file=shown)
        click.echo(visible_message(mask_text(shown.getvalue())), err=True, nl=False)
        fail(ExitCode.USAGE, error.format_message())
    except BatchscoreError as error:
        click.echo(f"batchscore: {mask_text(worded(error.terminal_text))}", err=True)
        fail(error.exit_code, error.text)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Aborted. Run the same command again.", err=True)
        fail(ExitCode.CONTINUE_LATER, "interrupted by a signal")
    except BrokenPipeError:
        # The reader of our output has gone away.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(int(ExitCode.DONE))
    sys.exit(int(ExitCode.DONE))


def fail(code: ExitCode, reason: str) -> NoReturn:
    """Exit with this code; with `--json`, standard output says why in an object `failed`."""
    if "--json" in sys.argv[1:]:
        why = mask_text(name_settings(reason, as_flag))
        failed = {"event": "failed", "exit_code": int(code), "reason": why}
        # Standard output may be what failed.
        with suppress(OutputError):
            say(orjson.dumps(json_safe(failed)))
    sys.exit(int(code))
