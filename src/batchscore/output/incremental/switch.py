"""How does a new version of a file's output replace the old one, so that a crash costs nothing?

The new version is complete in a hidden folder. First its changes are written down; from then on the switch is
decided. Any later run that finds it undone finishes it, as often as needed. When all is in place, the changes
become one file per run. This module knows no inputs and no requests.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from batchscore.errors import OutputError, setting_name
from batchscore.output.fingerprint import other_settings
from batchscore.output.incremental.changes import Version, combine_changes, differences, version_of
from batchscore.output.layout import Layout, stem_of
from batchscore.output.manifest import (
    Commit,
    Manifest,
    manifest_paths,
    part_files_of,
    read_manifest,
    read_manifests,
    readable_manifests,
    remove_manifest,
    write_manifest,
)
from batchscore.stores import half_written, storage
from batchscore.stores.address import Place
from batchscore.stores.errors import explain_errors
from batchscore.stores.storage import list_files, visible_names

#: The decisions about a file: put its new version in place, report its present records, or drop them.
SWITCH, REPORT, DROP = "switch", "report", "drop"

#: What is lost with the list of replaced files.
UNKNOWN_REPLACED = (
    "is damaged, so the files that an overwriting run has not replaced yet are not known; score again "
    f"with {setting_name('overwrite', True)}"
)

#: A run whose name would not sort after the last one's gets the last name and a number of this many digits.
COUNT_DIGITS = 6


def next_layout(layout: Layout) -> Layout:
    """Return the hidden places of an output's next versions."""
    return replace(layout, root=layout.marker / f"next-{layout.task}")


def replaced_place(layout: Layout) -> Place:
    """Return where the names of the files are whose scores must be replaced."""
    return next_layout(layout).root / "replaced.json"


def read_replaced(place: Place) -> tuple[Mapping[str, Any], frozenset[str]]:
    """Return the settings of an overwriting run and the files that it has not replaced yet.

    Raises `ValueError` if the list is damaged.
    """
    fields = orjson.loads(storage.whole(place))
    try:
        fingerprint, files = fields["fingerprint"], fields["files"]
    except (KeyError, TypeError) as error:
        raise ValueError(str(error)) from None
    texts = isinstance(files, list) and all(isinstance(file, str) for file in files)
    if not texts or not isinstance(fingerprint, dict):
        raise ValueError(place)
    return fingerprint, frozenset(files)


def unreplaced_files(layout: Layout, fingerprint: Mapping[str, Any]) -> frozenset[str]:
    """Return the files that a killed, overwriting run of these settings has not replaced yet.

    Raises `OutputError` if their list is damaged.
    """
    place = replaced_place(layout)
    if not storage.exists(place):
        return frozenset()
    try:
        earlier, files = read_replaced(place)
    except ValueError:
        raise OutputError(f"{place} {UNKNOWN_REPLACED}.") from None
    return frozenset() if other_settings(earlier, fingerprint) else files


def decisions_folder(layout: Layout, run: str) -> Place:
    """Return the folder of a run's decisions that are not in its changes file yet."""
    return next_layout(layout).root / "changes" / run


def changes_file(layout: Layout, run: str) -> Place:
    """Return the place of a run's changes."""
    return layout.root / "changes" / run / f"{layout.task}.jsonl"


def run_name_after(layout: Layout, wanted: str) -> str:
    """Return a run's name, changed if needed to sort after all earlier ones.

    After one wrong clock every run needs this, so the name must not grow each time.
    """
    with explain_errors(layout.root / "changes", "list"):
        return name_after(storage.names(layout.root / "changes"), wanted)


def name_after(names: Iterable[str], wanted: str) -> str:
    """Return a name, changed if needed to sort after all of `names`."""
    last = max(names, default="")
    if wanted > last:
        return wanted
    before, _, count = last.rpartition("-")
    counted = len(count) == COUNT_DIGITS and count.isdecimal() and int(count) + 1 < 10**COUNT_DIGITS
    return f"{before}-{int(count) + 1:0{COUNT_DIGITS}}" if counted else f"{last}-{1:0{COUNT_DIGITS}}"


def decide(
    layout: Layout, run: str, file: str, decision: str, lines: Iterable[bytes], *, sync: bool = False
) -> None:
    """Write down a decision with the changes of one file, and carry it out; `sync`: to the device."""
    piece = decisions_folder(layout, run) / f"{stem_of(file)}.{decision}.jsonl"
    storage.write_whole(piece, lines, sync=sync)
    carry_out(layout, stem_of(file), decision, sync=sync)


def report_records(layout: Layout, run: str, manifest: Manifest) -> None:
    """Write changes for present records of a file that no changes file describes."""
    lines = differences(Version(manifest.file), version_of(manifest, layout))
    decide(layout, run, manifest.file, REPORT, lines)
    manifest.reported = "yes"


def drop_records(layout: Layout, run: str, manifest: Manifest, *, other_settings: bool = False) -> None:
    """Remove the records of a file, and write changes if earlier ones describe them.

    `other_settings`: its records are not what this run would write.
    """
    nothing = Version(manifest.file)
    old = version_of(manifest, layout) if manifest.reported != "no" else nothing
    lines = differences(old, nothing, other_settings=other_settings)
    decide(layout, run, manifest.file, DROP, lines)


def carry_out(layout: Layout, stem: str, decision: str, *, sync: bool = False) -> None:
    """Carry out a decision, or the rest of it; a second time changes nothing."""
    if decision == SWITCH:
        put_in_place(layout, stem, sync=sync)
        return
    path = layout.manifests / f"{stem}.json"
    if not storage.exists(path):
        return
    manifest = read_manifest(path)
    if decision == REPORT:
        manifest.reported = "yes"
        write_manifest(path, manifest)
        return
    for commit in manifest.parts.values():
        remove_part(layout, manifest.file, commit)
    remove_manifest(path)


def put_in_place(layout: Layout, stem: str, *, sync: bool = False) -> None:
    """Replace the old version by the new one, its manifest last; raises `OutputError` if a file is lost."""
    hidden = next_layout(layout)
    path = hidden.manifests / f"{stem}.json"
    if not storage.exists(path):
        return
    new = read_manifest(path)
    place = layout.manifests / f"{stem}.json"
    before: dict[int, Commit] = read_manifest(place).parts if storage.exists(place) else {}
    # A part that was damaged in place may have become the same again.
    changed = [
        commit
        for number, commit in new.parts.items()
        if before.get(number) != commit or has_part(hidden, new.file, commit)
    ]
    needed = [folder / part.name for each in changed for folder, part in part_files_of(hidden, each) if part]
    if lost := [path for path in needed if not storage.exists(path)]:
        raise OutputError(
            f"{new.file}: its new scores were not put in place, since {lost[0]} is missing. "
            "Restore that file, or score into another output."
        )
    for commit in changed:
        copy_part(hidden, layout, new.file, commit)
    for number, commit in before.items():
        if number not in new.parts:
            remove_part(layout, new.file, commit)
        elif (name := part_name_of(layout, new.file, commit)) != part_name_of(
            layout, new.file, new.parts[number]
        ):
            # It was of another format.
            remove_records(layout, name)
    new.reported = "yes"
    for folder in (layout.scores, layout.errors, layout.manifests) if sync else ():
        if storage.is_folder(folder):
            storage.sync_folder(folder)
    write_manifest(place, new, sync=sync)
    for commit in new.parts.values():
        remove_part(hidden, new.file, commit)
    remove_manifest(path)


def has_part(layout: Layout, file: str, commit: Commit) -> bool:
    """Whether all files of a part are in a layout."""
    records = [folder / part.name for folder, part in part_files_of(layout, commit) if part]
    return all(map(storage.exists, (*records, layout.digests(file, commit.part))))


def copy_part(source: Layout, target: Layout, file: str, commit: Commit) -> None:
    """Give the files of a part a second name in another layout; remove what the part does not have."""
    name = part_name_of(source, file, commit)
    for (folder, part), to in zip(part_files_of(source, commit), (target.scores, target.errors), strict=True):
        if part is None:
            storage.remove(to / name)
        elif storage.exists(folder / name):  # a lost one was damaged before it was set aside
            link_or_copy(folder / name, to / name)
    digests = source.digests(file, commit.part), target.digests(file, commit.part)
    if storage.exists(digests[0]):
        link_or_copy(*digests)
    else:
        storage.remove(digests[1])


def link_or_copy(source: Place, target: Place) -> None:
    """Give a file a second name, atomically; the first stays until all is done."""
    if isinstance(source, Path) and isinstance(target, Path):
        temporary = target.parent / f"{half_written.TEMPORARY}{secrets.token_hex(8)}.tmp"
        with suppress(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(source, temporary, follow_symlinks=False)
            temporary.replace(target)
            # If both names are one file already, nothing was replaced.
            temporary.unlink(missing_ok=True)
            return
        with suppress(OSError):
            temporary.unlink()
    storage.write_whole(target, storage.chunks(source))


def part_name_of(layout: Layout, file: str, commit: Commit) -> str:
    """Return the name of a part's files in their own format: a killed run may have used another."""
    part = commit.scores or commit.error_records
    return part.name if part is not None else layout.part_name(file, commit.part)


def remove_part(layout: Layout, file: str, commit: Commit) -> None:
    """Remove all files of a part."""
    remove_records(layout, part_name_of(layout, file, commit))
    storage.remove(layout.digests(file, commit.part))


def remove_records(layout: Layout, name: str) -> None:
    """Remove the score file and the error file of this name."""
    for folder in (layout.scores, layout.errors):
        storage.remove(folder / name)


def write_changes(layout: Layout, run: str) -> Counter[str]:
    """Finish a run's decisions and write its changes; return the number of records by kind."""
    folder = decisions_folder(layout, run)
    pieces = list_files(folder, ".jsonl")
    for piece in pieces:
        stem, decision, _ = piece.name.rsplit(".", 2)
        carry_out(layout, stem, decision)
    counts: Counter[str] = Counter()
    target = changes_file(layout, run)
    half_written.sweep(target.parent)
    if not storage.exists(target):
        lines = combine_changes(pieces, ((layout, manifest) for manifest in read_manifests(layout)))
        storage.write_whole(target, count_changes(lines, counts))
    for piece in pieces:
        storage.remove(piece)
    if isinstance(folder, Path):
        with suppress(OSError):
            folder.rmdir()
    return counts


def count_changes(lines: Iterable[bytes], counts: Counter[str]) -> Iterator[bytes]:
    """Yield lines unchanged, and count them by kind."""
    for line in lines:
        counts[orjson.loads(line)["change"]] += 1
        yield line


def drop_reported_scores(layout: Layout, run: str) -> int:
    """Drop the records that changes files describe, and report this; return the number of dropped scores.

    Otherwise a reader of the changes would keep them for ever. Without changes files nothing is done.
    """
    folder = layout.root / "changes"
    if not isinstance(folder, Path) or not any(folder.glob(f"*/{layout.task}.jsonl")):
        return 0
    scores = 0
    for manifest in readable_manifests(layout):
        if manifest.reported != "no":
            scores += manifest.ok
            drop_records(layout, run, manifest)
    write_changes(layout, run)
    return scores


def unfinished_stems(layout: Layout) -> set[str]:
    """Return the stems of the files whose scores a killed run was replacing, dropping or discarding."""
    folder = next_layout(layout).root / "changes"
    pieces = [piece for run in visible_names(folder) for piece in list_files(folder / run, ".jsonl")]
    stems = {piece.name.rsplit(".", 2)[0] for piece in pieces}
    if storage.exists(layout.discarding):
        stems |= {path.name.removesuffix(".json") for path in manifest_paths(layout)}
    return stems


def finish_killed_runs(layout: Layout) -> None:
    """Finish what killed runs had decided."""
    for run in visible_names(next_layout(layout).root / "changes"):
        write_changes(layout, run)


def remove_next_versions(layout: Layout) -> None:
    """Remove the hidden places of next versions, when nothing in them is needed any more."""
    root = next_layout(layout).root
    if isinstance(root, Path):
        with suppress(OSError):
            shutil.rmtree(root)
