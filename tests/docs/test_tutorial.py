"""The tutorial works: its commands and its search, in order, in a fresh folder, with the output it shows."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from written import ROOT, TUTORIAL, blocks_of, rehearsal

if TYPE_CHECKING:
    import prefork
    from conftest import Cli

pytestmark = pytest.mark.process

#: What prepares a machine, which the tests have done.
SET_UP = ("python3 -m venv", ". .venv/bin/activate", "pip install", "export ")


def wait_for_answers(out: Path) -> None:
    """Wait until the journal of a run has answers."""
    while not any(file.stat().st_size > 10_000 for file in out.rglob("*") if file.is_file()):
        time.sleep(0.05)


def run(line: str, folder: Path, batchscore: Cli, *, interrupted: bool) -> str:
    """Give all that a person sees of a command."""
    if not line.startswith("batchscore "):
        return subprocess.run(
            shlex.split(line), cwd=folder, capture_output=True, text=True, check=True
        ).stdout
    with batchscore.start(*rehearsal(line), cwd=folder) as process:
        if interrupted:
            wait_for_answers(folder / "tutorial" / "broken")
            process.interrupt()
        done = process.finish()
    assert done.exit_code == (4 if interrupted else 0), done.said
    return done.said


def assert_shows(page: str, seen: str) -> None:
    """Hold what the page shows against what came: line by line, in order; `…` stands for anything."""
    lines = map(str.rstrip, seen.splitlines())
    for shown in map(str.rstrip, page.splitlines()):
        wanted = re.compile(".*".join(map(re.escape, shown.split("…"))))
        assert any(wanted.fullmatch(line) for line in lines), f"{shown!r} is not in:\n{seen}"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_tutorial_works_from_its_beginning_to_its_end(
    batchscore: Cli, imported: prefork.Server, tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "data", tmp_path / "data")
    seen, interruptions, searches = "", 0, 0
    for block in blocks_of(TUTORIAL, "sh", "python", "text"):
        if block.language == "text":
            assert_shows(block.code, seen)
        elif block.language == "python":
            script = tmp_path / "search.py"
            script.write_text(block.code, "utf-8")
            forked = imported.start([], batchscore.environ, tmp_path, script)
            with forked.stdout, forked.stderr:
                seen, problems = forked.communicate(600)
            assert forked.returncode == 0, problems
            searches += 1
        else:
            interrupted = "Press Ctrl-C" in block.before
            interruptions += interrupted
            lines = [line for line in block.lines if not line.startswith(SET_UP)]
            seen = "".join(run(line, tmp_path, batchscore, interrupted=interrupted) for line in lines)
    assert (interruptions, searches) == (1, 1)
