"""Which folder is the output that somebody names, which tasks does it hold, and what do its runs say?

It must not know parts or records. An output may have been copied from elsewhere, with or without its
manifests, and may stand one level deeper than what is named.
"""

from __future__ import annotations

from pathlib import Path

import orjson

from batchscore.errors import InputError
from batchscore.write import storage
from batchscore.write.layout import MARKER
from batchscore.write.schema import TASKS


def output_folder(named: Path) -> Path:
    """Return the folder that holds the output: the named one, that of a single file, or the one below.

    Raises `InputError` where there is none.
    """
    beside = named.with_name(named.name + MARKER)
    if named.is_file() and beside.is_dir():
        return beside
    if not named.is_dir():
        raise InputError(f"{named}: there is no such output folder.")
    if tasks_in(named):
        return named
    if named.name in TASKS:
        return named.parent
    below = [path for path in sorted(named.iterdir()) if path.is_dir() and tasks_in(path)]
    if len(below) > 1:
        raise InputError(
            f"{named} holds several outputs, such as {below[0]} and {below[1]}: name one of them."
        )
    if not below:
        raise InputError(f"{named} is no output of batchscore: it holds no scores of {', '.join(TASKS)}.")
    return below[0]


def tasks_in(folder: Path) -> list[str]:
    """Return the tasks that a folder holds anything of."""
    return [
        task for task in TASKS if any((folder / kind / task).is_dir() for kind in ("", "errors", "manifest"))
    ]


def task_of(folder: Path, named: Path, task: str | None) -> str:
    """Return the task that is meant; raises `InputError` where that is not clear, or not there."""
    found = tasks_in(folder)
    if task is None and named.name in found and named.parent == folder:
        return named.name
    if task is None and len(found) > 1:
        raise InputError(f"{named} holds {' and '.join(found)}: choose one with --task.")
    if task is not None and task not in found:
        raise InputError(f"{named} holds no {task}, only {' and '.join(found)}.")
    return task or found[0]


def left_by_last_run(folder: Path, task: str) -> dict[str, str]:
    """Return the files that the last run of a task names as not scored to their end, each with why.

    A run that was killed leaves no record, so it may be that nobody knows of a file.
    """
    for path in sorted((folder / "runs").glob("*.json"), reverse=True):
        try:
            record = orjson.loads(b"".join(storage.chunks(path)))
            if record["settings"]["task"] != task:
                continue
            files = [(file["file"], file["state"], file.get("problem")) for file in record["files"]]
        except (ValueError, KeyError, TypeError):
            continue
        left = {
            file: problem or state.replace("_", " ") for file, state, problem in files if state != "complete"
        }
        unopened = record.get("files_not_opened", 0)
        return left | ({"other files": f"{unopened:,} not started"} if unopened else {})
    return {}
