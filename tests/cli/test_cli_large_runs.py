"""Large runs: requests in flight are completed, memory does not grow, a finished run costs no request."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cli_records import records
from test_large_files import MEASURE

from batchscore.simulator import Running, start
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Files

pytestmark = pytest.mark.alone

AT_ONCE = 500
MANY = 1_000_000
FEW = 200_000


@pytest.mark.slow
def test_hundreds_of_requests_in_flight_are_completed(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(4 * AT_ONCE)])
    deployment.will_be_slow(2, times=None)
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    with batchscore.start(*command, "--max-concurrency", str(AT_ONCE)) as process:
        deployment.wait_for(2 * AT_ONCE, timeout_s=60)
        process.interrupt(signal.SIGTERM)
        # A node that is preempted leaves 30 seconds.
        run = process.finish(timeout_s=25)
    assert run.exit_code == 4, run
    answered = deployment.statistics().statuses["200"]
    assert answered >= 2 * AT_ONCE - 1
    assert len(records(Path("out/chat"))) == answered
    deployment.reset()
    again = batchscore(*command, "--max-concurrency", str(AT_ONCE))
    assert again.exit_code == 0, again
    assert deployment.statistics().count == 4 * AT_ONCE - answered


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_memory_does_not_grow_with_rows_and_a_finished_run_sends_nothing(tmp_path: Path) -> None:
    with start(dimensions=8) as simulator:
        few = measured(simulator, tmp_path, FEW)
        many = measured(simulator, tmp_path, MANY)
        # A hundred bytes a row would be 80 megabytes; so much does the allocator keep, more or less.
        assert many["megabytes"] < few["megabytes"] + 40
        asked = Deployment(simulator.endpoint, "any").statistics().count
        again = measured(simulator, tmp_path, MANY)
        assert again["summary"]["ok"] == MANY
        assert Deployment(simulator.endpoint, "any").statistics().count == asked


@pytest.mark.slow
@pytest.mark.parametrize("dimensions", [8, 256])
def test_long_rows_at_the_default_concurrency_take_little_memory(tmp_path: Path, dimensions: int) -> None:
    """A service that is slow, so that as much as possible is in flight."""
    with start(dimensions=dimensions, latency=0.5) as simulator:
        assert measured(simulator, tmp_path, 60_000, "a kilobyte " * 90)["megabytes"] < 300


def measured(simulator: Running, folder: Path, rows: int, more: str = "") -> dict[str, Any]:
    """Score many rows, short or with more text; return the peak memory and the output of `--json`."""
    name = f"{rows}.csv"
    with (folder / name).open("w") as file:
        file.write("text\n")
        file.writelines(f"row {row} {more}\n" for row in range(rows))
    command = [sys.executable, "-m", "batchscore", "score", name, "-o", f"out-{rows}", "--json"]
    command += ["--task", "embeddings", "-m", "any", "--column", "text", "--endpoint", simulator.endpoint]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command],
        cwd=folder,
        env={"BATCHSCORE_API_KEY": "simulator"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *_, summary, kilobytes = done.stdout.splitlines()
    return {"megabytes": int(kilobytes) / 1024, "summary": json.loads(summary)}
