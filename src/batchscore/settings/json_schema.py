"""How does a JSON Schema become a setting: from a file, a mapping or a Pydantic model?

It knows JSON Schema's structure, not what batchscore does with one. `prompts/schema.py` uses it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any
from urllib.parse import unquote

import orjson

from batchscore.errors import UsageError, setting_name
from batchscore.settings.read_file import read_file

#: Keywords whose value is one schema, a list of schemas, or a mapping of names to schemas.
ONE = (
    *("items", "additionalItems", "additionalProperties", "contains", "not", "if", "then", "else"),
    *("propertyNames", "unevaluatedItems", "unevaluatedProperties"),
)
SEVERAL = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")
#: Keywords whose schemas judge the same value as the schema that has them.
SAME_VALUE = frozenset(
    {"not", "if", "then", "else", "anyOf", "oneOf", "allOf", "dependentSchemas", "dependencies"}
)


#: Maximum nesting of a schema as JSON: more than 30 objects within each other.
MOST_LEVELS = 100
#: Characters of a pointer in a message.
LONGEST_POINTER = 120


class SchemaFile(dict[str, Any]):
    """A schema of a file, whose name messages about it give."""

    __slots__ = ("where",)

    def __init__(self, document: Any = (), where: str = "") -> None:
        super().__init__(document)
        self.where = where


def source_of(document: Any) -> str:
    """Return the name of a schema for messages: the setting, and its file if it has one."""
    return (isinstance(document, SchemaFile) and document.where) or setting_name("schema")


def schema_document(given: Any) -> Any:
    """Return the JSON Schema of a file, its text, a mapping or a Pydantic model; raises `UsageError`.

    The result is a copy that holds nothing but JSON. What is neither of these is returned as it is.
    """
    describe = getattr(given, "model_json_schema", None)
    if describe is not None:
        try:
            found = describe()
            # The root of a model that contains itself is a reference, which strict mode does not know.
            root = resolve(found.pop("$ref", "#"), found)
            given = closed({**root, **found})
        except Exception as error:
            what = getattr(given, "__name__", type(given).__name__)
            raise UsageError(f"{setting_name('schema')}: {what} has no JSON Schema: {error}") from None
    if not isinstance(given, str):
        if isinstance(given, SchemaFile) or not isinstance(given, Mapping):
            return given
        return json_copy(given, setting_name("schema"))
    is_json = given.lstrip().startswith("{")
    where = setting_name("schema") if is_json else f"{setting_name('schema')} {given}"
    try:
        text = given.encode() if is_json else read_file(given).removeprefix(b"\xef\xbb\xbf")
        document = orjson.loads(text)
    except OSError as error:
        raise UsageError(f"{where} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise UsageError(f"{where} is not JSON: {error}.") from None
    if not isinstance(document, dict) or not document:
        raise UsageError(f"{where} must hold a JSON Schema: an object that is not empty.")
    return SchemaFile(json_copy(document, where), where)


def json_copy(value: Any, where: str, pointer: str = "#", level: int = 0) -> Any:
    """Return a copy of a value that is JSON; raises `UsageError`, which names the part that is not."""
    problem = ""
    if isinstance(value, Mapping) and level < MOST_LEVELS:
        copy = {}
        for name, each in value.items():
            if not isinstance(name, str):
                problem = f"the key {name!r} is not text"
            elif not is_unicode(name):
                problem = "a key holds half of a surrogate pair"
            else:
                copy[name] = json_copy(each, where, f"{pointer}/{escaped(name)}", level + 1)
        if not problem:
            return copy
    elif isinstance(value, (list, tuple)) and level < MOST_LEVELS:
        return [json_copy(each, where, f"{pointer}/{number}", level + 1) for number, each in enumerate(value)]
    elif isinstance(value, (Mapping, list, tuple)):
        problem = f"it is nested more than {MOST_LEVELS} levels deep"
    elif isinstance(value, str):
        if is_unicode(value):
            return value
        problem = "a text holds half of a surrogate pair"
    elif value is None or isinstance(value, bool):
        return value
    elif isinstance(value, int):
        if -(2**63) <= value < 2**64:
            return value
        problem = "the integer does not fit into 64 bits"
    elif isinstance(value, float):
        if isfinite(value):
            return value
        problem = f"{value} is not a number of JSON"
    else:
        problem = f"a value of the type {type(value).__name__} is not JSON"
    raise UsageError(f"{where}: at {short(pointer)}, {problem}.")


def is_unicode(text: str) -> bool:
    """Whether a text holds no lone surrogate, which UTF-8 cannot encode."""
    return text.isascii() or text.encode("utf-8", "replace").decode() == text


def short(pointer: str) -> str:
    """Return a pointer for a message."""
    return pointer if len(pointer) <= LONGEST_POINTER else f"{pointer[:LONGEST_POINTER]}…"


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


def roots(schema: Any) -> list[tuple[str, Any]]:
    """Return a schema, and each schema in it that only a reference leads to, with JSON pointers."""
    found = [("#", schema)]
    known: set[int] = set()
    for root in found:  # it grows
        for _, part in parts_below(*root):
            known.add(id(part))
        for _, part in parts_below(*root):
            target = resolve(part.get("$ref"), schema) if isinstance(part, Mapping) else None
            if isinstance(target, Mapping) and id(target) not in known:
                known.add(id(target))
                found.append((part["$ref"], target))
    return found


def parts(schema: Any) -> Iterator[tuple[str, Any]]:
    """Yield each schema within a schema with its JSON pointer, the outer ones first."""
    for pointer, root in roots(schema):
        yield from parts_below(pointer, root)


def parts_below(pointer: str, schema: Any) -> Iterator[tuple[str, Any]]:
    """Yield each schema within a schema, whose own JSON pointer is given."""
    pending = [(pointer, schema)]
    while pending:
        where, part = pending.pop()
        yield where, part
        if not isinstance(part, Mapping):
            continue
        inner = [(f"{where}/{word}{step}", one) for word, step, one in children(part)]
        pending += reversed(inner)


def children(part: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield each schema directly within a schema: its keyword, the rest of its JSON pointer, and itself."""
    for word in ONE:
        if isinstance(part.get(word), (dict, bool)):
            yield word, "", part[word]
    for word in SEVERAL:
        each = part.get(word)
        if isinstance(each, list):
            yield from ((word, f"/{number}", one) for number, one in enumerate(each))
    for word in NAMED:
        named = part.get(word)
        if isinstance(named, dict):
            yield from (
                (word, f"/{escaped(name)}", one)
                for name, one in named.items()
                if isinstance(one, (dict, bool))
            )


def anchors(schema: Any) -> dict[str, Any]:
    """Return the schemas within a schema that have an anchor, by the reference that names it."""
    return {
        f"#{part[word]}": part
        for _, part in parts(schema)
        for word in ("$anchor", "$dynamicAnchor")
        if isinstance(part, Mapping) and word in part
    }


def escaped(name: str) -> str:
    """Return a name as a step of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def resolve(reference: Any, root: Any) -> Any:
    """Return the part of a schema that a reference such as `#/$defs/Step` names, `None` if there is none."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        return None
    found = root
    for step in reference[1:].split("/")[1:]:
        name = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(found, list):
            found = found[int(name)] if name.isdecimal() and int(name) < len(found) else None
        else:
            found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, (dict, bool)) else None
