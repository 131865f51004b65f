"""The public names are pinned: changing them is a decision, not an accident."""

from __future__ import annotations

import batchscore
from batchscore.errors import name_settings, setting_name
from batchscore.settings.declare import as_flag

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


def test_each_door_writes_a_setting_with_its_value_as_its_users_do() -> None:
    said = {
        ("quote", "none"): ("--quote none", 'quote="none"', "BATCHSCORE_QUOTE=none"),
        ("quote", '"'): ("--quote '\"'", 'quote="\\""', "BATCHSCORE_QUOTE='\"'"),
        ("keep", "*"): ("--keep '*'", 'keep="*"', "BATCHSCORE_KEEP='*'"),
        ("overwrite", True): ("--overwrite", "overwrite=True", "BATCHSCORE_OVERWRITE=true"),
        ("batch_rounds", 0): ("--batch-rounds 0", "batch_rounds=0", "BATCHSCORE_BATCH_ROUNDS=0"),
        ("column", "é"): ("--column 'é'", 'column="é"', "BATCHSCORE_COLUMN='é'"),
    }
    for (name, value), (flag, python, variable) in said.items():
        text = setting_name(name, value)
        assert name_settings(text, as_flag) == flag
        assert name_settings(text) == python
        assert name_settings(text, lambda name: f"BATCHSCORE_{name.upper()}") == variable
        assert eval(f"dict({python})") == {name: value}
    for name, flag in {"param": "--param 'a=\"b\"'", "query": "--query a=b"}.items():
        assert name_settings(setting_name(name, {"a": "b"}), as_flag) == flag
        assert name_settings(setting_name(name, {"a": "b"})) == f"{name}={{'a': 'b'}}"
