"""Which published parts has somebody removed while the run was working?

A run asks at its end: its record must not count what is gone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from batchscore.output.layout import Layout
from batchscore.output.manifest import Commit, Manifest, copy_of, part_files_of, visible_names
from batchscore.stores import storage
from batchscore.stores.address import Place


def removed_parts(
    layout: Layout, manifests: Iterable[Manifest], own: Mapping[str, set[int]] | None
) -> dict[str, list[tuple[Place, Commit]]]:
    """Return the published parts that somebody has removed since, by input file, each with a missing file.

    `own` are the numbers of the parts of each file that only this run writes; `None`: all.
    """
    listed: dict[Place, set[str]] = {}

    def is_there(place: Place) -> bool:
        if own is not None:
            # A folder of many workers takes long to list, and has few parts of this one.
            return storage.exists(place)
        folder = place.parent
        if folder not in listed:
            listed[folder] = set(visible_names(folder))
        return place.name in listed[folder]

    removed: dict[str, list[tuple[Place, Commit]]] = defaultdict(list)
    for manifest in manifests:
        path = layout.manifest(manifest.file)
        for number, commit in sorted(manifest.parts.items()):
            if own is not None and number not in own.get(manifest.file, ()):
                continue
            places = [folder / part.name for folder, part in part_files_of(layout, commit) if part]
            # If a manifest could not be written in place, its copy is there, and nothing is lost.
            places.append(path if is_there(path) else copy_of(path))
            gone = [place for place in places if not is_there(place)]
            if gone:
                removed[manifest.file].append((path if gone == [copy_of(path)] else gone[0], commit))
    return removed
