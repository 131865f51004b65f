"""What does a page show? The facts that were found in an output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from batchscore.report.page.answers import AnswerStats
from batchscore.report.page.runs import RecordedRun
from batchscore.report.page.vectors import VectorMap
from batchscore.rows import FileTotals


@dataclass(slots=True)
class StoredPart:
    """One file of records: its name within the output, its bytes and rows."""

    name: str
    bytes: int
    rows: int


@dataclass(slots=True)
class FileAccount(FileTotals):
    """The results of one input file, with its parts."""

    scores: tuple[StoredPart, ...] = ()
    error_parts: tuple[StoredPart, ...] = ()


@dataclass(frozen=True, slots=True)
class FailedRow:
    """One error record; its `message` quotes no input."""

    file: str
    row: int
    id: str | None
    message: str
    status: int | None
    attempts: int


@dataclass(slots=True)
class Failures:
    """Error records by code: how many of how many were read, and examples of each."""

    read: int = 0
    total: int = 0
    by_code: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[FailedRow]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskData:
    """Everything that a page shows of one task; `runs` are in order of their start.

    `unread` files were left out for lack of time. `no_sample` says why no scores were read. `damage`: a
    manifest cannot be used, or a part differs from its manifest. `submitted` says which rows are at a
    service's Batch API, `unconfirmed` which batches may be there, too. `waiting` rows are in journals.
    `running`: a run is working on it now; `None` if that is not known.
    """

    task: str
    runs: Sequence[RecordedRun]
    files: Sequence[FileAccount]
    unread: int = 0
    failures: Failures = field(default_factory=Failures)
    map: VectorMap | None = None
    answers: AnswerStats | None = None
    no_sample: str = ""
    damage: bool = False
    submitted: str = ""
    unconfirmed: str = ""
    waiting: int = 0
    running: bool | None = None


@dataclass(frozen=True, slots=True)
class PageData:
    """An output: its name as the user gave it, its tasks, and what of it could not be used."""

    output: str
    made: float
    tasks: Sequence[TaskData]
    problems: Sequence[str]
