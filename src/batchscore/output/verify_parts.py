"""Are an input file's records as its manifest states, and which of them are sound?

It changes nothing. Parts are read row by row, so memory does not grow with their size. Each result comes with
the manifest that would be correct without the damaged records.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from heapq import merge

import numpy as np

from batchscore.errors import TRANSIENT, BatchscoreError, ErrorCode, message_of
from batchscore.output.layout import Layout, copy_of
from batchscore.output.manifest import Commit, Manifest, manifest_from_json, part_files_of, read_fields
from batchscore.output.manifest_check import contradictions, numbers_every_row
from batchscore.output.part_files import damage_of, read_part
from batchscore.output.records.schema import DAMAGED, schema_of
from batchscore.output.repeated_ids import RepeatedIds
from batchscore.output.row_digests import damage_of_digests
from batchscore.rows import RowError
from batchscore.stores.address import Place


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
    an equal one if there is no damage.
    """

    stated: Manifest | None
    sound: Manifest | None
    problems: list[OutputProblem]


def check_manifest(path: Place, root: Place, task: str, repeated: RepeatedIds) -> CheckedManifest:
    """Compare a manifest with its records, and note their ids.

    Raises `OutputError` if anything cannot be read for now.
    """
    problems: list[OutputProblem] = []
    try:
        fields = read_fields(path, path)
    except ValueError as error:
        copy = copy_of(path)
        try:
            fields = read_fields(copy, path)
        except ValueError:
            what = f"is not a manifest of batchscore; it was changed or cut ({error})"
            return CheckedManifest(None, None, [OutputProblem(str(path), what)])
        what = f"was cut ({error}); its copy {copy} is complete"
        problems.append(OutputProblem(str(path), what, fields["file"]))
    stated = manifest_from_json(fields)
    layout = Layout(root, task, f".{stated.fingerprint['format']}")
    length = _length_of_vectors(layout, stated)
    if length not in {None, stated.dimensions}:
        what = f"states vectors of {stated.dimensions} numbers, but its records have {length}"
        problems.append(OutputProblem(str(path), what, stated.file))
    right = replace(stated, dimensions=length or stated.dimensions)
    parts: dict[int, Commit] = {}
    for number in sorted(stated.parts):
        found, commit = _check_commit(layout, right, stated.parts[number], repeated)
        problems += found
        if commit is not None:
            parts[number] = commit
    faults = list(contradictions(fields))
    problems += [OutputProblem(str(path), what, stated.file) for what in faults]
    sound = replace(right, parts=parts)
    if faults or any(
        _records(parts.get(number)) != _records(stated.parts[number]) for number in stated.parts
    ):
        sound = replace(sound, state="partial", problem="")
    if sound.costs["tokens_kept"] > sound.costs["tokens_billed"]:
        for number, commit in parts.items():
            parts[number] = replace(commit, tokens_kept=min(commit.tokens_kept, commit.tokens_billed))
    if not sound.ok:
        sound.dimensions = None
    return CheckedManifest(stated, sound, problems)


def _records(commit: Commit | None) -> Commit | None:
    """Return a commit record without what it says about other files than records."""
    return None if commit is None else replace(commit, row_digests="")


def _length_of_vectors(layout: Layout, stated: Manifest) -> int | None:
    """Return the length of the vectors in the first sound part; `None` if there is none."""
    for number in sorted(stated.parts):
        scores = stated.parts[number].scores
        path = layout.scores / layout.part_name(stated.file, number)
        with suppress(BatchscoreError):
            if scores is not None and damage_of(path, scores) is None:
                return schema_of(path, layout.task).dimensions
    return None


def _check_commit(
    layout: Layout, stated: Manifest, commit: Commit, repeated: RepeatedIds
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
        what = _compare_records(layout, stated, sound, repeated)
    except BatchscoreError as error:
        what = message_of(error).partition(f"; {DAMAGED}")[0]
    except Exception as error:
        # A file may be changed in ways that its reader never expects.
        what = f"cannot be read: {error}"
    if what is None:
        digests = layout.digests(stated.file, commit.part)
        of_digests = damage_of_digests(digests, commit)
        if of_digests is not None:
            problems.append(OutputProblem(str(digests), of_digests, stated.file))
            sound = replace(sound, row_digests="")
        return problems, sound
    folder = layout.scores if sound.scores is not None else layout.errors
    return [*problems, OutputProblem(str(folder / name), what, stated.file)], None


def _compare_records(layout: Layout, stated: Manifest, commit: Commit, repeated: RepeatedIds) -> str | None:
    """Return how the records differ from the commit record."""
    most = stated.fingerprint["rows_per_part"]
    first = commit.part * most
    last = first - 1
    scores = errors = transient = empty = 0
    gapless = numbers_every_row(stated.file) and commit.ok + commit.errors == commit.rows
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
        if settled.id is not None:
            repeated.note(settled.file, settled.row, settled.id)
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
