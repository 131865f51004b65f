"""Which JSON Schemas cannot be used, although they may be valid?

A reference that leads nowhere or in a circle, and a pattern that cannot be matched, would fail for each
answer that is paid for. It knows schemas, not answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from batchscore.errors import UsageError
from batchscore.prompts.patterns import is_explosive
from batchscore.settings.json_schema import parts, parts_below, resolve, same_value, short

REFERENCES = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})

#: Characters of a pattern in a message.
MOST_SHOWN = 60


def check_document(document: Any, where: str) -> None:
    """Raise `UsageError` for a reference that names nothing, and for a pattern that cannot be used."""
    if not isinstance(document, Mapping) or not document:
        raise UsageError(f"{where} must be a JSON Schema: an object that is not empty.")
    if not isinstance(document.get("$schema", ""), str):
        raise UsageError(f"{where}: at #/$schema, it must be the address of a draft of JSON Schema.")
    found = list(parts(document))
    targets = {
        f"#{part[word]}": part
        for _, part in found
        for word in ("$anchor", "$dynamicAnchor")
        if isinstance(part, Mapping) and word in part
    }
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
        named = part.get("patternProperties")
        for at, pattern in [
            (f"{pointer}/pattern", part.get("pattern", "")),
            *((f"{pointer}/patternProperties", each) for each in (named if isinstance(named, dict) else ())),
        ]:
            if problem := pattern_problem(pattern):
                raise UsageError(f"{where}: at {short(at)}: {problem}.")
    refuse_cycles(found, lambda name: targets.get(name, resolve(name, document)), where)


def pattern_problem(pattern: Any) -> str:
    """Return why a regular expression cannot be used; empty if it can."""
    try:
        if is_explosive(pattern):
            return (
                f"{pattern[:MOST_SHOWN]!r} can match some texts in so many ways that it takes forever. Write "
                "it so that each character can match in one way only, such as a+ for (a+)+"
            )
    except RecursionError:
        return "the pattern is nested too deeply"
    except (re.error, TypeError, ValueError, OverflowError) as error:
        return str(error)
    return ""


def refuse_cycles(found: Iterable[tuple[str, Any]], target: Callable[[Any], Any], where: str) -> None:
    """Raise `UsageError` for a part that means itself, of the same value; within a value it may."""
    done: set[int] = set()
    for pointer, part in found:
        # A part with None behind it is left again.
        pending: list[tuple[Any, bool]] = [(part, False)]
        around: set[int] = set()
        while pending:
            each, is_left = pending.pop()
            if is_left:
                around.discard(id(each))
                done.add(id(each))
            elif isinstance(each, Mapping) and id(each) not in done:
                if id(each) in around:
                    raise UsageError(
                        f"{where}: at {short(pointer)}, references lead in a circle back to "
                        "the same value. A schema may contain itself only within properties or items."
                    )
                around.add(id(each))
                pending.append((each, True))
                named = [target(each[word]) for word in REFERENCES if isinstance(each.get(word), str)]
                pending += [(inner, False) for inner in (*named, *same_value(each))]
