"""How do a run's figures get to MLflow without ever being in its way?

A listener of events. A process of its own talks to MLflow (`tracking_child`); here is only a bounded queue
towards it, and the patience that is had with it at the end. A tracking server that is slow, down or full is
worth one notice: it never costs a row, an exit code, or more than a few seconds.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, TypeAlias

from batchscore.report.tally import Tally
from batchscore.report.tracking.figures import added, by_reason, rates, seconds_to_next, totals
from batchscore.rows import DeploymentState, Event, FileFinished, Heartbeat, Listen, Notice

#: Messages that may wait for the process; later ones are dropped.
MOST_WAITING = 1000

#: At the end: seconds without a word from the process, in all when it has failed before, and in all.
PATIENCE_SECONDS = 5.0
PATIENCE_WHEN_FAILING_SECONDS = 2.0
MOST_SECONDS = 15.0

#: The module's path comes in its arguments, since a host may have found it in a way of its own.
COMMAND = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from {module} import main; main()"


#: Of a metric: its name, value, milliseconds since 1970, and seconds since the run began.
Point: TypeAlias = tuple[str, float, int, int]


@dataclass(frozen=True, slots=True)
class Where:
    """The MLflow run to log to; without an id a new one is begun. `uri` only where MLflow was told one."""

    run_id: str | None = None
    uri: str | None = None


def where_to(environ: Mapping[str, str], *, wanted: bool | None) -> Where | None:
    """Return the run that is active here, else a new one where that is wanted, else none.

    `wanted` is the setting: `None` for an active run only, False for never. MLflow is not imported for it.
    """
    if wanted is False:
        return None
    # Who has an active run in this process has imported MLflow.
    mlflow = sys.modules.get("mlflow")
    if mlflow is not None:
        with suppress(Exception):
            active = mlflow.active_run()
            uri = mlflow.get_tracking_uri()
            if active is not None:
                return Where(active.info.run_id, uri)
    run_id = environ.get("MLFLOW_RUN_ID", "").strip()
    if not run_id and environ.get("MLFLOW_TRACKING_URI", "").startswith("azureml:"):
        run_id = environ.get("AZUREML_RUN_ID", "").strip()
    if run_id:
        return Where(run_id)
    if not wanted:
        return None
    with suppress(Exception):
        # What `mlflow.set_tracking_uri` said in this process, no other can know.
        if mlflow is not None and mlflow.is_tracking_uri_set():
            return Where(uri=mlflow.get_tracking_uri())
    return Where()


class Process:
    """The process that talks to MLflow, and the queues from and to it. Nothing of it blocks but `end`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.waiting: queue.Queue[bytes | None] = queue.Queue(MOST_WAITING)
        self.answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.patient_until = 0.0
        self.failing = False
        module = "batchscore.report.tracking.child"
        self.process = subprocess.Popen(  # noqa: S603 - our own module, arguments as a list
            [sys.executable, "-W", "ignore", "-c", COMMAND.format(module=module), json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Ctrl-C in a terminal goes to the whole group; how the run ended must still be told.
            start_new_session=True,
            env=dict(environ),
        )
        Thread(target=self.write, name="batchscore-tracking", daemon=True).start()
        self.reader = Thread(target=self.read, name="batchscore-tracking", daemon=True)
        self.reader.start()

    def send(self, message: Mapping[str, Any]) -> None:
        """Hand a message over; it is dropped where the process does not keep up."""
        with suppress(queue.Full):
            self.waiting.put_nowait(json.dumps(message).encode() + b"\n")

    def write(self) -> None:
        """Write what waits to the process, in a thread."""
        assert self.process.stdin is not None
        with suppress(OSError, ValueError), self.process.stdin as pipe:
            while (line := self.waiting.get()) is not None:
                pipe.write(line)
                pipe.flush()

    def read(self) -> None:
        """Read what the process answers, in a thread; `None` is the end."""
        assert self.process.stdout is not None
        with suppress(OSError, ValueError), self.process.stdout as pipe:
            for line in pipe:
                answer = json.loads(line)
                if "patience" in answer:
                    self.patient_until = time.monotonic() + answer["patience"]
                self.failing = (self.failing or "problem" in answer) and "mended" not in answer
                self.answers.put(answer)
        self.answers.put(None)

    def leave(self) -> None:
        """Say nothing more and do not wait; the process ends by itself."""
        with suppress(queue.Full):
            self.waiting.put_nowait(None)

    def end(self) -> bool:
        """Wait for the last answer while there are answers at all; False where the process was given up."""
        self.leave()
        now = time.monotonic()
        over = max(self.patient_until, now) + MOST_SECONDS
        self.patient_until = max(self.patient_until, now + PATIENCE_SECONDS)
        ended = False
        # A Ctrl-C here ends the waiting, not the run, which is over.
        with suppress(KeyboardInterrupt):
            while not ended and time.monotonic() < (
                now + PATIENCE_WHEN_FAILING_SECONDS if self.failing else min(self.patient_until, over)
            ):
                ended = self.process.poll() is not None
                time.sleep(0.02)
        if not ended:
            self.process.kill()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(1)
        self.reader.join(1)
        return ended


class Tracking:
    """A listener that logs a run. Cost: O(1) an event, some dozen figures every ten seconds or rarer.

    With `together` it is one of several workers on one MLflow run, and logs what it adds.
    """

    def __init__(
        self,
        process: Process,
        tell: Listen,
        *,
        cost: Callable[[int, int], float | None],
        together: bool = False,
    ) -> None:
        self.process = process
        self.tell = tell
        self.cost = cost
        self.together = together
        self.tally = Tally()
        self.standings: tuple[DeploymentState, ...] = ()
        self.started = self.last = time.monotonic()
        self.next = self.started + seconds_to_next(0.0)
        self.before: dict[str, float] = {}
        self.told = False

    def __call__(self, event: Event) -> None:
        """Take one event."""
        self.tally.add(event)
        if isinstance(event, Heartbeat):
            self.standings = event.deployments
        if isinstance(event, (Heartbeat, FileFinished)):
            if time.monotonic() >= self.next:
                self.process.send({"points": self.points()})
            self.hear()

    def pause(self) -> None:
        """Leave the figures of now to be logged in case that nothing more is heard of this process."""
        kept = self.before, self.last, self.next
        self.process.send({"last": self.points()})
        self.before, self.last, self.next = kept

    def points(self) -> list[Point]:
        """Return the figures of now, which the next ones are compared with."""
        now = time.monotonic()
        age, since = now - self.started, now - self.last
        statistics = self.tally.statistics()
        cost = self.cost(statistics.prompt_tokens, statistics.completion_tokens)
        found = totals(statistics, cost)
        if self.together:
            figures = added(found, self.before)
        else:
            figures = found | {"rows_known": statistics.known, "files_finished": statistics.files_finished}
            figures |= rates(found, self.before, since, self.standings)
        self.before, self.last, self.next = found, now, now + seconds_to_next(age)
        return [(name, float(value), int(time.time() * 1000), int(age)) for name, value in figures.items()]

    def hear(self) -> None:
        """Tell what the process had to say that a person should know."""
        while not self.process.answers.empty():
            answer = self.process.answers.get_nowait()
            if answer is None:
                self.tell_once("the process that does it has ended")
            elif "problem" in answer:
                self.tell_once(answer["problem"])
            elif "run" in answer:
                self.tell(Notice(f"MLflow tracks this as run {answer['run']} at {answer['uri']}."))
            elif "done" in answer:
                return

    def tell_once(self, problem: str) -> None:
        """Tell that tracking fails, the first time."""
        if not self.told:
            self.tell(Notice(f"MLflow tracking fails; the run itself goes on without it: {problem}"))
        self.told = True

    def end(
        self,
        status: str,
        *,
        tags: Mapping[str, str],
        figures: Mapping[str, float],
        files: Sequence[tuple[Path, str]] = (),
    ) -> None:
        """Log the last figures, how the run ended and its files; takes a few seconds at most."""
        age, clock = int(time.monotonic() - self.started), int(time.time() * 1000)
        last = {} if self.together else {**figures, **by_reason(self.tally.statistics())}
        points = [*self.points(), *((name, float(value), clock, age) for name, value in last.items())]
        listed = [(os.fspath(path), folder) for path, folder in files]
        self.process.send({"points": points, "tags": tags, "end": {"status": status, "files": listed}})
        self.hear()
        ended = self.process.end()
        if not ended:
            self.tell_once("the tracking server does not answer in time")
        self.hear()

    def leave(self) -> None:
        """Leave at once: the process marks the MLflow run as killed, after this one has ended."""
        self.process.leave()


def begin(
    where: Where,
    environ: Mapping[str, str],
    tell: Listen,
    *,
    name: str,
    params: Mapping[str, str],
    tags: Mapping[str, str],
    cost: Callable[[int, int], float | None],
    together: bool = False,
) -> Tracking | None:
    """Start to track; `None`, and a notice, where that is not possible."""
    try:
        process = Process(environ)
    except (OSError, ValueError) as error:
        tell(Notice(f"MLflow tracking fails; the run itself goes on without it: {error}"))
        return None
    start = {"uri": where.uri, "run_id": where.run_id, "name": name}
    process.send({"start": start, "params": params, "tags": tags})
    return Tracking(process, tell, cost=cost, together=together)
