"""Which columns do answers have in a table or a frame, what are they called, and what is in their cells?

The one rule for csv and xlsx, `score_frame` and `read_scores(flatten=True)`. It knows JSON Schemas and
values, not files, records or frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from batchscore.settings.json_schema import resolve

#: The column of answers, or of those that have more than the columns of their fields hold.
ANSWER = "answer"

#: The columns of how a row ended.
FINISH_REASON, ERROR_CODE, ERROR_MESSAGE = STATUS = ("finish_reason", "error_code", "error_message")


@dataclass(frozen=True, slots=True)
class AnswerColumns:
    """A column for each of the answers' fields, whose JSON Schemas these are, and one of whole answers.

    The latter is there if there are no fields, or with `open`, which says that an answer may have more than
    these fields, or be another value than an object. It then holds the whole of such an answer.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    open: bool = False

    @property
    def names(self) -> list[str]:
        """The names, before those that the input has get a number."""
        return [*self.fields, ANSWER] if self.open or not self.fields else [*self.fields]

    def cells(self, value: Any) -> list[Any]:
        """Return an answer's cells in the order of `names`; `None` is not an answer."""
        if not self.fields:
            return [value]
        named = isinstance(value, Mapping)
        cells = [value.get(name) if named else None for name in self.fields]
        if self.open:
            fits = value is None or (named and value.keys() <= self.fields.keys())
            cells.append(None if fits else value)
        return cells


def answer_columns(schema: Any, *, many: bool) -> AnswerColumns:
    """Return the columns of answers that match a JSON Schema; `many`: each row has a list of answers.

    Without a schema, or with one that names no fields, the answer is one column.
    """
    root = schema
    followed: set[str] = set()
    while isinstance(root, Mapping) and "$ref" in root and "properties" not in root:
        name = root["$ref"]
        if not isinstance(name, str) or name in followed:
            return AnswerColumns()
        followed.add(name)
        root = resolve(name, schema)
    properties = root.get("properties") if isinstance(root, Mapping) else None
    if many or not isinstance(properties, Mapping) or not properties:
        return AnswerColumns()
    is_closed = (
        root.get("type") in ("object", ["object"])
        and root.get("additionalProperties") is False
        and "patternProperties" not in root
        and "$ref" not in root
    )
    return AnswerColumns(properties, open=not is_closed)


def columns_seen(answers: Iterable[Any]) -> AnswerColumns:
    """Return the columns of answers whose schema is not known, or names no fields: all that they have."""
    fields: dict[str, Any] = {}
    is_open = False
    for answer in answers:
        if isinstance(answer, Mapping):
            fields.update(dict.fromkeys(answer))
        else:
            is_open = is_open or answer is not None
    return AnswerColumns(fields, open=is_open)


def free_names(names: Iterable[str], taken: Iterable[str]) -> list[str]:
    """Return the names, each different in any case: one that is taken, or there before, gets a number."""
    wanted = list(names)
    others = {name.lower() for name in wanted}
    used = {name.lower() for name in taken}
    found = []
    for name in wanted:
        chosen = name
        if name.lower() in used:
            numbered = (f"{name}_{number}" for number in count(1))
            chosen = next(
                each for each in numbered if each.lower() not in used and each.lower() not in others
            )
        used.add(chosen.lower())
        found.append(chosen)
    return found
