"""Which folder is the output that the user names, which tasks and parts does it hold, and is it complete?

It decodes no records. An output may be a copy, with or without its manifests, and may be one level below the
named folder.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from batchscore.errors import InputError, OutputError, setting_name
from batchscore.output.incremental.switch import unfinished_stems
from batchscore.output.layout import MARKER, Layout, stem_of, verify_command
from batchscore.output.locks.lock import held_by
from batchscore.output.manifest import Manifest, read_manifests
from batchscore.output.missing import AGAIN, error_of_missing, recorded_files
from batchscore.output.part_files import StatedScores, intact, stated_in
from batchscore.output.records.formats import FILE_SUFFIXES
from batchscore.output.run_records import run_records
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.stores.errors import explain_errors
from batchscore.stores.this_machine import own_folder
from batchscore.task import TASKS

NO_OUTPUT = f"{{}} is not an output of batchscore: it has no scores of {', '.join(TASKS)}."

_PART = re.compile(r"(?P<name>part-.+-[0-9a-f]{8})-(?P<number>[0-9]{5,})\.(?:jsonl|parquet)")


def folder_of_locks(output: Place | str) -> Path:
    """Return the folder of the locks of an output, or of what a text names.

    Stores have no locks. For them a folder in the temporary folder keeps the runs of this machine apart.
    """
    if isinstance(output, Path):
        return output / MARKER
    digest = hashlib.blake2b(str(output).encode(), digest_size=8).hexdigest()
    with explain_errors(Path("the temporary folder"), "use"):
        return own_folder() / f"locks-{digest}"


def output_folder(named: Place) -> Place:
    """Return the output folder: the named one, that of a single file, or the only one below.

    Raises `InputError` if there is none, and `OutputError` if it holds links in place of its folders.
    """
    folder, beside = named, named.parent / f"{named.name}{MARKER}"
    if not storage.is_folder(named):
        if not storage.is_folder(beside):
            why = "there is no such output folder."
            if storage.exists(named):
                why = f"this is a file. Name the output folder of its run ({setting_name('output')})."
                if named.name.lower().endswith(FILE_SUFFIXES):
                    why += f" If the run wrote this file alone, the folder {beside.name} must be beside it."
            raise InputError(f"{named}: {why}")
        folder = beside
    elif not tasks_in(named):
        folder = _own_parent(named) if named.name in TASKS else _only_output_below(named)
    refuse_links(folder)
    return folder


def _own_parent(named: Place) -> Place:
    """Return the folder of one, with its name: the working folder has none of its own."""
    parent = named.parent
    return parent.absolute() if isinstance(parent, Path) and not parent.name else parent


def _only_output_below(named: Place) -> Place:
    with explain_errors(named, "list"):
        folders = [named / name for name in storage.names(named)]
    below = [path for path in folders if storage.is_folder(path) and tasks_in(path)]
    if len(below) > 1:
        raise InputError(
            f"{named} holds several outputs, such as {below[0]} and {below[1]}. Name one of them."
        )
    if not below:
        raise InputError(NO_OUTPUT.format(named))
    return below[0]


def one_file_of(folder: Place) -> Place | None:
    """Return the one file whose parts are in this folder, whether it exists or not; `None` for a folder."""
    file = folder.with_name(folder.name.removesuffix(MARKER))
    return file if folder.name.endswith(MARKER) and file.name.lower().endswith(FILE_SUFFIXES) else None


def tasks_in(folder: Place) -> list[str]:
    """Return the tasks that have any files in a folder, and that of the last run: it may have been killed."""
    last = next((record.task for _, record in run_records(folder) if record is not None), None)
    with_files = tasks_with_files(folder)
    return [task for task in TASKS if task == last or task in with_files]


def tasks_with_files(folder: Place) -> list[str]:
    """Return the tasks that have any files in a folder."""
    places = (folder, folder / "errors", folder / "manifest")
    return [task for task in TASKS if any(storage.is_folder(place / task) for place in places)]


def task_of(folder: Place, named: Place, task: str | None) -> str:
    """Return the task that the user means; raises `InputError` if it is ambiguous or not in the folder."""
    found = tasks_in(folder)
    if not found:
        # A run that was killed at once leaves an empty folder beside its one file.
        raise InputError(NO_OUTPUT.format(named))
    if task is None and named.name in found and named.parent == folder:
        return named.name
    if task is None and len(found) > 1:
        raise InputError(f"{named} holds {' and '.join(found)}. Choose one with {setting_name('task')}.")
    if task is not None and task not in found:
        raise InputError(f"{named} holds no {task}, only {' and '.join(found)}.")
    return task or found[0]


def score_parts(out: Place, task: str, *, may_be_empty: bool = False) -> dict[Place, StatedScores | None]:
    """Return the score parts of a task in input order, each with what its manifest says of it.

    If there are manifests, only parts with a commit record count; without any, nothing is known of the parts.
    Raises `InputError` if a part is missing, or all (unless it `may_be_empty`), if a manifest is missing
    beside its parts, or if the last run's record contradicts it, `OutputIncomplete` if a killed run had
    begun to replace scores, and `OutputError` if a manifest is damaged.
    """
    folder = out / task
    names = set(storage.names(folder))
    found = [match for name in names if (match := _PART.fullmatch(name))]
    parts: dict[Place, StatedScores | None]
    if storage.is_folder(out / "manifest"):
        layout = Layout(out, task, "")
        # First the records: a run that ends meanwhile writes its manifests first.
        recorded = recorded_files(out, task)
        manifests = sorted(read_manifests(layout), key=lambda each: each.file.split("/"))
        _refuse_torn(layout, manifests)
        _refuse_lost_manifests(layout, manifests, {match["name"] for match in found})
        for manifest in manifests:
            if (contradiction := recorded.contradiction(manifest)) is not None:
                raise InputError(f"{layout.manifest(manifest.file)} {contradiction}. {AGAIN}")
        parts = dict(score_files_of(layout, manifests))
    else:
        found.sort(key=lambda match: (match["name"], int(match["number"])))
        parts = dict.fromkeys(folder / match.string for match in found)
    missing = [part for part in parts if part.name not in names]
    if missing:
        raise InputError(f"{missing[0]} is missing (missing parts: {len(missing)} of {len(parts)}). {AGAIN}")
    if not parts and not may_be_empty:
        errors = out / "errors" / task
        why = f"{errors} says why rows failed."
        if not storage.is_folder(errors):
            why = f"No row has been scored or has failed yet. {AGAIN}"
        raise InputError(f"{folder}: there are no scores in it. {why}")
    return parts


def score_files_of(layout: Layout, manifests: Iterable[Manifest]) -> dict[Place, StatedScores]:
    """Return the score files of manifests, in their order, with what is stated of them."""
    stated: dict[Place, StatedScores] = {}
    for manifest in manifests:
        for number in sorted(manifest.parts):
            commit = manifest.parts[number]
            if commit.scores is not None:
                path = layout.scores / commit.scores.name
                stated[path] = stated_in(manifest, commit, commit.scores, commit.ok)
    return stated


def _refuse_torn(layout: Layout, manifests: Iterable[Manifest]) -> None:
    """Raise `OutputIncomplete` if a killed run has replaced or discarded some parts of a file."""
    unfinished = unfinished_stems(layout)
    torn = [
        f"{manifest.file}: a killed run was replacing its scores"
        for manifest in manifests
        if stem_of(manifest.file) in unfinished
        and not all(intact(layout, commit) for commit in manifest.parts.values())
    ]
    if torn:
        held = held_by(folder_of_locks(layout.root), layout.task, what=f"{layout.root} ({layout.task})")
        raise error_of_missing(str(layout.root), torn, held=held)


def _refuse_lost_manifests(layout: Layout, manifests: Iterable[Manifest], stems: set[str]) -> None:
    """Raise `InputError` if there are parts of a file whose manifest was lost.

    A run writes a file's manifest before its first part. Only a switch to a new version puts the parts in
    place first, and the hidden manifest of that version is there until then.
    """
    next_versions = layout.marker / f"next-{layout.task}" / "manifest" / layout.task
    unknown = stems - {f"part-{stem_of(manifest.file)}" for manifest in manifests}
    for stem in sorted(unknown):
        name = f"{stem.removeprefix('part-')}.json"
        if not storage.exists(next_versions / name):
            raise InputError(
                f"{layout.manifests / name} is missing, but there are parts that it should name, such as "
                f"{layout.scores / stem}-…. To remove these parts, run: "
                f"{verify_command(layout.root, layout.task, repair=True)}\n{AGAIN}"
            )


#: What is ours in an output folder, and the folders of which everything is.
OURS = frozenset({*TASKS, "errors", "manifest", "runs", "changes", MARKER})

FOLDERS = ("errors", "manifest", MARKER, *(f"{MARKER}/next-{task}" for task in TASKS))


def refuse_links(output: Place) -> None:
    """Raise `OutputError` if a folder of ours in this output is a link; lists a few small folders."""
    if not isinstance(output, Path):
        return
    if output.name.endswith(MARKER):
        # The folder beside a single file is ours, too.
        _refuse(output)
    for folder in ("", *FOLDERS):
        with suppress(OSError), os.scandir(output / folder) as entries:
            for entry in entries:
                if folder or entry.name in OURS:
                    _refuse(entry)


def _refuse(found: Path | os.DirEntry[str]) -> None:
    if found.is_symlink():
        raise OutputError(
            f"{os.fspath(found)} is a link. batchscore follows no links within an output, since what they "
            "point to is not part of it. Remove the link, or put the real file or folder in its place."
        )
