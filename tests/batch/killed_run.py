"""Run a score in this process, and kill it at a moment: `killed_run.py ENDPOINT KEY MOMENT`.

The moment is the number of a change in the output folder: a file is renamed, removed or opened. 0: never.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from batch_runs import BatchRun
from prefork import kill_at

OF_OUTPUT = {"os.rename": 1, "os.remove": 0, "open": 0}


def is_change(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether an event is a change of the output."""
    if event not in OF_OUTPUT or (event == "open" and "journal" not in str(arguments[0])):
        return False
    place = str(arguments[OF_OUTPUT[event]])
    return ".batchscore" in place or "out/" in place


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("endpoint")
    parser.add_argument("key")
    parser.add_argument("moment", type=int)
    parser.add_argument("--rows", type=int, default=0, help="the number of rows, to get seven chunks")
    parser.add_argument("--limit", type=int, help="read only this number of rows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--incremental", action="store_true")
    given = parser.parse_args()
    kill_at(given.moment, is_change)
    # A row has about 37 tokens with what is sent around it; a chunk has a quarter of the budget.
    tokens = given.rows * 37 * 4 // 6 or 2400
    # At once: what a killed run has said counts.
    run = BatchRun(given.endpoint, given.key, on_notice=lambda text, _: print(text, flush=True))
    more: dict[str, Any] = {"incremental": True} if given.incremental else {}
    more |= {} if given.limit is None else {"limit": given.limit}
    rows = given.rows // 10 or 30
    result = run(rows_per_part=rows, batch_tokens=tokens, batch_rounds=given.rounds, **more)
    print(result.outcome.stopped_by or "")
    sys.exit(int(result.exit_code))
