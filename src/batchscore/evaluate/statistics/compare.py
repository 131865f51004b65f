"""Do two models differ on the same rows, by how much, and what could this set show?

Right and wrong: McNemar's test and Newcombe's interval. All else: a paired bootstrap for the interval of the
difference, and approximate randomization for its p-value, as MultEval tests BLEU: if the models do not
differ, swapping their answers to some rows changes nothing. It does not know what figures mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from batchscore.evaluate.metrics.numbers import average_ranks, codes_of, pearson
from batchscore.evaluate.statistics.intervals import (
    Floats,
    Interval,
    Sampling,
    blocks,
    interval_of_rows,
    interval_of_sums,
    percentiles,
    units_of,
    wilson,
)

#: Below this many rows on which only one model is right, the exact binomial test is used.
FEW_DISCORDANT = 25

#: In fewer rows no difference has a p-value below 0.05.
FEWEST_ROWS = 6


@dataclass(frozen=True, slots=True)
class Comparison:
    """The difference of a figure between a model and the baseline, on `rows` that both were given.

    Without `low` and `high` the rows do not say between which values it lies.
    `p_value` is two-sided; `p_holm` the same, corrected for all models that are compared. `wins` are rows on
    which the model is better, `losses` those on which the baseline is; `None` if rows have no figure.
    """

    difference: float
    low: float | None
    high: float | None
    p_value: float
    method: str
    rows: int
    wins: int | None = None
    losses: int | None = None
    p_holm: float | None = None

    @property
    def interval_text(self) -> str:
        """Its interval, for people."""
        if self.low is None or self.high is None:
            return "no interval"
        return f"{self.low:+.4f} to {self.high:+.4f}"

    def agreeing(self, confidence: float) -> Comparison:
        """Return it with an interval that holds 0 if the test does not rule 0 out."""
        if self.low is None or self.high is None or self.p_value <= 1 - confidence:
            return self
        return replace(self, low=min(self.low, 0.0), high=max(self.high, 0.0))

    @property
    def ties(self) -> int | None:
        """Rows on which both are the same."""
        return None if self.wins is None or self.losses is None else self.rows - self.wins - self.losses


def mcnemar(wins: int, losses: int) -> float:
    """Return the p-value for the rows on which just one of two models is right."""
    discordant = wins + losses
    if discordant == 0:
        return 1.0
    if discordant < FEW_DISCORDANT:
        fewer = sum(math.comb(discordant, k) for k in range(min(wins, losses) + 1))
        return float(min(1.0, 2 * fewer / 2**discordant))
    statistic = max(0, abs(wins - losses) - 1) ** 2 / discordant
    return math.erfc(math.sqrt(statistic / 2))


def compare_right(model: Floats, baseline: Floats, sampling: Sampling) -> Comparison:
    """Compare the rows that are right (1) and wrong (0).

    The interval is Newcombe's for paired rates (1998, Statistics in Medicine 17, method 10).
    """
    rows = len(model)
    both = int((model * baseline).sum())
    wins = int(model.sum()) - both
    losses = int(baseline.sum()) - both
    low, high = _newcombe(both, wins, losses, rows, sampling)
    return Comparison(
        (wins - losses) / rows, low, high, mcnemar(wins, losses), "mcnemar", rows, wins=wins, losses=losses
    )


def _newcombe(both: int, wins: int, losses: int, rows: int, sampling: Sampling) -> tuple[float, float]:
    first, second = (both + wins) / rows, (both + losses) / rows
    one, two = wilson(both + wins, rows, sampling), wilson(both + losses, rows, sampling)
    assert one is not None
    assert two is not None
    neither = rows - both - wins - losses
    below = math.sqrt(float(both + wins) * (losses + neither) * (both + losses) * (wins + neither))
    above = float(both * neither - wins * losses)
    above = max(above - rows / 2, 0.0) if above > 0 else above
    return limits_of_difference((first, one), (second, two), above / below if below else 0.0)


def limits_of_difference(
    first: tuple[float, Interval], second: tuple[float, Interval], phi: float
) -> tuple[float, float]:
    """Return between which values the difference of two figures lies, each given with its interval.

    `phi` is the correlation of the right rows of both (Zou and Donner 2008, Statistics in Medicine 27).
    """
    (one, of_one), (two, of_two) = first, second

    def half(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))

    low = one - two - half(one - of_one.low, of_two.high - two)
    return low, one - two + half(of_one.high - one, two - of_two.low)


@dataclass(frozen=True, slots=True)
class Resampled:
    """The difference between two models, its interval, and the differences with answers swapped."""

    difference: float
    interval: Interval | None
    swapped: Floats

    def comparison(self, rows: int, by_row: Floats | None = None) -> Comparison:
        """Return the comparison; `by_row` are the differences of rows, if there are any."""
        # Resamples of a figure that is at its edge may all be on one side of it.
        low, high = (
            (None, None)
            if self.interval is None
            else (min(self.interval.low, self.difference), max(self.interval.high, self.difference))
        )
        trials = self.swapped[np.isfinite(self.swapped)]
        further = int((np.abs(trials) >= abs(self.difference) - 1e-12).sum())
        wins = losses = None
        if by_row is not None:
            wins, losses = int((by_row > 0).sum()), int((by_row < 0).sum())
        p_value = (further + 1) / (len(trials) + 1)
        return Comparison(
            self.difference, low, high, p_value, "randomization", rows, wins=wins, losses=losses
        )


def resample_sums(
    model: Floats,
    baseline: Floats,
    figure: Callable[[Floats], Floats],
    sampling: Sampling,
    clusters: npt.NDArray[np.intp] | None = None,
) -> Resampled:
    """Return the differences of a figure of the sums of rows, both `(n, s)`; `figure` takes `(r, s)`."""
    width = model.shape[1]

    def difference(sums: Floats) -> Floats:
        return figure(sums[:, :width]) - figure(sums[:, width:])

    rows = np.hstack([model, baseline])
    units = units_of(rows, clusters, seed=sampling.seed)
    total, apart = units.sum(0), units[:, :width] - units[:, width:]
    generator, swapped = sampling.generator, []
    for size in blocks(len(units), sampling):
        moved = generator.integers(2, size=(size, len(units))).astype(float) @ apart
        swapped.append(difference(np.hstack([total[:width] - moved, total[width:] + moved])))
    return Resampled(
        float(difference(total[None])[0]),
        interval_of_sums(rows, difference, None, sampling, clusters),
        np.concatenate(swapped),
    )


def resample_ranks(
    one: Floats, two: Floats, gold: Floats, sampling: Sampling, clusters: npt.NDArray[np.intp] | None = None
) -> Resampled:
    """Return the differences of rank correlations of two models with the labels; ranks are swapped."""
    codes = [codes_of(each) for each in (one, two, gold)]

    def difference(at: npt.NDArray[np.intp]) -> float:
        first, second, right = (average_ranks(each[at]) for each in codes)
        return pearson(first, right) - pearson(second, right)

    first, second, right = map(average_ranks, codes)
    generator, swapped = sampling.generator, []
    own = np.arange(len(gold)) if clusters is None else clusters
    for _ in range(sampling.resamples):
        kept = generator.integers(2, size=own.max() + 1, dtype=bool)[own]
        ranks = np.where(kept, first, second), np.where(kept, second, first)
        swapped.append(pearson(ranks[0], right) - pearson(ranks[1], right))
    found = interval_of_rows(len(gold), difference, None, sampling, clusters)
    return Resampled(difference(np.arange(len(gold))), found, np.array(swapped))


def resample_cells(
    cells: npt.NDArray[np.intp],
    shape: tuple[int, int],
    figure: Callable[[npt.NDArray[np.intp]], Floats],
    sampling: Sampling,
) -> Resampled:
    """Return the differences of a figure of counts, from the cells of each row: `(n, 2)` of both models.

    `figure` takes counts of this shape, many at once. The cost does not depend on the number of rows, but on
    how many different pairs of cells there are.
    """
    pairs, counts = np.unique(cells, axis=0, return_counts=True)
    size, generator = shape[0] * shape[1], sampling.generator

    def difference(weights: npt.NDArray[np.intp], other: npt.NDArray[np.intp]) -> Floats:
        """Return those of counts in the cells of one model, and of the other: the rest is swapped."""
        found = []
        for first, second in ((weights, other), (other, weights)):
            both = [
                np.bincount(pairs[:, 0], one, size) + np.bincount(pairs[:, 1], two, size)
                for one, two in zip(first, second, strict=True)
            ]
            found.append(figure(np.rint(both).astype(np.intp).reshape(-1, *shape)))
        return found[0] - found[1]

    none = np.zeros((1, len(counts)), dtype=np.intp)
    resampled, swapped = [], []
    for block in blocks(max(len(counts), size), sampling):
        drawn = generator.multinomial(counts.sum(), counts / counts.sum(), block)
        resampled.append(difference(drawn, np.zeros_like(drawn)))
        kept = generator.binomial(counts, 0.5, (block, len(counts)))
        swapped.append(difference(kept, counts - kept))
    real = float(difference(counts[None], none)[0])
    found = percentiles(np.concatenate(resampled), sampling, len(cells))
    return Resampled(real, found, np.concatenate(swapped))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that are corrected for their number (Holm 1979), in the same order."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, most = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        most = max(most, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = most
    return corrected


def with_holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Return the comparisons with p-values that are corrected for their number."""
    corrected = holm([each.p_value for each in comparisons])
    return [replace(each, p_holm=p) for each, p in zip(comparisons, corrected, strict=True)]


def detectable_difference(rows: int, variance: float) -> float:
    """Return the smallest difference that four of five sets of paired rows show, with a p-value of 0.05.

    `variance` is that of the difference by row about 0: of right and wrong rows, the share on which only one
    model is right. The difference is never more than this share, so it is at least what can be shown if the
    same model is right on all of them. McNemar's test shows nothing in fewer than 6 rows.
    """
    if rows < FEWEST_ROWS:
        return math.inf
    z = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)
    variance = max(variance, z * z / (rows + z * z))
    return z * math.sqrt(variance / (rows + z * z))
