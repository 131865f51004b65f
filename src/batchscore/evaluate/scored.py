"""Which rows does an output have, each with its columns and its result?

It reads the records alone if these hold all that is needed and no row is without one. Otherwise it reads the
input again, whose digest must be as it was. So a row that was never scored is there, too. It knows no labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from batchscore.errors import ErrorCode, InputError, setting_name
from batchscore.evaluate.fold import fold
from batchscore.output.find import output_folder, score_parts, task_of
from batchscore.output.layout import Layout
from batchscore.output.manifest import Manifest, read_manifests
from batchscore.output.missing import recorded_files
from batchscore.output.tables.sources import (
    TableSource,
    joined_rows,
    recorded_bases,
    results_of,
    sources_of,
)
from batchscore.report.resume import named_command
from batchscore.rows import Row, RowError, Settled
from batchscore.stores import storage
from batchscore.stores.address import Place, StoredPath, place_of
from batchscore.task import TASKS, Task

#: The errors of rows that could not be read.
_UNREADABLE = frozenset({ErrorCode.UNREADABLE_ROW, ErrorCode.ROW_TOO_LARGE})


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """A row of an output: where it is, its columns as far as they are known, and its result if it has one."""

    file: str
    row: int
    id: str | None
    values: Mapping[str, Any]
    settled: Settled | None

    @property
    def is_unread(self) -> bool:
        """Whether it could not be read, so that nobody knows its id and label; of a row without an answer."""
        error = None if self.settled is None else self.settled.result
        return not self.values or (isinstance(error, RowError) and error.code in _UNREADABLE)


@dataclass(frozen=True, slots=True)
class ScoredOutput:
    """One output that is evaluated, as the user named it; `base_dir` is where the inputs are now.

    `limited` files are those of which the first rows were to be scored, so the others are not missing, and
    `unread` is the number of these rows that no run has read. `is_cut`: these files have more rows.
    """

    named: str
    layout: Layout
    manifests: tuple[Manifest, ...]
    limited: frozenset[str]
    unread: int
    is_cut: bool
    base_dir: Place | None = None
    sources: dict[str, TableSource] = field(default_factory=dict)

    @property
    def task(self) -> Task:
        """The task of its scores."""
        return TASKS[self.layout.task]

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """The settings that determine its records."""
        return next((each.fingerprint for each in self.manifests if each.fingerprint), {})

    @property
    def model(self) -> str:
        """The model or deployment that gave the scores; empty if that is not recorded."""
        return str(self.fingerprint.get("deployment") or self.fingerprint.get("model") or "")

    @property
    def simulated(self) -> bool:
        """Whether the simulator has answered."""
        return any(each.simulated for each in self.manifests)

    @property
    def digest(self) -> str:
        """A digest of its inputs and records."""
        text = "\n".join(f"{each.file} {each.input} {each.records_digest}" for each in self.manifests)
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    @property
    def input_digests(self) -> frozenset[str]:
        """The digests of its inputs that have rows."""
        return frozenset(each.input for each in self.manifests if each.rows and each.input)

    @property
    def is_settled(self) -> bool:
        """Whether every row that was to be scored has a record."""
        return all(
            each.rows == each.ok + each.errors
            and (each.state == "complete" or (each.file in self.limited and not self.unread))
            for each in self.manifests
        )

    def holds(self, columns: Collection[str]) -> bool:
        """Whether the records hold these columns of the input."""
        keep = self.fingerprint.get("keep") or []
        return "*" in keep or set(columns) <= {*keep, *self.id_names}

    @property
    def id_names(self) -> frozenset[str]:
        """The names of the column of ids, in records and in the input; none if the rows have no ids."""
        name = self.fingerprint.get("id")
        return frozenset() if name is None else frozenset({"id", str(name)})

    def reads_inputs(self, columns: Collection[str]) -> bool:
        """Whether the inputs must be read again for these columns."""
        return not (self.holds(columns) and self.is_settled)

    def rows(self, columns: Collection[str]) -> Iterator[ScoredRow]:
        """Yield all rows with at least these columns, by file and row.

        Raises `InputError` if an input is gone, `InputChanged` if it is not as it was, `OutputError` if a
        part is damaged.
        """
        again, unread = self.reads_inputs(columns), self.unread
        for manifest in self.manifests:
            if not again:
                yield from self._from_records(manifest)
            elif manifest.file not in self.limited:
                yield from self._from_input(manifest, None)
            else:
                number = 0
                for number, row in enumerate(self._from_input(manifest, manifest.rows + unread), 1):  # noqa: B007
                    yield row
                unread -= max(0, number - manifest.rows)

    def _from_records(self, manifest: Manifest) -> Iterator[ScoredRow]:
        for settled in results_of(self.layout, manifest):
            values = {**dict.fromkeys(self.id_names, settled.id), **settled.kept}
            yield ScoredRow(settled.file, settled.row, settled.id, values, settled)

    def _from_input(self, manifest: Manifest, most: int | None) -> Iterator[ScoredRow]:
        if manifest.file not in self.sources:
            self.sources.update((each.manifest.file, each) for each in self._sources())
        source, column = self.sources[manifest.file], self.fingerprint.get("id")
        with named_command(place_of(self.named), self.layout.task):
            for row, settled in joined_rows(self.layout, source, most=most):
                values = row.values if isinstance(row, Row) else {}
                own = values.get(column) if isinstance(column, str) else None
                found = None if own is None else str(own)
                id_ = found if settled is None else settled.id
                yield ScoredRow(row.file, row.number, id_, values, settled)

    def removed_files(self) -> tuple[str, ...]:
        """Return the files whose rows count although they are gone from the folder of the inputs.

        If nothing is left there, the inputs were most likely moved; unless the user has named the folder.
        """
        files = [each.file for each in self.manifests if each.rows]
        bases = recorded_bases(self.layout, set(files)) if self.base_dir is None else {}
        found, gone = dict[Place, Collection[str]](), list[str]()
        for file in files:
            base = self.base_dir or bases.get(file)
            if base is None or (self.base_dir is None and isinstance(base, StoredPath)):
                continue  # a store may ask for credentials that nothing else needs
            place = base / file
            if place.parent not in found:
                with suppress(OSError):
                    found[place.parent] = frozenset(storage.names(place.parent))
            if place.name not in found.get(place.parent, (place.name,)):
                gone.append(file)
        return tuple(gone) if self.base_dir is not None or len(gone) < len(files) else ()

    def _sources(self) -> list[TableSource]:
        with_rows = [each for each in self.manifests if each.rows or each.state != "complete"]
        return sources_of(self.layout, with_rows, self.base_dir)


def open_scores(
    named: Place, task: str | None = None, base_dir: Place | None = None, shown: str = ""
) -> ScoredOutput:
    """Return an output to evaluate. Raises `InputError` if it has no scores or no manifests."""
    folder = output_folder(named)
    task = task_of(folder, named, task)
    layout = Layout(folder, task, "")
    with named_command(named, task):
        score_parts(folder, task, may_be_empty=True)
    manifests = read_manifests(layout)
    if not manifests:
        raise InputError(
            f"{named} has no manifests, which say how many rows the inputs have. Without them rows that "
            "failed would go unnoticed. Name the whole output folder. If a run was stopped before it "
            "completed a file, run the same score command again first."
        )
    recorded = recorded_files(folder, task)
    limits = {file: each.limit for file, each in recorded.files.items() if each.limit is not None}
    read = sum(each.rows for each in manifests if each.file in limits)
    unread = max(0, max(limits.values(), default=0) - read)
    fingerprint = manifests[0].fingerprint
    without = recorded.without_manifest({each.file for each in manifests})
    is_cut = any(each.file in limits and each.state == "partial" for each in manifests) or any(
        file in limits for file in without
    )
    for file in without:
        # The rows of files that a stopped run has not begun are not reached.
        if unread or file not in limits:
            manifests.append(Manifest(file, task, fingerprint))
    # A limit counts the rows of the files in the order of the run.
    places = {file: place for place, file in enumerate(limits)}
    manifests.sort(
        key=lambda each: (
            places.get(each.file, -1) if each.state == "partial" else -1,
            each.file.split("/"),
        )
    )
    return ScoredOutput(
        shown or str(named), layout, tuple(manifests), frozenset(limits), unread, is_cut, base_dir
    )


def refuse_absent(column: str, output: ScoredOutput, row: ScoredRow, *, of_ids: bool = False) -> None:
    """Raise `InputError` if a row of an output lacks a column that the user named, such as that `of_ids`."""
    if column not in row.values:
        alike = {fold(str(each)): str(each) for each in row.values}
        near = "".join(f" Is it {alike[each]!r}?" for each in get_close_matches(fold(column), alike, 1))
        has = ", ".join(map(str, row.values)) or "none"
        why = out = ""
        if of_ids:
            if not output.id_names:
                why = f" It was scored without {setting_name('id')}, so its rows have no ids of their own."
            out = (
                " with --on if it has the ids, also in the file of labels. Or put the labels into a column "
                "of the input, score that, and name the column with --label alone: then no ids are needed."
            )
        raise InputError(
            f"{output.named}: {row.file} has no column {column!r}.{near}{why} Its columns are: {has}. Name "
            f"one of them{out or ', or give a file of labels.'} If the inputs were moved, name their folder "
            f"with {setting_name('base_dir')}."
        )
