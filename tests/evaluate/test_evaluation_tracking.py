"""Evaluations in MLflow: names that it takes, one run for each model, files that Azure ML shows."""

from __future__ import annotations

import json
import math
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchscore.evaluate import tracking
from batchscore.evaluate.write import METRICS, PAGE
from evaluated import FAILED, write_input, write_scores
from tracking_server import QUIET, TrackingServer, tracking_server

if TYPE_CHECKING:
    from conftest import Cli

ROOT = Path(__file__).resolve().parents[2]

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
    words = ("--label", "label", "--names", "small,large", "--track", "--json")
    done = command_line("evaluate", *outputs, *words, env=server.environ)
    shown = server.uri.replace("user:pass-that-shows-nowhere@", "")
    assert (done.exit_code, done.stderr) == (0, f"MLflow tracks this as run run0 at {shown}.\n")
    assert len(done.events) == 1, "MLflow prints nothing beside it, such as its address with a password"
    parent, small, large = server.runs.values()
    assert parent.files == {"evaluation.html", "metrics.json"}
    assert (small.name, large.name) == ("small", "large")
    assert {run.tags["mlflow.parentRunId"] for run in (small, large)} == {"run0"}
    assert {run.status for run in server.runs.values()} == {"FINISHED"}
    files = {"eval_results_table.json", "confusion_matrix.json", "per_class_metrics.csv"}
    assert small.files == files
    assert large.files == {*files, "compare/run1.json"}
    for run in (parent, small, large):
        assert "batchscore.evaluation.good_enough" not in run.tags, "nothing was required"
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


def test_each_model_has_its_own_verdict_and_all_figures_that_were_asked_for(
    command_line: Cli, server: TrackingServer, outputs: list[Path]
) -> None:
    metrics = ("cohen_kappa", "recall_score_macro", "precision_score_macro")
    asked = [word for name in metrics for word in ("--metric", name)]
    words = ("--label", "label", "--names", "small,large", "--track", "--require", "f1_score_micro>=0.9")
    done = command_line("evaluate", *outputs, *words, *asked, env=server.environ)
    assert done.exit_code == 6
    runs = [*server.runs.values()]
    assert [run.tags["batchscore.evaluation.good_enough"] for run in runs] == ["false", "false", "true"]
    for run in runs[1:]:
        assert {*metrics, "f1_score_micro", "f1_score_micro_ci_low", "accuracy"} <= run.metrics.keys()


def test_figures_of_answered_rows_alone_have_their_own_names(
    command_line: Cli, server: TrackingServer, outputs: list[Path]
) -> None:
    words = ("--label", "label", "--track", "--unanswered", "exclude")
    assert command_line("evaluate", outputs[0], *words, env=server.environ).exit_code == 0
    (run,) = server.runs.values()
    assert "accuracy_of_answered_ci_low" in run.metrics
    assert "accuracy" not in run.metrics


def test_the_docs_name_all_that_is_logged(
    command_line: Cli, server: TrackingServer, outputs: list[Path], tmp_path: Path
) -> None:
    """And nothing else: each name in the first column of the three tables is one of the module, too."""
    words = ("--label", "label", "--names", "small,large", "--track", "--require", "accuracy>=0.9")
    for more in ((), ("--unanswered", "exclude")):
        command_line("evaluate", *outputs, *words, *more, "-o", tmp_path / "e", env=server.environ)
    section = (ROOT / "docs" / "how-to" / "evaluate.md").read_text("utf-8").partition("\n## MLflow\n")[2]
    cells = re.findall(r"^\| (`.*?) \|", section.partition("\n## ")[0], re.MULTILINE)
    named = {name for cell in cells for name in re.findall("`(.*?)`", cell)} - {"accuracy"}
    figures = json.loads((tmp_path / "e" / "metrics.json").read_text("utf-8"))["models"][0]["metrics"]
    any_figure = "|".join(sorted(figures, key=len, reverse=True))
    logged = set[str]()
    for run in server.runs.values():
        logged |= {name for name in run.tags if name.startswith("batchscore.")}
        logged |= {re.sub("^compare/.*", "compare/RUN.json", name) for name in run.files}
        logged |= {
            re.sub("^compare/.*/", "", re.sub(f"^({any_figure})", "NAME", name)) for name in run.metrics
        }
    logged = {re.sub("^NAME_of_answered_ci_", "NAME_ci_", name) for name in logged}
    assert logged <= {re.sub("^compare/RUN/NAME/", "", name) for name in named}
    source = Path(tracking.__file__).read_text("utf-8") + METRICS + PAGE
    for name in named:
        assert re.sub("^(NAME|compare/RUN)?(/NAME)?/?|[.]json$", "", name) in source, name


@pytest.mark.parametrize("by", ["variable", "file", "flag"])
def test_tracking_can_be_switched_off_in_an_active_run(
    by: str, command_line: Cli, server: TrackingServer, outputs: list[Path], tmp_path: Path
) -> None:
    server.begin("job")
    env = {
        **server.environ,
        "MLFLOW_RUN_ID": "job",
        **({"BATCHSCORE_TRACK": "false"} if by == "variable" else {}),
    }
    (tmp_path / "b.toml").write_text("track = false\n" if by == "file" else "", "utf-8")
    words = ("--label", "label", "--config", tmp_path / "b.toml", *(["--no-track"] if by == "flag" else []))
    assert command_line("evaluate", outputs[1], *words, env=env).exit_code == 0
    assert not server.runs["job"].metrics


def test_a_folder_that_mlflow_refuses_says_what_to_do(
    command_line: Cli, tmp_path: Path, outputs: list[Path]
) -> None:
    variables = pytest.importorskip("mlflow.environment_variables")
    if not hasattr(variables, "MLFLOW_ALLOW_FILE_STORE"):
        pytest.skip("this MLflow writes to folders")
    env = {**QUIET, "MLFLOW_TRACKING_URI": str(tmp_path / "store")}
    done = command_line("evaluate", outputs[0], "--label", "label", "--track", env=env)
    assert done.exit_code == 0
    assert "set MLFLOW_TRACKING_URI to a database, such as sqlite:///mlflow.db" in done.stderr


def test_a_store_of_mlflow_gives_it_back(command_line: Cli, tmp_path: Path, outputs: list[Path]) -> None:
    """The real store, read by MLflow's client: runs below their parent, finite figures, tables, matrices."""
    mlflow = pytest.importorskip("mlflow")
    env = {**QUIET, "MLFLOW_TRACKING_URI": str(tmp_path / "store"), "MLFLOW_ALLOW_FILE_STORE": "true"}
    with pytest.MonkeyPatch.context() as patched:
        for name, value in env.items():
            patched.setenv(name, value)
        words = ("--label", "label", "--names", "small,large", "--track", "-o", tmp_path / "e")
        assert command_line("evaluate", *outputs, *words, env=env).exit_code == 0
        client = mlflow.MlflowClient(env["MLFLOW_TRACKING_URI"])
        runs = {run.info.run_name: run for run in client.search_runs(["0"])}
        parent, small, large = (runs[name] for name in ("batchscore evaluate", "small", "large"))
        below = client.search_runs(["0"], f"tags.mlflow.parentRunId = '{parent.info.run_id}'")
        assert {run.info.run_id for run in below} == {small.info.run_id, large.info.run_id}
        assert {run.info.status for run in runs.values()} == {"FINISHED"}
        found = json.loads((tmp_path / "e" / "metrics.json").read_text("utf-8"))
        for run, model in zip((small, large), found["models"], strict=True):
            own = run.data.metrics
            assert all(map(math.isfinite, own.values()))
            for name, figure in model["metrics"].items():
                assert own[name] == figure["value"]
                assert (own[f"{name}_ci_low"], own[f"{name}_ci_high"]) == (figure["low"], figure["high"])
            for path in ("confusion_matrix.json", "per_class_metrics.csv", "eval_results_table.json"):
                client.download_artifacts(run.info.run_id, path, str(tmp_path))
            matrix = json.loads((tmp_path / "confusion_matrix.json").read_text("utf-8"))["data"]
            assert matrix["matrix"][:-1] == model["confusion_matrix"]
            table = mlflow.load_table("eval_results_table.json", run_ids=[run.info.run_id])
            assert len(table) == model["join"]["labelled"]
            assert (table["outcome"] == "answered").mean() == model["coverage"]
        compared = found["models"][1]["comparisons"]["accuracy"]
        diff = large.data.metrics[f"compare/{small.info.run_id[:8]}/accuracy/diff"]
        assert diff == compared["difference"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_evaluation_is_no_finished_run(
    number: signal.Signals, command_line: Cli, server: TrackingServer, outputs: list[Path]
) -> None:
    server.holds = "log-batch"
    words = ("--label", "label", "--names", "small,large", "--track")
    with command_line.start("evaluate", *outputs, *words, env=server.environ) as process:
        assert server.held.wait(300)
        process.interrupt(number)
        done = process.finish()
    server.held.clear()
    assert (done.exit_code, done.stdout) == (4, "")
    assert done.stderr == "Aborted. Run the same command again.\n"
    assert [run.status for run in server.runs.values()] == ["KILLED", "KILLED"]


@pytest.mark.parametrize("fault", ["500", "close"])
def test_a_bad_tracking_server_changes_no_result(
    fault: str, command_line: Cli, server: TrackingServer, outputs: list[Path]
) -> None:
    server.fault = fault
    done = command_line("evaluate", outputs[1], "--label", "label", "--track", env=server.environ)
    assert done.exit_code == 0
    assert "MLflow tracking failed" in done.stderr
    assert "pass-that-shows-nowhere" not in done.said


def test_a_run_that_is_not_logged_whole_is_a_failed_one(
    command_line: Cli, server: TrackingServer, outputs: list[Path]
) -> None:
    """The server takes the comparison, but no figures of a model; the files of the evaluation are whole."""
    server.fault, server.faulty = "400", "log-batch"
    words = ("--label", "label", "--names", "small,large", "--track")
    done = command_line("evaluate", *outputs, *words, env=server.environ)
    assert done.exit_code == 0
    assert "MLflow tracking failed; the evaluation is in evaluation: " in done.stderr
    assert [run.status for run in server.runs.values()] == ["FAILED", "FAILED"]
    assert [run.metrics for run in server.runs.values()] == [{}, {}]
    assert json.loads(Path("evaluation/metrics.json").read_text("utf-8"))["rows"] == 20


def test_an_evaluation_that_fails_makes_no_run(
    command_line: Cli, server: TrackingServer, outputs: list[Path]
) -> None:
    done = command_line("evaluate", *outputs, "--label", "colour", "--track", env=server.environ)
    assert done.exit_code == 1
    assert (server.runs, server.asked) == ({}, 0)
