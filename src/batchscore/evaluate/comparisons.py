"""How do the figures of two models differ on the same rows, and which difference could these show?

It joins metrics and statistics. It knows no files.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from batchscore.evaluate.figures import (
    MOST_RANKED,
    MOST_RESAMPLED_LABELS,
    FigureOptions,
    clusters_of,
    confusion_of,
    has_worst,
    mean_of,
    right_of,
    sums_of,
)
from batchscore.evaluate.judges import Reading
from batchscore.evaluate.measure import ModelRows
from batchscore.evaluate.metrics import classification, numbers, vectors
from batchscore.evaluate.statistics.cells import interval_of_cells
from batchscore.evaluate.statistics.compare import (
    Comparison,
    compare_right,
    detectable_difference,
    limits_of_difference,
    resample_cells,
    resample_ranks,
    resample_sums,
)
from batchscore.evaluate.statistics.intervals import Sampling

#: The share of rows that two models of a kind answer differently, if only one is measured.
USUAL_DISCORDANCE = 0.1


def compare(
    name: str, model: ModelRows, baseline: ModelRows, reading: Reading, options: FigureOptions
) -> Comparison | None:
    """Return how a model differs from the baseline on the same rows.

    `None` if that cannot be tested, or if the figure of one is not defined, or not known since other vectors
    are missing. Rows that are not answered have the worst answer. If there is none, they are left out for
    both.
    """
    if not (model.counts.others_known and baseline.counts.others_known):
        return None
    found = _compare(name, model, baseline, reading, options)
    if found is None or not math.isfinite(found.difference):
        return None
    return found.agreeing(options.sampling.confidence)


def _compare(
    name: str, model: ModelRows, baseline: ModelRows, reading: Reading, options: FigureOptions
) -> Comparison | None:
    sampling, rows = options.sampling, len(model)
    if options.exclude or not all(has_worst(name, each, reading) for each in (model, baseline)):
        both = np.flatnonzero(model.answered & baseline.answered)
        model, baseline, rows = model.choose(both), baseline.choose(both), len(both)
    clusters = clusters_of(model, options)
    units = rows if clusters is None else len(np.unique(clusters))
    if units < 2 and not (rows and name == "accuracy" and clusters is None and reading.task.has_classes):
        return None
    if rows == 0 or name in vectors.CLUSTER_FIGURES or (reading.task.kind == "probe" and name != "accuracy"):
        return None
    with np.errstate(all="ignore"):
        if reading.task.has_classes:
            one, two = right_of(model, reading), right_of(baseline, reading)
            if name == "accuracy" and clusters is None:
                return compare_right(one, two, sampling)
            if name == "accuracy":
                sums = [np.stack([each, np.ones(rows)], axis=1) for each in (one, two)]
                return resample_sums(sums[0], sums[1], mean_of, sampling, clusters).comparison(
                    rows, one - two
                )
            if clusters is not None or len(reading.labels.names) > MOST_RESAMPLED_LABELS:
                return None
            if not classification.is_defined(name, confusion_of(model, reading)):
                return None
            assert model.cells is not None
            assert baseline.cells is not None
            shape = (len(reading.labels.names), len(reading.labels.names) + 1)
            cells = np.stack([model.cells, baseline.cells], axis=1)
            compared = resample_cells(cells, shape, classification.FIGURES[name], sampling)
            counts = confusion_of(model, reading), confusion_of(baseline, reading)
            phi = float(np.corrcoef(one, two)[0, 1])
            return _as_wide_as_both(compared.comparison(rows, one - two), name, counts, phi, sampling)
        if name in numbers.RANKED:
            if rows > MOST_RANKED:
                return None
            (one, gold), (two, _) = model.tables["pairs"].T, baseline.tables["pairs"].T
            return resample_ranks(one, two, gold, sampling, clusters).comparison(rows)
        (table, figure), (other, _) = sums_of(name, model), sums_of(name, baseline)
        by_row = table[:, 0] - other[:, 0] if figure is mean_of else None
        return resample_sums(table, other, figure, sampling, clusters).comparison(rows, by_row)


def _as_wide_as_both(
    compared: Comparison,
    name: str,
    counts: tuple[classification.Counts, classification.Counts],
    phi: float,
    sampling: Sampling,
) -> Comparison:
    """Return a comparison of class figures whose interval allows for those of both models.

    If nearly all rows of a model are right, or wrong, so are those of its resamples.
    """
    figure = classification.FIGURES[name]
    own = [interval_of_cells(each, figure, sampling) for each in counts]
    if compared.low is None or compared.high is None or own[0] is None or own[1] is None:
        return replace(compared, low=None, high=None)
    one, two = (float(figure(each[None])[0]) for each in counts)
    low, high = limits_of_difference((one, own[0]), (two, own[1]), phi if math.isfinite(phi) else 0.0)
    return replace(compared, low=min(compared.low, low), high=max(compared.high, high))


def detectable(
    name: str, other: ModelRows | None, baseline: ModelRows, reading: Reading, options: FigureOptions
) -> float | None:
    """Return the smallest difference that the rows which count can show, infinite if they are too few.

    `None` if that is not known, or if rows say nothing by themselves.
    """
    model = baseline if other is None else other
    if options.exclude:
        counted = np.flatnonzero(baseline.answered & model.answered)
        baseline, model = baseline.choose(counted), model.choose(counted)
    if not (model.counts.others_known and baseline.counts.others_known):
        return None
    return _detectable(name, model, None if other is None else baseline, reading) if len(model) else None


def _detectable(name: str, model: ModelRows, baseline: ModelRows | None, reading: Reading) -> float | None:
    if reading.task.has_classes:
        if baseline is None:
            found = detectable_difference(len(model), USUAL_DISCORDANCE)
            return found if found <= USUAL_DISCORDANCE else math.inf
        apart = right_of(model, reading) - right_of(baseline, reading)
        return detectable_difference(len(model), float((apart**2).mean()))
    if baseline is None or reading.task.kind in {"numbers", "pairs", "clusters"}:
        return None
    (table, figure), (other, _) = sums_of(name, model), sums_of(name, baseline)
    if figure is not mean_of:
        return None
    return detectable_difference(len(model), float(((table[:, 0] - other[:, 0]) ** 2).mean()))
