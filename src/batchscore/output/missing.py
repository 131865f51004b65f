"""Which input files did the runs of an output set out to read, and which of them are not complete?

A run writes its record before its first request, with the files that it is going to read, and once more at
its end. So the latest record says what an output lacks, even if its run was killed. Workers that share an
output have different files, so there the records of all workers count; the files that a host has not yet
handed to a worker are known to that host only. A run that has the output for itself also records the counts
of all complete files, so that its record alone suffices to find an older version of a file. This module reads
no records of rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchscore.errors import (
    HAS_CHANGED,
    ExitCode,
    OutputError,
    OutputIncomplete,
    UsageError,
    count_text,
    setting_name,
)
from batchscore.output.incremental.switch import (
    UNKNOWN_REPLACED,
    next_layout,
    read_replaced,
    replaced_place,
    unfinished_stems,
)
from batchscore.output.layout import Layout, stem_of
from batchscore.output.manifest import Manifest
from batchscore.output.run_records import RecordedCounts, RecordedFile, RunRecord, counts_in, run_records
from batchscore.output.share import Share
from batchscore.output.submitted import waiting_chunks
from batchscore.settings.declare import mark_flags
from batchscore.settings.part_of import parse_part_of
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.stores.storage import visible_names

#: The number of incomplete files that an error names.
_MOST_NAMED = 5

#: How a worker ends that has scored its share.
SCORED = (ExitCode.DONE, ExitCode.ROWS_FAILED)

#: What completes an output, unless the user must do something first.
AGAIN = "Run the same score command again to resume."

#: What is lost with the latest record.
UNKNOWN_FILES = "is damaged, so the files that its run was to read are not known; run the same command again"


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A file that is not fully scored: `why` in words.

    `unreadable`: the user must fix it first. `unread`: it has more rows than were read. `gone`: the last run,
    which was to read all files, did not find it.
    """

    why: str
    unreadable: bool = False
    unread: bool = False
    gone: bool = False

    def __str__(self) -> str:
        return self.why


NOT_READ = "not read completely"
STARTED = "started, but not complete"
GONE = (
    "and the last run did not find it: restore the file, or remove its records with "
    f"{setting_name('incremental', True)} and {setting_name('prune', True)}"
)
REPLACING = Incomplete("a killed run was replacing its scores")


@dataclass(slots=True)
class RecordedFiles:
    """What the records of one task's runs say; `has_record`: there is one.

    `fingerprint`, `without_file`, `pruning` and `called` are those of the last one. `files` are those that it
    names, or the last ones of workers, and `killed` says whether one of these runs has not ended. `counts`
    are the last known counts of each complete file. `replaced` files have complete scores that a run is about
    to replace. `shares` are those of runs with the settings and INPUTs of the last one: `True` if one has
    scored it.
    `damaged` says of damaged files what they hide; empty if later records say all, so that nothing is lost.
    """

    has_record: bool = False
    killed: bool = False
    fingerprint: str = ""
    without_file: bool = False
    pruning: bool = False
    called: Mapping[str, Any] = field(default_factory=dict)
    files: dict[str, RecordedFile] = field(default_factory=dict)
    counts: dict[str, RecordedCounts] = field(default_factory=dict)
    replaced: frozenset[str] = frozenset()
    shares: dict[Share, bool] = field(default_factory=dict)
    damaged: dict[Place, str] = field(default_factory=dict)

    @property
    def scratch(self) -> Path | None:
        """The folder that the last run was given for its journals."""
        chosen = self.called.get("settings", {}).get("scratch_dir")
        return Path(chosen) if isinstance(chosen, str) and "\0" not in chosen else None

    @property
    def stopped(self) -> str:
        """Why the last run stopped, if the same command would stop again: the user must act first."""
        reason, code = self.called.get("reason"), self.called.get("exit_code")
        must_act = code in [each for each in ExitCode if each.user_must_act]
        return mark_flags(reason) if must_act and isinstance(reason, str) else ""

    @property
    def missing_shares(self) -> list[Share]:
        """The shares that no worker has scored, if the last one had one; last those that were begun."""
        last = share_of(self.called)
        every = [Share(number, last.workers) for number in range(1, last.workers + 1)] if last else []
        return sorted((each for each in every if not self.shares.get(each)), key=self.shares.__contains__)

    def missing(self, manifest: Manifest) -> Incomplete | None:
        """Return what is missing of a file that has a manifest; `None` if nothing is."""
        recorded = self.files.get(manifest.file)
        without = manifest.rows - manifest.ok - manifest.errors
        read_all = manifest.is_read or (recorded is not None and recorded.read_all)
        unread = manifest.state != "complete" and not (without and read_all)
        problem = recorded.problem if recorded is not None else ""
        if recorded is not None and recorded.shared and problem != HAS_CHANGED:
            problem = ""  # another worker may have read the file
        if without or unread:
            pieces = [f"{count_text(without, 'row')} read but not scored"] if without else []
            left = NOT_READ if recorded is None or not recorded.is_share else shares_text(self.missing_shares)
            pieces += [manifest.problem or problem or left] if unread or problem else []
            shared = self.called.get("settings", {}).get("shared_output")
            gone = recorded is None and self.has_record and not shared
            pieces += [GONE] if gone else []
            return Incomplete(", ".join(pieces), bool(manifest.problem or problem or gone), unread, gone)
        if recorded is None and self.pruning:
            return Incomplete("its scores were to be removed")
        if problem:
            return Incomplete(problem, unreadable=True)
        contradiction = self.contradiction(manifest)
        if contradiction is not None:
            return Incomplete(f"its manifest {contradiction}")
        other = recorded is not None and recorded.input not in {"", manifest.input}
        if manifest.file in self.replaced or other:
            return Incomplete("its earlier scores are complete, but not replaced by new ones yet")
        return None

    def without_manifest(self, known: Collection[str], layout: Layout | None = None) -> dict[str, Incomplete]:
        """Return the files that records name and that have no manifest: all but the `known` ones.

        Without a `layout` nothing says which of them were started.
        """
        missing: dict[str, Incomplete] = {}
        started: set[str] | None = None
        for file, each in self.files.items():
            if file in known:
                continue
            if each.state == "unreadable":
                missing[file] = Incomplete(each.problem or "cannot be read", unreadable=True)
            elif each.state == "complete":
                missing[file] = Incomplete("its manifest is missing")
            else:
                if started is None:
                    started = set() if layout is None else started_stems(layout)
                missing[file] = Incomplete(STARTED if stem_of(file) in started else "not started")
        return missing

    def contradiction(self, manifest: Manifest) -> str | None:
        """Return how a complete manifest contradicts the last counts of its file; `None` if it does not."""
        counts, named = self.counts.get(manifest.file), self.files.get(manifest.file)
        if counts is None or manifest.state != "complete":
            return None
        set_out = named is not None and named.counts is None and named.input == manifest.input
        if set_out and not counts.final and manifest.input != counts.input:
            # A run that was killed later has replaced the file by this version.
            return None
        return counts.contradiction(manifest)

    def counts_to_keep(
        self, manifests: Iterable[Manifest], contradicted: Collection[str]
    ) -> dict[str, RecordedCounts]:
        """Return the counts of complete files, as recorded earlier if the manifest is `contradicted`."""
        # Of these, `contradiction` has compared every count and digest with the manifest.
        kept = set(contradicted) | {
            file for file, each in self.counts.items() if each.is_exact and each.input and each.records_digest
        }
        return {
            each.file: self.counts[each.file] if each.file in kept else counts_in(each)
            for each in manifests
            if each.state == "complete"
        }


def recorded_files(
    folder: Place, task: str, *, all_records: bool = False, counts_of: Collection[str] | None = None
) -> RecordedFiles:
    """Return what the records of a task's runs say; with `all_records`, also which older ones are damaged.

    Without it, no record is read after the one that says all, or after the last one with `counts_of` files if
    no more is needed: in a store each record takes a request.
    """
    result, named = RecordedFiles(), set[str]()
    _add_replaced(result, replaced_place(Layout(folder, task, "")))
    # Earlier records name further files only beside those of workers, each of which had other files.
    names_all = counts_all = False
    for name, record in run_records(folder):
        if record is None:
            result.damaged[folder / "runs" / name] = "" if names_all else UNKNOWN_FILES
        elif record.task == task and not counts_all:
            if not names_all:
                _add_files(result, record)
            _add_counts(result.counts, record, named)
            names_all = names_all or not record.shared
            counts_all = record.complete_files is not None
        known = counts_of is not None and result.counts.keys() >= set(counts_of)
        if known or (counts_all and not all_records):
            break
    return result


def missing_files(folder: Place, task: str, manifests: Iterable[Manifest]) -> list[str]:
    """Return the files of a task that are not complete, each with the reason, in the order of their names."""
    recorded, known = recorded_files(folder, task), set[str]()
    unfinished = unfinished_stems(Layout(folder, task, ""))
    missing: dict[str, Incomplete] = {}
    for manifest in manifests:
        known.add(manifest.file)
        incomplete = REPLACING if stem_of(manifest.file) in unfinished else recorded.missing(manifest)
        if incomplete is not None:
            missing[manifest.file] = incomplete
    missing |= recorded.without_manifest(known, Layout(folder, task, ""))
    missing |= {str(place): Incomplete(what) for place, what in recorded.damaged.items() if what}
    return [f"{file}: {missing[file]}" for file in sorted(missing)]


def started_stems(layout: Layout) -> set[str]:
    """Return the stems of files without a manifest that a run has started.

    It has begun with their next version, or their answers are in checkpoint files or at a Batch API.
    """
    stems = set[str]()
    with suppress(OutputError):  # what cannot be read is reported as damage
        stems |= {stem_of(file) for chunk in waiting_chunks(layout) for file in chunk.files}
        stems |= {name.removesuffix(".json") for name in visible_names(next_layout(layout).manifests)}
        stems |= {name.rpartition("-")[0] for name in visible_names(layout.journals)}
    return stems


def error_of_missing(
    output: str, missing: Sequence[str], stopped: str = "", held: str = ""
) -> OutputIncomplete:
    """Return the error for an output that is needed whole and is not complete.

    `stopped` says why the last run stopped, if the same command would stop again. `held` names a run that is
    working on the output, so that nothing is to be resumed.
    """
    listed = [each.removesuffix(".") for each in missing[:_MOST_NAMED]]
    listed += [f"and {len(missing) - _MOST_NAMED:,} more"] if len(missing) > _MOST_NAMED else []
    then = held or f"{stopped_text(stopped)}{'' if HAS_CHANGED in stopped else AGAIN}"
    return OutputIncomplete(f"{output} is not complete: {'; '.join(listed)}. {then.rstrip()}")


def stopped_text(stopped: str) -> str:
    """Return what is said of a last run that the user must help on; empty if there was none."""
    return f"The last run stopped: {stopped.removesuffix('.')}. " if stopped else ""


def share_of(called: Mapping[str, Any]) -> Share | None:
    """Return the share of a recorded run; `None` if it had none."""
    with suppress(UsageError):
        return Share(*parse_part_of(str(called.get("settings", {}).get("part_of"))))
    return None


def shares_text(missing: Iterable[Share]) -> str:
    """Return in words which shares are missing; unknown if all workers have ended, and records are lost."""
    names = [f"{each.number}/{each.workers}" for each in sorted(missing, key=lambda each: each.number)]
    names[_MOST_NAMED:] = [f"and {len(names) - _MOST_NAMED:,} more"] if len(names) > _MOST_NAMED else []
    which = f"shares {', '.join(names)} are" if names[1:] else f"share {names[0]} is" if names else ""
    return f"the {which or 'shares of some workers are'} missing ({setting_name('part_of')})"


def _add_files(result: RecordedFiles, record: RunRecord) -> None:
    """Add the files that no later record names."""
    if not result.has_record:
        result.has_record = True
        result.fingerprint = record.fingerprint
        result.without_file = record.without_file
        result.pruning = record.pruning
        result.called = record.called
    result.killed = result.killed or not record.ended
    share, called, last = share_of(record.called), record.called, result.called
    if share and (record.fingerprint, called["inputs"]) == (result.fingerprint, last["inputs"]):
        done = called["exit_code"] in SCORED and not called["reason"]
        result.shares[share] = done or result.shares.get(share, False)
    for each in record.files:
        later = result.files.setdefault(each.file, each)
        if later.shared and later.counts is None and not later.input:
            # A worker that has not completed a file does not know the version.
            result.files[each.file] = later._replace(input=each.input)


def _add_counts(counts: dict[str, RecordedCounts], record: RunRecord, named: set[str]) -> None:
    """Add the counts that no later record says; `named` files are those that later runs were to read."""
    for each in record.files:
        if each.counts is not None:
            _add(counts, each.counts, named)
        named.add(each.file)
    for known in record.complete_files or ():
        _add(counts, known, named)


def _add(counts: dict[str, RecordedCounts], known: RecordedCounts, named: set[str]) -> None:
    if known.file not in counts:
        counts[known.file] = known._replace(final=False) if known.file in named else known


def _add_replaced(result: RecordedFiles, place: Place) -> None:
    """Add the files whose complete scores a killed run was about to replace."""
    if storage.exists(place):
        try:
            result.replaced = read_replaced(place)[1]
        except ValueError:
            result.damaged[place] = UNKNOWN_REPLACED


def still_missing(
    recorded: RecordedFiles, manifests: Mapping[str, Manifest], *, inputs: str, fingerprint: str
) -> list[RecordedFile]:
    """Return the files that runs with other INPUTs set out to read and have not completed.

    Of runs with the same INPUTs the next run's record says all. Those with other settings had other scores.
    """
    if recorded.fingerprint != fingerprint:
        return []
    missing = recorded.without_manifest(manifests)
    return [
        each
        for file, each in recorded.files.items()
        if each.inputs != inputs and (file in missing or recorded.missing(manifests[file]) is not None)
    ]
