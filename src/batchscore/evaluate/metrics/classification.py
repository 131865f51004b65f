"""What do the counts of labels and predictions say?

A matrix of counts has a row for each label and a column for each label and one more, for rows without any of
the labels: unanswered, or another text. The labels are fixed by the caller, so a text outside them is never a
class of its own. All functions take many matrices at once: the last two axes are those of one matrix. A
figure that is not defined is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Counts: TypeAlias = npt.NDArray[Any]
Figures: TypeAlias = npt.NDArray[np.float64]


def confusion_matrix(gold: npt.NDArray[np.intp], predicted: npt.NDArray[np.intp], classes: int) -> Counts:
    """Return the counts, `(classes, classes + 1)`; a prediction of `classes` is none of the labels."""
    cells = np.bincount(gold * (classes + 1) + predicted, minlength=classes * (classes + 1))
    return cells.reshape(classes, classes + 1)


def divide(above: Any, below: Any) -> Figures:
    """Return a quotient, 0 where there is nothing to divide by, as scikit-learn's `zero_division=0` does."""
    above, below = np.broadcast_arrays(np.asarray(above, float), np.asarray(below, float))
    found: Figures = np.divide(above, below, out=np.zeros(above.shape), where=below != 0)
    return found


def _parts(counts: Counts) -> tuple[Counts, Counts, Counts]:
    """Return the right ones, the labels and the predictions of each class."""
    square = counts[..., :-1]
    return np.diagonal(square, axis1=-2, axis2=-1), counts.sum(-1), square.sum(-2)


def _of_class(name: str, counts: Counts) -> Figures:
    right, support, predicted = _parts(counts)
    if name == "precision":
        return divide(right, predicted)
    if name == "recall":
        return divide(right, support)
    return divide(2 * right, support + predicted)


def per_class(counts: Counts) -> Mapping[str, Any]:
    """Return precision, recall, F1, support and predictions of each class."""
    _, support, predicted = _parts(counts)
    scores = {name: _of_class(name, counts) for name in ("precision", "recall", "f1_score")}
    return {**scores, "support": support, "predicted": predicted}


def _macro(name: str) -> Callable[[Counts], Figures]:
    """Return the mean over the classes that have rows; a class without any would count 0."""

    def figure(counts: Counts) -> Figures:
        there = counts.sum(-1) > 0
        return divide((_of_class(name, counts) * there).sum(-1), there.sum(-1))

    return figure


def _weighted(name: str) -> Callable[[Counts], Figures]:
    def figure(counts: Counts) -> Figures:
        support = counts.sum(-1)
        return divide((_of_class(name, counts) * support).sum(-1), support.sum(-1))

    return figure


def _micro(name: str) -> Callable[[Counts], Figures]:
    def figure(counts: Counts) -> Figures:
        right, support, predicted = (part.sum(-1) for part in _parts(counts))
        below = {"precision": predicted, "recall": support, "f1_score": (support + predicted) / 2}
        return divide(right, below[name])

    return figure


def accuracy(counts: Counts) -> Figures:
    """Return the share of right rows."""
    return divide(_parts(counts)[0].sum(-1), counts.sum((-2, -1)))


def matthews_correlation(counts: Counts) -> Figures:
    """Return the correlation of labels and predictions, where "none of the labels" is a prediction."""
    right, support, _ = _parts(counts)
    total, hits = counts.sum((-2, -1)).astype(float), right.sum(-1)
    predicted = counts.sum(-2).astype(float)  # with the column of none
    above = hits * total - (support * predicted[..., :-1]).sum(-1)
    spread = (total**2 - (predicted**2).sum(-1)) * (total**2 - (support.astype(float) ** 2).sum(-1))
    return divide(above, np.sqrt(np.maximum(spread, 0)))


def cohen_kappa(counts: Counts) -> Figures:
    """Return the agreement beyond chance; NaN if all rows have one label and one prediction."""
    right, support, predicted = _parts(counts)
    total = counts.sum((-2, -1)).astype(float)
    expected = divide((support.astype(float) * predicted).sum(-1), total**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((divide(right.sum(-1), total) - expected) / (1 - expected))


def quadratic_kappa(counts: Counts) -> Figures:
    """Return Cohen's kappa of ordered labels, by squared distance of their places; of answered rows only."""
    square = counts[..., :-1].astype(float)
    places = np.arange(square.shape[-1])
    weights = (places[:, None] - places[None, :]) ** 2
    total = square.sum((-2, -1))
    expected = square.sum(-1)[..., :, None] * square.sum(-2)[..., None, :]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(1 - (weights * square).sum((-2, -1)) * total / (weights * expected).sum((-2, -1)))


#: Azure ML's names of the figures. Balanced accuracy is the mean recall.
FIGURES: Mapping[str, Callable[[Counts], Figures]] = {
    "accuracy": accuracy,
    "f1_score_macro": _macro("f1_score"),
    "balanced_accuracy": _macro("recall"),
    "matthews_correlation": matthews_correlation,
    "f1_score_micro": _micro("f1_score"),
    "f1_score_weighted": _weighted("f1_score"),
    "precision_score_macro": _macro("precision"),
    "precision_score_micro": _micro("precision"),
    "precision_score_weighted": _weighted("precision"),
    "recall_score_macro": _macro("recall"),
    "recall_score_micro": _micro("recall"),
    "recall_score_weighted": _weighted("recall"),
    "cohen_kappa": cohen_kappa,
    "quadratic_kappa": quadratic_kappa,
}

#: Figures that unanswered rows could lift: those that are below 0 at worst, and those whose classes they make
#: weigh more.
LIFTED = frozenset({"matthews_correlation", "cohen_kappa", "f1_score_weighted", "precision_score_weighted"})


def headline(name: str, counts: Counts) -> Figures:
    """Return a figure over all rows. Rows without an answer never lift it above that of the answered."""
    found = FIGURES[name](counts)
    return np.minimum(found, of_answered(name, counts)) if name in LIFTED else found


def of_answered(name: str, counts: Counts) -> Figures:
    """Return a figure over the rows that gave one of the labels."""
    answered = counts.copy()
    answered[..., -1] = 0
    return FIGURES[name](answered)
