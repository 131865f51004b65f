"""Signals: what was answered is kept, the exit code says that the same command continues."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from cli_records import records, whole

from batchscore.simulator import Deployment, Running

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Cli, Files

ROWS = 9


def test_a_first_signal_waits_for_answers_and_the_same_command_finishes(
    batchscore: Cli, files: Files, deployment: Deployment, simulator: Running, tmp_path: Path
) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(ROWS)])
    signals = (signal.SIGINT, signal.SIGTERM)
    deployments = [simulator.deployment(f"{deployment.name}-{number.name}") for number in signals]
    commands = [
        [*("score", "a.csv", "-o", one.name, "--task", "chat", "-m", one.name, "--column", "text"),
         *("--concurrency", "2", "--rows-per-part", "4")]
        for one in deployments
    ]  # fmt: skip
    processes = []
    for one, command in zip(deployments, commands, strict=True):
        one.will_be_slow(0.4, times=None)
        processes.append(batchscore.start(*command))
    for one, process, number in zip(deployments, processes, signals, strict=True):
        one.wait_for(4)  # one went ahead, then two at a time: the fourth is under way
        process.interrupt(number)
    for one, process in zip(deployments, processes, strict=True):
        with process:
            run = process.finish()
        assert run.exit_code == 4, run
        assert "Interrupted. What was answered is kept." in run.stderr
        assert "The same command goes on: batchscore score a.csv" in run.stderr
        answered = one.statistics().statuses["200"]
        assert 4 <= answered < ROWS
        assert len(records(tmp_path / one.name / "chat")) == answered
        one.reset()
    for one, run in zip(deployments, batchscore.together(*commands), strict=True):
        assert run.exit_code == 0, run
        scores, errors = whole(one.name, "chat")
        assert (len(scores), len(errors)) == (ROWS, 0)
        assert one.statistics().count < ROWS - 3


def test_a_second_signal_leaves_at_once(batchscore: Cli, files: Files, deployment: Deployment) -> None:
    files.texts("a.csv", ["fast", "slow", "slow", "fast"])
    deployment.will_be_slow(60, times=None, when_input_contains="slow")
    with batchscore.start(
        "score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"
    ) as process:
        deployment.wait_for(4)
        process.interrupt()
        assert "press Ctrl-C again to leave at once" in process.stderr.readline()
        process.interrupt()
        run = process.finish(timeout_s=5)
    assert run.exit_code == 4
    assert "the same command goes on" in run.stderr


def test_ctrl_c_in_a_rehearsal_reaches_the_simulator_too(
    batchscore: Cli, files: Files, tmp_path: Path
) -> None:
    """A terminal sends the signal to every process of the command."""
    files.texts("a.csv", [f"row {row}" for row in range(3000)])
    with batchscore.start(
        *("score", "a.csv", "-o", "out", "--task", "chat", "-m", "any", "--column", "text", "--simulate"),
        *("--rows-per-part", "10", "--concurrency", "2"),
        env={"OPENAI_BASE_URL": None, "OPENAI_API_KEY": None},
        start_new_session=True,
    ) as process:
        wait_for_file(tmp_path / "out" / "chat")
        os.killpg(process.popen.pid, signal.SIGINT)
        run = process.finish()
    assert run.exit_code == 4, run
    assert records(tmp_path / "out" / "chat")


def wait_for_file(path: Path, seconds: float = 20.0) -> None:
    """Wait for a fact that no server knows of."""
    import time  # noqa: PLC0415

    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.01)
