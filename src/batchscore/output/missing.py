"""Which input files did the runs of an output set out to read, and which of them are not complete?

A run writes its record before its first request, with the files that it is going to read, and once more at
its end. So the latest record tells what an output lacks, even if its run was killed. Workers that share an
output have different files, so there the records of all workers count; the files that a host has not yet
handed to a worker are known to that host only. This module reads no records of rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from batchscore.errors import OutputError, OutputIncomplete, count_text, setting_name
from batchscore.output.incremental.switch import read_replaced, replaced_place
from batchscore.output.layout import Layout
from batchscore.output.manifest import Manifest, visible_names
from batchscore.output.manifest_check import STATES, Fits, is_count, is_list_of_objects, is_text, odd_field
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.stores.regular_file import NO_FILE
from batchscore.task import TASKS

#: The counts of a file.
COUNTS = ("rows", "ok", "errors")

#: The states of a file in a run's record.
_STATES = (*STATES, "not_started")

#: The fields of a run's record that are used here, and those that it may lack; the same of each file.
_FIELDS: dict[str, Fits] = {
    "settings": lambda value: isinstance(value, dict) and value.get("task") in tuple(TASKS),
    "files": is_list_of_objects,
}
_NEWER: dict[str, Fits] = {
    "earlier": is_list_of_objects,
    "exit_code": lambda value: value is None or is_count(value),
    "file_written": lambda value: isinstance(value, bool),
    "fingerprint": is_text,
    "inputs": is_text,
}
_FILE: dict[str, Fits] = {
    "file": lambda value: is_text(value) and value != "",
    "state": lambda value: value in _STATES,
}
_NEWER_OF_FILE: dict[str, Fits] = dict.fromkeys(("problem", "input", "inputs", "commit"), is_text)
_NEWER_OF_FILE |= dict.fromkeys(COUNTS, is_count)

#: What is lost with the latest record, and with the list of replaced files.
UNKNOWN_FILES = "is damaged, so the files that its run was to read are not known; run the same command again"
UNKNOWN_REPLACED = (
    "is damaged, so the files that an overwriting run has not replaced yet are not known; score again "
    f"with {setting_name('overwrite')}"
)


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

    `input` is the digest of the version that the run set out to score, or found scored. `counts` are rows,
    scores and errors at the end of a run, and `commit` the digest of the records; other workers may have
    changed the records of a `shared` file since. `inputs` is the checksum of the INPUTs of the run that set
    out to read it, and `run` the name of its record. Earlier versions of batchscore record neither `input`
    nor `commit` at a run's end.
    """

    file: str
    state: str
    problem: str = ""
    input: str = ""
    counts: tuple[int, int, int] | None = None
    commit: str = ""
    shared: bool = False
    inputs: str = ""
    run: str = ""

    def over(self, earlier: RecordedFile) -> RecordedFile:
        """Return this with what an earlier record says: one of many workers may not have completed a file."""
        if not self.shared or self.counts is not None:
            return self
        return replace(self, counts=earlier.counts, input=self.input or earlier.input, run=earlier.run)

    def contradiction(self, manifest: Manifest) -> str | None:
        """Return how a complete manifest contradicts the record; `None` if it does not."""
        if manifest.state != "complete" or self.counts is None:
            return None
        rows, ok, errors = self.counts
        found = (manifest.rows, manifest.ok, manifest.errors)
        # Other workers may have scored rows that failed, but none has read fewer rows of a complete file.
        if (found[0] != rows) if self.shared else (found != self.counts):
            return (
                f"states {found[0]:,} rows, {found[1]:,} scores and {found[2]:,} errors; "
                f"runs/{self.run} says {rows:,}, {ok:,} and {errors:,}"
            )
        if self.input not in {"", manifest.input} or (
            self.commit not in {"", manifest.commit} and not self.shared
        ):
            return f"is not the one that runs/{self.run} has recorded, but that of an older or other version"
        return None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What one run's record says; `without_file`: it was to write one file, and has not done so.

    `pruning`: it was to remove the scores of files that are gone, and was killed.
    """

    task: str
    shared: bool
    fingerprint: str
    without_file: bool
    pruning: bool
    files: tuple[RecordedFile, ...]


@dataclass(slots=True)
class RecordedFiles:
    """What the records of one task's runs say; `known`: there is one.

    `fingerprint`, `without_file` and `pruning` are those of the last one. `files` are those that it names, or
    the last ones of workers; the other files of earlier records are `past`. `replaced` files have complete
    scores that a run is about to replace. `damaged` says of damaged files what they hide; empty if later
    records say all, so that nothing is lost.
    """

    known: bool = False
    fingerprint: str = ""
    without_file: bool = False
    pruning: bool = False
    files: dict[str, RecordedFile] = field(default_factory=dict)
    past: dict[str, RecordedFile] = field(default_factory=dict)
    replaced: frozenset[str] = frozenset()
    damaged: dict[Place, str] = field(default_factory=dict)

    def missing(self, manifest: Manifest) -> Incomplete | None:
        """Return what is missing of a file that has a manifest; `None` if nothing is."""
        without = manifest.rows - manifest.ok - manifest.errors
        if without:
            return Incomplete(f"{count_text(without, 'row')} read, but without a record")
        if manifest.state != "complete":
            unreadable = manifest.state == "unreadable"
            return Incomplete(manifest.problem or "not read to its end", unreadable)
        recorded = self.files.get(manifest.file)
        if recorded is None and self.pruning:
            return Incomplete("its scores were to be removed")
        if recorded is not None and recorded.problem and not recorded.shared:
            return Incomplete(recorded.problem, unreadable=True)
        contradiction = self.contradiction(manifest)
        if contradiction is not None:
            return Incomplete(f"its manifest {contradiction}")
        other = recorded is not None and recorded.input not in {"", manifest.input}
        if manifest.file in self.replaced or other:
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

    def contradiction(self, manifest: Manifest) -> str | None:
        """Return how a complete manifest contradicts the last record of its file; `None` if it does not."""
        recorded = self.files.get(manifest.file) or self.past.get(manifest.file)
        return None if recorded is None else recorded.contradiction(manifest)


def recorded_files(folder: Place, task: str) -> RecordedFiles:
    """Return what the records of a task's runs say."""
    result = RecordedFiles()
    _add_replaced(result, replaced_place(Layout(folder, task, "")))
    through = False
    for name, record in run_records(folder):
        if record is None:
            result.damaged[folder / "runs" / name] = "" if through else UNKNOWN_FILES
        elif record.task == task:
            _add(result, record, result.past if through else result.files)
            # Earlier records count only beside those of workers, each of which had other files.
            through = through or not record.shared
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
    missing |= {str(place): Incomplete(what) for place, what in recorded.damaged.items() if what}
    return [f"{file}: {missing[file]}" for file in sorted(missing)]


def error_of_missing(output: str, missing: Sequence[str]) -> OutputIncomplete:
    """Return the error for an output that is needed whole and is not complete."""
    more = f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
    return OutputIncomplete(
        f"{output} is not complete: {missing[0]}{more}. Run the same score command again to resume."
    )


def run_records(folder: Place) -> Iterator[tuple[str, RunRecord | None]]:
    """Yield the records of all runs by name, the latest first; `None` in place of a damaged one.

    Raises `OutputError` if one cannot be read for now.
    """
    runs = folder / "runs"
    files = visible_names(runs) if storage.is_folder(runs) else []
    # Without the suffix, as the names were chosen: "a-0001" is after "a", and "a-0001.json" before "a.json".
    stems = [name.removesuffix(".json") for name in files if name.endswith(".json")]
    for name in (f"{stem}.json" for stem in sorted(stems, reverse=True)):
        yield name, _read_record(runs / name, name)


def _read_record(place: Place, name: str) -> RunRecord | None:
    """Return a run's record; `None` if no run writes such a file."""
    try:
        fields = orjson.loads(b"".join(storage.chunks(place)))
    except ValueError:
        return None
    except OutputError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in NO_FILE:
            return None
        raise
    if not isinstance(fields, dict) or odd_field(fields, _FIELDS, _NEWER):
        return None
    named = (*fields["files"], *fields.get("earlier", ()))
    settings = fields["settings"]
    shared = settings.get("shared_output", settings.get("shared")) is True
    ended = fields.get("exit_code") is not None
    if any(odd_field(each, _FILE, _NEWER_OF_FILE) for each in named):
        return None
    if ended and any(_lacks_counts(each) for each in fields["files"]):
        return None
    files = [
        RecordedFile(
            file=each["file"],
            state=each["state"],
            problem=each.get("problem", ""),
            input=each.get("input", ""),
            counts=(each["rows"], each["ok"], each["errors"])
            if ended and each["state"] == "complete"
            else None,
            commit=each.get("commit", ""),
            shared=shared,
            inputs=each.get("inputs", fields.get("inputs", "")),
            run=name,
        )
        for each in named
    ]
    return RunRecord(
        task=settings["task"],
        shared=shared,
        fingerprint=fields.get("fingerprint", ""),
        without_file=fields.get("file_written") is False,
        pruning=not ended and settings.get("prune") is True,
        files=tuple(files),
    )


def _lacks_counts(file: Mapping[str, Any]) -> bool:
    """Whether a file in the record of a run that has ended lacks its counts, or they cannot be true."""
    if any(name not in file for name in COUNTS):
        return True
    return bool(file["ok"] + file["errors"] > file["rows"])


def _add(result: RecordedFiles, record: RunRecord, files: dict[str, RecordedFile]) -> None:
    """Add what later records do not say, to some of the files of the result."""
    if not result.known:
        result.known = True
        result.fingerprint = record.fingerprint
        result.without_file = record.without_file
        result.pruning = record.pruning
    for each in record.files:
        if each.file in files:
            files[each.file] = files[each.file].over(each)
        elif each.file not in result.files:
            files[each.file] = each


def _add_replaced(result: RecordedFiles, place: Place) -> None:
    """Add the files whose complete scores a killed run was about to replace."""
    if storage.exists(place):
        try:
            result.replaced = read_replaced(place)[1]
        except ValueError:
            result.damaged[place] = UNKNOWN_REPLACED


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
