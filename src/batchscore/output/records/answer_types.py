"""Which Arrow type has a column of answers that match a JSON Schema?

An object with known properties becomes a struct, an array a list, and so on. What a schema can say and Arrow
cannot (a choice of types, free keys, a schema that contains itself) becomes JSON text. `to_cell` turns an
answer into a cell of its type, `from_cell` turns it back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa

from batchscore.settings.json_schema import resolve

#: Keywords that do not change which values are possible, so that a reference beside them means its target.
ANNOTATIONS = frozenset(
    {"$ref", "title", "description", "default", "examples", "deprecated", "$comment", "$schema"}
)


@dataclass(frozen=True, slots=True)
class AnswerType:
    """A type, and how its cells are made of answers and read back. `has_null`: a value may be null."""

    arrow: pa.DataType
    to_cell: Callable[[Any], Any]
    from_cell: Callable[[Any], Any]
    has_null: bool = False


def unchanged(value: Any) -> Any:
    """Return the value."""
    return value


def or_none(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the function for values that may be null."""
    return lambda value: None if value is None else change(value)


TEXT = AnswerType(pa.string(), unchanged, unchanged)
BOOLEAN = AnswerType(pa.bool_(), unchanged, unchanged)
INTEGER = AnswerType(pa.int64(), or_none(int), unchanged)  # JSON Schema counts 3.0 as an integer
NUMBER = AnswerType(pa.float64(), or_none(float), unchanged)
JSON_TEXT = AnswerType(
    pa.string(), or_none(lambda value: orjson.dumps(value).decode()), or_none(orjson.loads), has_null=True
)
TYPES = {"string": TEXT, "boolean": BOOLEAN, "integer": INTEGER, "number": NUMBER}


def answer_type(schema: Any, root: Any = None, within: tuple[str, ...] = ()) -> AnswerType:
    """Return the type of answers that match a schema; `within` are the references that led to it."""
    root = schema if root is None else root
    if not isinstance(schema, Mapping):
        return JSON_TEXT
    if "$ref" in schema:
        name = schema["$ref"]
        target = resolve(name, root)
        if name in within or target is None or schema.keys() - ANNOTATIONS - {"$defs", "definitions"}:
            return JSON_TEXT
        return answer_type(target, root, (*within, name))
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return type_of_choice(schema, word, root, within)
    return type_of_values(schema, root, within)


def type_of_choice(schema: Mapping[str, Any], word: str, root: Any, within: tuple[str, ...]) -> AnswerType:
    """Return the type if there is only one choice besides null."""
    choices = schema[word]
    others = [each for each in choices if each != {"type": "null"}]
    if len(others) != 1 or schema.keys() & {"type", "enum", "const", "properties", "items", "required"}:
        return JSON_TEXT
    only = answer_type(others[0], root, within)
    return nullable(only) if len(choices) > 1 else only


def nullable(kind: AnswerType) -> AnswerType:
    """Return the type of values that may also be null."""
    return AnswerType(kind.arrow, or_none(kind.to_cell), or_none(kind.from_cell), has_null=True)


def type_of_values(schema: Mapping[str, Any], root: Any, within: tuple[str, ...]) -> AnswerType:
    """Return the type that `enum`, `const` or `type` gives."""
    kinds = schema.get("type", [])
    kinds = set(kinds if isinstance(kinds, list) else [kinds])
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(values, list):
        kinds = {kind_of(value) for value in values}
    has_null = "null" in kinds
    kinds -= {"null"}
    if kinds == {"integer", "number"}:
        kinds = {"number"}
    if len(kinds) != 1:
        return JSON_TEXT
    (kind,) = kinds
    if kind == "object":
        found = struct_of(schema, root, within)
    elif kind == "array":
        found = list_of(schema, root, within)
    else:
        found = TYPES.get(str(kind), JSON_TEXT)
    return nullable(found) if has_null else found


def kind_of(value: Any) -> str:
    """Return JSON Schema's name of a value's type."""
    names = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    return names.get(type(value), "other")


def list_of(schema: Mapping[str, Any], root: Any, within: tuple[str, ...]) -> AnswerType:
    """Return the type of an array whose items have one schema."""
    if not isinstance(schema.get("items"), Mapping) or "prefixItems" in schema:
        return JSON_TEXT
    item = answer_type(schema["items"], root, within)
    to_cell, from_cell = item.to_cell, item.from_cell
    return AnswerType(
        pa.list_(item.arrow),
        or_none(lambda values: [to_cell(value) for value in values]),
        or_none(lambda values: [from_cell(value) for value in values]),
    )


def struct_of(schema: Mapping[str, Any], root: Any, within: tuple[str, ...]) -> AnswerType:
    """Return the type of an object; one whose keys are free is JSON text, and so is one without any."""
    properties = schema.get("properties")
    free = schema.get("additionalProperties", False) is not False or "patternProperties" in schema
    if free or not isinstance(properties, Mapping) or not properties:
        return JSON_TEXT
    if len({name.lower() for name in properties}) < len(properties) or "" in properties:
        return JSON_TEXT  # other programs ignore case
    fields = {name: answer_type(each, root, within) for name, each in properties.items()}
    required = schema.get("required", ())
    # A property that is left out is null in a struct; it is left out again if null would be wrong.
    missing = frozenset(name for name, each in fields.items() if name not in required and not each.has_null)

    def to_cell(value: Mapping[str, Any]) -> dict[str, Any]:
        return {name: each.to_cell(value.get(name)) for name, each in fields.items()}

    def from_cell(cell: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: each.from_cell(cell[name])
            for name, each in fields.items()
            if cell[name] is not None or name not in missing
        }

    arrow = pa.struct([(name, each.arrow) for name, each in fields.items()])
    return AnswerType(arrow, or_none(to_cell), or_none(from_cell))
