"""The example of a nightly job, executed: its script, index, overlap and units."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchscore.simulator import Running
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Direct, Files

SHOWN = Path(__file__).resolve().parents[2] / "deployment" / "nightly"


@pytest.fixture
def job(tmp_path: Path, simulator: Running, deployment: Deployment) -> dict[str, str]:
    """Copy the example to the working folder; return the job's variables."""
    for path in SHOWN.iterdir():
        shutil.copy(path, tmp_path)
    commands = {
        "batchscore": [sys.executable, "-m", "batchscore"],
        "telling": ["sh", "-c", 'echo "$1" >> told.txt', "telling"],
    }
    for name, words in commands.items():
        path = tmp_path / name
        path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', "utf-8")
        path.chmod(0o700)
    return {
        **os.environ,
        "OPENAI_BASE_URL": f"{simulator.endpoint}/v1",
        "OPENAI_API_KEY": "k3y-that-must-show-nowhere",
        "BATCHSCORE_MODEL": deployment.name,
        "BATCHSCORE": str(tmp_path / "batchscore"),
        "NIGHTLY_INDEX": f"{shlex.quote(sys.executable)} update_index.py",
        "NIGHTLY_TELL": str(tmp_path / "telling"),
    }


def start(job: dict[str, str]) -> subprocess.Popen[str]:
    """Start a night."""
    return subprocess.Popen(
        ["sh", "nightly.sh"],
        env=job,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def night(job: dict[str, str]) -> int:
    """Run one night to its end; return the script's exit code."""
    with start(job) as process:
        process.communicate()
    return process.returncode


def last_event() -> dict[str, object]:
    found: dict[str, object] = json.loads(Path("last-run.jsonl").read_text("utf-8").splitlines()[-1])
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_consecutive_nights_and_an_overlapping_one(
    job: dict[str, str], files: Files, deployment: Deployment, direct: Direct
) -> None:
    files.texts("data/a.csv", ["one", "two", "three"])
    assert night(job) == 0
    files.texts("data/a.csv", ["one", "two again"])
    assert night(job) == 0
    assert (last_event()["event"], last_event()["requests"]) == ("finished", 1)
    index = json.loads(Path("index.json").read_text("utf-8"))["vectors"]
    assert index.keys() == {"000", "001"}
    assert index["001"] == direct.vectors(["two again"])[0].tolist()
    assert not Path("told.txt").exists()

    files.texts("data/a.csv", ["one", "two again", "four"])
    deployment.reset()
    deployment.will_be_slow(2.0, times=None)
    with start(job) as first:
        deployment.wait_for(1, 300)
        os.killpg(first.pid, signal.SIGSTOP)
        assert night(job) == 5
        os.killpg(first.pid, signal.SIGCONT)
        assert "an earlier run is still active" in Path("told.txt").read_text("utf-8")
        first.communicate()
    assert first.returncode == 0
    assert json.loads(Path("index.json").read_text("utf-8"))["vectors"].keys() == {"000", "001", "002"}
    assert night({**job, "OPENAI_API_KEY": "wrong"}) == 0  # nothing is asked, so nobody is refused
    files.texts("data/a.csv", ["five"])
    assert night({**job, "OPENAI_API_KEY": "wrong"}) == 1
    assert "action needed (exit code 1)" in Path("told.txt").read_text("utf-8")
    assert json.loads(Path("index.json").read_text("utf-8"))["vectors"].keys() == {"000", "001", "002"}


@pytest.mark.slow
def test_rows_without_an_id_are_not_in_the_index(
    job: dict[str, str], files: Files, deployment: Deployment
) -> None:
    job["NIGHTLY_INDEX"] = "./update_index.py"  # it is executable as shipped
    job["PATH"] = f"{Path(sys.executable).parent}:{job['PATH']}"
    files.lines("data/a.jsonl", [{"id": None, "text": "one"}, {"id": "b", "text": "two"}])
    assert night(job) == 0
    files.lines("data/a.jsonl", [{"id": "b", "text": "two again"}])
    assert night(job) == 0
    assert json.loads(Path("index.json").read_text("utf-8"))["vectors"].keys() == {"b"}


def test_the_scripts_can_be_started() -> None:
    for name in ("nightly.sh", "update_index.py"):
        assert os.access(SHOWN / name, os.X_OK)
        assert (SHOWN / name).read_bytes().startswith(b"#!/")


@pytest.mark.process
def test_the_units_and_the_crontab_can_be_read(tmp_path: Path) -> None:
    units = [SHOWN / f"batchscore-nightly.{kind}" for kind in ("service", "timer")]
    tool = shutil.which("systemd-analyze")
    if tool is not None:
        done = subprocess.run([tool, "verify", *map(str, units)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    service, timer = (path.read_text("utf-8") for path in units)
    assert "ExecStart=/bin/sh /opt/nightly/nightly.sh" in service
    assert "SuccessExitStatus=4 5" in service
    assert "OnCalendar=" in timer
    lines = (SHOWN / "crontab").read_text("utf-8").splitlines()
    (entry,) = [line for line in lines if not line.startswith("#")]
    assert entry.split()[:5] == ["15", "1", "*", "*", "*"]
    assert "/opt/nightly/nightly.sh" in entry
