"""The command `batchscore report`: write the report page of an output again."""

from __future__ import annotations

import click

from batchscore.cli.options import task_option
from batchscore.cli.say import say
from batchscore.stores.address import place_of

REPORT_HELP = """Write OUT/report.html again, from the records, manifests and some scores in OUT.

\b
The page shows how the runs went and which problems there are, also for a job with many
workers. It is one file that works offline. It contains no text of the input.

\b
  batchscore report scores/
"""


@click.command(help=REPORT_HELP, short_help="Write the report page of an output.")
@click.argument("out")
@task_option("Show only this task. Default: all tasks in OUT.")
@click.option(
    "--no-vectors", is_flag=True, help="Read no scores: no map of the vectors, no lengths of answers."
)
def report(out: str, task: str | None, *, no_vectors: bool) -> None:
    """Run `batchscore report`."""
    from batchscore.report.page.make import write_report  # noqa: PLC0415 - loads numpy
    from batchscore.report.page.sample import THOROUGHLY, WITHOUT_SAMPLE  # noqa: PLC0415

    effort = WITHOUT_SAMPLE if no_vectors else THOROUGHLY
    say(f"report: {write_report(place_of(out), task=task, effort=effort)}")
