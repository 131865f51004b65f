"""What does Azure ML's batch host call? Deployments and pipelines name this file as their scoring script.

Everything is in `batchscore.azureml`; the package is beside this file, also on the host.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from batchscore.azureml import init, run, shutdown

__all__ = ["init", "run", "shutdown"]
