"""What do the counts of labels and predictions say?

A matrix of counts has a row for each label and a column for each label and one more, for rows without any of
the labels: unanswered, or another text. The labels are fixed by the caller, so a text outside them is never a
class of its own. All functions take many matrices at once: the last two axes are those of one matrix. A
figure that is not defined is NaN.

Without such rows the figures are those of scikit-learn. With them a figure is the lowest that answers to
these rows could give, or a bound a little below it. A figure above the lowest would rise if a row with such
an answer failed.
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


def _parts(counts: Counts) -> tuple[Counts, Counts, Counts, Counts]:
    """Return the right rows, labels and predictions of each class, and how many rows have no prediction."""
    square = counts[..., :-1]
    right = np.diagonal(square, axis1=-2, axis2=-1)
    return right, counts.sum(-1), square.sum(-2), counts[..., -1].sum(-1)


def _quotients(name: str, counts: Counts) -> tuple[Counts, Counts]:
    """Return what is divided by what to get a score of each class."""
    right, support, predicted, _ = _parts(counts)
    if name == "precision":
        return right, predicted
    return (right, support) if name == "recall" else (2 * right, support + predicted)


def per_class(counts: Counts) -> Mapping[str, Any]:
    """Return precision, recall, F1, support and predictions of each class; rows without one are missed."""
    _, support, predicted, _ = _parts(counts)
    scores = {name: divide(*_quotients(name, counts)) for name in ("precision", "recall", "f1_score")}
    return {**scores, "support": support, "predicted": predicted}


def _least(above: Counts, below: Counts, more: Counts) -> Figures:
    """Return the least sum of `above / (below + x)`, for any x of 0 or more whose sum is `more`.

    Where x is not 0, all quotients fall equally fast: above / (below + x)² is the square of one level.
    """
    plain, roots = divide(above, below), np.sqrt(above)
    order = np.argsort(-divide(roots, below), axis=-1, kind="stable")
    first, of_these = (np.cumsum(np.take_along_axis(each, order, -1), -1) for each in (roots, below))
    level = divide(first, of_these + more[..., None]).max(-1, keepdims=True)
    return np.asarray(np.where(more[..., None] > 0, np.minimum(plain, roots * level), plain).sum(-1))


def _average(name: str, kind: str) -> Callable[[Counts], Figures]:
    """Return the mean over the classes that have rows, also `weighted` by these; `micro`: of all counts.

    A row without a prediction may have been one of any class, which costs precision there.
    """

    def figure(counts: Counts) -> Figures:
        (above, below), (_, support, _, missing) = _quotients(name, counts), _parts(counts)
        more = np.zeros_like(missing) if name == "recall" else missing
        if kind == "micro":
            return divide(above.sum(-1), below.sum(-1) + more)
        weights = support if kind == "weighted" else (support > 0).astype(support.dtype)
        return divide(_least(above * weights, below, more), weights.sum(-1))

    return figure


def accuracy(counts: Counts) -> Figures:
    """Return the share of right rows."""
    return divide(_parts(counts)[0].sum(-1), counts.sum((-2, -1)))


def matthews_correlation(counts: Counts) -> Figures:
    """Return the correlation of labels and predictions."""
    right, support, predicted, missing = (part.astype(float) for part in _parts(counts))
    total = counts.sum((-2, -1)).astype(float)
    above = right.sum(-1) * total - (support * predicted).sum(-1) - missing * support.max(-1)
    # Predictions that are spread evenly make the divisor large, those of one label make it small.
    level = np.cumsum(np.sort(predicted, -1), -1) + missing[..., None]
    level = (level / np.arange(1, predicted.shape[-1] + 1)).min(-1, keepdims=True)
    even = (np.maximum(predicted, level) ** 2).sum(-1)
    uneven = (predicted**2).sum(-1) + missing * (2 * predicted.max(-1) + missing)
    spread = (total**2 - np.where(above < 0, uneven, even)) * (total**2 - (support**2).sum(-1))
    found = divide(above, np.sqrt(np.maximum(spread, 0)))
    return np.where((above < 0) & (spread <= 0), -1.0, np.maximum(found, -1))


def cohen_kappa(counts: Counts) -> Figures:
    """Return the agreement beyond chance; NaN if all rows have one label and one prediction."""
    right, support, predicted, missing = (part.astype(float) for part in _parts(counts))
    total = counts.sum((-2, -1)).astype(float)
    agreed = divide(right.sum(-1), total)
    expected = divide((support * predicted).sum(-1) + missing * support.max(-1), total**2)
    return _kappa(1 - agreed, 1 - expected)


def quadratic_kappa(counts: Counts) -> Figures:
    """Return Cohen's kappa of ordered labels, by squared distance of their places."""
    _, support, predicted, missing = (part.astype(float) for part in _parts(counts))
    places = np.arange(counts.shape[-2])
    weights = ((places[:, None] - places[None, :]) ** 2).astype(float)
    apart = (weights * counts[..., :-1]).sum((-2, -1)) + counts[..., -1] @ weights.max(-1)
    by_label = support @ weights
    expected = (predicted * by_label).sum(-1) + missing * by_label.min(-1)
    return _kappa(apart * counts.sum((-2, -1)), expected)


def _kappa(apart: Figures, expected: Figures) -> Figures:
    """Return kappa from disagreement and that of chance; NaN without the latter."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(expected > 0, np.maximum(1 - apart / expected, -1), np.nan)


#: Azure ML's names of the figures. Balanced accuracy is the mean recall.
FIGURES: Mapping[str, Callable[[Counts], Figures]] = {
    "accuracy": accuracy,
    "balanced_accuracy": _average("recall", "macro"),
    "matthews_correlation": matthews_correlation,
    **{
        f"{name if name == 'f1_score' else f'{name}_score'}_{kind}": _average(name, kind)
        for name in ("f1_score", "precision", "recall")
        for kind in ("macro", "micro", "weighted")
    },
    "cohen_kappa": cohen_kappa,
    "quadratic_kappa": quadratic_kappa,
}
