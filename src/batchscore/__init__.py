"""Score every row of a folder of files with an embeddings, completions or chat model.

The names in `__all__` are supported; everything else may change.
"""

from __future__ import annotations

from importlib import import_module

from batchscore.version import VERSION

TYPE_CHECKING = False  # as in `typing`, which takes a while to load
if TYPE_CHECKING:
    from typing import Any

    from batchscore.api.read_scores import read_changes, read_errors, read_scores
    from batchscore.api.score_files import RunSummary, score_files
    from batchscore.api.score_frame import score_frame
    from batchscore.api.score_rows import Scored, score_rows, stream_rows
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
    from batchscore.mlflow_model.save import log_model, save_model

__version__ = VERSION

__all__ = [
    "BatchscoreError",
    "ErrorCode",
    "ExitCode",
    "InputError",
    "Outage",
    "OutputError",
    "RunSummary",
    "Scored",
    "ServiceRefused",
    "SettingsError",
    "UsageError",
    "__version__",
    "log_model",
    "read_changes",
    "read_errors",
    "read_scores",
    "save_model",
    "score_files",
    "score_frame",
    "score_rows",
    "stream_rows",
]

#: The modules of names that are loaded on first use: the command line starts fast, and handles Ctrl-C first.
_LATER = {
    "BatchscoreError": "errors",
    "ErrorCode": "errors",
    "ExitCode": "errors",
    "InputError": "errors",
    "Outage": "errors",
    "OutputError": "errors",
    "RunSummary": "api.score_files",
    "Scored": "api.score_rows",
    "ServiceRefused": "errors",
    "SettingsError": "errors",
    "UsageError": "errors",
    "log_model": "mlflow_model.save",
    "read_changes": "api.read_scores",
    "read_errors": "api.read_scores",
    "read_scores": "api.read_scores",
    "save_model": "mlflow_model.save",
    "score_files": "api.score_files",
    "score_frame": "api.score_frame",
    "score_rows": "api.score_rows",
    "stream_rows": "api.score_rows",
}


def __getattr__(name: str) -> Any:
    """Load one of the names in `_LATER`."""
    if name in _LATER:
        return getattr(import_module(f"batchscore.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the supported names, also those that are not loaded yet, for completion."""
    return sorted(__all__)
