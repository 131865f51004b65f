"""Which figures do the rows of a model have, how sure are they, and how do two models differ?

It joins metrics and statistics. A figure is over all labelled rows; that of the answered rows, and how many
these are, is always beside it. A row without an answer counts as the worst answer that it could have had, so
a figure is never better because rows failed. Where there is no worst answer, as of an error that may be of
any size, the figure over all rows is not known. It knows no files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from batchscore.errors import UsageError
from batchscore.evaluate.judges import Reading
from batchscore.evaluate.measure import ModelRows
from batchscore.evaluate.metrics import classification, numbers, translation, vectors
from batchscore.evaluate.statistics.compare import (
    Comparison,
    compare_right,
    detectable_difference,
    limits_of_difference,
    resample_cells,
    resample_sums,
)
from batchscore.evaluate.statistics.intervals import (
    MEAN,
    MOST_UNITS,
    ROOTS,
    Floats,
    Interval,
    Sampling,
    bootstrap_clusters,
    bootstrap_errors,
    bootstrap_mean,
    bootstrap_rows,
    bootstrap_sums,
    bootstrap_t,
    interval_of_cells,
    percentiles,
    wilson,
)
from batchscore.evaluate.tasks import ERRORS

#: Of more rows than this, ranks are not computed again for each resample.
_MOST_RANKED = 20_000

#: With more labels than this, resamples of their counts would take many minutes.
_MOST_RESAMPLED_LABELS = 500

#: The share of rows that two models of a kind answer differently, if only one is measured.
USUAL_DISCORDANCE = 0.1


#: How rows without an answer count in a figure: there are `none`, each is the `worst` answer that it could
#: have had, the figure is `withheld` since there is no worst one, or they are `excluded` as the user asked.
Unanswered: TypeAlias = Literal["none", "worst", "withheld", "excluded"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure with its interval: over `rows`, and over those that were `answered`. `None`: not defined."""

    value: float | None
    low: float | None
    high: float | None
    method: str
    rows: int
    of_answered: float | None
    answered: int
    unanswered: Unanswered = "none"


@dataclass(frozen=True, slots=True)
class FigureOptions:
    """How figures are made. `exclude`: the unanswered rows do not count, and every figure says so."""

    sampling: Sampling
    exclude: bool = False
    cluster: str | None = None


def check_names(names: Sequence[str], reading: Reading, available: Mapping[str, object]) -> None:
    """Raise `UsageError` for a figure that this task does not have."""
    known = names_of(reading, available)
    for name in names:
        if name not in known:
            raise UsageError(
                f"{reading.task.name} has no metric {name!r}. Its metrics are: {', '.join(known)}"
                + (", and others at such depths." if reading.task.kind == "ranking" else ".")
            )


def names_of(reading: Reading, tables: Mapping[str, object]) -> list[str]:
    """Return the names of all figures of a task."""
    if reading.task.has_classes:
        return list(classification.FIGURES)
    if reading.task.kind == "numbers":
        own = [name for name in numbers.FIGURES if not name.startswith("cosine")]
        return [*own, "spearman_correlation"]
    return list(reading.task.shown) if reading.task.kind in {"pairs", "clusters"} else list(tables)


def figure_of(name: str, rows: ModelRows, reading: Reading, options: FigureOptions) -> Figure:
    """Return one figure of a model."""
    answered = rows.answered
    only = rows.choose(np.flatnonzero(answered))
    counted = only if options.exclude else rows
    of_answered = _value(name, only, reading)
    unanswered = _unanswered(name, rows, reading, options)
    value = None
    if unanswered != "withheld":
        value = of_answered if counted is only else _value(name, counted, reading)
    interval = _interval(name, counted, reading, options) if value is not None else None
    return Figure(
        value,
        None if interval is None else min(interval.low, value or 0),
        None if interval is None else max(interval.high, value or 0),
        "" if interval is None else interval.method,
        len(counted),
        of_answered,
        int(answered.sum()),
        unanswered,
    )


def _unanswered(name: str, rows: ModelRows, reading: Reading, options: FigureOptions) -> Unanswered:
    whole = bool(rows.answered.all())
    if options.exclude:
        return "none" if whole else "excluded"
    if rows.counts.without_vector or not _has_worst(name, rows, reading):
        return "withheld"
    return "none" if whole else "worst"


def _has_worst(name: str, rows: ModelRows, reading: Reading) -> bool:
    """Whether each of the rows has a value in a figure: an answer, or a worst one in its place."""
    if reading.task.has_classes:
        return True
    kind = reading.task.kind
    table = rows.tables[kind if kind in {"pairs", "clusters"} else "pairs" if kind == "numbers" else name]
    return not np.isnan(table).any()


def confusion_of(rows: ModelRows, reading: Reading) -> npt.NDArray[np.intp]:
    """Return the confusion matrix; its last column is "none of the labels"."""
    assert rows.cells is not None
    classes = len(reading.labels.names)
    counts = np.bincount(rows.cells, minlength=classes * (classes + 1))
    return counts.reshape(classes, classes + 1)


def _value(name: str, rows: ModelRows, reading: Reading) -> float | None:
    if not len(rows):
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        if reading.task.has_classes:
            found = float(classification.FIGURES[name](confusion_of(rows, reading)))
        elif reading.task.kind == "probe" and name == "f1_score_macro":
            found = _mean_macro_f1(rows.tables[name], len(reading.labels.names))
        elif reading.task.kind == "clusters":
            table = rows.tables["clusters"]
            labels, data = table[:, 0].astype(np.intp), table[:, 1:].astype(np.float32)
            found = float(np.mean(vectors.cluster_scores(name, data, labels)))
        elif name in numbers.RANKED:
            found = numbers.spearman(*rows.tables["pairs"].T)
        else:
            table, figure = _sums_of(name, rows)
            found = float(figure(table.sum(0)[None])[0])
    return found if np.isfinite(found) else None


def _sums_of(name: str, rows: ModelRows) -> tuple[Floats, Callable[[Floats], Floats]]:
    """Return what a figure is the sum of, row by row, and how it is made from the sums."""
    if name in numbers.FIGURES:
        return numbers.columns_of(*rows.tables["pairs"].T), numbers.FIGURES[name]
    if name in translation.NAMES:
        return rows.tables[name], translation.figure_of(translation.metric_named(name))
    return rows.tables[name], _OF_COUNTS.get(name, _mean)


def _mean_macro_f1(cells: Floats, classes: int) -> float:
    """Return the mean over experiments; `cells` have the label, then the prediction of each experiment."""
    gold, predicted = cells[:, 0].astype(np.intp), cells[:, 1:].astype(np.intp).T
    matrices = [classification.confusion_matrix(gold, each, classes) for each in predicted]
    return float(classification.FIGURES["f1_score_macro"](np.stack(matrices)).mean())


def _mean(sums: Floats) -> Floats:
    return classification.divide(sums[:, 0], sums[:, 1])


#: Figures of right, found and wanted entities.
_OF_COUNTS: Mapping[str, Callable[[Floats], Floats]] = {
    "f1_score_micro": lambda sums: classification.divide(2 * sums[:, 0], sums[:, 1] + sums[:, 2]),
    "precision": lambda sums: classification.divide(sums[:, 0], sums[:, 1]),
    "recall": lambda sums: classification.divide(sums[:, 0], sums[:, 1]),
}


def row_values(name: str, rows: ModelRows, reading: Reading) -> Floats | None:
    """Return the figure of each row by itself, more is better, NaN without one; `None` if it is of sets."""
    kind = reading.task.kind
    if reading.task.has_classes:
        return _right(rows, reading)
    if kind == "clusters" or (kind == "probe" and name != "accuracy"):
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        if kind in {"pairs", "numbers"}:
            one, two = rows.tables["pairs"].T
            if kind == "pairs" and rows.answered.any():
                one, two = ((each - np.nanmean(each)) / np.nanstd(each) for each in (one, two))
            return np.asarray(-np.abs(one - two))
        table, figure = _sums_of("f1_score_samples" if kind == "entities" else name, rows)
        return figure(table)


def right_rows(rows: ModelRows, reading: Reading) -> float | None:
    """Return how many rows are right; `None` if a row of this task is neither right nor wrong."""
    if reading.task.has_classes:
        return float(_right(rows, reading).sum())
    name = {"answers": "exact_match", "probe": "accuracy"}.get(reading.task.kind)
    return None if name is None else float(rows.tables[name][:, 0].sum())


def _right(rows: ModelRows, reading: Reading) -> Floats:
    """Return 1 for each right row."""
    assert rows.cells is not None
    classes = len(reading.labels.names) + 1
    return np.asarray(rows.cells // classes == rows.cells % classes, dtype=float)


def _clusters(rows: ModelRows, options: FigureOptions) -> npt.NDArray[np.intp] | None:
    """Return the numbers of the clusters of rows, each of which has rows."""
    if options.cluster is None:
        return None
    return np.asarray(np.unique(rows.groups[options.cluster], return_inverse=True)[1], dtype=np.intp)


def _interval(name: str, rows: ModelRows, reading: Reading, options: FigureOptions) -> Interval | None:
    sampling = options.sampling
    clusters = _clusters(rows, options)
    units = len(rows) if clusters is None else int(clusters.max(initial=-1)) + 1
    method = "bootstrap" if clusters is None else "cluster_bootstrap"
    with np.errstate(invalid="ignore", divide="ignore"):
        if reading.task.has_classes:
            if name == "accuracy" and clusters is None:
                return wilson(float(_right(rows, reading).sum()), len(rows), sampling)
            if len(reading.labels.names) > _MOST_RESAMPLED_LABELS:
                right = _right(rows, reading)
                return bootstrap_mean(right, sampling, clusters) if name == "accuracy" else None
            counts, headline = confusion_of(rows, reading), classification.FIGURES[name]
            if clusters is None:
                return interval_of_cells(counts, headline, sampling)
            assert rows.cells is not None
            found = bootstrap_clusters(rows.cells, clusters, counts.shape, headline, sampling)
            return percentiles(found, sampling, units, method)
        if reading.task.kind == "clusters":
            return None  # clustering again for each resample would take hours
        if name in numbers.RANKED:
            return _spearman_interval(rows.tables["pairs"], sampling)
        if reading.task.kind == "probe" and name == "f1_score_macro":
            cells, classes = rows.tables[name], len(reading.labels.names)
            if len(cells) > _MOST_RANKED:
                return None
            figures = bootstrap_rows(len(cells), lambda at: _mean_macro_f1(cells[at], classes), sampling)
            return percentiles(figures, sampling, len(cells))
        if name in ERRORS and clusters is None:
            return _error_interval(name, rows.tables["pairs"], sampling)
        table, figure = _sums_of(name, rows)
        if figure is _mean and clusters is None and np.isin(table[:, 0], (0, 1)).all():
            return wilson(float(table[:, 0].sum()), len(table), sampling)
        if figure is _mean:
            return bootstrap_mean(table[:, 0], sampling, clusters)
        return percentiles(bootstrap_sums(table, figure, sampling, clusters), sampling, units, method)


def _error_interval(name: str, pairs: Floats, sampling: Sampling) -> Interval | None:
    off = np.abs(pairs[:, 0] - pairs[:, 1])
    if name == "mean_absolute_error":
        return bootstrap_errors(off, sampling)
    found = bootstrap_errors(off**2, sampling)
    return found and Interval(math.sqrt(found.low), math.sqrt(found.high), found.method)


def _difference_interval(name: str, table: Floats, other: Floats, sampling: Sampling) -> Interval | None:
    """Return the interval of the difference of two mean errors or scores on the same rows."""
    if name == "root_mean_squared_error":
        return bootstrap_t(np.stack([table[:, 7], other[:, 7]], axis=1), ROOTS, sampling, by_kurtosis=True)
    column = 6 if name == "mean_absolute_error" else 0
    return bootstrap_t((table - other)[:, [column]], MEAN, sampling, by_kurtosis=True)


def _spearman_interval(pairs: Floats, sampling: Sampling) -> Interval | None:
    one, two = pairs.T
    if len(pairs) <= _MOST_RANKED:
        found = bootstrap_rows(
            len(pairs), lambda places: numbers.spearman(one[places], two[places]), sampling
        )
        return percentiles(found, sampling, len(pairs))
    # Bonett and Wright 2000, Psychometrika 65: the error of Fisher's z of a rank correlation.
    value = numbers.spearman(one, two)
    z, half = np.arctanh(value), sampling.z * np.sqrt((1 + value**2 / 2) / (len(pairs) - 3))
    return Interval(float(np.tanh(z - half)), float(np.tanh(z + half)), "fisher_z")


def compare(
    name: str, model: ModelRows, baseline: ModelRows, reading: Reading, options: FigureOptions
) -> Comparison | None:
    """Return how a model differs from the baseline on the same rows; `None` if that cannot be tested.

    Rows that are not answered have the worst answer. If there is none, they are left out for both.
    """
    sampling, rows = options.sampling, len(model)
    if options.exclude or not all(_has_worst(name, each, reading) for each in (model, baseline)):
        both = np.flatnonzero(model.answered & baseline.answered)
        model, baseline, rows = model.choose(both), baseline.choose(both), len(both)
    clusters = _clusters(model, options)
    units = rows if clusters is None else len(np.unique(clusters))
    if units < 2 and not (rows and name == "accuracy" and clusters is None and reading.task.has_classes):
        return None
    if (
        rows == 0
        or name in {*numbers.RANKED, *vectors.CLUSTER_FIGURES}
        or (reading.task.kind == "probe" and name != "accuracy")
    ):
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        if reading.task.has_classes:
            one, two = _right(model, reading), _right(baseline, reading)
            if name == "accuracy" and clusters is None:
                return compare_right(one, two, sampling)
            if name == "accuracy":
                sums = [np.stack([each, np.ones(rows)], axis=1) for each in (one, two)]
                found = resample_sums(sums[0], sums[1], _mean, sampling, clusters)
                return found.comparison(sampling, rows, one - two)
            if clusters is not None or len(reading.labels.names) > _MOST_RESAMPLED_LABELS:
                return None
            assert model.cells is not None
            assert baseline.cells is not None
            shape = (len(reading.labels.names), len(reading.labels.names) + 1)
            cells = np.stack([model.cells, baseline.cells], axis=1)
            compared = resample_cells(cells, shape, classification.FIGURES[name], sampling).comparison(
                sampling, rows, one - two
            )
            counts = confusion_of(model, reading), confusion_of(baseline, reading)
            return _as_wide_as_both(compared, name, counts, float(np.corrcoef(one, two)[0, 1]), sampling)
        (table, figure), (other, _) = _sums_of(name, model), _sums_of(name, baseline)
        by_row = table[:, 0] - other[:, 0] if figure is _mean else None
        compared = resample_sums(table, other, figure, sampling, clusters).comparison(sampling, rows, by_row)
        if clusters is None and rows <= MOST_UNITS and (figure is _mean or name in ERRORS):
            interval = _difference_interval(name, table, other, sampling)
            low, high = (None, None) if interval is None else (interval.low, interval.high)
            return replace(compared, low=low, high=high)
        return compared


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


def detectable(name: str, model: ModelRows, baseline: ModelRows | None, reading: Reading) -> float | None:
    """Return the smallest difference that these rows can show, infinite if they are too few.

    `None` if rows say nothing by themselves.
    """
    if reading.task.has_classes:
        if baseline is None:
            found = detectable_difference(len(model), USUAL_DISCORDANCE)
            return found if found <= USUAL_DISCORDANCE else math.inf
        apart = _right(model, reading) - _right(baseline, reading)
        return detectable_difference(len(model), float((apart**2).mean()))
    if baseline is None or reading.task.kind in {"numbers", "pairs", "clusters"}:
        return None
    (table, figure), (other, _) = _sums_of(name, model), _sums_of(name, baseline)
    if figure is not _mean:
        return None
    return detectable_difference(len(model), float(((table[:, 0] - other[:, 0]) ** 2).mean()))
