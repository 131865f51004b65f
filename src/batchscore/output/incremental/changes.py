"""What changed between two versions of a file's output, and how is an index told so?

Pure but for reading digests and writing one file a run: a line for each record that is new, changed, moved
or deleted. What it compares are score records alone, since these are what an index holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import orjson

from batchscore.output.layout import Layout
from batchscore.output.manifest import Manifest
from batchscore.output.records.jsonl import json_bytes
from batchscore.output.row_digests import Digests, Halves, read_digests
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.stores.errors import explain_errors

#: What can happen to a record.
KINDS = ("new", "changed", "moved", "deleted")

Numbers: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"


@dataclass(slots=True)
class Version:
    """The score records of one version of a file's output: `parts` are the digests of its parts, in order."""

    file: str
    parts: list[Place] = field(default_factory=list)

    def each(self) -> Iterator[Digests]:
        """Give the digests of each part, in order."""
        for place in self.parts:
            found = read_digests(place)
            if found is not None:
                yield found

    def arrays(self) -> tuple[Numbers, Halves, Halves]:
        """Return row numbers, keys and versions of all score records, in order."""
        rows, keys, versions = [], [], []
        for found in self.each():
            rows.append(found.rows[found.scored])
            keys.append(found.keys()[found.scored])
            versions.append(found.versions()[found.scored])
        if not rows:
            nothing = np.empty((0, 2), np.uint64)
            return np.empty(0, np.int64), nothing, nothing
        return np.concatenate(rows), np.concatenate(keys), np.concatenate(versions)


def differences(old: Version, new: Version, *, other_settings: bool = False) -> Iterator[bytes]:
    """Give a line for each record that differs: first what is deleted, then the rest in input order.

    A row is known by its id, else by what it asks; of several that are known by the same, as many as there
    were before stand for them, those that are the same first. With `other_settings` none is the same.
    Memory: about 100 bytes a row.
    """
    old_rows, old_keys, old_versions = old.arrays()
    new_rows, new_keys, new_versions = new.arrays()
    # Where each new record stood before; -1: nowhere.
    before = np.full(new_rows.size, -1, np.int64)
    same = np.zeros(new_rows.size, np.bool_)
    gone = np.ones(old_rows.size, np.bool_)
    if not other_settings:
        ours, theirs = matched(new_versions, old_versions)
        before[ours], same[ours], gone[theirs] = old_rows[theirs], True, False
    left, lost = np.flatnonzero(before < 0), np.flatnonzero(gone)
    ours, theirs = matched(new_keys[left], old_keys[lost])
    before[left[ours]] = old_rows[lost[theirs]]
    gone[lost[theirs]] = False
    at = 0
    for part in old.each():
        rows, ids = scored(part)
        for place, row in enumerate(rows):
            if gone[at + place]:
                yield line("deleted", old.file, row, ids and ids[place])
        at += len(rows)
    at = 0
    for part in new.each():
        rows, ids = scored(part)
        for place, row in enumerate(rows):
            was = int(before[at + place])
            if was < 0:
                yield line("new", new.file, row, ids and ids[place])
            elif not same[at + place]:
                yield line("changed", new.file, row, ids and ids[place], was)
            elif was != row:
                yield line("moved", new.file, row, ids and ids[place], was)
        at += len(rows)


def scored(part: Digests) -> tuple[list[int], tuple[str | None] | None]:
    """Return rows and ids of a part's score records."""
    rows = part.rows[part.scored].tolist()
    if part.ids is None:
        return rows, None
    return rows, tuple(one for one, ok in zip(part.ids, part.scored.tolist(), strict=True) if ok)  # type: ignore[return-value]


def line(change: str, file: str, row: int, identity: Any, was: int | None = None) -> bytes:
    """Return one line of a changes file; `row` is where the record stands, or stood where it is deleted."""
    record: dict[str, Any] = {"change": change}
    if identity is not None:
        record["id"] = identity
    record |= {"file": file, "row": row}
    if was is not None:
        record["old_row"] = was
    return json_bytes(record) + b"\n"


def matched(left: Halves, right: Halves) -> tuple[Numbers, Numbers]:
    """Return which of `left` are which of `right`; of equal ones the first are the first, and so on."""
    keys = np.concatenate([left, right])
    place = np.concatenate([np.arange(len(left)), np.arange(len(right))])
    side = np.concatenate([np.zeros(len(left), np.int8), np.ones(len(right), np.int8)])
    rank = np.concatenate([ranks(left), ranks(right)])
    order = np.lexsort((side, rank, keys[:, 1], keys[:, 0]))
    keys, rank, side, place = keys[order], rank[order], side[order], place[order]
    pair = (keys[1:] == keys[:-1]).all(axis=1) & (rank[1:] == rank[:-1]) & (side[1:] > side[:-1])
    at = np.flatnonzero(pair)
    return place[at], place[at + 1]


def ranks(keys: Halves) -> Numbers:
    """Return the how-manieth of its equals each key is, from 0."""
    order = np.lexsort((np.arange(len(keys)), keys[:, 1], keys[:, 0]))
    found = keys[order]
    starts = np.ones(len(keys), np.bool_)
    starts[1:] = (found[1:] != found[:-1]).any(axis=1)
    at = np.arange(len(keys))
    rank = np.empty(len(keys), np.int64)
    rank[order] = at - np.maximum.accumulate(np.where(starts, at, 0))
    return rank


def combined(pieces: Iterable[Place], standing: Iterable[tuple[Layout, Manifest]]) -> Iterator[bytes]:
    """Give the lines of several files; an id that stands elsewhere in the output is not deleted.

    Its line names that place instead, as changed. Memory: the ids that are deleted.
    """
    places = list(pieces)
    deleted = {one["id"] for one in lines(places) if one["change"] == "deleted" and "id" in one}
    found: dict[str, tuple[str, int]] = {}
    if deleted:
        for layout, manifest in standing:
            for number in sorted(manifest.parts):
                part = read_digests(layout.digests(manifest.file, number))
                rows, ids = scored(part) if part is not None else ([], None)
                for row, identity in zip(rows, ids or (), strict=False):
                    if identity in deleted:
                        found[str(identity)] = manifest.file, row
    for one in lines(places):
        if one["change"] == "deleted" and one.get("id") in found:
            file, row = found[one["id"]]
            yield line("changed", file, row, one["id"])
        else:
            yield json_bytes(one) + b"\n"


def lines(places: Iterable[Place]) -> Iterator[dict[str, Any]]:
    """Give the lines of changes files."""
    for place in places:
        with explain_errors(place, "read"), storage.open_file(place) as file:
            for text in file:
                yield orjson.loads(text)
