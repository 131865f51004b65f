"""The command `batchscore merge`: write the parts of an output folder to one file."""

from __future__ import annotations

import sys

import click

from batchscore.cli.options import task_option
from batchscore.cli.say import bullets, say
from batchscore.errors import ExitCode
from batchscore.report.words import count_text
from batchscore.stores.address import place_of

MERGE_HELP = """Write the scores of the output folder OUT to one FILE, in input order.

\b
FILE ends in .jsonl, .parquet or .arrow. Memory use does not grow with the number of rows.

\b
  batchscore merge scores/ embeddings.parquet

\b
Exit codes: 0 merged; 4 merged, but the scores are not complete yet: resume the score command,
then merge again; 1 error: fix OUT or FILE; 2 usage error.
"""


@click.command(help=MERGE_HELP, short_help="Write the scores of a folder to one file.")
@click.argument("out")
@click.argument("file")
@task_option("The task to merge. Required if OUT holds several.")
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
def merge(out: str, file: str, task: str | None, *, overwrite: bool) -> None:
    """Run `batchscore merge`."""
    from batchscore.output.merge import merge_output  # noqa: PLC0415 - loads the readers of parts

    merged = merge_output(place_of(out), place_of(file), task=task, overwrite=overwrite)
    errors = f"; {count_text(merged.errors, 'row')} with an error record instead" if merged.errors else ""
    say(f"{merged.task}: {merged.rows:,} scores in {file}{errors}")
    if merged.missing:
        say(f"{file} is not complete:\n" + bullets(merged.missing), err=True)
        sys.exit(int(ExitCode.CONTINUE_LATER))
