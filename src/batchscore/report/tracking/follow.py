"""When is a run tracked by MLflow, and what is told at its end?

It joins settings, and how a run ended, to the listener that `report.tracking` is. Whatever goes wrong here is
a notice; nothing of it is raised.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from threading import Lock

from batchscore.errors import BatchscoreError, ExitCode, name_settings
from batchscore.output.layout import Layout
from batchscore.report.run_end import RunEnd
from batchscore.report.tracking.client import Tracking, begin, where_to
from batchscore.report.tracking.figures import LONGEST_TAG, params_of, text_of
from batchscore.rows import Event, FileFinished, Listen, Notice
from batchscore.settings.fields import Settings
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.version import VERSION

#: Where each file has a manifest: so many are logged, beyond that the table of files alone.
MOST_MANIFESTS = 50

#: A file larger than this is not sent to a tracking server, nor are more lines of the table.
MOST_BYTES = 20 * 2**20
MOST_LINES = 20_000

#: The table's columns: what is known of a file at the end of a run.
COLUMNS = (
    *("file", "state", "rows", "ok", "errors", "empty", "known", "attempts"),
    *("tokens_billed", "tokens_kept"),
)

#: How MLflow calls the end of a run.
STATUSES = {ExitCode.DONE: "FINISHED", ExitCode.CONTINUE_LATER: "KILLED"}


@contextmanager
def tracked(settings: Settings, environ: Mapping[str, str], listen: Listen, name: str) -> Iterator[Followed]:
    """Give a listener that passes events on and lets MLflow have the figures, where that is wanted.

    An MLflow run begins with the first event that tells of work, so not for what is wrong before.
    """
    followed = Followed(settings, environ, listen, name)
    try:
        yield followed
    except KeyboardInterrupt:
        followed.leave()
        raise
    except BaseException as error:
        reason = str(error) if isinstance(error, BatchscoreError) else type(error).__name__
        followed.end("FAILED", {"batchscore.reason": text_of(reason, LONGEST_TAG)})
        raise


class Followed:
    """A run's events on their way to whoever listens and, where it is tracked, to MLflow."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], listen: Listen, name: str) -> None:
        self.settings = settings
        self.listen = listen
        self.name = name
        self.environ = environ
        self.tracking: Tracking | None = None
        # Calls of Azure ML's host may come on several threads.
        self.beginning = Lock()
        self.where = where_to(environ, wanted=settings.track)

    @property
    def heard(self) -> Listen:
        """The listener to give to a run; without tracking an event takes no way round."""
        return self.listen if self.where is None and self.tracking is None else self.pass_on

    def pass_on(self, event: Event) -> None:
        """Take one event."""
        self.listen(event)
        self.follow(event)

    def follow(self, event: Event) -> None:
        """Let MLflow have what an event adds to the figures."""
        try:
            if self.tracking is None and self.where is not None and not isinstance(event, Notice):
                self.begin()
            if self.tracking is not None:
                self.tracking(event)
        except Exception as error:
            self.give_up(error)

    def begin(self) -> None:
        """Start to track, once."""
        with self.beginning:
            where, self.where = self.where, None
            if where is not None:
                self.tracking = begin(
                    where,
                    self.environ,
                    self.listen,
                    name=self.name,
                    params=params_of(declared(self.settings)),
                    tags=tags_of(self.settings),
                    cost=self.settings.cost,
                    together=self.settings.shared_output,
                )

    def finished(
        self,
        outcome: RunEnd,
        exit_code: ExitCode,
        seconds: float,
        layout: Layout,
        record: Place,
        report: Place | None,
    ) -> None:
        """Tell how the run ended, and log its files; `report` is its page, where one was made.

        The run is over: neither what fails here nor a Ctrl-C changes how it ended.
        """
        if self.tracking is None:
            return
        tags = {} if self.settings.shared_output else {"batchscore.exit_code": str(int(exit_code))}
        if outcome.reason is not None:
            tags["batchscore.reason"] = text_of(name_settings(outcome.reason), LONGEST_TAG)
        figures = {"seconds": seconds, "rows_not_reached": outcome.not_reached, "rows": outcome.rows}
        ended = STATUSES.get(exit_code, "FAILED"), tags, figures
        try:
            with tempfile.TemporaryDirectory(
                prefix="batchscore-tracking-", ignore_cleanup_errors=True
            ) as folder:
                self.end(*ended, self.gathered(outcome, layout, record, report, Path(folder)))
        except (Exception, KeyboardInterrupt) as error:
            self.tell(error)
            self.end(*ended)

    def gathered(
        self, outcome: RunEnd, layout: Layout, record: Place, report: Place | None, folder: Path
    ) -> list[tuple[Path, str]]:
        """Return the files to log, those that are not on this machine fetched into the folder."""
        files: list[tuple[Path, str]] = []
        # A store that fails now, or a full disk, has said so already or does not matter.
        with suppress(BatchscoreError, OSError):
            files.append((table_of(outcome.files, folder, self.name), "batchscore"))
        for place, below in files_of(outcome, layout, record, report):
            with suppress(BatchscoreError, OSError):
                files.extend((path, below) for path in on_this_machine(place, folder))
        return files

    def end(
        self,
        status: str,
        tags: Mapping[str, str] | None = None,
        figures: Mapping[str, float] | None = None,
        files: Sequence[tuple[Path, str]] = (),
    ) -> None:
        """End what is tracked."""
        tracking, self.tracking = self.tracking, None
        if tracking is not None:
            tracking.end(status, tags=tags or {}, figures=figures or {}, files=files)

    def pause(self) -> None:
        """Let nothing be lost if this process is not heard of again."""
        if self.tracking is not None:
            self.tracking.pause()

    def give_up(self, error: BaseException) -> None:
        """Track no more, for a reason that nobody thought of."""
        self.where = None
        self.leave()
        self.tell(error)

    def tell(self, error: BaseException) -> None:
        """Tell that tracking has failed here."""
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        self.listen(Notice(f"MLflow tracking fails; the run itself goes on without it: {reason}"))

    def leave(self) -> None:
        """Leave at once; MLflow gets to know later."""
        tracking, self.tracking = self.tracking, None
        if tracking is not None:
            tracking.leave()


def declared(settings: Settings) -> dict[str, object]:
    """Return the settings by name."""
    return {each.name: getattr(settings, each.name) for each in fields(settings) if each.name != "track"}


def tags_of(settings: Settings) -> dict[str, str]:
    """Return what a run is marked with from its beginning."""
    return {
        "batchscore.version": VERSION,
        "batchscore.task": settings.task,
        "batchscore.simulated": str(settings.simulate).lower(),
    }


def files_of(outcome: RunEnd, layout: Layout, record: Place, report: Place | None) -> list[tuple[Place, str]]:
    """Return the files that a run leaves for MLflow, each with the folder it is put in there."""
    found: list[tuple[Place, str]] = [(record, "batchscore/runs")]
    if report is not None:
        found.append((report, "batchscore"))
    if len(outcome.files) <= MOST_MANIFESTS:
        below = f"batchscore/manifest/{layout.task}"
        found.extend((layout.manifest(file.file), below) for file in outcome.files)
    return found


def on_this_machine(place: Place, folder: Path) -> list[Path]:
    """Return the path of a file, fetched if it is in a store; none if it is missing or too large."""
    size = storage.size_of(place)
    if size is None or size > MOST_BYTES:
        return []
    if isinstance(place, Path):
        return [place.absolute()]
    path = folder / place.name
    path.write_bytes(b"".join(storage.chunks(place)))
    return [path]


def table_of(files: Sequence[FileFinished], folder: Path, name: str) -> Path:
    """Write the account of each file as a table that MLflow's pages can show."""
    path = folder / f"files-{name}.csv"
    with path.open("w", encoding="utf-8", newline="", errors="backslashreplace") as sink:
        writer = csv.writer(sink)
        writer.writerow(COLUMNS)
        writer.writerows([getattr(file, column) for column in COLUMNS] for file in files[:MOST_LINES])
    return path
