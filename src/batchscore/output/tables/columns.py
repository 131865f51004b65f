"""Which columns does a table of an input and its answers have, and what is in the answer's cells?

It knows the settings that made the records by their fingerprint, and no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from batchscore.rows import RowError, Settled

#: The column of an answer that has no fields, and those behind it.
ANSWER = "answer"
STATUS = ("finish_reason", "error_code", "error_message")


@dataclass(frozen=True, slots=True)
class TableColumns:
    """The columns of the input in its order, those of the answer, its status, and what else was recorded.

    `fields` are those of an answer that is an object; empty: the answer is one column. `more` are fields of
    records that only some settings ask for.
    """

    inputs: tuple[str, ...]
    fields: tuple[str, ...] = ()
    more: tuple[str, ...] = ()

    @property
    def header(self) -> list[str]:
        """The names, each different: a later one that an earlier one has, in any case, gets a number."""
        names: dict[str, str] = {}
        for name in (*self.inputs, *(self.fields or (ANSWER,)), *STATUS, *self.more):
            free = (other for number in count(1) if (other := f"{name}_{number}").lower() not in names)
            chosen = name if name.lower() not in names else next(free)
            names[chosen.lower()] = chosen
        return [*names.values()]

    def cells(self, values: Mapping[str, Any], settled: Settled | None) -> list[Any]:
        """Return a row's cells: those of the input, and those of its result; without one they are empty."""
        cells = [values.get(name) for name in self.inputs]
        blank = [None] * (len(self.fields) or 1)
        if settled is None:
            return [*cells, *blank, None, None, None, *([None] * len(self.more))]
        result = settled.result
        status: list[Any]
        if isinstance(result, RowError):
            answer, status = blank, [None, result.code.value, result.message]
        else:
            value = result.value
            answer, status = [value], [result.finish_reason, None, None]
            if self.fields:
                answer = [value.get(name) for name in self.fields] if isinstance(value, Mapping) else blank
        more = [
            settled.truncated if name == "truncated" else getattr(result, name, None) for name in self.more
        ]
        return [*cells, *answer, *status, *more]


def columns_of(inputs: Iterable[str], fingerprint: Mapping[str, Any]) -> TableColumns:
    """Return the columns of a table whose records were made with these settings."""
    schema, many = fingerprint.get("schema"), fingerprint.get("params", {}).get("n", 1) != 1
    properties = None if many or not isinstance(schema, Mapping) else schema.get("properties")
    asked = {
        "truncated": fingerprint.get("on_long_input") == "truncate",
        "usage": fingerprint.get("usage"),
        "raw": fingerprint.get("raw"),
    }
    return TableColumns(
        tuple(dict.fromkeys(inputs)),
        tuple(properties) if isinstance(properties, Mapping) else (),
        tuple(name for name, wanted in asked.items() if wanted),
    )
