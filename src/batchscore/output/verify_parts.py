"""Are an input file's records what its manifest says, and what of them stands?

It must not change anything, nor know why it is asked. Parts are read row by row, so that memory stays the
same whatever their size. What is found wrong comes with the account that would be right without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from heapq import merge
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import orjson

from batchscore.errors import TRANSIENT, BatchscoreError, ErrorCode, OutputError
from batchscore.output.layout import Layout
from batchscore.output.manifest import VERSION, Commit, Manifest, PartFile, copy_of, manifest_from_json
from batchscore.output.records.formats import format_of
from batchscore.output.records.infer_schema import schema_of
from batchscore.rows import RowError, Settled
from batchscore.stores import storage
from batchscore.stores.address import Place

#: The states that a manifest may be in.
STATES = ("complete", "partial", "unreadable")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not right: `place` is the file it is about, `file` the input, if that is known."""

    place: str
    what: str
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """A manifest that was held against its records.

    `said` is what it says, `None` where it cannot be read; `sound` what of it stands, the same object where
    nothing is wrong. `named` are the part files that it names, scores and errors apart.
    """

    path: Place
    said: Manifest | None
    sound: Manifest | None
    problems: tuple[Problem, ...]
    named: frozenset[tuple[str, str]]


def check_manifest(path: Place, root: Place, task: str) -> Checked:
    """Hold a manifest against its records; raises `OutputError` where something cannot be read at all."""
    problems: list[Problem] = []
    try:
        said, totals = read_totals(path, path, root, task)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        copy = copy_of(path)
        try:
            if not storage.exists(copy):
                raise
            said, totals = read_totals(copy, path, root, task)
            problems.append(Problem(str(path), f"was cut ({error}); its copy {copy} stands", said.file))
        except (ValueError, TypeError, KeyError, AttributeError):
            return unreadable(path, f"is no manifest of ours, it was changed or cut ({error})")
    layout = Layout(root, task, f".{said.fingerprint['format']}")
    parts: dict[int, Commit] = {}
    for number in sorted(said.parts):
        commit = said.parts[number]
        found, sound = check_commit(layout, said, commit)
        problems += [replace(problem, file=said.file) for problem in found]
        if sound is not None:
            parts[number] = sound
    problems += [Problem(str(path), what, said.file) for what in wrong_in_all(said, totals)]
    named = frozenset(
        (kind, part.name)
        for commit in said.parts.values()
        for kind, part in (("scores", commit.scores), ("errors", commit.error_records))
        if part is not None
    )
    if not problems:
        return Checked(path, said, said, (), named)
    if parts == said.parts and all(problem.what.startswith("was cut") for problem in problems):
        return Checked(path, said, said, tuple(problems), named)
    return Checked(
        path, said, replace(said, state="partial", problem="", parts=parts), tuple(problems), named
    )


def read_totals(place: Place, path: Place, root: Place, task: str) -> tuple[Manifest, dict[str, Any]]:
    """Return the manifest of `path` that stands at a place, and as it is written.

    Raises `ValueError` and the like where it is none.
    """
    try:
        totals = orjson.loads(b"".join(storage.chunks(place)))
    except OutputError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        raise ValueError("it is not there") from None
    refuse_other_version(path, totals)
    said = manifest_from_json(totals)
    refuse_odd(said, path, root, task)
    return said, totals


def unreadable(path: Place, what: str) -> Checked:
    """Return what is known of a manifest that cannot be read: nothing."""
    return Checked(path, None, None, (Problem(str(path), what),), frozenset())


def refuse_other_version(path: Place, totals: Any) -> None:
    """Raise `OutputError` where only another version can tell what is right."""
    version = totals.get("version")
    if type(version) is int and version != VERSION:
        raise OutputError(f"{path} was written by another version of batchscore; check it with that one.")


def refuse_odd(said: Any, path: Place, root: Place, task: str) -> None:
    """Raise `ValueError` where a manifest says what none can."""
    commits = said.parts.values()
    figures = [
        figure
        for commit in commits
        for figure in (
            *(commit.part, commit.rows, commit.ok, commit.errors, commit.transient, commit.empty),
            *(commit.attempts, commit.tokens_billed, commit.tokens_kept),
        )
    ]
    files = [part for commit in commits for part in (commit.scores, commit.error_records) if part is not None]
    right = (
        isinstance(said.file, str)
        and said.task == task
        and said.state in STATES
        and (said.dimensions is None or type(said.dimensions) is int)
        and isinstance(said.fingerprint, dict)
        and said.fingerprint.get("format") in {"jsonl", "parquet"}
        and type(said.fingerprint.get("rows_per_part")) is int
        and all(type(figure) is int and figure >= 0 for figure in figures)
        and all(isinstance(each.name, str) and type(each.bytes) is int for each in files)
    )
    if not right:
        raise ValueError("a field is missing, or of another kind")
    if Layout(root, task, "").manifest(said.file) != path:
        raise ValueError(f"it is about {said.file} and should have another name")


def wrong_in_all(said: Manifest, totals: Mapping[str, Any]) -> Iterator[str]:
    """Give what is wrong with a manifest beyond its single parts."""
    counted = (said.rows, said.ok, said.errors, said.rows - said.ok - said.errors, len(said.parts))
    stated = tuple(totals.get(name) for name in ("rows", "ok", "errors", "not_reached"))
    if (*stated, len(totals["parts"])) != counted:
        yield "its totals are not those of its parts"
    elif any(totals.get(name, total) != total for name, total in said.costs.items()):
        yield "its attempts and tokens are not those of its parts"
    elif said.costs["tokens_kept"] > said.costs["tokens_billed"]:
        yield "it says that more tokens were kept than were billed"
    if said.state != "complete":
        return
    numbers, last = sorted(said.parts), max(said.parts, default=-1)
    holes = sorted({*range(last + 1)} - {*numbers}) if without_gaps(said) else []
    if holes:
        yield f"it says that its file is complete, and names no part {holes[0]}"
    for number in numbers:
        commit = said.parts[number]
        full = number == last or not without_gaps(said) or commit.rows == said.fingerprint["rows_per_part"]
        if not commit.whole or commit.ok + commit.errors != commit.rows or not full:
            yield f"it says that its file is complete, and rows of part {number} have no record"


def without_gaps(said: Manifest) -> bool:
    """Whether every row number is a row: in text read by lines, blank lines are numbered and are no rows."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(said.file).suffixes[-2:]]
    return ".txt" not in suffixes


def check_commit(layout: Layout, said: Manifest, commit: Commit) -> tuple[list[Problem], Commit | None]:
    """Hold one part against its commit record; returns what is wrong, and the record that stands, if any.

    Of a part with one sound file that file's rows stand, and the others count as not reached.
    """
    name = layout.part_name(said.file, commit.part)
    first = commit.part * said.fingerprint["rows_per_part"]
    problems: list[Problem] = []
    sound = commit
    for folder, part in ((layout.scores, commit.scores), (layout.errors, commit.error_records)):
        if part is None:
            continue
        what = wrong_in_bytes(folder / name, part)
        if what is not None:
            problems.append(Problem(str(folder / name), what))
            if part is commit.scores:
                sound = replace(sound, scores=None, ok=0, tokens_kept=0)
            else:
                sound = replace(sound, error_records=None, errors=0, transient=0, empty=0)
    try:
        what = wrong_in_records(layout, said, sound, first)
    except BatchscoreError as error:
        what = str(error).partition("; the file was changed")[0]
    except Exception as error:
        # Whoever changed a file may have done so in a way that its reader never thought of.
        what = f"cannot be read: {error}"
    if what is not None:
        kind = layout.scores if sound.scores is not None else layout.errors
        return [*problems, Problem(str(kind / name), what)], None
    return problems, sound


def intact(layout: Layout, commit: Commit) -> bool:
    """Whether a part's files are there as its commit record says, to the byte, and no other beside them."""
    named = commit.scores or commit.error_records
    if named is None:
        return True
    try:
        return all(
            not storage.exists(folder / named.name)
            if part is None
            else wrong_in_bytes(folder / part.name, part) is None
            for folder, part in ((layout.scores, commit.scores), (layout.errors, commit.error_records))
        )
    except OutputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return False  # it was there a moment ago
        raise


def wrong_in_bytes(path: Place, part: PartFile) -> str | None:
    """Return what is wrong with a part's file as a whole; raises `OutputError` where it cannot be read."""
    if part.name != path.name:
        return f"is not what its manifest names: {part.name}"
    try:
        size = path.stat().st_size if isinstance(path, Path) else storage.size_of(path)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {error.strerror}.") from None
    if size is None:
        return "is missing"
    if size != part.bytes:
        return f"has {size:,} bytes instead of {part.bytes:,}"
    return None if storage.digest_file(path) == part.digest else "was changed: its digest is not the same"


def wrong_in_records(layout: Layout, said: Manifest, commit: Commit, first: int) -> str | None:
    """Return how the records differ from what the commit record says."""
    last, most = first - 1, said.fingerprint["rows_per_part"]
    scores = errors = transient = empty = 0
    gapless = without_gaps(said) and commit.ok + commit.errors == commit.rows
    for settled in merge(*records(layout, said, commit), key=lambda settled: settled.row):
        if settled.file != said.file:
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
        if isinstance(value, np.ndarray) and not (len(value) == said.dimensions and np.isfinite(value).all()):
            return f"row {settled.row} is no vector of {said.dimensions} finite numbers"
    found, stated = (
        (scores, errors, transient, empty),
        (commit.ok, commit.errors, commit.transient, commit.empty),
    )
    if found != stated or scores + errors > commit.rows or commit.rows > most:
        return (
            f"holds {scores} scores and {errors} errors ({transient} to be asked again, {empty} empty) of "
            f"{commit.rows} rows; its manifest says {commit.ok} and {commit.errors} ({commit.transient}, "
            f"{commit.empty})"
        )
    return None


def records(layout: Layout, said: Manifest, commit: Commit) -> Iterator[Iterator[Settled]]:
    """Give the records of a part's files, each file's in the order in which they stand."""
    if commit.scores is not None:
        path = layout.scores / commit.scores.name
        schema = replace(schema_of(path, said.task), dimensions=said.dimensions)
        yield format_of(path).decode_scores(path, schema)
    if commit.error_records is not None:
        path = layout.errors / commit.error_records.name
        yield format_of(path).decode_errors(path, schema_of(path, said.task, answer="error"))
