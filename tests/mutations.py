"""Damaged copies of a file: bytes that a disk, a sync or a person may leave in place of what was written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

#: Values that stand where others belong.
ODD = [
    *(None, True, False, 0, -1, 1, 7, 2**31, 2**53 + 1, 2**63, 2**64, 10**400, 1e30, -0.5, "", "1", "x"),
    *("../../x", "part-x", "a\x00b", "\ud800", "complete", [], [[]], {}, {"a": 1}, [None], [0], "9" * 5000),
]  # fmt: skip


def mutate(data: bytes, random: Random) -> bytes:
    """Return damaged bytes: of a JSON object half of the time another object, else with other bytes."""
    if data.startswith(b"{") and random.random() < 0.5:
        return mutate_json(data, random)
    return mutate_bytes(data, random)


def mutate_json(data: bytes, random: Random) -> bytes:
    """Return a JSON text in which one or two values are replaced, removed, doubled or exchanged."""
    value: Any = json.loads(data)
    for _ in range(random.choice([1, 1, 1, 2])):
        places = list(places_in(value))
        if not places:
            return random.choice([b"[]", b"null", b"1", b'"x"', b"{}"])
        holder, key = random.choice(places)
        other, other_key = random.choice(places)
        action = random.randrange(6)
        if action == 0:
            del holder[key]
        elif action == 1:
            holder[key], other[other_key] = other[other_key], holder[key]
        elif action == 2 and isinstance(holder, list):
            holder.insert(key, json.loads(json.dumps(holder[key])))
        elif action == 3 and type(holder[key]) is int:
            holder[key] += random.choice([-1, 1, 10, -(10**6)])
        else:
            holder[key] = random.choice(ODD)
        # Values that were exchanged with their own holder would go round in a circle.
        try:
            value = json.loads(json.dumps(value))
        except (ValueError, RecursionError):
            return b"{}"
    return json.dumps(value).encode()


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each holder and key of a value, at any depth."""
    for key in (
        list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    ):
        yield value, key
        yield from places_in(value[key])


def mutate_bytes(data: bytes, random: Random) -> bytes:
    """Return bytes of which some are flipped, cut, doubled, exchanged or inserted."""
    action, start = random.randrange(8), random.randrange(len(data) + 1)
    end = min(len(data), start + random.choice([1, 2, 8, 100, 4096]))
    if action == 0:
        return data[:start]
    if action == 1:
        return data[:start] + data[end:]
    if action == 2:
        return data[:start] + data[start:end] * 2 + data[end:]
    if action == 3:
        return data[:start] + random.randbytes(end - start) + data[end:]
    if action == 4:
        odd = random.choice(
            [b"null", b"1e999", b"9" * 30, b'"', b"{", b"[" * 2000, b"\xff\xfe", b"\0" * 9, b"\n"]
        )
        return data[:start] + odd + data[end:]
    if action == 5:
        lines = data.split(b"\n")
        random.shuffle(lines)
        return b"\n".join(lines)
    changed = bytearray(data)
    for _ in range(random.choice([1, 1, 3])):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)
