"""Which columns a task's records have, and in what order.

It knows no format: JSON Lines, Parquet and Arrow each turn a `RecordSchema` into their own terms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batchscore.errors import UsageError

#: Names that records use themselves, beside the task's own; `--keep` may not name them.
OWN_NAMES = ("file", "row", "id", "error", "finish_reason", "truncated", "usage", "raw")

#: The tasks; the answer stands under the task's name.
TASKS = ("embeddings", "completions", "chat")


@dataclass(frozen=True, slots=True)
class RecordSchema:
    """The columns of score records: file, row, id?, kept..., the answer under the task's name, and the rest.

    `keep` names the kept columns in order; `None` keeps whatever columns a row has (JSON Lines only),
    but those whose name records use themselves. `many`: more than one answer a row, so the answer and
    its finish_reason are lists. `dimensions` is the length of every vector, once known.
    """

    task: str
    with_id: bool = False
    keep: tuple[str, ...] | None = ()
    many: bool = False
    with_truncated: bool = False
    with_usage: bool = False
    with_raw: bool = False
    dimensions: int | None = None

    def __post_init__(self) -> None:
        for position, name in enumerate(self.keep or ()):
            if name in self.taken:
                raise UsageError(
                    f"--keep cannot name {name!r}: records use that name themselves"
                    + (" (--id id carries it)" if name == "id" else "")
                )
            if name in (self.keep or ())[:position]:
                raise UsageError(f"--keep names {name!r} twice")

    @property
    def taken(self) -> tuple[str, ...]:
        """The names that no kept column may have."""
        return (*OWN_NAMES, self.task)

    @property
    def is_vector(self) -> bool:
        """Whether the answer is a vector, and so has no finish_reason."""
        return self.task == "embeddings"

    def kept(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the kept columns of one row or one record, in order; null where it has no such column."""
        if self.keep is not None:
            return {name: values.get(name) for name in self.keep}
        taken = self.taken
        return {name: value for name, value in values.items() if name not in taken}
