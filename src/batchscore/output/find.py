"""Which folder is the output that somebody names, which tasks does it hold, and what do its runs say?

It must not know parts or records. An output may have been copied from elsewhere, with or without its
manifests, and may stand one level deeper than what is named.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import orjson

from batchscore.errors import InputError
from batchscore.output.layout import MARKER
from batchscore.output.records.schema import TASKS
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.stores.temporary import own_folder


def folder_of_locks(output: Place) -> Path:
    """Return where the locks of an output stand.

    Stores have none: there only the runs of this machine are kept apart, by a folder in its temporary one.
    """
    if isinstance(output, Path):
        return output / MARKER
    named = hashlib.blake2b(str(output).encode(), digest_size=8).hexdigest()
    with storage.told(Path("the temporary folder"), "use"):
        return own_folder() / f"locks-{named}"


def output_folder(named: Place) -> Place:
    """Return the folder that holds the output: the named one, that of a single file, or the one below.

    Raises `InputError` where there is none.
    """
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
            f"{named} holds several outputs, such as {below[0]} and {below[1]}: name one of them."
        )
    if not below:
        raise InputError(f"{named} is no output of batchscore: it holds no scores of {', '.join(TASKS)}.")
    return below[0]


def tasks_in(folder: Place) -> list[str]:
    """Return the tasks that a folder holds anything of."""
    return [
        task
        for task in TASKS
        if any(storage.is_folder(place / task) for place in (folder, folder / "errors", folder / "manifest"))
    ]


def task_of(folder: Place, named: Place, task: str | None) -> str:
    """Return the task that is meant; raises `InputError` where that is not clear, or not there."""
    found = tasks_in(folder)
    if task is None and named.name in found and named.parent == folder:
        return named.name
    if task is None and len(found) > 1:
        raise InputError(f"{named} holds {' and '.join(found)}: choose one with --task.")
    if task is not None and task not in found:
        raise InputError(f"{named} holds no {task}, only {' and '.join(found)}.")
    return task or found[0]


@dataclass(frozen=True, slots=True)
class Left:
    """A file that was not scored to its end: `why`, in words; `unreadable`: a person must mend it first."""

    why: str
    unreadable: bool = False

    def __str__(self) -> str:
        return self.why


def left_by_last_run(folder: Place, task: str) -> dict[str, Left]:
    """Return the files that the last run of a task names as not scored to their end, each with why.

    Of workers that share the output each has its own files, so there every file's last record counts. A run
    that was killed leaves no record, so it may be that nobody knows of a file.
    """
    left: dict[str, Left] = {}
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
        left |= {
            file: Left(problem or state.replace("_", " "), state == "unreadable")
            for file, state, problem in files
            if state != "complete" and file not in known
        }
        known |= {file for file, _, _ in files}
        unopened = record.get("files_not_opened", 0)
        left |= {"other files": Left(f"{unopened:,} not started")} if unopened else {}
        if not shared:
            break
    return left


_PART = re.compile(r"(?P<name>part-.+-[0-9a-f]{8})-(?P<number>[0-9]{5,})\.(?:jsonl|parquet)")

_SUFFIXES = (".jsonl", ".parquet", ".arrow")


def score_parts(out: Place, task: str | None = None) -> tuple[str, list[Place]]:
    """Return the task and its score parts in input order.

    Where there are manifests, a part counts only if one of them has its commit record. Raises
    `InputError`.
    """
    found = [name for name in TASKS if storage.is_folder(out / name)]
    if not found and out.name in TASKS:  # the folder of one task was named
        return score_parts(out.parent, task or out.name)
    if task is None:
        if len(found) != 1:
            what = f"scores of {', '.join(found)}: name one as `task`" if found else "no scores in it"
            raise InputError(f"{out}: {what}")
        task = found[0]
    if task not in found:
        raise InputError(f"{out}: no scores of {task} in it, only of {', '.join(found) or 'nothing'}")
    folder = out / task
    there = set(storage.names(folder))
    parts = _committed(out, task) if storage.is_folder(out / "manifest") else _by_name(folder, there)
    missing = [part for part in parts if part.name not in there]
    if missing:
        raise InputError(
            f"{missing[0]} is not there ({len(missing)} of {len(parts)} parts are missing): `batchscore "
            "verify --repair` scores their rows again"
        )
    if not parts:
        raise InputError(f"{folder}: no scores in it; why rows failed stands in {out / 'errors' / task}")
    return task, parts


def _committed(out: Place, task: str) -> list[Place]:
    folder = out / "manifest" / task
    manifests = [folder / name for name in storage.names(folder) if name.endswith(".json")]
    return [part for _, parts in sorted(_commits(path, out / task) for path in manifests) for part in parts]


def _commits(manifest: Place, folder: Place) -> tuple[list[str], list[Place]]:
    """Return the input's place as its folder is walked, by each folder's name, and its parts."""
    try:
        record = orjson.loads(b"".join(storage.chunks(manifest)))
        names = [part["scores"]["name"] for part in record["parts"] if part.get("scores")]
        parts = sorted((folder / PurePosixPath(name).name for name in names), key=_place)
        return record["file"].split("/"), parts
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{manifest}: cannot be read as a manifest ({error!r})") from error


def _by_name(folder: Place, names: Iterable[str]) -> list[Place]:
    return sorted((folder / name for name in names if _PART.fullmatch(name)), key=_place)


def _place(part: Place) -> tuple[str, int]:
    match = _PART.fullmatch(part.name)
    return (match["name"], int(match["number"])) if match else (part.name, 0)
