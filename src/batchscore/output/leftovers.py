"""What is in an output folder besides the present results: leftovers of earlier runs, and foreign files?

It knows layouts, manifests and journals. The ledgers decide when to call it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from batchscore.errors import OutputError
from batchscore.output.journal import Journals
from batchscore.output.layout import Layout, stem_of
from batchscore.output.manifest import (
    Manifest,
    manifest_paths,
    read_manifest,
    remove_manifest,
    visible_names,
)
from batchscore.stores import storage
from batchscore.stores.address import Place


def sweep(layout: Layout, *, shared: bool = False) -> None:
    """Remove half-written files of killed runs; only old ones where another run may be writing now."""
    for folder in (layout.scores, layout.errors, layout.manifests):
        storage.sweep(folder, older_seconds=storage.STALE_SECONDS if shared else 0.0)
    for folder in (layout.marker, layout.runs):
        storage.sweep(folder, older_seconds=storage.STALE_SECONDS)


def discard_scores(layout: Layout, journals: Journals) -> int:
    """Remove a task's parts, manifests and journals; return the number of scores that they held."""
    scores = 0
    journals.clear()
    manifests = manifest_paths(layout)
    for path in manifests:
        with suppress(OutputError):
            scores += read_manifest(path).ok
    # First the parts: if this is interrupted, each remaining part is named by a manifest.
    for folder in (layout.scores, layout.errors, layout.manifests):
        for path in list_files(folder):
            if path.name.startswith("part-"):
                storage.remove(path)
    for path in manifests:
        remove_manifest(path)
    return scores


def remove_uncommitted(layout: Layout, manifests: Sequence[Manifest]) -> None:
    """Remove files of parts that their input's manifest does not name: a killed run left them.

    A part without any manifest may be a user's copy, and stays. A store is left alone, since another machine
    may be writing there.
    """
    stems = {stem_of(each.file) for each in manifests}
    commits = [commit for each in manifests for commit in each.parts.values()]
    for folder, named in (
        (layout.scores, {each.scores.name for each in commits if each.scores}),
        (layout.errors, {each.error_records.name for each in commits if each.error_records}),
    ):
        for path in list_files(folder) if isinstance(folder, Path) else ():
            stem = path.name.removeprefix("part-").rpartition("-")[0]
            if path.name not in named and stem in stems and not storage.is_folder(path):
                storage.remove(path)


def refuse_foreign_files(layout: Layout) -> None:
    """Raise `OutputError` if the folders that other tools read hold files that are not ours."""
    for folder in (layout.scores, layout.errors):
        foreign = [path.name for path in list_files(folder) if not path.name.startswith("part-")]
        if foreign:
            raise OutputError(
                f"{folder} holds files that are not batchscore's, such as {foreign[0]}. "
                "Choose another output folder."
            )


def list_files(folder: Place, suffix: str = "") -> list[Place]:
    """Return the visible files of a folder, sorted; none if there is no folder. Raises `OutputError`."""
    return [folder / name for name in visible_names(folder) if name.endswith(suffix)]
