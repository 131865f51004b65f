"""How does an output folder become one file, later?

It finds the parts that count and puts them in input order; `write.merge` does the rest. It may not touch
the folder itself, and tells when what it merges is not all there will be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from batchscore.errors import OutputError, OutputLocked, UsageError
from batchscore.output.find import (
    Left,
    folder_of_locks,
    left_by_last_run,
    output_folder,
    score_parts,
    task_of,
)
from batchscore.output.leftovers import list_files
from batchscore.output.locks.lock import refuse_locked
from batchscore.output.manifest import read_manifest
from batchscore.output.records.infer_schema import first_record, schema_of
from batchscore.output.records.merge_parts import MERGED_SUFFIXES, merge_parts
from batchscore.read import digest
from batchscore.stores import storage
from batchscore.stores.address import Place, StoredPath


@dataclass(frozen=True, slots=True)
class Merged:
    """What stands in the file: `rows` score records. `errors` rows have an error record instead.

    `missing`, in words, is what the output does not hold yet; empty where it is complete, or where there
    are no manifests that could tell.
    """

    task: str
    rows: int
    errors: int
    missing: tuple[str, ...]


def merge_output(named: Place, file: Place, *, task: str | None = None, overwrite: bool = False) -> Merged:
    """Write the scores of an output folder to one file, in input order, in constant memory.

    Raises `UsageError` where the file's suffix is no format, `OutputError` where the file may not be
    written there or a part is not as its manifest says, `InputError` where there are no scores.
    """
    if file.suffix.lower() not in MERGED_SUFFIXES:
        raise UsageError(f"{file}: one file of scores ends in {', '.join(MERGED_SUFFIXES)}.")
    folder = output_folder(named)
    task = task_of(folder, named, task)
    errors, missing, keep = account(folder, task)
    refuse_target(folder, task, file, overwrite=overwrite)
    _, parts = score_parts(folder, task)
    if not storage.is_folder(folder / "manifest"):
        parts = by_input(parts)
    schema = schema_of(parts[0], task, keep)
    return Merged(task, merge_parts(parts, file, schema), errors, missing)


def account(folder: Place, task: str) -> tuple[int, tuple[str, ...], tuple[str, ...] | None]:
    """Return the rows with errors, what is missing, and the names of the kept columns, if they are known.

    Raises `OutputError` where a part has not the size that its manifest says.
    """
    errors = not_reached = 0
    keep: tuple[str, ...] | None = None
    left = left_by_last_run(folder, task)
    for path in list_files(folder / "manifest" / task, ".json"):
        manifest = read_manifest(path)
        errors += manifest.errors
        not_reached += manifest.rows - manifest.ok - manifest.errors
        if manifest.state == "complete":
            left.pop(manifest.file, None)
        else:
            left[manifest.file] = Left(manifest.problem or "not read to its end")
        names = manifest.fingerprint.get("keep")
        if isinstance(names, list) and "*" not in names:
            keep = tuple(names)
        for commit in manifest.parts.values():
            part = commit.scores
            if part is not None and storage.size_of(folder / task / part.name) not in {None, part.bytes}:
                raise OutputError(
                    f"{folder / task / part.name} is not as it was written: `batchscore verify` says more."
                )
    missing = [f"{not_reached:,} rows that were read have no record"] if not_reached else []
    missing += [f"{file}: {why}" for file, why in sorted(left.items())]
    try:
        refuse_locked(folder_of_locks(folder), task, what=str(folder))
    except OutputLocked as error:
        missing.append(str(error).partition(". ")[0])
    return errors, tuple(missing), keep


def refuse_target(folder: Place, task: str, file: Place, *, overwrite: bool) -> None:
    """Raise `OutputError` where the file would stand among the parts, or in place of something else."""
    if stands_in(file, folder):
        raise OutputError(f"{file} would stand in the output folder {folder} itself; choose another place.")
    if not storage.exists(file):
        return
    if not overwrite:
        raise OutputError(f"{file} is there already; choose another name, or replace it with --overwrite.")
    if storage.is_folder(file) or (isinstance(file, Path) and not file.is_file()):
        raise OutputError(f"{file} is not a file; choose another name.")
    found = digest(file)
    for path in list_files(folder / "manifest" / task, ".json"):
        manifest = read_manifest(path)
        if manifest.input == found:
            raise OutputError(f"{file} is the input {manifest.file} of these scores; choose another name.")


def stands_in(file: Place, folder: Place) -> bool:
    """Whether a file would stand below a folder, on this machine or in one store."""
    if isinstance(file, StoredPath) or isinstance(folder, StoredPath):
        return f"{file}/".startswith(f"{folder}/")
    return file.resolve().is_relative_to(folder.resolve())


def by_input(parts: Sequence[Place]) -> list[Place]:
    """Put parts in the order of their input files, as their records name these; their own order stays."""
    return sorted(parts, key=lambda part: input_of(part).split("/"))


def input_of(part: Place) -> str:
    """Return the input file that a part's first record names; raises `InputError`."""
    return str(first_record(part).get("file"))
