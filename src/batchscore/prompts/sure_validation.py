"""Which answers match a JSON Schema beyond doubt? A quick check before the complete one.

jsonschema needs about 150 µs for an answer of a dozen fields; these functions, built once, need 5. They know
the common keywords, and hand every other to jsonschema. They only ever say "surely valid" or "not sure", and
what they are not sure of is validated by jsonschema: it alone decides that an answer is invalid.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from batchscore.settings.json_schema import parts, resolve

#: Whether a value surely matches.
Sure: TypeAlias = Callable[[Any], bool]

#: Keywords that say nothing about a value, or only where other schemas are.
SILENT = frozenset(
    {"$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples"}
    | {"deprecated", "readOnly", "writeOnly", "contentMediaType", "contentEncoding"}
)

#: Keywords that change what a reference means.
BASES = frozenset({"$id", "id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef"})

MOST_INTEGER = 2**63

#: References that the check of one answer follows; alternatives that share them may lead to them 2**40 times.
MOST_STEPS = 100_000
#: What jsonschema needs for one of them.
STEPS_OF_JSONSCHEMA = 5

TYPES: Mapping[str, Sure] = {
    "object": lambda value: type(value) is dict,
    "array": lambda value: type(value) is list,
    "string": lambda value: type(value) is str,
    "boolean": lambda value: type(value) is bool,
    "null": lambda value: value is None,
    "integer": lambda value: type(value) is int and -MOST_INTEGER <= value < MOST_INTEGER,
    "number": lambda value: type(value) is float or type(value) is int,
}


class TooManySteps(Exception):  # noqa: N818 - the answer is invalid, not the run
    """The check of an answer would take too long."""


@dataclass(slots=True)
class Steps:
    """How many references the check of an answer may still follow."""

    left: int = MOST_STEPS

    def count(self, steps: int = 1) -> None:
        """Count some; raises `TooManySteps` if there are no more."""
        self.left -= steps
        if self.left < 0:
            raise TooManySteps


def sure_validation(
    schema: Mapping[str, Any],
    complete: Callable[[Any], Sure],
    conforms: Callable[[Any, str], bool],
    steps: Steps,
) -> Sure:
    """Return the quick check of a schema, which counts its `steps`.

    `complete` gives jsonschema's check of a part of it, `conforms` says whether a value has a named format.
    """
    for where, part in parts(schema):
        if isinstance(part, Mapping) and BASES & part.keys() - ({"$id", "id"} if where == "#" else set()):
            return lambda _: False
    return _Compiler(schema, complete, conforms, steps).compile(schema)


@dataclass(slots=True)
class _Compiler:
    """Compiles the parts of one schema; a part that references name is compiled once."""

    root: Mapping[str, Any]
    complete: Callable[[Any], Sure]
    conforms: Callable[[Any, str], bool]
    steps: Steps
    known: dict[str, Sure | None] = field(default_factory=dict)

    def compile(self, part: Any) -> Sure:
        """Return the check of one part."""
        if part is True:
            return lambda _: True
        if not isinstance(part, Mapping):
            return lambda _: False
        checks: list[Sure] = []
        for word, value in part.items():
            if word in SILENT or (word in TOGETHER and "properties" in part):
                continue
            make = KEYWORDS.get(word)
            check = None if make is None else make(self, value, part)
            if check is None:
                # As a whole, since some keywords look at their neighbours.
                return self.complete(part)
            checks.append(check)
        if not checks:
            return lambda _: True
        if len(checks) == 1:
            return checks[0]
        if len(checks) == 2:
            first, second = checks
            return lambda value: first(value) and second(value)

        def check_all(value: Any) -> bool:
            for each in checks:  # noqa: SIM110 - a generator costs more than the checks
                if not each(value):
                    return False
            return True

        return check_all

    def reference(self, name: Any) -> Sure:
        """Return the check of a part that a reference names; it may contain itself."""
        if name not in self.known:
            self.known[name] = None
            found = resolve(name, self.root)
            self.known[name] = self.compile(found) if found is not None else lambda _: False
        known, steps = self.known, self.steps

        def follow(value: Any) -> bool:
            steps.count()
            check = known[name]
            return check is not None and check(value)

        return follow


def _type(_: _Compiler, kinds: Any, __: Mapping[str, Any]) -> Sure | None:
    if isinstance(kinds, str):
        return TYPES.get(kinds)
    if not isinstance(kinds, list) or not all(kind in TYPES for kind in kinds):
        return None
    checks = [TYPES[kind] for kind in kinds]
    if len(checks) == 2:
        first, second = checks
        return lambda value: first(value) or second(value)
    return lambda value: any(check(value) for check in checks)


def _enum(_: _Compiler, values: Any, __: Mapping[str, Any]) -> Sure | None:
    # 1 and true are different values, but equal in Python; texts and null are not.
    if not isinstance(values, list) or not all(value is None or isinstance(value, str) for value in values):
        return None
    allowed = frozenset(values)
    return lambda value: (type(value) is str or value is None) and value in allowed


def _const(compiler: _Compiler, value: Any, part: Mapping[str, Any]) -> Sure | None:
    return _enum(compiler, [value], part)


def _properties(compiler: _Compiler, properties: Any, part: Mapping[str, Any]) -> Sure | None:
    if not isinstance(properties, dict) or part.keys() & {"patternProperties", "unevaluatedProperties"}:
        return None
    checks = {name: compiler.compile(each) for name, each in properties.items()}
    required = part.get("required", [])
    if not isinstance(required, list):
        return None
    needed = frozenset(required)
    others = part.get("additionalProperties", True)
    check_other = None if others is True else compiler.compile(others)

    def check(value: Any) -> bool:
        if type(value) is not dict:
            return True  # `type` judges
        if not needed <= value.keys():
            return False
        for name, each in value.items():
            sure = checks.get(name, check_other)
            if sure is not None and not sure(each):
                return False
        return True

    return check


def _items(compiler: _Compiler, items: Any, part: Mapping[str, Any]) -> Sure | None:
    if not isinstance(items, dict) or part.keys() & {"prefixItems", "unevaluatedItems"}:
        return None
    check = compiler.compile(items)
    return lambda value: type(value) is not list or all(map(check, value))


def _any_of(compiler: _Compiler, several: Any, _: Mapping[str, Any]) -> Sure | None:
    if not isinstance(several, list):
        return None
    checks = [compiler.compile(each) for each in several]

    def check(value: Any) -> bool:
        for each in checks:  # noqa: SIM110 - a generator costs more than the checks
            if each(value):
                return True
        return False

    return check


def _reference(compiler: _Compiler, name: Any, _: Mapping[str, Any]) -> Sure | None:
    # In old drafts the neighbours of a reference say nothing. Here they must hold, too: the safe side.
    return compiler.reference(name) if isinstance(name, str) else None


def _format(compiler: _Compiler, name: Any, _: Mapping[str, Any]) -> Sure | None:
    conforms = compiler.conforms
    return (lambda value: conforms(value, name)) if isinstance(name, str) else None


def _pattern(_: _Compiler, pattern: Any, __: Mapping[str, Any]) -> Sure | None:
    search = re.compile(pattern).search
    return lambda value: type(value) is not str or search(value) is not None


def _bound(kinds: tuple[type, ...], holds: Callable[[Any, Any], bool]) -> Callable[..., Sure]:
    def make(_: _Compiler, bound: Any, __: Mapping[str, Any]) -> Sure:
        return lambda value: type(value) not in kinds or holds(value, bound)

    return make


_NUMBERS = (int, float)

#: Keyword -> the function that makes its check; `None` from it means that jsonschema decides.
KEYWORDS: Mapping[str, Callable[[_Compiler, Any, Mapping[str, Any]], Sure | None]] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "properties": _properties,
    "items": _items,
    "anyOf": _any_of,
    "$ref": _reference,
    "pattern": _pattern,
    "format": _format,
    "minimum": _bound(_NUMBERS, lambda value, bound: value >= bound),
    "maximum": _bound(_NUMBERS, lambda value, bound: value <= bound),
    "minItems": _bound((list,), lambda value, bound: len(value) >= bound),
    "maxItems": _bound((list,), lambda value, bound: len(value) <= bound),
    "minLength": _bound((str,), lambda value, bound: len(value) >= bound),
    "maxLength": _bound((str,), lambda value, bound: len(value) <= bound),
}

#: Keywords that `properties` checks, if there are any.
TOGETHER = frozenset({"required", "additionalProperties"})
