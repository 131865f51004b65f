"""Which input files did the runs of an output set out to read, and which of them are not complete?

A run writes its record before its first request, with the files that it is going to read, and once more at
its end. So the latest record tells what an output lacks, even if its run was killed. Workers that share an
output have different files, so there the records of all workers count; the files that a host has not yet
handed to a worker are known to that host only. This module reads no records of rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from batchscore.errors import OutputIncomplete
from batchscore.output.incremental.switch import replaced_place
from batchscore.output.layout import Layout
from batchscore.output.manifest import Manifest, visible_names
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.task import TASKS

#: The errors of reading what is not a run record.
_NOT_A_RECORD = (ValueError, KeyError, TypeError, AttributeError)


#: What is lost with the latest record.
DAMAGED = "is damaged, so the files that its run was to read are not known"


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A file that is not fully scored: `why` in words; `unreadable`: the user must fix it first."""

    why: str
    unreadable: bool = False

    def __str__(self) -> str:
        return self.why


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """A file as the record of a run names it; `state` is that of its manifest, or `not_started`.

    `input` is the digest of the version that the run set out to score, if an older one may have scores.
    `counts` are rows, scores and errors at the end of a run that had the output for itself. `inputs` is the
    checksum of the INPUTs of the run that set out to read it.
    """

    file: str
    state: str
    problem: str = ""
    input: str = ""
    counts: tuple[int, int, int] | None = None
    shared: bool = False
    inputs: str = ""


@dataclass(slots=True)
class RecordedFiles:
    """What the records of one task's runs say; `latest` is the name of the last one, empty if there is none.

    `fingerprint` is that of its settings. `without_file`: it was to write one file, and has not done so.
    `replaced` files have complete scores that a run is about to replace. `damaged` are the places of damaged
    records; true if later records say all, so that nothing is lost.
    """

    latest: str = ""
    fingerprint: str = ""
    without_file: bool = False
    files: dict[str, RecordedFile] = field(default_factory=dict)
    replaced: frozenset[str] = frozenset()
    damaged: dict[Place, bool] = field(default_factory=dict)

    def missing(self, manifest: Manifest) -> Incomplete | None:
        """Return what is missing of a file that has a manifest; `None` if nothing is."""
        without = manifest.rows - manifest.ok - manifest.errors
        if without:
            return Incomplete(f"{without:,} row{'s' if without != 1 else ''} read, but without a record")
        if manifest.state != "complete":
            unreadable = manifest.state == "unreadable"
            return Incomplete(manifest.problem or "not read to its end", unreadable)
        recorded = self.files.get(manifest.file)
        if recorded is None:
            return None
        if recorded.problem and not recorded.shared:
            return Incomplete(recorded.problem, unreadable=True)
        if manifest.file in self.replaced or recorded.input not in {"", manifest.input}:
            return Incomplete("its earlier scores are complete, but not replaced by new ones yet")
        return None

    def without_manifest(self, known: Collection[str]) -> dict[str, Incomplete]:
        """Return the files that records name and that have no manifest: all but the `known` ones."""
        return {
            file: Incomplete(each.problem or "cannot be read", unreadable=True)
            if each.state == "unreadable"
            else Incomplete("its manifest is missing" if each.state == "complete" else "not started")
            for file, each in self.files.items()
            if file not in known
        }

    def lost_rows(self, manifest: Manifest) -> str | None:
        """Return how a complete manifest contradicts the record of the last run; `None` if it does not."""
        recorded = self.files.get(manifest.file)
        found = (manifest.rows, manifest.ok, manifest.errors)
        if manifest.state != "complete" or recorded is None or recorded.counts in {None, found}:
            return None
        rows, ok, errors = recorded.counts or found
        return (
            f"states {manifest.rows:,} rows, {manifest.ok:,} scores and {manifest.errors:,} errors; "
            f"runs/{self.latest} says {rows:,}, {ok:,} and {errors:,}"
        )


def recorded_files(folder: Place, task: str, *, read_all: bool = False) -> RecordedFiles:
    """Return what the latest records of a task say; `read_all` finds damaged records of earlier runs, too."""
    result = RecordedFiles(replaced=_replaced(folder, task))
    through = False
    for name, record in run_records(folder):
        if record is None:
            result.damaged[folder / "runs" / name] = through
        elif record["settings"]["task"] == task and not through:
            through = _add(result, name, record)
        if through and not read_all:
            break
    return result


def missing_files(folder: Place, task: str, manifests: Iterable[Manifest]) -> list[str]:
    """Return the files of a task that are not complete, each with the reason, in the order of their names."""
    recorded, known = recorded_files(folder, task), set[str]()
    missing: dict[str, Incomplete] = {}
    for manifest in manifests:
        known.add(manifest.file)
        incomplete = recorded.missing(manifest)
        if incomplete is not None:
            missing[manifest.file] = incomplete
    missing |= recorded.without_manifest(known)
    missing |= {
        str(place): Incomplete(DAMAGED) for place, harmless in recorded.damaged.items() if not harmless
    }
    return [f"{file}: {missing[file]}" for file in sorted(missing)]


def error_of_missing(output: str, missing: Sequence[str]) -> OutputIncomplete:
    """Return the error for an output that is needed whole and is not complete."""
    more = f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
    return OutputIncomplete(
        f"{output} is not complete: {missing[0]}{more}. Run the same score command again to resume."
    )


def run_records(folder: Place) -> Iterator[tuple[str, Any]]:
    """Yield the records of all runs by name, the latest first; `None` in place of a damaged one."""
    runs = folder / "runs"
    for name in reversed(visible_names(runs)) if storage.is_folder(runs) else ():
        if not name.endswith(".json"):
            continue
        try:
            record = orjson.loads(b"".join(storage.chunks(runs / name)))
            _refuse_odd(record)
        except _NOT_A_RECORD:
            record = None
        yield name, record


def _refuse_odd(record: Any) -> None:
    """Raise `ValueError` or a similar error if a record has values that no run writes."""
    named = [*record["files"], *record.get("earlier", ())]
    texts = [each.get(name, "") for each in named for name in ("file", "state", "problem", "input")]
    figures = [each.get(name, 0) for each in named for name in ("rows", "ok", "errors")]
    valid = (
        record["settings"]["task"] in TASKS
        and all(isinstance(each, str) for each in texts)
        and all(type(each) is int for each in figures)
        and all(each["file"] and each["state"] for each in named)
    )
    if not valid:
        raise ValueError


def _add(result: RecordedFiles, name: str, record: Mapping[str, Any]) -> bool:
    """Add what later records do not say; return whether earlier records do not count any more."""
    shared = bool(record["settings"].get("shared_output", record["settings"].get("shared")))
    if not result.latest:
        result.latest = name
        result.fingerprint = record.get("fingerprint", "")
        result.without_file = record.get("file_written") is False
    ended = record.get("exit_code") is not None and not shared
    for each in (*record["files"], *record.get("earlier", ())):
        has_counts = ended and each["state"] == "complete" and "rows" in each
        recorded = RecordedFile(
            file=each["file"],
            state=each["state"],
            problem=each.get("problem", ""),
            input=each.get("input", ""),
            counts=(each["rows"], each["ok"], each["errors"]) if has_counts else None,
            shared=shared,
            inputs=each.get("inputs", record.get("inputs", "")),
        )
        result.files.setdefault(recorded.file, recorded)
    return not shared


def _replaced(folder: Place, task: str) -> frozenset[str]:
    """Return the files whose complete scores a killed run was about to replace."""
    place = replaced_place(Layout(folder, task, ""))
    if not storage.exists(place):
        return frozenset()
    try:
        return frozenset(orjson.loads(b"".join(storage.chunks(place)))["files"])
    except _NOT_A_RECORD:
        return frozenset()


def still_missing(
    layout: Layout, manifests: Mapping[str, Manifest], *, inputs: str, fingerprint: str
) -> list[RecordedFile]:
    """Return the files that runs with other INPUTs set out to read and have not completed.

    Of runs with the same INPUTs the next run's record says all. Those with other settings had other scores.
    """
    recorded = recorded_files(layout.root, layout.task)
    if recorded.fingerprint != fingerprint:
        return []
    missing = recorded.without_manifest(manifests)
    return [
        each
        for file, each in recorded.files.items()
        if each.inputs != inputs and (file in missing or recorded.missing(manifests[file]) is not None)
    ]
