"""A process that is killed at any moment costs nothing: each row has one record, each line ran once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from batch_runs import records, write_rows
from batchscore.simulator import Running
from simulated import Project

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.crash, pytest.mark.timeout(1200)]

ROWS = 45

#: Each test kills at every so many changes, so that several can share the work.
EVERY = 6
HERE = Path(__file__).parent
SCRIPT = HERE / "killed_run.py"


def start_run(simulator: Running, key: str, moment: int = 0, *more: str) -> subprocess.Popen[bytes]:
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent), *sys.path])}
    command = [sys.executable, str(SCRIPT), simulator.endpoint, key, str(moment), *more]
    return subprocess.Popen(command, env=environ)


def check_whole(project: Project, moment: object) -> None:
    found = records()
    assert sorted(found) == list(range(ROWS)), moment
    assert all("chat" in record for record in found.values()), moment
    executed = Counter(count for name, count in project.executions().items() if not name.endswith("-probe"))
    assert executed == {1: ROWS}, moment
    assert not list(Path("out/.batchscore/batches").rglob("*.json")), moment


@pytest.mark.parametrize("limit", ["", "--limit=5"])
@pytest.mark.parametrize("first", range(1, EVERY + 1))
def test_a_kill_at_any_change_of_the_output_costs_nothing(simulator: Running, first: int, limit: str) -> None:
    """Also if the next run reads few rows: the paid answers of the others wait for the run after it."""
    write_rows(ROWS)
    moment, killed = first - EVERY, True
    while killed:
        moment += EVERY
        project = Project(simulator.endpoint, simulator.key, f"kill-{moment}")
        project.end_at_once()
        with start_run(simulator, project.key, moment) as process:
            killed = process.wait() == -signal.SIGKILL
        if limit:
            with start_run(simulator, project.key, 0, limit) as process:
                process.wait()
        with start_run(simulator, project.key) as process:
            assert process.wait() == 0, moment
        check_whole(project, moment)
        project.reset()
        shutil.rmtree("out")
    assert moment > 20


CALLS: list[tuple[str, int, dict[str, Any]]] = [
    *((kind, skip, {"happened": happened})
      for kind in ("upload", "create") for skip in (0, 1) for happened in (True, False)),
    *((kind, 0, {}) for kind in ("get_batch", "get_file", "download", "delete_file", "list_batches")),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "skip", "fault"), CALLS)
def test_a_kill_during_any_call_costs_nothing(
    simulator: Running, project: Project, kind: str, skip: int, fault: dict[str, Any]
) -> None:
    write_rows(ROWS)
    project.will(kind, skip=skip, hang=5.0, **fault)
    with start_run(simulator, project.key) as process:
        happened = bool(fault.get("happened"))
        project.wait_for(kind, skip + 1, happened=happened, timeout_s=30)
        process.kill()
    project.drop_faults()
    with start_run(simulator, project.key) as process:
        assert process.wait() == 0
    check_whole(project, kind)


@pytest.mark.parametrize("seconds", [0.9 + 0.04 * number for number in range(12)])
def test_a_kill_at_some_moment_costs_nothing(simulator: Running, project: Project, seconds: float) -> None:
    write_rows(ROWS)
    project.set_rules(in_progress=0.05)
    project.will("create", skip=1, drop=True, happened=True)
    for _ in range(3):
        with start_run(simulator, project.key) as process:
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
    with start_run(simulator, project.key) as process:
        assert process.wait() == 0
    check_whole(project, seconds)
