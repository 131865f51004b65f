"""What does a page tell of? The nouns that go into it, as they were found in an output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from batchscore.report.page.answers import Measured
from batchscore.report.page.runs import Run
from batchscore.report.page.vectors import Map


@dataclass(frozen=True, slots=True)
class PartAccount:
    """One part: bytes and rows of its score file and its error file, 0 where there is none."""

    name: str
    bytes: int
    ok: int
    error_bytes: int
    errors: int


@dataclass(frozen=True, slots=True)
class FileAccount:
    """One input file: `rows = ok + errors + not_reached`; `empty` of its errors had nothing to ask."""

    file: str
    state: str
    problem: str
    rows: int
    ok: int
    errors: int
    empty: int
    attempts: int = 0
    tokens_billed: int = 0
    tokens_kept: int = 0
    parts: tuple[PartAccount, ...] = ()

    @property
    def failed(self) -> int:
        """Rows with an error record, but those that had nothing to ask."""
        return self.errors - self.empty

    @property
    def not_reached(self) -> int:
        """Rows that were read and have no record."""
        return self.rows - self.ok - self.errors


@dataclass(frozen=True, slots=True)
class FailedRow:
    """One error record; `message` is ours and quotes no input."""

    file: str
    row: int
    id: str | None
    message: str
    status: int | None
    attempts: int


@dataclass(slots=True)
class Failures:
    """Error records by code: how many were read of how many, and some of each."""

    read: int = 0
    total: int = 0
    by_code: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[FailedRow]] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether every record was read."""
        return self.read >= self.total


@dataclass(frozen=True, slots=True)
class TaskMaterial:
    """All that a page tells of one task. `runs` are in order of their beginning.

    `unread` files were left out for time; then files and rows are not all. `sample_left_out` says why no
    scores were looked at. `damage`: a manifest cannot be used, or a part is not as its manifest says.
    """

    task: str
    runs: Sequence[Run]
    files: Sequence[FileAccount]
    unread: int = 0
    failures: Failures = field(default_factory=Failures)
    map: Map | None = None
    answers: Measured | None = None
    sample_left_out: str = ""
    damage: bool = False


@dataclass(frozen=True, slots=True)
class Material:
    """An output: its place as a person named it, its tasks, and what of it could not be used."""

    output: str
    made: float
    tasks: Sequence[TaskMaterial]
    problems: Sequence[str]
