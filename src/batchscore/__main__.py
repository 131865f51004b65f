"""`python -m batchscore` is the command line."""

from __future__ import annotations

from batchscore.cli import main

if __name__ == "__main__":
    main()
