"""The command line: which commands are there, and how does each of them end?

Each of our errors ends as one message with its exit code, never as a traceback.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import Any, NoReturn

import click

from batchscore.cli.check import check
from batchscore.cli.model import model
from batchscore.cli.outputs import merge, report, verify
from batchscore.cli.plan import plan
from batchscore.cli.score import score
from batchscore.cli.simulate import simulate
from batchscore.errors import BatchscoreError, ExitCode, name_settings
from batchscore.settings.declare import as_flag
from batchscore.settings.secrets import mask_text


class Commands(click.Group):
    """The commands; Ctrl-C ends them without the empty line that click would print."""

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


for command in (score, plan, merge, verify, report, check, model, simulate):
    cli.add_command(command)


def main() -> NoReturn:
    """Run the command line, and exit with its exit code."""
    # Until a run handles signals itself, SIGTERM ends as Ctrl-C does: with one line and exit code 4.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(file=shown)
        click.echo(mask_text(shown.getvalue()), err=True, nl=False)
        sys.exit(int(ExitCode.USAGE))
    except BatchscoreError as error:
        click.echo(f"batchscore: {mask_text(name_settings(error.terminal_text, as_flag))}", err=True)
        sys.exit(int(error.exit_code))
    except (click.Abort, KeyboardInterrupt):
        click.echo("Aborted. Run the same command again to resume.", err=True)
        sys.exit(int(ExitCode.CONTINUE_LATER))
    except BrokenPipeError:
        # The reader of our output has gone away.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(int(ExitCode.DONE))
    sys.exit(int(ExitCode.DONE))
