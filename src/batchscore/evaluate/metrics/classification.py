"""What do the counts of labels and predictions say?

A matrix of counts has a row for each label and a column for each label and one more, for rows without any of
the labels: unanswered, or another text. The labels are fixed by the caller, so a text outside them is never a
class of its own. All functions take many matrices at once: the last two axes are those of one matrix. A
figure that is not defined is NaN.

Without such rows the figures are those of scikit-learn. With them a figure is the lowest that answers to
these rows could give: exactly so of kappa and of a correlation of 0 or less, otherwise as if parts of rows
could have different answers, which is a little lower. A figure above the lowest would rise if a row with such
an answer failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

#: Steps after which worst predictions are near enough: most take three.
_MOST_STEPS = 50

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


def is_defined(name: str, counts: Counts) -> bool:
    """Whether a figure is defined: nothing correlates with a single label, for which scikit-learn gives 0."""
    return name != "matthews_correlation" or bool(np.count_nonzero(counts.sum(-1)) > 1)


def matthews_correlation(counts: Counts) -> Figures:
    """Return the correlation of labels and predictions, 0 if all rows have one label or one prediction."""
    right, support, predicted, missing = (part.astype(float) for part in _parts(counts))
    found = _correlation(counts, predicted)
    least = counts.sum((-2, -1)) * right.sum(-1) - (support * predicted).sum(-1) - missing * support.max(-1)
    if (some := (missing > 0) & (least <= 0)).any():
        found[some] = _least_correlation(counts[some])
    if (some := (missing > 0) & (found > 0)).any():
        found[some] = np.minimum(found[some], _correlation(counts[some], _worst_predictions(counts[some])))
    return found


def _correlation(counts: Counts, predicted: Figures) -> Figures:
    """Return the correlation with this many predictions of each class, no more of which are right."""
    right, support, _, _ = (part.astype(float) for part in _parts(counts))
    total = counts.sum((-2, -1)).astype(float)
    above = total * right.sum(-1) - (support * predicted).sum(-1)
    spread = (total**2 - (predicted**2).sum(-1)) * (total**2 - (support**2).sum(-1))
    return divide(above, np.sqrt(np.maximum(spread, 0)))


def _least_correlation(counts: Counts) -> Figures:
    """Return the least correlation if rows without a prediction have one or two classes.

    If any predictions give a correlation below 0, the least is among these. It is then as large as can be
    where predictions are spread least: all in a class, but those of its rows, or a single one, in another.
    """
    right, support, predicted, rows = (part.astype(float) for part in (*_parts(counts)[:3], counts[..., -1]))
    total, missing = counts.sum((-2, -1)).astype(float), rows.sum(-1)
    above = (right.sum(-1) * total - (support * predicted).sum(-1))[..., None, None]
    squares = (predicted**2).sum(-1)[..., None, None]
    labels = total**2 - (support**2).sum(-1)
    found = np.full(counts.shape[:-2], np.inf)
    for few in (np.zeros_like(rows), rows, np.ones_like(rows) * (missing[..., None] > 0)):
        one, two = (missing[..., None] - few)[..., None], few[..., None]
        hits = np.maximum(rows[..., None] - two, two + rows[..., None, :] - missing[..., None, None])
        lower = above + total[..., None, None] * np.maximum(hits, 0)
        lower = lower - support[..., None] * one - support[..., None, :] * two
        both = squares + (2 * predicted[..., None] + one) * one + (2 * predicted[..., None, :] + two) * two
        spread = (total[..., None, None] ** 2 - both) * labels[..., None, None]
        each = divide(lower, np.sqrt(np.maximum(spread, 0)))
        each[..., np.eye(rows.shape[-1], dtype=bool)] = np.inf
        found = np.minimum(found, each.min((-2, -1)))
    return np.where(labels > 0, found, 0.0)


def _worst_predictions(counts: Counts) -> Figures:
    """Return how many predictions of each class make a correlation above 0 least, none more of them right.

    Rows without a prediction are of frequent labels, and spread evenly: `level + weight * support`, where the
    weight is the spread of the predictions by the part above chance.
    """
    right, support, least, missing = (part.astype(float) for part in _parts(counts))
    total, most = counts.sum((-2, -1)).astype(float), least + missing[..., None] - counts[..., -1]
    low, high, weight = np.zeros_like(total), total**2, np.ones_like(total)
    found = least
    for _ in range(_MOST_STEPS):
        found = _filled(weight[..., None] * support, least, most, total)
        free = (found > least) & (found < most)
        apart = np.where(free, support - divide((free * support).sum(-1), free.sum(-1))[..., None], 0)
        above, varied = total * right.sum(-1) - (support * found).sum(-1), (apart**2).sum(-1)
        spread = total**2 - (found**2).sum(-1)
        more = spread > weight * above
        low, high = np.where(more, weight, low), np.where(more, high, weight)
        # Exact if the same classes stay free.
        step = divide(spread + weight**2 * varied, above + weight * varied)
        there = np.abs(step - weight) <= 1e-9 * weight
        if there.all():
            break
        weight = np.where(there | ((step > low) & (step < high)), step, (low + high) / 2)
    return found


def _filled(tilt: Figures, least: Figures, most: Figures, total: Figures) -> Figures:
    """Return `level + tilt`, but at least and at most this, where the level gives the total."""
    edges = np.concatenate([least - tilt, most - tilt], -1)
    order = np.argsort(edges, -1)
    edges = np.take_along_axis(edges, order, -1)
    rising = np.cumsum(np.where(order < tilt.shape[-1], 1, -1), -1)[..., :-1]
    sums = least.sum(-1, keepdims=True) + np.cumsum(rising * np.diff(edges, axis=-1), -1)
    place = np.minimum((sums < total[..., None]).sum(-1, keepdims=True), rising.shape[-1] - 1)
    end, above, slope = (np.take_along_axis(each, place, -1) for each in (edges[..., 1:], sums, rising))
    return np.clip(end - divide(above - total[..., None], slope) + tilt, least, most)


def cohen_kappa(counts: Counts) -> Figures:
    """Return the agreement beyond chance; NaN if all rows have one label and one prediction."""
    return _kappa(counts, 1 - np.eye(counts.shape[-2]))


def quadratic_kappa(counts: Counts) -> Figures:
    """Return Cohen's kappa of ordered labels, by squared distance of their places."""
    places = np.arange(counts.shape[-2])
    return _kappa(counts, ((places[:, None] - places[None, :]) ** 2).astype(float))


def _kappa(counts: Counts, weights: Figures) -> Figures:
    """Return kappa from weighted disagreement and that of chance; NaN if the latter may be 0.

    It is least if all rows of a label without a prediction have the same one: which, depends on kappa itself
    (Dinkelbach 1967), so it is found step by step.
    """
    _, support, predicted, _ = (part.astype(float) for part in _parts(counts))
    total, rows = counts.sum((-2, -1)).astype(float), counts[..., -1].astype(float)
    by_chance, places = support @ weights, np.arange(len(weights))
    apart = total * (weights * counts[..., :-1]).sum((-2, -1))
    expected = (predicted * by_chance).sum(-1)
    never = expected + rows.sum(-1) * by_chance.min(-1) <= 0
    share, before = np.full(total.shape, -1.0), None
    while before is None or (share > before).any():
        before = share
        gains = total[..., None, None] * weights - (share[..., None] * by_chance)[..., None, :]
        worst = gains.argmax(-1)
        above = apart + total * (rows * weights[places, worst]).sum(-1)
        below = expected + (rows * np.take_along_axis(by_chance, worst, -1)).sum(-1)
        share = np.maximum(share, divide(above, below))
    return np.where(never, np.nan, 1 - share)


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
