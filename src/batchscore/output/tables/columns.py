"""Which columns does a table of an input and its answers have, and what is in the cells of a row?

It knows the settings that made the records by their fingerprint, and no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from batchscore.output.answer_columns import STATUS, AnswerColumns, answer_columns, free_names
from batchscore.output.fingerprint import recorded_schema
from batchscore.rows import RowError, Settled


@dataclass(frozen=True, slots=True)
class TableColumns:
    """The columns of the input in its order, those of the answer, its status, and what else was recorded.

    `more` are fields of records that only some settings ask for.
    """

    inputs: tuple[str, ...]
    answer: AnswerColumns
    more: tuple[str, ...] = ()

    @property
    def header(self) -> list[str]:
        """The names, each different in any case: the input's stay, then those of the status."""
        inputs = free_names(self.inputs, ())
        status = free_names((*STATUS, *self.more), inputs)
        return [*inputs, *free_names(self.answer.names, (*inputs, *status)), *status]

    def cells(self, values: Mapping[str, Any], settled: Settled | None) -> list[Any]:
        """Return a row's cells: those of the input, and those of its result; without one they are empty."""
        cells = [values.get(name) for name in self.inputs]
        if settled is None:
            return [*cells, *self.answer.cells(None), None, None, None, *([None] * len(self.more))]
        result = settled.result
        if isinstance(result, RowError):
            own = [*self.answer.cells(None), None, result.code.value, result.message]
        else:
            own = [*self.answer.cells(result.value), result.finish_reason, None, None]
        more = [
            settled.truncated if name == "truncated" else getattr(result, name, None) for name in self.more
        ]
        return [*cells, *own, *more]


def columns_of(inputs: Iterable[str], fingerprint: Mapping[str, Any]) -> TableColumns:
    """Return the columns of a table whose records were made with these settings."""
    many = fingerprint.get("params", {}).get("n", 1) != 1
    asked = {
        "truncated": fingerprint.get("on_long_input") == "truncate",
        "usage": fingerprint.get("usage"),
        "raw": fingerprint.get("raw"),
    }
    return TableColumns(
        tuple(dict.fromkeys(inputs)),
        answer_columns(recorded_schema(fingerprint), many=many),
        tuple(name for name, wanted in asked.items() if wanted),
    )
