"""Run by a test in a separate process, under the file system of strange.c: one fault after another.

    python faults.py SHIM FOLDER FAULTS FIRST STEP DONE COMMAND...

For each fault at every STEP-th change, from the FIRST on, that a run makes below FOLDER, it runs the command,
tells how it ended, and runs it once more without a fault. DONE rows are scored before, also without a fault.
Prints one JSON object a line.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import json
import shutil
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from batchscore.cli.main import main

#: Name → what fails, and how: 0 once, 1 from then on, 2 a write takes half and the next fails.
FAULTS = {
    "ENOSPC": (errno.ENOSPC, 1),
    "EIO": (errno.EIO, 1),
    "EIO-once": (errno.EIO, 0),
    "EROFS": (errno.EROFS, 1),
    "EDQUOT-short": (errno.EDQUOT, 2),
}


def ended(arguments: list[str]) -> tuple[int, str]:
    """Run the command line as `batchscore` does; return its exit code and output."""
    said = io.StringIO()
    sys.argv = ["batchscore", *arguments]
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0), said.getvalue()
        except Exception:  # it is the test that says what must not happen
            return -1, said.getvalue() + traceback.format_exc()


def runs(
    shim: ctypes.CDLL, folder: Path, faults: list[str], counts: tuple[int, int, int], command: list[str]
) -> Iterator[dict[str, object]]:
    first, step, done = counts
    for fault in faults:
        number, how = FAULTS[fault]
        at = first - step
        while True:
            at += step
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            if done:
                ended([*command, "--limit", str(done)])
            shim.strange_arm(at, number, how)
            code, said = ended(command)
            changes = shim.strange_count()
            shim.strange_arm(0, 0, 0)
            left = sorted(path.name for path in folder.rglob("*.tmp"))
            again, said_again = ended(command)
            verified, verdict = ended(["verify", str(folder / "out")])
            yield {
                "fault": fault,
                "at": at,
                "code": code,
                "said": said,
                "again": again,
                "said_again": said_again,
                "verified": verified,
                "verdict": verdict,
                "left": left,
                "still_left": sorted(str(path.relative_to(folder)) for path in folder.rglob("*.tmp")),
                "journals": sorted(str(path.relative_to(folder)) for path in folder.rglob("*.journal")),
            }
            if changes < at:
                break


if __name__ == "__main__":
    library, place, names, first, step, done, *words = sys.argv[1:]
    counts = int(first), int(step), int(done)
    for found in runs(ctypes.CDLL(library), Path(place), names.split(","), counts, words):
        print(json.dumps(found), flush=True)
