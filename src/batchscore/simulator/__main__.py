"""How does the process that `start` creates serve?

Its only argument is a JSON object of `SimulatorSettings`. The command for people is `batchscore simulate`.
"""

from __future__ import annotations

import contextlib
import json
import sys

from batchscore.simulator.process import run
from batchscore.simulator.settings import SimulatorSettings


def main() -> int:
    """Serve until a signal arrives. Return 1, with one line on stderr, if the port is taken."""
    settings = SimulatorSettings(**json.loads(sys.argv[1]))
    try:
        with contextlib.suppress(KeyboardInterrupt):
            run(settings)
    except OSError as error:
        sys.stderr.write(f"The simulator cannot listen on port {settings.port}: {error.strerror}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
