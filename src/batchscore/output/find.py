"""Which folder is the output that the user names, which tasks and parts does it hold, and is it complete?

It reads no records. An output may be a copy, with or without its manifests, and may be one level below the
named folder.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import orjson

from batchscore.errors import InputError, setting_name
from batchscore.output.layout import MARKER, Layout
from batchscore.output.links import refuse_links
from batchscore.output.manifest import Manifest, read_manifests
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.stores.errors import explain_errors
from batchscore.stores.this_machine import own_folder
from batchscore.task import TASKS

_PART = re.compile(r"(?P<name>part-.+-[0-9a-f]{8})-(?P<number>[0-9]{5,})\.(?:jsonl|parquet)")


def folder_of_locks(output: Place) -> Path:
    """Return the folder of an output's locks.

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
    folder = _output_folder(named)
    refuse_links(folder)
    return folder


def _output_folder(named: Place) -> Place:
    beside = named.with_name(named.name + MARKER)
    if not storage.is_folder(named) and storage.exists(named) and storage.is_folder(beside):
        return beside
    if not storage.is_folder(named):
        raise InputError(f"{named}: there is no such output folder.")
    if tasks_in(named):
        return named
    if named.name in TASKS:
        return named.parent
    folders = [named / name for name in storage.names(named)]
    below = [path for path in folders if storage.is_folder(path) and tasks_in(path)]
    if len(below) > 1:
        raise InputError(
            f"{named} holds several outputs, such as {below[0]} and {below[1]}. Name one of them."
        )
    if not below:
        raise InputError(f"{named} is not an output of batchscore: it has no scores of {', '.join(TASKS)}.")
    return below[0]


def tasks_in(folder: Place) -> list[str]:
    """Return the tasks that have any files in a folder."""
    return [
        task
        for task in TASKS
        if any(storage.is_folder(place / task) for place in (folder, folder / "errors", folder / "manifest"))
    ]


def task_of(folder: Place, named: Place, task: str | None) -> str:
    """Return the task that the user means; raises `InputError` if it is ambiguous or not in the folder."""
    found = tasks_in(folder)
    if task is None and named.name in found and named.parent == folder:
        return named.name
    if task is None and len(found) > 1:
        raise InputError(f"{named} holds {' and '.join(found)}. Choose one with {setting_name('task')}.")
    if task is not None and task not in found:
        raise InputError(f"{named} holds no {task}, only {' and '.join(found)}.")
    return task or found[0]


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A file that is not fully scored: `why` in words; `unreadable`: the user must fix it first."""

    why: str
    unreadable: bool = False

    def __str__(self) -> str:
        return self.why


def incomplete_files(folder: Place, task: str) -> dict[str, Incomplete]:
    """Return the files that the last run of a task did not fully score, with the reason.

    Workers that share an output have different files, so there the last record of each file counts. A killed
    run leaves no record, so the result may lack files.
    """
    incomplete: dict[str, Incomplete] = {}
    known: set[str] = set()
    runs = folder / "runs"
    for name in sorted(storage.names(runs), reverse=True):
        try:
            record = orjson.loads(b"".join(storage.chunks(runs / name))) if name.endswith(".json") else {}
            if record["settings"]["task"] != task:
                continue
            files = [(file["file"], file["state"], file.get("problem")) for file in record["files"]]
            shared = bool(record["settings"].get("shared_output", record["settings"].get("shared")))
        except (ValueError, KeyError, TypeError):
            continue
        if known and not shared:
            break
        incomplete |= {
            file: Incomplete(problem or state.replace("_", " "), state == "unreadable")
            for file, state, problem in files
            if state != "complete" and file not in known
        }
        known |= {file for file, _, _ in files}
        unopened = record.get("files_not_opened", 0)
        incomplete |= {"other files": Incomplete(f"{unopened:,} not started")} if unopened else {}
        if not shared:
            break
    return incomplete


def score_parts(out: Place, task: str) -> list[Place]:
    """Return the score parts of a task in input order; raises `InputError` if one is missing, or all.

    If there are manifests, only parts with a commit record count; raises `OutputError` if one is damaged.
    """
    folder = out / task
    names = set(storage.names(folder))
    if storage.is_folder(out / "manifest"):
        layout = Layout(out, task, "")
        parts = score_files(layout, sorted(read_manifests(layout), key=lambda each: each.file.split("/")))
    else:
        found = [match for name in names if (match := _PART.fullmatch(name))]
        found.sort(key=lambda match: (match["name"], int(match["number"])))
        parts = [folder / match.string for match in found]
    missing = [part for part in parts if part.name not in names]
    if missing:
        raise InputError(
            f"{missing[0]} is missing ({len(missing)} of {len(parts)} parts). Run the same score command "
            "to score these rows again."
        )
    if not parts:
        raise InputError(
            f"{folder}: there are no scores in it. {out / 'errors' / task} says why rows failed."
        )
    return parts


def score_files(layout: Layout, manifests: Iterable[Manifest]) -> list[Place]:
    """Return the score files of manifests, in their order."""
    return [
        # A manifest may come from anywhere: a name must not lead to another folder.
        layout.scores / PurePosixPath(part.name).name
        for manifest in manifests
        for number in sorted(manifest.parts)
        if (part := manifest.parts[number].scores) is not None
    ]
