"""Listeners never change how a run ends; each run writes its own record, without secrets."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.cli.json_events import JsonEvents
from batchscore.mlflow_model.resolve import resolve_settings
from batchscore.report.advice import without_flag
from batchscore.report.page.gather import TimeLimit, read_runs
from batchscore.report.page.read_parts import SMALL_BYTES, some_records
from batchscore.report.page.runs import run_from
from batchscore.report.page.verdict import words_of
from batchscore.report.timeline import Timeline
from batchscore.rows import Event, Notice
from batchscore.run.expected import expected
from batchscore.run.result import RunResult
from batchscore.run.score_files import score_files
from batchscore.settings.secrets import shown_command, without_secrets

if TYPE_CHECKING:
    from batchscore.plan.measure import Measurement

SEARCH = {"type": "azure_search", "parameters": {"authentication": {"type": "api_key", "key": "HUSH"}}}


@pytest.fixture
def score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[RunResult, list[str]]]:
    """Score two rows with the simulator in this process; gives the end and the notices."""
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_text("text\none\ntwo\n")

    def scored(environ: dict[str, str] | None = None, **flags: Any) -> tuple[RunResult, list[str]]:
        given = {"task": "chat", "model": "m", "output": "out", "column": "text", "simulate": True} | flags
        notices: list[str] = []

        def listen(event: Event) -> None:
            if isinstance(event, Notice):
                notices.append(event.text)

        finished = score_files(
            resolve_settings(given, environ={}).settings,
            ["in.csv"],
            environ=environ or {},
            listen=listen,
        )
        return finished, notices

    return scored


def test_runs_within_one_second_write_a_record_each_without_secrets(
    score: Callable[..., tuple[RunResult, list[str]]],
) -> None:
    for _ in range(3):
        finished, _ = score(
            param={"data_sources": [SEARCH]}, scratch_dir=os.fsdecode(b"caf\xe9"), overwrite=True
        )
    records = [json.loads(path.read_text()) for path in Path("out/runs").glob("*.json")]
    assert len(records) == len({record["worker"] for record in records}) == 3
    assert any(finished.record.name.endswith(f"Z-{record['worker']}.json") for record in records)
    assert records[0]["settings"]["scratch_dir"] == "caf\\udce9"
    assert not [path for path in Path("out").rglob("*") if path.is_file() and b"HUSH" in path.read_bytes()]


@pytest.mark.slow
def test_tracking_that_cannot_start_or_end_changes_nothing(
    score: Callable[..., tuple[RunResult, list[str]]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        # A host may have put a path there that is no text; Python passes it over.
        patch.setattr(sys, "path", [*sys.path, tmp_path])
        finished, notices = score(track=True)
    assert (int(finished.exit_code), finished.outcome.ok) == (0, 2)
    assert any("MLflow tracking failed" in notice for notice in notices)

    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
    finished, notices = score(track=True, output="other")
    assert (int(finished.exit_code), finished.outcome.ok) == (0, 2)
    assert any("MLflow tracking failed" in notice for notice in notices)


def test_an_interrupted_page_does_not_change_the_result(
    score: Callable[..., tuple[RunResult, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    result, _ = score()
    assert result.report is not None

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("batchscore.run.score_files.write_report", interrupted)
    result, notices = score()
    assert (int(result.exit_code), result.report) == (0, None)
    assert "interrupted" in str(notices)


def test_the_file_lists_of_earlier_runs_are_not_kept_in_memory(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for hour in range(4):
        record = {
            "started": f"2026-01-01T0{hour}:00:00+00:00",
            "settings": {"task": "chat", "shared_output": hour == 3},
            "files": [{"file": f"{hour}.csv"}],
        }
        (tmp_path / "runs" / f"{hour}.json").write_text(json.dumps(record))
    runs, _ = read_runs(tmp_path, TimeLimit())
    assert ["files" in run.record for run in runs] == [False, False, True, True]


def test_a_record_is_read_once_however_uneven_the_lines_are(tmp_path: Path) -> None:
    part = tmp_path / "part.jsonl"
    lines = [{"row": row, "text": "x" * (4000 if row < 400 else 1000)} for row in range(1600)]
    part.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert part.stat().st_size > SMALL_BYTES
    found = [each["row"] for each in some_records(part, part.stat().st_size, 1600, 1590, ("row",))]
    assert len(found) == len(set(found)) > 800


@pytest.mark.parametrize(
    ("key", "value"),
    [("after_seconds", 1e18), ("bin_seconds", 1e300), ("round_trips", [[[10**9, 1]]])],
)
def test_an_impossible_timeline_is_left_out(key: str, value: object) -> None:
    timeline = Timeline().record() | {key: value}
    record = {"started": "2026-01-01T00:00:00", "settings": {"task": "chat"}, "timeline": timeline}
    run = run_from("a", json.dumps(record).encode())
    assert not isinstance(run, str)
    assert run.timeline is None


def test_a_name_that_is_not_utf8_can_be_written_as_json() -> None:
    lines: list[bytes] = []
    fields: dict[str, Any] = {"inputs": ["a", 1], "errors": {"ü": None}}
    JsonEvents(lines.append).write_line("started", output=os.fsdecode(b"caf\xe9"), **fields)
    assert json.loads(lines[0]) == {"event": "started", "output": "caf\\udce9", **fields}


def test_a_damaged_command_has_no_words() -> None:
    assert words_of("batchscore score 'in --limit 5") == []
    assert without_flag(words_of("batchscore score in --limit 5 -o out"), "--limit") == [
        *("batchscore", "score", "in", "-o", "out")
    ]


def test_a_command_is_shown_without_secrets() -> None:
    nested = json.dumps([SEARCH])
    words = ["batchscore", "--param", "api_key=HUSH", f"--param=data_sources={nested}", "--param", "n=2"]
    told = shown_command([*words, "--param", "data_sources=@search.json"])
    assert "HUSH" not in told
    assert told.endswith("--param n=2 --param data_sources=@search.json")


@given(st.dictionaries(st.sampled_from(["n", "stop", "tokens"]), st.integers() | st.text(max_size=3)))
def test_parameters_without_secrets_are_unchanged(params: dict[str, Any]) -> None:
    assert without_secrets({"a": [params]}) == {"a": [params]}


def test_a_failed_estimate_does_not_fail_the_run() -> None:
    class Failing:
        def measure(self, **_: object) -> None:
            raise RuntimeError("unexpected")

    settings = resolve_settings(
        {"task": "chat", "model": "m", "output": "out", "column": "text"}, environ={}
    ).settings
    assert expected(settings, cast("Measurement", Failing())) is None
