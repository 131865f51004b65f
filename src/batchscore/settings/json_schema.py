"""How does a JSON Schema become a setting: from a file, a mapping or a Pydantic model?

It knows JSON Schema's structure, not what batchscore does with one. `prompts/schema.py` uses it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from batchscore.errors import UsageError, setting_name

#: Keywords whose value is one schema, a list of schemas, or a mapping of names to schemas.
ONE = (
    *("items", "additionalItems", "additionalProperties", "contains", "not", "if", "then", "else"),
    *("propertyNames", "unevaluatedItems", "unevaluatedProperties"),
)
SEVERAL = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")


def schema_document(given: Any) -> Any:
    """Return the JSON Schema of a file, its text, a mapping or a Pydantic model; raises `UsageError`."""
    describe = getattr(given, "model_json_schema", None)
    if describe is not None:
        try:
            found = describe()
            # The root of a model that contains itself is a reference, which strict mode does not know.
            root = resolve(found.pop("$ref", "#"), found)
            return closed({**root, **found})
        except Exception as error:
            what = getattr(given, "__name__", type(given).__name__)
            raise UsageError(f"{setting_name('schema')}: {what} has no JSON Schema: {error}") from None
    if not isinstance(given, str):
        return given
    is_json = given.lstrip().startswith("{")
    where = setting_name("schema") if is_json else f"{setting_name('schema')} {given}"
    try:
        text = given.encode() if is_json else Path(given).read_bytes().removeprefix(b"\xef\xbb\xbf")
        document = orjson.loads(text)
    except OSError as error:
        raise UsageError(f"{where} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise UsageError(f"{where} is not JSON: {error}.") from None
    if not isinstance(document, dict):
        raise UsageError(f"{where} must hold a JSON object: a JSON Schema.")
    return document


def closed(schema: Any) -> Any:
    """Return a model's schema as strict mode requires it, as OpenAI's own client does.

    All fields are required and no others are allowed; defaults are left out, since a model writes each field.
    """
    if not isinstance(schema, dict):
        return [closed(each) for each in schema] if isinstance(schema, list) else schema
    changed = {
        name: {key: closed(each) for key, each in part.items()}
        if name in NAMED and isinstance(part, dict)
        else closed(part)
        for name, part in schema.items()
        if name != "default"
    }
    if isinstance(changed.get("properties"), dict):
        changed.setdefault("additionalProperties", False)
        changed["required"] = list(changed["properties"])
    return changed


def parts(schema: Any, pointer: str = "#") -> Iterator[tuple[str, Any]]:
    """Yield each schema within a schema with its JSON pointer, the outer ones first."""
    pending = [(pointer, schema)]
    while pending:
        where, part = pending.pop()
        yield where, part
        if not isinstance(part, Mapping):
            continue
        inner = [(f"{where}/{word}", part[word]) for word in ONE if isinstance(part.get(word), (dict, bool))]
        for word in SEVERAL:
            each = part.get(word)
            if isinstance(each, list):
                inner += [(f"{where}/{word}/{number}", one) for number, one in enumerate(each)]
        for word in NAMED:
            named = part.get(word)
            if isinstance(named, dict):
                inner += [(f"{where}/{word}/{escaped(name)}", one) for name, one in named.items()]
        pending += reversed(inner)


def escaped(name: str) -> str:
    """Return a name as a step of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def resolve(reference: Any, root: Any) -> Any:
    """Return the part of a schema that a reference such as `#/$defs/Step` names, `None` if there is none."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        return None
    found = root
    for step in reference[1:].split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list):
            found = found[int(name)] if name.isdecimal() and int(name) < len(found) else None
        else:
            found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, (dict, bool)) else None
