"""Which JSON Schemas cannot be used, although they may be valid?

A reference that leads nowhere would fail for each answer that is paid for. It knows schemas, not answers.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any

from batchscore.errors import UsageError
from batchscore.settings.json_schema import anchors, parts, parts_below, resolve, short

REFERENCES = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})

#: The types of JSON, and what other languages call them.
TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")
OTHER_NAMES: Mapping[str, str] = {
    "str": "string",
    "text": "string",
    "int": "integer",
    "float": "number",
    "double": "number",
    "bool": "boolean",
    "dict": "object",
    "map": "object",
    "list": "array",
    "none": "null",
}

#: The keywords that say anything of an answer, in any draft of JSON Schema.
CONSTRAINING = REFERENCES | {
    "type",
    "enum",
    "const",
    "properties",
    "patternProperties",
    "additionalProperties",
    "propertyNames",
    "required",
    "minProperties",
    "maxProperties",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedProperties",
    "items",
    "prefixItems",
    "additionalItems",
    "unevaluatedItems",
    "contains",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
}


def check_document(document: Any, where: str) -> None:
    """Raise `UsageError` for a reference that names nothing, or a document that allows any answer."""
    if not isinstance(document, Mapping) or not document:
        raise UsageError(f"{where} must be a JSON Schema: an object that is not empty.")
    if place := _wrapped_at(document):
        raise UsageError(f"{where} is a request's answer format: use only its {place}, which is the schema.")
    if not isinstance(document.get("$schema", ""), str):
        raise UsageError(f"{where}: at #/$schema, it must be the address of a draft of JSON Schema.")
    if not document.keys() & CONSTRAINING:
        raise UsageError(
            f"{where} allows any answer, since it has no keyword of JSON Schema. For answers with fields, "
            'write {"type": "object", "properties": {"FIELD": {"type": "string"}}, "required": ["FIELD"]}.'
        )
    found = list(parts(document))
    targets = anchors(document)
    for pointer, part in found:
        if not isinstance(part, Mapping):
            continue
        _check_type(part.get("type", []), f"{where}: at {short(pointer)}")
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


def _check_type(kinds: Any, where: str) -> None:
    """Raise `UsageError` for a word that is not a type of JSON."""
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if not isinstance(kind, str) or kind not in TYPES:
            shown = json.dumps(kind)[:40]
            near = difflib.get_close_matches(str(kind).lower(), [*TYPES, *OTHER_NAMES], n=1)
            meant = OTHER_NAMES.get(near[0], near[0]) if near else ""
            hint = f"; did you mean {json.dumps(meant)}?" if meant else f": the types are {', '.join(TYPES)}."
            raise UsageError(f"{where}, {shown} is not a type of JSON{hint}")


def _wrapped_at(document: Mapping[str, Any]) -> str:
    """Return where the schema is if a document is what requests hold instead; "" if it is not."""
    if document.keys() & (CONSTRAINING - {"type"}):
        return ""
    for path in (("response_format", "json_schema"), ("json_schema",), ("text", "format"), ()):
        found: Any = document
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        if isinstance(found, Mapping) and isinstance(found.get("schema"), Mapping):
            return ".".join([*path, "schema"])
    return ""
