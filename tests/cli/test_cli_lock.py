"""Two runs on one output: the second is told who works there, and does nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_records import whole

from batchscore.simulator import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Files


@pytest.mark.crash
@pytest.mark.parametrize("output", ["out", "out.jsonl"])
def test_a_second_run_is_refused_until_the_first_is_gone(
    batchscore: Cli, files: Files, deployment: Deployment, output: str
) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(6)])
    command = ["score", "a.csv", "-o", output, "--task", "chat", "-m", deployment.name, "--column", "text"]
    deployment.will_be_slow(60, times=None, when_input_contains="row 3")
    with batchscore.start(*command, "--system", "S3CRET") as first:
        deployment.wait_for(6)
        second, overwriting = batchscore.together(command, [*command, "--overwrite"])
        for run in (second, overwriting):
            assert run.exit_code == 5, run
            (line,) = run.stderr.splitlines()
            assert line.startswith(f"batchscore: {output} (chat) is held by `batchscore score --task chat`")
            assert f"process {first.popen.pid}" in line
        assert deployment.statistics().count == 6
        assert "S3CRET" not in second.said
        (lock,) = Path().rglob("chat.lock")
        assert "S3CRET" not in lock.read_text("utf-8")
        first.popen.kill()
        first.popen.wait()
    assert lock.exists()
    deployment.reset()
    # Nobody has published anything yet, so that other settings are welcome.
    run = batchscore(*command)
    assert run.exit_code == 0, run
    assert not lock.exists()
    assert len(whole("out" if output == "out" else f"{output}.batchscore", "chat")[0]) == 6


def test_two_tasks_of_one_output_do_not_meet(batchscore: Cli, files: Files, deployment: Deployment) -> None:
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


def test_a_run_whose_lock_is_removed_goes_on_until_it_would_say_so(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """A removed file is found within half a minute; a run that ends before ends well."""
    files.texts("a.csv", ["one", "two", "three"])
    deployment.will_be_slow(0.3, times=None)
    with batchscore.start(
        "score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"
    ) as process:
        deployment.wait_for(1)
        os.unlink("out/.batchscore/chat.lock")  # noqa: PTH108
        run = process.finish()
    assert run.exit_code == 0, run
