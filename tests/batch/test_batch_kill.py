"""A process that is killed at any moment costs nothing: each row has one record, each line ran once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

import prefork
from batch_runs import executed, records, write_rows
from batchscore.errors import ExitCode
from batchscore.output.layout import Layout
from batchscore.output.submitted import Chunks, Step, chunk_folder
from batchscore.simulator import Running
from simulated import Project

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.crash, pytest.mark.timeout(1200)]

ROWS = 45

#: Each test kills at every Nth change, so that several can share the work.
EVERY = 6
SCRIPT = Path(__file__).parent / "killed_run.py"


class Runs:
    """Starts runs of a project that may be killed."""

    def __init__(self, server: prefork.Server, simulator: Running, project: Project) -> None:
        self.server, self.endpoint, self.key = server, simulator.endpoint, project.key

    def start(self, moment: int = 0, *more: str) -> prefork.Forked:
        """Start a run that is killed before a change of the output, if `moment` is not 0."""
        words = [self.endpoint, self.key, str(moment), *more]
        return self.server.start(words, os.environ, Path.cwd(), SCRIPT)

    def __call__(self, moment: int = 0, *more: str) -> int:
        """Run to the end, or to a change of the output, and return the exit code."""
        return self.start(moment, *more).end()


@pytest.fixture
def runs(imported: prefork.Server, simulator: Running, project: Project) -> Runs:
    return Runs(imported, simulator, project)


def check_whole(project: Project, moment: object) -> None:
    found = records()
    assert sorted(found) == list(range(ROWS)), moment
    assert all("chat" in record for record in found.values()), moment
    left = Chunks(chunk_folder(Layout(Path("out"), "chat", ""))).read_all()
    # A creation of which nobody can know yet whether it made a second batch.
    assert all(chunk.unconfirmed and chunk.step is Step.CLOSED for chunk in left), moment


@pytest.mark.parametrize("more", ["", "--limit=5", "--incremental"])
@pytest.mark.parametrize("first", range(1, EVERY + 1))
def test_a_kill_at_any_change_of_the_output_costs_nothing(
    imported: prefork.Server, simulator: Running, first: int, more: str
) -> None:
    """Also if the next run reads few rows: the paid answers of the others wait for the run after it."""
    write_rows(ROWS)
    moment, killed = first - EVERY, True
    while killed:
        moment += EVERY
        project = Project(simulator.endpoint, simulator.key, f"kill-{moment}")
        runs = Runs(imported, simulator, project)
        project.end_at_once()
        always = [more] if more == "--incremental" else []
        killed = runs(moment, *always) == -signal.SIGKILL
        if more and not always:
            runs(0, more)
        assert runs(0, *always) == 0, moment
        check_whole(project, moment)
        assert executed(project) == {1: ROWS}, moment
        project.reset()
        shutil.rmtree("out")
    assert moment > 20


@pytest.mark.parametrize("first", range(1, EVERY + 1))
def test_a_kill_at_any_change_of_the_output_leaves_failed_rows_to_the_next_run(
    imported: prefork.Server, simulator: Running, first: int
) -> None:
    """Also while what is recorded of them is removed, at the service and here."""
    write_rows(ROWS)
    moment, killed = first - EVERY, True
    while killed:
        moment += EVERY
        project = Project(simulator.endpoint, simulator.key, f"kill-{moment}")
        runs = Runs(imported, simulator, project)
        project.end_at_once()
        project.will_spoil(share=0.5, status=500, times=3)
        killed = runs(moment, "--rounds=1") == -signal.SIGKILL
        code = runs(0, "--rounds=1")
        if code == ExitCode.ROWS_FAILED:
            code = runs(0, "--rounds=1")
        assert code == 0, moment
        check_whole(project, moment)
        counts = executed(project)
        assert [*counts] == [1], moment
        assert counts[1] <= ROWS + 3, moment
        project.reset()
        shutil.rmtree("out")


CALLS: list[tuple[str, int, dict[str, Any]]] = [
    *((kind, skip, {"happened": happened})
      for kind in ("upload", "create") for skip in (0, 1) for happened in (True, False)),
    *((kind, 0, {}) for kind in ("get_batch", "get_file", "download", "delete_file", "list_batches")),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "skip", "fault"), CALLS)
def test_a_kill_during_any_call_costs_nothing(
    runs: Runs, project: Project, kind: str, skip: int, fault: dict[str, Any]
) -> None:
    write_rows(ROWS)
    project.will(kind, skip=skip, hang=60.0, **fault)
    run = runs.start()
    project.wait_for(kind, skip + 1, happened=bool(fault.get("happened")), timeout_s=60)
    run.kill()
    run.end()
    project.drop_faults()
    assert runs() == 0
    check_whole(project, kind)
    assert executed(project) == {1: ROWS}, kind


@pytest.mark.parametrize("seconds", [0.05 + 0.05 * number for number in range(12)])
def test_a_kill_at_some_moment_costs_nothing(runs: Runs, project: Project, seconds: float) -> None:
    write_rows(ROWS)
    project.set_rules(in_progress=0.05)
    project.will("create", skip=1, drop=True, happened=True)
    for _ in range(3):
        run = runs.start()
        try:
            run.wait(seconds)
        except subprocess.TimeoutExpired:
            run.kill()
        run.end()
    assert runs() == 0
    check_whole(project, seconds)
    assert executed(project) == {1: ROWS}, seconds
