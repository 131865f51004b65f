"""Killed at any moment and started again: one record per row, and almost nothing paid twice."""

from __future__ import annotations

import os
import random
import shlex
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from cli_records import manifests, whole

from batchscore import read_scores
from batchscore.errors import OutputIncomplete
from batchscore.output.verify import verify_output
from batchscore.report.resume import step_after_check
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Direct, Files

IN_FLIGHT = 16


def kill_and_resume(batchscore: Cli, command: list[str], *, kills: int, draw: random.Random) -> int:
    """Start the command repeatedly and kill it each time; return how often it was killed."""
    done = 0
    for _ in range(kills):
        process = batchscore.start(*command)
        with process:
            time.sleep(draw.uniform(0.5, 1.6))
            process.interrupt(signal.SIGKILL)
            killed = process.popen.wait() == -signal.SIGKILL
        done += killed
        if not killed:
            break
    run = batchscore(*command)
    assert run.exit_code == 0, run
    return done


def left_behind(out: str) -> list[str]:
    """Return the content of the hidden folder of a completed output."""
    return sorted(path.name for path in (Path(out) / ".batchscore").rglob("*"))


@pytest.mark.parametrize(
    ("seed", "rows", "most"),
    [(1, 350, 2), *(pytest.param(seed, 700, 3, marks=pytest.mark.slow) for seed in (1, 2))],
)
def test_a_killed_run_pays_twice_only_for_requests_in_flight(
    seed: int, rows: int, most: int, batchscore: Cli, files: Files, deployment: Deployment, direct: Direct
) -> None:
    texts = [f"row {row}" for row in range(rows)]
    files.texts("a.csv", texts)
    deployment.will_be_slow(0.03, times=None)
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    command += ["--max-concurrency", str(IN_FLIGHT), "--rows-per-part", "150"]
    kills = kill_and_resume(batchscore, command, kills=most, draw=random.Random(seed))
    scores, errors = whole("out", "chat")
    assert (len(scores), len(errors)) == (len(texts), 0)
    for row in random.Random(seed).sample(range(len(texts)), 5):
        assert scores["a.csv", row]["chat"] == direct.chat(texts[row])
    assert deployment.statistics().statuses["200"] <= len(texts) + kills * IN_FLIGHT
    assert left_behind("out") == ["README"]


def test_vectors_come_back_from_a_journal_bit_by_bit(
    batchscore: Cli, files: Files, deployment: Deployment, direct: Direct
) -> None:
    texts = [f"row {row}" for row in range(400)]
    files.texts("a.csv", texts)
    deployment.will_be_slow(0.1, times=None)
    command = ["score", "a.csv", "-o", "out", "--task", "embeddings", "-m", deployment.name]
    command += ["--column", "text", "--keep", "text", "--batch-size", "20", "--max-concurrency", "2"]
    process = batchscore.start(*command)
    with process:
        deployment.wait_for(8)
        process.interrupt(signal.SIGKILL)
    (journal,) = (Path("out") / ".batchscore" / "journal-embeddings").iterdir()
    assert journal.stat().st_mode & 0o077 == 0
    with journal.open("ab") as file:
        file.write(b"the beginning of a frame that was cut")
    before = journal.read_bytes()
    planned = batchscore("plan", *command[1:], "--json").report
    assert planned["known"] > 0
    assert planned["to_ask"] == len(texts) - planned["known"]
    verified = verify_output(Path("out"))
    assert (verified.last.waiting, verified.exit_code, verified.total("rows")) == (planned["known"], 4, 0)
    assert f"; {planned['known']} rows wait in checkpoint files, and the next run" in verified.to_text()
    step = step_after_check(verified)
    assert step == f"To resume, run: {shlex.join(['batchscore', *command])}"
    for each in (refused := batchscore.together(["merge", "out", "all.jsonl"], ["report", "out"])):
        assert each.exit_code == 4
        assert each.stderr.endswith(f"a.csv: not read completely. {step}\n")
        waiting = f"{planned['known']} rows wait in checkpoint files, which the next run publishes"
        assert (waiting in each.stderr) == (each is refused[0])
    (manifest,) = Path("out/manifest/embeddings").iterdir()
    manifest.rename("manifest.json")
    other = journal.with_name("b-00000000-00000.journal")
    for put in (other.mkdir, lambda: other.symlink_to("manifest.json"), lambda: os.mkfifo(other)):
        put()
        odd = verify_output(Path("out"))
        assert (odd.last.waiting, odd.exit_code) == (planned["known"], 1), "also without a manifest"
        assert [each.place for each in odd.problems] == [str(other)]
        assert odd.missing == ["a.csv: started, but not complete"]
        other.rmdir() if other.is_dir() else other.unlink()
    Path("manifest.json").rename(manifest)
    page = Path("out/report.html").read_text("utf-8")
    assert f"Incomplete: {planned['known']} rows wait in checkpoint files" in page
    assert "To resume, run in the folder where the last run was started:" in page
    assert journal.read_bytes() == before, "a plan, a check and a report change nothing"
    asked = deployment.statistics().count
    run = batchscore(*command)
    assert run.exit_code == 0, run
    assert f", {planned['known']} done by earlier runs" in run.said
    assert deployment.statistics().count < asked + 20 - 4
    scores, errors = whole("out", "embeddings")
    assert (len(scores), len(errors)) == (len(texts), 0)
    for row, expected in enumerate(direct.vectors(texts[:150])):
        assert np.array_equal(np.float32(scores["a.csv", row]["embeddings"]), expected)
        assert scores["a.csv", row]["text"] == texts[row]
    assert left_behind("out") == ["README"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        ["--task", "chat"],
        ["--task", "embeddings", "--batch-size", "1", "--format", "parquet"],
        ["--task", "chat", "--rows-per-part", "30"],
        ["--task", "chat", "--shared-output"],
        ["--task", "chat", "--scratch-dir", "scratch"],
    ],
)
def test_a_run_that_reads_few_rows_keeps_the_answers_of_a_killed_run_to_the_others(
    more: list[str], batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(200)])
    Path("scratch").mkdir()
    deployment.will_be_slow(0.05, times=None)
    command = ["score", "a.csv", "-o", "out", "-m", deployment.name, "--column", "text", *more]
    command += ["--max-concurrency", "4"]
    with batchscore.start(*command) as process:
        deployment.wait_for(60)
        process.interrupt(signal.SIGKILL)
        process.popen.wait()
    asked = deployment.statistics().count
    for limit in ("5", "7"):
        run = batchscore(*command, "--limit", limit)
        assert run.exit_code == 0, run
        assert deployment.statistics().count == asked, "all of these rows were answered"
    part = next(Path("out", more[1]).iterdir())
    records = part.read_bytes()
    part.write_bytes(records[:-20])
    assert batchscore("verify", "out").exit_code == 1, "what waits in the journal explains no damage"
    part.write_bytes(records)
    assert batchscore("verify", "out").exit_code == 4
    run = batchscore(*command)
    assert run.exit_code == 0, run
    assert deployment.statistics().count <= 200 + 4
    assert sorted(read_scores("out")["row"]) == list(range(200))
    (manifest,) = manifests("out", more[1]).values()
    assert sum(part["attempts"] for part in manifest["parts"]) <= 200 + 4
    assert not [*Path("out").rglob("*.journal"), *Path("out").rglob("*.unread")]


@pytest.mark.slow
def test_other_settings_do_not_discard_the_journal_of_a_killed_run(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(400)])
    deployment.will_be_slow(0.05, times=None)
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    process = batchscore.start(*command, "--max-concurrency", "4")
    with process:
        deployment.wait_for(40)
        process.interrupt(signal.SIGKILL)
    run = batchscore(*command, "--max-tokens", "7")
    assert run.exit_code == 1, run
    assert "max_tokens" in run.said
    run = batchscore(*command, "--overwrite", env={"OPENAI_API_KEY": "wrong"})
    assert run.exit_code == 1, run
    assert "Nothing was discarded." in run.said
    assert list(Path("out").rglob("*.journal"))
    run = batchscore(*command, "--max-tokens", "7", "--overwrite")
    assert run.exit_code == 0, run
    assert "--overwrite discarded" in run.said
    assert len(whole("out", "chat")[0]) == 400


@pytest.mark.slow
def test_a_run_that_reads_otherwise_and_is_killed_leaves_the_answers_of_the_first(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.text("a.csv", "text\n" + "".join(f'"row {row}"\n' for row in range(200)))
    deployment.will_be_slow(0.05, times=None)
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    command += ["--max-concurrency", "4"]
    for other in ([], ["--encoding", "latin-1"]):
        with batchscore.start(*command, *other) as process:
            deployment.wait_for(deployment.statistics().count + 40)
            process.interrupt(signal.SIGKILL)
            process.popen.wait()
    wrong = batchscore(*command, "--quote", "none")
    assert (wrong.exit_code, "as it is read now, has changed" in wrong.said) == (1, True), wrong
    assert batchscore(*command).exit_code == 0
    assert deployment.statistics().count <= 200 + 2 * 4
    assert sorted(read_scores("out")["row"]) == list(range(200))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_runs_with_faults_that_are_killed_several_times(
    seed: int, batchscore: Cli, files: Files, deployment: Deployment, direct: Direct
) -> None:
    draw = random.Random(seed)
    texts = [f"row {row}" for row in range(5000)]
    files.texts("a.csv", texts[:1800])
    files.texts("b.csv", texts[1800:])
    for behaviour in ({"status": 500}, {"status": 503}, {"drop": "before"}):
        deployment.will(
            **behaviour, times=draw.randrange(1, 4), when_input_contains=str(draw.randrange(100, 999))
        )
    command = ["score", "a.csv", "b.csv", "-o", "out", "--task", "embeddings", "-m", deployment.name]
    command += ["--column", "text", "--batch-size", "1", "--dimensions", "16", "--rows-per-part", "500"]
    command += ["--max-concurrency", str(IN_FLIGHT)]
    kills = kill_and_resume(batchscore, command, kills=draw.randrange(2, 6), draw=draw)
    scores, errors = whole("out", "embeddings")
    assert len(scores) + len(errors) == len(texts)
    rows = sorted(draw.sample(range(1800), 20))
    for row, expected in zip(rows, direct.vectors([texts[row] for row in rows], dimensions=16), strict=True):
        assert np.array_equal(np.float32(scores["a.csv", row]["embeddings"]), expected)
    assert deployment.statistics().statuses["200"] <= len(texts) + kills * IN_FLIGHT
    assert left_behind("out") == ["README"]


@pytest.mark.slow
def test_journals_move_to_the_scratch_folder_that_is_named_later(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(120)])
    deployment.will_be_slow(0.05, times=None)
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    command += ["--max-concurrency", "4"]
    for more, asked in ([], 30), (["--scratch-dir", "scratch"], 50):
        with batchscore.start(*command, *more) as process:
            deployment.wait_for(asked)
            process.interrupt(signal.SIGKILL)
    (journal,) = Path("scratch").rglob("*.journal")
    assert journal.stat().st_mode & 0o077 == 0
    assert not list(Path("out").rglob("*.journal"))
    assert verify_output(Path("out")).last.waiting >= 50 - 2 * 4
    run = batchscore(*command, "--scratch-dir", "scratch")
    assert run.exit_code == 0, run
    assert deployment.statistics().statuses["200"] <= 120 + 2 * 4
    assert not list(Path("scratch").rglob("*.*"))
    assert left_behind("out") == ["README"]


@pytest.mark.crash
def test_scores_next_to_retried_errors_are_not_paid_twice(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """The run is killed when a part is rewritten and its manifest still names the old one."""
    files.texts("in/a.csv", [f"text {number} {'BROKEN' if number % 4 == 0 else ''}" for number in range(12)])
    score = ["score", "in", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    score += ["--rows-per-part", "4", "--max-retries", "0"]
    deployment.will(status=500, latency=0.5, when_input_contains="BROKEN", times=None)
    assert batchscore(*score).exit_code == 3
    deployment.reset()
    deployment.will_hang(when_input_contains="text 8", times=None)
    deployment.will_be_slow(0.3, when_input_contains="text 4", times=None)
    errors = Path("out/errors/chat")
    with batchscore.start(*score) as process:
        while [*errors.glob("part-*-00001.jsonl")]:
            time.sleep(0.002)
        process.interrupt(signal.SIGKILL)
        process.popen.wait()
    deployment.reset()
    assert batchscore(*score).exit_code == 0
    assert deployment.statistics().count == 1


def test_only_old_temporary_files_are_removed_while_other_tasks_write(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("in/a.csv", ["one"])
    folders = [Path("out/.batchscore"), Path("out/runs")]
    for folder in folders:
        folder.mkdir(parents=True)
        for name, seconds in (("young", 0), ("old", 7200)):
            path = files.text(f"{folder}/.batchscore-{name}.tmp", "half")
            os.utime(path, (time.time() - seconds,) * 2)
    score = ["score", "in", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    for more in ([], ["--incremental"], ["--shared-output"]):
        assert batchscore(*score, *more).exit_code == 0
        for folder in folders:
            assert [path.name for path in folder.glob("*.tmp")] == [".batchscore-young.tmp"]
    for folder in folders:
        (folder / ".batchscore-young.tmp").unlink()


#: Each file has two rows; the rows of the others are answered while those of one file hang.
NAMES = [f"f{number}.csv" for number in range(5)]

SCORE = ["score", "in", "--task", "chat", "--column", "text", "--max-concurrency", "2", "-m"]


def kill_at(batchscore: Cli, deployment: Deployment, number: int, command: list[str], *more: str) -> None:
    """Kill a run when all rows before this file are answered, and those of this file hang.

    A file is complete soon after its last answer. But if the run reads on only after that answer, it notices
    the end of the file with the next answer, which never comes.
    """
    deployment.reset()
    deployment.will_hang(when_input_contains=f"f{number} ", times=None)
    with batchscore.start(*command, *more) as process:
        before = -1
        # Runs take over what earlier ones have answered, so only a standstill shows that all else is done.
        while not (now := deployment.statistics()).in_flight or now.count != before:
            before = now.count
            time.sleep(0.4)
        process.interrupt(signal.SIGKILL)
        assert process.popen.wait() == -signal.SIGKILL
    deployment.reset()


@pytest.mark.parametrize(
    ("out", "more"),
    [
        ("out", ()),
        pytest.param("out.jsonl", (), marks=pytest.mark.slow),
        pytest.param("out", ("--shared-output",), marks=pytest.mark.slow),
        pytest.param("out", ("--incremental",), marks=pytest.mark.slow),
        pytest.param("out", ("--incremental", "--prune"), marks=pytest.mark.slow),
        pytest.param("out", ("--overwrite",), marks=pytest.mark.slow),
    ],
)
def test_a_run_that_is_killed_between_two_files_is_incomplete(
    batchscore: Cli, files: Files, deployment: Deployment, out: str, more: tuple[str, ...]
) -> None:
    """`verify`, `merge`, a strict reader and the report know the files that the run did not get to."""
    for name in NAMES:
        files.texts(f"in/{name}", [f"{name[:2]} {row}" for row in range(2)])
    command = [*SCORE, deployment.name, "-o", out]
    for number in (1,) if not more and out == "out" else range(len(NAMES)):
        kill_at(batchscore, deployment, number, command, *more)
        verified, merged, report = batchscore.together(
            ["verify", out], ["merge", out, f"all{number}.jsonl"], ["report", out]
        )
        assert verified.exit_code == 4, verified
        assert f"incomplete: f{number}.csv: " in verified.stdout
        assert "incomplete: f4.csv: not started\n" in verified.stdout
        assert merged.exit_code == 4, merged
        assert "f4.csv: not started" in merged.stderr or number == 0
        with pytest.raises(OutputIncomplete, match="is not complete"):
            read_scores(out, strict=True)
        assert report.exit_code == 4, report
        (page,) = Path().glob("out*/report.html")
        assert "Complete:" not in page.read_text("utf-8")
        assert "did not end" in page.read_text("utf-8")
        if "--overwrite" not in more:
            shutil.rmtree(page.parent)
    assert batchscore(*command, *more).exit_code == 0
    assert len(read_scores(out, strict=True)) == 2 * len(NAMES)
    assert batchscore("verify", out).exit_code == 0


@pytest.mark.parametrize("removed", ["out/chat", pytest.param("out", marks=pytest.mark.slow)])
def test_an_output_that_is_removed_while_a_run_works_is_not_called_saved(
    batchscore: Cli, files: Files, deployment: Deployment, removed: str
) -> None:
    for name in NAMES[:3]:
        files.texts(f"in/{name}", [f"{name[:2]} {row}" for row in range(2)])
    deployment.will_hang(2.0, when_input_contains="f1 ", times=2)
    with batchscore.start(*SCORE, deployment.name, "-o", "out") as process:
        while manifests("out", "chat").get("f0.csv", {}).get("state") != "complete":
            time.sleep(0.01)
        shutil.rmtree(removed)
        run = process.finish()
    assert run.exit_code == 4
    assert (
        "Stopped: files were removed from out while the run was working, such as out/chat/part-f0-"
        in run.said
    )
    assert "The records of 2 rows of 1 file are lost." in run.said
    assert batchscore("verify", "out").exit_code in {1, 4}
    assert batchscore(*SCORE, deployment.name, "-o", "out").exit_code == 0
    # Of the removed part two rows, and perhaps a row that was in flight when the folder was removed.
    assert deployment.statistics().statuses["200"] in {8, 9}
    assert batchscore("verify", "out").exit_code == 0
