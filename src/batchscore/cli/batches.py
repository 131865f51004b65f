"""The command `batchscore batches`: which batches does an output have, and what becomes of them?"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import click

from batchscore.cli.options import GroupedHelp, config_option, options_of, task_option
from batchscore.cli.say import say, say_json
from batchscore.cli.settings_file import settings_file
from batchscore.mlflow_model.resolve import resolve_settings
from batchscore.settings.fields import Settings
from batchscore.settings.secrets import shown_words
from batchscore.settings.service_flags import OF_SERVICE, service_words
from batchscore.stores.address import place_of

BATCHES_HELP = """List the batches of the output folder OUT at the service's Batch API, or change them.

\b
  batchscore batches scores/
  batchscore batches scores/ cancel
  batchscore batches scores/ cancel KEY
  batchscore batches scores/ adopt BATCH_ID
  batchscore batches scores/ forget KEY

\b
Without an ACTION, nothing is changed, at no cost. The present states come from the service if
an endpoint and a key are set as for score; otherwise the last known ones are shown. Name a batch
by its KEY in this list or by its ID at the service.

\b
cancel  Cancel these batches, or all. Rows that were answered are billed: run the same score
        command to record them. It sends the other rows again.
adopt   Use the batch with this ID for the rows whose creation was not confirmed, if its input file
        or the ids of its lines show that it has them. KEY BATCH_ID names the KEY, too.
forget  Remove what OUT knows of these batches. The same score command sends their rows again, and
        what was answered is paid for twice.

\b
Exit codes: 0 done; 1 error: fix OUT, endpoint or key; 2 usage error; 4 the service does not
respond; 5 a run is writing to OUT (adopt and forget).
"""


@click.command(help=BATCHES_HELP, short_help="List or cancel batches of an output.", cls=GroupedHelp)
@click.argument("out")
@click.argument(
    "action", required=False, type=click.Choice(["cancel", "adopt", "forget"]), metavar="[ACTION]"
)
@click.argument("words", nargs=-1, metavar="[KEY|ID]...")
@task_option("Only the batches of this task. Default: all tasks in OUT.")
@options_of(OF_SERVICE)
@config_option
@click.option("as_json", "--json", is_flag=True, help="Print one JSON object instead of a table.")
def batches(
    out: str,
    action: str | None,
    words: tuple[str, ...],
    task: str | None,
    config: str | None,
    *,
    as_json: bool,
    **flags: Any,
) -> None:
    """Run `batchscore batches`."""
    from batchscore.cli.batches_text import to_json, to_text  # noqa: PLC0415 - loads numpy
    from batchscore.report.resume import step_to_complete  # noqa: PLC0415
    from batchscore.run.batches import change_batches, show_batches  # noqa: PLC0415

    def settings_for(task: str) -> tuple[Settings, Mapping[str, str]]:
        # Which model it was changes nothing here: files and batches are not below it.
        given = {**flags, "task": task, "model": "any", "output": out}
        resolved = resolve_settings(given, environ=os.environ, config=settings_file(config, given))
        return resolved.settings, resolved.sources

    place = place_of(out)
    if action is None:
        shown = show_batches(place, task, settings_for, os.environ)
    else:
        shown = change_batches(
            place, action, words, task, settings_for, os.environ, lambda text: say(text, err=True)
        )
    if as_json:
        say_json(to_json(shown))
        return
    typed = service_words(shown_words(sys.argv[1:]))
    say(to_text(shown, out, time.time(), typed, step_to_complete(place, task)))
