"""Between which values does a figure lie, given that the rows are a sample?

Rates have Wilson intervals, which hold for few rows, too; all else a percentile bootstrap over rows, or over
whole clusters of rows. Memory does not grow with the number of resamples. It does not know what figures mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

#: Of more units than this, random groups are resampled whole: their sums vary as much, and cost less.
MOST_UNITS = 20_000

#: The numbers that a block of resamples may hold at a time, which bounds the memory.
_BLOCK = 1 << 21


@dataclass(frozen=True, slots=True)
class Interval:
    """Two bounds of a figure, and the method: `wilson`, `bootstrap`, `cluster_bootstrap`, `fisher_z`."""

    low: float
    high: float
    method: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How intervals are made."""

    confidence: float = 0.95
    resamples: int = 2000
    seed: int = 0

    @property
    def generator(self) -> np.random.Generator:
        """A generator that gives the same numbers each time."""
        return np.random.default_rng(self.seed)

    @property
    def z(self) -> float:
        """The normal quantile of both sides together."""
        return NormalDist().inv_cdf(0.5 + self.confidence / 2)


def wilson(right: float, total: float, sampling: Sampling) -> Interval | None:
    """Return the Wilson interval of a rate; `None` without rows."""
    if total <= 0:
        return None
    z, rate = sampling.z, right / total
    below = 1 + z * z / total
    middle = (rate + z * z / (2 * total)) / below
    half = z / below * np.sqrt(rate * (1 - rate) / total + z * z / (4 * total * total))
    low = 0.0 if right == 0 else max(0.0, middle - half)
    high = 1.0 if right == total else min(1.0, middle + half)
    return Interval(float(low), float(high), "wilson")


def percentiles(figures: Floats, sampling: Sampling, method: str = "bootstrap") -> Interval | None:
    """Return the middle part of resampled figures; `None` if they are not defined."""
    figures = figures[np.isfinite(figures)]
    if figures.size == 0:
        return None
    tail = (1 - sampling.confidence) / 2
    low, high = np.quantile(figures, (tail, 1 - tail))
    return Interval(float(low), float(high), method)


def units_of(rows: Floats, clusters: npt.NDArray[np.intp] | None = None, *, seed: int = 0) -> Floats:
    """Return the sums of rows, `(n, s)`, by cluster, or by random groups if there are very many."""
    if clusters is not None:
        rows = _sums_by(rows, clusters, int(clusters.max(initial=-1)) + 1)
    if len(rows) <= MOST_UNITS:
        return rows
    groups = np.random.default_rng(seed).permutation(len(rows)) % MOST_UNITS
    return _sums_by(rows, groups, MOST_UNITS)


def _sums_by(rows: Floats, groups: npt.NDArray[np.intp], count: int) -> Floats:
    return np.stack([np.bincount(groups, column, count) for column in rows.T], axis=1)


def blocks(width: int, sampling: Sampling) -> Iterator[int]:
    """Yield how many resamples of `width` numbers to make at a time, until all are made."""
    most = max(1, min(256, _BLOCK // max(1, width)))
    for start in range(0, sampling.resamples, most):
        yield min(most, sampling.resamples - start)


def resampled_sums(units: Floats, sampling: Sampling) -> Iterator[Floats]:
    """Yield the sums of resampled units, `(block, s)`, for all resamples together `resamples` rows."""
    generator, count = sampling.generator, len(units)
    for size in blocks(count, sampling):
        drawn = generator.integers(count, size=(size, count))
        drawn += np.arange(size)[:, None] * count
        weights = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        yield weights @ units


def bootstrap_sums(
    rows: Floats,
    figure: Callable[[Floats], Floats],
    sampling: Sampling,
    clusters: npt.NDArray[np.intp] | None = None,
) -> Floats:
    """Return a figure of the sums of rows, `(n, s)`, for each resample; `figure` takes `(r, s)`."""
    units = units_of(rows, clusters, seed=sampling.seed)
    return np.concatenate([figure(sums) for sums in resampled_sums(units, sampling)])


def bootstrap_mean(
    values: Floats, sampling: Sampling, clusters: npt.NDArray[np.intp] | None = None
) -> Interval | None:
    """Return the interval of a mean; `None` without rows."""
    if values.size == 0:
        return None
    rows = np.stack([values, np.ones(len(values))], axis=1)
    means = bootstrap_sums(rows, lambda sums: sums[:, 0] / sums[:, 1], sampling, clusters)
    return percentiles(means, sampling, "bootstrap" if clusters is None else "cluster_bootstrap")


def resampled_cells(cells: npt.NDArray[Any], sampling: Sampling) -> Iterator[npt.NDArray[np.int64]]:
    """Yield resampled counts of cells, `(block, c)`.

    To resample rows that are counted in cells is to draw the cells from a multinomial distribution, so the
    cost does not depend on the number of rows.
    """
    total = int(cells.sum())
    there = np.flatnonzero(cells)
    shares = cells[there] / total
    generator = sampling.generator
    for size in blocks(cells.size, sampling):
        drawn = np.zeros((size, cells.size), dtype=np.int64)
        drawn[:, there] = generator.multinomial(total, shares, size)
        yield drawn


def bootstrap_cells(
    counts: npt.NDArray[Any], figure: Callable[[npt.NDArray[Any]], Floats], sampling: Sampling
) -> Floats:
    """Return a figure of resampled counts; `figure` takes counts with one more axis in front."""
    blocks = resampled_cells(counts.reshape(-1), sampling)
    return np.concatenate([figure(drawn.reshape(-1, *counts.shape)) for drawn in blocks])


def bootstrap_clusters(
    cells: npt.NDArray[np.intp],
    clusters: npt.NDArray[np.intp],
    shape: tuple[int, ...],
    figure: Callable[[npt.NDArray[Any]], Floats],
    sampling: Sampling,
) -> Floats:
    """Return a figure of counts in cells, where whole clusters of rows are resampled."""
    size = int(np.prod(shape))
    codes, counts = np.unique(clusters * size + cells, return_counts=True)
    of_cluster, of_cell = np.divmod(codes, size)
    generator, count = sampling.generator, int(clusters.max(initial=0)) + 1
    found = []
    for _ in range(sampling.resamples):
        times = np.bincount(generator.integers(count, size=count), minlength=count)
        drawn = np.bincount(of_cell, times[of_cluster] * counts, size)
        found.append(figure(np.rint(drawn).astype(np.intp).reshape(1, *shape)))
    return np.concatenate(found)


def bootstrap_rows(count: int, figure: Callable[[npt.NDArray[np.intp]], float], sampling: Sampling) -> Floats:
    """Return a figure of resampled rows; `figure` takes their places. For figures that are not of sums."""
    generator = sampling.generator
    return np.array([figure(generator.integers(count, size=count)) for _ in range(sampling.resamples)])
