"""Which values match a JSON Schema, and which of its rules does another value break?

It knows JSON Schema and the library that validates, not answers or settings. A value that many references
lead to is validated once for each, so the errors of a value are found from reference to reference: all of
them at once may be 2**100.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jsonschema_rs
import orjson

from batchscore.errors import UsageError
from batchscore.prompts.schema_check import REFERENCES
from batchscore.settings.json_schema import SAME_VALUE, anchors, children, parts, resolve, roots, short

#: The name of the schema for the library.
NAME = "urn:schema"

#: An integer must fit into a column of 64 bits.
LEAST_INTEGER, MOST_INTEGER = -(2**63), 2**63 - 1

#: Parts that may judge one value; more of them are found out reference by reference, once for each value.
MOST_WAYS = 100_000

#: Keywords whose schemas judge a value each.
DISTINCT = frozenset({"properties", "prefixItems", "items"})

#: Keywords that look at what references led to.
UNEVALUATED = frozenset({"unevaluatedProperties", "unevaluatedItems"})

#: Rules that say only that none of several schemas matches, or one elsewhere.
WEAK = REFERENCES | {"anyOf", "oneOf"}


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that a value breaks, and where in the value. `message` may quote the value."""

    rule: str
    path: tuple[str | int, ...]
    message: str
    context: Sequence[Sequence[Any]] = ()

    @classmethod
    def of(cls, error: Any, before: tuple[str | int, ...]) -> Broken:
        """Return the library's error of a value whose path is `before`."""
        path = (*before, *error.instance_path)
        choices = getattr(error.kind, "context", ())
        context = [[cls.of(each, before) for each in choice] for choice in choices if choice]
        is_reference = error.kind.name in REFERENCES
        return cls(error.kind.name, path, error.kind.message if is_reference else error.message, context)


@dataclass(slots=True)
class Validation:
    """A schema that is ready to validate; a part that a reference names is prepared when it is needed."""

    document: dict[str, Any]
    kind: Any
    is_valid: Any = field(init=False)
    registry: Any = field(init=False)
    anchors: dict[str, Any] = field(init=False)
    is_split: bool = False
    targets: dict[str, Any] = field(default_factory=dict)
    found: dict[tuple[str, str], bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.is_valid = self.validator(self.document).is_valid
        self.registry = jsonschema_rs.Registry([(NAME, self.document)], retriever=refuse)
        self.anchors = anchors(self.document)
        looks = any(isinstance(part, dict) and UNEVALUATED & part.keys() for _, part in parts(self.document))
        if ways(self.document, self.named, {}) > MOST_WAYS and not looks:
            self.is_split = True
            self.is_valid = self.matches_in_parts

    def validator(self, part: Any, **more: Any) -> Any:
        """Return the library's validator of a part; raises its errors."""
        return self.kind(part, validate_formats=True, retriever=refuse, **more)

    def matches(self, reference: str, value: Any) -> bool:
        """Return whether a value matches what a reference names."""
        if reference not in self.targets:
            self.targets[reference] = (
                self.part_validator(self.named(reference))
                if self.is_split
                else self.validator({"$ref": NAME + reference}, registry=self.registry)
            )
        key = (reference, repr(value))
        if key not in self.found:
            self.found[key] = True  # a reference back to the same adds nothing
            self.found[key] = bool(self.targets[reference].is_valid(value))
        return self.found[key]

    def matches_in_parts(self, value: Any) -> bool:
        """Return whether a value matches the schema, whose references are followed once for each value."""
        self.found.clear()
        return self.matches("#", value)

    def named(self, reference: Any) -> Any:
        """Return the part that a reference names, `None` if there is none."""
        return self.anchors.get(str(reference), resolve(reference, self.document))

    def part_validator(self, part: Any) -> Any:
        """Return the validator of a part, in which what a reference names is one rule."""
        matches = self.matches

        class Reference:
            """The rule `$ref`, as the library asks for it."""

            def __init__(self, _: Any, name: str, __: Any) -> None:
                self.name = name

            def validate(self, value: Any) -> None:
                if not matches(self.name, value):
                    raise ValueError(self.name)

        return self.validator(part, keywords=dict.fromkeys(REFERENCES, Reference))

    def errors(self, part: Any, value: Any, path: tuple[str | int, ...]) -> list[Broken]:
        """Return the rules of a part that a value breaks; what a reference names is one rule of it."""
        try:
            validator = self.part_validator(part)
        except ValueError:
            return []  # `unevaluatedProperties` looks at what references name, which the part alone has not
        return [Broken.of(each, path) for each in validator.iter_errors(value)]

    def broken(self, value: Any) -> Broken | None:
        """Return the rule that says most: the outermost that is broken, and within choices the innermost."""
        self.found.clear()
        seen: set[tuple[Any, ...]] = set()

        def followed(broken: Broken) -> list[Broken]:
            name = broken.message if broken.rule in REFERENCES else None
            target = self.named(name)
            if target is None or (name, broken.path) in seen:
                return [broken]
            seen.add((name, broken.path))
            return self.errors(target, at(value, broken.path), broken.path) or [broken]

        choices = [self.errors(self.document, value, ())]
        best: Broken | None = None
        is_choice = False
        while choices:
            sign = 1 if is_choice else -1
            candidates = sorted(
                (max(each, key=lambda one: rank(one, sign)) for each in choices if each),
                key=lambda one: rank(one, sign),
            )
            if not candidates or (len(candidates) > 1 and rank(candidates[-1], 1) == rank(candidates[-2], 1)):
                break
            best = candidates[-1]
            if best.context:
                choices = [[one for each in choice for one in followed(each)] for choice in best.context]
                is_choice = True
            else:
                found = followed(best)
                choices = [] if found == [best] else [found]
        return best


def rank(broken: Broken, sign: int) -> tuple[int, bool, bool]:
    """Return how much a rule says; of a type it says that another choice was meant."""
    return sign * len(broken.path), broken.rule not in WEAK, broken.rule != "type"


def at(value: Any, path: Sequence[str | int]) -> Any:
    """Return the value at a path within a value."""
    for step in path:
        value = value[step]
    return value


def refuse(uri: str) -> Any:
    """Fetch nothing: the library would fetch schemas from the network and from files."""
    raise ValueError(f"{uri} is not fetched")


def validation(given: Mapping[str, Any], where: str) -> Validation:
    """Return the validation of a schema; raises `UsageError` if it is none."""
    document: dict[str, Any] = orjson.loads(orjson.dumps(given))
    kind = jsonschema_rs.validator_cls_for(document)
    draft = str(document.pop("$schema", ""))
    if "draft-03" in draft:
        raise UsageError(
            f"{where}: at #/$schema, draft 3 of JSON Schema is not supported: its type and "
            "required have another meaning. Use draft 4 or later."
        )
    if kind is not jsonschema_rs.Draft202012Validator:
        document["$schema"] = draft  # others mean the latest
    pointer = "#"
    try:
        for pointer, root in roots(document):  # noqa: B007 - the place of an error
            jsonschema_rs.meta.validate({"$schema": draft, **root} if "$schema" in document else root)
        bound_integers(document)
        pointer = "#"
        return Validation(document, kind)
    except ValueError as error:
        path = getattr(error, "instance_path", [])
        at_place = short("/".join([pointer, *map(str, path)]))
        text = getattr(error, "message", str(error))[:200]
        raise UsageError(f"{where} is not a valid JSON Schema: at {at_place}: {text}.") from None


def bound_integers(document: Any) -> None:
    """Add to each `type` that is an integer that it fits into 64 bits."""
    for _, part in list(parts(document)):
        kinds = part.get("type") if isinstance(part, dict) else None
        if kinds == "integer" or (isinstance(kinds, list) and "integer" in kinds and "number" not in kinds):
            part["minimum"] = max(part.get("minimum", LEAST_INTEGER), LEAST_INTEGER)
            part["maximum"] = min(part.get("maximum", MOST_INTEGER), MOST_INTEGER)


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
