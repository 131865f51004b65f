"""Two runs on one output: the second reports the first one and does nothing."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_records import whole

from batchscore.api.read_scores import read_scores
from batchscore.errors import OutputIncomplete
from batchscore.mlflow_model.resolve import resolve_settings
from batchscore.output.locks.lock import Lock
from batchscore.output.locks.system import SYSTEM
from batchscore.rows import Event, Notice, RowsSettled
from batchscore.run.score_files import prepare
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Files


@pytest.mark.crash
@pytest.mark.parametrize("output", ["out", pytest.param("out.jsonl", marks=pytest.mark.slow)])
def test_a_second_run_is_refused_until_the_first_is_gone(
    batchscore: Cli, files: Files, deployment: Deployment, output: str
) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(6)])
    command = ["score", "a.csv", "-o", output, "--task", "chat", "-m", deployment.name, "--column", "text"]
    deployment.will_be_slow(60, times=None, when_input_contains="row 3")
    with batchscore.start(*command, "--system", "S3CRET") as first:
        deployment.wait_for(6)
        second, overwriting = batchscore.together(command, [*command, "--overwrite"])
        refused = [second, overwriting]
        if output == "out.jsonl":  # one file holds one task
            refused.append(batchscore(*("completions" if word == "chat" else word for word in command)))
        for run in refused:
            assert run.exit_code == 5, run
            _, line = run.stderr.splitlines()
            what = output if output == "out.jsonl" else "out (chat)"
            assert line.startswith(f"batchscore: {what} is held by `batchscore score --task chat`")
            assert f"process {first.popen.pid}" in line
        with pytest.raises(OutputIncomplete, match=r" is held by `.+\. Wait for it to end, or stop it\.$"):
            read_scores(output, "chat", strict=True)
        assert deployment.statistics().count == 6
        assert "S3CRET" not in second.said
        (lock,) = Path().rglob("chat.lock")
        assert "S3CRET" not in lock.read_text("utf-8")
        first.popen.kill()
        first.popen.wait()
    assert lock.exists()
    deployment.reset()
    # What was answered is in the journal, so that other settings are not welcome.
    run = batchscore(*command)
    assert run.exit_code == 1, run
    assert "of another run (system was" in run.said
    run = batchscore(*command, "--system", "S3CRET")
    assert run.exit_code == 0, run
    assert not lock.exists()
    assert len(whole("out" if output == "out" else f"{output}.batchscore", "chat")[0]) == 6


def test_two_tasks_in_one_output_do_not_conflict(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", ["one", "two"])
    common = ["score", "a.csv", "-o", "out", "-m", deployment.name, "--column", "text", "--task"]
    deployment.will_be_slow(0.3, times=None)
    runs = batchscore.together([*common, "chat"], [*common, "embeddings"])
    assert [run.exit_code for run in runs] == [0, 0], runs
    assert sorted(path.name for path in Path("out/.batchscore").iterdir()) == ["README"]


def test_a_run_that_is_refused_for_another_reason_leaves_no_trace(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", ["one"])
    files.text("out/chat/mine.txt", "not batchscore's")
    run = batchscore(
        "score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"
    )
    assert run.exit_code == 1
    assert sorted(str(path) for path in Path("out").rglob("*")) == ["out/chat", "out/chat/mine.txt"]


def test_a_running_output_can_be_merged_but_not_verified(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(6)])
    deployment.will_be_slow(0.5, when_input_contains="row 0")
    deployment.will_be_slow(60, times=None, when_input_contains="row 5")
    with batchscore.start(
        *("score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"),
        *("--rows-per-part", "2"),
    ) as process:
        deployment.wait_for(1)
        process.interrupt(signal.SIGSTOP)  # nothing is published before the first merge
        early = batchscore("merge", "out", "all.csv")
        process.interrupt(signal.SIGCONT)
        assert early.exit_code == 5, early
        assert f"process {process.popen.pid}" in early.stderr
        deployment.wait_for(6)
        while not any(
            b'"scores": {' in path.read_bytes() for path in Path().glob("out/manifest/chat/*.json")
        ):
            time.sleep(0.01)
        merged, verified, repaired = batchscore.together(
            ["merge", "out", "all.jsonl"], ["verify", "out"], ["verify", "out", "--repair"]
        )
        assert merged.exit_code == 4
        assert f"process {process.popen.pid}" in merged.said
        assert [verified.exit_code, repaired.exit_code] == [5, 5]
        assert f"process {process.popen.pid}" in verified.said


def test_a_run_that_has_lost_its_lock_stops(
    files: Files, tmp_path: Path, scorer: Cli, deployment: Deployment
) -> None:
    """Another run considered it dead, and writes to the same output now."""
    files.texts("a.csv", [f"row {row}" for row in range(3000)])
    settings = resolve_settings(
        {"task": "chat", "model": deployment.name, "output": "out", "column": "text"}, environ=scorer.environ
    ).settings
    hold = Lock(tmp_path / "gone.lock", b"", None, SYSTEM)
    notices: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, RowsSettled):
            threading.Thread(target=hold.when_lost).start()
        elif isinstance(event, Notice):
            notices.append(event.text)

    run = prepare(settings, ["a.csv"], environ=scorer.environ, listen=listen)
    run.score(hold)
    assert run.finish().exit_code == 4
    assert 0 < run.outcome.ok < 3000
    assert any("the lock of the output was removed" in notice for notice in notices)
