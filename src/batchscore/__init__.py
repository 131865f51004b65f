"""Score every row of a folder of files with an embeddings, completions or chat model.

What is named here is supported; everything else may change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from batchscore.errors import (
    BatchscoreError,
    ErrorCode,
    ExitCode,
    InputError,
    Outage,
    OutputError,
    ServiceRefused,
    SettingsError,
    UsageError,
)
from batchscore.version import VERSION

if TYPE_CHECKING:
    from batchscore.api.read_scores import read_scores
    from batchscore.api.score_rows import Scored, score_rows, stream_rows
    from batchscore.mlflow_model.save import log_model, save_model

__version__ = VERSION

__all__ = [
    "BatchscoreError",
    "ErrorCode",
    "ExitCode",
    "InputError",
    "Outage",
    "OutputError",
    "Scored",
    "ServiceRefused",
    "SettingsError",
    "UsageError",
    "__version__",
    "log_model",
    "read_scores",
    "save_model",
    "score_rows",
    "stream_rows",
]


#: Loaded when they are asked for: the simulator and `--help` start without what they need.
_LATER = {
    "Scored": "api.score_rows",
    "log_model": "mlflow_model.save",
    "read_scores": "api.read_scores",
    "save_model": "mlflow_model.save",
    "score_rows": "api.score_rows",
    "stream_rows": "api.score_rows",
}


def __getattr__(name: str) -> Any:
    """Load one of the later names."""
    if name in _LATER:
        return getattr(import_module(f"batchscore.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
