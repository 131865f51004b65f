"""Run a score in this process, and kill it at a moment: `python killed_run.py ENDPOINT KEY MOMENT`.

The moment is the number of a change in the output folder: a file is renamed, removed or opened. 0: never.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from batch_runs import BatchRun

OF_OUTPUT = {"os.rename": 1, "os.remove": 0, "open": 0}


def kill_at(moment: int) -> None:
    """Kill this process just before the change of this number."""
    changes = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal changes
        if event not in OF_OUTPUT or (event == "open" and "journal" not in str(arguments[0])):
            return
        if ".batchscore" in (place := str(arguments[OF_OUTPUT[event]])) or "out/" in place:
            changes += 1
            if changes == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    if moment:
        sys.addaudithook(hook)


if __name__ == "__main__":
    endpoint, key, moment = sys.argv[1:]
    kill_at(int(moment))
    result = BatchRun(endpoint, key)(rows_per_part=30, batch_tokens=2400)
    sys.exit(int(result.exit_code))
