"""The command line: which commands are there, and how does each of them end?

Each of our errors ends as one message with its exit code, never as a traceback.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NoReturn

import click

from batchscore.cli.program import COMMANDS
from batchscore.cli.say import drop_rest, say_json, worded
from batchscore.errors import BatchscoreError, ExitCode, OutputError, name_settings, visible_message
from batchscore.settings.declare import as_flag
from batchscore.settings.secrets import mask_text, shown_words
from batchscore.stores.address import path_text


class Commands(click.Group):
    """The commands, each loaded when it is called; Ctrl-C ends them without the empty line of click."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name, `None` if there is none."""
        if cmd_name in COMMANDS and cmd_name not in self.commands:
            module = import_module(f"batchscore.cli.{COMMANDS[cmd_name]}")
            self.add_command(getattr(module, cmd_name))
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that was named; click would compare a wrong name with loaded commands only."""
        name = args[0]
        if name in COMMANDS or name.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        similar = get_close_matches(name, self.list_commands(ctx), cutoff=0.5)
        meant = f" Did you mean {' or '.join(map(repr, similar))}?" if similar else ""
        raise click.UsageError(f"No such command {name!r}.{meant}", ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words before a command; `help COMMAND` is `COMMAND --help`."""
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
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
        click.echo(aborted(sys.argv[1:]), err=True)
        fail(ExitCode.CONTINUE_LATER, "interrupted by a signal")
    except BrokenPipeError:
        drop_rest(sys.stdout.fileno())  # its reader has gone away
        sys.exit(int(ExitCode.DONE))
    except OSError as error:
        if not isinstance(error.filename, (str, bytes)):
            raise
        # A path that cannot be used in a way that no command foresees.
        reason = f"cannot use {path_text(os.fsdecode(error.filename))}: {error.strerror}"
        click.echo(f"batchscore: {mask_text(worded(reason))}", err=True)
        fail(ExitCode.ACTION_NEEDED, reason)
    sys.exit(int(ExitCode.DONE))


def aborted(words: Sequence[str]) -> str:
    """Return what is said of a command that a signal ended: scores are saved, and resumed as after a stop."""
    if words[:1] != ["score"]:
        return "Aborted. Run the same command again."
    from batchscore.report.advice import RunState, next_step  # noqa: PLC0415 - other commands do not need it

    step = next_step(RunState("", "", shown_words(["batchscore", *words]), stopped=True))
    return worded(f"Aborted. Completed rows are saved.\n{step}")


def fail(code: ExitCode, reason: str) -> NoReturn:
    """Exit with this code; with `--json`, standard output says why in an object `failed`."""
    if "--json" in sys.argv[1:]:
        why = mask_text(name_settings(reason, as_flag))
        # Standard output may be what failed.
        with suppress(OutputError):
            say_json({"event": "failed", "exit_code": int(code), "reason": why})
    sys.exit(int(code))
