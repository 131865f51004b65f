"""The command `batchscore`, and `python -m batchscore`.

It imports nothing heavy itself, so that Ctrl-C while the rest is loading ends in one line as well.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Load the command line and run it."""
    try:
        from batchscore.cli import main as run  # noqa: PLC0415
    except KeyboardInterrupt:
        sys.stderr.write("batchscore: aborted; the same command goes on.\n")
        sys.exit(4)
    run()


if __name__ == "__main__":
    main()
