"""How does an output folder become one file after its run?

It finds the parts that count and puts them in input order; `records.merge_parts` writes the file. It does not
change the folder, and reports what the output still lacks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from batchscore.errors import OutputError, OutputLocked, setting_name
from batchscore.output.find import (
    Incomplete,
    folder_of_locks,
    incomplete_files,
    output_folder,
    score_parts,
    task_of,
)
from batchscore.output.leftovers import list_files
from batchscore.output.locks.lock import refuse_locked
from batchscore.output.manifest import read_manifest
from batchscore.output.records.infer_schema import first_record, schema_of
from batchscore.output.records.merge_parts import merge_parts, refuse_other_suffix
from batchscore.read.files import digest
from batchscore.stores import storage
from batchscore.stores.address import Place, StoredPath


@dataclass(frozen=True, slots=True)
class MergeResult:
    """The merged file: `rows` score records; `errors` rows have an error record instead.

    `missing` says in words what the output lacks; empty if it is complete or has no manifests.
    """

    task: str
    rows: int
    errors: int
    missing: tuple[str, ...]


def merge_output(
    named: Place, file: Place, *, task: str | None = None, overwrite: bool = False
) -> MergeResult:
    """Write the scores of an output folder to one file, in input order, in constant memory.

    Raises `UsageError` if the file's suffix is not a format, `OutputError` if the file may not be written
    there or a part is not as its manifest says, `InputError` if there are no scores.
    """
    refuse_other_suffix(file)
    folder = output_folder(named)
    task = task_of(folder, named, task)
    errors, missing, keep = _check_parts(folder, task)
    _refuse_target(folder, task, file, overwrite=overwrite)
    parts = score_parts(folder, task)
    if not storage.is_folder(folder / "manifest"):
        # Sort by input file; the parts of each file are in order already.
        parts.sort(key=lambda part: str(first_record(part).get("file")).split("/"))
    schema = schema_of(parts[0], task, keep)
    return MergeResult(task, merge_parts(parts, file, schema), errors, missing)


def _check_parts(folder: Place, task: str) -> tuple[int, tuple[str, ...], tuple[str, ...] | None]:
    """Return the rows with errors, what is missing, and the names of the kept columns, if they are known.

    Raises `OutputError` if a part has another size than its manifest says.
    """
    errors = not_reached = 0
    keep: tuple[str, ...] | None = None
    incomplete = incomplete_files(folder, task)
    for path in list_files(folder / "manifest" / task, ".json"):
        manifest = read_manifest(path)
        errors += manifest.errors
        not_reached += manifest.rows - manifest.ok - manifest.errors
        if manifest.state == "complete":
            incomplete.pop(manifest.file, None)
        else:
            incomplete[manifest.file] = Incomplete(manifest.problem or "not read to its end")
        names = manifest.fingerprint.get("keep")
        if isinstance(names, list) and "*" not in names:
            keep = tuple(names)
        for commit in manifest.parts.values():
            part = commit.scores
            if part is not None and storage.size_of(folder / task / part.name) not in {None, part.bytes}:
                raise OutputError(
                    f"{folder / task / part.name} was changed after it was written. "
                    "`batchscore verify` shows all damage."
                )
    missing = [f"{not_reached:,} rows that were read have no record"] if not_reached else []
    missing += [f"{file}: {why}" for file, why in sorted(incomplete.items())]
    try:
        refuse_locked(folder_of_locks(folder), task, what=str(folder))
    except OutputLocked as error:
        missing.append(str(error).partition(". ")[0])
    return errors, tuple(missing), keep


def _refuse_target(folder: Place, task: str, file: Place, *, overwrite: bool) -> None:
    """Raise `OutputError` if the file would be in the output folder, or would replace something else."""
    if _is_within(file, folder):
        raise OutputError(f"{file} is in the output folder {folder} itself. Choose another folder for it.")
    if not storage.exists(file):
        return
    if not overwrite:
        raise OutputError(
            f"{file} exists already. Choose another name, or replace it with {setting_name('overwrite')}."
        )
    if storage.is_folder(file) or (isinstance(file, Path) and not file.is_file()):
        raise OutputError(f"{file} is not a file. Choose another name.")
    found = digest(file)
    for path in list_files(folder / "manifest" / task, ".json"):
        manifest = read_manifest(path)
        if manifest.input == found:
            raise OutputError(f"{file} is the input {manifest.file} of these scores. Choose another name.")


def _is_within(file: Place, folder: Place) -> bool:
    """Whether a file would be below a folder, on this machine or in one store."""
    if isinstance(file, StoredPath) or isinstance(folder, StoredPath):
        return f"{file}/".startswith(f"{folder}/")
    return file.resolve().is_relative_to(folder.resolve())
