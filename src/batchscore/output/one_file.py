"""When may a run write the one file that was asked for, and what does it hold?

The file is made anew of the parts of all input files, so what an earlier run put there must be what this
run would put there again, or more of it. It knows manifests and parts, and reads no input.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from batchscore.errors import OutputError
from batchscore.output.ledger import Ledger
from batchscore.output.leftovers import listed
from batchscore.output.manifest import read_manifest
from batchscore.output.records.merge_parts import merge_parts
from batchscore.stores import storage
from batchscore.stores.address import Place

WAYS_ON = "choose another name for the file, or discard the old scores with --overwrite."


def refuse_other_tasks(ledger: Ledger, file: Place) -> None:
    """Raise `OutputError` where the file is another task's."""
    for other in other_tasks(ledger):
        if any(read_manifest(path).ok for path in listed(other.layout.manifests, ".json")):
            raise OutputError(
                f"{file} is for the {other.layout.task} scores of another run, and one file holds one task: "
                f"{WAYS_ON}"
            )


def discard_other_tasks(ledger: Ledger) -> int:
    """Remove the parts that other tasks left for the same file; returns the scores that they held."""
    return sum(other.discard() for other in other_tasks(ledger))


def other_tasks(ledger: Ledger) -> list[Ledger]:
    """Return the accounts that other tasks have in the same folder."""
    folder = ledger.layout.manifests.parent
    tasks = storage.names(folder) if storage.is_folder(folder) else []
    layouts = [replace(ledger.layout, task=task) for task in tasks if task != ledger.layout.task]
    return [replace(ledger, layout=layout, manifests={}, open={}, written={}, sizes={}) for layout in layouts]


def refuse_to_lose(ledger: Ledger, file: Place, inputs: Collection[str]) -> None:
    """Raise `OutputError` where the file would lose scores, those of files that are not among `inputs`."""
    lost = sorted(name for name, manifest in ledger.manifests.items() if manifest.ok and name not in inputs)
    if lost:
        others = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise OutputError(
            f"{file} is for the scores of {lost[0]}{others}, too, which this run does not score, so the "
            f"file would lose them: name all inputs again, {WAYS_ON}"
        )


def write_one_file(ledger: Ledger, file: Place, inputs: Iterable[str], dimensions: int | None) -> None:
    """Write the scores of `inputs`, in their order, to one file.

    `dimensions` is the vectors' length as it was asked for. Where nothing was scored and nobody knows it,
    there is no file, since a column of vectors has a length.
    """
    parts = list(ledger.score_parts(inputs))
    schema = ledger.schema
    if not parts and schema.is_vector and file.suffix.lower() != ".jsonl":
        if dimensions is None:
            storage.remove(file)
            return
        schema = replace(schema, dimensions=dimensions)
    merge_parts(parts, file, schema)
