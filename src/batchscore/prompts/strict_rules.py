"""Which rules of strict mode does a JSON Schema break?

A service refuses a schema in strict mode that breaks one, so they are checked before the first request.
Rules: OpenAI's guide on structured outputs, "Supported schemas", seen 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from batchscore.settings.json_schema import parts, resolve

MOST_PROPERTIES = 5000
MOST_LEVELS = 10
MOST_CHARACTERS = 120_000
MOST_ENUM_VALUES = 1000
#: An enum with more values than this may have this many characters.
LONG_ENUM = 250
MOST_CHARACTERS_OF_LONG_ENUM = 15_000

#: Keywords that strict mode does not know.
UNSUPPORTED = (
    *("oneOf", "allOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies"),
    *("patternProperties", "propertyNames", "minProperties", "maxProperties", "unevaluatedProperties"),
    *("minLength", "maxLength", "contains", "minContains", "maxContains", "uniqueItems", "unevaluatedItems"),
    *("prefixItems", "additionalItems", "default"),
)
FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})


def strict_violations(schema: Mapping[str, Any]) -> list[str]:
    """Return each violation, with its JSON pointer; none if the schema may be sent in strict mode."""
    return [*of_root(schema), *of_parts(schema), *of_size(schema)]


def of_root(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the root, which must be an object."""
    root = resolve(schema["$ref"], schema) if "$ref" in schema else schema
    if "anyOf" in schema:
        yield "#: anyOf is not allowed at the root"
    elif not isinstance(root, dict) or root.get("type") != "object":
        yield '#: the root must have "type": "object"'


def of_parts(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with each schema within a schema."""
    for where, part in parts(schema):
        if not isinstance(part, Mapping):
            if not where.endswith("/additionalProperties"):
                yield f"{where}: true and false are not schemas in strict mode"
            continue
        for word in UNSUPPORTED:
            if word in part:
                yield f"{where}: {word} is not supported"
        if "format" in part and part["format"] not in FORMATS:
            yield f"{where}: the format {part['format']!r} is not supported"
        kinds = part.get("type")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if "object" in kinds or "properties" in part:
            if part.get("additionalProperties") is not False:
                yield f"{where}: additionalProperties must be false"
            required = part.get("required", ())
            for name in part.get("properties", {}):
                if name not in required:
                    yield f"{where}: required must name the property {name!r}"
        if "array" in kinds and not isinstance(part.get("items"), dict):
            yield f"{where}: items must be a schema"
        if kinds == [None] and not part.keys() & {"$ref", "anyOf", "enum", "const", *UNSUPPORTED}:
            yield f"{where}: type is missing"


def of_size(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield the limits that a schema as a whole exceeds."""
    properties = characters = values = 0
    for where, part in parts(schema):
        if not isinstance(part, Mapping):
            continue
        named = [part.get(word) for word in ("properties", "$defs", "definitions")]
        names = [name for each in named if isinstance(each, dict) for name in each]
        properties += len(part.get("properties", ()))
        enum = [*part.get("enum", ()), *([part["const"]] if "const" in part else ())]
        values += len(part.get("enum", ()))
        texts = sum(len(value) for value in enum if isinstance(value, str))
        characters += texts + sum(map(len, names))
        if len(enum) > LONG_ENUM and texts > MOST_CHARACTERS_OF_LONG_ENUM:
            yield (
                f"{where}/enum: more than {LONG_ENUM} values have {texts:,} characters; at most "
                f"{MOST_CHARACTERS_OF_LONG_ENUM:,} are allowed"
            )
    for count, most, what in (
        (properties, MOST_PROPERTIES, "properties"),
        (values, MOST_ENUM_VALUES, "enum values"),
        (characters, MOST_CHARACTERS, "characters of names and enum values"),
        (levels(schema, schema, {}), MOST_LEVELS, "levels of objects"),
    ):
        if count > most:
            yield f"#: it has {count:,} {what}; at most {most:,} are allowed"


def levels(part: Any, root: Mapping[str, Any], known: dict[int, int]) -> int:
    """Return the number of objects within each other; a reference to a schema around it adds none.

    `known` holds those of the parts that were counted. O(parts).
    """
    if not isinstance(part, Mapping):
        return 0
    if id(part) not in known:
        known[id(part)] = 0  # while its own parts are counted
        inner = [*part.get("properties", {}).values(), *part.get("anyOf", ()), part.get("items")]
        inner.append(resolve(part.get("$ref"), root))
        known[id(part)] = max(levels(each, root, known) for each in inner) + ("properties" in part)
    return known[id(part)]
