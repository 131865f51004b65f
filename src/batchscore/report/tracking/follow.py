"""How is a run logged to MLflow: its figures while it works, and its files at the end?

A listener of events. A tracking server that is slow, down or full causes one notice. It never costs a row, an
exit code, or more than a few seconds.
"""

from __future__ import annotations

import csv
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from threading import Lock

from batchscore.errors import BatchscoreError, ExitCode, name_settings
from batchscore.output.layout import Layout
from batchscore.report.run_end import RunEnd
from batchscore.report.tally import Tally
from batchscore.report.tracking.client import TrackingProcess, find_target
from batchscore.report.tracking.figures import (
    LONGEST_TAG,
    counts_by_code,
    growth,
    params_of,
    rates,
    seconds_to_next,
    text_of,
    totals,
)
from batchscore.report.words import csv_cell
from batchscore.rows import DeploymentState, Event, FileFinished, Heartbeat, Listen, Notice
from batchscore.settings.fields import Settings
from batchscore.settings.secrets import mask_text
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.version import VERSION

#: Up to this many manifests are logged; for more files only the table of files.
MOST_MANIFESTS = 50

#: Greatest size of a file that is logged, and greatest number of lines in the table of files.
MOST_BYTES = 20 * 2**20
MOST_LINES = 20_000

#: Columns of the table of files.
COLUMNS = (
    *("file", "state", "rows", "ok", "errors", "empty", "known", "attempts"),
    *("tokens_billed", "tokens_kept"),
)

#: MLflow's status of a run by exit code; "FAILED" for all others.
STATUSES = {ExitCode.DONE: "FINISHED", ExitCode.CONTINUE_LATER: "KILLED"}


@contextmanager
def tracked(
    settings: Settings, environ: Mapping[str, str], listen: Listen, name: str
) -> Iterator[TrackingRun]:
    """Give a listener that passes events on, and logs the figures to MLflow if that is wanted.

    An MLflow run starts with the first event about work, so errors before that leave no run.
    """
    run = TrackingRun(settings, environ, listen, name)
    try:
        yield run
    except KeyboardInterrupt:
        run.leave()
        raise
    except BaseException as error:
        reason = str(error) if isinstance(error, BatchscoreError) else type(error).__name__
        run.end("FAILED", {"batchscore.reason": text_of(mask_text(reason), LONGEST_TAG)})
        raise


class TrackingRun:
    """A run that is logged to MLflow if that is wanted. O(1) per event; some figures every ten seconds.

    With a shared output it is one of several workers on one MLflow run, and logs what it adds.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str], listen: Listen, name: str) -> None:
        self.settings = settings
        self.environ = environ
        self.listen = listen
        self.name = name
        self.target = find_target(environ, wanted=settings.track)
        self.process: TrackingProcess | None = None
        # The Azure ML host may call on several threads.
        self.starting = Lock()
        self.tally = Tally()
        self.deployments: tuple[DeploymentState, ...] = ()
        self.started = self.last = self.next = 0.0
        self.before: dict[str, float] = {}
        self.failure_reported = False

    @property
    def listener(self) -> Listen:
        """The listener for a run, which passes events on; without tracking it is the original one."""
        return self.listen if self.target is None and self.process is None else self.pass_on

    def pass_on(self, event: Event) -> None:
        """Handle one event, after the original listener."""
        self.listen(event)
        self.follow(event)

    def follow(self, event: Event) -> None:
        """Add one event to the logged figures."""
        try:
            if self.process is None and self.target is not None and not isinstance(event, Notice):
                self.start()
            if self.process is None:
                return
            self.tally.add(event)
            if isinstance(event, Heartbeat):
                self.deployments = event.deployments
            if isinstance(event, (Heartbeat, FileFinished)):
                if time.monotonic() >= self.next:
                    self.process.send({"points": self.points()})
                self.read_answers(self.process)
        except Exception as error:
            self.target = None
            self.leave()
            self.report_failure(error)

    def start(self) -> None:
        """Start to track, once."""
        with self.starting:
            target, self.target = self.target, None
            if target is None:
                return
            process = TrackingProcess(self.environ)
            names = [each.name for each in fields(self.settings) if each.name != "track"]
            settings = {name: getattr(self.settings, name) for name in names}
            tags = {
                "batchscore.version": VERSION,
                "batchscore.task": self.settings.task,
                "batchscore.simulated": str(self.settings.simulate).lower(),
            }
            start = {"uri": target.uri, "run_id": target.run_id, "name": self.name}
            process.send({"start": start, "params": params_of(settings), "tags": tags})
            self.started = self.last = time.monotonic()
            self.next = self.started + seconds_to_next(0.0)
            self.process = process

    def points(self, more: Mapping[str, float] | None = None) -> list[tuple[str, float, int, int]]:
        """Return the current figures and `more`; the next ones are compared with them.

        Of each: its name, value, milliseconds since 1970, and seconds since the run started.
        """
        now = time.monotonic()
        age, since = now - self.started, now - self.last
        tally = self.tally
        cost = self.settings.cost(tally.prompt_tokens, tally.completion_tokens, tally.full_price)
        found = totals(tally, cost)
        if self.settings.shared_output:
            figures = growth(found, self.before)
        else:
            figures = found | {"rows_known": tally.known, "files_finished": tally.files_finished}
            figures |= rates(found, self.before, since, self.deployments)
            figures |= {} if more is None else {**more, **counts_by_code(tally)}
        self.before, self.last, self.next = found, now, now + seconds_to_next(age)
        return [(name, float(value), int(time.time() * 1000), int(age)) for name, value in figures.items()]

    def pause(self) -> None:
        """Give the process the current figures, which it logs if this process is killed."""
        if self.process is not None:
            unchanged = self.before, self.last, self.next
            self.process.send({"last": self.points()})
            self.before, self.last, self.next = unchanged

    def read_answers(self, process: TrackingProcess) -> None:
        """Pass on what the process reports."""
        while not process.answers.empty():
            answer = process.answers.get_nowait()
            if "problem" in answer:
                self.report_failure(answer["problem"])
            elif "run" in answer:
                self.listen(Notice(f"MLflow tracks this as run {answer['run']} at {answer['uri']}."))
            elif "done" in answer:
                return

    def report_failure(self, problem: str | BaseException) -> None:
        """Send a notice that tracking failed, only the first time."""
        if isinstance(problem, BaseException):
            problem = f"{type(problem).__name__}: {problem}".rstrip(": ")
        if not self.failure_reported:
            self.listen(Notice(f"MLflow tracking failed; the run continues without it: {problem}"))
        self.failure_reported = True

    def finished(
        self,
        outcome: RunEnd,
        exit_code: ExitCode,
        seconds: float,
        layout: Layout,
        record: Place,
        report: Place | None,
    ) -> None:
        """Log how the run ended, and its files; `report` is its page, if it was made.

        The run is over: neither a failure here nor Ctrl-C changes how it ended.
        """
        if self.process is None:
            return
        tags = {} if self.settings.shared_output else {"batchscore.exit_code": str(int(exit_code))}
        if outcome.simulated:  # also if the simulator was reached at a URL
            tags["batchscore.simulated"] = "true"
        if outcome.reason is not None:
            tags["batchscore.reason"] = text_of(mask_text(name_settings(outcome.reason)), LONGEST_TAG)
        figures = {"seconds": seconds, "rows_not_reached": outcome.not_reached, "rows": outcome.rows}
        end = STATUSES.get(exit_code, "FAILED"), tags, figures
        places = [(record, "batchscore/runs"), *([] if report is None else [(report, "batchscore")])]
        if len(outcome.files) <= MOST_MANIFESTS:
            below = f"batchscore/manifest/{layout.task}"
            places += [(layout.manifest(file.file), below) for file in outcome.files]
        prefix = "batchscore-tracking-"
        try:
            # To make the folder may fail, too.
            with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
                self.end(*end, self.local_files(outcome.files, places, Path(folder)))
        except (Exception, KeyboardInterrupt) as error:
            self.report_failure(error)
            self.end(*end)

    def local_files(
        self, files: Sequence[FileFinished], places: Sequence[tuple[Place, str]], folder: Path
    ) -> list[tuple[str, str]]:
        """Return the paths of the files to log, each with its MLflow folder; download those in a store.

        Files that are missing, too large or cannot be read are left out.
        """
        found = []
        with suppress(OSError):
            found.append((os.fspath(write_table(files, folder / f"files-{self.name}.csv")), "batchscore"))
        for place, below in places:
            with suppress(BatchscoreError, OSError):
                size = storage.size_of(place)
                if size is None or size > MOST_BYTES:
                    continue
                path = place.absolute() if isinstance(place, Path) else folder / place.name
                if not isinstance(place, Path):
                    path.write_bytes(b"".join(storage.chunks(place)))
                found.append((os.fspath(path), below))
        return found

    def end(
        self,
        status: str,
        tags: Mapping[str, str] | None = None,
        figures: Mapping[str, float] | None = None,
        files: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Log the last figures, the status and the files; takes a few seconds at most."""
        process, self.process = self.process, None
        if process is None:
            return
        end = {"status": status, "files": list(files)}
        process.send({"points": self.points(figures or {}), "tags": tags or {}, "end": end})
        self.read_answers(process)
        ended = process.end()
        # What the process said last is the true reason, and only the first failure is reported.
        self.read_answers(process)
        if not ended:
            self.report_failure("the tracking server does not respond in time")

    def leave(self) -> None:
        """Leave at once: the process marks the MLflow run as killed."""
        process, self.process = self.process, None
        if process is not None:
            process.leave()


def write_table(files: Sequence[FileFinished], path: Path) -> Path:
    """Write the results of the files as a table that MLflow can show."""
    with path.open("w", encoding="utf-8", newline="", errors="backslashreplace") as sink:
        # In quotes: some spreadsheets split cells at semicolons.
        writer = csv.writer(sink, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(COLUMNS)
        writer.writerows([csv_cell(getattr(file, name)) for name in COLUMNS] for file in files[:MOST_LINES])
    return path
