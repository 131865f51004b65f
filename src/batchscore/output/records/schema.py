"""Which columns do a task's records have, and in what order?

It knows no format: JSON Lines, Parquet and Arrow each turn a `RecordSchema` into their own terms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from batchscore.errors import UsageError, setting_name
from batchscore.task import TASKS

#: The names of a record's own fields, besides the task's name; kept columns may not have them.
OWN_NAMES = ("file", "row", "id", "error", "finish_reason", "truncated", "usage", "raw")


@dataclass(frozen=True, slots=True)
class RecordSchema:
    """The columns of score records: file, row, id?, kept..., the answer under the task's name, and the rest.

    `keep` names the kept columns in order; `None` keeps all columns of a row except those with a name of
    the record's own (JSON Lines only). `many`: several answers per row, so the answer and its finish_reason
    are lists. `dimensions` is the length of every vector, if known. `is_vector`: the answer is a vector and
    has no finish_reason; a field, since it is read for every row.
    """

    task: str
    with_id: bool = False
    keep: tuple[str, ...] | None = ()
    many: bool = False
    with_truncated: bool = False
    with_usage: bool = False
    with_raw: bool = False
    dimensions: int | None = None
    is_vector: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_vector", TASKS[self.task].answer == "vector")
        keep = self.keep or ()
        for position, name in enumerate(keep):
            if name in self.own_names:
                instead = f"; use {setting_name('id')} for it" if name == "id" else ""
                raise UsageError(
                    f"{setting_name('keep')} cannot name {name!r}, because records have a field of that name"
                    f"{instead}"
                )
            if name in keep[:position]:
                raise UsageError(f"{setting_name('keep')} names {name!r} twice")

    @property
    def own_names(self) -> tuple[str, ...]:
        """The names that no kept column may have."""
        return (*OWN_NAMES, self.task)

    def kept(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the kept columns of one row or one record, in order; null for a missing column."""
        if self.keep is not None:
            return {name: values.get(name) for name in self.keep}
        own_names = self.own_names
        return {name: value for name, value in values.items() if name not in own_names}
