"""What does one labelled row of vectors count: its similarity to another one, or its label by a probe?

It knows no files and no figures.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from batchscore.errors import InputError
from batchscore.evaluate.fold import Labels, number_of, text_of
from batchscore.evaluate.labels import LabelledRow
from batchscore.evaluate.metrics import vectors
from batchscore.evaluate.outcomes import ANSWERED, NOT_REACHED, Judged, RowOutcome, vector_outcome
from batchscore.evaluate.statistics.intervals import Floats


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """Vectors, `(n, d)` float32, with the places of their labels."""

    vectors: npt.NDArray[np.float32]
    labels: npt.NDArray[np.intp]


class PairJudge:
    """Rows with two vectors, whose cosine is compared with a number."""

    def __init__(self, partners: Mapping[int, RowOutcome]) -> None:
        self.partners = partners
        self.pairs = array("d")

    def add(self, row: LabelledRow) -> Judged:
        """Count one row."""
        gold = number_of(text_of(row.gold))
        if gold is None:
            raise InputError(f"{row.scored.file}, row {row.scored.row}: its label is not a number.")
        one, two = vector_outcome(row.scored.settled), self.partners.get(row.key, RowOutcome(NOT_REACHED))
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

    def arrays(self) -> tuple[npt.NDArray[np.intp] | None, dict[str, Floats]]:
        """Return all rows as arrays."""
        return None, {"pairs": np.frombuffer(self.pairs, float).reshape(-1, 2)}


class ProbeJudge:
    """Rows whose label a linear probe predicts from their vectors, in each of ten experiments."""

    def __init__(self, labels: Labels, training: TrainingRows) -> None:
        self.training = training
        self.places = {name: place for place, name in enumerate(labels.names)}
        self.golds = array("q")
        self.vectors: list[npt.NDArray[np.float32] | None] = []

    def add(self, row: LabelledRow) -> Judged:
        """Count one row."""
        gold, outcome = text_of(row.gold) or "", vector_outcome(row.scored.settled)
        size = self.training.vectors.shape[1]
        if outcome.is_answered and outcome.value.size != size:
            raise InputError(
                f"the vector of {row.scored.file}, row {row.scored.row}, has {outcome.value.size} "
                f"dimensions, and those of the training rows have {size}. Both outputs must be of one model."
            )
        self.golds.append(self.places[gold])
        self.vectors.append(outcome.value)
        # What the probe predicts is known once all rows are.
        return (RowOutcome(ANSWERED, "") if outcome.is_answered else outcome), gold, {}

    def arrays(self) -> tuple[npt.NDArray[np.intp] | None, dict[str, Floats]]:
        """Return all rows as arrays."""
        gold = np.frombuffer(self.golds, np.int64).astype(np.intp)
        cells = np.full((len(gold), 1 + vectors.EXPERIMENTS), len(self.places), dtype=float)
        cells[:, 0] = gold
        there = [place for place, each in enumerate(self.vectors) if each is not None]
        if there:
            test = np.stack([each for each in self.vectors if each is not None])
            found = vectors.linear_probe(self.training.vectors, self.training.labels, test)
            cells[there, 1:] = np.stack(found, axis=1)
        right = (cells[:, 1:] == gold[:, None]).mean(axis=1)
        return None, {"accuracy": np.stack([right, np.ones(len(gold))], axis=1), "f1_score_macro": cells}
