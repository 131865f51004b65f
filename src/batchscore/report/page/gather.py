"""What do an output's run records and manifests say, within a bound of time?

It reads names, counts and sizes, never a score. What cannot be read is told and passed over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, TypeVar

from batchscore.errors import BatchscoreError
from batchscore.output.layout import Layout
from batchscore.output.manifest import (
    Commit,
    Manifest,
    manifest_paths,
    read_manifest,
    visible_names,
)
from batchscore.output.verify_parts import refuse_odd
from batchscore.report.page.model import FileAccount, PartAccount
from batchscore.report.page.runs import Run, items, number, run_from
from batchscore.stores import storage
from batchscore.stores.address import Place, StoredPath

#: So many of the latest runs are read; a job of Azure ML may leave one for each of its calls.
MOST_RUNS = 2000

#: A record that is larger names too many files to be read for a page.
MOST_RECORD_BYTES = 64 * 2**20

#: A store answers several at a time.
_AT_ONCE = 16

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Until:
    """The moment by which reading is to be over, on the monotonic clock; `None` is never."""

    ends: float | None = None

    @classmethod
    def within(cls, seconds: float | None) -> Until:
        """Return the moment so many seconds from now."""
        return cls(None if seconds is None else time.monotonic() + seconds)

    @property
    def over(self) -> bool:
        """Whether it has come."""
        return self.ends is not None and time.monotonic() >= self.ends


def read_runs(folder: Place, until: Until) -> tuple[list[Run], list[str]]:
    """Return an output's runs, the earliest first, and what of their records cannot be used."""
    names = [name for name in visible_names(folder / "runs") if name.endswith(".json")]
    latest = names[-MOST_RUNS:]
    problems: list[str] = []
    if len(names) > len(latest):
        problems.append(f"{len(names) - len(latest):,} earlier runs were left out: only the latest are read.")
    runs: list[Run] = []
    places = [folder / "runs" / name for name in reversed(latest)]
    read = 0
    # Thousands of runs may each name thousands of files; `files_of_last_run` asks for the latest only.
    through: set[str] = set()
    for place, found in each_of(places, read_run, until):
        read += 1
        if isinstance(found, Run):
            runs.append(without_files(found) if found.task in through else found)
            if not found.shared:
                through.add(found.task)
            problems += [f"runs/{place.name} {problem}." for problem in found.problems]
        else:
            problems.append(f"runs/{place.name} {found}.")
    if read < len(places):
        problems.append(f"{len(places) - read:,} earlier runs were left out for time.")
    return sorted(runs, key=lambda run: (run.started, run.name)), problems


def without_files(run: Run) -> Run:
    """Return a run that does not say which files it worked on."""
    return replace(run, record={key: each for key, each in run.record.items() if key != "files"})


def read_run(place: Place) -> Run | str:
    """Return a run, or in words why its record cannot be used."""
    size = storage.size_of(place)
    if size is not None and size > MOST_RECORD_BYTES:
        return f"is too large to be read here ({size / 2**20:,.0f} MiB)"
    try:
        return run_from(place.name, b"".join(storage.chunks(place)))
    except BatchscoreError as error:
        return f"cannot be read: {error}"


def read_accounts(folder: Place, task: str, until: Until) -> tuple[list[FileAccount], int, list[str]]:
    """Return the accounts of a task's files by name, how many were left out for time, and problems."""
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
    """Return what a manifest says of its file, or in words why it cannot be used."""
    try:
        manifest = read_manifest(place)
        refuse_odd(manifest, place, place.parent.parent.parent, place.parent.name)
        return account_of(manifest)
    except (BatchscoreError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = str(error).partition("; ")[0].partition(". ")[0]
        return f"cannot be used: {reason}"


def account_of(manifest: Manifest) -> FileAccount:
    """Return what of a manifest a page tells."""
    return FileAccount(
        file=manifest.file,
        state=manifest.state,
        problem=manifest.problem,
        rows=manifest.rows,
        ok=manifest.ok,
        errors=manifest.errors,
        empty=manifest.empty,
        **manifest.costs,
        parts=tuple(part_of(manifest.parts[number]) for number in sorted(manifest.parts)),
    )


def part_of(commit: Commit) -> PartAccount:
    """Return the sizes of one part."""
    named = commit.scores or commit.error_records
    return PartAccount(
        # A manifest may come from anywhere, so that a name with a path in it leads nowhere.
        name=PurePosixPath(named.name).name if named else "",
        bytes=commit.scores.bytes if commit.scores else 0,
        ok=commit.ok if commit.scores else 0,
        error_bytes=commit.error_records.bytes if commit.error_records else 0,
        errors=commit.errors if commit.error_records else 0,
    )


def files_of_last_run(runs: Sequence[Run], known: Iterable[str]) -> list[FileAccount]:
    """Return the files that only the latest records name: not started, unreadable, or not read here."""
    found: dict[str, FileAccount] = {}
    seen = set(known)
    for run in reversed(runs):
        for each in items(run.record.get("files")):
            name = each.get("file")
            if isinstance(name, str) and name not in seen:
                seen.add(name)
                found[name] = told(name, each)
        if not run.shared:
            break
    return list(found.values())


def told(name: str, found: Mapping[str, Any]) -> FileAccount:
    """Return a file's account as a run's record has it."""
    names = ("rows", "ok", "errors", "empty", "attempts", "tokens_billed", "tokens_kept")
    figures: dict[str, Any] = {key: int(number(found, key)) for key in names}
    state, problem = found.get("state"), found.get("problem")
    return FileAccount(
        file=name,
        state=state if isinstance(state, str) else "unknown",
        problem=problem if isinstance(problem, str) else "",
        **figures,
    )


def each_of(places: Sequence[Place], read: Callable[[Place], T], until: Until) -> Iterator[tuple[Place, T]]:
    """Give what stands at each place, in order, several at a time in a store; ends when time is over."""
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
