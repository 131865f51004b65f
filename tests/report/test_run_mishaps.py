"""Damaged records are left out, names that are not UTF-8 can be written, and secrets are not shown."""

from __future__ import annotations

import json
import os
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.cli.json_events import JsonEvents
from batchscore.report.advice import without_flag
from batchscore.report.page.make import read_runs
from batchscore.report.page.model import StoredPart
from batchscore.report.page.runs import LISTS_OF_FILES, RecordedRun, run_from, without_files
from batchscore.report.page.sample import SMALL_BYTES, records_of
from batchscore.report.resume import words_of
from batchscore.report.timeline import Timeline
from batchscore.settings.secrets import shown_command, without_secrets

SEARCH = {"type": "azure_search", "parameters": {"authentication": {"type": "api_key", "key": "HUSH"}}}


def test_the_file_lists_of_earlier_runs_are_not_kept_in_memory(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for hour in range(4):
        record = {
            "started": f"2026-01-01T0{hour}:00:00+00:00",
            "settings": {"task": "chat", "shared_output": hour == 3},
            "files": [{"file": f"{hour}.csv"}],
        }
        (tmp_path / "runs" / f"{hour}.json").write_text(json.dumps(record))
    runs, _ = read_runs(tmp_path, inf)
    assert [bool(run.record["files"]) for run in runs] == [False, False, True, True]


def test_a_record_is_read_once_however_uneven_the_lines_are(tmp_path: Path) -> None:
    part = tmp_path / "part.jsonl"
    lines = [{"row": row, "text": "x" * (4000 if row < 400 else 1000)} for row in range(1600)]
    part.write_text("".join(json.dumps(line) + "\n" for line in lines))
    stored = StoredPart(part.name, part.stat().st_size, 1600)
    assert stored.bytes > SMALL_BYTES
    found = [each["row"] for each in records_of(tmp_path, stored, 1590, ("row",))]
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


@pytest.mark.parametrize("files", [0, 1, 3])
@pytest.mark.parametrize("indent", [2, None])
def test_a_record_without_its_files_says_the_same_of_its_run(files: int, indent: int | None) -> None:
    lists = {name: [{"file": "a\n  ]", "parts": []}] * files for name in LISTS_OF_FILES}
    record = {"started": "2026-01-01T00:00:00+00:00", "settings": {"task": "chat", "keep": ["x"]}, **lists}
    data = json.dumps(record | {"exit_code": 0, "read_as": [{"files": "a"}]}, indent=indent).encode()
    whole, brief = run_from("a", data), run_from("a", without_files(data))
    assert isinstance(whole, RecordedRun)
    assert isinstance(brief, RecordedRun)
    if indent == 2:
        assert not any(brief.record[name] for name in LISTS_OF_FILES)
    no_files = dict.fromkeys(LISTS_OF_FILES, None)
    assert {**whole.record, **no_files} == {**brief.record, **no_files}
