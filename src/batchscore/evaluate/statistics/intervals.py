"""Between which values does a figure lie, given that the rows are a sample?

Rates have Wilson intervals; all else a bootstrap over rows, or over whole clusters of rows. Some things make
it hold for few rows, too. The percentiles are further out, as Student's quantiles are (Hesterberg 2015, The
American Statistician 69, "expanded percentiles"). An interval is no narrower than the standard error says
that leaving out each row gives, on the scale of the figure. Errors, differences, and correlations of numbers
that are mostly the same, have a bootstrap-t, which divides by the error of each resample; if a few rows are
all that differ, there is no interval: they say nothing about how large others may be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

#: Of more units than this, random groups are resampled whole: their sums vary as much, and cost less.
MOST_UNITS = 20_000

#: With no more rows or clusters than this, an interval allows for their number.
FEW = 1000

#: A kurtosis of few rows says little: no fewer degrees of freedom are taken.
_LEAST_FREEDOM = 4.0

#: Errors whose logarithms are further apart than this say nothing about how large others may be.
_WIDEST_SPREAD = 3.0

#: How many times as far as Student's interval a bootstrap-t of a figure may go.
_FURTHEST = 3.0

#: Just below a perfect correlation, which is infinite on its scale.
_EDGE = 1 - 1e-12

#: The numbers that a block of resamples may hold at a time, which bounds the memory.
_BLOCK = 1 << 21


@dataclass(frozen=True, slots=True)
class Interval:
    """Two bounds, and the method: `wilson`, `bootstrap`, `bootstrap_t`, `cluster_bootstrap` or `fisher_z`."""

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
    return Interval(*_wilson(right / total, total, sampling.z), "wilson")


def _wilson(rate: float, total: float, z: float) -> tuple[float, float]:
    below = 1 + z * z / total
    middle = (rate + z * z / (2 * total)) / below
    half = z / below * math.sqrt(rate * (1 - rate) / total + z * z / (4 * total * total))
    return 0.0 if rate == 0 else max(0.0, middle - half), 1.0 if rate == 1 else min(1.0, middle + half)


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
    differ = high - low > 1e-12 * max(abs(low), abs(high))
    return Interval(float(low), float(high), method) if differ else None


def _tail(units: int, freedom: float, sampling: Sampling) -> float:
    """Return the share of resamples on one side of an interval, which is smaller for few units."""
    return NormalDist().cdf(-_wider(units, freedom, sampling))


def _wider(units: int, freedom: float, sampling: Sampling) -> float:
    """Return how many errors of a figure an interval goes to either side."""
    return math.sqrt(units / (units - 1)) * student(0.5 + sampling.confidence / 2, freedom)


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
    is_small = len(units) * sampling.resamples <= _BLOCK
    for weights in (_weights_kept if is_small else _weights)(len(units), sampling):
        yield weights @ units


def _weights(count: int, sampling: Sampling) -> Iterator[Floats]:
    """Yield how often each unit is in each resample, `(block, count)`."""
    generator = sampling.generator
    for size in blocks(count, sampling):
        drawn = generator.integers(count, size=(size, count))
        drawn += np.arange(size)[:, None] * count
        weights = np.bincount(drawn.ravel(), minlength=size * count)
        yield weights.reshape(size, count).astype(float)


@lru_cache(maxsize=1)
def _weights_kept(count: int, sampling: Sampling) -> Sequence[Floats]:
    """Return the same, since several figures of the same rows follow each other."""
    return list(_weights(count, sampling))


@dataclass(frozen=True, slots=True)
class Scale:
    """Between which bounds a figure is a share; or the scale on which it varies about evenly, and back.

    `least` is its variance there, times the rows, if these are normal. `by_few`: many rows are the same.
    """

    low: float = 0.0
    high: float = 1.0
    to: Callable[[Floats], Floats] | None = None
    back: Callable[[Floats], Floats] = np.asarray
    least: Callable[[float], float] = float
    by_few: bool = False


#: Shares, also in percent, and those that may be negative. Fisher's z of Pearson's correlation, and of
#: Spearman's (Bonett and Wright 2000, Psychometrika 65). What R² lacks is a quotient of two variances.
RATE, PERCENT, SIGNED = Scale(), Scale(high=100.0), Scale(low=-1.0)
PEARSON = Scale(to=lambda value: np.arctanh(value.clip(-_EDGE, _EDGE)), back=np.tanh, least=lambda _: 1.0)
SPEARMAN = replace(PEARSON, least=lambda value: 1 + value**2 / 2)
R2 = Scale(
    to=lambda value: -np.log(1 - value.clip(max=_EDGE)), back=lambda z: 1 - np.exp(-z), least=lambda _: 4.0
)


def interval_of_units(
    value: float,
    resampled: Floats,
    without: Floats,
    scale: Scale | None,
    sampling: Sampling,
    method: str,
    ratios: Floats | None = None,
) -> Interval | None:
    """Return the interval of a figure of units, which holds that of percentiles of its resamples.

    `without` are the figures without each unit. From these comes its error (jackknife), which gives Student's
    interval on its scale. That of a share is Wilson's, of as many rows as have this error (Korn and Graubard
    1998, Survey Methodology 24). A difference has no scale: its interval is that of a mean of its values by
    unit (Tukey's pseudo-values). `ratios`: how many of their own errors resamples are off on the scale.
    `None` if units say too little of how the figure varies.
    """
    count = len(without)
    found = percentiles(resampled, sampling, count, method)
    if count < 2 or not np.isfinite([value, *without]).all():
        return None
    if scale is None:
        other = bootstrap_t(count * value - (count - 1) * without, sampling, by_kurtosis=True)
        if found is None or other is None:
            return None
        return Interval(min(found.low, other.low), max(found.high, other.high), method)
    if found is None and scale.to is not None:
        return None
    wider = _wider(count, count - 1, sampling)
    if scale.to is None:
        width = scale.high - scale.low
        rate, variance = min(max((value - scale.low) / width, 0.0), 1.0), _variance(without / width)
        # By rounding alone, a variance may be just above 0.
        size = max(1.0, rate * (1 - rate) / variance) if variance > 1e-20 else count
        low, high = (scale.low + width * bound for bound in _wilson(rate, size, wider))
    else:
        z, others = scale.to(np.array(value)), scale.to(without)
        least = scale.least(value) / (count - 3) if count > 3 else math.inf
        error = math.sqrt(_variance(others))
        half, furthest = max(wider * error, sampling.z * math.sqrt(least)), _FURTHEST * wider
        ends = np.array((-half, half))
        if ratios is not None and len(ratios):
            tail = _tail(count, count - 1, sampling)
            most, least = np.quantile(ratios, (1 - tail, tail), method="nearest").clip(-furthest, furthest)
            ends = np.array((min(-half, -error * most), max(half, -error * least)))
        low, high = scale.back(z + ends)
    if found is not None:
        low, high = min(low, found.low), max(high, found.high)
    return Interval(float(low), float(high), method)


def _variance(without: Floats) -> float:
    """Return the variance of a figure, from those without each unit."""
    return float((len(without) - 1) * without.var())


def interval_of_sums(
    rows: Floats,
    figure: Callable[[Floats], Floats],
    scale: Scale | None,
    sampling: Sampling,
    clusters: npt.NDArray[np.intp] | None = None,
) -> Interval | None:
    """Return the interval of a figure of the sums of rows, `(n, s)`; `figure` takes `(r, s)`."""
    units = units_of(rows, clusters, seed=sampling.seed)
    units = units[units.any(axis=1)]
    count, total = len(units), units.sum(0)
    if count < 2:
        return None
    method = "bootstrap" if clusters is None else "cluster_bootstrap"
    is_few = count <= FEW or (scale is None and len(rows) <= MOST_UNITS)
    ratios = None
    if is_few and scale is not None and scale.by_few and scale.to is not None:
        resampled, ratios = _studentized(units, figure, scale.to, sampling)
    else:
        resampled = np.concatenate([figure(sums) for sums in resampled_sums(units, sampling)])
    if not is_few:
        return percentiles(resampled, sampling, count, method)
    value = float(figure(total[None])[0])
    return interval_of_units(value, resampled, figure(total - units), scale, sampling, method, ratios)


def _studentized(
    units: Floats, figure: Callable[[Floats], Floats], to: Callable[[Floats], Floats], sampling: Sampling
) -> tuple[Floats, Floats]:
    """Return the figures of resamples, and how many of its own errors each is off on the scale.

    The error is that of the delta method: by the slopes of the figure in its sums.
    """
    count, width = units.shape
    one, two = np.triu_indices(width)
    steps = 1e-4 * np.sqrt((units**2).sum(0)).clip(1e-300)

    def of(found: Floats) -> Floats:
        sums, squares = found[:, :width], found[:, width:]
        apart = [to(figure(sums + step)) - to(figure(sums - step)) for step in np.diag(steps)]
        slopes = np.stack(apart, axis=1) / (2 * steps)
        products = np.where(one == two, 1, 2) * slopes[:, one] * slopes[:, two]
        variance = (products * squares).sum(1) - (slopes * sums).sum(1) ** 2 / count
        return np.stack([figure(sums), to(figure(sums)), np.sqrt(variance.clip(0))])

    rows = np.hstack([units, units[:, one] * units[:, two]])
    with np.errstate(all="ignore"):
        value = to(figure(units.sum(0)[None]))
        figures, values, errors = np.concatenate([*map(of, resampled_sums(rows, sampling))], axis=1)
        ratios = (values - value) / errors
    return figures, ratios[~np.isnan(ratios)]


def interval_of_rows(
    count: int,
    figure: Callable[[npt.NDArray[np.intp]], float],
    scale: Scale | None,
    sampling: Sampling,
    clusters: npt.NDArray[np.intp] | None = None,
) -> Interval | None:
    """Return the interval of a figure that is not of sums; `figure` takes the places of rows."""
    places, generator = np.arange(count), sampling.generator
    own, method = (places, "bootstrap") if clusters is None else (clusters, "cluster_bootstrap")
    groups = np.split(np.argsort(own, kind="stable"), np.cumsum(np.bincount(own))[:-1])
    number = len(groups)

    def drawn() -> npt.NDArray[np.intp]:
        units = generator.integers(number, size=number)
        return units if clusters is None else np.concatenate([groups[unit] for unit in units])

    resampled = np.array([figure(drawn()) for _ in range(sampling.resamples)])
    if number > FEW:
        return percentiles(resampled, sampling, number, method)
    without = np.array([figure(np.delete(places, group)) for group in groups])
    return interval_of_units(figure(places), resampled, without, scale, sampling, method)


def bootstrap_t(values: Floats, sampling: Sampling, *, by_kurtosis: bool = False) -> Interval | None:
    """Return the interval of a mean, which holds that of percentiles, too.

    `None` if the values are too few, or if too few of them differ: then some resamples have none of these,
    and a mean may be any number of their standard errors away. `by_kurtosis`: values that are now near and
    now far, as differences are, know their own spread less well, and Student's quantile has fewer degrees of
    freedom: half of Satterthwaite's, since the kurtosis of few rows is too low itself.
    """
    count = len(values)
    value = float(values.mean()) if count else math.nan
    off = values - value
    error = math.sqrt((off**2).mean()) if count > 1 else 0.0
    if not error > 1e-12 * abs(value):
        return None
    freedom = float(count - 1)
    if by_kurtosis:
        kurtosis = float((off**4).mean() / error**4)
        freedom = min(freedom, max(_LEAST_FREEDOM, count / max(kurtosis - 1, 1e-9)))
    figures, ratios = [], []
    for sums in resampled_sums(np.stack([off, off**2], axis=1), sampling):
        moved, squares = sums.T / count
        errors = np.sqrt(np.maximum(squares - moved**2, 0))
        gone = errors <= 1e-3 * error
        far = np.where(np.abs(moved) > 1e-12 * error, np.copysign(np.inf, moved), 0)
        figures.append(value + moved)
        ratios.append(np.where(gone, far, moved / np.where(gone, 1, errors)))
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
        rows = np.stack([values, np.ones(len(values))], axis=1)
        return interval_of_sums(rows, lambda sums: sums[:, 0] / sums[:, 1], None, sampling)
    found, spread = bootstrap_t(values, sampling), _log_spread(values)
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
