"""Which rows have the id of an earlier row?

Ids may repeat: file and number identify a row. A notice says so, since an index by id would lose rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from batchscore.output.manifest_check import is_count, is_list_of_objects, is_text

#: How many rows with a repeated id are named.
_MOST_NAMED = 3

#: Ids of at most this many rows are compared, so that memory stays bounded.
_MOST_IDS = 200_000


@dataclass(slots=True)
class RepeatedIds:
    """The rows whose id an earlier row has: their `count`, and where the `first` ones are."""

    count: int = 0
    first: list[tuple[str, int]] = field(default_factory=list)
    ids: set[int] = field(default_factory=set)

    def note(self, file: str, row: int, id: str) -> None:  # noqa: A002 - as records call it
        """Note the id of a row, as far as memory allows."""
        key = hash(id)
        if key not in self.ids:
            if len(self.ids) < _MOST_IDS:
                self.ids.add(key)
            return
        self.count += 1
        if len(self.first) < _MOST_NAMED:
            self.first.append((file, row))

    def to_json(self) -> dict[str, Any]:
        """Return the fields of a record."""
        places = [{"file": file, "row": row} for file, row in self.first]
        return {"repeated_ids": self.count, "first_repeated_ids": places}

    def __str__(self) -> str:
        have = "1 row has" if self.count == 1 else f"{self.count:,} rows have"
        places = "; ".join(f"{file}, row {row:,}" for file, row in self.first)
        more = ", …" if self.count > len(self.first) else ""
        return f"{have} the id of an earlier row: {places}{more} (the first row of a file is row 0)"


def recorded_ids(record: Mapping[str, Any]) -> RepeatedIds:
    """Return what the record of a run says of repeated ids; none if it is damaged."""
    count: Any = record.get("repeated_ids")
    places: Any = record.get("first_repeated_ids")
    if not is_count(count) or not is_list_of_objects(places):
        return RepeatedIds()
    first = [(each.get("file"), each.get("row")) for each in places]
    known = all(is_text(file) and is_count(row) for file, row in first) and len(first) <= count
    return RepeatedIds(count, first) if known else RepeatedIds()
