"""What does the record of a run say of its files?

What no run writes makes a record damaged. This module compares records with manifests, and joins no records
of several runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from batchscore.errors import OutputError, note_name
from batchscore.output.manifest import Manifest
from batchscore.output.manifest_check import (
    STATES,
    Fits,
    any_odd,
    is_count,
    is_list_of_objects,
    is_text,
    odd_field,
)
from batchscore.settings.declare import mark_flags
from batchscore.stores import storage
from batchscore.stores.address import Place, is_uri
from batchscore.stores.links import NO_FILE, real_path
from batchscore.stores.storage import visible_names
from batchscore.task import TASKS

#: The counts of a file, and all that is recorded of a complete one.
COUNTS = ("rows", "ok", "errors")
_COUNT_FIELDS = ("file", *COUNTS, "input", "records_digest")

#: The fields of a run's record that say how it was called, and how it ended.
CALLED = ("command", "inputs", "settings", "exit_code", "reason", "repeated_ids", "first_repeated_ids")

#: The fields of a run's record that are used here, and those that it may lack; the same of each file.
_FIELDS: dict[str, Fits] = {
    "settings": lambda value: isinstance(value, dict) and value.get("task") in tuple(TASKS),
    "files": is_list_of_objects,
}
_OPTIONAL: dict[str, Fits] = {
    "earlier": is_list_of_objects,
    "complete_files": is_list_of_objects,
    "exit_code": lambda value: value is None or is_count(value),
    "file_written": lambda value: isinstance(value, bool),
    "fingerprint": is_text,
    "inputs": is_text,
    "base": is_text,
}
_FILE: dict[str, Fits] = {
    "file": lambda value: is_text(value) and value != "",
    "state": lambda value: value in (*STATES, "not_started"),
}
_COUNTED: dict[str, Fits] = {"file": _FILE["file"]} | dict.fromkeys(COUNTS, is_count)
_OPTIONAL_OF_FILE: dict[str, Fits] = dict.fromkeys(
    ("problem", "input", "inputs", "records_digest"), is_text
) | dict.fromkeys(COUNTS, is_count)


def checksum(*texts: str) -> str:
    """Return a checksum of texts; an INPUT may be an address with a secret in it."""
    return hashlib.blake2b("\n".join(texts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def checksum_of_inputs(inputs: Iterable[str]) -> str:
    """Return a checksum of INPUTs, by which runs over the same ones are known."""
    return checksum(*sorted({each if is_uri(each) else str(real_path(each)) for each in inputs}))


class RecordedCounts(NamedTuple):
    """What a run's record says of a complete file: its counts, and the digests of its input and records.

    `run` is the name of the record. `shared`: other workers may have scored rows since. `final`: no later run
    was to read the file.
    """

    file: str
    rows: int
    ok: int
    errors: int
    input: str = ""
    records_digest: str = ""
    run: str = ""
    shared: bool = False
    final: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the entry of a run's record."""
        return {name: getattr(self, name) for name in _COUNT_FIELDS}

    @property
    def is_exact(self) -> bool:
        """Whether no later run can have changed the counts."""
        return self.final and not self.shared

    def contradiction(self, manifest: Manifest) -> str | None:
        """Return how a complete manifest contradicts these counts; `None` if it does not."""
        found = manifest.counts
        fixed = self.is_exact
        # A later run may have scored rows that failed, but none reads fewer rows of a complete file.
        if (
            found[0] != self.rows
            or (not self.shared and found[1] < self.ok)
            or (fixed and found != (self.rows, self.ok, self.errors))
        ):
            return (
                f"states {found[0]:,} rows, {found[1]:,} scores and {found[2]:,} errors; "
                f"runs/{self.run} says {self.rows:,}, {self.ok:,} and {self.errors:,}"
            )
        if self.input not in {"", manifest.input} or (
            fixed and self.records_digest not in {"", manifest.records_digest}
        ):
            return f"is not the one that runs/{self.run} has recorded, but that of an older or other version"
        return None


class RecordedFile(NamedTuple):
    """A file as the record of a run names it; `state` is that of its manifest, or `not_started`.

    `input` is the digest of the version that the run set out to score, or found scored. `counts` are those at
    the end of a run that found the file complete; `read_all`: one that ended has read it to its end. `inputs`
    is the checksum of the INPUTs of the run that set out to read it. `base` is the folder that the name is
    relative to, if this run was to read the file. `limit`: the most rows of all files that it was to score.
    `is_share`: it was to score one worker's share of the file.
    """

    file: str
    state: str
    problem: str = ""
    input: str = ""
    counts: RecordedCounts | None = None
    shared: bool = False
    inputs: str = ""
    base: str = ""
    read_all: bool = False
    limit: int | None = None
    is_share: bool = False


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What one run's record says; `ended`: it was not killed, and is not working.

    `without_file`: it was to write one file, and has not done so. `pruning`: it was to remove the scores of
    files that are gone, and was killed. `complete_files` are the counts of all other complete files in the
    output, `None` in the records of workers. `called`: the command, the settings, and how it ended.
    """

    task: str
    shared: bool
    ended: bool
    fingerprint: str
    without_file: bool
    pruning: bool
    files: tuple[RecordedFile, ...]
    complete_files: tuple[RecordedCounts, ...] | None
    called: Mapping[str, Any]


def counts_in(manifest: Manifest) -> RecordedCounts:
    """Return the counts that a manifest states."""
    return RecordedCounts(manifest.file, *manifest.counts, manifest.input, manifest.records_digest)


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
        fields = orjson.loads(storage.whole(place))
    except ValueError:
        return None
    except OutputError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in NO_FILE:
            return None
        raise
    if not isinstance(fields, dict) or odd_field(fields, _FIELDS, _OPTIONAL):
        return None
    files, earlier, complete = fields["files"], fields.get("earlier", []), fields.get("complete_files")
    shared = fields["settings"].get("shared_output") is True
    ended = fields.get("exit_code") is not None
    limit, is_share = fields["settings"].get("limit"), bool(fields["settings"].get("part_of"))
    limit, inputs = limit if is_count(limit) else None, fields.get("inputs", "")
    counted = _FILE | _COUNTED if ended else _FILE
    if (
        any_odd(files, counted, _OPTIONAL_OF_FILE)
        or any_odd(earlier, _FILE, _OPTIONAL_OF_FILE)
        or any_odd(complete or (), _COUNTED, _OPTIONAL_OF_FILE)
        or any(
            each["ok"] + each["errors"] > each["rows"]
            for each in (*(files if ended else ()), *(complete or ()))
        )
    ):
        return None

    def counts(file: Mapping[str, Any], *, shared: bool = False) -> RecordedCounts:
        note_name(file["file"])
        given = file.get("input", ""), file.get("records_digest", "")
        return RecordedCounts(file["file"], file["rows"], file["ok"], file["errors"], *given, name, shared)

    def recorded(each: Mapping[str, Any], *, base: str, limit: int | None) -> RecordedFile:
        note_name(each["file"])
        return RecordedFile(
            each["file"],
            each["state"],
            mark_flags(problem) if (problem := each.get("problem", "")) else "",
            each.get("input", ""),
            counts(each, shared=shared) if ended and each["state"] == "complete" else None,
            shared,
            each.get("inputs", inputs),
            base,
            ended and each.get("complete") is True,
            limit,
            is_share,
        )

    return RunRecord(
        task=fields["settings"]["task"],
        shared=shared,
        ended=ended,
        fingerprint=fields.get("fingerprint", ""),
        without_file=fields.get("file_written") is False,
        pruning=not ended and fields["settings"].get("prune") is True,
        # The files of earlier runs may be below other folders.
        files=(
            *[recorded(each, base=fields.get("base", ""), limit=limit) for each in files],
            *[recorded(each, base="", limit=None) for each in earlier],
        ),
        complete_files=None if shared or complete is None else tuple(map(counts, complete)),
        called={name: fields.get(name) for name in CALLED},
    )
