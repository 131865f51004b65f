"""When may a run write a single output file, and what goes into it?

The file is made of the parts of all input files. So a run must write again what an earlier run put there, or
more. This module knows manifests and parts, and reads no input.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from batchscore.errors import OutputError, setting_name
from batchscore.output.conflicts import OVERWRITE
from batchscore.output.layout import Layout
from batchscore.output.ledger import Ledger
from batchscore.output.manifest import Manifest, manifest_paths, read_manifest
from batchscore.output.records.merge_parts import merge_parts
from batchscore.output.spec import OutputSpec
from batchscore.stores import storage
from batchscore.stores.address import Place


def refuse_foreign_file(spec: OutputSpec, file: Place) -> None:
    """Raise `OutputError` if the output file exists and batchscore did not write it for this task."""
    if storage.exists(file) and not storage.exists(spec.layout.readme):
        raise OutputError(
            f"{file} exists already and batchscore did not write it. Choose another name, or replace it with "
            f"{setting_name('overwrite')}."
        )
    for layout in layouts_of_other_tasks(spec):
        if any(read_manifest(path).ok for path in manifest_paths(layout)):
            raise OutputError(
                f"{file} is for the {layout.task} scores of another run, and one file holds one task. "
                f"Choose another file name, or {OVERWRITE}."
            )


def layouts_of_other_tasks(spec: OutputSpec) -> list[Layout]:
    """Return the places of other tasks in the same folder."""
    folder = spec.layout.manifests.parent
    tasks = storage.names(folder) if storage.is_folder(folder) else []
    return [replace(spec.layout, task=task) for task in tasks if task != spec.layout.task]


def refuse_to_lose(manifests: Mapping[str, Manifest], file: Place, inputs: Iterable[str]) -> None:
    """Raise `OutputError` if the file would lose scores of files that are not among `inputs`."""
    present = set(inputs)
    lost = sorted(name for name, manifest in manifests.items() if manifest.ok and name not in present)
    if lost:
        others = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise OutputError(
            f"{file} also holds the scores of {lost[0]}{others}, which are not among the inputs, so they "
            f"would be lost. Name all inputs again, choose another file name, or {OVERWRITE}."
        )


def write_one_file(ledger: Ledger, file: Place, inputs: Iterable[str], dimensions: int | None) -> None:
    """Write the scores of `inputs`, in their order, to one file.

    `dimensions` is the vectors' length in the settings. Without scores and without a length there is no file,
    since a column of vectors has a length.
    """
    parts = list(score_files_in_order(ledger.spec.layout, ledger.manifests, inputs))
    schema = ledger.spec.schema
    if not parts and schema.is_vector and file.suffix.lower() != ".jsonl":
        if dimensions is None:
            storage.remove(file)
            return
        schema = replace(schema, dimensions=dimensions)
    merge_parts(parts, file, schema)


def score_files_in_order(
    layout: Layout, manifests: Mapping[str, Manifest], inputs: Iterable[str]
) -> Iterator[Place]:
    """Yield the score files of the inputs, in order."""
    for name in inputs:
        parts = manifests[name].parts if name in manifests else {}
        for number in sorted(parts):
            scores = parts[number].scores
            if scores is not None:
                yield layout.scores / scores.name
