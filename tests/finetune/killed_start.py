"""Start a job in this process, and kill it at a moment: `killed_start.py ENDPOINT KEY SURFACE MOMENT PARTS`.

The moment is the number of a change of the folder's record. 0: never. A file is sent in this many parts, 1:
as a whole.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainings import FAST, place_of, started


def kill_at(moment: int) -> None:
    """Kill this process just before the change of this number."""
    changes = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal changes
        if event == "os.rename" and str(arguments[1]).endswith("finetune.json"):
            changes += 1
            if changes == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    if moment:
        sys.addaudithook(hook)


if __name__ == "__main__":
    endpoint, key, surface, moment, parts = sys.argv[1:]
    folder = Path("tuned")
    limits = FAST
    if parts != "1":
        size = (folder / "validation.jsonl").stat().st_size
        limits = replace(FAST, parts_from=size - 1, part_bytes=-(-size // int(parts)))
    kill_at(int(moment))
    print(started(place_of(folder, endpoint, key, surface, limits), surface).job.id)
