"""The command `batchscore verify`: whether an output holds what its manifests say."""

from __future__ import annotations

import sys

import click
import orjson

from batchscore.cli.say import say
from batchscore.stores.address import place_of
from batchscore.task import TASKS

VERIFY_HELP = """Check that the output folder OUT holds what its manifests say, row by row.

\b
With --repair what is damaged or left over is removed, so that the same score
command asks for those rows again.

\b
  batchscore verify scores/

\b
Exit codes: 0 complete and right; 4 right, but not complete: the same score command
continues; 1 damaged or missing, or an input file cannot be read; 2 wrong usage;
5 a run is working on it.
"""


@click.command(help=VERIFY_HELP, short_help="Check an output folder, and repair it.")
@click.argument("out")
@click.option(
    "--task", type=click.Choice(TASKS), help="Which scores, where OUT holds those of several tasks."
)
@click.option("--repair", is_flag=True, help="Remove what is damaged, and no more.")
@click.option("as_json", "--json", is_flag=True, help="End with one JSON object on standard output.")
def verify(out: str, task: str | None, *, repair: bool, as_json: bool) -> None:
    """Run `batchscore verify`."""
    from batchscore.output.verify import verify_output  # noqa: PLC0415

    result = verify_output(place_of(out), task=task, repair=repair, notice=lambda text: say(text, err=True))
    say(orjson.dumps(result.to_json()) if as_json else result.to_text())
    sys.exit(int(result.exit_code))
