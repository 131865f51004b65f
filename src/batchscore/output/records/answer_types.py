"""Which Arrow type has a column of answers that match a JSON Schema?

An object with known properties becomes a struct, an array a list, and so on. What a schema can say and Arrow
cannot (a choice of types, free keys, a schema that contains itself) becomes JSON text. So does an object that
has more than the fields of its struct, in a field of its own. `to_cell` turns an answer into a cell of its
type, `from_cell` turns it back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa

from batchscore.output.answer_columns import free_names
from batchscore.output.records.json_value import json_text
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
JSON_TEXT = AnswerType(pa.string(), or_none(json_text), or_none(orjson.loads), has_null=True)
#: Parts of a schema that become columns, each counted as often as references lead to it.
MOST_PARTS = 30_000
#: Levels of these parts within each other, references included.
MOST_LEVELS = 100

#: The field of a struct with the whole object as JSON text, where the other fields do not hold it.
WHOLE = "json"

TYPES = {"string": TEXT, "boolean": BOOLEAN, "integer": INTEGER, "number": NUMBER}


def nullable(kind: AnswerType) -> AnswerType:
    """Return the type of values that may also be null."""
    return AnswerType(kind.arrow, or_none(kind.to_cell), or_none(kind.from_cell), has_null=True)


def kind_of(value: Any) -> str:
    """Return JSON Schema's name of a value's type; that of an integer beyond 64 bits with a sign is ours."""
    if type(value) is int and not -(2**63) <= value < 2**63:
        return "large integer"
    names = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    return names.get(type(value), "other")


def answer_type(schema: Any, root: Any = None, *, lossless: bool = True) -> AnswerType:
    """Return the type of answers that match a schema, whose references name parts of `root`.

    If it is too large or too deep to be a type of columns, it is JSON text. Without `lossless` structs hold
    only the fields that the schema names, as in frames and in the parts of earlier versions.
    """
    try:
        return _Types(schema if root is None else root, lossless).type_of(schema, ())
    except _TooLarge:
        return JSON_TEXT


class _TooLarge(Exception):  # noqa: N818 - not an error: the type is JSON text then
    """A type has too many parts, or too many levels."""


@dataclass(slots=True)
class _Types:
    """Makes the types of the parts of one schema; `within` are the references that led to a part."""

    root: Any
    lossless: bool
    parts: int = 0
    level: int = 0

    def type_of(self, schema: Any, within: tuple[str, ...]) -> AnswerType:
        """Return the type of one part."""
        self.parts += 1
        self.level += 1
        if self.parts > MOST_PARTS or self.level > MOST_LEVELS:
            raise _TooLarge
        found = self.type_of_part(schema, within)
        self.level -= 1
        return found

    def type_of_part(self, schema: Any, within: tuple[str, ...]) -> AnswerType:
        """Return the type of one part, a reference or a choice or values."""
        if not isinstance(schema, Mapping):
            return JSON_TEXT
        if "$ref" in schema:
            name = schema["$ref"]
            target = resolve(name, self.root)
            if name in within or target is None or schema.keys() - ANNOTATIONS - {"$defs", "definitions"}:
                return JSON_TEXT
            return self.type_of(target, (*within, name))
        for word in ("anyOf", "oneOf", "allOf"):
            if word in schema:
                return self.type_of_choice(schema, word, within)
        return self.type_of_values(schema, within)

    def type_of_choice(self, schema: Mapping[str, Any], word: str, within: tuple[str, ...]) -> AnswerType:
        """Return the type if there is only one choice besides null."""
        choices = schema[word]
        others = [each for each in choices if each != {"type": "null"}]
        if len(others) != 1 or schema.keys() & {"type", "enum", "const", "properties", "items", "required"}:
            return JSON_TEXT
        only = self.type_of(others[0], within)
        return nullable(only) if len(choices) > 1 else only

    def type_of_values(self, schema: Mapping[str, Any], within: tuple[str, ...]) -> AnswerType:
        """Return the type that `enum`, `const` or `type` gives."""
        kinds = schema.get("type", [])
        kinds = set(kinds if isinstance(kinds, list) else [kinds])
        values = schema.get("enum", [schema["const"]] if "const" in schema else None)
        if isinstance(values, list):
            kinds = {kind_of(value) for value in values}
        has_null = "null" in kinds
        kinds -= {"null"}
        if "number" in kinds and kinds <= {"integer", "large integer", "number"}:
            kinds = {"number"}
        if len(kinds) != 1:
            return JSON_TEXT
        (kind,) = kinds
        if kind == "object":
            found = self.struct_of(schema, within)
        elif kind == "array":
            found = self.list_of(schema, within)
        else:
            found = TYPES.get(str(kind), JSON_TEXT)
        return nullable(found) if has_null else found

    def list_of(self, schema: Mapping[str, Any], within: tuple[str, ...]) -> AnswerType:
        """Return the type of an array whose items have one schema."""
        if not isinstance(schema.get("items"), Mapping) or "prefixItems" in schema:
            return JSON_TEXT
        item = self.type_of(schema["items"], within)
        to_cell, from_cell = item.to_cell, item.from_cell
        return AnswerType(
            pa.list_(item.arrow),
            or_none(lambda values: [to_cell(value) for value in values]),
            or_none(lambda values: [from_cell(value) for value in values]),
        )

    def struct_of(self, schema: Mapping[str, Any], within: tuple[str, ...]) -> AnswerType:
        """Return the type of an object; one whose keys are free is JSON text, and so is one without any."""
        properties = schema.get("properties")
        free = schema.get("additionalProperties", False) is not False or "patternProperties" in schema
        if free or not isinstance(properties, Mapping) or not properties:
            return JSON_TEXT
        if len({name.lower() for name in properties}) < len(properties) or "" in properties:
            return JSON_TEXT  # other programs ignore case
        fields = {name: self.type_of(each, within) for name, each in properties.items()}
        required = schema.get("required", ())
        # A property that is left out is null in a struct; it is left out again if null would be wrong.
        missing = frozenset(
            name for name, each in fields.items() if name not in required and not each.has_null
        )

        is_open = "additionalProperties" not in schema
        loses = is_open or any(name not in required and each.has_null for name, each in fields.items())
        whole = free_names([WHOLE], properties) if self.lossless and loses else []

        def to_cell(value: Mapping[str, Any]) -> dict[str, Any]:
            cell = {name: each.to_cell(value.get(name)) for name, each in fields.items()}
            return cell | {name: None if from_cell(cell) == value else json_text(value) for name in whole}

        def from_cell(cell: Mapping[str, Any]) -> dict[str, Any]:
            for name in whole:
                if cell.get(name) is not None:
                    found: dict[str, Any] = orjson.loads(cell[name])
                    return found
            return {
                name: each.from_cell(cell[name])
                for name, each in fields.items()
                if cell[name] is not None or name not in missing
            }

        texts = [(name, pa.string()) for name in whole]
        arrow = pa.struct([*((name, each.arrow) for name, each in fields.items()), *texts])
        return AnswerType(arrow, or_none(to_cell), or_none(from_cell))
