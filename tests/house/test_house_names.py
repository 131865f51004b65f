"""The public names are pinned: changing them is a decision, not an accident."""

from __future__ import annotations

import batchscore
from batchscore.errors import setting_name

#: The supported names of `batchscore`.
PUBLIC = [
    "BatchscoreError",
    "ErrorCode",
    "ExitCode",
    "InputError",
    "Outage",
    "OutputError",
    "RunSummary",
    "ServiceRefused",
    "Scored",
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


def test_the_public_names() -> None:
    assert sorted(batchscore.__all__) == sorted(PUBLIC)
    for name in PUBLIC:
        assert getattr(batchscore, name) is not None


def test_the_codes_of_error_records() -> None:
    """Readers of error records rely on them."""
    assert [code.value for code in batchscore.ErrorCode] == [
        "empty_input",
        "unreadable_row",
        "row_too_large",
        "missing_column",
        "invalid_messages",
        "unreadable_image",
        "input_too_long",
        "content_filter",
        "invalid_request",
        "over_quota",
        "rate_limited",
        "server_error",
        "timeout",
        "connection_error",
        "invalid_response",
        "invalid_answer",
    ]


def test_errors_show_setting_names_and_no_marks() -> None:
    """Notebooks and asyncio print the repr."""
    error = batchscore.UsageError(f"{setting_name('max_spend')} needs {setting_name('price_in')}.")
    assert str(error) == "max_spend needs price_in."
    assert repr(error) == "UsageError('max_spend needs price_in.')"
    assert "\x02" in error.text, "another message can still mark the names"
