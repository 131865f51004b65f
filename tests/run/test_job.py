"""Events of a run: files that are opened, and the state of its deployments."""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path
from typing import Any

import pytest

from batchscore.api.read_scores import read_scores
from batchscore.errors import ExitCode, UsageError
from batchscore.output.layout import Layout
from batchscore.output.manifest import read_manifests
from batchscore.output.open import lock_output
from batchscore.report.tally import Tally
from batchscore.rows import Attempt, Event, FileFinished, FileOpened, Heartbeat, Listen
from batchscore.run.record import RunResult
from batchscore.run.score_files import prepare, score_files
from batchscore.settings.fields import Settings
from batchscore.settings.slices import OutputSettings, cut
from batchscore.simulator import Running
from conftest import KEY
from pictures import png
from simulated import Deployment

ENVIRON = {"BATCHSCORE_API_KEY": KEY}


#: The simulator of all tests, which costs less than one of its own for each run.
Service = dict[str, Any]


@pytest.fixture
def service(simulator: Running, deployment: Deployment) -> Service:
    return {"endpoint": f"{simulator.endpoint}/v1", "model": deployment.name, "simulate": False}


def events_of(folder: Path, service: Service, **settings: object) -> list[Event]:
    heard: list[Event] = []
    asked = settings_for(folder, **service, task="chat", dimensions=None, **settings)
    score_files(asked, [str(folder / "in.csv")], environ=ENVIRON, listen=heard.append)
    return heard


def test_a_run_reports_its_deployments_and_known_rows(tmp_path: Path, service: Service) -> None:
    (tmp_path / "in.csv").write_text("text\n" + "".join(f"row {n}\n" for n in range(40)))
    first = events_of(tmp_path, service, limit=30)
    assert [event for event in first if isinstance(event, FileOpened)] == [FileOpened("in.csv", 0)]
    pulses = [event for event in first if isinstance(event, Heartbeat)]
    assert pulses
    (standing,) = pulses[0].deployments
    assert standing.state == "up"
    assert standing.last_failure == ""
    assert {event.deployment for event in first if isinstance(event, Attempt)} == {standing.deployment}

    again = events_of(tmp_path, service)
    opened = next(place for place, event in enumerate(again) if isinstance(event, FileOpened))
    assert again[opened] == FileOpened("in.csv", 30)
    tally = Tally()
    for event in again[: opened + 1]:
        tally.add(event)
    assert tally.statistics().known == 30
    assert isinstance(again[-1], FileFinished)


def run_over(folder: Path, listen: Listen, **settings: object) -> RunResult:
    return score_files(settings_for(folder, **settings), [str(folder / "in")], environ=ENVIRON, listen=listen)


def settings_for(folder: Path, **settings: object) -> Settings:
    common: dict[str, Any] = {"task": "embeddings", "dimensions": 4, "model": "m", "column": "text"}
    return Settings(**common | {"output": str(folder / "out"), "simulate": True} | settings)


def states(result: RunResult) -> dict[str, tuple[str, int]]:
    return {each.file: (each.state, each.ok) for each in result.outcome.files}


@pytest.fixture
def several(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for name in "abcde":
        (tmp_path / "in" / f"{name}.csv").write_text("text\nx\ny\n")
    return tmp_path


def test_a_file_that_vanishes_fails_and_the_others_are_scored(several: Path, service: Service) -> None:
    def listen(event: Event) -> None:
        if event == FileOpened("a.csv", 0):
            (several / "in" / "b.csv").unlink()
            (several / "in" / "c.csv").unlink()
            (several / "in" / "c.csv").mkdir()

    result = run_over(several, listen, **service)
    assert states(result) == {
        "a.csv": ("complete", 2),
        "b.csv": ("unreadable", 0),
        "c.csv": ("unreadable", 0),
        "d.csv": ("complete", 2),
        "e.csv": ("complete", 2),
    }
    assert result.exit_code is ExitCode.ACTION_NEEDED
    assert [each.problem for each in result.outcome.unreadable] == [
        "it is not there any more: it was moved or removed while the files were read",
        "it is a folder now",
    ]


def save_an_hour_ago(file: Path, text: str) -> None:
    file.write_text(text)
    hour_ago = time.time() - 3600
    os.utime(file, (hour_ago, hour_ago))


def test_a_table_has_the_rows_of_a_file_that_was_saved_again_before_its_turn(
    several: Path, service: Service
) -> None:
    for name in "abcde":
        save_an_hour_ago(several / "in" / f"{name}.csv", f"id,text\n1,{name} one\n2,{name} two\n")

    def listen(event: Event) -> None:
        if event == FileOpened("a.csv", 0):
            (several / "in" / "b.csv").write_text("id,text\n9,new\n1,b one\n2,b two\n")

    more = {"task": "chat", "dimensions": None, "output": str(several / "out.csv")}
    run_over(several, listen, **service, **more)
    with (several / "out.csv").open(newline="") as table:
        rows = [row for row in csv.DictReader(table) if row["file"] == "b.csv"]
    assert [(row["id"], row["text"]) for row in rows] == [("9", "new"), ("1", "b one"), ("2", "b two")]


def test_answers_are_carried_over_to_the_rows_of_the_version_that_is_compared(
    several: Path, service: Service
) -> None:
    text = "id,text\n1,one\n2,two\n"
    save_an_hour_ago(several / "in" / "b.csv", text)
    more = {"incremental": True, "column": "text"} | service
    run_over(several, lambda _: None, **more)
    save_an_hour_ago(several / "in" / "b.csv", text + "3,three\n")
    run = prepare(
        settings_for(several, **more), [str(several / "in")], environ=ENVIRON, listen=lambda _: None
    )
    (several / "in" / "b.csv").write_text("id,text\n2,two\n1,one\n")
    with lock_output(cut(OutputSettings, run.settings), run.output, run.listen) as lock:
        run.score(lock)
        found = states(run.finish())
    assert found["b.csv"] == ("complete", 2)


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("incremental", [False, True])
def test_a_scored_file_that_vanishes_keeps_its_scores(several: Path, *, incremental: bool) -> None:
    run_over(several, lambda _: None)
    (several / "in" / "f.csv").write_text("text\nz\n")
    settings = settings_for(several, incremental=incremental)
    run = prepare(settings, [str(several / "in")], environ={}, listen=lambda _: None)
    (several / "in" / "b.csv").unlink()
    with lock_output(cut(OutputSettings, settings), run.output, run.listen) as lock:
        run.score(lock)
        found = states(run.finish())
    assert found["b.csv"] == ("unreadable", 0 if incremental else 2)
    assert found["f.csv"] == ("complete", 1)
    assert "unreadable" not in {state for name, (state, _) in found.items() if name != "b.csv"}
    assert len(read_scores(several / "out")) == 11


def test_an_unexpected_error_at_the_end_of_a_file_keeps_no_other_file_from_its_end(
    several: Path, service: Service
) -> None:
    ended: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, FileFinished):
            ended.append(event.file)
            if event.file != "e.csv":
                raise RuntimeError(event.file)

    with pytest.raises(RuntimeError, match=r"a\.csv"):
        run_over(several, listen, **service)
    assert ended == [f"{name}.csv" for name in "abcde"]
    assert {each.state for each in read_manifests(Layout(several / "out", "embeddings", ""))} == {"complete"}


def test_files_of_large_rows_are_not_all_in_memory_to_be_written(several: Path, service: Service) -> None:
    for name in "abcde":
        (several / "in" / f"{name}.csv").write_text(f"text,large\nx,{'y' * 1_500_000}\n")
    written: list[int] = []

    def listen(event: Event) -> None:
        if isinstance(event, FileFinished):
            states = [each.state for each in read_manifests(Layout(several / "out", "embeddings", ""))]
            written.append(states.count("complete"))

    run_over(several, listen, **service, keep=("large",))
    assert written == [3, 3, 3, 5, 5]


def test_what_cannot_be_listed_is_a_failed_file(several: Path, service: Service) -> None:
    (several / "in" / "z.csv").symlink_to("nowhere.csv")
    result = run_over(several, lambda _: None, **service)
    assert result.exit_code is ExitCode.ACTION_NEEDED
    assert [(each.file, each.problem) for each in result.outcome.unreadable] == [
        ("z.csv", "a link to a file that does not exist")
    ]
    assert len(read_scores(several / "out")) == 10


@pytest.mark.slow
@pytest.mark.process
def test_a_renamed_file_is_reported_as_moved(several: Path) -> None:
    (several / "in" / "a.csv").write_text("id,text\n1,x\n2,y\n3,z\n")
    for name in "bcde":
        (several / "in" / f"{name}.csv").unlink()
    more = {"id": "id", "incremental": True}
    run_over(several, lambda _: None, **more)
    (several / "in" / "a.csv").unlink()
    (several / "in" / "b.csv").write_text("id,text\n1,x\n2,other\n4,w\n")
    changes = run_over(several, lambda _: None, **more, prune=True).changes
    assert changes is not None
    assert (changes.new, changes.changed, changes.moved, changes.deleted) == (1, 1, 1, 1)


@pytest.mark.slow
@pytest.mark.process
def test_a_stop_while_images_are_digested_is_no_change_of_an_image(several: Path) -> None:
    (several / "in" / "a.csv").write_text("text,picture\nx,a.png\ny,a.png\n")
    (several / "in" / "a.png").write_bytes(png())
    asked = settings_for(several, image=("picture",), task="chat", dimensions=None)
    inputs = [str(several / "in" / "a.csv")]
    assert score_files(asked, inputs, environ={}, listen=lambda _: None).exit_code is ExitCode.DONE
    run = prepare(asked, inputs, environ={}, listen=lambda _: None)
    run.conditions.stop.request()
    with lock_output(cut(OutputSettings, asked), run.output, run.listen) as lock:
        run.score(lock)
        result = run.finish()
    assert result.exit_code in {ExitCode.DONE, ExitCode.CONTINUE_LATER}, result.outcome.stopped_by


@pytest.mark.slow
@pytest.mark.process
def test_one_file_is_written_through_a_link(several: Path) -> None:
    (several / "real").mkdir()
    (several / "out.jsonl").symlink_to("real/scores.jsonl")
    for overwrite in (False, True):
        run_over(several, lambda _: None, output=str(several / "out.jsonl"), overwrite=overwrite)
        assert (several / "out.jsonl").is_symlink()
        assert len((several / "real" / "scores.jsonl").read_text().splitlines()) == 10


@pytest.mark.slow
@pytest.mark.process
def test_all_columns_are_kept_with_a_column_id(several: Path) -> None:
    (several / "in" / "a.csv").write_text("id,text,lang\n1,x,en\n")
    run_over(several, lambda _: None, keep=("*",), limit=3)
    assert run_over(several, lambda _: None, keep=("*",)).exit_code is ExitCode.DONE
    scores = read_scores(several / "out")
    assert scores.loc[scores["file"] == "a.csv", ["id", "text", "lang"]].to_numpy().tolist() == [
        ["1", "x", "en"]
    ]
    assert scores["id"].isna().sum() == 8


def test_a_run_continues_after_a_file_with_more_columns_was_added(tmp_path: Path, service: Service) -> None:
    """With all columns kept in Parquet, it reads and adds to parts that lack the new ones."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("text,x\none,1\ntwo,2\n")
    settings = {**service, "keep": ("*",), "output": str(tmp_path / "all.parquet")}
    run_over(tmp_path, lambda _: None, **settings, limit=1)
    (tmp_path / "in" / "b.csv").write_text("id,text,y\n7,three,3\n")
    assert run_over(tmp_path, lambda _: None, **settings).exit_code is ExitCode.DONE
    columns = ["file", "row", "id", "text", "x", "y"]
    assert read_scores(tmp_path / "all.parquet")[columns].to_numpy().tolist() == [
        ["a.csv", 0, None, "one", "1", None],
        ["a.csv", 1, None, "two", "2", None],
        ["b.csv", 0, "7", "three", None, "3"],
    ]


@pytest.mark.parametrize(
    ("header", "settings"),
    [
        ("text,File", {"keep": ("File",)}),
        ("text,Embeddings", {"keep": ("*",)}),
        ("text,TEXT", {"keep": ("*",)}),
        ("text,Tag,tag", {"keep": ("Tag", "tag")}),
        ("text,ID,key", {"keep": ("ID",), "id": "key"}),
        ("text,id,key", {"keep": ("*",), "id": "key"}),
    ],
)
def test_kept_names_that_other_programs_take_for_one_are_refused(
    tmp_path: Path, header: str, settings: dict[str, object]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text(f"{header}\n{','.join('x' for _ in header.split(','))}\n")
    with pytest.raises(UsageError, match=r"only in case|that records use|field of that name"):
        run_over(tmp_path, lambda _: None, **settings)
    assert not (tmp_path / "out").exists()
