"""Evaluations in MLflow: names that it takes, one run for each model, files that Azure ML shows."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from evaluated import FAILED, write_input, write_scores
from tracking_server import TrackingServer, tracking_server

if TYPE_CHECKING:
    from conftest import Cli

pytestmark = [pytest.mark.slow, pytest.mark.process]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TrackingServer]:
    with tracking_server(tmp_path / "artifacts") as running:
        yield running


@pytest.fixture
def outputs(tmp_path: Path) -> list[Path]:
    rows = [{"label": label} for label in ("red", "blue") * 10]
    source = write_input(tmp_path / "in" / "a.csv", rows)
    answers = [row["label"] for row in rows]
    names = {"small": ["red", *["red"] * 5, FAILED, *answers[7:]], "large": answers}
    return [write_scores(tmp_path / name, source, found, keep=["label"]) for name, found in names.items()]


def test_a_comparison_is_a_run_with_one_below_it_for_each_model(
    command_line: Cli, server: TrackingServer, outputs: list[Path]
) -> None:
    words = ("--label", "label", "--names", "small,large", "--track")
    done = command_line("evaluate", *outputs, *words, env=server.environ)
    assert (done.exit_code, done.stderr) == (0, "")
    parent, small, large = server.runs.values()
    assert parent.files == {"evaluation.html", "metrics.json"}
    assert (small.name, large.name) == ("small", "large")
    assert {run.tags["mlflow.parentRunId"] for run in (small, large)} == {"run0"}
    assert {run.status for run in server.runs.values()} == {"FINISHED"}
    files = {"eval_results_table.json", "confusion_matrix.json", "per_class_metrics.csv"}
    assert small.files == files
    assert large.files == {*files, "compare/run1.json"}
    for run in (small, large):
        assert len(run.metrics) <= 30
        assert all(re.fullmatch(r"[\w./ -]+", name) for name in run.metrics)
        assert all(math.isfinite(value) for values in run.metrics.values() for value in values)
    assert large.metrics["accuracy"] == [1.0]
    assert large.metrics["compare/run1/accuracy/diff"] == [0.2]
    assert large.metrics["compare/run1/accuracy/n_paired"] == [20.0]
    assert small.metrics["coverage"] == [0.95]
    assert json.loads(small.tags["mlflow.loggedArtifacts"]) == [
        {"path": "eval_results_table.json", "type": "table"}
    ]
    assert small.tags["batchscore.evaluation.label"] == "label"
    matrix = json.loads((small.artifacts / "confusion_matrix.json").read_text("utf-8"))
    assert matrix["schema_type"] == "confusion_matrix"
    assert matrix["data"]["class_labels"] == ["blue", "red", "(none)"]
    assert len({len(row) for row in matrix["data"]["matrix"]} | {3}) == 1
    table = json.loads((large.artifacts / "eval_results_table.json").read_text("utf-8"))
    assert (len(table["data"]), table["data"][0][:2]) == (20, ["a.csv", 0])


def test_one_model_is_logged_in_the_active_run(
    command_line: Cli, server: TrackingServer, outputs: list[Path]
) -> None:
    """As in a job of Azure ML, which continues: its status stays, and a missed requirement is a tag."""
    server.begin("job")
    env = {**server.environ, "MLFLOW_RUN_ID": "job"}
    words = ("--label", "label", "--require", "accuracy>=0.9")
    done = command_line("evaluate", outputs[0], *words, env=env)
    assert done.exit_code == 6
    (run,) = server.runs.values()
    assert run.status == "RUNNING"
    assert run.tags["batchscore.evaluation.good_enough"] == "false"
    assert {"evaluation.html", "metrics.json", "confusion_matrix.json"} < run.files


@pytest.mark.parametrize("fault", ["500", "close"])
def test_a_bad_tracking_server_changes_no_result(
    fault: str, command_line: Cli, server: TrackingServer, outputs: list[Path]
) -> None:
    server.fault = fault
    done = command_line("evaluate", outputs[1], "--label", "label", "--track", env=server.environ)
    assert done.exit_code == 0
    assert "MLflow tracking failed" in done.stderr
    assert "pass-that-shows-nowhere" not in done.said
