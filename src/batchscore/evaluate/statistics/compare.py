"""Do two models differ on the same rows, by how much, and what could this set show?

Right and wrong: McNemar's test and Newcombe's interval. All else: a paired bootstrap of the difference. It
does not know what figures mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from batchscore.evaluate.statistics.intervals import Floats, Sampling, percentiles, wilson

#: Below this many rows on which only one model is right, the exact binomial test is used.
FEW_DISCORDANT = 25


@dataclass(frozen=True, slots=True)
class Comparison:
    """The difference of a figure between a model and the baseline, on `rows` that both were given.

    `p_value` is two-sided; `p_holm` the same, corrected for all models that are compared. `wins` are rows on
    which the model is better, `losses` those on which the baseline is.
    """

    difference: float
    low: float
    high: float
    p_value: float
    method: str
    rows: int
    wins: int = 0
    losses: int = 0
    p_holm: float | None = None

    @property
    def ties(self) -> int:
        """Rows on which both are the same."""
        return self.rows - self.wins - self.losses


def mcnemar(wins: int, losses: int) -> float:
    """Return the p-value for the rows on which just one of two models is right."""
    discordant = wins + losses
    if discordant == 0:
        return 1.0
    if discordant < FEW_DISCORDANT:
        tail = sum(math.comb(discordant, k) for k in range(min(wins, losses) + 1)) / 2**discordant
        return min(1.0, 2 * tail)
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
    above = both * neither - wins * losses
    above = max(above - rows / 2, 0) if above > 0 else above
    phi = above / below if below else 0.0

    def half(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))

    difference = first - second
    low = difference - half(first - one.low, two.high - second)
    return low, difference + half(one.high - first, second - two.low)


def compare_resampled(
    difference: float, resampled: Floats, sampling: Sampling, *, rows: int, by_row: Floats | None = None
) -> Comparison:
    """Return the comparison whose differences were resampled.

    The p-value is the share of resampled differences that are as far from their mean as the real one is from
    0, as sacrebleu computes it (after Koehn 2004, and Riezler and Maxwell 2005). `by_row` are differences by
    row, if there are any.
    """
    resampled = resampled[np.isfinite(resampled)]
    found = percentiles(resampled, sampling)
    if found is None:
        return Comparison(difference, difference, difference, 1.0, "paired_bootstrap", rows)
    further = int((np.abs(resampled - resampled.mean()) >= abs(difference) - 1e-15).sum())
    wins = losses = 0
    if by_row is not None:
        wins, losses = int((by_row > 0).sum()), int((by_row < 0).sum())
    p_value = 1.0 if difference == 0 else (further + 1) / (len(resampled) + 1)
    return Comparison(
        difference, found.low, found.high, p_value, "paired_bootstrap", rows, wins=wins, losses=losses
    )


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


def detectable_difference(rows: int, variance: float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """Return the smallest difference that a set of paired rows shows with this power.

    `variance` is that of the difference by row about 0: of right and wrong rows, the share that changes
    sides.
    """
    if rows <= 0:
        return math.inf
    z = NormalDist().inv_cdf(1 - alpha / 2) + NormalDist().inv_cdf(power)
    return z * math.sqrt(variance / (rows + z * z))
