"""Between which values does a mean of errors lie, which are 0 or more and mostly small?

It knows no metrics.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from batchscore.evaluate.statistics.intervals import (
    MOST_UNITS,
    Floats,
    Interval,
    Sampling,
    blocks,
    bootstrap_t,
    interval_of_sums,
    tail_of,
)

#: Errors whose logarithms are further apart than this say nothing about how large others may be.
_WIDEST_SPREAD = 3.0


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
    high, generator, ratios = found.high, sampling.generator, []
    if spread:
        for size in blocks(len(values), sampling):
            drawn = np.exp(spread * generator.standard_normal((size, len(values))))
            ratios.append((np.exp(spread**2 / 2) - drawn.mean(1)) / drawn.std(1))
        outer = np.quantile(np.concatenate(ratios), 1 - tail_of(len(values), sampling))
        high = max(high, float(values.mean() + values.std() * outer))
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
