"""Which columns a task's records have, and in what order.

It knows no format: JSON Lines, Parquet and Arrow each turn a `RecordSchema` into their own terms.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Names that records use themselves, beside the task's own; `--keep` may not name them.
OWN_NAMES = ("file", "row", "id", "error", "finish_reason", "usage", "raw")


@dataclass(frozen=True, slots=True)
class RecordSchema:
    """The columns of score records: file, row, id?, kept..., the answer under the task's name, and the rest.

    `keep` names the kept columns in order; `None` keeps whatever columns a row has (JSON Lines only).
    `many`: more than one answer a row, so the answer and its finish_reason are lists. `dimensions` is
    the length of every vector, once known.
    """

    task: str
    with_id: bool = False
    keep: tuple[str, ...] | None = ()
    many: bool = False
    with_usage: bool = False
    with_raw: bool = False
    dimensions: int | None = None
