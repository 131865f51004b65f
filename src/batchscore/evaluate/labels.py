"""Which label does a row have: in a column of its own, or in a file of labels by its id?

It counts what does not fit on both sides: labels without a row, rows without a label, ids that occur twice.
It knows no answers.
"""

from __future__ import annotations

import ast
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
import orjson
import xxhash

from batchscore.errors import InputError, setting_name
from batchscore.evaluate.fold import number_of, text_of
from batchscore.evaluate.scored import ScoredOutput, ScoredRow, refuse_absent
from batchscore.read.files import find_files
from batchscore.read.formats import open_rows, suffix_of
from batchscore.read.input_file import ReadOptions
from batchscore.rows import Row, RowError, Settled, Table

#: What often differs between two spellings of one id: zeros in front, a fraction of zeros, blanks.
_NOT_IN_IDS = re.compile(r"\s+|(?<!\d)0+(?=\d)|(?<=\d)\.0+(?=\s*\Z)")

#: How many ids without a label are compared with those without a row.
_COMPARED_IDS = 1000

#: How many different labels are kept once for all rows.
_MOST_SHARED_LABELS = 10_000


@dataclass(slots=True)
class JoinCounts:
    """What was joined, and what was not.

    `duplicate_rows` have an id that an earlier row had, `duplicate_labels` one that an earlier label had.
    Ids with `conflicting_labels` are used for no row. `failed_unlabelled` rows have such an id, or cannot be
    read, and have an error or no record. `unmatched_labels` have no row, or no id, or cannot be
    read. `documents` are those that can be ranked; of the relevant ones `documents_missing` are none of them.
    `others_without_vector` are documents, or rows to learn from; `others_limited`: a run has scored only the
    first of them. `rows_learned_from` have a vector that is also in the scores of `--train`. Answers with
    `tags_of_other_length` have more or fewer tags than their label. ROUGE finds nothing in
    `labels_without_tokens`; `labels_like_nan` are what programs write in place of a value. `unmatched_ids`
    are of a row and of a label that fit no other, two that nearly fit if there are some.
    """

    rows: int = 0
    rows_without_label: int = 0
    duplicate_rows: int = 0
    duplicate_labels: int = 0
    conflicting_labels: int = 0
    failed_unlabelled: int = 0
    unmatched_labels: int = 0
    documents: int = 0
    documents_missing: int = 0
    others_without_vector: int = 0
    others_limited: bool = False
    rows_learned_from: int = 0
    labels_like_nan: int = 0
    tags_of_other_length: int = 0
    labels_without_tokens: int = 0
    unmatched_ids: tuple[str, ...] = ()

    @property
    def labelled(self) -> int:
        """The number of rows that have a label."""
        return self.rows - self.rows_without_label

    @property
    def others_known(self) -> bool:
        """Whether all documents, or rows to learn from, have a vector; figures are not known without."""
        return not (self.others_without_vector or self.others_limited)

    @property
    def rows_with_label(self) -> float:
        """The share of the rows that have a label."""
        return self.labelled / self.rows if self.rows else 0.0

    @property
    def labels_with_row(self) -> float:
        """The share of the labels, with a row or without, that have one."""
        known = self.labelled + self.unmatched_labels
        return self.labelled / known if known else 0.0


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """A row with its label, `None` if it has none. `key` is the same for this row in other outputs."""

    scored: ScoredRow
    gold: Any
    key: int


@dataclass(frozen=True, slots=True)
class LabelFile:
    """The labels of a file by id, `None` for an id with different labels, whose places are `conflicts`."""

    named: str
    on: str
    by_id: dict[str, Any]
    duplicates: int
    conflicts: Mapping[str, str]
    without_id: int = 0


@dataclass(frozen=True, slots=True)
class LabelSource:
    """Where labels are: in `column`, of the rows or of `file`. `others` are more columns to read."""

    column: str
    file: LabelFile | None = None
    others: tuple[str, ...] = ()

    @property
    def columns(self) -> frozenset[str]:
        """The columns that rows need."""
        if self.file is None:
            return frozenset({self.column, *self.others})
        return frozenset({self.file.on, *self.others})

    def rows(self, output: ScoredOutput, counts: JoinCounts) -> Iterator[LabelledRow]:
        """Yield all rows with their labels. `counts` is complete at the end.

        Raises `InputError` if no row of a file has a column that is needed.
        """
        seen, unknown = array("Q"), list[str]()
        counts.rows = counts.rows_without_label = 0
        is_id, own = self.column in output.id_names, self._own_columns(output)
        file, lacking = "", None
        for scored in self._rows(output):
            if scored.values and (lacking is not None or scored.file != file):
                if not file:
                    self._check_columns(output, scored)
                if lacking is not None and scored.file != file:
                    self._check_columns(output, lacking)
                whole = own.keys() <= scored.values.keys()
                file, lacking = scored.file, None if whole else lacking or scored
            counts.rows += 1
            row_id = self._id_of(scored)
            key = self._key_of(scored, row_id)
            if self.file is None:
                gold = scored.values.get(self.column, scored.id if is_id else None)
            else:
                gold = None if row_id is None else self.file.by_id.get(row_id)
                if row_id is not None and row_id not in self.file.by_id and len(unknown) < _COMPARED_IDS:
                    unknown.append(row_id)
            if row_id is not None:
                seen.append(key_of(row_id))
            gold = answer_of(gold)
            if is_missing(gold):
                counts.rows_without_label += 1
                counts.failed_unlabelled += self._is_lost(scored, row_id)
                gold = None
            yield LabelledRow(scored, gold, key)
        if lacking is not None:
            self._check_columns(output, lacking)
        found = np.unique(seen)
        counts.duplicate_rows = len(seen) - len(found)
        if self.file is not None:
            counts.duplicate_labels = self.file.duplicates
            counts.conflicting_labels = len(self.file.conflicts)
            keys = np.fromiter(map(key_of, self.file.by_id), np.uint64, len(self.file.by_id))
            others = list(compress(self.file.by_id, ~np.isin(keys, found)))
            counts.unmatched_labels = len(others) + self.file.without_id
            if unknown and others:
                counts.unmatched_ids = _similar(unknown, others) or (unknown[0], others[0])

    def _rows(self, output: ScoredOutput) -> Iterator[ScoredRow]:
        try:
            yield from output.rows(self.columns)
        except InputError as error:
            if self.file is None or output.id_names or type(error) is not InputError:
                raise
            raise InputError(
                f"{output.named} was scored without {setting_name('id')}, so the ids of its rows must be "
                f"read from the input. {error}"
            ) from None

    def keyed(self, output: ScoredOutput) -> Iterator[tuple[int, Settled | None]]:
        """Yield the keys of all rows with their results; these rows need no labels."""
        columns = frozenset[str]() if self.file is None else frozenset({self.file.on})
        for scored in output.rows(columns):
            yield self._key_of(scored, self._id_of(scored)), scored.settled

    def _key_of(self, scored: ScoredRow, row_id: str | None) -> int:
        by_row = self.file is None or row_id is None
        return key_of(f"{scored.file}\0{scored.row}" if by_row else row_id or "")

    def _id_of(self, scored: ScoredRow) -> str | None:
        if self.file is None or self.file.on not in scored.values:
            return scored.id
        return text_of(scored.values[self.file.on])

    def _is_lost(self, scored: ScoredRow, row_id: str | None) -> bool:
        """Whether a row without a label failed, and has several that differ, or cannot be read."""
        error = None if scored.settled is None else scored.settled.result
        if error is not None and not isinstance(error, RowError):
            return False
        if self.file is not None and row_id in self.file.conflicts:
            return True
        return scored.is_unread

    def _own_columns(self, output: ScoredOutput) -> dict[str, None]:
        own = () if self.file or self.column in output.id_names else (self.column,)
        return dict.fromkeys((*own, *self.others))

    def _check_columns(self, output: ScoredOutput, scored: ScoredRow) -> None:
        for name in self._own_columns(output):
            refuse_absent(name, output, scored)
        if self.file is not None and (scored.id is None or self.file.on not in output.id_names):
            refuse_absent(self.file.on, output, scored, of_ids=True)


def _similar(ids: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    """Return the first two ids that differ only in case, blanks, zeros in front or a fraction of zeros."""
    known = {id_core(other): other for other in others}
    for each in ids:
        found = known.get(id_core(each))
        if found is not None:
            return each, found
    return ()


def id_core(text: str) -> str:
    """Return what two ids that nearly fit have in common."""
    return _NOT_IN_IDS.sub("", text).casefold()


def key_of(text: str) -> int:
    """Return a number that identifies a row or an id; two of a million have the same once in 10⁷ sets."""
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))


def answer_of(value: Any) -> Any:
    """Return a label; of a whole conversation, as training files have it, the answer at its end.

    Of answers with their places in a context, as SQuAD has them, only the texts.
    """
    if isinstance(value, str) and value.lstrip()[:1] == "{" and "answer_start" in value:
        found = as_list(f"[{value}]")
        value = found[0] if len(found) == 1 and isinstance(found[0], dict) else value
    if isinstance(value, dict) and value.keys() == {"text", "answer_start"}:
        return value["text"]
    last = value[-1] if isinstance(value, list) and value else None
    return last.get("content") if isinstance(last, dict) and last.get("role") == "assistant" else value


def is_missing(value: Any) -> bool:
    """Whether a cell holds no label. An empty list is one: a text without entities, or without an answer."""
    return not isinstance(value, list) and text_of(value) is None


def is_named_as_file(text: str) -> bool:
    """Whether a text has the suffix of a file of rows, and so is hardly the name of a label."""
    return suffix_of(text) is not None


def read_labels(named: str, on: str, column: str | None, options: ReadOptions | None = None) -> LabelFile:
    """Read labels by id; without `column` the only other column is the one.

    Raises `InputError` if the file or a column is missing, or if no row has an id.
    """
    by_id: dict[str, Any] = {}
    same: dict[str, str] = {}  # of labels that many rows have, one text is kept
    duplicates, without_id, conflicts, rows = 0, 0, dict[str, str](), 0
    for file, table in _tables(named, options or ReadOptions()):
        where = named if named.endswith(file) else f"{file} in {named}"
        chosen = _label_column(table, where, on, column)
        for row in table.rows:
            rows += 1
            row_id = text_of(row.values.get(on)) if isinstance(row, Row) else None
            if row_id is None or not isinstance(row, Row):
                without_id += not (isinstance(row, Row) and is_missing(row.values.get(chosen)))
                continue
            gold = row.values.get(chosen)
            if row_id in by_id:
                duplicates += 1
                if text_of(by_id[row_id]) != text_of(gold):
                    conflicts.setdefault(row_id, f"{file}, row {row.number:,}")
                continue
            if isinstance(gold, str) and (gold in same or len(same) < _MOST_SHARED_LABELS):
                gold = same.setdefault(gold, gold)
            by_id[row_id] = gold
    if not rows:
        raise InputError(f"{named} has a header, but no rows of labels below it.")
    if not by_id:
        raise InputError(f"{named}: no row has a value in the column {on!r}.")
    by_id.update(dict.fromkeys(conflicts))
    return LabelFile(named, on, by_id, duplicates, conflicts, without_id)


def with_first_row(places: str) -> str:
    """Return places in files, with the number of the first row if they are rows."""
    return places + (" (the first row of a file is row 0)" if ", row " in places else "")


def _tables(named: str, options: ReadOptions) -> Iterator[tuple[str, Table]]:
    for file in find_files([named]).files:
        with open_rows(file, options) as table:
            yield file.name, table


def _label_column(table: Table, named: str, on: str, column: str | None) -> str:
    if not table.columns:
        raise InputError(f"{named} is empty.")
    has = ", ".join(table.columns)
    for name in (on, *([] if column is None else [column])):
        if name not in table.columns:
            raise InputError(f"{named} has no column {name!r}. Its columns are: {has}.")
    if twice := [name for name in (on, column) if name in table.repeated]:
        raise InputError(
            f"{named} has several columns {twice[0]!r}, so it is not clear which is meant. Give each a "
            "name of its own."
        )
    others = [name for name in table.columns if name != on]
    if column is None and len(others) != 1:
        raise InputError(f"{named} has several columns: {has}. Name that of the labels with --label.")
    return column or others[0]


def as_list(value: Any) -> list[Any]:
    """Return a cell that holds several values as a list: JSON, or as Python prints it; else of one item."""
    if isinstance(value, str) and value.strip()[:1] == "[":
        try:
            value = orjson.loads(value)
        except ValueError:
            try:
                value = ast.literal_eval(value.strip())
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                return [value]
    if isinstance(value, (list, tuple)):
        return [*value]
    return [value]


def label_order(name: str) -> tuple[int, float, str]:
    """Return what labels are sorted by: numbers by their value."""
    number = number_of(name)
    return (1, 0.0, name) if number is None else (0, number, name)


def texts_of(values: Sequence[Any]) -> list[str]:
    """Return those of some values that are texts or numbers, as texts."""
    return [text for value in values if (text := text_of(value)) is not None]
