"""Which published parts has somebody removed while the run was working?

A run asks at its end: its record must not count what is gone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from batchscore.output.layout import Layout, copy_of, stem_of
from batchscore.output.manifest import Commit, Manifest, part_files_of
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.stores.storage import visible_names


def removed_parts(
    layout: Layout, manifests: Iterable[Manifest], own: Mapping[str, set[int]] | None
) -> dict[str, list[tuple[Place, Commit]]]:
    """Return the published parts that somebody has removed since, by input file, each with a missing file.

    `own` are the numbers of the parts of each file that only this run writes; `None`: all.
    """
    listed: dict[Place, set[str]] = {}

    def is_there(folder: Place, name: str) -> bool:
        if own is not None:
            # A folder of many workers takes long to list, and has few parts of this one.
            return storage.exists(folder / name)
        if folder not in listed:
            listed[folder] = set(visible_names(folder))
        return name in listed[folder]

    # If a manifest could not be written in place, its copy is there, and nothing is lost.
    folders = layout.manifests, copy_of(layout.manifests / "x").parent
    removed: dict[str, list[tuple[Place, Commit]]] = defaultdict(list)
    for manifest in manifests:
        mine = manifest.parts.keys() if own is None else own.get(manifest.file, set())
        numbers = sorted(mine & manifest.parts.keys())
        name = f"{stem_of(manifest.file)}.json"
        has_manifest = not numbers or is_there(folders[0], name) or is_there(folders[1], name)
        for commit in map(manifest.parts.__getitem__, numbers):
            for folder, part in part_files_of(layout, commit):
                if part is not None and not is_there(folder, part.name):
                    removed[manifest.file].append((folder / part.name, commit))
                    break
            else:
                if not has_manifest:
                    removed[manifest.file].append((layout.manifests / name, commit))
    return removed
