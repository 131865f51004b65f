"""Which JSON Schemas cannot be used, although they may be valid?

A reference that leads nowhere would fail for each answer that is paid for, and some choices would take
forever to validate. It knows schemas, not answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from batchscore.errors import UsageError
from batchscore.settings.json_schema import SAME_VALUE, anchors, children, parts, parts_below, resolve, short

REFERENCES = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})

#: Keywords whose schemas judge a value each.
DISTINCT = frozenset({"properties", "prefixItems", "items"})
#: Parts that may judge one value; ten million take about a second.
MOST_WAYS = 10_000_000


def check_document(document: Any, where: str) -> None:
    """Raise `UsageError` for a reference that names nothing, and for choices that take forever."""
    if not isinstance(document, Mapping) or not document:
        raise UsageError(f"{where} must be a JSON Schema: an object that is not empty.")
    if not isinstance(document.get("$schema", ""), str):
        raise UsageError(f"{where}: at #/$schema, it must be the address of a draft of JSON Schema.")
    found = list(parts(document))
    targets = anchors(document)
    for pointer, part in found:
        if not isinstance(part, Mapping):
            continue
        for word in REFERENCES & part.keys():
            reference = part[word]
            target = targets.get(reference) if isinstance(reference, str) else None
            if target is None and resolve(reference, document) is None:
                raise UsageError(
                    f"{where}: at {short(pointer)}, the reference {reference!r} names no part of the schema. "
                    'Put what it means under "$defs", and refer to "#/$defs/NAME".'
                )
        identifier = part.get("$id")
        if part is not document and isinstance(identifier, str) and not identifier.startswith("#"):
            inner = [each for _, each in parts_below(pointer, part) if isinstance(each, Mapping)]
            if any(REFERENCES & each.keys() for each in inner):
                raise UsageError(
                    f"{where}: at {short(pointer)}, references within a part with an $id lead elsewhere; "
                    "leave $id out."
                )
    if ways(document, lambda name: targets.get(name, resolve(name, document)), {}) > MOST_WAYS:
        raise UsageError(
            f"{where}: choices within choices lead to the same parts in more than {MOST_WAYS:,} ways, so "
            "that the validation of an answer might not end. Leave out alternatives that mean the same."
        )


def ways(part: Any, target: Callable[[Any], Any], known: dict[int, int]) -> int:
    """Return how many parts may judge the same value; `known` holds those of the parts that were counted.

    A part that contains itself counts once: the validator remembers what it found. O(parts).
    """
    if not isinstance(part, Mapping):
        return 1
    if id(part) not in known:
        known[id(part)] = 1  # while its own parts are counted
        same = [target(part[word]) for word in REFERENCES if isinstance(part.get(word), str)]
        others: dict[str, int] = {}
        for word, _, inner in children(part):
            if word in SAME_VALUE:
                same.append(inner)
            elif word not in ("$defs", "definitions"):
                count = ways(inner, target, known)
                before = others.get(word, 0)
                others[word] = max(before, count) if word in DISTINCT else before + count
        known[id(part)] = 1 + sum(ways(each, target, known) for each in same) + sum(others.values())
    return known[id(part)]
