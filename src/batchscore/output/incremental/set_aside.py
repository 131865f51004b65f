"""Where are answers kept whose input has changed since, so that they are not paid twice?

They are set aside as parts with their digests, in numbered folders of the usual layout, until a run has
finished. This module knows no inputs and sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from batchscore.output.incremental.switch import copy_part, remove_part
from batchscore.output.layout import Layout, stem_of
from batchscore.output.ledger import Ledger
from batchscore.output.manifest import (
    Manifest,
    read_manifests,
    remove_manifest,
    visible_names,
    write_manifest,
)
from batchscore.output.part_files import PartFiles
from batchscore.output.parts import Part
from batchscore.stores import storage


def read_set_aside(layout: Layout) -> Iterator[tuple[Layout, Manifest]]:
    """Yield the manifests that were set aside, each with its places."""
    for number in numbers_set_aside(layout):
        place = replace(layout, root=layout.root / "aside" / str(number))
        yield from ((place, manifest) for manifest in read_manifests(place))


def numbers_set_aside(layout: Layout) -> list[int]:
    """Return the numbers of the folders that were set aside, in order."""
    return sorted(int(name) for name in visible_names(layout.root / "aside") if name.isdigit())


def new_layout_set_aside(layout: Layout) -> Layout:
    """Return the places of a folder that is still empty."""
    number = max(numbers_set_aside(layout), default=-1) + 1
    return replace(layout, root=layout.root / "aside" / str(number))


def set_version_aside(ledger: Ledger, file: str) -> None:
    """Set aside the answers of a version whose input has changed since, and remove the version."""
    set_journals_aside(ledger, ledger, file)
    layout = ledger.spec.layout
    manifest, target = ledger.manifests.pop(file), new_layout_set_aside(layout)
    own = {
        number: commit
        for number, commit in manifest.parts.items()
        if storage.exists(layout.digests(file, number))
    }
    for commit in own.values():
        copy_part(layout, target, file, commit)
    if own:
        write_manifest(target.manifest(file), replace(manifest, parts=own))
    for commit in own.values():
        remove_part(layout, file, commit)
    remove_manifest(layout.manifest(file))


def set_journals_aside(source: Ledger, ledger: Ledger, file: str) -> None:
    """Set aside the answers of a file in the journals of `source`, as parts beside those of `ledger`."""
    names = [name for name in source.journals.present if name.rpartition("-")[0] == stem_of(file)]
    if not names:
        return
    spec, layout = ledger.spec, new_layout_set_aside(ledger.spec.layout)
    parts = PartFiles(layout, spec.format, spec.schema)
    manifest = Manifest(file, layout.task, spec.fingerprint)
    for name in names:
        part = Part(file, int(name.rpartition("-")[2]))
        for row, entry in source.journals.replay(name).items():
            part.prompt_digests[row] = entry.prompt_digest
            part.settle(entry.settled)
            part.read += 1
        encoded = parts.encode(part)
        if encoded is not None:
            manifest.dimensions = encoded.dimensions or manifest.dimensions
            manifest.parts[part.number] = parts.write(encoded)
    write_manifest(layout.manifest(file), manifest)
    for name in names:
        source.journals.remove(name)
