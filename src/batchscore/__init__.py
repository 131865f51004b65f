"""Score every row of a folder of files with an embeddings, completions or chat model.

What is named here is supported; everything else may change.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    """Load what needs numpy only when it is asked for: the simulator and `--help` start without."""
    if name == "read_scores":
        from batchscore.scores import read_scores  # noqa: PLC0415

        return read_scores
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
