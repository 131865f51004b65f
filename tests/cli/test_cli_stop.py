"""Signals: completed rows are saved, and the exit code says that the same command resumes."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cli_records import records, whole

from batchscore.__main__ import ABORTED
from batchscore.simulator import Running
from batchscore.simulator.script import Behaviour
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Files

ROWS = 9


def test_a_first_signal_waits_for_responses_and_the_same_command_finishes(
    batchscore: Cli, files: Files, deployment: Deployment, simulator: Running, tmp_path: Path
) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(ROWS)])
    signals = (signal.SIGINT, signal.SIGTERM)
    deployments = [Deployment(simulator.endpoint, f"{deployment.name}-{number.name}") for number in signals]
    commands = [
        [*("score", "a.csv", "-o", one.name, "--task", "chat", "-m", one.name, "--column", "text"),
         *("--max-concurrency", "2", "--rows-per-part", "4")]
        for one in deployments
    ]  # fmt: skip
    processes = []
    for one, command in zip(deployments, commands, strict=True):
        # Long enough that none is done before it gets its signal.
        one.will(Behaviour(latency=0.1, times=3), Behaviour(latency=1.5, times=None))
        processes.append(batchscore.start(*command))
    for one, process, number in zip(deployments, processes, signals, strict=True):
        one.wait_for(4)  # one went ahead, then two at a time: the fourth is under way
        process.interrupt(number)
    for one, process in zip(deployments, processes, strict=True):
        with process:
            run = process.finish()
        assert run.exit_code == 4, run
        assert "Interrupted. Completed rows are saved." in run.said
        done = len(records(tmp_path / one.name / "chat"))
        assert re.search(rf"chat: {done} (of \d+ )?rows done, 0 failed, ", run.stdout)
        assert "To resume, run: batchscore score a.csv" in run.said
        answered = one.statistics().statuses["200"]
        assert 4 <= answered < ROWS
        assert len(records(tmp_path / one.name / "chat")) == answered
        one.reset()
    for one, run in zip(deployments, batchscore.together(*commands), strict=True):
        assert run.exit_code == 0, run
        scores, errors = whole(one.name, "chat")
        assert (len(scores), len(errors)) == (ROWS, 0)
        assert one.statistics().count < ROWS - 3


def test_a_run_that_stopped_counts_the_remaining_work(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """Rows of unread files cannot be counted, so the files are counted."""
    for name in ("a", "b", "c"):
        files.texts(f"in/{name}.csv", [f"{name} {row}" for row in range(ROWS)])
    command = ["score", "in", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    limited = batchscore(*command, "--limit", str(ROWS + 2))
    assert limited.exit_code == 0
    assert "chat: 11 rows done, 0 failed, 1 file not read completely, 1 file not started" in limited.stdout
    record = record_of_the_only_run()
    assert (record["reason"], record["rows"]) == ("--limit was reached", ROWS + 2)
    assert sorted((file["file"], file["state"], file["complete"]) for file in record["files"]) == [
        ("a.csv", "complete", True),
        ("b.csv", "partial", False),
        ("c.csv", "not_started", False),
    ]

    refused = {"OPENAI_API_KEY": "wr0ng"}
    fresh, again = batchscore.each(
        ([*command[:3], "new", *command[4:]], refused), ([*command, "--json"], refused)
    )
    assert (fresh.exit_code, again.exit_code) == (1, 1)
    assert "chat: 0 rows done, 0 failed, " in fresh.said
    assert " remaining" in fresh.said
    assert (again.report["ok"], again.report["known"]) == (ROWS + 2, ROWS + 2)
    assert again.report["rows"] == ROWS + 2 + again.report["not_reached"]


def test_a_signal_that_is_delivered_twice_discards_nothing(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """As `timeout` sends it to a process and to its group."""
    files.texts("a.csv", ["one", "two"])
    deployment.will_be_slow(0.5, times=None)
    with batchscore.start(
        "score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"
    ) as process:
        deployment.wait_for(1)
        # All of them have arrived when it continues.
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
            process.interrupt(number)
        run = process.finish()
    assert run.exit_code in {0, 4}, run
    assert " again to quit now" in run.said
    assert "Aborted" not in run.said
    assert len(records(Path("out/chat"))) == deployment.statistics().statuses["200"] >= 1


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["score", "plan", "verify"])
def test_a_signal_at_any_time_ends_with_one_line_and_exit_code_4(
    batchscore: Cli, files: Files, deployment: Deployment, command: str, number: signal.Signals
) -> None:
    """While Python imports, it would lose the signal, print a traceback, or end by the signal."""
    files.texts("a.csv", [f"row {row}" for row in range(3000)])
    asked = ["--task", "chat", "-m", deployment.name, "--column", "text"]
    words = {
        "score": ["score", "a.csv", "-o", "out", *asked, "--max-concurrency", "2"],
        "plan": ["plan", "a.csv", *asked],
        "verify": ["verify", "out"],
    }[command]
    deployment.will_be_slow(0.3, times=None)
    if command == "verify":
        deployment.reset()
        assert batchscore("score", files.texts("b.csv", ["one"]), "-o", "out", *asked).exit_code == 0
    lasts = 1.0
    if command != "score":
        begun = time.monotonic()
        with batchscore.start(*words, start_new_session=True) as process:
            process.finish()
        lasts = time.monotonic() - begun
    signalled = 0
    for step in range(1, 31):
        with batchscore.start(*words, start_new_session=True) as process:
            wait_until_handled(process.popen.pid)  # Python itself starts first
            time.sleep(lasts * step / 30)
            alive = process.popen.poll() is None
            process.interrupt(number)
            run = process.finish()
        if command == "score":
            assert alive
        if run.exit_code == 0 and command != "score" and not run.stderr:
            continue  # it had done its work, or was about to end
        signalled += 1
        assert run.exit_code == 4, (step, run)
        assert "Traceback" not in run.said
        assert "Exception ignored" not in run.said
        assert (ABORTED if command != "score" else "Completed rows are saved.") in run.said, run
    assert signalled
    # As after a kill, a half-written file may be left; it is removed by the next run.
    for left in Path("out").rglob("*.tmp"):
        left.unlink()


def wait_until_handled(pid: int) -> None:
    """Wait until a process has its own handler of SIGTERM."""
    handled = 1 << (signal.SIGTERM - 1)
    status = Path(f"/proc/{pid}/status")
    while not int(status.read_text().partition("SigCgt:")[2].split()[0], 16) & handled:
        time.sleep(0.005)


def record_of_the_only_run() -> dict[str, Any]:
    """Return the record of the only run."""
    (path,) = Path("out/runs").iterdir()
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def test_a_second_signal_quits_at_once(batchscore: Cli, files: Files, deployment: Deployment) -> None:
    files.texts("a.csv", ["fast", "slow", "slow", "fast"])
    deployment.will_be_slow(600, times=None, when_input_contains="slow")
    with batchscore.start(
        *("score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"),
        "--overwrite",
    ) as process:
        deployment.wait_for(4)
        process.interrupt()
        assert process.stderr.readline().startswith("Requests go to ")
        assert "press Ctrl-C again to quit now" in process.stderr.readline()
        time.sleep(0.25)
        process.interrupt()
        run = process.finish()
    assert run.exit_code == 4
    again = "Quitting. The next run sends the rows of requests in flight again."
    resumed, _, command = run.stderr.partition(": ")
    assert resumed == f"{again}\nAborted. Completed rows are saved.\nTo resume, run"
    deployment.reset()
    run = batchscore(*shlex.split(command)[1:])
    assert (run.exit_code, len(records(Path("out/chat")))) == (0, 4)


@pytest.mark.slow
def test_ctrl_c_in_a_rehearsal_reaches_the_simulator_too(
    batchscore: Cli, files: Files, tmp_path: Path
) -> None:
    """A terminal sends the signal to every process of the command."""
    files.texts("a.csv", [f"row {row}" for row in range(3000)])
    with batchscore.start(
        *("score", "a.csv", "-o", "out", "--task", "chat", "-m", "any", "--column", "text", "--simulate"),
        *("--rows-per-part", "10", "--max-concurrency", "2"),
        env={"OPENAI_BASE_URL": None, "OPENAI_API_KEY": None},
        start_new_session=True,
    ) as process:
        wait_for_file(tmp_path / "out" / "chat")
        os.killpg(process.popen.pid, signal.SIGINT)
        run = process.finish()
    assert run.exit_code == 4, run
    assert records(tmp_path / "out" / "chat")


def wait_for_file(path: Path) -> None:
    """Wait for a file."""
    while not path.exists():
        time.sleep(0.01)
