"""Are an input file's records as its manifest states, and which of them are sound?

It changes nothing. Parts are read row by row, so memory does not grow with their size. Each result comes with
the manifest that would be correct without the damaged records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from heapq import merge
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from batchscore.errors import TRANSIENT, BatchscoreError, ErrorCode, OutputError, message_of
from batchscore.output.layout import Layout
from batchscore.output.manifest import (
    NOT_A_MANIFEST,
    Commit,
    Manifest,
    copy_of,
    manifest_from_json,
    part_files_of,
    read_fields,
)
from batchscore.output.part_files import damage_of, read_part
from batchscore.output.records.schema import DAMAGED
from batchscore.rows import RowError
from batchscore.stores import storage
from batchscore.stores.address import Place

#: The states that a manifest may be in.
STATES = ("complete", "partial", "unreadable")


@dataclass(frozen=True, slots=True)
class OutputProblem:
    """A fault in an output: `place` is the faulty file, `file` the input that it belongs to, if known."""

    place: str
    what: str
    file: str | None = None


@dataclass(frozen=True, slots=True)
class CheckedManifest:
    """A manifest after it was compared with its records.

    `stated` is the manifest as written, `None` if it cannot be read; `sound` the one of the sound records,
    the same object if there is no damage.
    """

    stated: Manifest | None
    sound: Manifest | None
    problems: list[OutputProblem]


def check_manifest(path: Place, root: Place, task: str) -> CheckedManifest:
    """Compare a manifest with its records; raises `OutputError` if anything cannot be read for now."""
    problems: list[OutputProblem] = []
    try:
        stated, totals = _read_stated(path, path, root, task)
    except NOT_A_MANIFEST as error:
        copy = copy_of(path)
        try:
            if not storage.exists(copy):
                raise
            stated, totals = _read_stated(copy, path, root, task)
            problems.append(
                OutputProblem(str(path), f"was cut ({error}); its copy {copy} is complete", stated.file)
            )
        except NOT_A_MANIFEST:
            what = f"is not a manifest of batchscore; it was changed or cut ({error})"
            return CheckedManifest(None, None, [OutputProblem(str(path), what)])
    layout = Layout(root, task, f".{stated.fingerprint['format']}")
    parts: dict[int, Commit] = {}
    for number in sorted(stated.parts):
        found, commit = _check_commit(layout, stated, stated.parts[number])
        problems += found
        if commit is not None:
            parts[number] = commit
    contradictions = list(_contradictions(stated, totals))
    problems += [OutputProblem(str(path), what, stated.file) for what in contradictions]
    sound = stated
    if contradictions or parts != stated.parts:
        sound = replace(stated, state="partial", problem="", parts=parts)
    return CheckedManifest(stated, sound, problems)


def _read_stated(place: Place, path: Place, root: Place, task: str) -> tuple[Manifest, dict[str, Any]]:
    """Return the manifest of `path` that is stored at `place`, and its JSON.

    Raises `ValueError` and similar errors if it is not a manifest, `OutputError` if another version wrote it.
    """
    try:
        totals = read_fields(place)
    except OutputError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        raise ValueError("it is missing") from None
    stated = manifest_from_json(totals)
    refuse_odd(stated, path, root, task)
    return stated, totals


def refuse_odd(stated: Any, path: Place, root: Place, task: str) -> None:
    """Raise `ValueError` if a manifest has values that no run writes."""
    commits = stated.parts.values()
    names = [each.name for each in fields(Commit) if each.type == "int"]
    figures = [getattr(commit, name) for commit in commits for name in names]
    files = [part for commit in commits for part in (commit.scores, commit.error_records) if part is not None]
    valid = (
        isinstance(stated.file, str)
        and stated.task == task
        and stated.state in STATES
        and (stated.dimensions is None or type(stated.dimensions) is int)
        and isinstance(stated.fingerprint, dict)
        and stated.fingerprint.get("format") in {"jsonl", "parquet"}
        and type(stated.fingerprint.get("rows_per_part")) is int
        and all(type(figure) is int and figure >= 0 for figure in figures)
        and all(isinstance(each.name, str) and type(each.bytes) is int for each in files)
    )
    if not valid:
        raise ValueError("a field is missing or has a wrong type")
    if Layout(root, task, "").manifest(stated.file) != path:
        raise ValueError(f"it describes {stated.file} and should have another name")


def _contradictions(stated: Manifest, totals: Mapping[str, Any]) -> Iterator[str]:
    """Yield the faults of a manifest that are not in a single part."""
    not_reached = stated.rows - stated.ok - stated.errors
    sums = stated.totals() | {"not_reached": not_reached}
    if len(totals["parts"]) != len(stated.parts) or any(
        totals.get(name, total) != total for name, total in sums.items()
    ):
        yield "its totals are not the sums of its parts"
    elif stated.costs["tokens_kept"] > stated.costs["tokens_billed"]:
        yield "it states more kept tokens than billed ones"
    if stated.state != "complete":
        return
    numbers, last = sorted(stated.parts), max(stated.parts, default=-1)
    numbered = _numbers_every_row(stated)
    missing = sorted({*range(last + 1)} - {*numbers}) if numbered else []
    if missing:
        yield f"it states that its file is complete, but names no part {missing[0]}"
    for number in numbers:
        commit = stated.parts[number]
        full = number == last or not numbered or commit.rows == stated.fingerprint["rows_per_part"]
        if not commit.whole or commit.ok + commit.errors != commit.rows or not full:
            yield f"it states that its file is complete, but rows of part {number} have no record"


def _numbers_every_row(stated: Manifest) -> bool:
    """Whether every number is a row: in a txt file blank lines have numbers, too, but are not rows."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(stated.file).suffixes[-2:]]
    return ".txt" not in suffixes


def _check_commit(
    layout: Layout, stated: Manifest, commit: Commit
) -> tuple[list[OutputProblem], Commit | None]:
    """Compare one part with its commit record; return problems, and the record of its sound files, if any.

    If one of two files is sound, its rows are kept and the other rows count as not reached.
    """
    name = layout.part_name(stated.file, commit.part)
    problems: list[OutputProblem] = []
    sound = commit
    for folder, part in part_files_of(layout, commit):
        what = None if part is None else damage_of(folder / name, part)
        if what is None:
            continue
        problems.append(OutputProblem(str(folder / name), what, stated.file))
        if part is commit.scores:
            sound = replace(sound, scores=None, ok=0, tokens_kept=0)
        else:
            sound = replace(sound, error_records=None, errors=0, transient=0, empty=0)
    try:
        what = _compare_records(layout, stated, sound)
    except BatchscoreError as error:
        what = message_of(error).partition(f"; {DAMAGED}")[0]
    except Exception as error:
        # A file may be changed in ways that its reader never expects.
        what = f"cannot be read: {error}"
    if what is None:
        return problems, sound
    folder = layout.scores if sound.scores is not None else layout.errors
    return [*problems, OutputProblem(str(folder / name), what, stated.file)], None


def _compare_records(layout: Layout, stated: Manifest, commit: Commit) -> str | None:
    """Return how the records differ from the commit record."""
    most = stated.fingerprint["rows_per_part"]
    first = commit.part * most
    last = first - 1
    scores = errors = transient = empty = 0
    gapless = _numbers_every_row(stated) and commit.ok + commit.errors == commit.rows
    for settled in merge(*read_part(layout, commit), key=lambda settled: settled.row):
        if settled.file != stated.file:
            return f"holds a record of {settled.file}"
        if not first <= settled.row < first + most:
            return f"holds row {settled.row}, which belongs to another part"
        if settled.row <= last:
            return f"holds row {settled.row} twice" if settled.row == last else "its rows are out of order"
        if gapless and settled.row != last + 1:
            return f"has no record of row {last + 1}"
        last = settled.row
        if isinstance(settled.result, RowError):
            errors += 1
            transient += settled.result.code in TRANSIENT
            empty += settled.result.code is ErrorCode.EMPTY_INPUT
            continue
        scores += 1
        value = settled.result.value
        if isinstance(value, np.ndarray) and not (
            len(value) == stated.dimensions and np.isfinite(value).all()
        ):
            return f"row {settled.row} is not a vector of {stated.dimensions} finite numbers"
    counted = (scores, errors, transient, empty)
    if counted != (commit.ok, commit.errors, commit.transient, commit.empty) or not (
        scores + errors <= commit.rows <= most
    ):
        return (
            f"holds {scores} scores and {errors} errors ({transient} transient, {empty} empty) of "
            f"{commit.rows} rows; its manifest says {commit.ok} and {commit.errors} ({commit.transient}, "
            f"{commit.empty})"
        )
    return None
