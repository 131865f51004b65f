"""What does one labelled row count? One judge for each kind of task; all its rows become arrays.

A row without an answer counts as the worst answer that it could have had, and as NaN if there is no worst
one. It knows no files and no figures.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from batchscore.errors import InputError
from batchscore.evaluate.find_label import LabelFinder, json_of
from batchscore.evaluate.fold import Labels, fold, number_of, text_of
from batchscore.evaluate.labels import LabelledRow, as_list, texts_of
from batchscore.evaluate.metrics import answers, entities, rouge, translation
from batchscore.evaluate.metrics.classification import divide
from batchscore.evaluate.outcomes import (
    NO_LABEL,
    Judged,
    RowOutcome,
    label_outcome,
    text_outcome,
)
from batchscore.evaluate.statistics.intervals import Floats
from batchscore.evaluate.tasks import SEPARATOR, EvaluationTask
from batchscore.evaluate.vector_judges import (
    ClusterJudge,
    Documents,
    NeighbourJudge,
    PairedRows,
    PairJudge,
    ProbeJudge,
    RankingJudge,
    Second,
    TrainingRows,
)


@dataclass(frozen=True, slots=True)
class Reading:
    """How answers are read: the task, the labels that rows may have, and what the user said.

    `slices` and `cluster` name columns. `second` are the other vectors that the task needs, and `metrics`
    figures beside those of the task. `ignore_identical` documents have the id of their query. `unsure` says
    which other task may be meant.
    """

    task: EvaluationTask
    labels: Labels
    field: str | None = None
    pattern: re.Pattern[str] | None = None
    slices: tuple[str, ...] = ()
    cluster: str | None = None
    second: Second | None = None
    metrics: tuple[str, ...] = ()
    ignore_identical: bool = False
    unsure: str = ""


class _LabelJudge:
    """Rows that must name a label."""

    def __init__(self, reading: Reading) -> None:
        self.labels = reading.labels
        self.finder = LabelFinder(reading.labels, field=reading.field, pattern=reading.pattern)
        self.places = {name: place for place, name in enumerate(self.labels.names)}
        self.cells = array("q")

    def add(self, row: LabelledRow) -> Judged:
        gold = self.labels.find(text_of(row.gold) or "")
        if gold is None:
            raise InputError(
                f"{row.scored.file}, row {row.scored.row}: its label is not one of the given labels "
                f"({', '.join(self.labels.names)}). Name all labels, or let them be found."
            )
        outcome = label_outcome(row.scored.settled, self.finder)
        found = self.places[outcome.value] if outcome.is_answered else len(self.places)
        self.cells.append(self.places[gold] * (len(self.places) + 1) + found)
        return outcome, gold, {"right": float(outcome.value == gold)}

    def arrays(self) -> tuple[npt.NDArray[np.intp] | None, dict[str, Floats]]:
        return np.frombuffer(self.cells, np.int64).astype(np.intp), {}


class TextJudge:
    """Rows whose text is compared with one or several right texts, row by row.

    `unreadable` marks the labels that ROUGE cannot read, whatever the answer is.
    """

    def __init__(
        self,
        reading: Reading,
        names: Sequence[str],
        scores_of: Callable[[str, Sequence[str]], tuple[float, ...]],
    ) -> None:
        self.field, self.names, self.scores_of = reading.field, names, scores_of
        self.scores = array("d")
        self.unreadable = array("b")

    def add(self, row: LabelledRow) -> Judged:
        """Count one row."""
        golds = texts_of(as_list(row.gold)) or [""]
        self.unreadable.append(self.names == rouge.NAMES and not rouge.has_tokens(golds))
        outcome = text_outcome(row.scored.settled, self.field)
        scores = (0.0,) * len(self.names)
        if outcome.is_answered:
            scores = self.scores_of(text_of(outcome.value) or "", golds)
        self.scores.extend(scores)
        return outcome, golds[0], dict(zip(self.names, scores, strict=True))

    def arrays(self) -> tuple[npt.NDArray[np.intp] | None, dict[str, Floats]]:
        """Return all rows as arrays."""
        table = np.frombuffer(self.scores, float).reshape(-1, len(self.names))
        ones = np.ones(len(table))
        return None, {
            name: np.stack([column, ones], axis=1) for name, column in zip(self.names, table.T, strict=True)
        }


class EntityJudge:
    """Rows whose answer lists entities or labels, or gives a tag for each word.

    `other_length` marks answers with more or fewer tags than their label has.
    """

    def __init__(self, reading: Reading) -> None:
        self.field = reading.field
        self.several_labels = reading.task.name == "text-classification-multilabel"
        self.counts = array("d")
        self.other_length = array("b")

    def add(self, row: LabelledRow) -> Judged:
        """Count one row."""
        gold = as_list(row.gold) if not isinstance(row.gold, Mapping) else row.gold
        tagged = not self.several_labels and isinstance(gold, list) and bool(gold) and entities.are_tags(gold)
        wanted = self._entities(gold, row.gold, tagged=tagged)
        if wanted is None:
            raise InputError(
                f"{row.scored.file}, row {row.scored.row}: its label is neither a list of BIO tags nor "
                "a list of entities with a text and a type."
            )
        outcome = text_outcome(row.scored.settled, self.field)
        # Tags are as many as words, and each may begin an entity. In a list there may be any number.
        counts: tuple[float, float, float] = (0, len(gold) if tagged else np.nan, len(wanted))
        other_length = False
        if outcome.is_answered:
            parsed = _parsed(outcome.value, words=not self.several_labels)
            found = self._entities(parsed, outcome.value, tagged=tagged)
            other_length = found is not None and tagged and len(parsed) != len(gold)
            if found is None or other_length:
                outcome = RowOutcome(NO_LABEL, text=outcome.text)
            else:
                counts = entities.counts_of(found, wanted)
        self.other_length.append(other_length)
        self.counts.extend(counts)
        right = float(outcome.is_answered and counts[0] == counts[1] == counts[2])
        return outcome, text_of(row.gold) or "[]", {"right": right}

    def _entities(self, value: Any, given: Any, *, tagged: bool) -> list[Any] | None:
        """Return the entities or labels of a value, as it was `given`; labels in a list may have commas."""
        if self.several_labels:
            is_text = isinstance(given, str) and value == [given]
            parts = SEPARATOR.split(given) if is_text else texts_of(as_list(value))
            return [fold(part) for part in parts if part.strip()]
        if tagged:
            return entities.spans_of(value, strict=False) if entities.are_tags(value) else None
        try:
            return list(entities.entities_of(value))
        except entities.NoEntitiesError:
            return None

    def arrays(self) -> tuple[npt.NDArray[np.intp] | None, dict[str, Floats]]:
        """Return all rows as arrays."""
        table = np.frombuffer(self.counts, float).reshape(-1, 3)
        right, found, wanted = np.nan_to_num(table).T
        # Nothing was to be found, and nothing was: as good as can be, if it was answered.
        of_row = np.where(
            (found + wanted == 0) & np.isfinite(table[:, 1]), 1, divide(2 * right, found + wanted)
        )
        ones = np.ones(len(table))
        return None, {
            "f1_score_micro": table,
            "precision": table,
            "recall": np.stack([right, wanted], axis=1),
            "f1_score_samples": np.stack([of_row, ones], axis=1),
        }


def _parsed(value: Any, *, words: bool) -> Any:
    """Return an answer that is JSON, or a list as Python prints it, as its value; else its `words`."""
    if not isinstance(value, str):
        return value
    found = json_of(value)
    if found is None:
        found = as_list(value)
        return value.split() if words and found == [value] else found
    if isinstance(found, Mapping) and len(found) == 1:
        inner = next(iter(found.values()))
        return inner if isinstance(inner, list) else found
    return found


class _NumberJudge:
    """Rows whose answer is a number."""

    def __init__(self, reading: Reading) -> None:
        self.field, self.pattern = reading.field, reading.pattern
        self.pairs = array("d")

    def add(self, row: LabelledRow) -> Judged:
        gold = number_of(text_of(row.gold))
        if gold is None:
            raise InputError(
                f"{row.scored.file}, row {row.scored.row}: its label is not a number. Write decimals with a "
                "point, leave it empty if the row has none, or evaluate another task."
            )
        outcome = text_outcome(row.scored.settled, self.field)
        found = None
        if outcome.is_answered:
            found = _number_in(text_of(outcome.value), self.pattern)
            if found is None:
                outcome = RowOutcome(NO_LABEL, text=outcome.text)
        self.pairs.extend((float("nan") if found is None else found, gold))
        scores = {} if found is None else {"absolute_error": abs(found - gold)}
        return outcome, text_of(gold) or "", scores

    def arrays(self) -> tuple[npt.NDArray[np.intp] | None, dict[str, Floats]]:
        return None, {"pairs": np.frombuffer(self.pairs, float).reshape(-1, 2)}


_NUMBER = re.compile(r"(?<![\w.])[-+−]?\d+(?:[.,]\d+)*(?:[eE][-+]?\d+)?(?!\w|[.,]\d)")  # noqa: RUF001


def _number_in(text: str | None, pattern: re.Pattern[str] | None) -> float | None:
    """Return the number that a text is or, if it has one alone, holds; the last match of a pattern."""
    if text is None:
        return None
    if pattern is not None:
        found = [match[1] if match.re.groups else match[0] for match in pattern.finditer(text)]
        return number_of(found[-1]) if found else None
    whole = number_of(text.strip())
    if whole is not None:
        return whole
    numbers = {number_of(each) for each in _NUMBER.findall(text)}
    return numbers.pop() if len(numbers) == 1 else None


class TranslationJudge:
    """Rows whose texts count together. `signatures` say how, once all are counted."""

    def __init__(self, reading: Reading) -> None:
        self.field = reading.field
        self.signatures: dict[str, str] = {}
        self.answers: list[str] = []
        self.references: list[list[str]] = []
        self.missing: list[int] = []

    def add(self, row: LabelledRow) -> Judged:
        """Count one row."""
        golds = texts_of(as_list(row.gold)) or [""]
        outcome = text_outcome(row.scored.settled, self.field)
        if not outcome.is_answered:
            self.missing.append(len(self.answers))
        self.answers.append((text_of(outcome.value) or "") if outcome.is_answered else "")
        self.references.append(golds)
        return outcome, golds[0], {}

    def arrays(self) -> tuple[npt.NDArray[np.intp] | None, dict[str, Floats]]:
        """Return all rows as arrays."""
        found = {}
        for name in translation.NAMES:
            metric = translation.metric_named(name)
            found[name] = translation.counts_of(metric, self.answers, self.references)
            found[name][self.missing] = np.nan
            self.signatures[name] = translation.signature_of(metric)
        return None, found


Judge: TypeAlias = (
    _LabelJudge
    | TextJudge
    | EntityJudge
    | _NumberJudge
    | TranslationJudge
    | PairJudge
    | ProbeJudge
    | NeighbourJudge
    | ClusterJudge
    | RankingJudge
)


def judge_of(reading: Reading) -> Judge:
    """Return what judges the rows of a task."""
    kind = reading.task.kind
    if reading.second is not None or kind == "clusters":
        return _vector_judge_of(reading)
    if kind == "labels":
        return _LabelJudge(reading)
    if kind == "entities":
        return EntityJudge(reading)
    if kind == "numbers":
        return _NumberJudge(reading)
    if kind == "translation":
        return TranslationJudge(reading)
    if kind == "answers":
        return TextJudge(reading, answers.NAMES, answers.scores_of)
    return TextJudge(reading, rouge.NAMES, rouge.scores_of)


def _vector_judge_of(reading: Reading) -> Judge:
    second = reading.second
    if isinstance(second, PairedRows):
        return PairJudge(second.by_key)
    if isinstance(second, Documents):
        return RankingJudge(
            second,
            (*reading.task.shown, *reading.metrics),
            ignore_identical=reading.ignore_identical,
        )
    if isinstance(second, TrainingRows):
        of_kind = ProbeJudge if reading.task.kind == "probe" else NeighbourJudge
        return of_kind(reading.labels, second)
    return ClusterJudge(reading.labels)
