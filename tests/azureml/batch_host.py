"""A batch host: calls a scoring script as Azure ML's is documented and seen to, in real processes.

Mini-batches of files go to several processes, on machines with temporary folders of their own, at least
once each. Each process has a working folder of its own, the host's arguments, and calls the script on a
thread that is not the main one. What takes too long, or raises, or returns fewer elements than it was given
files, comes again, so often; a call that takes too long costs its process. Files that were not returned in
the end fail the job, where they are more than the threshold.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

import worker

import prefork
from simulated import Deployment

ROOT = Path(__file__).resolve().parents[2]
#: Folders that `mlflow.openai.save_model` wrote.
FOREIGN = ROOT / "tests" / "mlflow_model" / "foreign"
WORKER = Path(worker.__file__)

#: A process that does not come up, or does not end a call that nobody times, is a failure of the test.
PATIENCE_SECONDS = 40.0

_jobs = count(1)


def sample_model(deployment: Deployment) -> Path:
    """Give the folder above the old sample's model, as a registered model is handed over."""
    return model_like("sample-2.7", deployment, "text-embedding-ada-002", "embeddings").parent


def chat_model(deployment: Deployment) -> Path:
    return model_like("messages-3.17", deployment, "gpt", "chat.completions")


def model_like(foreign: str, deployment: Deployment, model: str, task: str) -> Path:
    """Copy a model that MLflow wrote, and let it name the test's deployment and no template."""
    folder = Path("registered", "model").absolute()
    shutil.copytree(FOREIGN / foreign, folder)
    (folder / "model.yaml").write_text(f"engine: {deployment.name}\nmodel: {model}\ntask: {task}\n")
    return folder


@dataclass(frozen=True)
class JobEnd:
    """How a job ended, as its status and logs tell; `returned` are all elements of all calls."""

    status: str
    failed_files: int
    calls: int
    killed: int
    returned: list[str]
    raised: list[str]
    words: str


@dataclass
class Delivery:
    """One mini-batch in the queue; two of the same files are two."""

    paths: list[str]
    tries: int = 0


@dataclass
class Process:
    """A process that has the script loaded; its temporary folder is that of its machine."""

    forked: prefork.Forked
    connection: Connection

    def ask(self, name: str, mini_batch: Sequence[str] = (), seconds: float = PATIENCE_SECONDS) -> Any:
        """Return what came of a call, or None where it took longer or the process is no more."""
        try:
            self.connection.send((name, list(mini_batch)))
            if self.connection.poll(seconds):
                return self.connection.recv()
        except (EOFError, OSError):
            pass
        return None

    def kill(self) -> None:
        self.forked.kill()
        self.close()

    def close(self) -> None:
        self.forked.wait(PATIENCE_SECONDS)
        self.connection.close()
        self.forked.stdout.close()
        self.forked.stderr.close()


@dataclass
class BatchHost:
    """A deployment, or with `as_step` a pipeline's parallel step, that runs jobs.

    `twice`: every mini-batch is delivered twice, the second maybe while the first is at work; `kills`: so
    many processes are killed in the middle of a call.
    """

    imported: prefork.Server
    folder: Path
    model: Path
    environ: Mapping[str, str]
    script: Path = ROOT / "src" / "batch_driver.py"
    processes: int = 1
    machines: int = 1
    mini_batch_size: int = 1
    timeout_s: float = 30.0
    max_retries: int = 3
    error_threshold: int = 0
    as_step: bool = False
    program_arguments: Sequence[str] = ()
    twice: bool = False
    kills: int = 0
    draw: random.Random = field(default_factory=lambda: random.Random(1))

    def run(self, data: Path, output: Path) -> JobEnd:
        """Run a job over the files of a folder, and of folders in it, and wait for its end."""
        output.mkdir(parents=True, exist_ok=True)
        return Job(self, self.folder / f"job-{next(_jobs)}", data.absolute(), output.absolute()).run()


class Job:
    """One job: where its inputs and outputs are mounted, its queue, and what came of it."""

    def __init__(self, host: BatchHost, folder: Path, data: Path, output: Path) -> None:
        self.host = host
        self.folder = folder
        # Every job mounts the same folders somewhere else.
        self.input = folder / "wd" / "INPUT_data"
        self.output = folder / "wd" / "score"
        self.input.parent.mkdir(parents=True)
        self.input.symlink_to(data)
        self.output.symlink_to(output)
        self.lock = threading.Lock()
        self.numbers = count()
        self.kills = host.kills
        self.waiting = deque(self.deliveries())
        self.in_hand = 0
        self.calls = self.killed = 0
        self.failed: dict[str, None] = {}
        self.returned: list[str] = []
        self.raised: list[str] = []

    def deliveries(self) -> Iterator[Delivery]:
        paths = sorted(str(path) for path in self.input.rglob("*") if path.is_file())
        for start in range(0, len(paths), self.host.mini_batch_size):
            for _ in range(1 + self.host.twice):
                yield Delivery(paths[start : start + self.host.mini_batch_size])

    def run(self) -> JobEnd:
        slots = [threading.Thread(target=self.slot, args=(place,)) for place in range(self.host.processes)]
        for slot in slots:
            slot.start()
        for slot in slots:
            slot.join()
        allowed = self.host.error_threshold
        return JobEnd(
            status="Failed" if 0 <= allowed < len(self.failed) else "Completed",
            failed_files=len(self.failed),
            calls=self.calls,
            killed=self.killed,
            returned=self.returned,
            raised=self.raised,
            words="".join(path.read_text() for path in sorted(self.folder.glob("process*.txt"))),
        )

    def slot(self, place: int) -> None:
        """Do as one of the places for processes does, until nothing is left: a dead process is replaced."""
        process: Process | None = None
        while (delivery := self.take()) is not None:
            if process is None:
                process = self.started(place)
                ready = process.ask("init")
                if ready is None or ready[0] == "raised":
                    self.came_to_nothing(delivery, [], ready)
                    process.kill()
                    process = None
                    continue
            process = self.called(process, delivery)
        if process is not None:
            process.ask("shutdown")
            process.close()

    def called(self, process: Process, delivery: Delivery) -> Process | None:
        """Call `run` once; returns the process, where it lives on."""
        with self.lock:
            self.calls += 1
            kill = self.kills > 0
            self.kills -= kill
            seconds = self.host.draw.uniform(0.2, 0.9) if kill else self.host.timeout_s
        answer = process.ask("run", delivery.paths, seconds)
        if answer is None:
            self.killed += 1
            process.kill()
            # Where it was not the call's fault, it does not count against it.
            delivery.tries -= kill
            self.came_to_nothing(delivery, [], None)
            return None
        returned = answer[1] if answer[0] == "returned" else []
        with self.lock:
            self.returned += returned
        if len(returned) < len(delivery.paths):
            self.came_to_nothing(delivery, returned, answer)
        else:
            with self.lock:
                self.in_hand -= 1
        return process

    def take(self) -> Delivery | None:
        """Give the next mini-batch; None once all are done, also those that others have in hand."""
        while True:
            with self.lock:
                if self.waiting:
                    self.in_hand += 1
                    return self.waiting.popleft()
                if not self.in_hand:
                    return None
            time.sleep(0.01)

    def came_to_nothing(self, delivery: Delivery, returned: Sequence[str], answer: Any) -> None:
        """Deliver a mini-batch again, or give it up."""
        with self.lock:
            self.in_hand -= 1
            if answer is not None and answer[0] == "raised":
                self.raised.append(answer[1])
            delivery.tries += 1
            if delivery.tries < self.host.max_retries:
                self.waiting.append(delivery)
            else:
                # Only numbers count: which files were not returned is not looked at.
                self.failed.update(dict.fromkeys(delivery.paths[len(returned) :]))

    def started(self, place: int) -> Process:
        """Start a process; which of the machines it is on is said by its place."""
        number = next(self.numbers)
        name = f"process{number:03}"
        home, temporary = self.folder / name, self.folder / f"machine-{place % self.host.machines}"
        home.mkdir()
        temporary.mkdir(exist_ok=True)
        host = self.host
        with Listener(("127.0.0.1", 0)) as listener:
            own = {
                worker.ADDRESS: str(listener.address[1]),
                worker.SCRIPT: str(host.script),
                worker.NAME: name,
                worker.WORDS: str(self.folder / f"{name}.txt"),
                "TMPDIR": str(temporary),
                "AZUREML_NODE_COUNT": str(host.machines),
            }
            if not host.as_step:
                own |= {"AZUREML_MODEL_DIR": str(host.model), "AZUREML_BI_OUTPUT_PATH": str(self.output)}
            environ = {**os.environ, **host.environ, **own}
            forked = host.imported.start(self.arguments(), environ, home, WORKER)
            with no_longer_than(listener):
                return Process(forked, listener.accept())

    def arguments(self) -> list[str]:
        """Return the arguments of the host's own program."""
        host = self.host
        said = {
            "--logging_level": "INFO",
            "--mini_batch_size": host.mini_batch_size,
            "--process_count_per_node": host.processes // host.machines,
            "--error_threshold": host.error_threshold,
            "--output_action": "summary_only",
            "--output": self.output,
            "--run_invocation_timeout": host.timeout_s,
            "--run_max_try": host.max_retries,
            "--run_id": self.folder.name,
        }
        words = [str(word) for pair in said.items() for word in pair]
        if host.as_step:
            words += ["--batchscore-model", str(host.model), "--batchscore-output", str(self.output)]
        return words + [word.replace("{input}", str(self.input)) for word in host.program_arguments]


@contextmanager
def no_longer_than(listener: Listener, seconds: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Close a listener to which nobody comes."""
    timer = threading.Timer(seconds, listener.close)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
