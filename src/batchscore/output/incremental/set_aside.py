"""Where do answers stay that were made for an input which has changed since, so that they are not paid twice?

They are put aside as parts with their digests, in numbered folders of the usual layout, until a run is
through. It knows no inputs and asks nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from batchscore.errors import OutputError
from batchscore.output.incremental.switch import put, remove_part
from batchscore.output.layout import Layout, stem_of
from batchscore.output.ledger import Ledger
from batchscore.output.leftovers import listed
from batchscore.output.manifest import Manifest, read_manifest, remove_manifest, write_manifest
from batchscore.output.parts import Part
from batchscore.stores import storage


def set_aside(layout: Layout) -> Iterator[tuple[Layout, Manifest]]:
    """Give what was put aside: answers that are paid for and stand in no version."""
    for number in numbers(layout):
        place = aside(layout, number)
        for path in listed(place.manifests, ".json"):
            yield place, read_manifest(path)


def aside(layout: Layout, number: int) -> Layout:
    """Return the places of one folder of what was put aside."""
    return replace(layout, root=layout.root / "aside" / str(number))


def new_aside(layout: Layout) -> Layout:
    """Return places that nothing was put into yet."""
    return aside(layout, max(numbers(layout), default=-1) + 1)


def numbers(layout: Layout) -> list[int]:
    """Return the numbers of what was put aside, in order."""
    folder = layout.root / "aside"
    try:
        return sorted(int(name) for name in storage.names(folder) if name.isdigit())
    except OSError as error:
        raise OutputError(f"{folder} cannot be read: {error.strerror}.") from None


def put_aside(ledger: Ledger, file: str) -> None:
    """Keep the answers of a version that was made for an input which has changed since; it is no more."""
    keep_journals(ledger, ledger, file)
    layout = ledger.layout
    manifest, target = ledger.manifests.pop(file), new_aside(layout)
    own = {
        number: commit
        for number, commit in manifest.parts.items()
        if storage.exists(layout.digests(file, number))
    }
    for number, commit in own.items():
        name = layout.part_name(file, number)
        if commit.scores is not None and storage.exists(layout.scores / name):
            put(layout.scores / name, target.scores / name)
        if commit.error_records is not None and storage.exists(layout.errors / name):
            put(layout.errors / name, target.errors / name)
        put(layout.digests(file, number), target.digests(file, number))
    if own:
        write_manifest(target.manifest(file), replace(manifest, parts=own))
    for commit in own.values():
        remove_part(layout, file, commit)
    remove_manifest(layout.manifest(file))


def keep_journals(source: Ledger, ledger: Ledger, file: str) -> None:
    """Keep the answers that the journals of `source` hold of a file, as parts beside what `ledger` makes."""
    names = [name for name in source.journals.present if name.rpartition("-")[0] == stem_of(file)]
    if not names:
        return
    keeper = Ledger(
        new_aside(ledger.layout), ledger.format, ledger.schema, ledger.rows_per_part, ledger.fingerprint
    )
    keeper.manifests[file] = Manifest(file, ledger.layout.task, ledger.fingerprint)
    for name in names:
        part = Part(file, int(name.rpartition("-")[2]))
        for row, entry in source.journals.replay(name).items():
            part.asked[row] = entry.asked
            part.settle(entry.settled)
            part.read += 1
        keeper.publish(keeper.encode(part))
    keeper.write_manifest(file)
    for name in names:
        source.journals.remove(name)
