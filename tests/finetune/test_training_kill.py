"""A start that is killed at any moment costs nothing: one job is paid, and no file is left over."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import prefork
from batchscore.finetune.state import read_state
from batchscore.simulator import Running
from simulated import Project
from trainings import MODEL, write_prepared

if TYPE_CHECKING:
    from conftest import Cli

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.crash, pytest.mark.timeout(1200)]

SCRIPT = Path(__file__).parent / "killed_start.py"
FOLDER = Path("tuned")

#: How the files are sent on each surface: as a whole, or in parts.
WAYS = [("openai", 1), ("openai", 3), ("azure-v1", 1), ("azure-dated", 1), ("azure-dated", 3)]


class Starts:
    """Starts of a project's folder that may be killed."""

    def __init__(self, server: prefork.Server, endpoint: str, project: Project, way: tuple[str, int]) -> None:
        self.server, self.endpoint, self.project, self.way = server, endpoint, project, way

    def start(self, moment: int = 0) -> prefork.Forked:
        """Start, to be killed before a change of the record if `moment` is not 0."""
        surface, parts = self.way
        words = [self.endpoint, self.project.key, surface, str(moment), str(parts)]
        return self.server.start(words, os.environ, Path.cwd(), SCRIPT)

    def __call__(self, moment: int = 0) -> int:
        """Start, and return the exit code."""
        return self.start(moment).end()


def check_one_job(project: Project, about: object) -> None:
    """Fail unless one job was paid, and nothing but its files is left."""
    state = read_state(FOLDER)
    assert state is not None
    assert state.job.id, about
    meter, books = project.meter(), project.books()
    assert list(meter["created"]["jobs"].values()) == [1], about
    assert meter["held"]["jobs"] == 1, about
    ids = {file.file_id for file in state.files.values()}
    assert len(ids) == 2, about
    assert books.files == 2, about
    # What was begun and not recorded expires.
    project.advance(10_000)
    assert project.meter()["held"]["uploads"] == 0, about


@pytest.mark.parametrize(
    ("way", "lost"),
    [
        (way, lost)
        for way in WAYS
        for lost in ("", "create_job", "upload" if way[1] == 1 else "complete_upload")
    ],
    ids=str,
)
def test_a_kill_at_any_change_of_the_record(
    way: tuple[str, int], lost: str, imported: prefork.Server, simulator: Running
) -> None:
    """Also if the reply to a call was lost before."""
    moment, killed = 0, True
    while killed:
        moment += 1
        write_prepared(FOLDER)
        project = Project(
            simulator.endpoint, simulator.key, f"start-{moment}-{lost}-{'-'.join(map(str, way))}"
        )
        # A job would make a file of results.
        project.set_tuning(running=None, mid_results=False)
        starts = Starts(imported, simulator.endpoint, project, way)
        if lost:
            project.will(lost, drop=True, happened=True)
        killed = starts(moment) == -signal.SIGKILL
        assert starts() == 0, moment
        check_one_job(project, moment)
        project.reset()
        shutil.rmtree(FOLDER)
    assert moment > 6


CALLS: list[tuple[tuple[str, int], str, int]] = [
    *((way, call, skip) for way in WAYS if way[1] == 1 for call, skip in (("upload", 0), ("upload", 1))),
    *(
        (way, call, skip)
        for way in WAYS
        if way[1] > 1
        for call in ("create_upload", "add_part", "complete_upload")
        for skip in (0, 1)
    ),
    *((way, "create_job", 0) for way in WAYS),
]


@pytest.mark.parametrize("happened", [True, False])
@pytest.mark.parametrize(("way", "call", "skip"), CALLS, ids=str)
def test_a_kill_during_any_call(
    way: tuple[str, int],
    call: str,
    skip: int,
    happened: bool,  # noqa: FBT001
    imported: prefork.Server,
    simulator: Running,
    project: Project,
) -> None:
    write_prepared(FOLDER)
    project.set_tuning(running=None, mid_results=False)
    starts = Starts(imported, simulator.endpoint, project, way)
    project.will(call, skip=skip, hang=60.0, happened=happened)
    run = starts.start()
    project.wait_for(call, skip + 1, happened=happened, timeout_s=60)
    run.kill()
    run.end()
    project.drop_faults()
    assert starts() == 0
    check_one_job(project, (way, call, skip))


def test_a_watch_that_is_left_says_how_to_continue(
    batchscore: Cli, imported: prefork.Server, simulator: Running, project: Project
) -> None:
    """The job continues."""
    write_prepared(FOLDER)
    project.set_tuning(running=None, mid_results=False)
    assert Starts(imported, simulator.endpoint, project, ("openai", 1))() == 0
    environ = {"OPENAI_BASE_URL": f"{simulator.endpoint}/v1", "OPENAI_API_KEY": project.key}
    with batchscore.start("finetune", "watch", "tuned", "--every", "0.2", env=environ) as run:
        project.wait_for("get_job", 3, timeout_s=60)
        run.interrupt()
        done = run.finish()
    assert done.exit_code == 4
    assert "finetune watch tuned" in done.stderr
    assert project.meter()["held"]["jobs"] == 1


def test_a_start_that_is_interrupted_says_that_there_may_be_a_job(
    batchscore: Cli, simulator: Running, project: Project
) -> None:
    write_prepared(FOLDER)
    project.set_tuning(running=None, mid_results=False)
    project.will("create_job", hang=60.0, happened=True)
    environ = {"OPENAI_BASE_URL": f"{simulator.endpoint}/v1", "OPENAI_API_KEY": project.key}
    with batchscore.start("finetune", "start", "tuned", "-m", MODEL, "--yes", env=environ) as run:
        project.wait_for("create_job", happened=True, timeout_s=60)
        run.interrupt()
        done = run.finish()
    assert done.exit_code == 4
    assert "may have been created" in done.stderr
    assert "run: batchscore finetune start tuned" in done.stderr
    assert batchscore("finetune", "start", "tuned", env=environ).exit_code == 0
    check_one_job(project, "interrupted")
