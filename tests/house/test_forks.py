"""`pytest --forks N` reports what each test did, also one that ends its process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = """
import pytest, forks

def pytest_addoption(parser):
    parser.addoption("--forks", type=int)

def pytest_configure(config):
    config.pluginmanager.register(forks)

@pytest.fixture(scope="session")
def opened():
    yield open("opened", "a")
    open("closed", "a").write("once for each process\\n")
"""

TESTS = """
import os, pytest

@pytest.mark.parametrize("number", range(20))
def test_good(opened, tmp_path, number):
    print("never shown")

def test_bad(opened):
    print("shown")
    assert 1 + 1 == 3

def test_that_ends_its_process():
    os._exit(7)

@pytest.mark.skip(reason="why")
def test_skipped():
    pass
"""


@pytest.mark.slow
@pytest.mark.process
def test_each_test_is_reported_once(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    for name in ("test_a.py", "test_b.py"):
        (tmp_path / name).write_text(TESTS)
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:randomly",
            "-p",
            "no:xdist",
            "--forks",
            "3",
            "-rN",
            ".",
        ],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert run.stdout.splitlines()[-1].startswith("4 failed, 40 passed, 2 skipped")
    assert run.stdout.count("assert (1 + 1) == 3") == 2
    assert run.stdout.count("Captured stdout call") == 2
    assert run.stdout.count("this test ended its process with exit code 7") == 2
    assert "never shown" not in run.stdout
    assert 1 <= len((tmp_path / "closed").read_text().splitlines()) <= 3
