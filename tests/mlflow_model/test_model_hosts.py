"""MLflow's own hosts over a saved model, as processes."""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from batchscore import save_model
from simulated import Deployment

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("endpoint"), pytest.mark.timeout(900)]

MLFLOW = Path(sys.executable).with_name("mlflow")
LOCAL = ("--env-manager", "local")


@pytest.fixture(autouse=True, scope="module")
def loaded_mlflow() -> None:
    """MLflow warns of its own types while it loads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("mlflow.pyfunc")


@pytest.fixture(autouse=True)
def hosts_find_their_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow looks for `uvicorn` on the path."""
    monkeypatch.setenv("PATH", f"{MLFLOW.parent}{os.pathsep}{os.environ['PATH']}")


def test_models_predict_reads_csv_and_json(deployment: Deployment) -> None:
    save_model("m", task="embeddings", model=deployment.name)
    Path("rows.csv").write_text('text\ntide\n""\n')
    rows = {"dataframe_records": [{"text": "tide"}, {"text": None}], "params": {"dimensions": 4}}
    Path("rows.json").write_text(json.dumps(rows))
    for kind, length in {"csv": 16, "json": 4}.items():
        done = subprocess.run(
            [MLFLOW, "models", "predict", "-m", "m", "-i", f"rows.{kind}", "-t", kind, *LOCAL],
            capture_output=True,
            text=True,
            check=True,
        )
        first, empty = json.loads(done.stdout)["predictions"]
        assert (len(first["embeddings"]), first["error"]) == (length, "")
        assert (empty["embeddings"], empty["error"]) == (None, "empty_input")


def test_models_serve_answers_every_shape(deployment: Deployment) -> None:
    save_model("m", task="chat", model=deployment.name, prompt="Sing of {text}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [MLFLOW, "models", "serve", "-m", "m", "-p", str(port), *LOCAL]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(f"http://127.0.0.1:{port}/ping")
            for body in (
                {"dataframe_records": [{"text": "tide"}, {"text": None}]},
                {"dataframe_split": {"columns": ["text"], "data": [["tide"], [None]]}},
                {"inputs": {"text": ["tide", ""]}, "params": {"max_tokens": 50}},
            ):
                first, empty = ask(f"http://127.0.0.1:{port}/invocations", body)
                assert ("tide" in first["chat"], first["finish_reason"]) == (True, "stop")
                assert (empty["chat"], empty["error"]) == ("", "empty_input")
        finally:
            server.terminate()


def wait_for(url: str) -> None:
    while True:
        try:
            with urlopen(url, timeout=60):
                return
        except OSError:
            time.sleep(0.2)


def ask(url: str, body: object) -> list[dict[str, str]]:
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=300) as reply:
        found: list[dict[str, str]] = json.loads(reply.read())["predictions"]
    return found
