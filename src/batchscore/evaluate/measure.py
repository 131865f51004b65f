"""What does each labelled row of one model count, and how did it end? One entry a row, as arrays.

Each row is in the arrays, also one without an answer. Texts do not stay in memory: `write` gets each row.
Only rows of vectors wait until all are read.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from batchscore.errors import InputError
from batchscore.evaluate.find_label import HOWS
from batchscore.evaluate.fold import text_of
from batchscore.evaluate.judges import EntityJudge, Reading, TextJudge, TranslationJudge, judge_of
from batchscore.evaluate.labels import JoinCounts, LabelledRow, LabelSource, id_core, key_of
from batchscore.evaluate.outcomes import OUTCOMES, RowOutcome, SeenField
from batchscore.evaluate.scored import ScoredOutput
from batchscore.evaluate.statistics.intervals import Floats
from batchscore.evaluate.vector_judges import (
    ClassJudge,
    Documents,
    LateJudge,
    RankingJudge,
    TrainingRows,
)

#: How many different texts without a label are counted.
_MOST_TEXTS = 5000

#: How much of such a text is shown.
_SHOWN_CHARACTERS = 200


#: What programs write in place of a value, and texts that are too long for it.
_LIKE_NAN = frozenset({"nan", "n/a", "#n/a", "<na>", "null", "nat"})
_LONGEST_LIKE_NAN = 8


@dataclass(frozen=True, slots=True)
class EvaluatedRow:
    """A row as it is written: its label, answer, outcome, and scores by metric."""

    row: LabelledRow
    gold: str
    outcome: RowOutcome
    scores: Mapping[str, float]


@dataclass(slots=True)
class ModelRows:
    """All labelled rows of one model; `positions` say as which of them each was written.

    `keys` are those of the rows, each with a digest of its label. `cells` are the places in the confusion
    matrix, of a task with labels. `tables` hold what other figures are sums of, `(n, s)`. `groups` are
    numbers of the values of slices and clusters, whose names are in `group_names`. `unread` are the
    texts that gave no label, else `None`. `marks` say which rows are odd: `cut`, `hopeless`
    queries, and some of the counts. `seen_field` is that which the user named.
    """

    name: str
    output: ScoredOutput
    counts: JoinCounts
    keys: npt.NDArray[np.uint64]
    positions: npt.NDArray[np.intp]
    outcomes: npt.NDArray[np.intp]
    hows: npt.NDArray[np.intp]
    cells: npt.NDArray[np.intp] | None = None
    tables: dict[str, Floats] = field(default_factory=dict)
    groups: dict[str, npt.NDArray[np.intp]] = field(default_factory=dict)
    group_names: dict[str, list[str]] = field(default_factory=dict)
    unread: npt.NDArray[np.object_] = field(default_factory=lambda: np.empty(0, object))
    marks: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    signatures: Mapping[str, str] = field(default_factory=dict)
    seen_field: SeenField | None = None

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def answered(self) -> npt.NDArray[np.bool_]:
        """Which rows have an answer."""
        return np.asarray(self.outcomes == 0)

    @property
    def texts(self) -> Counter[str]:
        """How often each text occurs that gave no label."""
        return Counter(each for each in self.unread if each is not None)

    @property
    def cut(self) -> int:
        """How many answers were cut after their label."""
        return int(self.marks["cut"].sum())

    def choose(self, places: npt.NDArray[np.intp]) -> ModelRows:
        """Return some of the rows."""
        marks = {name: mark[places] for name, mark in self.marks.items()}
        return replace(
            self,
            counts=_counted(self.counts, marks),
            keys=self.keys[places],
            positions=self.positions[places],
            outcomes=self.outcomes[places],
            hows=self.hows[places],
            cells=None if self.cells is None else self.cells[places],
            tables={name: table[places] for name, table in self.tables.items()},
            groups={name: codes[places] for name, codes in self.groups.items()},
            unread=self.unread[places],
            marks=marks,
        )


class _Groups:
    """Numbers the values of a column."""

    def __init__(self, column: str) -> None:
        self.column = column
        self.known: dict[str, int] = {}
        self.codes = array("q")

    def add(self, row: LabelledRow) -> None:
        text = text_of(row.scored.values.get(self.column)) or ""
        self.codes.append(self.known.setdefault(text, len(self.known)))


def measure(
    name: str,
    output: ScoredOutput,
    source: LabelSource,
    reading: Reading,
    write: Callable[[EvaluatedRow], None] = lambda _: None,
) -> ModelRows:
    """Return the labelled rows of an output, in its order.

    Raises `InputError` if no row has a label, or if a label cannot be used.
    """
    counts, judge = JoinCounts(), judge_of(reading)
    if isinstance(reading.second, Documents):
        counts.documents = len(reading.second.ids)
    if isinstance(reading.second, (Documents, TrainingRows)):
        counts.others_without_vector, counts.others_limited = reading.second.absent, reading.second.limited
    groups = [_Groups(column) for column in dict.fromkeys((*reading.slices, reading.cluster)) if column]
    seen = SeenField(reading.field or "") if reading.field or reading.task.has_texts else None
    keys, outcomes, hows, cut, like_nan = array("Q"), array("b"), array("b"), array("b"), array("b")
    unread, texts = list[str | None](), dict[str, str]()
    late, waiting = judge if isinstance(judge, LateJudge) else None, list[EvaluatedRow]()
    for row in source.rows(output, counts):
        if row.gold is None:
            continue
        if seen is not None:
            seen.look(row.scored.settled)
        outcome, gold, scores = judge.add(row)
        like_nan.append(not isinstance(row.gold, Mapping) and _is_like_nan(gold))
        keys.extend((row.key, key_of(gold)))
        outcomes.append(_OUTCOME_PLACES[outcome.name])
        hows.append(_HOW_PLACES[outcome.how])
        cut.append(outcome.cut)
        shown = None if outcome.is_answered or outcome.text is None else outcome.text[:_SHOWN_CHARACTERS]
        if shown is not None and (shown in texts or len(texts) < _MOST_TEXTS):
            unread.append(texts.setdefault(shown, shown))
        else:
            unread.append(None)
        for group in groups:
            group.add(row)
        evaluated = EvaluatedRow(row, gold, outcome, scores)
        if late is None:
            write(evaluated)
        else:
            waiting.append(evaluated)
    if not keys:
        raise InputError(_nothing_labelled(output, source, counts))
    cells, tables = judge.arrays()
    odd = {"cut": cut, "labels_like_nan": like_nan}
    if isinstance(judge, TextJudge):
        odd["labels_without_tokens"] = judge.unreadable
    if isinstance(judge, EntityJudge):
        odd["tags_of_other_length"] = judge.other_length
    if isinstance(judge, RankingJudge):
        counts.documents_missing = len(judge.absent)
        odd["hopeless"] = judge.hopeless
    if isinstance(judge, ClassJudge):
        odd["rows_learned_from"] = judge.repeated
    marks = {name: np.frombuffer(each, np.bool_) for name, each in odd.items()}
    for place, each in enumerate(waiting):
        if late is not None and each.outcome.is_answered:
            answer, scores = late.answer(place)
            each = replace(each, outcome=replace(each.outcome, value=answer), scores=scores)  # noqa: PLW2901
        write(each)
    return ModelRows(
        name,
        output,
        _counted(counts, marks),
        np.frombuffer(keys, np.uint64).reshape(-1, 2),
        np.arange(len(keys) // 2),
        np.frombuffer(outcomes, np.int8).astype(np.intp),
        np.frombuffer(hows, np.int8).astype(np.intp),
        cells,
        tables,
        {group.column: np.frombuffer(group.codes, np.int64).astype(np.intp) for group in groups},
        {group.column: list(group.known) for group in groups},
        np.array(unread, object),
        marks,
        judge.signatures if isinstance(judge, TranslationJudge) else {},
        seen,
    )


def _is_like_nan(gold: str) -> bool:
    return len(gold) < _LONGEST_LIKE_NAN and gold.strip().lower() in _LIKE_NAN


def _counted(counts: JoinCounts, marks: Mapping[str, npt.NDArray[np.bool_]]) -> JoinCounts:
    """Return the counts with those of the marked rows."""
    sums = {name: int(mark.sum()) for name, mark in marks.items() if hasattr(counts, name)}
    return replace(counts, **sums)  # type: ignore[arg-type]


def refuse_field(measured: Sequence[ModelRows]) -> None:
    """Raise `InputError` if no answer of any model has the field that the user named."""
    seen = [each.seen_field for each in measured if each.seen_field is not None and each.seen_field.name]
    seen = [each for each in seen if each.texts]
    if seen and not any(each.found for each in seen):
        worst = max(seen, key=lambda each: len(each.others))
        advice = "Name one of them with --field." if worst.others else "Leave out --field to read the texts."
        raise InputError(f"{worst.problem} {advice}")


_OUTCOME_PLACES = {name: place for place, name in enumerate(OUTCOMES)}
_HOW_PLACES = {name: place for place, name in enumerate(HOWS)}


def _nothing_labelled(output: ScoredOutput, source: LabelSource, counts: JoinCounts) -> str:
    if source.file is None:
        return (
            f"{output.named}: none of the {counts.rows:,} rows has a value in the column {source.column!r}."
        )
    if counts.unmatched_labels < len(source.file.by_id) + source.file.without_id:
        where = ", ".join([*source.file.conflicts.values()][:1])
        different = f", or with different labels (another one than before is in {where})" if where else ""
        return (
            f"{output.named}: ids of its rows are in {source.file.named}, but without a label{different}. "
            "Mend that file, or name another column with --label."
        )
    row, label = map(repr, counts.unmatched_ids or ("", ""))
    shown = (
        f"A row has the id {row}, a label has {label}."
        if counts.unmatched_ids
        else "Compare some ids of both."
    )
    return (
        f"{output.named}: none of the {counts.rows:,} rows has an id that is in "
        f"{source.file.named}. {similar_text(counts) or shown} "
        "Or name another column of ids with --on."
    )


def similar_text(counts: JoinCounts) -> str:
    """Return what to do about ids that nearly fit; empty if none do."""
    if len(set(map(id_core, counts.unmatched_ids))) != 1:
        return ""
    row, label = map(repr, counts.unmatched_ids)
    return f"A row has the id {row} and a label has {label}: write the ids alike."
