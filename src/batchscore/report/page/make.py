"""How is the page of an output made?

It reads run records, manifests, error parts and some scores, and writes `report.html` next to them. It
changes nothing else. The page lists what could not be read within the time limit, or at all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from batchscore.errors import BatchscoreError, InputError, OutputError
from batchscore.output.checkpoints import waiting_rows
from batchscore.output.find import folder_of_locks, output_folder, refuse_links, tasks_in, tasks_with_files
from batchscore.output.layout import MARKER, Layout, stem_of
from batchscore.output.locks.lock import held_by
from batchscore.output.manifest import Manifest, PartFile, manifest_names, read_manifest, read_manifests
from batchscore.output.missing import (
    RecordedFiles,
    error_of_missing,
    missing_files,
    recorded_files,
    started_stems,
)
from batchscore.output.submitted import Chunks, chunk_folder, submitted_text, unconfirmed_text, waiting_chunks
from batchscore.report.page.model import Failures, FileAccount, PageData, StoredPart, TaskData
from batchscore.report.page.page import page
from batchscore.report.page.runs import LISTS_OF_FILES, RecordedRun, items, number, run_from, without_files
from batchscore.report.page.sample import (
    THOROUGHLY,
    Effort,
    answers_of_sample,
    map_of_sample,
    read_failures,
    read_sample,
)
from batchscore.stores import storage
from batchscore.stores.address import Place, StoredPath
from batchscore.stores.storage import visible_names
from batchscore.task import EMBEDDINGS, TASKS

#: The page's name in the output folder.
NAME = "report.html"

#: Greatest number of runs that are read, the latest first; an Azure ML job may have one for each call.
MOST_RUNS = 2000

#: Larger records are not read.
MOST_RECORD_BYTES = 64 * 2**20

#: Concurrent requests to a store.
_AT_ONCE = 16

T = TypeVar("T")


def write_report(
    named: Place,
    *,
    task: str | None = None,
    effort: Effort = THOROUGHLY,
    shown: str = "",
    known: Collection[Manifest] = (),
) -> Place:
    """Write the page of an output and return its place; the page calls the output `shown`.

    The `known` manifests are those of files that a run has just found or made complete: they are as on disk,
    and nothing contradicts them. Raises `InputError` if there is no
    output, `OutputError` if it cannot be read or written.
    """
    folder = folder_of(named)
    refuse_links(folder)
    place = folder / NAME
    storage.write_whole(place, page(gather(folder, shown or str(named), task, effort, known)))
    return place


def refuse_incomplete(named: Place, task: str | None) -> None:
    """Raise `OutputIncomplete` if files of an output are not fully scored; the page shows what is damaged."""
    folder = folder_of(named)
    missing, stopped = [], ""
    for each in [task] if task is not None else tasks_in(folder):
        with suppress(OutputError):
            found = missing_files(folder, each, read_manifests(Layout(folder, each, "")))
            stopped = stopped or (recorded_files(folder, each).stopped if found else "")
            missing += found
    if missing:
        raise error_of_missing(str(named), missing, stopped)


def folder_of(named: Place) -> Place:
    """Return the folder of an output; a folder with only run records is one, too."""
    if storage.is_folder(named / "runs"):
        return named
    beside = named.parent / f"{named.name}{MARKER}"
    if not storage.is_folder(named) and storage.is_folder(beside):
        return beside
    return output_folder(named)


def gather(
    folder: Place, named: str, task: str | None, effort: Effort, known: Collection[Manifest] = ()
) -> PageData:
    """Read what the page shows; raises `InputError` if there is no such task."""
    # The scores get at least half of the time.
    until = time.monotonic() + effort.seconds / 2
    runs, problems = read_runs(folder, until)
    found_tasks = {*tasks_with_files(folder), *(run.task for run in runs)}
    there = [each for each in TASKS if each in found_tasks]
    if task is not None and task not in there:
        raise InputError(f"{named} has no {task}, only {' and '.join(there) or 'nothing'}.")
    if not there:
        raise InputError(f"{named} is not an output of batchscore: it has no scores and no run records.")
    tasks = []
    for each in there if task is None else [task]:
        runs_of_task = [run for run in runs if run.task == each]
        found, more = gather_task(folder, each, runs_of_task, effort, known)
        tasks.append(found)
        problems += more
    recorded = {Path(str(run.settings.get("output"))) for run in runs}
    if recorded and isinstance(folder, Path) and Path(named) not in recorded:
        # It is named from another folder than that of the commands.
        named = str(Path(named).absolute())
    # The task with the latest run comes first.
    tasks.sort(key=lambda each: -max((run.started for run in each.runs), default=0.0))
    return PageData(named, time.time(), tasks, problems)


def gather_task(
    folder: Place, task: str, runs: Sequence[RecordedRun], effort: Effort, known: Collection[Manifest]
) -> tuple[TaskData, list[str]]:
    """Read what the page shows of one task; return it with the problems."""
    until = time.monotonic() + effort.seconds
    files, unread, problems = read_accounts(folder, task, until, known)
    more = files_of_last_run(runs, (each.file for each in files))
    layout = Layout(folder, task, "")
    if not unread and more:
        started = started_stems(layout)
        more = [without_manifest(each, started) for each in more]
    files = [*files, *more]
    failures = read_failures(folder, files, until) if any(each.errors for each in files) else Failures()
    no_sample = ""
    vectors = answers = None
    sample = islice(read_sample(folder, task, files, effort, until), effort.records)
    if not effort.records:
        no_sample = "It was not requested."
    elif time.monotonic() >= until:
        no_sample = "There was not enough time at the end of the run. To make it, run `batchscore report`."
    elif task == EMBEDDINGS.name:
        vectors = map_of_sample(sample)
    else:
        schema = next((run.settings["schema"] for run in reversed(runs) if run.settings.get("schema")), None)
        answers = answers_of_sample(sample, task, schema)
    # For a file whose manifest was left out, the run's record has the same facts.
    unknown = max(unread - len(more), 0)
    sound = {each.file for each in known if each.task == task}
    problems += damaged_parts(folder, [each for each in files if each.file not in sound], until)
    submitted = unconfirmed = ""
    try:
        chunks, unconfirmed = waiting_chunks(layout), unconfirmed_text(Chunks(chunk_folder(layout)))
        submitted = submitted_text(chunks) if chunks else ""
    except OutputError as error:
        problems.append(error.text)
    shown = (
        vectors,
        answers,
        no_sample,
        bool(problems),
        submitted,
        unconfirmed,
        count_waiting(layout, files),
        None if runs and runs[-1].shared else is_running(folder, task),
    )
    return TaskData(task, runs, files, unknown, failures, *shown), problems


def is_running(folder: Place, task: str) -> bool | None:
    """Return whether a run is working on an output that has a lock; `None` if that is not known."""
    locks = folder_of_locks(folder)
    if held_by(locks, task, what=""):
        return True
    # A run that is killed leaves its lock file. Locks of a store reach this machine only.
    return False if isinstance(folder, Path) and os.access(locks / f"{task}.lock", os.R_OK) else None


def count_waiting(layout: Layout, files: Iterable[FileAccount]) -> int:
    """Return how many rows of incomplete files the next run publishes without a request, if that is known."""
    begun = [each.file for each in files if each.state in {"partial", "not_started"}]
    if not begun:
        return 0
    try:
        places = {file: layout.manifest(file) for file in begun}
        manifests = [
            read_manifest(place) if storage.exists(place) else Manifest(file, layout.task, {})
            for file, place in places.items()
        ]
        return waiting_rows(layout, recorded_files(layout.root, layout.task), manifests)
    except OutputError:
        return 0


def read_runs(folder: Place, until: float) -> tuple[list[RecordedRun], list[str]]:
    """Return an output's runs, the earliest first, and problems with their records."""
    names = [name for name in visible_names(folder / "runs") if name.endswith(".json")]
    latest = names[-MOST_RUNS:]
    problems: list[str] = []
    if len(names) > len(latest):
        older = len(names) - len(latest)
        problems.append(f"{older:,} earlier runs were left out: only the latest {MOST_RUNS:,} are read.")
    runs: list[RecordedRun] = []
    places = [folder / "runs" / name for name in reversed(latest)]
    read = 0
    # Thousands of runs may each name thousands of files; `files_of_last_run` needs the latest only.
    through: set[str] = set()
    no_files: dict[str, object] = {name: [] for name in LISTS_OF_FILES}
    for place, found in each_of(places, partial(read_run, through=through), until):
        read += 1
        problem = found
        if isinstance(found, RecordedRun):
            seen, problem = found.task in through, found.problem
            runs.append(replace(found, record={**found.record, **no_files}) if seen else found)
            if not found.shared:
                through.add(found.task)
        problems += [f"runs/{place.name} {problem}."] if problem else []
    if read < len(places):
        problems.append(f"{len(places) - read:,} earlier runs were left out for lack of time.")
    return sorted(runs, key=lambda run: (run.started, run.name)), problems


def read_run(place: Place, through: Collection[str]) -> RecordedRun | str:
    """Return a run, or why its record cannot be used; without its files if its task is `through`."""
    size = storage.size_of(place)
    if size is not None and size > MOST_RECORD_BYTES:
        return f"is too large to be read here ({size / 2**20:,.0f} MiB)"
    try:
        data = storage.whole(place)
        run = run_from(place.name, without_files(data)) if through else None
        return run if isinstance(run, RecordedRun) and run.task in through else run_from(place.name, data)
    except BatchscoreError as error:
        return f"cannot be read: {error}"


def read_accounts(
    folder: Place, task: str, until: float, known: Collection[Manifest]
) -> tuple[list[FileAccount], int, list[str]]:
    """Return a task's files by name, how many were left out for lack of time, and problems."""
    layout = Layout(folder, task, "")
    names = manifest_names(layout)
    by_name = {f"{stem_of(each.file)}.json": each for each in known if each.task == task}
    files = [account_of(by_name[name]) for name in names if name in by_name]
    places = [layout.manifests / name for name in names if name not in by_name]
    recorded = RecordedFiles()
    # In a store each record would take a request.
    if places and isinstance(folder, Path):
        with suppress(OutputError):
            recorded = recorded_files(folder, task)
    problems: list[str] = []
    read = 0
    for place, found in each_of(places, partial(read_account, recorded=recorded), until):
        read += 1
        if isinstance(found, FileAccount):
            files.append(found)
        else:
            problems.append(f"manifest/{task}/{place.name} {found}.")
    return sorted(files, key=lambda each: each.file.split("/")), len(places) - read, problems


def read_account(place: Place, recorded: RecordedFiles) -> FileAccount | str:
    """Return the file of a manifest, or why the manifest cannot be used."""
    try:
        manifest = read_manifest(place)
        account = account_of(manifest)
        missing = recorded.missing(manifest) if manifest.state == "complete" else None
        return account if missing is None else replace(account, state="partial", problem=str(missing))
    except BatchscoreError as error:
        reason = str(error).partition("; ")[0].partition(". ")[0]
        return f"cannot be used: {reason}"


def count_errors(folder: Place, manifests: Iterable[Manifest]) -> dict[str, int]:
    """Return the error records of files by code, as many as can be read in a second."""
    files = [account_of(each) for each in manifests if each.errors]
    return read_failures(folder, files, time.monotonic() + 1.0).by_code


def account_of(manifest: Manifest) -> FileAccount:
    """Return what a page shows of a manifest."""
    scores, errors = list[StoredPart](), list[StoredPart]()
    for _, commit in sorted(manifest.parts.items()):
        if commit.scores is not None and commit.ok:
            scores.append(stored_part(manifest.task, commit.scores, commit.ok))
        if commit.error_records is not None and commit.errors:
            errors.append(stored_part(f"errors/{manifest.task}", commit.error_records, commit.errors))
    return FileAccount(**manifest.totals(), scores=tuple(scores), error_parts=tuple(errors))


def stored_part(folder: str, file: PartFile, rows: int) -> StoredPart:
    """Return a part as a page names it; a manifest may come from anywhere, so no name leads elsewhere."""
    return StoredPart(f"{folder}/{file.name.rpartition('/')[2]}", file.bytes, rows)


def files_of_last_run(runs: Sequence[RecordedRun], known: Iterable[str]) -> list[FileAccount]:
    """Return the files that only the latest records name: not started, unreadable, or left out."""
    accounts: dict[str, FileAccount] = {}
    seen = set(known)
    for run in reversed(runs):
        for each in (*items(run.record.get("files")), *items(run.record.get("earlier"))):
            name = each.get("file")
            if isinstance(name, str) and name not in seen:
                seen.add(name)
                accounts[name] = account_in_record(name, each)
        if not run.shared:
            break
    return list(accounts.values())


def without_manifest(file: FileAccount, started: Container[str]) -> FileAccount:
    """Return a file whose manifest is missing, though a run's record may say that it is complete."""
    if file.state == "not_started" and stem_of(file.file) in started:
        return replace(file, state="partial")
    if file.state != "complete":
        return file
    return replace(file, state="partial", problem="its manifest is missing", ok=0, errors=0, empty=0)


def account_in_record(name: str, fields: Mapping[str, Any]) -> FileAccount:
    """Return a file as a run's record describes it."""
    names = ("rows", "ok", "errors", "empty", "attempts", "tokens_billed", "tokens_kept")
    figures: dict[str, Any] = {key: int(number(fields, key)) for key in names}
    state, problem = fields.get("state"), fields.get("problem")
    return FileAccount(
        file=name,
        state=state if isinstance(state, str) else "unknown",
        problem=problem if isinstance(problem, str) else "",
        **figures,
    )


def each_of(places: Sequence[Place], read: Callable[[Place], T], until: float) -> Iterator[tuple[Place, T]]:
    """Yield what is read at each place, in order, several at a time in a store, until time is up."""
    at_once = _AT_ONCE if places and isinstance(places[0], StoredPath) else 1
    with ThreadPoolExecutor(at_once, "batchscore-report") as pool:
        for start in range(0, len(places), at_once):
            if time.monotonic() >= until:
                return
            some = places[start : start + at_once]
            yield from zip(some, map(read, some) if at_once == 1 else pool.map(read, some), strict=True)


def damaged_parts(folder: Place, files: Sequence[FileAccount], until: float) -> list[str]:
    """Return which parts are missing or differ in size from their manifest, until time is up.

    `batchscore verify` reads parts. In a store nothing is checked: each part would take a request.
    """
    problems: list[str] = []
    listed: dict[str, dict[str, int]] = {}
    for part in (part for each in files for part in (*each.scores, *each.error_parts)):
        if time.monotonic() >= until or not isinstance(folder, Path):
            break
        below, _, name = part.name.rpartition("/")
        if below not in listed:
            listed[below] = storage.sizes(folder / below)
        if listed[below].get(name) == part.bytes:
            continue
        there = storage.size_of(folder / part.name)
        if there is None:
            problems.append(f"{part.name} is missing.")
        elif there != part.bytes:
            problems.append(f"{part.name} has {there:,} bytes instead of {part.bytes:,}.")
    return problems
