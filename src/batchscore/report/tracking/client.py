"""How do a run's figures get to MLflow without blocking the run?

A separate process talks to MLflow (`child`). Here are the bounded queue to it, and the rules for how long to
wait for it at the end.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from typing import Any

from batchscore.report.tracking.child import LOADING_SECONDS

#: Greatest number of messages that wait for the process; later ones are dropped.
MOST_WAITING = 1000

#: Seconds to wait at the end: without a message from the process, after an earlier failure, and in total.
PATIENCE_SECONDS = 5.0
PATIENCE_WHEN_FAILING_SECONDS = 2.0
MOST_SECONDS = 15.0

#: `sys.path` comes as an argument, because a host may have changed it, and Python alone (without `-I`) would
#: import from the working folder first.
COMMAND = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from batchscore.report.tracking.child import main; main()"
)


@dataclass(frozen=True, slots=True)
class TrackingTarget:
    """The MLflow run to log to; without an id a new one is started. `uri` only if it was set in Python."""

    run_id: str | None = None
    uri: str | None = None


def find_target(environ: Mapping[str, str], *, wanted: bool | None) -> TrackingTarget | None:
    """Return the active MLflow run; otherwise a new one if that is wanted, else `None`.

    `wanted` is the setting: `None` for an active run only, False for never. This does not import MLflow.
    """
    if wanted is False:
        return None
    # A process with an active run has imported MLflow.
    mlflow = sys.modules.get("mlflow")
    uri = None
    if mlflow is not None:
        with suppress(Exception):
            active = mlflow.active_run()
            if active is not None:
                return TrackingTarget(active.info.run_id, mlflow.get_tracking_uri())
            # No other process knows what `mlflow.set_tracking_uri` has set here.
            uri = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    run_id = environ.get("MLFLOW_RUN_ID", "").strip()
    if not run_id and environ.get("MLFLOW_TRACKING_URI", "").startswith("azureml:"):
        run_id = environ.get("AZUREML_RUN_ID", "").strip()
    if run_id:
        return TrackingTarget(run_id)
    return TrackingTarget(uri=uri) if wanted else None


class TrackingProcess:
    """The process that talks to MLflow, and the queues to and from it. Only `end` blocks."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.waiting: queue.Queue[bytes | None] = queue.Queue(MOST_WAITING)
        self.answers: queue.Queue[dict[str, Any]] = queue.Queue()
        # Before its first message Python itself must start, which takes long on a busy machine.
        self.heard_at = time.monotonic()
        self.patient_until = self.heard_at + LOADING_SECONDS
        self.failing = False
        self.process = subprocess.Popen(  # noqa: S603 - our own module, arguments as a list
            [sys.executable, "-I", "-W", "ignore", "-c", COMMAND, json.dumps([*map(str, sys.path)])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Ctrl-C in a terminal goes to the whole group; the end of the run must still be logged.
            start_new_session=True,
            env=dict(environ),
        )
        Thread(target=self.write, name="batchscore-tracking", daemon=True).start()
        self.reader = Thread(target=self.read, name="batchscore-tracking", daemon=True)
        self.reader.start()

    def send(self, message: Mapping[str, Any]) -> None:
        """Queue a message; it is dropped if the process does not keep up."""
        with suppress(queue.Full):
            self.waiting.put_nowait(json.dumps(message).encode() + b"\n")

    def write(self) -> None:
        """Write queued messages to the process, in a thread."""
        assert self.process.stdin is not None
        with suppress(OSError, ValueError), self.process.stdin as pipe:
            while (line := self.waiting.get()) is not None:
                pipe.write(line)
                pipe.flush()

    def read(self) -> None:
        """Read the answers of the process, in a thread."""
        assert self.process.stdout is not None
        with suppress(OSError, ValueError), self.process.stdout as pipe:
            for line in pipe:
                answer = json.loads(line)
                self.heard_at = time.monotonic()
                if "patience" in answer:
                    self.patient_until = self.heard_at + answer["patience"]
                self.failing = (self.failing or "problem" in answer) and "recovered" not in answer
                self.answers.put(answer)
        self.answers.put({"problem": "the tracking process has ended"})

    def leave(self) -> None:
        """Send nothing more and do not wait: the process ends on its own."""
        with suppress(queue.Full):
            self.waiting.put_nowait(None)

    def end(self) -> bool:
        """Wait for the process to end as long as it answers; return False if it had to be killed."""
        self.leave()
        self.heard_at = now = time.monotonic()
        over = max(self.patient_until, now) + MOST_SECONDS
        self.patient_until = max(self.patient_until, now + PATIENCE_SECONDS)
        ended = False
        # Ctrl-C ends the waiting here; the run itself is over.
        with suppress(KeyboardInterrupt):
            while not ended and time.monotonic() < min(
                self.heard_at + PATIENCE_WHEN_FAILING_SECONDS if self.failing else self.patient_until, over
            ):
                ended = self.process.poll() is not None
                time.sleep(0.02)
        if not ended:
            self.process.kill()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(1)
        self.reader.join(1)
        return ended
