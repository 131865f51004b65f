"""Between which values does a figure lie, given that the rows are a sample?

Rates have Wilson intervals; all else a percentile bootstrap over rows, or over whole clusters of rows. That
of a figure of labels is no narrower than the rates of right rows allow. Some things make it hold for few
rows, too. The percentiles are further out, as Student's quantiles are (Hesterberg
2015, The American Statistician 69, "expanded percentiles"). What never occurred in few rows may occur: one
more row is spread over all that is possible. Errors, and differences, have a bootstrap-t, too, which divides
by the standard error of each resample; if a few rows are all that differ, they say nothing about how large
others may be, and there is no interval. Memory does not grow with the number of resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

#: Of more units than this, random groups are resampled whole: their sums vary as much, and cost less.
MOST_UNITS = 20_000

#: With no more rows than this, one more row is spread over all that is possible.
_FEW = 1000

#: A kurtosis of few rows says little: no fewer degrees of freedom are taken.
_LEAST_FREEDOM = 4.0

#: If fewer rows than this differ from the others, they do not show which values there are.
_FEWEST_APART = 4

#: Errors whose logarithms are further apart than this say nothing about how large others may be.
_WIDEST_SPREAD = 3.0

#: The numbers that a block of resamples may hold at a time, which bounds the memory.
_BLOCK = 1 << 21


@dataclass(frozen=True, slots=True)
class Interval:
    """Two bounds of a figure, and the method.

    It is `wilson`, `bootstrap`, `bootstrap_t`, `cluster_bootstrap` or `fisher_z`.
    """

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


def percentiles(
    figures: Floats, sampling: Sampling, units: int, method: str = "bootstrap"
) -> Interval | None:
    """Return the middle part of figures of resampled units.

    `None` if there is a single unit, or no figure, or if all are the same: then nothing says how they vary.
    """
    figures = figures[np.isfinite(figures)]
    if figures.size == 0 or units < 2:
        return None
    tail = _tail(units, units - 1, sampling)
    low, high = np.quantile(figures, (tail, 1 - tail))
    return Interval(float(low), float(high), method) if low < high else None


def _tail(units: int, freedom: float, sampling: Sampling) -> float:
    """Return the share of resamples on one side of an interval, which is smaller for few units."""
    wider = np.sqrt(units / (units - 1)) * student(0.5 + sampling.confidence / 2, freedom)
    return NormalDist().cdf(-float(wider))


def student(share: float, freedom: float) -> float:
    """Return a quantile of Student's distribution, by Cornish and Fisher's expansion; too small below 3."""
    z = NormalDist().inv_cdf(share)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return float(sum(term / freedom**power for power, term in enumerate(terms)))


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
    count = len(values)
    if count == 0:
        return None
    if clusters is None and count <= _FEW and values.min() >= 0 and values.max() <= 1:
        # Half a row each of the worst and of the best that occurs, since some figures cannot reach 1. But if
        # few rows differ from the others, better ones may not have occurred.
        few = count - np.unique(values, return_counts=True)[1].max() < _FEWEST_APART
        more, best = (1.0, 1.0) if few else (0.5, values.max())
        shares = np.array([*np.ones(count), more, more]) / (count + 2 * more)
        generator, known = sampling.generator, np.array([*values, 0, best])
        means = np.concatenate(
            [generator.multinomial(count, shares, size) @ known for size in blocks(count, sampling)]
        )
        return percentiles(means / count, sampling, count)
    rows = np.stack([values, np.ones(count)], axis=1)
    means = bootstrap_sums(rows, lambda sums: sums[:, 0] / sums[:, 1], sampling, clusters)
    if clusters is None:
        return percentiles(means, sampling, count)
    return percentiles(means, sampling, len(np.unique(clusters)), "cluster_bootstrap")


@dataclass(frozen=True, slots=True)
class OfMeans:
    """A figure of the means of columns, `(r, m)`, and its slopes by each of them, `(r, m)`."""

    figure: Callable[[Floats], Floats]
    slopes: Callable[[Floats], Floats]

    def with_error(self, sums: Floats, count: int, center: Floats) -> tuple[Floats, Floats]:
        """Return the figure, and how much it varies by row, from sums of columns and of their products."""
        width = len(center)
        means = sums / count
        slopes = self.slopes(center + means[:, :width])
        variance = np.zeros(len(means))
        for place, (one, two) in enumerate(_pairs(width), width):
            shared = means[:, place] - means[:, one] * means[:, two]
            variance += (1 + (one != two)) * slopes[:, one] * slopes[:, two] * shared
        return self.figure(center + means[:, :width]), np.sqrt(np.maximum(variance, 0))


def _pairs(width: int) -> list[tuple[int, int]]:
    return [(one, two) for one in range(width) for two in range(one, width)]


#: The mean of one column, and the difference of the roots of two.
MEAN = OfMeans(lambda means: means[:, 0], np.ones_like)
ROOTS = OfMeans(
    lambda means: np.sqrt(means[:, 0]) - np.sqrt(means[:, 1]),
    lambda means: np.array([0.5, -0.5]) / np.sqrt(np.where(means > 0, means, np.inf)),
)


def bootstrap_t(
    rows: Floats, of_means: OfMeans, sampling: Sampling, *, by_kurtosis: bool = False
) -> Interval | None:
    """Return the interval of a figure of means of columns, `(n, m)`, which holds that of percentiles, too.

    `None` if the rows are too few, or if too few of them differ: then some resamples have none of these, and
    a figure may be any number of their standard errors away. `by_kurtosis`: rows that are now near and now
    far, as differences are, know their own spread less well, and Student's quantile has fewer degrees of
    freedom: half of Satterthwaite's, since the kurtosis of few rows is too low itself.
    """
    count = len(rows)
    if count < 2:
        return None
    center = rows.mean(0)
    off = rows - center
    units = np.hstack([off, np.stack([off[:, one] * off[:, two] for one, two in _pairs(rows.shape[1])], 1)])
    (value,), (error,) = of_means.with_error(units.sum(0)[None], count, center)
    if not error > 0:
        return None
    freedom = float(count - 1)
    if by_kurtosis:
        apart = off @ of_means.slopes(center[None])[0]
        kurtosis = float((apart**4).mean() / error**4)
        freedom = min(freedom, max(_LEAST_FREEDOM, count / max(kurtosis - 1, 1e-9)))
    figures, ratios = [], []
    for sums in resampled_sums(units, sampling):
        found, errors = of_means.with_error(sums, count, center)
        gone, moved = errors <= 1e-3 * error, np.abs(found - value) > 1e-12 * error
        far = np.where(moved, np.copysign(np.inf, found - value), 0)
        figures.append(found)
        ratios.append(np.where(gone, far, (found - value) / np.where(gone, 1, errors)))
    tail = _tail(count, freedom, sampling)
    ordered = np.sort(np.concatenate(ratios))
    outer = ordered[[int((len(ordered) - 1) * tail), -1 - int((len(ordered) - 1) * tail)]]
    plain = percentiles(np.concatenate(figures), sampling, count)
    if plain is None or not np.isfinite(outer).all():
        return None
    high, low = value - error * outer
    return Interval(min(plain.low, float(low)), max(plain.high, float(high)), "bootstrap_t")


def bootstrap_errors(values: Floats, sampling: Sampling) -> Interval | None:
    """Return the interval of a mean of errors, which are 0 or more and skewed; `None` if too few differ.

    The largest errors are mostly not in a small sample. So the upper bound is no lower than that of
    log-normal errors whose logarithms are as far apart as those of the large ones here.
    """
    if len(values) > MOST_UNITS:
        return bootstrap_mean(values, sampling)
    found, spread = bootstrap_t(values[:, None], MEAN, sampling), _log_spread(values)
    if found is None or spread > _WIDEST_SPREAD:
        return None
    if spread == 0:
        return Interval(max(0.0, found.low), found.high, found.method)
    generator, ratios = sampling.generator, []
    for size in blocks(len(values), sampling):
        drawn = np.exp(spread * generator.standard_normal((size, len(values))))
        ratios.append((np.exp(spread**2 / 2) - drawn.mean(1)) / drawn.std(1))
    outer = np.quantile(np.concatenate(ratios), 1 - _tail(len(values), len(values) - 1, sampling))
    high = max(found.high, float(values.mean() + values.std() * outer))
    return Interval(max(0.0, found.low), high, found.method)


def _log_spread(values: Floats) -> float:
    """Return the standard deviation of the logarithms of normal ones with such large values, or a bit more.

    It is that of the largest half, or fewer if there are many, above the smallest of these.
    """
    logs = np.log(np.sort(values[values > 0]))
    most = min(len(logs) // 2, int(3 * np.sqrt(len(logs))))
    if most < 2:
        return 0.0
    normal, share = NormalDist(), most / len(logs)
    cut = normal.inv_cdf(1 - share)
    above = logs[-most:].mean() - (logs[-most - 1] + logs[-most]) / 2
    return float(1.25 * above / (normal.pdf(cut) / share - cut))


def bootstrap_cells(
    counts: npt.NDArray[Any], figure: Callable[[npt.NDArray[Any]], Floats], sampling: Sampling
) -> Floats:
    """Return a figure of resampled counts, `(k, c)`; `figure` takes counts with one more axis in front.

    To resample rows that are counted in cells is to draw the cells from a multinomial distribution, so the
    cost does not depend on the number of rows.
    """
    total, weights = int(counts.sum()), counts.astype(float)
    if total <= _FEW:
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
    low, high = np.fmax(low, least), np.fmin(high, most)
    if found is not None:
        low, high = min(low, found.low), max(high, found.high)
    return Interval(float(low), float(high), "bootstrap")


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
