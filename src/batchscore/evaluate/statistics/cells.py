"""Between which values does a figure of a confusion matrix lie?

To resample rows that are counted in cells is to draw the cells, so the cost does not depend on their number.
The interval is no narrower than the rates of right rows allow. It does not know what figures mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from batchscore.evaluate.statistics.intervals import (
    FEW,
    Bounds,
    Floats,
    Interval,
    Sampling,
    blocks,
    interval_of_units,
    percentiles,
    wilson,
)


def bootstrap_cells(
    counts: npt.NDArray[Any], figure: Callable[[npt.NDArray[Any]], Floats], sampling: Sampling
) -> Floats:
    """Return a figure of resampled counts, `(k, c)`; `figure` takes counts with one more axis in front.

    To resample rows that are counted in cells is to draw the cells from a multinomial distribution, so the
    cost does not depend on the number of rows.
    """
    total, weights = int(counts.sum()), counts.astype(float)
    if total <= FEW:
        # One more row, in any cell of a label that occurs.
        possible = np.repeat(counts.sum(1, keepdims=True) > 0, counts.shape[1], axis=1)
        weights += possible / possible.sum()
    there = np.flatnonzero(weights)
    shares, generator, found = weights.ravel()[there] / weights.sum(), sampling.generator, []
    for size in blocks(counts.size, sampling):
        drawn = np.zeros((size, counts.size), dtype=np.int64)
        drawn[:, there] = generator.multinomial(total, shares, size)
        found.append(figure(drawn.reshape(-1, *counts.shape)))
    return np.concatenate(found)


def interval_of_cells(
    counts: npt.NDArray[Any], figure: Callable[[npt.NDArray[Any]], Floats], sampling: Sampling
) -> Interval | None:
    """Return the interval of a figure of counts, which holds that of a bootstrap; `None` of a single row.

    Resamples hardly have what never occurred, so each bound is also as far out as the Wilson bounds say: of
    the rate of right rows of all labels together, and of each label by itself, whose squared distances are
    added (Zou and Donner 2008, Statistics in Medicine 27).
    """
    rows, right = counts.sum(1).astype(float), np.diagonal(counts).astype(float)
    found = percentiles(bootstrap_cells(counts, figure, sampling), sampling, int(rows.sum()))
    (value,) = figure(counts[None])
    if rows.sum() < 2 or not np.isfinite(value):
        return found

    def moved(numbers: Sequence[Floats]) -> Floats:
        return np.asarray(np.nan_to_num(figure(_with_right(counts, np.stack(numbers))) - value))

    together = wilson(right.sum(), rows.sum(), sampling)
    assert together is not None
    rate = right.sum() / rows.sum()
    fewer = right * (together.low / rate if rate else 0)
    more = rows - (rows - right) * ((1 - together.high) / (1 - rate) if rate < 1 else 0)
    all_moved, each_moved = moved([fewer, more]), []
    for label in np.flatnonzero(rows):
        alone = wilson(right[label], rows[label], sampling)
        assert alone is not None
        here = np.arange(len(rows)) == label
        each_moved.append(moved([np.where(here, rows * bound, right) for bound in (alone.low, alone.high)]))
    low, high = (
        value
        + sign * max(0, *(sign * all_moved), np.hypot.reduce((sign * np.stack(each_moved)).max(1).clip(0)))
        for sign in (-1, 1)
    )
    least, most = figure(_with_right(counts, np.stack([np.zeros_like(rows), rows])))
    return Interval(float(np.fmax(low, least)), float(np.fmin(high, most)), "bootstrap").around(found)


def _with_right(counts: npt.NDArray[Any], right: Floats) -> Floats:
    """Return counts with other numbers of right rows of each label; wrong ones keep their shares."""
    places = np.arange(len(counts))
    wrong = counts.astype(float)
    wrong[places, places] = 0
    none = wrong.sum(1) == 0
    wrong[none] = 1
    wrong[places, places] = 0
    wrong /= wrong.sum(1, keepdims=True)
    found = wrong * (counts.sum(1) - right)[..., None]
    found[:, places, places] = right
    return np.asarray(found)


def interval_of_clustered_cells(
    cells: npt.NDArray[np.intp],
    clusters: npt.NDArray[np.intp],
    shape: tuple[int, ...],
    figure: Callable[[npt.NDArray[Any]], Floats],
    scale: Bounds,
    sampling: Sampling,
) -> Interval | None:
    """Return the interval of a figure of counts in cells, where whole clusters of rows are resampled."""
    size, count = int(np.prod(shape)), int(clusters.max(initial=-1)) + 1
    codes, counts = np.unique(clusters * size + cells, return_counts=True)
    of_cluster, of_cell = np.divmod(codes, size)
    generator = sampling.generator

    def of(times: npt.NDArray[np.intp]) -> float:
        drawn = np.bincount(of_cell, times[of_cluster] * counts, size)
        return float(figure(np.rint(drawn).astype(np.intp).reshape(1, *shape))[0])

    resampled = np.array(
        [
            of(np.bincount(generator.integers(count, size=count), minlength=count))
            for _ in range(sampling.resamples)
        ]
    )
    if count > FEW:
        return percentiles(resampled, sampling, count, "cluster_bootstrap")
    every = np.ones(count, dtype=np.intp)
    without = np.array([of(every - (np.arange(count) == place)) for place in range(count)])
    return interval_of_units(of(every), resampled, without, scale, sampling, "cluster_bootstrap")
