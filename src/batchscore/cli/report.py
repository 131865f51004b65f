"""The command `batchscore report`: an output's page, made again."""

from __future__ import annotations

import click

from batchscore.cli.say import say
from batchscore.stores.address import place_of
from batchscore.task import TASKS

REPORT_HELP = """Make the page OUT/report.html again, from OUT's records, manifests and some scores.

\b
It shows how the runs went and what is wrong, in one file that needs no network;
also of a job that many workers ran. No text of the input stands in it.

\b
  batchscore report scores/
"""


@click.command(help=REPORT_HELP, short_help="Make the page report.html of an output.")
@click.argument("out")
@click.option("--task", type=click.Choice(TASKS), help="Show this task only; without it, all of OUT.")
@click.option(
    "--no-vectors", is_flag=True, help="Look at no scores: no map of vectors, no lengths of answers."
)
def report(out: str, task: str | None, *, no_vectors: bool) -> None:
    """Run `batchscore report`."""
    from batchscore.report.page.make import THOROUGHLY, WITHOUT_SAMPLE, write_report  # noqa: PLC0415

    effort = WITHOUT_SAMPLE if no_vectors else THOROUGHLY
    say(f"report: {write_report(place_of(out), task=task, effort=effort)}")
