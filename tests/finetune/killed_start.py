"""Start a job in this process, and kill it at a moment: `killed_start.py ENDPOINT KEY SURFACE MOMENT PARTS`.

The moment is the number of a change of the folder's record. 0: never. A file is sent in this many parts, 1:
as a whole.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefork import kill_at
from trainings import FAST, place_of, started


def is_change(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether an event is a change of the folder's record."""
    return event == "os.rename" and str(arguments[1]).endswith("finetune.json")


if __name__ == "__main__":
    endpoint, key, surface, moment, parts = sys.argv[1:]
    folder = Path("tuned")
    limits = FAST
    if parts != "1":
        size = (folder / "validation.jsonl").stat().st_size
        limits = replace(FAST, parts_from=size - 1, part_bytes=-(-size // int(parts)))
    kill_at(int(moment), is_change)
    print(started(place_of(folder, endpoint, key, surface, limits), surface).job.id)
