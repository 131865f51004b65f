"""The command `batchscore score`: score files and show the progress."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchscore.cli.allocator import choose_allocator
from batchscore.cli.options import ALL, GroupedHelp, config_option, options_of
from batchscore.cli.say import say, say_json
from batchscore.cli.settings_file import settings_file
from batchscore.cli.standard_input import input_files
from batchscore.errors import EXIT_MEANINGS, ExitCode, name_settings, setting_name, with_reply
from batchscore.mlflow_model.resolve import ResolvedSettings, resolve_settings
from batchscore.settings.declare import as_flag
from batchscore.settings.secrets import mask_text, shown_command, shown_words
from batchscore.settings.sources import parse_param_flags, unread_variables

if TYPE_CHECKING:
    from batchscore.cli.json_events import JsonEvents
    from batchscore.rows import Event, Listen
    from batchscore.run.record import RunResult
    from batchscore.settings.fields import Settings

SCORE_HELP = """Score every row of INPUT: files, folders or globs, or - for standard input.

\b
Formats: csv, tsv, json, jsonl, ndjson and txt, also compressed (.gz, .zst, .bz2, .xz); parquet,
arrow, feather, ipc and xlsx. The prompt of a row is a column (--column), a template with
columns (--prompt "Summarise: {text}"), or chat messages.

\b
  batchscore score tickets.csv -o answers.csv --task chat -m gpt-4o-mini \\
      --prompt "Topic of this ticket, in one word: {text}"
  batchscore score data/ -o scores/ --task embeddings -m text-embedding-3-small --column text
  batchscore score data/ -o rehearsal/ --task chat -m any --column text --simulate
  batchscore score data/ -o scores/ -m models:/summaries/3

\b
The endpoint is --endpoint, AZURE_OPENAI_ENDPOINT or OPENAI_BASE_URL. Keys are read from
the environment only: AZURE_OPENAI_API_KEY, OPENAI_API_KEY, or BATCHSCORE_API_KEY for any
endpoint. Most settings can also be variables (BATCHSCORE_MAX_TOKENS) or keys of
batchscore.toml (max_tokens), see docs/reference/settings.md. A flag overrides a
variable, a variable overrides the file. To resume a run that stopped, run the same
command again.

\b
Exit codes:
""" + name_settings(
    "\n".join(
        f"  {code.value} {text}"
        for code, (text, _) in EXIT_MEANINGS.items()
        if code is not ExitCode.NOT_GOOD_ENOUGH
    ),
    as_flag,
)


@click.command(help=SCORE_HELP, short_help="Score files.", cls=GroupedHelp)
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@options_of(ALL)
@config_option
@click.option(
    "as_json", "--json", is_flag=True, help="Print events on standard output, one JSON object per line."
)
@click.option("--quiet", is_flag=True, help="Show no progress, and the summary only if there are problems.")
@click.option("--verbose", is_flag=True, help="Show in the progress what the run is waiting for.")
def score(
    inputs: tuple[str, ...], config: str | None, *, as_json: bool, quiet: bool, verbose: bool, **flags: Any
) -> None:
    """Run `batchscore score`."""
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose exclude each other.")
    if not inputs:
        raise click.UsageError("INPUT is missing: name a file, a folder or a glob.")
    from batchscore.cli.json_events import JsonEvents  # noqa: PLC0415 - not needed for --help and wrong flags

    events = JsonEvents(click.echo if as_json else None)
    flags["param"] = parse_param_flags(flags.get("param") or ())
    chosen = resolve_settings(flags, environ=os.environ, config=settings_file(config, flags))
    choose_allocator(chosen.settings)
    printed = chosen.settings.output == "-"
    with input_files(inputs, chosen.settings) as files:
        if printed:
            from batchscore.cli.standard_output import file_for, print_scores  # noqa: PLC0415 - few runs
            from batchscore.output.spec import StandardOutput  # noqa: PLC0415
            from batchscore.stores.storage import digest_of  # noqa: PLC0415

            content = f"{Path(files[0]).name} {digest_of(Path(files[0]))}" if "-" in inputs else ""
            file = file_for(chosen.settings, files, content=content, as_json=as_json)
            chosen = replace(chosen, settings=replace(chosen.settings, output=StandardOutput(file)))
        finished = score_and_show(files, chosen, events, quiet=quiet, verbose=verbose, printed=printed)
        if printed and finished.file_written:
            end = finished.outcome
            is_complete = finished.exit_code is ExitCode.DONE and not (end.failed or end.limited)
            print_scores(file, is_complete=is_complete)
    sys.exit(int(finished.exit_code))


def score_and_show(
    inputs: Sequence[str],
    chosen: ResolvedSettings,
    events: JsonEvents,
    *,
    quiet: bool,
    verbose: bool,
    printed: bool,
) -> RunResult:
    """Score files, show progress and summary, and return how the run ended.

    `printed`: standard output is for the scores, so the summary goes to standard error.
    """
    from batchscore.cli.progress import Progress  # noqa: PLC0415 - not needed for --help
    from batchscore.cli.summary import summary, to_json  # noqa: PLC0415
    from batchscore.rows import Expected  # noqa: PLC0415
    from batchscore.run.score_files import score_files  # noqa: PLC0415

    settings = chosen.settings
    facts = {"simulated": settings.simulate, "inputs": list(inputs), "output": settings.output}
    events.write_line("started", task=settings.task, model=settings.model, **facts)
    progress = (
        None
        if quiet
        else Progress(
            in_place=not (events.enabled and sys.stdout.isatty()),
            verbose=verbose,
            answer_tokens=settings.charged_answer_tokens,
            cost=settings.cost,
        )
    )
    with progress or nullcontext():
        listeners: list[Listen] = [*([progress] if progress else []), *([events] if events.enabled else [])]

        expected: Expected | None = None

        def listen(event: Event) -> None:
            nonlocal expected
            if isinstance(event, Expected):
                expected = event
            for listener in listeners:
                listener(event)

        # The same command with --overwrite would start from scratch instead of resuming.
        command = shown_command(["batchscore", *(word for word in sys.argv[1:] if word != "--overwrite")])
        unread = unread_variables(settings, os.environ)
        warnings = (unread, literal_line_breaks(settings), chosen.warnings)
        finished = score_files(
            settings,
            inputs,
            environ=os.environ,
            listen=listen,
            named=chosen.sources,
            command=command,
            warnings=[" ".join(sentences) for sentences in warnings if sentences],
        )
    failed = finished.exit_code is not ExitCode.DONE
    for text in finished.statistics.billed_twice if not listeners else ():
        say(text, err=True)  # also with --quiet
    if events.enabled:
        say_json(to_json(finished))
        stopped = finished.outcome.stopped_by
        if stopped is not None and stopped.service_reply:
            say(mask_text(with_reply("Stopped.", stopped.service_reply)), err=True)
    elif failed or not quiet:
        text = summary(finished, words=shown_words(sys.argv[1:]), expected=expected, printed=printed)
        say(text, err=printed)
    return finished


def literal_line_breaks(settings: Settings) -> list[str]:
    """Return a warning for each text of the prompt that holds a backslash and an n."""
    return [
        f"{setting_name(name)} holds a backslash and an n, not a line break. In bash, a line break is "
        f"written $'first line\\nsecond line'."
        for name in ("prompt", "system")
        if "\\n" in (getattr(settings, name) or "")
    ]
