"""The command `batchscore`, also as `python -m batchscore`.

It imports nothing heavy itself, so that Ctrl-C during loading gives a single line as well.
"""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Load the command line and run it."""
    # The loaded modules stay: the garbage collector would scan them repeatedly, a tenth of the time.
    gc.disable()
    # The only matrix product, for the map of a report, is small: idle threads would cost ten times as much.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        from batchscore.cli.main import main as run  # noqa: PLC0415
    except KeyboardInterrupt:
        sys.stderr.write("Aborted. Run the same command again to resume.\n")
        sys.exit(4)
    gc.enable()
    try:
        run()
    finally:
        # The interpreter would search all loaded modules for cycles: a fifth of a second without effect.
        gc.freeze()


if __name__ == "__main__":
    main()
