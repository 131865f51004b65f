"""How did a run end, and what is its exit code?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from batchscore.errors import BatchscoreError, ExitCode, TooManyErrors, setting_name
from batchscore.output.repeated_ids import RepeatedIds
from batchscore.rows import FileFinished


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended: the result of each file, and what stopped it, if anything did.

    `limited`: the setting `limit` left rows out. `stopped`: a signal or `stopped_by` stopped the run.
    `simulated`: the simulator has answered, also one at a URL.
    `errors_by_code` counts the error records, also those of earlier runs, of which maybe not all were read.
    """

    files: tuple[FileFinished, ...]
    limited: bool = False
    stopped: bool = False
    stopped_by: BatchscoreError | None = None
    repeated: RepeatedIds = field(default_factory=RepeatedIds)
    simulated: bool = False
    errors_by_code: Mapping[str, int] = field(default_factory=dict)

    @property
    def interrupted(self) -> bool:
        """Whether a signal stopped the run before it was complete."""
        return self.stopped and self.stopped_by is None and self.unfinished

    @property
    def unfinished(self) -> bool:
        """Whether files have rows without a record."""
        return self.not_reached > 0 or any(file.state in {"partial", "not_started"} for file in self.files)

    @property
    def reason(self) -> str | None:
        """Why the run ended early, in words; `None` if it did not."""
        if self.stopped_by is not None:
            return self.stopped_by.text
        if self.interrupted:
            return "interrupted by a signal"
        return f"{setting_name('limit')} was reached" if self.limited and self.unfinished else None

    @property
    def ok(self) -> int:
        """Rows with a score, of this run and earlier ones."""
        return sum(file.ok for file in self.files)

    @property
    def errors(self) -> int:
        """Rows with an error record."""
        return sum(file.errors for file in self.files)

    @property
    def failed(self) -> int:
        """Rows with an error record, except empty rows."""
        return self.errors - sum(file.empty for file in self.files)

    @property
    def rows(self) -> int:
        """Rows read, by this run and earlier ones."""
        return sum(file.rows for file in self.files)

    @property
    def in_journal(self) -> int:
        """Scores without a record that the next run takes from a journal."""
        return sum(file.in_journal for file in self.files)

    @property
    def not_saved(self) -> int:
        """Scores that could not be saved anywhere."""
        return sum(file.not_saved for file in self.files)

    @property
    def not_reached(self) -> int:
        """Rows that were read and have no record."""
        return self.rows - self.ok - self.errors

    @property
    def unreadable(self) -> tuple[FileFinished, ...]:
        """Files that cannot be read, or not completely."""
        return tuple(file for file in self.files if file.state == "unreadable")

    def exit_code(self, error_threshold: float) -> ExitCode:
        """Return the exit code; a threshold below 1 is a share of the rows, otherwise a count."""
        allowed = error_threshold * self.rows if error_threshold < 1 else error_threshold
        too_many = self.failed > allowed
        if isinstance(self.stopped_by, TooManyErrors) and too_many:
            return ExitCode.ROWS_FAILED
        if self.stopped_by is not None:
            return self.stopped_by.exit_code
        if self.interrupted:
            return ExitCode.CONTINUE_LATER
        if self.unreadable:
            return ExitCode.ACTION_NEEDED
        return ExitCode.ROWS_FAILED if too_many else ExitCode.DONE
