"""How near are numbers to numbers? Figures of sums over rows, and rank correlation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from batchscore.evaluate.statistics.intervals import Floats


@np.errstate(all="ignore")
def columns_of(found: Floats, gold: Floats) -> Floats:
    """Return what the figures are sums of, `(n, 8)`: 1, x, y, x², y², xy, |x - y|, (x - y)².

    Here x and y count from their means: squares of large numbers, such as times, would hide how they vary.
    And x counts in its own standard deviations, so that two models can swap theirs.
    """
    off = found - gold
    found, gold = (each - each.mean() if len(each) else each for each in (found, gold))
    found = found / (found.std() or 1.0) if len(found) else found
    columns = (np.ones(len(found)), found, gold, found**2, gold**2, found * gold, np.abs(off), off**2)
    return np.stack(columns, axis=1)


def _mean_absolute_error(sums: Floats) -> Floats:
    return np.asarray(sums[:, 6] / sums[:, 0])


def _root_mean_squared_error(sums: Floats) -> Floats:
    return np.asarray(np.sqrt(sums[:, 7] / sums[:, 0]))


def _r2(sums: Floats) -> Floats:
    return np.asarray(1 - sums[:, 7] / (sums[:, 4] - sums[:, 2] ** 2 / sums[:, 0]))


def _pearson(sums: Floats) -> Floats:
    count, x, y, xx, yy, xy = sums.T[:6]
    found = (count * xy - x * y) / np.sqrt((count * xx - x**2) * (count * yy - y**2))
    return np.asarray(found.clip(-1, 1))


#: Figures of sums. They are NaN if they are not defined.
FIGURES: Mapping[str, Callable[[Floats], Floats]] = {
    "mean_absolute_error": _mean_absolute_error,
    "root_mean_squared_error": _root_mean_squared_error,
    "r2_score": _r2,
    "pearson_correlation": _pearson,
    "cosine_pearson": _pearson,
}

#: Figures of ranks, which are not of sums.
RANKED = frozenset({"spearman_correlation", "cosine_spearman"})


#: How much further from 0 Spearman's correlation is than Pearson's along a curve, by Fisher's z.
_CURVED = 0.2


@np.errstate(all="ignore")
def curve_of(pairs: Floats) -> float:
    """Return 1 or more if ranks are correlated much better than values: these are along a curve.

    Then Pearson's correlation depends on how far the curve goes, which a sample does not show. 0: a line.
    """
    count = len(pairs)
    if count < 4:
        return 0.0
    # Ranks that are all equal count as half a swap of two neighbours.
    found = np.abs([pearson(*pairs.T), spearman(*pairs.T)]).clip(max=1 - 6 / (count**3 - count))
    of_values, of_ranks = np.arctanh(found)
    return float(np.nan_to_num((of_ranks - of_values) / max(_CURVED, 1 / math.sqrt(count))))


def codes_of(values: Floats) -> npt.NDArray[np.intp]:
    """Return the place of each value among the different ones, which resamples need not sort again."""
    return np.unique(values, return_inverse=True)[1]


def average_ranks(codes: npt.NDArray[np.intp]) -> Floats:
    """Return ranks from 1 of values with these codes; equal values share the mean of theirs."""
    counts = np.bincount(codes)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[codes])


def pearson(one: Floats, two: Floats) -> float:
    """Return the linear correlation; NaN if one side is constant."""
    if len(one) < 2:
        return float("nan")
    one, two = one - one.mean(), two - two.mean()
    below = float(np.sqrt((one @ one) * (two @ two)))
    return float(one @ two) / below if below > 0 else float("nan")


def spearman(one: Floats, two: Floats) -> float:
    """Return the correlation of ranks; NaN if one side is constant."""
    return spearman_of_codes(codes_of(one), codes_of(two))


def spearman_of_codes(one: npt.NDArray[np.intp], two: npt.NDArray[np.intp]) -> float:
    """Return the correlation of the ranks of values with these codes."""
    return pearson(average_ranks(one), average_ranks(two))
