"""Running the same incremental command every night."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli_records import codes, lines, whole

from batchscore import read_scores
from batchscore.errors import InputError, OutputIncomplete
from batchscore.simulator import Running
from batchscore.simulator.script import Behaviour
from batchscore.simulator.words import CONTENT_FILTER_TRIGGER
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Files


def command(deployment: Deployment, *more: str, task: str = "chat", out: str = "out") -> list[str]:
    """Return a nightly command with small parts."""
    return [
        *("score", "in", "-o", out, "--task", task, "-m", deployment.name, "--column", "text", "--id", "id"),
        *("--rows-per-part", "4", "--incremental", *more),
    ]


def changes(out: str = "out", task: str = "chat") -> list[list[tuple[str, str]]]:
    """Return what each run changed, as kind and id."""
    runs = sorted((Path(out) / "changes").iterdir())
    texts = [(run / f"{task}.jsonl").read_text("utf-8").splitlines() for run in runs]
    return [[(line["change"], line["id"]) for line in map(json.loads, text)] for text in texts]


def parquet_bytes(table: pa.Table) -> bytes:
    """Return a table as the bytes of a Parquet file."""
    pq.write_table(table, file := io.BytesIO())
    return file.getvalue()


def xlsx_bytes(*rows: list[str]) -> bytes:
    """Return rows as the bytes of a workbook."""
    book, file = openpyxl.Workbook(write_only=True), io.BytesIO()
    sheet = book.create_sheet()
    for row in rows:
        sheet.append(row)
    book.save(file)
    return file.getvalue()


def asked(deployment: Deployment) -> list[str]:
    """Return the texts sent since the last call, sorted."""
    found = sorted(one.body["messages"][-1]["content"] for one in deployment.requests())
    deployment.reset()
    return found


def test_a_row_at_the_top_and_an_output_of_plain_runs(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """Scores of plain runs are reused, also if the input has changed since."""
    rows = [{"id": f"{number}", "text": f"text {number}"} for number in range(10)]
    files.csv("in/a.csv", rows)
    files.csv("in/same.csv", [{"id": "same", "text": "the same"}])
    plain = [word for word in command(deployment) if word != "--incremental"]
    assert batchscore(*plain).exit_code == 0
    asked(deployment)
    files.csv("in/a.csv", [{"id": "top", "text": "new at the top"}, *rows[:5], *rows[6:]])
    run = batchscore(*command(deployment))
    assert run.exit_code == 0, run
    assert asked(deployment) == ["new at the top"]
    scores, _ = whole("out", "chat")
    assert [record["id"] for _, record in sorted(scores.items())] == [
        *("top", "0", "1", "2", "3", "4", "6", "7", "8", "9"),
        "same",
    ]
    (told,) = changes()
    assert {kind for kind, _ in told} == {"new"}
    assert len(told) == len(scores) == 11
    assert "  2 files had scores that no change log named: all their records are listed there" in run.stdout
    again = batchscore(*command(deployment))
    assert again.exit_code == 0
    assert "no change log" not in again.stdout
    assert "changes: 0 new, 0 changed, 0 moved, 0 deleted" in again.stdout
    assert (asked(deployment), changes()[1]) == ([], [])
    assert batchscore("verify", "out").exit_code == 0


@pytest.mark.slow
def test_a_file_that_still_breaks_off_at_the_same_place_costs_nothing_again(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    digests = (hashlib.sha256(bytes([number])).hexdigest() for number in range(60))
    full = gzip.compress("\n".join(["id,text", *(f"{each[:4]},{each}" for each in digests), ""]).encode())
    files.texts("in/b.csv", ["sound"])
    path = Path("in/a.csv.gz")
    path.write_bytes(full[:-700])
    plain = [word for word in command(deployment) if word != "--incremental"]
    assert batchscore(*plain).exit_code == 1
    first = asked(deployment)
    assert 5 < len(first) < 60
    for _ in range(2):
        plan = batchscore("plan", *command(deployment)[1:])
        assert "to score       0 rows" in plan.stdout, plan
        again = batchscore(*command(deployment))
        assert (again.exit_code, asked(deployment)) == (1, []), again
        assert "breaks off" in batchscore("verify", "out").stdout
    # Part of what was missing has come.
    path.write_bytes(full[:-300])
    assert batchscore(*command(deployment)).exit_code == 1
    more = asked(deployment)
    assert more
    path.write_bytes(full)
    assert batchscore(*command(deployment)).exit_code == 0
    assert len({*first, *more, *(last := asked(deployment))}) == len(first) + len(more) + len(last) == 61
    assert batchscore("verify", "out").exit_code == 0


def test_another_model_is_an_error_and_overwrite_keeps_old_scores_until_new_ones_exist(
    batchscore: Cli, files: Files, deployment: Deployment, simulator: Running
) -> None:
    files.texts("in/a.csv", ["one", "two", "three"])
    other = Deployment(simulator.endpoint, deployment.name + "-2")
    assert batchscore(*command(deployment)).exit_code == 0
    before = whole("out", "chat")
    refused = batchscore(*command(other))
    assert refused.exit_code == 1
    assert "model was" in refused.said
    assert "--overwrite" in refused.said
    other.will(status=401, times=None)
    no_key = batchscore(*command(other, "--overwrite"))
    assert no_key.exit_code == 1
    assert whole("out", "chat") == before
    other.reset()
    goes_on = batchscore(*command(other))
    assert goes_on.exit_code == 0, goes_on
    assert asked(other) == ["one", "three", "two"]
    assert len(whole("out", "chat")[0]) == 3
    assert changes()[-1] == [("changed", "000"), ("changed", "001"), ("changed", "002")]
    assert batchscore(*command(other, "--overwrite")).exit_code == 0
    assert asked(other) == ["one", "three", "two"]


def test_transient_errors_are_retried_every_night(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("in/a.csv", ["one", "two BROKEN", f"three {CONTENT_FILTER_TRIGGER}", "", "five"])
    deployment.will(status=500, latency=0.5, when_input_contains="BROKEN", times=None)
    first = batchscore(*command(deployment, "--max-retries", "0"))
    assert first.exit_code == 3
    assert changes()[0] == [("new", "000"), ("new", "004")]
    deployment.reset()
    second = batchscore(*command(deployment))
    assert second.exit_code == 3
    assert asked(deployment) == ["two BROKEN"]
    assert changes()[1] == [("new", "001")]
    assert codes(whole("out", "chat")[1]) == {("a.csv", 2): "content_filter", ("a.csv", 3): "empty_input"}
    plain = [word for word in command(deployment, "--retry-errors") if word != "--incremental"]
    assert batchscore(*plain).exit_code == 3
    assert asked(deployment) == [f"three {CONTENT_FILTER_TRIGGER}"]
    files.texts("in/a.csv", [f"one {CONTENT_FILTER_TRIGGER}", "two BROKEN"])
    assert batchscore(*command(deployment)).exit_code == 3
    assert asked(deployment) == [f"one {CONTENT_FILTER_TRIGGER}"]
    # The plain run recorded no changes, so this run records all of them.
    assert changes()[2] == [("deleted", "000"), ("deleted", "004"), ("changed", "001")]


@pytest.mark.slow
def test_one_file_is_rewritten_and_keeps_scores_of_deleted_input(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("in/a.csv", ["one", "two"])
    files.texts("in/b.csv", ["three"])
    score = command(deployment, out="scores.jsonl")
    assert batchscore(*score).exit_code == 0
    files.texts("in/a.csv", ["zero", "one", "two"])
    Path("in/b.csv").unlink()
    run = batchscore(*score)
    assert run.exit_code == 0, run
    assert "scores kept (use --prune to remove): b.csv" in run.stdout
    assert [(one["file"], one["row"]) for one in lines(Path("scores.jsonl"))] == [
        *(("a.csv", row) for row in range(3)),
        ("b.csv", 0),
    ]
    assert batchscore(*score, "--prune").exit_code == 0
    assert {one["file"] for one in lines(Path("scores.jsonl"))} == {"a.csv"}
    # b's row had the id of a row that stands, so no id is gone.
    assert changes("scores.jsonl.batchscore")[-1] == [("changed", "000")]


def test_a_run_that_is_stopped_leaves_the_old_scores_readable(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("in/a.csv", [f"old {number}" for number in range(40)])
    score = command(deployment, "--max-concurrency", "2", "--batch-size", "1", task="embeddings")
    assert batchscore(*score).exit_code == 0
    before = read_scores("out")
    files.texts("in/a.csv", [f"{'new' if number % 2 else 'old'} {number}" for number in range(40)])
    deployment.reset()
    # The sixth is under way for so long that the run cannot be done before it is stopped.
    deployment.will(Behaviour(latency=0.05, times=5), Behaviour(latency=2.0, times=2))
    with batchscore.start(*score) as process:
        deployment.wait_for(6)
        during = read_scores("out")
        process.interrupt(signal.SIGTERM)
        stopped = process.finish()
    assert stopped.exit_code == 4, stopped
    for found in (during, read_scores("out")):
        assert np.array_equal(np.stack(found["embeddings"]), np.stack(before["embeddings"]))
    verified = batchscore("verify", "out")
    assert verified.exit_code == 4
    assert "a.csv: its earlier scores are complete, but not replaced by new ones yet" in verified.stdout
    assert changes(task="embeddings")[1] == []
    last = batchscore(*score)
    assert last.exit_code == 0, last
    assert deployment.statistics().statuses["200"] == 20
    assert [kind for kind, _ in changes(task="embeddings")[2]] == ["changed"] * 20
    assert batchscore("verify", "out").exit_code == 0


@pytest.mark.slow
def test_a_file_that_was_restored_from_a_backup_is_found_and_replaced(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    for text in ("old", "new"):
        for name in ("a", "b"):
            files.texts(f"in/{name}.csv", [f"{text} {name} {number}" for number in range(6)])
        assert batchscore(*command(deployment)).exit_code == 0
        if text == "old":
            shutil.copytree("out", "backup")
    assert batchscore("verify", "out").exit_code == 0
    for path in Path("backup").rglob("*a-*"):
        shutil.copy(path, Path("out") / path.relative_to("backup"))
    verified = batchscore("verify", "out")
    assert verified.exit_code == 1
    assert "that of an older or other version" in verified.stdout
    for strict in (False, True):
        with pytest.raises((InputError, OutputIncomplete), match="older or other version"):
            read_scores("out", strict=strict)
    assert batchscore("merge", "out", "all.jsonl").exit_code == 1
    run = batchscore(*command(deployment))
    assert run.exit_code == 0, run
    assert batchscore("verify", "out").exit_code == 0


def test_json_events(batchscore: Cli, files: Files, deployment: Deployment) -> None:
    files.texts("in/a.csv", ["one", "two"])
    files.bytes("in/b.parquet", b"no parquet")
    run = batchscore(*command(deployment, "--json"))
    assert run.exit_code == 1
    first, *between, last = run.events
    assert (first["event"], first["model"], first["inputs"]) == ("started", deployment.name, ["in"])
    states = {event["file"]: event["state"] for event in between if event["event"] == "file"}
    assert states == {"a.csv": "complete", "b.parquet": "unreadable"}
    assert (last["event"], last["exit_code"], last["ok"]) == ("finished", 1, 2)
    counts: dict[str, Any] = last["changes"]
    assert (counts["new"], counts["deleted"], counts["vanished"]) == (2, 0, [])
    failed = batchscore(*command(deployment, "--max-tokens", "9", "--json"))
    assert failed.exit_code == 1
    assert [event["event"] for event in failed.events] == ["started", "notice", "failed"]
    assert failed.events[-1]["exit_code"] == 1
    assert "max_tokens" in failed.events[-1]["reason"]


def test_settings_that_contradict_incremental_are_refused_at_once(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("in/a.csv", ["one"])
    plain = [word for word in command(deployment) if word != "--incremental"]
    runs = batchscore.together(
        [*plain, "--prune"],
        command(deployment, "--limit", "1"),
        command(deployment, out="s3://bucket/scores"),
    )
    assert [run.exit_code for run in runs] == [2, 2, 1]
    assert "--incremental" in runs[0].said
    assert "--limit" in runs[1].said
    assert "store" in runs[2].said
    assert deployment.statistics().count == 0


@pytest.mark.slow
def test_files_that_may_still_exist_are_not_pruned(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """A missing mount or a failed export must not remove paid scores."""
    files.texts("elsewhere/b.csv", ["three"])
    files.texts("in/a.csv", ["one", "two"])
    Path("in/mounted").symlink_to(Path("elsewhere").absolute())
    assert batchscore(*command(deployment, "--prune", "--follow-links")).exit_code == 0
    before = whole("out", "chat")
    Path("elsewhere").rename("gone")
    missing = batchscore(*command(deployment, "--prune", "--follow-links"))
    assert missing.exit_code == 1
    assert "--prune removes nothing: mounted/b.csv may still exist" in missing.said
    assert whole("out", "chat") == before
    Path("gone").rename("elsewhere")
    Path("in/a.csv").write_text("")
    emptied = batchscore(*command(deployment))
    assert emptied.exit_code == 0
    assert "a.csv was scored and is empty now" in emptied.said
    assert "scores kept (use --prune to remove): a.csv" in emptied.stdout
    assert whole("out", "chat") == before
    assert [told for told in changes() if told] == [[("new", "000"), ("new", "001"), ("new", "000")]]
    assert batchscore(*command(deployment, "--prune", "--follow-links")).exit_code == 0
    assert whole("out", "chat")[0].keys() == {("mounted/b.csv", 0)}
    Path("in/mounted").unlink()
    files.texts("in/c.csv", ["four"])
    assert batchscore(*command(deployment, "--prune", "--follow-links")).exit_code == 0
    assert whole("out", "chat")[0].keys() == {("c.csv", 0)}


@pytest.mark.slow
def test_a_file_of_any_format_without_rows_keeps_its_scores_until_it_is_pruned(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """A failed export often leaves a header."""
    table, texts = pa.table({"id": ["1", "2"], "text": ["one", "two"]}), "id,text\n1,one\n2,two\n"
    emptied: dict[str, tuple[bytes, bytes]] = {
        "a.csv": (texts.encode(), b"id,text\n"),
        "b.csv": (texts.encode(), b"\n\n"),
        "c.csv.gz": (gzip.compress(texts.encode()), gzip.compress(b"")),
        "d.json": (json.dumps(table.to_pylist()).encode(), b"[]"),
        "e.jsonl": (b'{"id": "1", "text": "one"}\n', b"\n \n"),
        "f.parquet": (parquet_bytes(table), parquet_bytes(table.slice(0, 0))),
        "g.xlsx": (xlsx_bytes(["id", "text"], ["1", "one"]), xlsx_bytes(["id", "text"])),
        "h.csv": (texts.encode(), b""),
    }
    for name, (full, _) in emptied.items():
        files.bytes(f"in/{name}", full)
    assert batchscore(*command(deployment)).exit_code == 0
    before = whole("out", "chat")
    assert len({file for file, _ in before[0]}) == len(emptied)
    for name, (_, empty) in emptied.items():
        Path("in", name).write_bytes(empty)
    run = batchscore(*command(deployment))
    assert run.exit_code == 0
    assert "a.csv (and 7 more) was scored and is empty now; it is treated as deleted." in run.said
    assert "scores kept (use --prune to remove): a.csv, b.csv" in run.stdout
    assert whole("out", "chat") == before
    assert changes()[1] == []
    assert batchscore(*command(deployment, "--prune")).exit_code == 0
    assert {kind for kind, _ in changes()[2]} == {"deleted"}
    assert len(changes()[2]) == len(before[0])


def test_new_rows_without_a_prompt_are_results_of_this_run(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.text("in/a.csv", "id,text\n1,one\n2,\n")
    assert batchscore(*command(deployment)).exit_code == 0
    files.text("in/a.csv", "id,text\n1,one\n2,\n3,too,many\n4,\n5,two,many\n")
    run = batchscore(*command(deployment))
    assert run.exit_code == 3
    assert "1 of 1 file new or changed; 1 of their rows reused" in run.said
    assert "5 rows of 1 file: 1 scored, 2 failed, 2 empty, 1 done by earlier runs" in run.stdout
    assert "failed: 2 unreadable row" in run.stdout
    assert asked(deployment) == ["one"]
    assert batchscore("verify", "out").exit_code == 0


@pytest.mark.slow
def test_another_format_replaces_the_old_one_completely(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("in/a.csv", ["one", "", "three"])
    files.texts("in/b.csv", ["four"])
    assert batchscore(*command(deployment)).exit_code == 0
    Path("in/b.csv").unlink()
    run = batchscore(*command(deployment, "--overwrite", "--format", "parquet"))
    assert run.exit_code == 0, run
    assert {path.suffix for path in Path("out").rglob("part-*")} == {".parquet", ".rows"}
    assert batchscore("verify", "out").exit_code == 0
    assert len(read_scores("out")) == 2


def test_a_plain_overwrite_is_in_the_changes(batchscore: Cli, files: Files, deployment: Deployment) -> None:
    files.texts("in/a.csv", ["one", "two"])
    assert batchscore(*command(deployment)).exit_code == 0
    files.texts("in/a.csv", ["one"])
    plain = [word for word in command(deployment, "--overwrite") if word != "--incremental"]
    run = batchscore(*plain)
    assert run.exit_code == 0
    assert "--overwrite discarded 2 scores" in run.said
    assert changes()[1:] == [[("deleted", "000"), ("deleted", "001")]]
    assert batchscore(*command(deployment)).exit_code == 0
    assert changes()[2:] == [[("new", "000")]]


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.parametrize(
    ("first", "more"),
    [([], []), ([], ["--incremental", "--prune"]), (["--shared-output"], ["--incremental", "--prune"])],
)
def test_an_unnamed_part_is_removed_when_its_rows_are_deleted(
    first: list[str], more: list[str], batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """A run is killed after writing a part and before writing its manifest."""
    files.texts("in/a.csv", [f"text {number}" for number in range(12)])
    deployment.will_hang(when_input_contains="text 11", times=None)
    plain = [word for word in command(deployment, "--prompt", "{text}") if word != "--incremental"]
    plain = [word for word in plain if word not in {"--column", "text"}]
    with batchscore.start(*plain, *first) as process:
        while not [*Path("out/chat").glob("part-*-00001.jsonl")]:
            time.sleep(0.01)
        process.interrupt(signal.SIGKILL)
        process.popen.wait()
    deployment.reset()
    Path("in/a.csv").unlink()
    files.texts("in/b.csv", ["other"])
    assert batchscore(*plain, *more).exit_code == 0
    named = {
        part["scores"]["name"]
        for path in Path("out/manifest/chat").glob("*.json")
        for part in json.loads(path.read_text("utf-8"))["parts"]
    }
    assert {path.name for path in Path("out/chat").iterdir()} == named
    assert batchscore("verify", "out").exit_code == (0 if more else 1)


@pytest.mark.slow
@pytest.mark.parametrize("columns", [["id", "text", "new"], ["id", "text"]])
def test_known_answers_are_reused_if_the_kept_columns_change(
    batchscore: Cli, files: Files, deployment: Deployment, columns: list[str]
) -> None:
    """Parquet parts hold the columns of their own time."""
    rows = [{"id": f"{number}", "text": f"text {number}", "old": "o", "new": "n"} for number in range(3)]
    more = ["--keep", "*", "--format", "parquet"]
    score = command(deployment, *more)
    files.csv("in/a.csv", [{name: row[name] for name in ("id", "text", "old")} for row in rows])
    assert batchscore(*score).exit_code == 0
    asked(deployment)
    files.csv("in/a.csv", [{name: row[name] for name in columns} for row in rows])
    run = batchscore(*score)
    assert run.exit_code == 0, run.stderr
    assert asked(deployment) == []


@pytest.mark.slow
@pytest.mark.parametrize("exchange", ["older", "with-another-part", "flipped", "emptied"])
def test_digests_of_rows_that_are_not_those_of_their_part_give_no_row_the_answer_of_another(
    batchscore: Cli, files: Files, deployment: Deployment, exchange: str
) -> None:
    """A backup that was restored, or a sync that missed a file: the rows are asked again instead."""
    rows = [{"id": f"{number}", "text": f"text {number}"} for number in range(12)]
    files.csv("in/a.csv", rows)
    embed = command(deployment, "--dimensions", "8", task="embeddings")
    assert batchscore(*embed).exit_code == 0
    digests = sorted(Path("out/manifest/embeddings").glob("*.rows"))
    older = [each.read_bytes() for each in digests]
    rows = rows[6:] + rows[:6]
    files.csv("in/a.csv", rows)
    assert batchscore(*embed).exit_code == 0
    before = [each.read_bytes() for each in digests]
    damaged = {
        "older": older,
        "with-another-part": before[::-1],
        "flipped": [bytes([*each[:40], each[40] ^ 1, *each[41:]]) for each in before],
        "emptied": [b""] * len(before),
    }
    for each, data in zip(digests, damaged[exchange], strict=True):
        each.write_bytes(data)
    verified = batchscore("verify", "out")
    assert verified.exit_code == 1
    wrong = sum(data != old for data, old in zip(damaged[exchange], before, strict=True))
    assert verified.stdout.count("was changed, or is not that of its part") == wrong

    files.csv("in/a.csv", [{"id": "new", "text": "new"}, *rows])
    assert batchscore(*embed).exit_code == 0
    fresh = [word.replace("out", "fresh") for word in embed if word != "--incremental"]
    assert batchscore(*fresh).exit_code == 0
    found, expected = read_scores("out"), read_scores("fresh")
    assert list(found["id"]) == list(expected["id"])
    assert np.array_equal(np.stack(found["embeddings"]), np.stack(expected["embeddings"]))
    assert batchscore("verify", "out").exit_code == 0


@pytest.mark.slow
def test_damaged_digests_of_rows_are_written_again_at_no_cost(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """The prompts are known from the input, and the commit record says that they are the same."""
    files.csv("in/a.csv", [{"id": f"{number}", "text": f"text {number}"} for number in range(12)])
    assert batchscore(*command(deployment)).exit_code == 0
    asked(deployment)
    digests = sorted(Path("out/manifest/chat").glob("*.rows"))
    before = [each.read_bytes() for each in digests]
    digests[0].write_bytes(before[1])
    digests[2].unlink()
    assert batchscore(*command(deployment)).exit_code == 0
    assert (asked(deployment), [each.read_bytes() for each in digests]) == ([], before)
    assert batchscore("verify", "out").exit_code == 0
    digests[0].unlink()
    assert batchscore("verify", "out", "--repair").exit_code == 0
    assert batchscore("verify", "out").exit_code == 0
    assert batchscore(*command(deployment)).exit_code == 0
    assert (asked(deployment), [each.read_bytes() for each in digests]) == ([], before)


@pytest.mark.parametrize("state", ["complete", pytest.param("partial", marks=pytest.mark.slow)])
def test_a_lost_part_of_a_new_version_is_scored_again(
    batchscore: Cli, files: Files, deployment: Deployment, state: str
) -> None:
    """All its parts were published, but the run was killed before it put them in place."""
    files.csv("in/a.csv", [{"id": f"{number}", "text": f"text {number}"} for number in range(10)])
    assert batchscore(*command(deployment)).exit_code == 0
    hidden = Path("out/.batchscore/next-chat")
    for folder in ("chat", "manifest/chat"):
        (hidden / folder).parent.mkdir(parents=True, exist_ok=True)
        Path("out", folder).rename(hidden / folder)
    (manifest,) = hidden.glob("manifest/chat/*.json")
    manifest.write_text(manifest.read_text().replace('"state": "complete"', f'"state": "{state}"'))
    (lost,) = hidden.glob("chat/*-00001.jsonl")
    lost.unlink()
    asked(deployment)
    for _ in range(2):
        run = batchscore(*command(deployment))
        assert run.exit_code == 0, run
    assert asked(deployment) == [f"text {number}" for number in range(4, 8)]
    assert len(whole("out", "chat")[0]) == 10


@pytest.mark.parametrize(
    "content",
    ["{}", *(pytest.param(each, marks=pytest.mark.slow) for each in ('{"files": [[]]}', "[]", "x"))],
)
def test_a_damaged_list_of_replaced_files_is_named(
    batchscore: Cli, files: Files, deployment: Deployment, content: str
) -> None:
    files.csv("in/a.csv", [{"id": "1", "text": "text 1"}])
    assert batchscore(*command(deployment)).exit_code == 0
    damaged = Path("out/.batchscore/next-chat/replaced.json")
    damaged.parent.mkdir(parents=True, exist_ok=True)
    damaged.write_text(content)
    run = batchscore(*command(deployment))
    assert run.exit_code == 1
    assert f"{damaged} is damaged" in run.stderr
    assert "Traceback" not in run.stderr
    assert batchscore(*command(deployment, "--overwrite")).exit_code == 0


def test_a_file_that_a_killed_run_has_not_replaced_is_not_complete(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.csv("in/a.csv", [{"id": "1", "text": "text 1"}])
    assert batchscore(*command(deployment, out="out.jsonl")).exit_code == 0
    assert len(read_scores("out.jsonl", strict=True)) == 1
    (record,) = Path("out.jsonl.batchscore/runs").glob("*.json")
    fields = json.loads(record.read_text())
    started = {name: fields[name] for name in ("settings", "inputs", "fingerprint", "earlier")}
    started |= {"exit_code": None, "file_written": False, "files": [{"file": "a.csv", "state": "complete"}]}
    record.write_text(json.dumps(started))
    assert batchscore("verify", "out.jsonl").exit_code == 4
    with pytest.raises(OutputIncomplete, match=r"out\.jsonl: not written from the parts yet"):
        read_scores("out.jsonl", strict=True)
    assert batchscore(*command(deployment, out="out.jsonl")).exit_code == 0
    assert len(read_scores("out.jsonl", strict=True)) == 1
