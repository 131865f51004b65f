"""Which lists and offsets do the cells of Azure ML's tasks mean?

People write lists as JSON or as words with spaces, and an answer as its text, or as SQuAD has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchscore.prompts.messages import as_value


def list_of(cell: Any) -> Any:
    """Return the list that a cell means: a list, its JSON, or its words."""
    value = as_value(cell)
    if isinstance(value, str):
        # As Python writes a list, which is no JSON.
        if value.startswith("['") and value.endswith("']"):
            return value[2:-2].split("', '")
        return value.split()
    return value


def answers_of(cell: Any, start: Any, context: str) -> dict[str, Any]:
    """Return the answers of a cell with their offsets in the context, in characters.

    An offset that is given is kept; another one is that of the first occurrence, -1 if there is none.
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
        return {"text": texts, "answer_start": given}
    found = [_start(text, at, context) for text, at in zip(texts, given, strict=True)]
    return {"text": texts, "answer_start": found}


def _start(text: Any, given: Any, context: str) -> int:
    if isinstance(given, str) and given.strip().isdigit():
        given = int(given)
    if isinstance(given, int) and not isinstance(given, bool) and given >= 0:
        return given
    return context.find(text) if isinstance(text, str) and text else -1
