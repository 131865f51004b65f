"""Score every row of a folder of files with an embeddings, completions or chat model.

What is named here is supported; everything else may change.
"""

from __future__ import annotations

from importlib.metadata import version

from batchscore.errors import (
    BatchscoreError,
    ErrorCode,
    ExitCode,
    InputError,
    Outage,
    OutputError,
    Refused,
    SettingsError,
    UsageError,
)
from batchscore.scores import read_scores

__version__ = version("batchscore")

__all__ = [
    "BatchscoreError",
    "ErrorCode",
    "ExitCode",
    "InputError",
    "Outage",
    "OutputError",
    "Refused",
    "SettingsError",
    "UsageError",
    "__version__",
    "read_scores",
]
