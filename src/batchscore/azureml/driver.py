"""What do `init()`, `run()` and `shutdown()` do when Azure ML's batch host calls them?

The host's habits to ours and back. It may deliver a mini-batch twice, to two processes at once, and kill a
process in the middle; it may call on any thread, and counts a file as done where `run` returns an element for
it. So every file goes through `score_files` as one of several workers, and an element means that every row of
the file has its record. What the host says is read in `azureml_host`.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import TypeVar

from batchscore.azureml.host import flags_called_variables, host_of, in_variables, settings_of
from batchscore.endpoint.from_settings import endpoints_of
from batchscore.errors import BoundReached, ExitCode, InputError, OutputOverwritten, UsageError
from batchscore.prompts.spec import wanted_by
from batchscore.read import find_files
from batchscore.report.progress.line import describe
from batchscore.report.progress.view import Watch
from batchscore.report.run_end import RunEnd
from batchscore.report.tracking.follow import Followed
from batchscore.report.words import counted
from batchscore.rows import Event, FileFinished, Notice
from batchscore.run.result import RunResult
from batchscore.run.score_files import score_files
from batchscore.settings.deadline import parse_deadline
from batchscore.settings.fields import Settings
from batchscore.settings.sources import unread_variables
from batchscore.version import VERSION

LOG = logging.getLogger("batchscore")

#: Seconds between lines that tell how far a call has come.
TELL_SECONDS = 60.0

#: So often one call goes on where another worker had taken records along.
TRIES = 3

#: How names begin that other tools give to what is no data: the second where the name has no format, either.
HIDDEN, MARKED = ".", "_"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Prepared:
    """What holds for every call of a process."""

    settings: Settings
    environ: Mapping[str, str]
    named: Mapping[str, str]
    followed: Followed


_prepared: Prepared | None = None


def init() -> None:
    """Get ready, once a process or more often; nothing is sent and nothing is written.

    Raises a `BatchscoreError` for what nobody can score with.
    """
    global _prepared  # noqa: PLW0603 - the host calls functions of a module, and keeps nothing for them
    if _prepared is not None:
        _prepared.followed.leave()
    _prepared = prepare(sys.argv[1:], os.environ)


def run(mini_batch: Iterable[str]) -> list[str]:
    """Score the files of a mini-batch; returns those of which every row is settled, for the host to count.

    A file that is not whole by the deadline, or of which more rows have failed than
    `BATCHSCORE_ERROR_THRESHOLD` allows, is left out; the log says why. Raises a `BatchscoreError` where the
    service refuses or does not answer, or no file can be scored.
    """
    # After `shutdown`, maybe on another thread at this moment, a call gets ready for itself.
    prepared, paths = _prepared or prepare(sys.argv[1:], os.environ), paths_of(mini_batch)
    return on_a_thread_of_its_own(lambda: score(prepared, paths))


def shutdown() -> None:
    """Forget what `init` got ready; every file of every call is closed already."""
    global _prepared  # noqa: PLW0603
    if _prepared is not None:
        _prepared.followed.end("FINISHED")
    _prepared = None


def prepare(arguments: Sequence[str], environ: Mapping[str, str]) -> Prepared:
    """Check everything that can be known before a file is seen."""
    if not LOG.hasHandlers():
        LOG.addHandler(logging.StreamHandler())
        LOG.setLevel(logging.INFO)
    environ = dict(environ)
    host = host_of(arguments, environ)
    chosen = settings_of(host, environ)
    settings = chosen.settings
    with flags_called_variables(environ):
        wanted_by(settings)
        endpoints_of(settings, environ, chosen.named)
    for sentence in unread_variables(settings, environ):
        LOG.warning("%s", sentence)
    for name in ("BATCHSCORE_MODEL", "BATCHSCORE_OUTPUT"):
        if environ.get(name, "").strip():
            LOG.warning("The variable %s is not read here: the host says which model and output.", name)
    ends, killed = end_of(settings, 0.0), host.timeout_seconds
    if ends is not None and killed is not None and ends >= killed:
        LOG.warning(
            "A call would end by itself after %g s, but the host kills the process after %g s; what is in "
            "flight then is lost. Let BATCHSCORE_DEADLINE be shorter.",
            *(ends, killed),
        )
    parts = f"{settings.quota_share:g} of the quota" if settings.quota_share < 1 else "the whole quota"
    LOG.info(
        "batchscore %s: %s with %s into %s, beginning with %s; a call ends by itself %s.",
        VERSION,
        settings.task,
        settings.model,
        settings.output,
        parts,
        f"after {settings.deadline}" if settings.deadline else "when it is through",
    )
    # Calls are many and short: MLflow hears of them from one listener of the process.
    told = Told(environ, Watch(settings.charged_answer_tokens, settings.cost))
    followed = Followed(settings, environ, told, f"{platform.node() or 'host'}-{os.getpid()}")
    return Prepared(replace(settings, track=False), environ, chosen.named, followed)


def paths_of(mini_batch: Iterable[str]) -> list[str]:
    """Return the paths of a mini-batch; raises `UsageError` where it holds no paths."""
    if isinstance(mini_batch, str) or hasattr(mini_batch, "iterrows"):
        raise UsageError(
            f"the mini-batch is a {type(mini_batch).__name__}, not a list of files: give the job a folder of "
            "files (uri_folder) as its input."
        )
    return [os.fspath(path) for path in mini_batch]


def on_a_thread_of_its_own(work: Callable[[], T]) -> T:
    """Do something on a new thread: no loop runs on it, and signals are not its business."""
    done: Future[T] = Future()

    def do() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    Thread(target=do, name="batchscore", daemon=True).start()
    return done.result()


def score(prepared: Prepared, paths: Sequence[str]) -> list[str]:
    """Score files, and return the paths of those that are settled."""
    settings = rooted(prepared.settings, paths)
    names, problem = names_of(paths, settings)
    settled = {path for path, files in names.items() if not files}
    wanted = [path for path, files in names.items() if files]
    if not wanted:
        if problem is not None:
            raise problem
        return [path for path in paths if path in settled]
    with flags_called_variables(prepared.environ):
        whole, reason = scored(prepared, settings, wanted)
        left = {path for path in wanted if not whole.issuperset(names[path])}
        if left and reason is not None and not isinstance(reason, (BoundReached, OutputOverwritten)):
            # An error that the host shows, where a short answer would only be counted.
            raise reason
    if reason is not None:
        LOG.error("Stopped: %s", in_variables(str(reason), prepared.environ))
    settled.update(path for path in wanted if path not in left)
    LOG.info("%s of this mini-batch settled, %s.", counted(len(settled), "file"), f"{len(left)} left")
    return [path for path in paths if path in settled]


def rooted(settings: Settings, paths: Sequence[str]) -> Settings:
    """Return settings under which the names of files depend on each path alone.

    Without a root that was said they begin below the folder that a file lies in. Raises `InputError` where
    that would call two files of a mini-batch the same; of one in another the output tells.
    """
    if settings.base_dir is not None or not paths:
        return settings
    folders = {os.path.dirname(path) for path in paths}  # noqa: PTH120
    if len(folders) > 1:
        raise InputError(
            "the files of this mini-batch lie in several folders, and files of one name would be taken for "
            "one. Name the folder above all of them: add --batchscore-base-dir ${{inputs.data}} to the "
            "parallel step's program_arguments, or set BATCHSCORE_BASE_DIR."
        )
    return replace(settings, base_dir=folders.pop()) if any(map(os.path.isdir, paths)) else settings


def names_of(paths: Sequence[str], settings: Settings) -> tuple[dict[str, list[str]], InputError | None]:
    """Return what the files of each path are called in records, and the last reason why one has no name.

    What is no data (`_SUCCESS`, `.part-0.crc`) has none, and no reason.
    """
    names: dict[str, list[str]] = {}
    problem: InputError | None = None
    for path in paths:
        name = os.path.basename(path)  # noqa: PTH119 - as the host wrote it
        if name.startswith(HIDDEN):
            names[path] = []
            continue
        try:
            names[path] = [file.name for file in find_files([path], root=settings.base_dir).files]
        except InputError as error:
            if name.startswith(MARKED) and Path(path).is_file():
                names[path] = []
                continue
            problem = error
            LOG.error("Not scored: %s. Mend it, or take it out of the input.", error)  # noqa: TRY400
    for path, files in names.items():
        if not files:
            LOG.info("%s is left alone: its name is one that tools give to what is no data.", path)
    return names, problem


def scored(prepared: Prepared, settings: Settings, paths: Sequence[str]) -> tuple[set[str], Exception | None]:
    """Score files; return the names of those that are settled, and what stopped it where something did."""
    ends = end_of(settings, time.monotonic())
    followed = prepared.followed
    for tries_left in reversed(range(TRIES)):
        told = Told(prepared.environ, Watch(settings.charged_answer_tokens, settings.cost))

        def listen(event: Event, told: Told = told) -> None:
            told(event)
            followed.follow(event)

        finished = score_files(settings, paths, environ=prepared.environ, listen=listen, named=prepared.named)
        left = None if ends is None else ends - time.monotonic()
        again = isinstance(finished.outcome.stopped_by, OutputOverwritten)
        if not again or not tries_left or (left is not None and left < 1):
            break
        if left is not None:
            settings = replace(settings, deadline=f"{left:.3f}s")
    followed.pause()
    tell_end(finished, prepared.environ)
    whole = {file.file for file in finished.outcome.files if is_settled(file, settings.error_threshold)}
    return whole, finished.outcome.stopped_by


def end_of(settings: Settings, now: float) -> float | None:
    """Return when a call is to be over, on the clock of `now`; `None` where no duration was set."""
    found = None if settings.deadline is None else parse_deadline(settings.deadline)
    return now + found.total_seconds() if isinstance(found, timedelta) else None


def is_settled(file: FileFinished, error_threshold: float) -> bool:
    """Whether every row of a file has its record, and no more have failed than the threshold allows."""
    return file.state == "complete" and RunEnd((file,)).exit_code(error_threshold) is ExitCode.DONE


def tell_end(finished: RunResult, environ: Mapping[str, str]) -> None:
    """Log what became of each file, and why where it is not settled."""
    for file in finished.outcome.files:
        figures = f"{counted(file.rows, 'row')}, {file.ok:,} scored, {file.errors - file.empty:,} failed"
        if is_settled(file, finished.settings.error_threshold):
            LOG.info("%s: %s", file.file, figures)
        elif file.state == "complete":
            LOG.error(
                "%s: %s: more than BATCHSCORE_ERROR_THRESHOLD (%g) allows. Why is in %s",
                *(file.file, figures, finished.settings.error_threshold, finished.layout.errors),
            )
        elif file.problem:
            LOG.error("%s cannot be scored: %s", file.file, in_variables(file.problem, environ))
        else:
            LOG.error("%s: %s so far. That is kept; the next delivery goes on.", file.file, figures)


@dataclass(slots=True)
class Told:
    """A listener that logs how a call gets on. Cost: O(1) an event, no I/O in most."""

    environ: Mapping[str, str]
    watch: Watch
    last: float = field(default_factory=time.monotonic)

    def __call__(self, event: Event) -> None:
        """Take one event."""
        self.watch(event)
        now = time.monotonic()
        if isinstance(event, Notice):
            LOG.info("%s", in_variables(event.text, self.environ))
        elif now - self.last >= TELL_SECONDS:
            self.last = now
            LOG.info("%s", describe(self.watch.view(now)))
