"""What does the process do that logs a run to MLflow?

It imports nothing of ours. It is a separate process because importing MLflow takes seconds, and because a
call to a tracking server may hang: then the parent process kills it and continues. It reads one JSON object
per line on standard input and answers in the same way. If its input ends without a last message, the run was
killed.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from typing import IO, Any
from urllib.parse import urlsplit

#: Seconds that one step may take before the parent gives up: loading MLflow or creating a local store, and
#: one call to a server.
LOADING_SECONDS = 30.0
CALL_SECONDS = 5.0

#: Variables for MLflow, unless they are set. By default an unreachable server blocks a call for minutes.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "4",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}

#: For each kind of store, a module that it needs, and what to say without it.
_DATABASE = "a database store needs all of MLflow (pip install mlflow), and only mlflow-skinny is installed"
NEEDED = {
    "azureml": ("azureml.mlflow", "Azure ML needs the package azureml-mlflow, which is not installed"),
    **dict.fromkeys(("sqlite", "postgresql", "mysql", "mssql"), ("sqlalchemy", _DATABASE)),
}

#: What is said of a store in a folder: MLflow 3.17 and later refuse it unless a variable allows it.
NO_FOLDERS = (
    "this release of MLflow does not write to a folder; set MLFLOW_TRACKING_URI to a database, such as "
    "sqlite:///mlflow.db, or to a server (or set MLFLOW_ALLOW_FILE_STORE=true)"
)

#: Points stored while the server cannot be reached, and how many are sent per call (Azure ML's limit is 250).
MOST_POINTS = 20_000
POINTS_PER_CALL = 200
PARAMS_PER_CALL = 100

#: Greatest length of an error message: MLflow's have many lines.
LONGEST_MESSAGE = 300

#: Seconds that this process may still run when its parent is gone.
ORPHANED_SECONDS = 30


def main() -> None:
    """Log what arrives on standard input; exit without waiting for other threads."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    serve(sys.stdin, MlflowRun(answers))
    os._exit(0)


def serve(lines: IO[str], run: MlflowRun) -> None:
    """Log each message."""
    for line in lines:
        message = json.loads(line)
        run.add(message)
        run.log()
        if message.get("end") is not None:
            run.end(message["end"])
            return
    if hasattr(signal, "alarm"):
        signal.alarm(ORPHANED_SECONDS)
    reason = {"batchscore.reason": "the process was killed, or exited without a result"}
    run.add({"points": run.last, "tags": reason if run.own else {}})
    run.log()
    run.end({"status": "KILLED"})


class MlflowRun:
    """One MLflow run, and what is not logged yet. After a failure, the next message tries again."""

    def __init__(self, answers: IO[str]) -> None:
        self.answers = answers
        self.mlflow: Any = None
        self.client: Any = None
        self.run_id: str | None = None
        self.uri: str | None = None
        #: Somebody chose the store: it is not just what lies in the working folder.
        self.named = bool(os.environ.get("MLFLOW_TRACKING_URI", "").strip())
        self.name = ""
        self.own = False
        self.params: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.points: list[tuple[str, float, int, int]] = []
        self.last: list[Any] = []
        self.failing = False

    def say(self, **answer: Any) -> None:
        """Send an answer to the parent, which may be gone."""
        with suppress(OSError, ValueError):
            self.answers.write(json.dumps(answer) + "\n")

    def add(self, message: Mapping[str, Any]) -> None:
        """Store what a message says."""
        start = message.get("start")
        if start is not None:
            self.uri, self.run_id, self.name = start["uri"], start["run_id"], start["name"]
            self.own = self.run_id is None
            self.named = self.named or self.uri is not None
        self.params.update(message.get("params") or {})
        self.tags.update(message.get("tags") or {})
        self.last = message.get("last", [] if "points" in message else self.last)
        self.points.extend(tuple(point) for point in message.get("points", ()))
        del self.points[:-MOST_POINTS]

    def log(self) -> None:
        """Log everything that is not logged yet; report the first failure and the recovery."""
        try:
            self.open()
            self.log_batches()
        except Exception as error:
            if not self.failing:
                self.say(problem=problem_text(error, self.uri or ""))
            self.failing = True
            return
        if self.failing:
            self.say(recovered=True)
        self.failing = False

    def call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call MLflow, after telling the parent how long that may take."""
        scheme, colon, _ = (self.uri or "").partition(":")
        local = not colon or scheme in {"", "file", "sqlite"}
        self.say(patience=LOADING_SECONDS if local else CALL_SECONDS)
        return function(*arguments, **named)

    def open(self) -> None:
        """Load MLflow, and start a run if none was given."""
        if self.client is None:
            self.say(patience=LOADING_SECONDS)
            self.mlflow = importlib.import_module("mlflow")
            if self.uri is not None:
                self.mlflow.set_tracking_uri(self.uri)
            self.uri = str(self.mlflow.get_tracking_uri())
            refuse_lacking(self.uri)
            self.client = self.call(self.mlflow.MlflowClient)
        if self.run_id is None:
            tags = {"mlflow.source.name": "batchscore"}
            self.run_id = self.call(self.mlflow.start_run, run_name=self.name, tags=tags).info.run_id
            self.say(run=self.run_id, uri=without_password(self.uri or ""))

    def log_batches(self) -> None:
        """Log points, tags and parameters; each is removed when it is logged."""
        entities = importlib.import_module("mlflow.entities")
        while self.points or self.tags:
            points, tags = self.points[:POINTS_PER_CALL], self.tags
            self.call(
                self.client.log_batch,
                self.run_id,
                metrics=[entities.Metric(name, value, at, step) for name, value, at, step in points],
                tags=[entities.RunTag(name, value) for name, value in tags.items()],
            )
            del self.points[: len(points)]
            self.tags = {}
        if not self.params:
            return
        # Parameters of somebody else's run stay as they are.
        logged = {} if self.own else self.call(self.client.get_run, self.run_id).data.params
        params = [entities.Param(name, value) for name, value in self.params.items() if name not in logged]
        # Another worker may be logging the same parameters now, which some servers refuse.
        with nullcontext() if self.own else suppress(Exception):
            for first in range(0, len(params), PARAMS_PER_CALL):
                self.call(self.client.log_batch, self.run_id, params=params[first : first + PARAMS_PER_CALL])
        self.params = {}

    def check_place(self) -> None:
        """Refuse to send files to another host if only a store in the working folder names it."""
        if self.named or self.client is None:
            return
        uri = self.call(self.client.get_run, self.run_id).info.artifact_uri or ""
        if not is_local(uri):
            raise RuntimeError(
                "the store in the working folder names another host for files, so they are not sent. If "
                "that host is right, set MLFLOW_TRACKING_URI to this store"
            )

    def end(self, end: Mapping[str, Any]) -> None:
        """End a run that was started here, then log its files: its status matters more."""
        try:
            if self.run_id is not None and self.client is not None:
                if self.own:
                    self.call(self.client.set_terminated, self.run_id, status=end["status"])
                files = () if self.failing else end.get("files", ())
                if files:
                    self.check_place()
                for path, folder in files:
                    self.call(self.client.log_artifact, self.run_id, path, folder or None)
        except Exception as error:
            self.say(problem=error_text(error))
        self.say(done=True)


def is_local(uri: str) -> bool:
    """Whether MLflow stores files with this address on this machine."""
    split = urlsplit(uri)
    # A scheme of one letter is a drive of Windows.
    return len(split.scheme) < 2 or (split.scheme == "file" and split.netloc in {"", "localhost"})


def refuse_lacking(uri: str) -> None:
    """Raise `RuntimeError` if the store with this address needs a package that is not installed."""
    package, text = NEEDED.get(re.split("[+:]", uri, maxsplit=1)[0], ("", ""))
    if package and not is_installed(package):
        raise RuntimeError(text)


def problem_text(error: BaseException, uri: str) -> str:
    """Return an error in one line; of a folder that this MLflow does not write to, what to do."""
    with suppress(ImportError):
        variables = importlib.import_module("mlflow.environment_variables")
        allowed = getattr(variables, "MLFLOW_ALLOW_FILE_STORE", None)
        if allowed is not None and not allowed.get() and is_local(uri):
            return NO_FOLDERS
    return error_text(error)


def is_installed(module: str) -> bool:
    """Whether a module can be imported."""
    with suppress(ModuleNotFoundError):
        return importlib.util.find_spec(module) is not None
    return False


def error_text(error: BaseException) -> str:
    """Return an error in one line without passwords."""
    text = without_password(" ".join(str(error).split()))
    cut = text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE].rpartition(" ")[0] + " …"
    return f"{type(error).__name__}: {cut}"


def without_password(text: str) -> str:
    """Return a text whose URLs have no user and no query."""
    return re.sub(r"\?[^\s'\")]*", "", re.sub(r"//[^/@\s]*@", "//", text))
