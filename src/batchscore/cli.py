"""The command line: a terminal's habits to ours and back.

Flags are made from the declarations in `settings`, so that a setting is described once. No logic of
its own: it gathers settings, calls `run.score_files`, shows what happens, and exits with its code.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
import orjson

from batchscore.config_file import ConfigFile, config_file
from batchscore.configuration import parse_param_flags, stands_in, unread_variables
from batchscore.declared import CONFIG_FILE, CONFIG_VARIABLE, variable_of
from batchscore.errors import BatchscoreError, ExitCode, OutputError, SettingsError
from batchscore.model.chosen import choose
from batchscore.model.commands import model
from batchscore.options import GroupedHelp, settings_options, simulator_options
from batchscore.rows import Event, Notice
from batchscore.settings import Settings
from batchscore.simulator import SimulatorSettings
from batchscore.simulator import run as run_simulator
from batchscore.stores.address import place_of as place_named
from batchscore.write.schema import TASKS

if TYPE_CHECKING:
    from batchscore.report.events import Events

#: How many things of a kind are listed before "and so many more".
MOST_LISTED = 10

SCORE_HELP = """Score every row of INPUT: files, folders or globs.

\b
The formats are csv, tsv, parquet, json, jsonl, arrow and txt, the text formats
also compressed (.gz, .zst). The prompt of a row is a column (--column), a
template over columns (--prompt "Summarise: {text}"), or chat messages.

\b
  batchscore score data/ -o scores/ --task embeddings -m text-embedding-3-small --column text
  batchscore score tickets.csv -o tags.jsonl --task chat -m gpt-4o-mini \\
      --system "Answer with one word." --prompt "Topic of: {subject}. {body}"
  batchscore score data/ -o rehearsal/ --task chat -m any --column text --simulate
  batchscore score data/ -o scores/ -m models:/summaries/3

\b
The endpoint is --endpoint, AZURE_OPENAI_ENDPOINT or OPENAI_BASE_URL; keys are taken
from the environment only. Every flag is also a variable (BATCHSCORE_MAX_TOKENS) and a
key of batchscore.toml (max_tokens); flag beats variable beats file. The same
command again goes on where a run stopped.

\b
Exit codes: 0 done; 1 somebody must act (key, deployment, input, output);
2 wrong usage; 3 rows failed; 4 stopped, the same command continues;
5 another run is working on this output.
"""


class Commands(click.Group):
    """The commands; Ctrl-C ends them without the empty line that click would print."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.Abort from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="batchscore")
def cli() -> None:
    """Score every row of a folder of files with an embeddings, completions or chat model."""


@cli.command(help=SCORE_HELP, short_help="Score files.", cls=GroupedHelp)
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@settings_options
@click.option(
    "--config",
    metavar="FILE",
    help=f"Read settings from this file instead of ${CONFIG_VARIABLE} or ./{CONFIG_FILE}.",
)
@click.option(
    "as_json", "--json", is_flag=True, help="Tell what happens on standard output, one JSON object a line."
)
@click.option("--quiet", is_flag=True, help="Show no progress; errors and the summary's problems only.")
def score(inputs: tuple[str, ...], config: str | None, *, as_json: bool, quiet: bool, **flags: Any) -> None:
    """Run `batchscore score`."""
    if not inputs:
        raise click.UsageError("INPUT is missing: name a file, a folder or a glob.")
    from batchscore.report.events import Events  # noqa: PLC0415 - --help and wrong flags must not wait for it

    events = Events(click.echo if as_json else None)
    with events.failing():
        flags["param"] = parse_param_flags(flags.get("param") or ())
        exit_code = scored(inputs, config, events, flags, quiet=quiet)
    sys.exit(int(exit_code))


def scored(
    inputs: tuple[str, ...], config: str | None, events: Events, flags: dict[str, Any], *, quiet: bool
) -> ExitCode:
    """Score files and show how it goes and ends; returns the exit code."""
    file = config_file(config, os.environ, here=True)
    chosen = choose(flags, environ=os.environ, config=file)
    settings = chosen.settings
    named = dict(chosen.named) | {
        declared.name: place
        for declared in fields(Settings)
        if (place := place_of(declared, flags, file)) is not None and declared.name not in chosen.named
    }
    from rich.console import Console  # noqa: PLC0415 - it takes a while to load

    from batchscore.report.progress import Progress  # noqa: PLC0415
    from batchscore.report.summary import for_machines, summary  # noqa: PLC0415
    from batchscore.run import score_files  # noqa: PLC0415 - it brings in aiohttp and pyarrow

    events.start(
        task=settings.task,
        model=settings.model,
        simulated=settings.simulate,
        inputs=inputs,
        output=settings.output,
    )
    console = Console(stderr=True, quiet=quiet)
    with Progress(console, files=lambda: None) as progress:

        def listen(event: Event) -> None:
            progress(event)
            events(event)

        unread = unread_variables(settings, os.environ)
        if unread:
            listen(Notice(" ".join(unread)))
        finished = score_files(settings, inputs, environ=os.environ, listen=listen, named=named)
    if events.wanted:
        say(orjson.dumps(for_machines(finished)))
    elif not quiet or finished.exit_code is not ExitCode.DONE:
        # With --overwrite the same command would begin anew instead of going on.
        command = shlex.join(["batchscore", *(word for word in sys.argv[1:] if word != "--overwrite")])
        say(summary(finished, command=command), err=finished.exit_code is not ExitCode.DONE)
    return finished.exit_code


def say(text: str | bytes, *, err: bool = False) -> None:
    """Print how a run ended; a reader that has gone changes nothing, a full disk is an `OutputError`."""
    stream = sys.stderr if err else sys.stdout
    try:
        click.echo(text, err=err)
    except OSError as error:
        # What is still in the buffer has nowhere to go when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if not isinstance(error, BrokenPipeError):
            reason = f"cannot write to {stream.name.strip('<>')}: {error.strerror}"
            raise OutputError(f"{reason}. The scores themselves are written.") from None


def place_of(declared: Field[Any], flags: Mapping[str, Any], file: ConfigFile) -> str | None:
    """Return which variable or file gave a setting its value; `None` for a flag or a default."""
    if flags.get(declared.name) not in (None, (), {}, False):
        return None
    if os.environ.get(variable_of(declared), "").strip():
        return variable_of(declared)
    return file.name if stands_in(declared, file.settings) else None


MERGE_HELP = """Write the scores of the output folder OUT to one FILE, in input order.

\b
FILE ends in .jsonl, .parquet or .arrow. Memory stays the same, however much there is.

\b
  batchscore merge scores/ embeddings.parquet

\b
Exit codes: 0 merged; 4 merged what there is, but the output is not complete yet: the same score
command continues, then merge again; 1 somebody must act; 2 wrong usage.
"""


@cli.command(help=MERGE_HELP, short_help="Write the scores of a folder to one file.")
@click.argument("out")
@click.argument("file")
@click.option(
    "--task", type=click.Choice(TASKS), help="Which scores, where OUT holds those of several tasks."
)
@click.option("--overwrite", is_flag=True, help="Replace FILE where it is there already.")
def merge(out: str, file: str, task: str | None, *, overwrite: bool) -> None:
    """Run `batchscore merge`."""
    from batchscore.merging import merge_output  # noqa: PLC0415 - it brings in what reads parts

    merged = merge_output(place_named(out), place_named(file), task=task, overwrite=overwrite)
    errors = f"; rows with an error record instead: {merged.errors:,}" if merged.errors else ""
    say(f"{merged.task}: {merged.rows:,} scores in {file}{errors}")
    if merged.missing:
        say(f"{file} is not complete:\n" + bullets(merged.missing), err=True)
        sys.exit(int(ExitCode.CONTINUE_LATER))


VERIFY_HELP = """Check that the output folder OUT holds what its manifests say, row by row.

\b
With --repair what is damaged or left over is removed, so that the same score
command asks for those rows again.

\b
  batchscore verify scores/

\b
Exit codes: 0 complete and right; 4 right, but not complete: the same score command
continues; 1 damaged or missing; 2 wrong usage; 5 a run is working on it.
"""


@cli.command(help=VERIFY_HELP, short_help="Check an output folder, and repair it.")
@click.argument("out")
@click.option(
    "--task", type=click.Choice(TASKS), help="Which scores, where OUT holds those of several tasks."
)
@click.option("--repair", is_flag=True, help="Remove what is damaged, and no more.")
@click.option("as_json", "--json", is_flag=True, help="End with one JSON object on standard output.")
def verify(out: str, task: str | None, *, repair: bool, as_json: bool) -> None:
    """Run `batchscore verify`."""
    from batchscore.verifying import for_machines, for_people, verify_output  # noqa: PLC0415

    verdict = verify_output(
        place_named(out), task=task, repair=repair, notice=lambda text: say(text, err=True)
    )
    say(orjson.dumps(for_machines(verdict)) if as_json else for_people(verdict))
    sys.exit(int(verdict.exit_code))


CHECK_HELP = """Check Azure ML's files (endpoints, deployments, pipelines, schedules), offline.

PATH is a file, or a folder whose YAML files are checked. They are held against azure-ai-ml and
against what it lets pass; nothing is sent.

\b
  batchscore check deployment/

\b
Exit codes: 0 nothing is wrong; 1 something is, each a line; 2 wrong usage.
"""


@cli.command(help=CHECK_HELP, short_help="Check Azure ML's files, offline.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
@click.option("as_json", "--json", is_flag=True, help="End with one JSON object on standard output.")
def check(paths: tuple[Path, ...], *, as_json: bool) -> None:
    """Run `batchscore check`."""
    from batchscore.checking import check_files, for_machines  # noqa: PLC0415 - it brings in a YAML parser

    checked = check_files(paths)
    if as_json:
        say(orjson.dumps(for_machines(checked)))
    elif checked.findings:
        say("\n".join(map(str, checked.findings)), err=True)
    else:
        say(f"Nothing is wrong in {len(checked.files)} files.")
    sys.exit(int(ExitCode.PERSON_MUST_ACT if checked.findings else ExitCode.DONE))


def bullets(lines: Sequence[str]) -> str:
    """Return a list for a person, cut where it is long."""
    shown = [f"  {line}" for line in lines[:MOST_LISTED]]
    more = [f"  and {len(lines) - MOST_LISTED:,} more"] if len(lines) > MOST_LISTED else []
    return "\n".join([*shown, *more])


cli.add_command(model)


@cli.command(short_help="Serve a simulated Azure OpenAI and OpenAI endpoint on loopback.")
@simulator_options
def simulate(**options: Any) -> None:
    """Serve an honest simulation of Azure OpenAI and OpenAI on 127.0.0.1, to rehearse with.

    The first line on standard output is JSON with the endpoint and the key. Nothing leaves this
    machine and nothing costs money; vectors and answers are made up from the text, deterministically.
    """
    given = {name: value for name, value in options.items() if value not in (None, ())}
    try:
        settings = SimulatorSettings(**given)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        run_simulator(settings)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise SettingsError(f"the simulator cannot listen on port {settings.port}: {reason}.") from None


def main() -> NoReturn:
    """Run the command line; every error of ours ends as one message and its exit code."""
    # Until a run takes signals itself, SIGTERM ends as Ctrl-C does: in one line and exit code 4.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(int(ExitCode.USAGE))
    except BatchscoreError as error:
        click.echo(f"batchscore: {error}", err=True)
        sys.exit(int(error.exit_code))
    except (click.Abort, KeyboardInterrupt):
        click.echo("batchscore: aborted; the same command goes on.", err=True)
        sys.exit(int(ExitCode.CONTINUE_LATER))
    except BrokenPipeError:
        # Whoever read our output has gone; nothing is left to say to them.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(int(ExitCode.DONE))
    sys.exit(int(ExitCode.DONE))
