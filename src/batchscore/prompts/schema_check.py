"""Which JSON Schemas cannot be used, although they may be valid?

A reference that leads nowhere would fail for each answer that is paid for. It knows schemas, not answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchscore.errors import UsageError
from batchscore.settings.json_schema import anchors, parts, parts_below, resolve, short

REFERENCES = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})


def check_document(document: Any, where: str) -> None:
    """Raise `UsageError` for a reference that names nothing."""
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
