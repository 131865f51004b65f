"""Which entities are right: of tags in BIO, as seqeval counts them, or of lists of entities?

Tags: the spans and types must be equal; figures are micro averages, from counts of each row. Lists: the
same texts and types must occur as often, whatever their case and blanks; places in the text that a model
gives cannot be trusted, so they do not count.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from batchscore.evaluate.fold import fold, text_of

#: Fields of an entity that hold its text, and its type.
_TEXTS = ("text", "entity", "span", "value", "name", "word", "mention")
_TYPES = ("type", "label", "entity_group", "entity_type", "tag", "category", "class")


_TAG = re.compile(r"O|[BI](-.+)?")


class NoEntitiesError(ValueError):
    """A value that is neither tags nor entities."""


def are_tags(value: Any) -> bool:
    """Whether a value is a list of BIO tags."""
    return isinstance(value, list) and all(isinstance(each, str) and _TAG.fullmatch(each) for each in value)


def spans_of(tags: Sequence[str], *, strict: bool = True) -> list[tuple[str, int, int]]:
    """Return the spans of BIO tags: type, first place, place after the last.

    `strict` is IOB2: a span begins with B. Otherwise, as conlleval does, I may begin one.
    """
    spans: list[tuple[str, int, int]] = []
    kind, start = "", 0
    for place, tag in enumerate([*tags, "O"]):
        mark, _, name = tag.partition("-")
        continues = mark == "I" and kind and name == kind
        if not continues:
            if kind:
                spans.append((kind, start, place))
            kind, start = (name or "_", place) if mark == "B" or (mark == "I" and not strict) else ("", 0)
    return spans


def entities_of(value: Any) -> list[tuple[str, str]]:
    """Return the folded texts and types of a list of entities, or of a mapping of types to texts.

    Raises `NoEntitiesError`.
    """
    if isinstance(value, Mapping):
        return _of_mapping(value)
    if not isinstance(value, list):
        raise NoEntitiesError("not a list of entities")
    found = []
    for each in value:
        if isinstance(each, Mapping):
            text, kind = text_of(_field(each, _TEXTS)), text_of(_field(each, _TYPES))
        elif isinstance(each, (list, tuple)) and len(each) == 2:
            text, kind = map(text_of, each)
        else:
            raise NoEntitiesError("an item is no entity")
        if text is None or kind is None:
            raise NoEntitiesError("an entity has no text or no type")
        found.append((fold(text), fold(kind)))
    return found


def _of_mapping(value: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the entities of an object that holds a list of them, is one, or has a key for each type."""
    if _field(value, _TYPES) is not None and _field(value, _TEXTS) is not None:
        return entities_of([value])
    lists = [each if isinstance(each, list) else [each] for each in value.values()]
    if len(lists) == 1 and lists[0] and all(isinstance(each, (Mapping, list)) for each in lists[0]):
        return entities_of(lists[0])
    return [
        (fold(text), fold(str(kind)))
        for kind, each in zip(value, lists, strict=True)
        for text in map(text_of, each)
        if text is not None
    ]


def _field(value: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((value[name] for name in names if name in value), None)


def counts_of(found: Sequence[Hashable], gold: Sequence[Hashable]) -> tuple[int, int, int]:
    """Return how many entities are right, found, and in the labels."""
    return sum((Counter(found) & Counter(gold)).values()), len(found), len(gold)
