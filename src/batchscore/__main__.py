"""The command `batchscore`, and `python -m batchscore`.

It imports nothing heavy itself, so that Ctrl-C while the rest is loading ends in one line as well.
"""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Load the command line and run it."""
    # What is loaded stays: the collector would walk through all of it again and again, a tenth of the time.
    gc.disable()
    # The one product of matrices, for the map of a report, is small: idle threads would cost ten times it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        from batchscore.cli.main import main as run  # noqa: PLC0415
    except KeyboardInterrupt:
        sys.stderr.write("batchscore: aborted; the same command goes on.\n")
        sys.exit(4)
    gc.enable()
    try:
        run()
    finally:
        # The interpreter would look for cycles among all that is loaded, a fifth of a second, to no avail.
        gc.freeze()


if __name__ == "__main__":
    main()
