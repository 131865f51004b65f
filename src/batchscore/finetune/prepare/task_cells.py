"""Which lists and offsets do the cells of Azure ML's tasks mean?

People write lists as JSON or as words with spaces, and an answer as its text, or as SQuAD has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from batchscore.prompts.messages import as_value


def list_of(cell: Any) -> Any:
    """Return the list that a cell means: a list, its JSON, or its words."""
    value = as_value(cell)
    if isinstance(value, str):
        # As Python writes a list, which is not JSON.
        if value.startswith("['") and value.endswith("']"):
            return value[2:-2].split("', '")
        return value.split()
    return value


def whole_number(value: Any) -> Any:
    """Return a value, of which libraries may have made a float, as the whole number that it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def answers_of(
    cell: Any, start: Any, context: str, columns: Sequence[tuple[int, str]]
) -> tuple[dict[str, Any], bool]:
    """Return the answers of a cell with their offsets in the context, and whether each has only one place.

    Offsets are in characters. One that is given is that of a column of the context; `columns` are their
    places and texts. Another one is that of the first occurrence, if possible as whole words; -1 for none.
    """
    value = as_value(cell)
    starts: Any = as_value(start)
    if isinstance(value, Mapping):
        starts = value.get("answer_start", starts)
        value = value.get("text")
    if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        # SQuAD's own form: a list of objects.
        starts = [each.get("answer_start") for each in value]
        value = [each.get("text") for each in value]
    texts = value if isinstance(value, list) else [] if value is None else [str(value)]
    given = starts if isinstance(starts, list) else [starts] * len(texts)
    if len(given) != len(texts):
        return {"text": texts, "answer_start": given}, True
    found = [_places(text, at, context, columns) for text, at in zip(texts, given, strict=True)]
    starts = [places[0] if places else -1 for places in found]
    return {"text": texts, "answer_start": starts}, all(len(places) < 2 for places in found)


def _places(text: Any, given: Any, context: str, columns: Sequence[tuple[int, str]]) -> list[int]:
    """Return the places that an answer may have in the context: none, one, or the first two."""
    if not isinstance(text, str) or not text:
        return []
    if isinstance(given, str) and re.fullmatch(r"\s*\d{1,18}\s*", given):
        given = int(given)
    given = whole_number(given)
    if isinstance(given, int) and not isinstance(given, bool) and given >= 0:
        meant = [at + given for at, column in columns if column.startswith(text, given)]
        return meant if len(meant) == 1 else []
    return list(islice(_words(text, context), 2)) or list(islice(_occurrences(text, context), 2))


def _occurrences(text: str, context: str) -> Iterator[int]:
    at = context.find(text)
    while at >= 0:
        yield at
        at = context.find(text, at + 1)


def _words(text: str, context: str) -> Iterator[int]:
    """Yield where a text occurs, unless within a longer word or number."""
    for at in _occurrences(text, context):
        before, after = context[at - 1 : at], context[at + len(text) : at + len(text) + 1]
        goes_on = (before.isalnum() and text[0].isalnum()) or (after.isalnum() and text[-1].isalnum())
        if not goes_on:
            yield at
