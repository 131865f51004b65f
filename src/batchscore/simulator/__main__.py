"""How does the process that `start` creates serve?

Its only argument is a JSON object of `SimulatorSettings`. The command for people is `batchscore simulate`.
"""

from __future__ import annotations

import json
import sys

from batchscore.simulator.process import run
from batchscore.simulator.settings import SimulatorSettings

settings = SimulatorSettings(**json.loads(sys.argv[1]))
try:
    run(settings)
except OSError as error:
    sys.exit(f"The simulator cannot listen on port {settings.port}: {error.strerror}")
