"""What does a run set out to do, how did it end, and what does it record about itself?

The record is one file, `runs/<start>-<worker>.json`. It is written before the first request, so that a killed
run leaves the names of the files that it was going to read, before the one requested file is written, and at
the end. The report is made from it. It holds settings, counts and versions, never a cell or a secret.
"""

from __future__ import annotations

import os
import platform
import secrets
import sys
from collections import Counter
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import Any

import orjson

from batchscore.endpoint.target import Endpoint
from batchscore.errors import (
    HAS_CHANGED,
    ExitCode,
    InputChanged,
    OutputOverwritten,
    count_text,
    name_settings,
)
from batchscore.output.layout import Layout
from batchscore.output.ledger import Ledger
from batchscore.output.manifest import Commit, Manifest
from batchscore.output.manifest_check import COSTS
from batchscore.output.run_records import RecordedCounts, RecordedFile
from batchscore.output.spec import Output, StandardOutput
from batchscore.output.tables.sources import TableSource
from batchscore.plan.survey import Survey
from batchscore.read.input_file import is_standard_input
from batchscore.report.page.make import count_errors
from batchscore.report.run_end import RunEnd
from batchscore.report.tally import Statistics
from batchscore.report.timeline import Timeline
from batchscore.report.words import json_safe
from batchscore.rows import FileFinished
from batchscore.run.incremental import Changes
from batchscore.settings.declare import as_flag
from batchscore.settings.fields import Settings
from batchscore.settings.secrets import mask_text, shown_settings
from batchscore.stores import storage
from batchscore.stores.address import Place, path_text
from batchscore.version import VERSION

#: What is recorded of each file, and of this run alone.
FILE_FIELDS = ("file", "state", "complete", "rows", "ok", "errors", "empty", *COSTS)
RUN_FIELDS = (
    *("ok", "errors", "finish_reasons", "without_text", "requests", "retried"),
    *("prompt_tokens", "completion_tokens", "full_price_prompt_tokens", "full_price_completion_tokens"),
)

#: Runs of this process so far; runs that begin within the same second must not share a name.
_runs = count(1)


@dataclass(frozen=True, slots=True)
class RunResult:
    """A run that ended, successfully or not.

    `with_file`: the one output file that was requested exists; `file_written`: by this run. `report` is the
    run's page, if it was made.
    """

    outcome: RunEnd
    statistics: Statistics
    survey: Survey
    settings: Settings
    output: Output
    layout: Layout
    record: Place
    seconds: float
    exit_code: ExitCode
    with_file: bool
    file_written: bool
    changes: Changes | None = None
    report: Place | None = None


@dataclass(frozen=True, slots=True)
class RunCall:
    """How a run was called; `name` is its start and its worker, `command` its words, empty if unknown."""

    name: str
    inputs: tuple[str, ...]
    command: str


@dataclass(frozen=True, slots=True)
class RunStart:
    """What a run's record says from its start on; `inputs` and `fingerprint` are checksums.

    `earlier` are files that runs with other INPUTs set out to read and have not completed. `complete_files`
    are the counts of files that were complete before; one of many workers does not know them. `versions` are
    the digests of the input files as the run found them, as far as they are known.
    """

    record: Place
    call: RunCall
    started: float
    settings: Settings
    inputs: str
    fingerprint: str
    earlier: tuple[RecordedFile, ...] = ()
    complete_files: Mapping[str, RecordedCounts] | None = None
    base: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_json(self, completed: Container[str] = ()) -> dict[str, Any]:
        """Return the fields that do not change until the end, without the counts of `completed` files."""
        complete = self.complete_files
        counts = (
            [each.to_json() for file, each in complete.items() if file not in completed] if complete else []
        )
        settings = {each.name: getattr(self.settings, each.name) for each in fields(self.settings)}
        if isinstance(self.settings.output, StandardOutput):
            settings["output"] = "-"
        if self.settings.scratch_dir is not None:  # `verify` may be called from another folder
            settings["scratch_dir"] = str(Path(self.settings.scratch_dir).absolute())
        return {
            "version": VERSION,
            "started": datetime.fromtimestamp(self.started, timezone.utc).isoformat(timespec="seconds"),
            "worker": self.call.name.partition("-")[2],
            "host": platform.node() or "host",
            "command": self.call.command,
            "inputs": self.inputs,
            "base": self.base,
            "fingerprint": self.fingerprint,
            "settings": shown_settings(settings),
            "earlier": [
                {"file": each.file, "state": each.state, "inputs": each.inputs}
                | ({"problem": name_settings(each.problem, as_flag)} if each.problem else {})
                for each in self.earlier
            ],
            **({} if complete is None else {"complete_files": counts}),
        }


def base_of(survey: Survey, inputs: Iterable[str]) -> str:
    """Return the folder that the names of files in records are relative to, with a slash at its end.

    It is empty for standard input: no copy of it stays.
    """
    if is_standard_input(inputs):
        return ""
    name, place = next(iter(survey.places.items()), ("", ""))
    return path_text(place.removesuffix(name)) if place.endswith(name) else ""


def files_at_start(
    survey: Survey, versions: Mapping[str, str], done: Collection[str]
) -> list[dict[str, str]]:
    """Return the files that a run is going to read, as its record names them.

    `versions` are the digests of files that have complete scores, maybe of another version; `done` files are
    scored already.
    """
    files = [
        {"file": ready.file.name, "state": "complete" if ready.file.name in done else "not_started"}
        | ({"input": versions[ready.file.name]} if ready.file.name in versions else {})
        for ready in survey.ready
    ]
    return files + [
        {"file": each.name, "state": "unreadable", "problem": name_settings(each.reason, as_flag)}
        for each in survey.problems
    ]


def write_start(start: RunStart, files: list[dict[str, str]], *, one_file: bool) -> None:
    """Write the record of a run that has not sent a request yet; raises `OutputError`."""
    record = start.to_json() | {"exit_code": None, "reason": None, "files": files}
    write(start.record, record | ({"file_written": False} if one_file else {}))


def write_record(
    result: RunResult, endpoints: Sequence[Endpoint], start: RunStart, timeline: Timeline
) -> None:
    """Write the record of a run that has ended."""
    called = [
        {
            "name": each.name,
            "url": each.target.shown_url,
            "auth": each.target.auth,
            "from": each.target.sources,
        }
        | {"rpm": each.rpm, "tpm": each.tpm}
        for each in endpoints
    ]
    statistics, outcome = result.statistics, result.outcome
    record = start.to_json({file.file for file in outcome.files if file.state == "complete"}) | {
        "seconds": round(result.seconds, 3),
        "exit_code": int(result.exit_code),
        "simulated": outcome.simulated,
        **({"file_written": result.file_written} if result.output.file is not None else {}),
        "reason": outcome.reason and mask_text(name_settings(outcome.reason, as_flag)),
        "endpoints": called,
        "rows": outcome.rows,
        "ok": outcome.ok,
        "errors": outcome.errors,
        "empty": outcome.errors - outcome.failed,
        "not_reached": outcome.not_reached,
        **{name: sum(getattr(file, name) for file in outcome.files) for name in COSTS},
        "this_run": {name: getattr(statistics, name) for name in RUN_FIELDS}
        | {
            "tokens_billed": statistics.prompt_tokens + statistics.completion_tokens,
            "tokens_kept": statistics.tokens_kept,
        },
        "billed_twice": statistics.billed_twice,
        "files": [
            {name: getattr(file, name) for name in FILE_FIELDS}
            | {"input": _version_of(file, start), "records_digest": file.records_digest}
            | ({"problem": problem} if (problem := _problem_of(file, outcome)) else {})
            for file in outcome.files
        ],
        **result.survey.remarks(),
        **outcome.repeated.to_json(),
        "versions": versions(),
        # Hundreds of figures on one line.
        "timeline": orjson.Fragment(
            orjson.dumps(timeline.record(max(result.seconds - timeline.seconds, 0.0)))
        ),
    }
    if result.changes is not None:
        record["changes"] = asdict(result.changes)
    write(result.record, record)


def _problem_of(file: FileFinished, end: RunEnd) -> str:
    """Return why the next run cannot score a file as it is; empty if it can."""
    stopped = end.stopped_by
    changed = isinstance(stopped, InputChanged) and stopped.name == file.file
    return HAS_CHANGED if changed else name_settings(file.problem, as_flag)


def _version_of(file: FileFinished, start: RunStart) -> str:
    """Return the digest of the version of a file that a run has scored, or was going to score."""
    return (file.input if file.state == "complete" else "") or start.versions.get(file.file, "")


def write(place: Place, record: Mapping[str, Any]) -> None:
    """Write a record, so that it survives a power cut."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    try:
        text = orjson.dumps(record, option=options, default=_as_json)
    except TypeError:  # a name that is not UTF-8, or a key that is no text
        text = orjson.dumps(json_safe(record), option=options, default=str)
    storage.write_whole(place, text, sync=True)


def _as_json(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)


def without_removed(
    end: RunEnd, removed: Mapping[str, Sequence[tuple[Place, Commit]]], output: Output
) -> RunEnd:
    """Return the end of a run without the records of parts that somebody has removed meanwhile."""
    if not removed:
        return end
    files = tuple(
        replace(
            each,
            state="partial",
            ok=each.ok - sum(commit.ok for _, commit in removed[each.file]),
            errors=each.errors - sum(commit.errors for _, commit in removed[each.file]),
            empty=each.empty - sum(commit.empty for _, commit in removed[each.file]),
        )
        if each.file in removed
        else each
        for each in end.files
    )
    (place, _), *_ = next(iter(removed.values()))
    lost = (commit.ok + commit.errors for parts in removed.values() for _, commit in parts)
    rows = count_text(sum(lost), "row")
    reason = OutputOverwritten(
        f"files were removed from {output.named} while the run was working, such as {place}. "
        f"The records of {rows} of {count_text(len(removed), 'file')} are lost. Run the same command again "
        "to score these rows; they are paid for again."
    )
    return replace(end, files=files, stopped_by=reason)


def errors_by_code(end: RunEnd, now: Statistics, ledger: Ledger) -> Mapping[str, int]:
    """Return the error records of a run's files by code; those of earlier runs are read from the output."""
    if end.errors <= now.errors.total():
        return now.errors
    manifests = [ledger.manifests[each.file] for each in end.files if each.file in ledger.manifests]
    # Not all may be read; this run's are known.
    return now.errors | Counter(count_errors(ledger.spec.layout.root, manifests))


def run_name(started: float, *, shared_output: bool) -> str:
    """Return a name that no other run that writes to the same output has: start in UTC and worker."""
    worker = f"{platform.node() or 'host'}-{os.getpid()}"
    if shared_output:
        # Machines of a cluster may share a name and a process number.
        worker += f"-{secrets.token_hex(4)}"
    elif (number := next(_runs)) > 1:
        worker += f"-{number:05}"  # records are read in the order of their names
    return f"{datetime.fromtimestamp(started, timezone.utc):%Y%m%dT%H%M%SZ}-{worker}"


#: Packages that send, read and write; their versions are recorded.
PACKAGES = ("httptools", "numpy", "orjson", "pyarrow", "uvloop")


def versions() -> dict[str, str]:
    """Return the versions of batchscore, Python, the system and the loaded packages that matter."""
    # `platform.platform` starts a process, and searches Python's program for the version of the C library.
    system = f"{platform.system()}-{platform.release()}-{platform.machine()}"
    found = {"batchscore": VERSION, "python": platform.python_version(), "platform": system}
    for name in PACKAGES:
        # One that is not loaded did nothing in this run.
        package = getattr(sys.modules.get(name), "__version__", None)
        if package is not None:
            found[name] = package
    return found


def table_sources(survey: Survey, manifests: Mapping[str, Manifest]) -> list[TableSource]:
    """Return the inputs of a table with their results, in input order.

    What the survey kept of them may not be what was scored, and a table compares the files with that.
    """
    return [
        TableSource(ready.file.without_content(), survey.options, manifests[ready.file.name])
        for ready in survey.ready
        if ready.file.name in manifests
        # Of a file that was gone at the end of the run, no row can be read again.
        and (manifests[ready.file.name].state != "unreadable" or manifests[ready.file.name].input)
    ]
