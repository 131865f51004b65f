"""What does the process do that talks to MLflow for a run?

It imports nothing of ours. It is a process of its own because importing MLflow takes seconds, and because a
call to a tracking server may hang where nothing can end it but a signal: whoever started it kills it and goes
on. It hears one JSON object a line on standard input and answers in the same way; the end of its input
without a last word means that the run was killed.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

#: Seconds that one step may take before whoever waits gives up: loading MLflow or making a local store (which
#: no server delays), and one call of a server.
LOADING_SECONDS = 30.0
CALL_SECONDS = 5.0

#: How MLflow asks a server, unless the user has set it: by default a dead one would hold a call for minutes.
BOUNDS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "4", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}

#: Points kept while the server cannot be reached, and how many go into one call (Azure ML takes 250).
MOST_POINTS = 20_000
POINTS_A_CALL = 200
PARAMS_A_CALL = 100

#: Longest wording of an error: MLflow's go on for lines.
LONGEST_WORDS = 300

#: Seconds that it goes on when whoever started it is gone.
ORPHANED_SECONDS = 30


def main() -> None:
    """Log what is told until the end, and leave without waiting for threads of other people's."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    for name, value in {**BOUNDS, "MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"}.items():
        os.environ.setdefault(name, value)
    serve(sys.stdin, Tracked(answers))
    os._exit(0)


def serve(lines: IO[str], tracked: Tracked) -> None:
    """Do what each line says."""
    for line in lines:
        message = json.loads(line)
        tracked.take(message)
        tracked.attempt()
        if message.get("end") is not None:
            tracked.end(message["end"])
            return
    if hasattr(signal, "alarm"):
        signal.alarm(ORPHANED_SECONDS)
    if tracked.own:
        tracked.take({"tags": {"batchscore.reason": "its process was killed, or has left at once"}})
    tracked.take({"points": tracked.last})
    tracked.attempt()
    tracked.end({"status": "KILLED"})


class Tracked:
    """One MLflow run, and what is still to be told of it. What fails is tried again at the next message."""

    def __init__(self, answers: IO[str]) -> None:
        self.answers = answers
        self.client: Any = None
        self.run_id: str | None = None
        self.uri: str | None = None
        self.name = ""
        self.own = False
        self.params: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.points: list[tuple[str, float, int, int]] = []
        self.last: list[Any] = []
        self.failing = False

    def say(self, **answer: Any) -> None:
        """Answer; nobody may be there to hear it."""
        with suppress(OSError, ValueError):
            self.answers.write(json.dumps(answer) + "\n")

    def take(self, message: Mapping[str, Any]) -> None:
        """Remember what a message says."""
        start = message.get("start")
        if start is not None:
            self.uri, self.run_id, self.name = start["uri"], start["run_id"], start["name"]
            self.own = self.run_id is None
        self.params.update(message.get("params") or {})
        self.tags.update(message.get("tags") or {})
        if "points" in message:
            self.last = []
        self.last = message.get("last", self.last)
        self.points.extend(tuple(point) for point in message.get("points", ()))
        del self.points[:-MOST_POINTS]

    def attempt(self) -> bool:
        """Log what is still to be told; tell of the first failure in a row."""
        try:
            self.open()
            self.log()
        except Exception as error:
            if not self.failing:
                self.say(problem=worded(error))
            self.failing = True
            return False
        if self.failing:
            self.say(mended=True)
        self.failing = False
        return True

    def open(self) -> None:
        """Load MLflow and begin a run, where none was named."""
        if self.client is None:
            self.say(patience=LOADING_SECONDS)
            mlflow = importlib.import_module("mlflow")
            if self.uri is not None:
                mlflow.set_tracking_uri(self.uri)
            self.uri = str(mlflow.get_tracking_uri())
            if self.uri.startswith("azureml:") and not installed("azureml.mlflow"):
                raise RuntimeError(
                    "MLflow reaches Azure ML by the package azureml-mlflow, which is not installed"
                )
            self.patience()
            self.client = mlflow.MlflowClient()
        if self.run_id is None:
            self.patience()
            mlflow = importlib.import_module("mlflow")
            begun = mlflow.start_run(run_name=self.name, tags={"mlflow.source.name": "batchscore"})
            self.run_id = begun.info.run_id
            self.say(run=self.run_id, uri=without_password(self.uri or ""))

    def patience(self) -> None:
        """Tell how long the next step may take."""
        local = (self.uri or "").split(":", 1)[0] in {"", "file", "sqlite"} or ":" not in (self.uri or "")
        self.say(patience=LOADING_SECONDS if local else CALL_SECONDS)

    def log(self) -> None:
        """Log parameters, tags and points; each leaves the list when it is logged."""
        entities = importlib.import_module("mlflow.entities")
        while self.points or self.tags:
            self.patience()
            points, tags = self.points[:POINTS_A_CALL], dict(self.tags)
            self.client.log_batch(
                self.run_id,
                metrics=[entities.Metric(name, value, at, step) for name, value, at, step in points],
                tags=[entities.RunTag(name, value) for name, value in tags.items()],
            )
            del self.points[: len(points)]
            self.tags = {}
        if self.params:
            self.log_params(entities.Param)
            self.params = {}

    def log_params(self, param: Any) -> None:
        """Log parameters; what a run of somebody else's says otherwise stays as it is."""

        def log(params: Mapping[str, str]) -> None:
            listed = [param(name, value) for name, value in params.items()]
            for first in range(0, len(listed), PARAMS_A_CALL):
                self.patience()
                self.client.log_batch(self.run_id, params=listed[first : first + PARAMS_A_CALL])

        if self.own:
            log(self.params)
            return
        self.patience()
        there = self.client.get_run(self.run_id).data.params
        # Another worker may be saying the same at this moment, which some servers refuse.
        with suppress(Exception):
            log({name: value for name, value in self.params.items() if name not in there})

    def end(self, end: Mapping[str, Any]) -> None:
        """End a run that was begun here, then log its files: they matter less than how it ended."""
        try:
            if self.run_id is not None and self.client is not None:
                if self.own:
                    self.patience()
                    self.client.set_terminated(self.run_id, status=end["status"])
                for path, folder in () if self.failing else end.get("files", ()):
                    self.patience()
                    self.client.log_artifact(self.run_id, path, folder or None)
        except Exception as error:
            self.say(problem=worded(error))
        self.say(done=True)


def installed(module: str) -> bool:
    """Return whether a module is there to import."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def worded(error: BaseException) -> str:
    """Return an error in one line that holds no password."""
    text = without_password(" ".join(str(error).split()))
    cut = text if len(text) <= LONGEST_WORDS else text[:LONGEST_WORDS].rpartition(" ")[0] + " …"
    return f"{type(error).__name__}: {cut}"


def without_password(text: str) -> str:
    """Return a text whose addresses name no user and no query."""
    return re.sub(r"\?[^\s'\")]*", "", re.sub(r"//[^/@\s]*@", "//", text))
