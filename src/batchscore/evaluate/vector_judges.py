"""What does one labelled row of vectors count: its similarity, its label by others, its ranking, its cluster?

It knows no files and no figures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import xxhash

from batchscore.errors import InputError
from batchscore.evaluate.fold import Labels, number_of, text_of
from batchscore.evaluate.labels import LabelledRow, key_of
from batchscore.evaluate.metrics import retrieval, vectors
from batchscore.evaluate.outcomes import ANSWERED, NOT_REACHED, Judged, RowOutcome, vector_outcome
from batchscore.evaluate.statistics.intervals import Floats

#: What arrays hold: the places in a confusion matrix if the task has one, and tables by figure.
Arrays: TypeAlias = tuple[npt.NDArray[np.intp] | None, dict[str, Floats]]

#: How many of the best documents are ranked for a query, as in MTEB, and how many are shown.
_RANKED, _SHOWN = 1000, 10

#: The depths at which the share of relevant documents that were found is shown.
DEPTHS = (1, 2, 3, 5, 10, 20, 50, 100, 1000)


@dataclass(frozen=True, slots=True)
class PairedRows:
    """The other vectors of pairs, by the keys of rows: one for all rows of a key, or one for each of them."""

    by_key: Mapping[int, Sequence[RowOutcome]]


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """Vectors, `(n, d)` float32, with the places of their labels; `keys` of rows with ids.

    `absent` labelled rows have no vector. `limited`: a run has scored only the first rows.
    """

    vectors: npt.NDArray[np.float32]
    labels: npt.NDArray[np.intp]
    keys: frozenset[int] = frozenset()
    absent: int = 0
    limited: bool = False

    @property
    def seen(self) -> frozenset[int]:
        """Numbers that identify the vectors."""
        return frozenset(map(number_of_vector, self.vectors))


@dataclass(frozen=True, slots=True)
class Documents:
    """Vectors, `(n, d)` float32, with the ids of their documents. `absent` documents have none.

    `limited`: a run has scored only the first of them.
    """

    vectors: npt.NDArray[np.float32]
    ids: Sequence[str]
    absent: int
    limited: bool = False


#: The vectors that a task needs beside those of the rows.
Second: TypeAlias = PairedRows | TrainingRows | Documents


def number_of_vector(vector: npt.NDArray[np.float32]) -> int:
    """Return a number that identifies a vector."""
    return xxhash.xxh3_64_intdigest(np.ascontiguousarray(vector, dtype=np.float32).data)


class PairJudge:
    """Rows with two vectors, whose cosine is compared with a number."""

    def __init__(self, partners: Mapping[int, Sequence[RowOutcome]]) -> None:
        self.partners = partners
        self.paired = Counter[int]()
        self.pairs = array("d")

    def add(self, row: LabelledRow) -> Judged:
        """Count one row."""
        gold = number_of(text_of(row.gold))
        if gold is None:
            raise InputError(
                f"{row.scored.file}, row {row.scored.row}: its label is not a number. Write decimals with a "
                "point, or leave it empty if the row has none."
            )
        one, two = vector_outcome(row.scored.settled), self._partner_of(row.key)
        outcome = next((each for each in (one, two) if not each.is_answered), None)
        if outcome is not None:
            self.pairs.extend((float("nan"), gold))
            return outcome, text_of(gold) or "", {}
        if one.value.shape != two.value.shape:
            raise InputError(
                f"the vectors of {row.scored.file}, row {row.scored.row}, have {one.value.size} and "
                f"{two.value.size} dimensions. Both outputs must be of one model."
            )
        cosine = float(vectors.cosines(one.value[None], two.value[None])[0])
        self.pairs.extend((cosine, gold))
        return RowOutcome(ANSWERED, repr(cosine)), text_of(gold) or "", {"cosine": cosine}

    def _partner_of(self, key: int) -> RowOutcome:
        """Return the vector for the next row of a key: the second of an id is paired with the second."""
        partners, number = self.partners.get(key, ()), self.paired[key]
        if not partners:
            return RowOutcome(NOT_REACHED)
        self.paired[key] += 1
        number = 0 if len(partners) == 1 else number
        return partners[number] if number < len(partners) else RowOutcome(NOT_REACHED)

    def arrays(self) -> tuple[npt.NDArray[np.intp] | None, dict[str, Floats]]:
        """Return all rows as arrays."""
        if not self.paired:
            raise InputError(
                "no row has a partner in the scores of --pair. These must be of the same files, in another "
                "column, or both outputs have ids: then give labels by id, with --labels FILE --on id."
            )
        return None, {"pairs": np.frombuffer(self.pairs, float).reshape(-1, 2)}


class LateJudge(ABC):
    """Rows of vectors of which nothing is known before all are there; a row without a vector counts."""

    def __init__(self, size: int | None) -> None:
        self.size = size
        self.vectors: list[npt.NDArray[np.float32] | None] = []

    def add(self, row: LabelledRow) -> Judged:
        """Count one row."""
        outcome = vector_outcome(row.scored.settled)
        if outcome.is_answered:
            self.size = self.size or outcome.value.size
            if outcome.value.size != self.size:
                raise InputError(
                    f"the vector of {row.scored.file}, row {row.scored.row}, has {outcome.value.size} "
                    f"dimensions, and others have {self.size}. All must be of one model."
                )
        self.vectors.append(outcome.value)
        return (RowOutcome(ANSWERED, "") if outcome.is_answered else outcome), self.gold(row), {}

    @abstractmethod
    def gold(self, row: LabelledRow) -> str:
        """Keep the label of a row, and return it as text."""

    @abstractmethod
    def answer(self, place: int) -> tuple[str, dict[str, float]]:
        """Return what is known of an answered row once `arrays` was called: its answer, and its scores."""

    def stacked(self) -> tuple[list[int], npt.NDArray[np.float32]]:
        """Return the places of rows with a vector, and their vectors."""
        there = [place for place, each in enumerate(self.vectors) if each is not None]
        found = [each for each in self.vectors if each is not None]
        return there, np.stack(found) if found else np.zeros((0, self.size or 1), np.float32)


class ClassJudge(LateJudge):
    """Rows with a vector and one label of several; `repeated` have a vector that is one of `training`."""

    def __init__(self, labels: Labels, training: TrainingRows | None) -> None:
        super().__init__(None if training is None else training.vectors.shape[1])
        self.labels, self.names = labels, labels.names
        self.learned = frozenset[int]() if training is None else training.keys
        self.seen = frozenset[int]() if training is None else training.seen
        self.places = {name: place for place, name in enumerate(labels.names)}
        self.golds = array("q")

    def gold(self, row: LabelledRow) -> str:
        """Keep the label of a row, and return it as text."""
        if row.key in self.learned:
            raise InputError(
                f"{row.scored.file}, row {row.scored.row}: its id is also in the scores of --train, so it "
                "would be measured on a row that it learned from. Leave such rows out of either."
            )
        text = self.labels.find(text_of(row.gold) or "") or ""
        self.golds.append(self.places[text])
        return text

    @property
    def repeated(self) -> array[int]:
        """Which rows have a vector that was learned from."""
        seen = (each is not None and number_of_vector(each) in self.seen for each in self.vectors)
        return array("b", seen)

    @property
    def wanted(self) -> npt.NDArray[np.intp]:
        """The places of the labels of all rows."""
        return np.frombuffer(self.golds, np.int64).astype(np.intp)


class ProbeJudge(ClassJudge):
    """Rows whose label a linear probe predicts from their vectors, in each of ten experiments."""

    def __init__(self, labels: Labels, training: TrainingRows) -> None:
        super().__init__(labels, training)
        self.training = training
        self.cells: Floats = np.zeros((0, 0))

    def arrays(self) -> Arrays:
        """Return all rows as arrays."""
        there, test = self.stacked()
        self.cells = np.full((len(self.golds), 1 + vectors.EXPERIMENTS), len(self.places), dtype=float)
        self.cells[:, 0] = self.wanted
        if there:
            found = vectors.linear_probe(self.training.vectors, self.training.labels, test)
            self.cells[there, 1:] = np.stack(found, axis=1)
        right = (self.cells[:, 1:] == self.cells[:, :1]).mean(axis=1)
        ones = np.ones(len(right))
        return None, {"accuracy": np.stack([right, ones], axis=1), "f1_score_macro": self.cells}

    def answer(self, place: int) -> tuple[str, dict[str, float]]:
        """Return the label that most experiments predict, and the share of those that are right."""
        found = self.cells[place, 1:].astype(np.intp)
        right = float((found == self.cells[place, 0]).mean())
        return self.names[int(np.bincount(found).argmax())], {"accuracy": right}


class NeighbourJudge(ClassJudge):
    """Rows whose label is that of the nearest training rows."""

    def __init__(self, labels: Labels, training: TrainingRows) -> None:
        super().__init__(labels, training)
        self.training = training
        self.found: npt.NDArray[np.intp] = np.zeros(0, np.intp)

    def arrays(self) -> Arrays:
        """Return all rows as arrays."""
        there, test = self.stacked()
        self.found = np.full(len(self.golds), len(self.places), dtype=np.intp)
        if there:
            self.found[there] = vectors.nearest_neighbours(self.training.vectors, self.training.labels, test)
        return self.wanted * (len(self.places) + 1) + self.found, {}

    def answer(self, place: int) -> tuple[str, dict[str, float]]:
        """Return the label of the nearest rows."""
        found = int(self.found[place])
        return self.names[found], {"right": float(found == self.golds[place])}


class ClusterJudge(ClassJudge):
    """Rows whose vectors are clustered; the clusters are compared with the labels."""

    def __init__(self, labels: Labels) -> None:
        super().__init__(labels, None)

    def arrays(self) -> Arrays:
        """Return all rows as arrays: the place of the label, then the vector."""
        there, found = self.stacked()
        table = np.full((len(self.golds), 1 + found.shape[1]), np.nan)
        table[:, 0] = self.wanted
        table[there, 1:] = found
        return None, {"clusters": table}

    def answer(self, place: int) -> tuple[str, dict[str, float]]:  # noqa: ARG002
        """Return nothing: a single row is in no right or wrong cluster."""
        return "", {}


class RankingJudge(LateJudge):
    """Queries for which documents are ranked by the cosine of their vectors.

    `ignore_identical`: the document that has the id of the query is not ranked. `absent` are relevant
    documents that cannot be found, since they are not there or have no vector; `hopeless` marks queries
    without a relevant one.
    """

    def __init__(self, documents: Documents, names: Sequence[str], *, ignore_identical: bool = False) -> None:
        super().__init__(documents.vectors.shape[1])
        own = (name for name in names if retrieval.is_figure(name))
        self.documents = documents
        self.names = list(dict.fromkeys((*own, *(f"recall_at_{depth}" for depth in DEPTHS))))
        self.judged: list[Mapping[str, int]] = []
        self.absent: set[str] = set()
        self.hopeless = array("b")
        self._known = frozenset(documents.ids)
        self._by_key = {key_of(name): name for name in documents.ids} if ignore_identical else {}
        self._own: list[str] = []
        self.best: dict[int, list[str]] = {}
        self.scores: Floats = np.zeros((0, 0))

    def gold(self, row: LabelledRow) -> str:
        """Keep the relevances of a query, and return its relevant documents."""
        self.judged.append(row.gold)
        self._own.append(self._by_key.get(row.key, ""))
        relevant = [name for name, relevance in sorted(row.gold.items()) if relevance > 0]
        self.hopeless.append(not relevant)
        self.absent.update(name for name in relevant if name not in self._known)
        return " ".join(relevant)

    def arrays(self) -> Arrays:
        """Return all rows as arrays."""
        there, queries = self.stacked()
        self.scores = np.zeros((len(self.judged), len(self.names)))
        if self.absent and not any(self._known & {*each} for each in self.judged):
            raise InputError(
                "no document of the relevances is among the documents, such as "
                f"{min(self.absent)!r}; a document there is {self.documents.ids[0]!r}. Name the scores of "
                "the right documents with --documents."
            )
        most = _RANKED + bool(self._by_key)
        found = retrieval.nearest(queries, self.documents.vectors, self.documents.ids, most)
        for place, scores in zip(there, found, strict=True):
            scores.pop(self._own[place], None)
            order = retrieval.ranked(scores)[:_RANKED]
            self.best[place] = order[:_SHOWN]
            self.scores[place] = [retrieval.figure_of(name, order, self.judged[place]) for name in self.names]
        ones = np.ones(len(self.judged))
        columns = zip(self.names, self.scores.T, strict=True)
        return None, {name: np.stack([column, ones], axis=1) for name, column in columns}

    def answer(self, place: int) -> tuple[str, dict[str, float]]:
        """Return the best documents, and all figures of the query."""
        scores = dict(zip(self.names, self.scores[place].tolist(), strict=True))
        return " ".join(self.best[place]), scores
