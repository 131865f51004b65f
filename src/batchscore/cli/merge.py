"""The command `batchscore merge`: the parts of a folder as one file."""

from __future__ import annotations

import sys

import click

from batchscore.cli.say import bullets, say
from batchscore.errors import ExitCode
from batchscore.stores.address import place_of
from batchscore.task import TASKS

MERGE_HELP = """Write the scores of the output folder OUT to one FILE, in input order.

\b
FILE ends in .jsonl, .parquet or .arrow. Memory stays the same, however much there is.

\b
  batchscore merge scores/ embeddings.parquet

\b
Exit codes: 0 merged; 4 merged what there is, but the output is not complete yet: the same score
command continues, then merge again; 1 somebody must act; 2 wrong usage.
"""


@click.command(help=MERGE_HELP, short_help="Write the scores of a folder to one file.")
@click.argument("out")
@click.argument("file")
@click.option(
    "--task", type=click.Choice(TASKS), help="Which scores, where OUT holds those of several tasks."
)
@click.option("--overwrite", is_flag=True, help="Replace FILE where it is there already.")
def merge(out: str, file: str, task: str | None, *, overwrite: bool) -> None:
    """Run `batchscore merge`."""
    from batchscore.output.merge import merge_output  # noqa: PLC0415 - it brings in what reads parts

    merged = merge_output(place_of(out), place_of(file), task=task, overwrite=overwrite)
    errors = f"; rows with an error record instead: {merged.errors:,}" if merged.errors else ""
    say(f"{merged.task}: {merged.rows:,} scores in {file}{errors}")
    if merged.missing:
        say(f"{file} is not complete:\n" + bullets(merged.missing), err=True)
        sys.exit(int(ExitCode.CONTINUE_LATER))
