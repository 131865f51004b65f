"""A run in MLflow: figures, parameters and files are logged, and a bad tracking server changes nothing."""

from __future__ import annotations

import csv
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.azureml import driver as azureml
from batchscore.errors import ErrorCode, ExitCode
from batchscore.output.layout import Layout
from batchscore.report.run_end import RunEnd
from batchscore.report.tally import Tally
from batchscore.report.tracking.child import is_local
from batchscore.report.tracking.client import TrackingTarget, find_target
from batchscore.report.tracking.figures import (
    counts_by_code,
    fit_name,
    growth,
    params_of,
    rates,
    seconds_to_next,
    totals,
)
from batchscore.report.tracking.follow import TrackingRun, write_table
from batchscore.rows import Attempt, DeploymentState, Event, FileFinished, Listen, Notice, RowsSettled
from batchscore.settings.fields import Settings
from batchscore.simulator import Running
from conftest import KEY
from simulated import Deployment
from tracking_server import QUIET, TrackingServer, tracking_server

if TYPE_CHECKING:
    from conftest import Cli

FOREIGN = Path(__file__).resolve().parents[1] / "mlflow_model" / "foreign"

#: What MLflow takes as a name (mlflow.utils.validation, 2.19 and 3.17).
TAKEN = re.compile(r"[/\w.\- ]+")

SCORE = ("score", "in.csv", "-o", "out", "--task", "chat", "-m", "m", "--column", "text")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TrackingServer]:
    (tmp_path / "in.csv").write_text("text,kind\n" + "".join(f"cell {n},k\n" for n in range(20)))
    with tracking_server(tmp_path / "artifacts") as running:
        yield running


def attempt(tokens: int, cause: str = "") -> Attempt:
    return Attempt(rows=1, status=200, seconds=0.1, cause=cause, prompt_tokens=tokens, completion_tokens=1)


@given(st.lists(st.lists(st.integers(0, 1000), max_size=5), max_size=5))
def test_the_points_of_all_workers_add_up_to_the_total(batches: list[list[int]]) -> None:
    tally, before, sums = Tally(), dict[str, float](), dict[str, float]()
    for batch in batches:
        for tokens in batch:
            tally.add(attempt(tokens, "rate_limited" if tokens % 2 else ""))
            tally.add(RowsSettled(ok=tokens))
        now = totals(tally.statistics(), cost=tokens / 7 if batch else None)
        for name, value in growth(now, before).items():
            sums[name] = sums.get(name, 0) + value
        before = before | now
    for name, value in before.items():
        assert sums.get(f"{name}_added", 0) == pytest.approx(value)


def test_a_run_has_fewer_names_than_azure_ml_keeps_and_a_day_has_hundreds_of_points() -> None:
    tally = Tally()
    tally.add(RowsSettled(ok=1, errors=dict.fromkeys(ErrorCode, 1), finish_reasons={"stop": 1, "length": 1}))
    now = totals(tally.statistics(), 1.0)
    standing = DeploymentState("d", "up", 1, 0, 0, 60.0, 1000.0, 0.0, for_quota=False)
    names = {*now, *rates(now, {}, 1.0, [standing]), *counts_by_code(tally.statistics())}
    # Beside these there are rows, rows_known, rows_not_reached, files_finished and seconds.
    assert len(names) + 5 <= 50
    age, points = 0.0, 0
    while age < 24 * 3600:
        age, points = age + seconds_to_next(age), points + 1
    assert points < 500


def test_limits_are_those_of_all_deployments_or_unknown() -> None:
    one = DeploymentState("a", "up", 3, 0, 0, 60.0, 1000.0, 0.0, for_quota=False)
    other = DeploymentState("b", "down", 1, 0, 0, None, 500.0, 0.0, for_quota=False)
    now = totals(Tally().statistics(), None) | {"prompt_tokens": 100, "requests": 4}
    found = rates(now, {"prompt_tokens": 50, "requests": 2}, 30.0, [one, other])
    assert found["tokens_per_minute"] == 100
    assert found["requests_per_minute"] == 4
    assert found["in_flight"] == 4
    assert found["deployments_up"] == 1
    assert found["tokens_per_minute_limit"] == 1500
    assert "requests_per_minute_limit" not in found


@given(st.text(min_size=1))
def test_mlflow_allows_every_name(name: str) -> None:
    assert TAKEN.fullmatch(fit_name(f"param.{name}"))


def test_parameters_are_the_settings_without_secrets() -> None:
    found = params_of(
        {
            "task": "chat",
            "column": None,
            "keep": (),
            "rpm": 60.0,
            "usage": True,
            "prompt": "x" * 9000,
            "param": {"temperature": 0.2, "api_key": "s", "X-Api-Key": "s", "stop": ["\n"]},
        }
    )
    assert found.pop("prompt") == "x" * 499 + "…"
    assert found == {
        "task": "chat",
        "rpm": "60.0",
        "usage": "true",
        "param.temperature": "0.2",
        "param.stop": '["\\n"]',
    }


def test_the_table_of_files_holds_no_formula(tmp_path: Path) -> None:
    starts = ["=HYPERLINK('x')", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "\uff1d1"]
    names = [*(f"{start}.csv" for start in starts), "a;=b.csv", "a=b.csv", 'q"=1.csv']
    files = [FileFinished(name, "complete", 3, 2, 1, 0) for name in names]
    path = write_table(files, tmp_path / "files.csv")
    with path.open(newline="", encoding="utf-8") as source:
        found = list(csv.DictReader(source))
    assert [row["file"] for row in found] == [*(f"'{name}" for name in names[: len(starts)]), *names[-3:]]
    assert (found[0]["rows"], found[0]["known"]) == ("3", "0")
    assert '"a;=b.csv"' in path.read_text("utf-8")


@pytest.mark.parametrize(
    ("environ", "wanted", "expected"),
    [
        ({}, None, None),
        ({"MLFLOW_TRACKING_URI": "http://x"}, None, None),
        ({}, True, TrackingTarget()),
        ({"MLFLOW_RUN_ID": "r"}, None, TrackingTarget("r")),
        ({"MLFLOW_RUN_ID": "r"}, True, TrackingTarget("r")),
        ({"MLFLOW_RUN_ID": "r"}, False, None),
        ({"MLFLOW_RUN_ID": " "}, None, None),
        ({"AZUREML_RUN_ID": "a"}, None, None),
        ({"AZUREML_RUN_ID": "a", "MLFLOW_TRACKING_URI": "azureml://w"}, None, TrackingTarget("a")),
        ({"AZUREML_RUN_ID": "a", "MLFLOW_TRACKING_URI": "azureml://w"}, False, None),
    ],
)
def test_a_run_is_tracked_in_an_active_run_or_on_request(
    environ: dict[str, str],
    wanted: bool | None,  # noqa: FBT001 - a table's column
    expected: TrackingTarget | None,
) -> None:
    assert find_target(environ, wanted=wanted) == expected


@pytest.mark.slow
def test_a_run_that_is_active_in_this_process_is_found(tmp_path: Path) -> None:
    """In a separate process, because MLflow keeps its state in modules."""
    code = (
        "import mlflow; from batchscore.report.tracking.client import find_target; "
        "mlflow.set_tracking_uri(f'file://{__import__(\"os\").getcwd()}/runs'); "
        "new = find_target({}, wanted=True); "
        "run = mlflow.start_run(); found = find_target({'MLFLOW_RUN_ID': 'other'}, wanted=None); "
        "assert found.run_id == run.info.run_id; assert found.uri == new.uri == mlflow.get_tracking_uri()"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    environ = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_track_starts_a_run_and_ends_it_with_the_status_of_the_exit_code(
    server: TrackingServer, batchscore: Cli
) -> None:
    with (server.artifacts.parent / "in.csv").open("a") as file:
        file.write(",k\n")
    done = batchscore(*SCORE, "--simulate", "--track", "--system", "Say yes.", env=server.environ)
    assert done.exit_code == 0, done.stderr
    (run,) = server.runs.values()
    assert run.status == "FINISHED"
    assert "MLflow tracks this as run run0" in done.stderr
    assert "pass-that-shows" not in done.stderr
    (record,) = Path("out/runs").glob("*.json")
    assert run.name == record.stem
    assert run.params["system"] == "Say yes."
    assert run.params["task"] == "chat"
    assert "track" not in run.params
    assert run.tags["batchscore.exit_code"] == "0"
    assert run.tags["batchscore.simulated"] == "true"
    assert run.metrics["rows_ok"][-1] == 20
    assert run.metrics["rows_empty"][-1] == 1
    assert run.metrics["finish_reason.stop"] == [20]
    (manifest,) = Path("out/manifest/chat").glob("*.json")
    assert run.files == {
        f"batchscore/runs/{record.name}",
        f"batchscore/files-{record.stem}.csv",
        "batchscore/report.html",
        f"batchscore/manifest/chat/{manifest.name}",
    }
    assert (run.artifacts / "batchscore/runs" / record.name).read_bytes() == record.read_bytes()


@pytest.mark.slow
def test_an_active_run_gets_the_figures_and_stays_open_with_its_own_parameters(
    server: TrackingServer, batchscore: Cli
) -> None:
    run = server.begin("mine")
    run.params["model"] = "another"
    environ = {**server.environ, "MLFLOW_RUN_ID": "mine", "AZURE_OPENAI_API_KEY": KEY}
    done = batchscore(*SCORE, "--error-threshold", "0", "--max-errors", "1", "--limit", "7", env=environ)
    assert done.exit_code == 0, done.stderr
    assert "MLflow" not in done.stderr
    assert run.status == "RUNNING"
    assert run.params["model"] == "another"
    assert run.params["column"] == "text"
    assert run.metrics["rows_ok"][-1] == 7
    assert run.tags["batchscore.reason"] == "limit was reached"
    assert "batchscore/report.html" in run.files
    given = f"{run}" + "".join(path.read_text() for path in run.artifacts.rglob("*.*"))
    assert KEY not in given
    assert "cell 1" not in given


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["500", "close", "hang", "no such server"])
def test_a_bad_tracking_server_is_one_notice(fault: str, server: TrackingServer, batchscore: Cli) -> None:
    server.fault = fault
    environ = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"} if " " in fault else {}
    done = batchscore(*SCORE, "--track", env={**server.environ, **environ})
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("MLflow tracking failed; the run continues without it") == 1
    assert "pass-that-shows" not in done.stderr
    assert "20 scored" in done.stdout


def tracked_run(environ: dict[str, str], listen: Listen, **more: Any) -> TrackingRun:
    settings = Settings(task="chat", model="m", output="out", column="text", track=True, **more)
    return TrackingRun(settings, environ, listen, "n")


@pytest.mark.slow
def test_a_server_that_recovers_gets_what_it_has_missed(server: TrackingServer) -> None:
    server.fault = "503"
    given: list[Event] = []
    # The process imports nothing from the working folder.
    Path("json.py").write_text("raise SystemExit(1)\n")
    tracking = tracked_run(server.environ, given.append)
    tracking.follow(RowsSettled(ok=3))
    assert tracking.process is not None
    tracking.process.send({"points": tracking.points()})
    while not given:
        time.sleep(0.05)
        tracking.read_answers(tracking.process)
    assert [type(event) for event in given] == [Notice]
    server.fault = ""
    tracking.process.send({"tags": {"again": "now"}})
    while tracking.process.failing:
        time.sleep(0.05)
    tracking.follow(RowsSettled(ok=4))
    tracking.follow(FileFinished("f", "complete", 7, 7, 0, 0))
    tracking.end("FAILED", tags={"t": "u"}, figures={"seconds": 1.0})
    (run,) = server.runs.values()
    # On a slow machine the next points may have been due before the end.
    assert [*dict.fromkeys(run.metrics["rows_ok"])] == [3, 7]
    assert run.params["column"] == "text"
    assert run.tags["t"] == "u"
    assert run.status == "FAILED"


@pytest.mark.slow
def test_a_paused_worker_that_is_killed_has_logged_its_last_figures(server: TrackingServer) -> None:
    run = server.begin("job")
    tracking = tracked_run(server.environ | {"MLFLOW_RUN_ID": "job"}, print, shared_output=True)
    tracking.follow(RowsSettled(ok=3))
    process = tracking.process
    assert process is not None
    process.send({"points": tracking.points()})
    tracking.follow(RowsSettled(ok=2))
    tracking.pause()
    tracking.follow(RowsSettled(ok=2))
    tracking.pause()
    tracking.leave()
    assert process.process.wait(300) == 0
    assert run.metrics == {"rows_ok_added": [3, 4]}
    assert run.status == "RUNNING"


@pytest.mark.slow
def test_the_driver_logs_the_figures_of_all_its_calls_to_the_job(
    server: TrackingServer, deployment: Deployment, simulator: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = server.begin("job")
    variables: dict[str, Any] = {
        **server.environ,
        "AZUREML_RUN_ID": "job",
        "MLFLOW_RUN_ID": "job",
        "AZUREML_MODEL_DIR": str(FOREIGN / "sample-2.7"),
        "AZUREML_BI_OUTPUT_PATH": "out",
        "BATCHSCORE_COLUMN": "text",
        "BATCHSCORE_DEPLOYMENT": deployment.name,
        "OPENAI_BASE_URL": f"{simulator.endpoint}/v1",
        "OPENAI_API_KEY": KEY,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["driver"])
    Path("b.csv").write_text("text\nno cell\n")
    paths = [str(Path(name).absolute()) for name in ("in.csv", "b.csv")]
    azureml.init()
    assert [Path(each).name for file in paths for each in azureml.run([file])] == ["in.csv", "b.csv"]
    azureml.shutdown()
    assert sum(run.metrics["rows_ok_added"]) == 21
    assert run.status == "RUNNING"
    assert run.params["task"] == "embeddings"


@pytest.mark.slow
def test_a_simulator_at_a_url_is_named_as_one(server: TrackingServer) -> None:
    tracking = tracked_run(server.environ, print)
    tracking.follow(RowsSettled(ok=1))
    end = RunEnd((), limited=False, stopped=False, simulated=True)
    tracking.finished(end, ExitCode.DONE, 1.0, Layout(Path("out"), "chat", ""), Path("no-record"), None)
    (run,) = server.runs.values()
    assert run.tags["batchscore.simulated"] == "true"


@pytest.mark.parametrize(
    ("uri", "local"),
    [
        ("/a/b", True),
        ("./mlruns", True),
        ("file:///a", True),
        ("file://localhost/a", True),
        ("C:\\runs", True),
        ("file://host.example/a", False),
        ("http://host.example/a", False),
        ("mlflow-artifacts:/a", False),
        ("s3://bucket/a", False),
        ("sftp://host.example/a", False),
    ],
)
def test_which_addresses_of_files_are_on_this_machine(uri: str, local: bool) -> None:  # noqa: FBT001
    assert is_local(uri) == local


@pytest.mark.slow
@pytest.mark.parametrize("named", [False, True])
def test_files_go_to_another_host_only_if_the_store_is_named(
    named: bool,  # noqa: FBT001
    server: TrackingServer,
    batchscore: Cli,
) -> None:
    """A store in the working folder may be from somebody else."""
    uri = "sqlite:///mlflow.db"
    # The server knows no files, but it counts what asks for them.
    make = f"mlflow.MlflowClient({uri!r}).create_experiment('theirs', {f'{server.uri}/artifacts'!r})"
    subprocess.run([sys.executable, "-W", "ignore", "-c", f"import mlflow; {make}"], check=True)
    environ = {**QUIET, "MLFLOW_EXPERIMENT_NAME": "theirs", "MLFLOW_TRACKING_URI": uri if named else None}
    done = batchscore(*SCORE, "--track", env=environ)
    assert done.exit_code == 0, done
    assert ("names another host for files, so they are not sent" in done.stderr) == (not named)
    assert (server.asked > 0) == named
    with closing(sqlite3.connect("mlflow.db")) as store:
        found = store.execute("SELECT value FROM latest_metrics WHERE key = 'rows_ok'").fetchall()
    assert found == [(20.0,)]


@pytest.mark.slow
def test_without_a_database_library_the_reason_is_said() -> None:
    code = (
        "import sys; sys.modules['sqlalchemy'] = None; "
        "from batchscore.report.tracking.child import MlflowRun; run = MlflowRun(sys.stdout); "
        "run.add({'start': {'uri': 'sqlite:///a.db', 'run_id': None, 'name': 'n'}}); run.log()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "a database store needs all of MLflow (pip install mlflow)" in done.stdout
