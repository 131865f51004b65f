"""The command `batchscore verify`: does an output hold what its manifests say?"""

from __future__ import annotations

import sys

import click
import orjson

from batchscore.cli.options import task_option
from batchscore.cli.say import say
from batchscore.stores.address import place_of

VERIFY_HELP = """Check row by row that the output folder OUT holds what its manifests say.

\b
With --repair, damaged and leftover files are removed. Then run the same score command
again to score the missing rows.

\b
  batchscore verify scores/

\b
Exit codes: 0 complete and correct; 4 correct, but incomplete: resume the score command;
1 damaged or missing parts, or an unreadable input file; 2 usage error; 5 a run is writing to OUT.
"""


@click.command(help=VERIFY_HELP, short_help="Check an output folder, and repair it.")
@click.argument("out")
@task_option("The task to check. Required if OUT holds several.")
@click.option("--repair", is_flag=True, help="Remove damaged and leftover files.")
@click.option("as_json", "--json", is_flag=True, help="Print one JSON object on standard output at the end.")
def verify(out: str, task: str | None, *, repair: bool, as_json: bool) -> None:
    """Run `batchscore verify`."""
    from batchscore.output.verify import verify_output  # noqa: PLC0415

    result = verify_output(place_of(out), task=task, repair=repair, notice=lambda text: say(text, err=True))
    say(orjson.dumps(result.to_json()) if as_json else result.to_text())
    sys.exit(int(result.exit_code))
