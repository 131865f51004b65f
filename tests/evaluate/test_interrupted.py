"""An evaluation that is interrupted, killed, or refused by a full disk leaves no mix of two and no pieces."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchscore.errors import OutputError
from evaluated import measured, run, write_input, write_scores
from full_disk import largest_file

if TYPE_CHECKING:
    from conftest import Cli

FILES = {"evaluation.html", "metrics.json", "rows.parquet"}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def outputs(folder: Path, rows: int) -> list[Path]:
    """Write scores of two models, of which the second is always right."""
    given = [{"label": "red" if row % 3 else "blue"} for row in range(rows)]
    source = write_input(folder / "in.csv", given)
    answers: dict[str, Sequence[str]] = {"red": ["red"] * rows, "right": [row["label"] for row in given]}
    return [write_scores(folder / name, source, each, keep=["label"]) for name, each in answers.items()]


def test_a_full_disk_leaves_no_files_of_two_evaluations(tmp_path: Path) -> None:
    """If the rows cannot be written, nothing changes. If the page cannot, no file of before is left."""
    red, right = outputs(tmp_path, 30)
    out = tmp_path / "e"
    measured(out, red, "--label", "label")
    before = contents(out)
    assert before.keys() == FILES
    assert len(before["rows.parquet"]) < 20_000 < len(before["evaluation.html"])
    with largest_file(1000):
        run(right, "--label", "label", "-o", out, error=OutputError)
    assert contents(out) == before
    with largest_file(20_000):
        done = run(right, "--label", "label", "-o", out, error=OutputError)
    assert "evaluation.html: " in str(done.exception)
    assert contents(out).keys() == {"rows.parquet"}
    measured(out, red, "--label", "label")
    assert contents(out) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "stage"),
    [
        (signal.SIGINT, "figures"),
        (signal.SIGKILL, "figures"),
        (signal.SIGTERM, "page"),
        (signal.SIGKILL, "page"),
    ],
)
def test_an_interrupted_evaluation_can_be_repeated(
    tmp_path: Path, command_line: Cli, number: signal.Signals, stage: str
) -> None:
    """Before its rows are written nothing changes; then no file is of the evaluation before."""
    red, right = outputs(tmp_path, 3000)
    out = tmp_path / "e"
    words = ("--label", "label", "-o", out, "--names", "m")
    assert command_line("evaluate", red, *words).exit_code == 0
    before = contents(out)
    table, sights = out / "rows.parquet", count()
    reached: dict[str, Callable[[], bool]] = {
        # Not just after the file was made: then it would be left for the next command to remove.
        "figures": lambda: any(out.glob("*.tmp")) and next(sights) == 20,
        "page": lambda: table.read_bytes() != before["rows.parquet"],
    }
    many = ("--resamples", "200000") if stage == "figures" else ()
    with command_line.start("evaluate", right, *words, *many) as process:
        while process.popen.poll() is None and not reached[stage]():
            time.sleep(0.001)
        process.interrupt(number)
        done = process.finish()
    found = {name: data for name, data in contents(out).items() if not name.endswith(".tmp")}
    if number is signal.SIGKILL:
        assert done.exit_code in {-signal.SIGKILL, 0 if stage == "page" else -signal.SIGKILL}
    elif stage == "figures" or done.exit_code:
        assert (done.exit_code, done.stdout) == (4, "")
        assert done.stderr == "Aborted. Run the same command again.\n"
        assert not list(out.glob("*.tmp"))
    if stage == "figures":
        assert found == before
    else:
        assert not any(data == before[name] for name, data in found.items())
    assert command_line("evaluate", right, *words).exit_code == 0
    again = contents(out)
    assert again.keys() == FILES
    assert command_line("evaluate", right, *words).exit_code == 0
    assert contents(out) == again
