"""A run leaves one record without secrets; neither its page, MLflow nor its estimate can change its end."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from batchscore.cli.summary import summary
from batchscore.errors import OutputError, OutputLocked
from batchscore.mlflow_model.resolve import resolve_settings
from batchscore.output.find import folder_of_locks
from batchscore.output.locks.lock import refuse_locked
from batchscore.output.merge import merge_output
from batchscore.report.progress.view import Watch
from batchscore.report.run_end import RunEnd
from batchscore.rows import Event, Expected, FileFinished, FileOpened, Listen, Notice, RowsSettled
from batchscore.run.expected import announce_table, expected
from batchscore.run.record import RunResult
from batchscore.run.score_files import score_files
from batchscore.simulator import Running
from conftest import KEY

if TYPE_CHECKING:
    from batchscore.plan.measure import Measurement

SEARCH = {"type": "azure_search", "parameters": {"authentication": {"type": "api_key", "key": "HUSH"}}}


@pytest.fixture
def score(simulator: Running, tmp_path: Path) -> Callable[..., tuple[RunResult, list[str]]]:
    """Score two rows in this process; gives the end and the notices."""
    (tmp_path / "in.csv").write_text("text\none\ntwo\n")
    service = {"OPENAI_BASE_URL": f"{simulator.endpoint}/v1", "OPENAI_API_KEY": KEY}

    def scored(
        environ: dict[str, str] | None = None, listen: Listen = lambda _: None, **flags: Any
    ) -> tuple[RunResult, list[str]]:
        given = {"task": "chat", "model": "m", "output": "out", "column": "text"} | flags
        notices: list[str] = []

        def note(event: Event) -> None:
            listen(event)
            if isinstance(event, Notice):
                notices.append(event.text)

        finished = score_files(
            resolve_settings(given, environ={}).settings,
            ["in.csv"],
            environ=service | (environ or {}),
            listen=note,
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
    assert records[0]["settings"]["scratch_dir"] == str(Path.cwd() / "caf\\udce9")
    assert not [path for path in Path("out").rglob("*") if path.is_file() and b"HUSH" in path.read_bytes()]


@pytest.mark.process
def test_the_record_is_written_under_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_text("text\none\n")
    locked: list[bool] = []

    def listen(event: Event) -> None:
        if isinstance(event, FileOpened):
            shutil.rmtree("out/runs")
            Path("out/runs").write_text("a file, so that the record cannot be written and a notice says so")
        if isinstance(event, Notice) and "record cannot be written" in event.text:
            try:
                refuse_locked(folder_of_locks(Path("out")), "chat", what="out")
                locked.append(False)
            except OutputLocked:
                locked.append(True)

    given = {"task": "chat", "model": "m", "output": "out", "column": "text", "simulate": True}
    settings = resolve_settings(given, environ={}).settings
    assert score_files(settings, ["in.csv"], environ={}, listen=listen).exit_code == 0
    assert locked == [True]
    # A run that cannot say what it is going to read asks for nothing.
    with pytest.raises(OutputError, match="cannot list out/runs: a part of the path is a file"):
        score_files(settings, ["in.csv"], environ={}, listen=listen)
    refuse_locked(folder_of_locks(Path("out")), "chat", what="out")


@pytest.mark.parametrize("more", [{}, {"sync": True}, {"sync": True, "incremental": True}])
def test_what_is_published_is_forced_to_the_disk_if_wanted(
    score: Callable[..., tuple[RunResult, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
    more: dict[str, bool],
) -> None:
    forced: set[int] = set()
    kept: list[int] = []
    fsync = os.fsync

    def note_and_force(descriptor: int) -> None:
        fsync(descriptor)
        forced.add(os.fstat(descriptor).st_ino)
        kept.append(os.dup(descriptor))  # no other file gets its inode when it is replaced

    monkeypatch.setattr(os, "fsync", note_and_force)
    finished, _ = score(output="out/all.jsonl" if not more.get("incremental") else "out", **more)
    assert finished.exit_code == 0
    folder = finished.layout.root
    assert isinstance(folder, Path)
    records = {*folder.glob("runs/*.json"), folder / "runs"}
    published = {
        path
        for path in folder.rglob("*")
        if path.is_file() and ("chat" in path.parts or "manifest" in path.parts)
    }
    assert len(published) == 3
    published |= {path.parent for path in published} | {*Path("out").glob("all.jsonl")}
    assert {path for path in records if path.stat().st_ino in forced} == records
    assert {path for path in published if path.stat().st_ino in forced} == (published if more else set())
    forced.clear()
    merge_output(folder, Path("new/merged.parquet"), sync=bool(more))
    made = {
        path for path in (Path("new/merged.parquet"), Path("new"), Path()) if path.stat().st_ino in forced
    }
    assert len(made) == (3 if more else 0)
    for descriptor in kept:
        os.close(descriptor)


@pytest.mark.slow
def test_tracking_that_cannot_start_or_end_changes_nothing(
    score: Callable[..., tuple[RunResult, list[str]]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        # A host may have put a path there that is no text; Python passes it over.
        patch.setattr(sys, "path", [*sys.path, tmp_path])
        finished, notices = score(track=True)
    assert (int(finished.exit_code), finished.outcome.ok) == (0, 2)
    assert not any("MLflow tracking failed" in notice for notice in notices)

    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
    finished, notices = score(track=True, output="other")
    assert (int(finished.exit_code), finished.outcome.ok) == (0, 2)
    assert any("MLflow tracking failed" in notice for notice in notices)


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl"])
def test_a_file_that_cannot_be_written_ends_a_run_with_its_record(
    score: Callable[..., tuple[RunResult, list[str]]], output: str
) -> None:
    """The rows are paid for and saved, so their cost must be on record."""

    def listen(event: Event) -> None:
        if isinstance(event, FileFinished):
            Path(output).mkdir()

    result, _ = score(listen=listen, output=output)
    assert (int(result.exit_code), result.statistics.ok) == (1, 2)
    assert result.outcome.stopped_by is not None
    record = json.loads(Path(str(result.record)).read_text())
    assert (record["exit_code"], record["this_run"]["ok"]) == (1, 2), record
    assert result.report is not None
    Path(output).rmdir()
    result, _ = score(output=output)
    assert (int(result.exit_code), result.statistics.ok) == (0, 0)


def test_ctrl_c_while_the_table_is_written_ends_a_run_with_its_record(
    score: Callable[..., tuple[RunResult, list[str]]],
) -> None:
    """A kill would leave the figures, too: they are on record before the table is begun."""
    before: list[dict[str, Any]] = []

    def interrupt(event: Event) -> None:
        if isinstance(event, Expected) and (event.exact, event.prompt_bytes) == (True, 0):
            (path,) = Path("st.csv.batchscore/runs").glob("*.json")
            before.append(json.loads(path.read_text()))
            raise KeyboardInterrupt

    result, _ = score(listen=interrupt, output="st.csv")
    assert (int(result.exit_code), result.statistics.ok, result.file_written) == (4, 2, False)
    after = json.loads(Path(str(result.record)).read_text())
    for record in (*before, after):
        assert (record["exit_code"], record["this_run"]["requests"]) == (4, 2)
        assert record["this_run"]["tokens_billed"] > 0
        assert record["reason"].startswith("interrupted while st.csv was being written")
    lines = summary(result, words=["score", "in.csv"]).splitlines()
    assert "st.csv is not written yet" in str(lines)
    assert lines[-1] == "To resume, run: batchscore score in.csv"
    assert not Path("st.csv").exists()
    result, _ = score(output="st.csv")
    assert (int(result.exit_code), result.statistics.ok, Path("st.csv").exists()) == (0, 0, True)


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


def test_a_failed_estimate_does_not_fail_the_run() -> None:
    class Failing:
        def measure(self, **_: object) -> None:
            raise RuntimeError("unexpected")

    assert expected(cast("Measurement", Failing())) is None


@pytest.mark.parametrize(
    ("rows", "state", "announced"),
    [
        (99_999, "complete", [Expected(99_999, 0, 0, exact=True)]),
        (100_000, "complete", [Expected(100_000, 0, 0, exact=True), Notice("Writing the table st.csv.")]),
        (100_000, "partial", [Notice("Writing the table st.csv.")]),
    ],
)
def test_a_large_table_is_announced_with_the_exact_number_of_rows(
    rows: int, state: str, announced: list[Event]
) -> None:
    events: list[Event] = []
    end = RunEnd((FileFinished("a.csv", state, rows, rows, 0, 0),))
    announce_table(Path("st.csv"), end, events.append)
    assert events == announced
    watch = Watch()
    for event in (RowsSettled(rows, {}), *events):
        watch(event)
    view = watch.view(watch.started + 1)
    assert (view.total, view.exact) == ((rows, True) if state == "complete" else (None, False))


#: What this process opens and renames, while it is a list: a hook cannot be removed.
TOUCHED: list[list[str]] = []


def _note_touched(event: str, arguments: tuple[Any, ...]) -> None:
    if TOUCHED and event in {"open", "os.rename"} and not isinstance(arguments[0], int):
        TOUCHED[-1].append(f"{event} {os.fsdecode(arguments[event == 'os.rename'])}")


sys.addaudithook(_note_touched)


def test_the_files_of_an_input_are_opened_a_few_times_each(
    score: Callable[..., tuple[RunResult, list[str]]],
) -> None:
    Path("in.csv").unlink()
    Path("in.csv").mkdir()
    for name in "abcdef":
        Path(f"in.csv/{name}.csv").write_text(f"text\n{name}\n")
        os.utime(f"in.csv/{name}.csv", (0, 0))  # the content of a new file is not kept

    def touched(**flags: Any) -> list[str]:
        TOUCHED.append([])
        try:
            assert score(**flags)[0].exit_code == 0
        finally:
            found = TOUCHED.pop()
        return found

    first, again = touched(), touched()
    for name in "abcdef":
        inputs = [sum(each.endswith(f"in.csv/{name}.csv") for each in found) for found in (first, again)]
        # Its content is kept for encoding, columns, digest, the progress and its rows.
        assert inputs == [1, 1]
        manifests = [[each for each in found if f"manifest/chat/{name}-" in each] for found in (first, again)]
        # Before the first answer, and with all of them.
        assert sum(each.startswith("os.rename") for each in manifests[0]) == 2
        # The run and its page; it is not written again before the end.
        assert sum(each.startswith("open") for each in manifests[1]) <= 3
