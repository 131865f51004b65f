"""Can this JSON be a manifest that a run has written?

It knows the type and the bounds of every field, and what the fields must say together. Anybody may have
edited a manifest, so nothing of one is used before. It reads no file and knows no records.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import chain
from operator import itemgetter
from pathlib import PurePosixPath
from typing import Any, TypeAlias

import orjson

from batchscore.output.layout import stem_of
from batchscore.task import TASKS

#: The version of manifests that runs write.
VERSION = 1

#: The states that a manifest may be in.
STATES = ("complete", "partial", "unreadable")

#: What `reported` may be since it is a word.
REPORTED = ("yes", "no", "off")

#: The formats of parts.
FORMATS = ("jsonl", "parquet")

#: The costs of a part, of a file and of a run.
COSTS = ("attempts", "tokens_billed", "tokens_kept")

#: The maximum of a figure: what a reader of JSON in any language holds exactly.
MOST = 2**53

#: Says whether a value can be that of a field.
Fits: TypeAlias = Callable[[Any], bool]


def is_count(value: Any) -> bool:
    """Whether a value is a whole number that can be a figure."""
    return type(value) is int and 0 <= value <= MOST


def is_cost(value: Any) -> bool:
    """Whether a value can be a cost: a service may have reported any number of tokens."""
    return type(value) is int and value >= 0


def is_text(value: Any) -> bool:
    """Whether a value is text."""
    return isinstance(value, str)


def is_fingerprint(value: Any) -> bool:
    """Whether a value can be the settings of a run; only what readers use is checked."""
    if not isinstance(value, dict):
        return False
    keep, size = value.get("keep", []), value.get("rows_per_part", 0)
    hidden = value.get("hidden", {})
    if not isinstance(hidden, dict) or not all(map(is_text, hidden.values())):
        return False
    names = isinstance(keep, list) and all(map(is_text, keep)) and isinstance(value.get("params", {}), dict)
    try:
        orjson.dumps(value)
    except TypeError:  # it is nested more deeply than can be written
        return False
    return value.get("format") in FORMATS and is_count(size) and bool(size) and names


def is_file(value: Any) -> bool:
    """Whether a value can describe a file of a part, or that there is none."""
    if value is None:
        return True
    if not isinstance(value, dict) or value.keys() != _NAMES_OF_FILE:
        return False
    name, size, digest = value["name"], value["bytes"], value["digest"]
    return is_count(size) and isinstance(name, str) and isinstance(digest, str)


def is_list_of_objects(value: Any) -> bool:
    """Whether a value is a list of JSON objects."""
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


_NAMES_OF_FILE = {"name", "bytes", "digest"}
_NUMBERS = {is_count, is_cost}
_COSTS: dict[str, Fits] = dict.fromkeys(COSTS, is_cost)
_TOTALS: dict[str, Fits] = dict.fromkeys(("rows", "ok", "errors", "not_reached"), is_count) | _COSTS

#: The fields of a manifest, and those that earlier versions lack.
_FIELDS: dict[str, Fits] = {
    "file": lambda value: is_text(value) and value != "",
    "task": lambda value: value in tuple(TASKS),
    "state": lambda value: value in STATES,
    "problem": is_text,
    "input": is_text,
    "dimensions": lambda value: value is None or (is_count(value) and value > 0),
    "fingerprint": is_fingerprint,
    "parts": is_list_of_objects,
}
_NEWER: dict[str, Fits] = _TOTALS | {
    "reported": lambda value: value in (*REPORTED, True, False, None),
    "place": is_text,
    "simulated": lambda value: isinstance(value, bool),
}
_OF_THIS_VERSION = _FIELDS | {"version": lambda value: type(value) is int and value == VERSION}
_PART: dict[str, Fits] = dict.fromkeys(("part", "rows", "ok", "errors", "transient"), is_count) | {
    "whole": lambda value: isinstance(value, bool),
    "inputs": is_text,
    "scores": is_file,
    "error_records": is_file,
}
_NEWER_IN_PARTS: dict[str, Fits] = _COSTS | {"empty": is_count, "row_digests": is_text}
_NAMES_IN_PARTS = frozenset((*_PART, *_NEWER_IN_PARTS))


def odd_field(fields: Mapping[str, Any], needed: Mapping[str, Fits], newer: Mapping[str, Fits] = {}) -> str:
    """Return the first field that is missing or has a value that no run writes; empty if there is none."""
    for name, fits in needed.items():
        if name not in fields:
            return f"{name} is missing"
        if not fits(fields[name]):
            return f"{name} has a wrong value"
    for name, fits in newer.items():
        if name in fields and not fits(fields[name]):
            return f"{name} has a wrong value"
    return ""


def any_odd(
    entries: Collection[Mapping[str, Any]], needed: Mapping[str, Fits], newer: Mapping[str, Fits]
) -> bool:
    """Whether `odd_field` finds something in one of many objects; by columns, which takes less time."""
    for name, fits in (*needed.items(), *newer.items()):
        try:
            values = tuple(map(itemgetter(name), entries))
        except KeyError:
            if name in needed:
                return True
            values = tuple([each[name] for each in entries if name in each])
        if (fits is is_text and set(map(type, values)) == {str}) or (fits in _NUMBERS and are_counts(values)):
            continue
        # Thousands share what is one object, such as the settings of a run.
        if not all(map(fits, dict(zip(map(id, values), values, strict=True)).values())):
            return True
    return False


def are_counts(values: tuple[Any, ...]) -> bool:
    """Whether all values are whole numbers that can be figures."""
    return set(map(type, values)) == {int} and min(values) >= 0 and max(values) <= MOST


def are_manifests(found: Mapping[str, Any], task: str) -> bool:
    """Whether nothing is odd in any of these manifests of a `task`, by their names.

    Thousands are checked together in a third of the time. If something is odd, `refuse_odd` says what.
    """
    entries = list(found.values())
    if not is_list_of_objects(entries) or any_odd(entries, _OF_THIS_VERSION, _NEWER):
        return False
    parts = list(chain.from_iterable([each["parts"] for each in entries]))
    if any_odd(parts, _PART, _NEWER_IN_PARTS) or not _NAMES_IN_PARTS.issuperset(chain.from_iterable(parts)):
        return False
    last = max([part["part"] for part in parts], default=0)
    if last * max([each["fingerprint"]["rows_per_part"] for each in entries], default=0) > MOST:
        return False
    return {each["task"] for each in entries} <= {task} and list(found) == [
        f"{stem_of(each['file'])}.json" for each in entries
    ]


def refuse_odd(fields: Mapping[str, Any], name: str, task: str) -> None:
    """Raise `ValueError` if this cannot be the manifest of that `name`, in the folder of that `task`."""
    if are_manifests({name: fields}, task):
        return
    odd = odd_field(fields, _FIELDS, _NEWER)
    for at, part in enumerate(() if odd else fields["parts"]):
        unknown = [f"{name[:40]!r} is unknown" for name in sorted(part.keys() - _NAMES_IN_PARTS)]
        odd = odd_field(part, _PART, _NEWER_IN_PARTS) or "".join(unknown[:1])
        if not odd and part["part"] * fields["fingerprint"]["rows_per_part"] > MOST:
            odd = "part has a wrong value"
        if odd:
            odd = f"parts[{at}].{odd}"
            break
    if odd:
        raise ValueError(odd)
    if fields["task"] != task:
        raise ValueError(f"it is of the task {fields['task']}")
    if f"{stem_of(fields['file'])}.json" != name:
        raise ValueError(f"it describes {fields['file']} and should have another name")


def contradictions(fields: Mapping[str, Any]) -> Iterator[str]:
    """Yield what in a manifest does not fit together; its fields have the right types."""
    parts: dict[int, Mapping[str, Any]] = {part["part"]: part for part in fields["parts"]}
    sums = dict.fromkeys(("rows", "ok", "errors", *COSTS), 0)
    for part in parts.values():
        for name in sums:
            sums[name] += part.get(name, 0)
    sums["not_reached"] = sums["rows"] - sums["ok"] - sums["errors"]
    wrong = [name for name, total in sums.items() if fields.get(name, total) != total]
    if len(fields["parts"]) != len(parts) or wrong:
        yield "its totals are not the sums of its parts"
    elif sums["tokens_kept"] > sums["tokens_billed"]:
        yield "it states more kept tokens than billed ones"
    # The stem once: a file may have many parts.
    start, suffix = f"part-{stem_of(fields['file'])}", fields["fingerprint"]["format"]
    for number in sorted(parts):
        name = f"{start}-{number:05d}.{suffix}"
        if what := _contradiction_of_part(fields, parts[number], name):
            yield what
    if fields["state"] == "complete":
        yield from _missing_rows(fields, parts)


def _contradiction_of_part(fields: Mapping[str, Any], part: Mapping[str, Any], name: str) -> str:
    """Return what in the commit record of a part does not fit together; its files have this `name`."""
    number, most = part["part"], fields["fingerprint"]["rows_per_part"]
    for key, count in (("scores", "ok"), ("error_records", "errors")):
        file = part[key]
        if (file is None) != (part[count] == 0):
            there = "no file" if file is None else "a file"
            return f"part {number} states {part[count]:,} {count} and {there} of them"
        if file is not None and file["name"] != name:
            return f"it names another file for part {number} than {name}"
    settled = part["ok"] + part["errors"]
    if not settled <= part["rows"] <= most or part["transient"] + part.get("empty", 0) > part["errors"]:
        return f"its counts of part {number} do not fit together"
    return ""


def _missing_rows(fields: Mapping[str, Any], parts: Mapping[int, Mapping[str, Any]]) -> Iterator[str]:
    """Yield which rows have no record though the file is said to be complete."""
    last = max(parts, default=-1)
    numbered = last > 0 and numbers_every_row(fields["file"])
    missing = next((number for number in range(last) if number not in parts), None) if numbered else None
    if missing is not None:
        yield f"it states that its file is complete, but names no part {missing}"
    for number in sorted(parts):
        part = parts[number]
        full = number == last or not numbered or part["rows"] == fields["fingerprint"]["rows_per_part"]
        if not part["whole"] or part["ok"] + part["errors"] != part["rows"] or not full:
            yield f"it states that its file is complete, but rows of part {number} have no record"


def numbers_every_row(file: str) -> bool:
    """Whether every number is a row: in a txt file blank lines have numbers, too, but are not rows."""
    return ".txt" not in map(str.lower, PurePosixPath(file).suffixes[-2:])
