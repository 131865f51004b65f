"""What did earlier runs leave in an output folder that no account names, and what is not ours in it?

It knows layouts and manifests; whose turn it is to remove something is the ledger's question.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from batchscore.errors import OutputError
from batchscore.output.layout import Layout, stem_of
from batchscore.output.manifest import Manifest, shown_names
from batchscore.stores import storage
from batchscore.stores.address import Place


def sweep(layout: Layout) -> None:
    """Remove what killed runs left half-written; where all tasks write, another may be at it now."""
    for folder in (layout.scores, layout.errors, layout.manifests):
        storage.sweep(folder)
    for folder in (layout.marker, layout.runs):
        storage.sweep(folder, older_seconds=storage.STALE_SECONDS)


def remove_parts(layout: Layout) -> None:
    """Remove all parts of a task, and what is kept beside its manifests."""
    for folder in (layout.scores, layout.errors, layout.manifests):
        for path in listed(folder, ""):
            if path.name.startswith("part-"):
                storage.remove(path)


def remove_uncommitted(layout: Layout, manifests: Sequence[Manifest]) -> None:
    """Remove files of parts that their input's manifest does not name: a killed process has left them.

    What has no manifest at all may be somebody's copy, and stays. Nor is a store looked at, where another
    machine may be at work.
    """
    stems = {stem_of(each.file) for each in manifests}
    commits = [commit for each in manifests for commit in each.parts.values()]
    for folder, named in (
        (layout.scores, {each.scores.name for each in commits if each.scores}),
        (layout.errors, {each.error_records.name for each in commits if each.error_records}),
    ):
        for path in listed(folder, "") if isinstance(folder, Path) else ():
            stem = path.name.removeprefix("part-").rpartition("-")[0]
            if path.name not in named and stem in stems and not storage.is_folder(path):
                storage.remove(path)


def refuse_foreign_files(layout: Layout) -> None:
    """Raise `OutputError` where readers of the folder would meet files that are not ours."""
    for folder in (layout.scores, layout.errors):
        foreign = [path.name for path in listed(folder, "") if not path.name.startswith("part-")]
        if foreign:
            raise OutputError(
                f"{folder} holds files that are not batchscore's, such as {foreign[0]}; "
                "choose another output folder."
            )


def listed(folder: Place, suffix: str) -> list[Place]:
    """Return the visible files of a folder, sorted; none where there is no folder."""
    return [folder / name for name in shown_names(folder) if name.endswith(suffix)]
