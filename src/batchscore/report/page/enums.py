"""How often does each value of an answer's enum fields occur?

It reads a JSON Schema as far as it leads to enums: properties, items and references. The values are those of
the schema; nothing of an answer is shown.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from batchscore.settings.json_schema import resolve

MOST_FIELDS = 24
MOST_VALUES = 30
DEEPEST = 8
#: Parts of a schema that are looked at: those that many references lead to are met again and again.
MOST_PARTS = 5000


@dataclass(frozen=True, slots=True)
class EnumCounts:
    """The counts of an enum's values, also of those that do not occur; a missing field counts as null."""

    field: str
    counts: Mapping[str, int]


def enum_fields(schema: Any) -> dict[tuple[str, ...], list[Any]]:
    """Return the enums of a schema by the path to their field; a step `[]` means each item of an array."""
    found: dict[tuple[str, ...], list[Any]] = {}
    pending: deque[tuple[tuple[str, ...], Any]] = deque([((), schema)])
    met = 0
    while pending and len(found) < MOST_FIELDS and met < MOST_PARTS:
        path, part = pending.popleft()
        met += 1
        if not isinstance(part, Mapping) or len(path) > DEEPEST:
            continue
        if "$ref" in part:
            pending.append(((*path, ""), resolve(part["$ref"], schema)))
        values = [part["const"]] if "const" in part else part.get("enum")
        if isinstance(values, list):
            found.setdefault(tuple(step for step in path if step), values)
        for word in ("anyOf", "oneOf", "allOf"):
            choices = part.get(word)
            pending += [((*path, ""), each) for each in (choices if isinstance(choices, list) else ())]
        properties = part.get("properties")
        if isinstance(properties, Mapping):
            pending += [((*path, str(name)), each) for name, each in properties.items()]
        if "items" in part:
            pending.append(((*path, "[]"), part["items"]))
    return found


def enum_counts(answers: Sequence[Any], schema: Any) -> list[EnumCounts]:
    """Return the counts of each enum field."""
    shown = []
    for path, values in enum_fields(schema).items():
        known = {label(value): 0 for value in values}
        seen = Counter(label(value) for answer in answers for value in values_at(answer, path))
        counts = {name: seen.get(name, 0) for name in list(known)[:MOST_VALUES]}
        if "null" in seen:
            counts["null"] = seen["null"]
        field = "".join(step if step == "[]" else f".{step}" for step in path).removeprefix(".")
        shown.append(EnumCounts(field or "the answer", counts))
    return shown


def label(value: Any) -> str:
    """Return a value of an enum, or an answer, as text: itself, or JSON."""
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()


def values_at(value: Any, path: Sequence[str]) -> Iterator[Any]:
    """Yield the values at a path within an answer; null for a field that it does not have."""
    if not path:
        yield value
    elif path[0] == "[]":
        for each in value if isinstance(value, list) else ():
            yield from values_at(each, path[1:])
    elif isinstance(value, Mapping):
        yield from values_at(value.get(path[0]), path[1:])
