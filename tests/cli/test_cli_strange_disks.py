"""A real process on disks that fail at any moment, and on file systems that neither append nor rename."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cli_records import whole

from sampled import mostly_slow
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Files

HERE = Path(__file__).parent
#: What blob mounts refuse.
REFUSES = "append rename link seek lock"

pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None or not sys.platform.startswith("linux"), reason="no gcc"
)


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library between a process and its files."""
    made = tmp_path_factory.mktemp("shim") / "strange.so"
    source = HERE.parent / "strange.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", made, source, "-ldl"], check=True)
    return made


@pytest.fixture
def strange(shim: Path, tmp_path: Path) -> dict[str, str | None]:
    """The variables under which the folder `mount` is a strange one."""
    (tmp_path / "mount").mkdir()
    return {
        "LD_PRELOAD": str(shim),
        "STRANGE_FOLDER": str(tmp_path / "mount"),
        "STRANGE_REFUSES": REFUSES,
        "TMPDIR": str(tmp_path),
    }


Faults = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def faults(shim: Path, tmp_path: Path, batchscore: Cli) -> Faults:
    """Run a command with each fault at each change that it makes below the folder `disk`."""

    def run(
        names: str, *more: str, refuses: str = "", first: int = 1, step: int = 1, done: int = 0
    ) -> list[dict[str, Any]]:
        (tmp_path / "a.csv").write_text("text\n" + "".join(f"row {row}\n" for row in range(7)) + '""\n')
        command = [
            "score",
            "a.csv",
            "-o",
            "disk/out",
            "--task",
            "embeddings",
            "-m",
            "any",
            "--column",
            "text",
        ]
        command += ["--rows-per-part", "4", "--dimensions", "4", "--quiet", *more]
        done = subprocess.run(
            [
                *(sys.executable, HERE / "faults.py", shim, tmp_path / "disk"),
                *(names, str(first), str(step), str(done), *command),
            ],
            env={
                **os.environ,
                **batchscore.environ,
                "LD_PRELOAD": str(shim),
                "STRANGE_FOLDER": str(tmp_path / "disk"),
                "STRANGE_REFUSES": refuses,
                "TMPDIR": str(tmp_path),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def check(found: list[dict[str, Any]], *, more_than: int) -> None:
    """Whatever failed, the same command completes it; the failure was reported, or did not matter."""
    assert len(found) > more_than
    for run in found:
        assert "Traceback" not in run["said"] + run["said_again"], run["said"] + run["said_again"]
        assert run["code"] in {0, 1}, run
        if run["code"] == 1:
            assert "run the same command again" in run["said"], run
        assert (run["again"], run["verified"]) == (0, 0), run
        assert "8 rows of 1 file = 7 scored + 0 failed + 1 empty" in run["verdict"], run
        assert run["journals"] == [], run
    assert found[-1]["code"] == 0
    assert 1 in {run["code"] for run in found}


#: The first change that fails, and the step to the next: few by default, each one in the slow tests.
FIRSTS = [(3, 41), pytest.param(1, 1, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]


@pytest.mark.slow
@pytest.mark.parametrize(("first", "step"), FIRSTS)
@mostly_slow("names", ["ENOSPC,EIO", "EIO-once,EROFS,EDQUOT-short"], ["EIO-once,EROFS,EDQUOT-short"])
def test_a_disk_may_fail_at_any_change(faults: Faults, names: str, first: int, step: int) -> None:
    check(faults(names, first=first + len(names) % step, step=step), more_than=80 // step)


@pytest.mark.slow
@pytest.mark.parametrize(("first", "step"), FIRSTS)
def test_a_disk_may_fail_at_any_change_of_one_worker_of_many(faults: Faults, first: int, step: int) -> None:
    check(faults("ENOSPC", "--shared-output", first=first, step=step), more_than=20 // step)


@pytest.mark.slow
@pytest.mark.parametrize(("first", "step"), FIRSTS)
@pytest.mark.parametrize("done", [0, 2])
def test_a_disk_without_rename_may_fail_at_any_change(
    faults: Faults, first: int, step: int, done: int
) -> None:
    """Parts of which some rows are `done` are written again, in place. It has removed no file of its own."""
    found = faults("EDQUOT-short", refuses=REFUSES, first=first, step=step, done=done)
    check(found, more_than=30 // step)
    assert not any("files were removed" in run["said"] for run in found)


@pytest.mark.process
def test_a_file_that_cannot_be_opened_keeps_its_content_where_renaming_fails(
    strange: dict[str, str | None], tmp_path: Path
) -> None:
    """A program that runs cannot be opened for writing, not even by root."""
    busy = tmp_path / "mount" / "busy"
    shutil.copy(shutil.which("sleep") or "", busy)
    code = """
import sys
from pathlib import Path
from batchscore.stores.storage import write_whole
for _ in range(2):
    try:
        write_whole(Path(sys.argv[1]), b"new")
    except Exception as error:
        print(error)
"""
    with subprocess.Popen([busy, "60"]) as running:
        found = subprocess.run(
            [sys.executable, "-c", code, busy],
            env=os.environ | {name: value for name, value in strange.items() if value},
            capture_output=True,
            text=True,
            check=True,
        )
        running.kill()
    # The first time it was to be copied, the second time written in place.
    assert found.stdout.count(f"cannot write {busy}: Text file busy") == 2, found
    assert busy.read_bytes() == Path(shutil.which("sleep") or "").read_bytes()
    assert [*busy.parent.iterdir()] == [busy]


@pytest.mark.slow
def test_a_mount_that_neither_appends_nor_renames_nor_seeks(
    batchscore: Cli, files: Files, deployment: Deployment, strange: dict[str, str | None], tmp_path: Path
) -> None:
    """Killed in the middle and started again: it resumes from the journal on a local disk."""
    files.texts("a.csv", [f"row {row}" for row in range(120)])
    deployment.will_be_slow(0.05, times=None)
    command = ["score", "a.csv", "-o", "mount/out", "--task", "chat", "-m", deployment.name]
    command += ["--column", "text", "--rows-per-part", "50", "--max-concurrency", "4"]
    with batchscore.start(*command, env=strange) as process:
        deployment.wait_for(70)
        process.interrupt(signal.SIGKILL)
    assert list(tmp_path.glob("batchscore-*/journal-*/*.journal"))
    assert not list((tmp_path / "mount").rglob("*.journal"))
    run = batchscore(*command, env=strange)
    assert run.exit_code == 0, run
    assert "cannot hold journals" in run.said
    assert "Choose another folder with --scratch-dir" in run.said
    assert len(whole("mount/out", "chat")[0]) == 120
    assert deployment.statistics().statuses["200"] <= 120 + 4
    assert batchscore("verify", "mount/out").exit_code == 0
    assert not list(tmp_path.glob("batchscore-*/journal-*"))


@pytest.mark.slow
@pytest.mark.parametrize("form", [pytest.param("jsonl", marks=pytest.mark.slow), "parquet"])
def test_both_formats_are_written_from_start_to_end(
    form: str, batchscore: Cli, files: Files, deployment: Deployment, strange: dict[str, str | None]
) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(40)])
    command = ["score", "a.csv", "-o", "mount/out", "--task", "embeddings", "-m", deployment.name]
    command += ["--column", "text", "--rows-per-part", "10", "--format", form, "--scratch-dir", "scratch"]
    run = batchscore(*command, "--shared-output", env=strange)
    assert run.exit_code == 0, run
    assert batchscore("verify", "mount/out").exit_code == 0
    assert not Path("scratch").exists() or not list(Path("scratch").iterdir())


@pytest.mark.slow
def test_a_torn_manifest_that_was_written_in_place_costs_nothing(
    batchscore: Cli, files: Files, deployment: Deployment, strange: dict[str, str | None]
) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(40)])
    command = ["score", "a.csv", "-o", "mount/out", "--task", "chat", "-m", deployment.name]
    command += ["--column", "text"]
    assert batchscore(*command, env=strange).exit_code == 0
    (manifest,) = Path("mount/out/manifest/chat").glob("*.json")
    text = manifest.read_bytes()
    manifest.write_bytes(text[: len(text) // 2])
    verified = batchscore("verify", "mount/out")
    assert verified.exit_code == 1
    assert "was cut" in verified.stdout
    assert batchscore(*command, env=strange).exit_code == 0
    assert deployment.statistics().count == 40
    assert manifest.read_bytes() == text
    manifest.write_bytes(text[: len(text) // 2])
    repaired = batchscore("verify", "mount/out", "--repair")
    assert "0 rows lost their record" in repaired.stdout
    assert manifest.read_bytes() == text
    assert deployment.statistics().count == 40
