"""What do `init()`, `run()` and `shutdown()` do when Azure ML's batch host calls them?

The host may deliver a mini-batch twice, to two processes at once, and may kill a process at any time. It
calls on any thread, and counts a file as done if `run` returns an element for it. So every file goes through
`score_files` as one of several workers, and an element means that every row of the file has its record.
`azureml.host` reads what the host says.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from batchscore.azureml.host import (
    deadline_seconds,
    errors_name_variables,
    host_of,
    name_variables,
    settings_of,
)
from batchscore.endpoint.target import endpoints_of
from batchscore.errors import (
    BatchscoreError,
    BoundReached,
    ExitCode,
    InputError,
    OutputOverwritten,
    UsageError,
    count_text,
)
from batchscore.prompts.prompt import parse_spec
from batchscore.read.dataset_folders import is_hidden
from batchscore.read.files import find_files
from batchscore.report.progress.line import status_line
from batchscore.report.progress.view import Watch
from batchscore.report.run_end import RunEnd
from batchscore.report.tracking.follow import TrackingRun
from batchscore.rows import Event, FileFinished, Listen, Notice
from batchscore.run.event_loop import start_in_thread
from batchscore.run.record import RunResult
from batchscore.run.score_files import score_files
from batchscore.settings.fields import Settings
from batchscore.settings.slices import EndpointSettings, PromptSettings, cut
from batchscore.settings.sources import unread_variables
from batchscore.version import VERSION

LOG = logging.getLogger("batchscore")

#: Seconds between log lines about the progress of a call.
LOG_SECONDS = 60.0

#: How often a call is repeated if another worker has overwritten records.
TRIES = 3

#: The prefix of files that are not data if the name has no known format.
MARKED = "_"


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """The settings of every call in this process, and its listener for MLflow."""

    settings: Settings
    environ: Mapping[str, str]
    named: Mapping[str, str]
    tracking: TrackingRun


_process: ProcessSettings | None = None


def init() -> None:
    """Read the settings, once per process or more often; raises a `BatchscoreError` if they are wrong."""
    global _process  # noqa: PLW0603 - the host calls functions of a module, and keeps no object for them
    if _process is not None:
        _process.tracking.leave()
    _process = prepare(sys.argv[1:], os.environ)


def run(mini_batch: Iterable[str]) -> list[str]:
    """Score the files of a mini-batch, and return those whose rows are all settled; the host counts them.

    A file that is not complete at the deadline, or that has more failed rows than
    `BATCHSCORE_ERROR_THRESHOLD` allows, is left out; the log says why. Raises a `BatchscoreError` if the
    service refuses or does not answer, or if no file can be scored.
    """
    # After `shutdown`, maybe on another thread, a call reads the settings itself.
    process, paths = _process or prepare(sys.argv[1:], os.environ), paths_of(mini_batch)
    return start_in_thread(lambda: score(process, paths)).result()


def shutdown() -> None:
    """Drop what `init` read; every file of every call is closed already."""
    global _process  # noqa: PLW0603
    if _process is not None:
        _process.tracking.end("FINISHED")
    _process = None


def prepare(arguments: Sequence[str], environ: Mapping[str, str]) -> ProcessSettings:
    """Read the settings, and check everything that can be checked without a file."""
    if not LOG.hasHandlers():
        LOG.addHandler(logging.StreamHandler())
        LOG.setLevel(logging.INFO)
    environ = dict(environ)
    host = host_of(arguments, environ)
    chosen = settings_of(host, environ)
    settings = chosen.settings
    with errors_name_variables(environ):
        parse_spec(cut(PromptSettings, settings))
        endpoints_of(cut(EndpointSettings, settings), environ, chosen.sources)
    for sentence in unread_variables(settings, environ):
        LOG.warning("%s", sentence)
    for name in ("BATCHSCORE_MODEL", "BATCHSCORE_OUTPUT"):
        if environ.get(name, "").strip():
            LOG.warning("The variable %s is not read here: the host says which model and output.", name)
    ends, killed = deadline_seconds(settings.deadline), host.timeout_seconds
    if ends is not None and killed is not None and ends >= killed:
        LOG.warning(
            "A call stops after %g s, but the host kills the process after %g s; requests in flight are lost "
            "then. Set a shorter BATCHSCORE_DEADLINE.",
            *(ends, killed),
        )
    text = "batchscore %s: %s with %s, output %s, initial share of the quota %g, deadline of a call %s."
    shown = (VERSION, settings.task, settings.model, settings.output, settings.quota_share)
    LOG.info(text, *shown, settings.deadline or "none")
    # Calls are many and short, so MLflow has one listener per process.
    log = progress_log(settings, environ)
    tracking = TrackingRun(settings, environ, log, f"{platform.node() or 'host'}-{os.getpid()}")
    return ProcessSettings(replace(settings, track=False), environ, chosen.sources, tracking)


def paths_of(mini_batch: Iterable[str]) -> list[str]:
    """Return the paths of a mini-batch; raises `UsageError` if it holds no paths."""
    if isinstance(mini_batch, str) or hasattr(mini_batch, "iterrows"):
        raise UsageError(
            f"the mini-batch is a {type(mini_batch).__name__}, not a list of files; the job's input must be "
            "a folder of files (uri_folder)."
        )
    return [os.fspath(path) for path in mini_batch]


def score(process: ProcessSettings, paths: Sequence[str]) -> list[str]:
    """Score files, and return the paths of those that are settled."""
    settings = with_base_dir(process.settings, paths)
    names, problem = names_in_records(paths, settings)
    wanted = [path for path, files in names.items() if files]
    if not wanted and problem is not None:
        raise problem
    with errors_name_variables(process.environ):
        complete, reason = score_wanted(process, settings, wanted) if wanted else (set(), None)
        left = {path for path in wanted if not complete.issuperset(names[path])}
        if left and reason is not None and not isinstance(reason, (BoundReached, OutputOverwritten)):
            # The host shows an error, but only counts a short answer.
            raise reason
    if reason is not None:
        LOG.error("Stopped: %s", name_variables(reason.text, process.environ))
    settled = names.keys() - left
    LOG.info("%s of this mini-batch settled, %d left.", count_text(len(settled), "file"), len(left))
    return [path for path in paths if path in settled]


def with_base_dir(settings: Settings, paths: Sequence[str]) -> Settings:
    """Return settings with which a file's name in records depends on its path alone.

    Without a base folder the name begins below the file's own folder. Raises `InputError` if two files of a
    mini-batch could have the same name; the output detects the same name in different mini-batches.
    """
    if settings.base_dir is not None or not paths:
        return settings
    folders = {os.path.dirname(path) for path in paths}  # noqa: PTH120
    if len(folders) > 1:
        raise InputError(
            "the files of this mini-batch are in several folders, so that two files could have the same name "
            "in the output. Name the folder above all of them: add --batchscore-base-dir ${{inputs.data}} to "
            "the parallel step's program_arguments, or set BATCHSCORE_BASE_DIR."
        )
    return replace(settings, base_dir=folders.pop()) if any(map(os.path.isdir, paths)) else settings


def names_in_records(
    paths: Sequence[str], settings: Settings
) -> tuple[dict[str, list[str]], InputError | None]:
    """Return the names in records of each path's files, and the last error of a path that has none.

    Files that are not data (`_SUCCESS`, `.part-0.crc`) have no name, which is not an error.
    """
    names: dict[str, list[str]] = {}
    problem: InputError | None = None
    for path in paths:
        name = os.path.basename(path)  # noqa: PTH119 - as the host writes it
        names[path] = []
        try:
            if not is_hidden(name):
                found = find_files([path], root=settings.base_dir, follow_links=settings.follow_links)
                names[path] = [file.name for file in found.files]
        except InputError as error:
            if not (name.startswith(MARKED) and Path(path).is_file()):
                del names[path]
                problem = error
                text = name_variables(error.text, {})
                LOG.error("Not scored: %s. Fix the file, or remove it from the input.", text)  # noqa: TRY400
                continue
        if not names[path]:
            LOG.info("%s is skipped: its name marks a file that is not data.", path)
    return names, problem


def score_wanted(
    process: ProcessSettings, settings: Settings, paths: Sequence[str]
) -> tuple[set[str], BatchscoreError | None]:
    """Score files; return the names of those that are settled, and what stopped the run, if anything did."""
    seconds, started = deadline_seconds(settings.deadline), time.monotonic()
    tracking = process.tracking
    for tries_left in reversed(range(TRIES)):
        log = progress_log(settings, process.environ)

        def listen(event: Event, log: Listen = log) -> None:
            log(event)
            tracking.follow(event)

        result = score_files(settings, paths, environ=process.environ, listen=listen, named=process.named)
        left = None if seconds is None else started + seconds - time.monotonic()
        again = isinstance(result.outcome.stopped_by, OutputOverwritten)
        if not again or not tries_left or (left is not None and left < 1):
            break
        if left is not None:
            settings = replace(settings, deadline=f"{left:.3f}s")
    tracking.pause()
    log_files(result, process.environ)
    complete = {file.file for file in result.outcome.files if is_settled(file, settings.error_threshold)}
    return complete, result.outcome.stopped_by


def is_settled(file: FileFinished, error_threshold: float) -> bool:
    """Return whether every row of a file has its record, and the threshold allows the failed ones."""
    return file.state == "complete" and RunEnd((file,)).exit_code(error_threshold) is ExitCode.DONE


def log_files(result: RunResult, environ: Mapping[str, str]) -> None:
    """Log how each file ended, and why if it is not settled."""
    for file in result.outcome.files:
        figures = f"{count_text(file.rows, 'row')}, {file.ok:,} scored, {file.failed:,} failed"
        if is_settled(file, result.settings.error_threshold):
            LOG.info("%s: %s", file.file, figures)
        elif file.state == "complete":
            text = "%s: %s: more than BATCHSCORE_ERROR_THRESHOLD (%g) allows. The reasons are in %s"
            LOG.error(text, file.file, figures, result.settings.error_threshold, result.layout.errors)
        elif file.problem:
            LOG.error("%s cannot be scored: %s", file.file, name_variables(file.problem, environ))
        else:
            text = "%s: %s so far. These are saved; the next delivery of the file resumes it."
            LOG.error(text, file.file, figures)


def progress_log(settings: Settings, environ: Mapping[str, str]) -> Listen:
    """Return a listener that logs the progress of a call. Cost: O(1) an event, no I/O in most."""
    watch, last = Watch(settings.charged_answer_tokens, settings.cost), time.monotonic()

    def log(event: Event) -> None:
        nonlocal last
        watch(event)
        now = time.monotonic()
        if isinstance(event, Notice):
            LOG.info("%s", name_variables(event.text, environ))
        elif now - last >= LOG_SECONDS:
            last = now
            LOG.info("%s", status_line(watch.view(now)))

    return log
