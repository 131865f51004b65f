"""What do an output's run records and manifests say, within a time limit?

It reads names, counts and sizes, never a score. What cannot be read is reported and skipped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from batchscore.errors import BatchscoreError
from batchscore.output.layout import Layout
from batchscore.output.manifest import (
    NOT_A_MANIFEST,
    Commit,
    manifest_paths,
    read_manifest,
    visible_names,
)
from batchscore.output.verify_parts import refuse_odd
from batchscore.report.page.model import FileAccount, PartAccount
from batchscore.report.page.runs import RecordedRun, items, number, run_from
from batchscore.stores import storage
from batchscore.stores.address import Place, StoredPath

#: Greatest number of runs that are read, the latest first; an Azure ML job may have one for each call.
MOST_RUNS = 2000

#: Larger records are not read.
MOST_RECORD_BYTES = 64 * 2**20

#: Concurrent requests to a store.
_AT_ONCE = 16

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """The time by which reading must end, on the monotonic clock; `None` is never."""

    ends: float | None = None

    @classmethod
    def within(cls, seconds: float | None) -> TimeLimit:
        """Return the limit this many seconds from now."""
        return cls(None if seconds is None else time.monotonic() + seconds)

    @property
    def over(self) -> bool:
        """Whether time is up."""
        return self.ends is not None and time.monotonic() >= self.ends


def read_runs(folder: Place, until: TimeLimit) -> tuple[list[RecordedRun], list[str]]:
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
    for place, found in each_of(places, read_run, until):
        read += 1
        if isinstance(found, RecordedRun):
            runs.append(without_files(found) if found.task in through else found)
            if not found.shared:
                through.add(found.task)
            problems += [f"runs/{place.name} {problem}." for problem in found.problems]
        else:
            problems.append(f"runs/{place.name} {found}.")
    if read < len(places):
        problems.append(f"{len(places) - read:,} earlier runs were left out for lack of time.")
    return sorted(runs, key=lambda run: (run.started, run.name)), problems


def without_files(run: RecordedRun) -> RecordedRun:
    """Return a run without the list of its files."""
    return replace(run, record={key: each for key, each in run.record.items() if key != "files"})


def read_run(place: Place) -> RecordedRun | str:
    """Return a run, or why its record cannot be used."""
    size = storage.size_of(place)
    if size is not None and size > MOST_RECORD_BYTES:
        return f"is too large to be read here ({size / 2**20:,.0f} MiB)"
    try:
        return run_from(place.name, b"".join(storage.chunks(place)))
    except BatchscoreError as error:
        return f"cannot be read: {error}"


def read_accounts(folder: Place, task: str, until: TimeLimit) -> tuple[list[FileAccount], int, list[str]]:
    """Return a task's files by name, how many were left out for lack of time, and problems."""
    places = manifest_paths(Layout(folder, task, ""))
    files: list[FileAccount] = []
    problems: list[str] = []
    read = 0
    for place, found in each_of(places, read_account, until):
        read += 1
        if isinstance(found, FileAccount):
            files.append(found)
        else:
            problems.append(f"manifest/{task}/{place.name} {found}.")
    return sorted(files, key=lambda each: each.file.split("/")), len(places) - read, problems


def read_account(place: Place) -> FileAccount | str:
    """Return the file of a manifest, or why the manifest cannot be used."""
    try:
        manifest = read_manifest(place)
        refuse_odd(manifest, place, place.parent.parent.parent, place.parent.name)
        parts = tuple(part_of(manifest.parts[number]) for number in sorted(manifest.parts))
        return FileAccount(**manifest.totals(), parts=parts)
    except (BatchscoreError, *NOT_A_MANIFEST) as error:
        reason = str(error).partition("; ")[0].partition(". ")[0]
        return f"cannot be used: {reason}"


def part_of(commit: Commit) -> PartAccount:
    """Return the sizes of one part."""
    named = commit.scores or commit.error_records
    return PartAccount(
        # A manifest may come from anywhere: a name must not lead to another folder.
        name=PurePosixPath(named.name).name if named else "",
        bytes=commit.scores.bytes if commit.scores else 0,
        ok=commit.ok if commit.scores else 0,
        error_bytes=commit.error_records.bytes if commit.error_records else 0,
        errors=commit.errors if commit.error_records else 0,
    )


def files_of_last_run(runs: Sequence[RecordedRun], known: Iterable[str]) -> list[FileAccount]:
    """Return the files that only the latest records name: not started, unreadable, or left out."""
    accounts: dict[str, FileAccount] = {}
    seen = set(known)
    for run in reversed(runs):
        for each in items(run.record.get("files")):
            name = each.get("file")
            if isinstance(name, str) and name not in seen:
                seen.add(name)
                accounts[name] = account_in_record(name, each)
        if not run.shared:
            break
    return list(accounts.values())


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


def each_of(
    places: Sequence[Place], read: Callable[[Place], T], until: TimeLimit
) -> Iterator[tuple[Place, T]]:
    """Yield what is read at each place, in order, several at a time in a store, until time is up."""
    if not places or not isinstance(places[0], StoredPath):
        for place in places:
            if until.over:
                return
            yield place, read(place)
        return
    with ThreadPoolExecutor(_AT_ONCE, "batchscore-report") as pool:
        for start in range(0, len(places), _AT_ONCE):
            if until.over:
                return
            some = places[start : start + _AT_ONCE]
            yield from zip(some, pool.map(read, some), strict=True)


def damaged_parts(folder: Place, task: str, files: Sequence[FileAccount], until: TimeLimit) -> list[str]:
    """Return which parts are missing or differ in size from their manifest, until time is up.

    `batchscore verify` reads parts. In a store nothing is checked: each part would take a request.
    """
    problems: list[str] = []
    names = {
        name: size
        for each in files
        for part in each.parts
        for name, size in (
            (f"{task}/{part.name}", part.bytes),
            (f"errors/{task}/{part.name}", part.error_bytes),
        )
        if part.name and size
    }
    for name, size in names.items() if isinstance(folder, Path) else ():
        if until.over:
            break
        there = storage.size_of(folder / name)
        if there is None:
            problems.append(f"{name} is missing.")
        elif there != size:
            problems.append(f"{name} has {there:,} bytes instead of {size:,}.")
    return problems
