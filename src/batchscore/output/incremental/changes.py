"""What changed between two versions of a file's output, and how does an index learn of it?

Pure, except for reading digests and writing one file per run: a line for each record that is new, changed,
moved or deleted. Only score records are compared, since only these are in an index.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import orjson

from batchscore.output.layout import Layout
from batchscore.output.manifest import Commit, Manifest
from batchscore.output.records.json_value import json_bytes
from batchscore.output.row_digests import Digests, Halves, read_digests
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.stores.errors import explain_errors

Numbers: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"


@dataclass(slots=True)
class Version:
    """The score records of one version of a file's output: where the digests of its parts are, in order."""

    file: str
    parts: list[tuple[Place, Commit]] = field(default_factory=list)

    def digests(self) -> Iterator[Digests]:
        """Yield the digests of each part, in order."""
        for place, commit in self.parts:
            digests = read_digests(place, commit)
            if digests is not None:
                yield digests

    def arrays(self) -> tuple[Numbers, Halves, Halves]:
        """Return row numbers, keys and versions of all score records, in order."""
        rows, keys, versions = [], [], []
        for digests in self.digests():
            rows.append(digests.rows[digests.scored])
            keys.append(digests.keys()[digests.scored])
            versions.append(digests.versions()[digests.scored])
        if not rows:
            nothing = np.empty((0, 2), np.uint64)
            return np.empty(0, np.int64), nothing, nothing
        return np.concatenate(rows), np.concatenate(keys), np.concatenate(versions)

    def records(self) -> Iterator[tuple[int, str | None]]:
        """Yield row and id of all score records, in order; without an id column these are `None`."""
        for digests in self.digests():
            rows = digests.rows.tolist()
            ids = digests.ids or [None] * len(rows)
            for row, identity, scored in zip(rows, ids, digests.scored.tolist(), strict=True):
                if scored:
                    yield row, identity


def version_of(
    manifest: Manifest, layout: Layout, over: tuple[Manifest | None, Layout] | None = None
) -> Version:
    """Return the score records of a manifest; parts that it shares with the one below (`over`) are there."""
    before, beneath = over if over is not None else (None, layout)
    same = before.parts if before is not None else {}
    return Version(
        manifest.file,
        [
            ((beneath if same.get(number) == commit else layout).digests(manifest.file, number), commit)
            for number, commit in sorted(manifest.parts.items())
        ],
    )


def differences(old: Version, new: Version, *, other_settings: bool = False) -> Iterator[bytes]:
    """Yield a line for each record that differs: first the deleted ones, then the rest in input order.

    A row's key is its id, or else its prompt. Of several rows with one key, as many as there were before are
    matched with those, equal ones first. With `other_settings` no two are equal. Deleted and new lines with
    an id have the record's `version`, unless it is one of other settings, for `combine_changes`. Memory:
    about 100 bytes a row.
    """
    old_rows, old_keys, old_versions = old.arrays()
    new_rows, new_keys, new_versions = new.arrays()
    # The old row of each new record; -1: none.
    before = np.full(new_rows.size, -1, np.int64)
    same = np.zeros(new_rows.size, np.bool_)
    gone = np.ones(old_rows.size, np.bool_)
    if not other_settings:
        ours, theirs = match_equal(new_versions, old_versions)
        before[ours], same[ours], gone[theirs] = old_rows[theirs], True, False
    left, lost = np.flatnonzero(before < 0), np.flatnonzero(gone)
    ours, theirs = match_equal(new_keys[left], old_keys[lost])
    before[left[ours]] = old_rows[lost[theirs]]
    gone[lost[theirs]] = False
    for at, (row, identity) in enumerate(old.records()):
        if gone[at]:
            version = None if other_settings else version_text(old_versions[at])
            yield change_line("deleted", old.file, row, identity, version=version)
    for at, (row, identity) in enumerate(new.records()):
        was = int(before[at])
        if was < 0:
            yield change_line("new", new.file, row, identity, version=version_text(new_versions[at]))
        elif not same[at]:
            yield change_line("changed", new.file, row, identity, was)
        elif was != row:
            yield change_line("moved", new.file, row, identity, was)


def version_text(version: Any) -> str:
    """Return a version as JSON holds it."""
    return "".join(f"{half:016x}" for half in version.tolist())


def change_line(
    change: str,
    file: str,
    row: int,
    identity: str | None,
    was: int | None = None,
    *,
    old_file: str | None = None,
    version: str | None = None,
) -> bytes:
    """Return one line of a changes file; `row` is the record's row, of a deleted record the former one.

    `old_file` is named if the record was in another file. `version` is only for records with an id.
    """
    record: dict[str, Any] = {"change": change}
    if identity is not None:
        record["id"] = identity
    record |= {"file": file, "row": row}
    if old_file not in {None, file}:
        record["old_file"] = old_file
    if was is not None:
        record["old_row"] = was
    if version is not None and identity is not None:
        record["version"] = version
    return json_bytes(record) + b"\n"


def match_equal(left: Halves, right: Halves) -> tuple[Numbers, Numbers]:
    """Return the positions of equal values in both; the first of a value on the left is that on the right."""
    keys = np.concatenate([left, right])
    position = np.concatenate([np.arange(len(left)), np.arange(len(right))])
    side = np.concatenate([np.zeros(len(left), np.int8), np.ones(len(right), np.int8)])
    occurrence = np.concatenate([occurrences(left), occurrences(right)])
    order = np.lexsort((side, occurrence, keys[:, 1], keys[:, 0]))
    keys, occurrence, side, position = keys[order], occurrence[order], side[order], position[order]
    pair = (keys[1:] == keys[:-1]).all(axis=1) & (occurrence[1:] == occurrence[:-1]) & (side[1:] > side[:-1])
    at = np.flatnonzero(pair)
    return position[at], position[at + 1]


def occurrences(keys: Halves) -> Numbers:
    """Return for each key how many equal ones are before it."""
    order = np.lexsort((np.arange(len(keys)), keys[:, 1], keys[:, 0]))
    ordered = keys[order]
    starts = np.ones(len(keys), np.bool_)
    starts[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    at = np.arange(len(keys))
    counts = np.empty(len(keys), np.int64)
    counts[order] = at - np.maximum.accumulate(np.where(starts, at, 0))
    return counts


def combine_changes(pieces: Iterable[Place], manifests: Iterable[tuple[Layout, Manifest]]) -> Iterator[bytes]:
    """Yield the lines of several files; each id that is in the output after the run has at most one.

    An id that was deleted in one file and is new in another has moved there, or has changed there. If no file
    has it as new, but a file of the output holds it, it is changed, and its line names that place. Memory:
    the deleted ids.
    """
    places = list(pieces)
    deleted: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for one in read_changes(places):
        if one["change"] == "deleted" and "id" in one:
            deleted[one["id"]].append(one)
    # Nobody knows which of several deleted records of an id a reader has, so the id has changed.
    several = {identity for identity, lines in deleted.items() if len(lines) > 1}
    replaced = {
        one["id"] for one in read_changes(places) if one["change"] == "new" and one.get("id") in deleted
    }
    elsewhere = places_of_ids(deleted.keys() - replaced, manifests)
    for one in read_changes(places):
        change = one["change"]
        identity: Any = one.get("id")
        version = one.pop("version", None)
        if change == "new" and deleted.get(identity):
            old = deleted[identity].pop(0)
            same = version is not None and old.get("version") == version and identity not in several
            yield change_line(
                "moved" if same else "changed",
                one["file"],
                one["row"],
                identity,
                old["row"],
                old_file=old["file"],
            )
        elif change == "deleted" and identity in replaced:
            continue  # the line of the new record says so, also if several files had the id
        elif change == "deleted" and identity in elsewhere:
            yield change_line("changed", *elsewhere[identity], identity)
        else:
            yield json_bytes(one) + b"\n"


def places_of_ids(
    ids: Collection[str], manifests: Iterable[tuple[Layout, Manifest]]
) -> dict[str, tuple[str, int]]:
    """Return the file and row of each of these ids that the output holds."""
    found: dict[str, tuple[str, int]] = {}
    for layout, manifest in manifests if ids else ():
        records = version_of(manifest, layout).records()
        found |= {str(each): (manifest.file, row) for row, each in records if each in ids}
    return found


def read_changes(places: Iterable[Place]) -> Iterator[dict[str, Any]]:
    """Yield the lines of changes files."""
    for place in places:
        with explain_errors(place, "read"), storage.open_file(place) as file:
            for text in file:
                yield orjson.loads(text)
