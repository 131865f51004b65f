"""How does a new version of a file's output take the place of the old one, so that a crash costs nothing?

The new version stands complete in a hidden folder. First it is written down what will have changed; from
then on the change is decided, and whoever finds it undone finishes it, as often as it takes. What changed
becomes one file a run when all of it stands. It knows no inputs and no requests.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import orjson

from batchscore.errors import OutputError
from batchscore.output.incremental.changes import Version, combined, differences
from batchscore.output.layout import Layout, stem_of
from batchscore.output.leftovers import listed
from batchscore.output.manifest import Commit, Manifest, read_manifest, remove_manifest, write_manifest
from batchscore.stores import storage
from batchscore.stores.address import Place

#: What is decided about a file: its new version is put in place, what stands is reported, or it is dropped.
SWITCH, REPORT, DROP = "switch", "report", "drop"


def next_layout(layout: Layout) -> Layout:
    """Return the hidden places where new versions of an output are made."""
    return replace(layout, root=layout.marker / f"next-{layout.task}")


def undecided(layout: Layout, run: str) -> Place:
    """Return the folder of what a run has decided to change and not yet told."""
    return next_layout(layout).root / "changes" / run


def changes_file(layout: Layout, run: str) -> Place:
    """Return the place of what a run changed."""
    return layout.root / "changes" / run / f"{layout.task}.jsonl"


def version_of(
    manifest: Manifest, layout: Layout, over: tuple[Manifest | None, Layout] | None = None
) -> Version:
    """Return the score records that an account names; parts of the one that it is `over` stand there."""
    before, beneath = over if over is not None else (None, layout)
    same = before.parts if before is not None else {}
    return Version(
        manifest.file,
        [
            (beneath if same.get(number) == manifest.parts[number] else layout).digests(manifest.file, number)
            for number in sorted(manifest.parts)
        ],
    )


def decide(layout: Layout, run: str, file: str, kind: str, lines: Iterable[bytes]) -> None:
    """Write down what will have changed of one file, and do it."""
    storage.write_whole(undecided(layout, run) / f"{stem_of(file)}.{kind}.jsonl", lines)
    carry_out(layout, stem_of(file), kind)


def carry_out(layout: Layout, stem: str, kind: str) -> None:
    """Do what was decided, or the rest of it; doing it again changes nothing."""
    if kind == SWITCH:
        put_in_place(layout, stem)
        return
    path = layout.manifests / f"{stem}.json"
    if not storage.exists(path):
        return
    manifest = read_manifest(path)
    if kind == REPORT:
        manifest.reported = True
        write_manifest(path, manifest)
        return
    for commit in manifest.parts.values():
        remove_part(layout, manifest.file, commit)
    remove_manifest(path)


def put_in_place(layout: Layout, stem: str) -> None:
    """Let a new version take the place of the old one; its manifest comes last."""
    staged = next_layout(layout)
    path = staged.manifests / f"{stem}.json"
    if not storage.exists(path):
        return
    new = read_manifest(path)
    place = layout.manifests / f"{stem}.json"
    old = read_manifest(place) if storage.exists(place) else None
    before: dict[int, Commit] = old.parts if old is not None else {}
    for number, commit in new.parts.items():
        if before.get(number) == commit:
            continue
        name = name_of(layout, new.file, commit)
        for source, target, part in (
            (staged.scores, layout.scores, commit.scores),
            (staged.errors, layout.errors, commit.error_records),
        ):
            if part is None:
                storage.remove(target / name)
            else:
                put(source / name, target / name)
        put(staged.digests(new.file, number), layout.digests(new.file, number))
    for number, commit in before.items():
        if number not in new.parts:
            remove_part(layout, new.file, commit)
        elif (name := name_of(layout, new.file, commit)) != name_of(layout, new.file, new.parts[number]):
            # It was of another format.
            remove_records(layout, name)
    new.reported = True
    write_manifest(place, new)
    for commit in new.parts.values():
        remove_part(staged, new.file, commit)
    remove_manifest(path)


def put(source: Place, target: Place) -> None:
    """Let a file stand under a second name, whole or not at all; the first stays until all is done."""
    if isinstance(source, Path) and isinstance(target, Path):
        temporary = target.parent / f"{storage.TEMPORARY}{secrets.token_hex(8)}.tmp"
        with suppress(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(source, temporary)
            temporary.replace(target)
            # Where both names are one file already, nothing was replaced.
            temporary.unlink(missing_ok=True)
            return
        with suppress(OSError):
            temporary.unlink()
    storage.write_whole(target, storage.chunks(source))


def name_of(layout: Layout, file: str, commit: Commit) -> str:
    """Return the name of a part's files, whatever their format: that of a killed run may be another."""
    part = commit.scores or commit.error_records
    return part.name if part is not None else layout.part_name(file, commit.part)


def remove_part(layout: Layout, file: str, commit: Commit) -> None:
    """Remove all files of a part."""
    remove_records(layout, name_of(layout, file, commit))
    storage.remove(layout.digests(file, commit.part))


def remove_records(layout: Layout, name: str) -> None:
    """Remove the score file and the error file of this name."""
    for folder in (layout.scores, layout.errors):
        storage.remove(folder / name)


def tell(layout: Layout, run: str) -> Counter[str]:
    """Finish what a run decided, and write what it changed; returns how many records by kind."""
    folder = undecided(layout, run)
    pieces = listed(folder, ".jsonl")
    for piece in pieces:
        stem, kind, _ = piece.name.rsplit(".", 2)
        carry_out(layout, stem, kind)
    counted: Counter[str] = Counter()
    target = changes_file(layout, run)
    storage.sweep(target.parent)
    if not storage.exists(target):
        standing = (read_manifest(path) for path in listed(layout.manifests, ".json"))
        lines = combined(pieces, ((layout, manifest) for manifest in standing))
        storage.write_whole(target, counting(lines, counted))
    for piece in pieces:
        storage.remove(piece)
    if isinstance(folder, Path):
        with suppress(OSError):
            folder.rmdir()
    return counted


def drop_told(layout: Layout, run: str) -> int:
    """Drop what earlier runs have told of, and tell that it is gone; returns the scores that it held.

    Whoever follows the changes would never forget it otherwise. Nothing is done where nobody can follow.
    """
    folder = layout.root / "changes"
    if not isinstance(folder, Path) or not any(folder.glob(f"*/{layout.task}.jsonl")):
        return 0
    scores = 0
    for path in listed(layout.manifests, ".json"):
        with suppress(OutputError):
            manifest = read_manifest(path)
            if manifest.reported is not False:
                scores += manifest.ok
                gone = differences(version_of(manifest, layout), Version(manifest.file))
                decide(layout, run, manifest.file, DROP, gone)
    tell(layout, run)
    return scores


def counting(lines: Iterable[bytes], counted: Counter[str]) -> Iterator[bytes]:
    """Give lines on, counted by what they say."""
    for line in lines:
        counted[orjson.loads(line)["change"]] += 1
        yield line


def finish_others(layout: Layout) -> list[str]:
    """Finish what killed runs had decided; returns these runs."""
    folder = next_layout(layout).root / "changes"
    try:
        runs = storage.names(folder)
    except OSError as error:
        raise OutputError(f"{folder} cannot be read: {error.strerror}.") from None
    for run in runs:
        tell(layout, run)
    return runs


def clear(layout: Layout) -> None:
    """Remove the hidden places of new versions, when nothing in them is wanted any more."""
    root = next_layout(layout).root
    if isinstance(root, Path):
        with suppress(OSError):
            shutil.rmtree(root)
