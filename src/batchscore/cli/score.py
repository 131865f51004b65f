"""The command `batchscore score`: scores files and shows how it goes."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click
import orjson

from batchscore.cli.options import GroupedHelp, config_option, settings_options
from batchscore.cli.say import say
from batchscore.errors import ExitCode
from batchscore.mlflow_model.resolve import resolve_settings
from batchscore.report.json_text import for_json
from batchscore.rows import Event, Listen, Notice
from batchscore.settings.config_file import config_file
from batchscore.settings.secrets import shown_command
from batchscore.settings.sources import parse_param_flags, unread_variables

if TYPE_CHECKING:
    from batchscore.cli.json_events import Events

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


@click.command(help=SCORE_HELP, short_help="Score files.", cls=GroupedHelp)
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@settings_options
@config_option
@click.option(
    "as_json", "--json", is_flag=True, help="Tell what happens on standard output, one JSON object a line."
)
@click.option("--quiet", is_flag=True, help="Show no progress; errors and the summary's problems only.")
@click.option("--verbose", is_flag=True, help="Say in the progress what the run waits for, right now.")
def score(
    inputs: tuple[str, ...], config: str | None, *, as_json: bool, quiet: bool, verbose: bool, **flags: Any
) -> None:
    """Run `batchscore score`."""
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose exclude each other.")
    if not inputs:
        raise click.UsageError("INPUT is missing: name a file, a folder or a glob.")
    from batchscore.cli.json_events import Events  # noqa: PLC0415 - --help and wrong flags must not wait for it

    events = Events(click.echo if as_json else None)
    with events.failing():
        flags["param"] = parse_param_flags(flags.get("param") or ())
        exit_code = scored(inputs, config, events, flags, quiet=quiet, verbose=verbose)
    sys.exit(int(exit_code))


def scored(
    inputs: tuple[str, ...],
    config: str | None,
    events: Events,
    flags: dict[str, Any],
    *,
    quiet: bool,
    verbose: bool,
) -> ExitCode:
    """Score files and show how it goes and ends; returns the exit code."""
    file = config_file(config, os.environ, here=True)
    chosen = resolve_settings(flags, environ=os.environ, config=file)
    settings = chosen.settings
    from batchscore.cli.progress import Progress  # noqa: PLC0415 - rich takes a while to load
    from batchscore.cli.summary import for_machines, summary  # noqa: PLC0415
    from batchscore.run.score_files import score_files  # noqa: PLC0415

    events.start(
        task=settings.task,
        model=settings.model,
        simulated=settings.simulate,
        inputs=inputs,
        output=settings.output,
    )
    in_place = not (events.wanted and sys.stdout.isatty())
    progress = Progress(
        in_place=in_place, verbose=verbose, answer_tokens=settings.charged_answer_tokens, cost=settings.cost
    )
    with nullcontext() if quiet else progress:
        listeners: list[Listen] = [*([] if quiet else [progress]), *([events] if events.wanted else [])]

        def listen(event: Event) -> None:
            for listener in listeners:
                listener(event)

        unread = unread_variables(settings, os.environ)
        if unread:
            listen(Notice(" ".join(unread)))
        # With --overwrite the same command would begin anew instead of going on.
        command = shown_command(["batchscore", *(word for word in sys.argv[1:] if word != "--overwrite")])
        finished = score_files(
            settings,
            inputs,
            environ=os.environ,
            listen=listen,
            named=chosen.sources,
            command=command,
        )
    if events.wanted:
        say(orjson.dumps(for_json(for_machines(finished))))
    elif not quiet or finished.exit_code is not ExitCode.DONE:
        say(summary(finished, words=sys.argv[1:]), err=finished.exit_code is not ExitCode.DONE)
    return finished.exit_code
