"""Which figures do the rows of a model have, and how sure are they?

It joins metrics and statistics. A figure is over all labelled rows; that of the answered rows, and how many
these are, is always beside it. A row without an answer counts as the worst answer that it could have had, so
a figure is never better because rows failed. Where there is no worst answer, as of an error that may be of
any size, the figure over all rows is not known. Nor is any if documents, or rows to learn from, have no
vector. It knows no files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from batchscore.errors import UsageError
from batchscore.evaluate.judges import Reading
from batchscore.evaluate.measure import ModelRows
from batchscore.evaluate.metrics import classification, numbers, translation, vectors
from batchscore.evaluate.statistics.cells import interval_of_cells, interval_of_clustered_cells
from batchscore.evaluate.statistics.intervals import (
    PEARSON,
    PERCENT,
    R2,
    RATE,
    SIGNED,
    SPEARMAN,
    Bounds,
    Floats,
    Interval,
    Sampling,
    Scale,
    along_curve,
    interval_of_rows,
    interval_of_sums,
    wilson,
)
from batchscore.evaluate.statistics.mean_errors import bootstrap_errors
from batchscore.evaluate.tasks import ERRORS

#: Of more rows than this, ranks are not computed again for each resample.
MOST_RANKED = 20_000

#: With more labels than this, resamples of their counts would take many minutes.
MOST_RESAMPLED_LABELS = 500

#: How many labels are named in an error.
_MOST_NAMED = 5

#: If a value occurs in this share of the rows, resamples of the others vary much.
_MOSTLY_SAME = 0.4

#: Fewer rows that differ from all others say nothing about how others would.
FEWEST_DIFFERENT = 4

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

    @property
    def leaves_out(self) -> bool:
        """Whether rows without an answer do not count in what is known of it."""
        return self.unanswered in {"withheld", "excluded"}


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
            if name == "quadratic_kappa" and reading.task.has_classes:
                advice = "Use cohen_kappa."
                if reading.task.kind == "labels":
                    advice = (
                        "Name all labels from the lowest to the highest, such as --labels low,medium,high, "
                        "or use cohen_kappa."
                    )
                raise UsageError(
                    "quadratic_kappa is for labels that have an order, and these are no numbers: "
                    f"{', '.join(reading.labels.names[:_MOST_NAMED])}. {advice}"
                )
            raise UsageError(
                f"{reading.task.name} has no metric {name!r}. Its metrics are: {', '.join(known)}"
                + (", and others at such depths." if reading.task.kind == "ranking" else ".")
                + f" {reading.unsure}".rstrip()
            )


def names_of(reading: Reading, tables: Mapping[str, object]) -> list[str]:
    """Return the names of all figures of a task."""
    if reading.task.has_classes:
        ordered = reading.labels.is_ordered
        return [name for name in classification.FIGURES if ordered or name != "quadratic_kappa"]
    if reading.task.kind == "numbers":
        own = [name for name in numbers.FIGURES if not name.startswith("cosine")]
        return [*own, "spearman_correlation"]
    return list(reading.task.shown) if reading.task.kind in {"pairs", "clusters"} else list(tables)


def figure_of(name: str, rows: ModelRows, reading: Reading, options: FigureOptions) -> Figure:
    """Return one figure of a model."""
    answered = rows.answered
    only = rows.choose(np.flatnonzero(answered))
    counted = only if options.exclude else rows
    of_answered = value_of(name, only, reading) if rows.counts.others_known else None
    unanswered = _unanswered(name, rows, reading, options)
    value = None
    if unanswered != "withheld":
        value = of_answered if counted is only else value_of(name, counted, reading)
    interval = _interval(name, counted, reading, options) if value is not None else None
    if interval is not None and interval.low == interval.high:
        interval = None  # a figure that can have no other value says nothing
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
    if not rows.counts.others_known:
        return "withheld"
    if options.exclude:
        return "none" if whole else "excluded"
    if not has_worst(name, rows, reading):
        return "withheld"
    return "none" if whole else "worst"


def has_worst(name: str, rows: ModelRows, reading: Reading) -> bool:
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


def value_of(name: str, rows: ModelRows, reading: Reading) -> float | None:
    """Return the value of a figure of these rows; `None` if it is not defined."""
    if not len(rows):
        return None
    with np.errstate(all="ignore"):
        if reading.task.has_classes:
            counts = confusion_of(rows, reading)
            if not classification.is_defined(name, counts):
                return None
            found = float(classification.FIGURES[name](counts))
        elif reading.task.kind == "probe" and name == "f1_score_macro":
            found = _mean_macro_f1(rows.tables[name], len(reading.labels.names))
        elif reading.task.kind == "clusters":
            table = rows.tables["clusters"]
            labels, data = table[:, 0].astype(np.intp), table[:, 1:].astype(np.float32)
            found = float(np.mean(vectors.cluster_scores(name, data, labels)))
        elif name in numbers.RANKED:
            found = numbers.spearman(*rows.tables["pairs"].T)
        else:
            table, figure = sums_of(name, rows)
            found = float(figure(table.sum(0)[None])[0])
    return found if np.isfinite(found) else None


def sums_of(name: str, rows: ModelRows) -> tuple[Floats, Callable[[Floats], Floats]]:
    """Return what a figure is the sum of, row by row, and how it is made from the sums."""
    if name in numbers.FIGURES:
        return numbers.columns_of(*rows.tables["pairs"].T), numbers.FIGURES[name]
    if name in translation.NAMES:
        return rows.tables[name], translation.figure_of(translation.metric_named(name))
    return rows.tables[name], _OF_COUNTS.get(name, mean_of)


def _mean_macro_f1(cells: Floats, classes: int) -> float:
    """Return the mean over experiments; `cells` have the label, then the prediction of each experiment."""
    gold, predicted = cells[:, 0].astype(np.intp), cells[:, 1:].astype(np.intp).T
    matrices = [classification.confusion_matrix(gold, each, classes) for each in predicted]
    return float(classification.FIGURES["f1_score_macro"](np.stack(matrices)).mean())


def mean_of(sums: Floats) -> Floats:
    """Return the means of sums and numbers of rows."""
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
        return right_of(rows, reading)
    if kind == "clusters" or (kind == "probe" and name != "accuracy"):
        return None
    with np.errstate(all="ignore"):
        if kind in {"pairs", "numbers"}:
            one, two = rows.tables["pairs"].T
            if kind == "pairs" and rows.answered.any():
                one, two = ((each - np.nanmean(each)) / np.nanstd(each) for each in (one, two))
            return np.asarray(-np.abs(one - two))
        table, figure = sums_of("f1_score_samples" if kind == "entities" else name, rows)
        return figure(table)


def right_rows(rows: ModelRows, reading: Reading) -> float | None:
    """Return how many rows are right; `None` if a row of this task is neither right nor wrong."""
    if reading.task.has_classes:
        return float(right_of(rows, reading).sum())
    name = {"answers": "exact_match", "probe": "accuracy"}.get(reading.task.kind)
    return None if name is None else float(rows.tables[name][:, 0].sum())


def right_of(rows: ModelRows, reading: Reading) -> Floats:
    """Return 1 for each right row."""
    assert rows.cells is not None
    classes = len(reading.labels.names) + 1
    return np.asarray(rows.cells // classes == rows.cells % classes, dtype=float)


def clusters_of(rows: ModelRows, options: FigureOptions) -> npt.NDArray[np.intp] | None:
    """Return the numbers of the clusters of rows, each of which has rows."""
    if options.cluster is None:
        return None
    return np.asarray(np.unique(rows.groups[options.cluster], return_inverse=True)[1], dtype=np.intp)


def _interval(name: str, rows: ModelRows, reading: Reading, options: FigureOptions) -> Interval | None:
    sampling = options.sampling
    clusters = clusters_of(rows, options)
    with np.errstate(all="ignore"):
        if reading.task.has_classes:
            return _class_interval(name, rows, reading, clusters, sampling)
        if reading.task.kind == "clusters":
            return None  # clustering again for each resample would take hours
        if name in numbers.RANKED:
            return _spearman_interval(rows.tables["pairs"], sampling, clusters)
        if reading.task.kind == "probe" and name == "f1_score_macro":
            cells, classes = rows.tables[name], len(reading.labels.names)
            if len(cells) > MOST_RANKED:
                return None
            return interval_of_rows(
                len(cells), lambda at: _mean_macro_f1(cells[at], classes), RATE, sampling, clusters
            )
        if name in numbers.FIGURES:
            return interval_of_numbers(name, rows.tables["pairs"], sampling, clusters)
        table, figure = sums_of(name, rows)
        if figure is mean_of and clusters is None and np.isin(table[:, 0], (0, 1)).all():
            return wilson(float(table[:, 0].sum()), len(table), sampling)
        return interval_of_sums(table, figure, _SCALES.get(name, RATE), sampling, clusters)


#: How figures vary that are no shares of 1; errors only if rows are in clusters.
_SCALES: Mapping[str, Bounds | Scale | None] = {
    **dict.fromkeys(ERRORS),
    **dict.fromkeys(("pearson_correlation", "cosine_pearson"), PEARSON),
    **dict.fromkeys(("matthews_correlation", "cohen_kappa"), SIGNED),
    **dict.fromkeys(translation.NAMES, PERCENT),
    "r2_score": R2,
}


def interval_of_numbers(
    name: str, pairs: Floats, sampling: Sampling, clusters: npt.NDArray[np.intp] | None = None
) -> Interval | None:
    """Return the interval of a figure of sums over pairs of an answer and a label.

    `None` if too few answers or labels differ from the others.
    """
    if name in ERRORS and clusters is None:
        return _error_interval(name, pairs, sampling)
    scale = _SCALES[name]
    sides = [np.unique(side, return_counts=True)[1] for side in pairs.T]
    same = max((counts.max() for counts in sides if len(counts) > 2), default=0)
    if scale is not None and len(pairs) - same < FEWEST_DIFFERENT:
        return None
    if scale is PEARSON:
        scale = along_curve(PEARSON, numbers.curve_of(pairs))
    is_studentized = same >= _MOSTLY_SAME * len(pairs)
    columns, figure = numbers.columns_of(*pairs.T), numbers.FIGURES[name]
    return interval_of_sums(columns, figure, scale, sampling, clusters, studentized=is_studentized)


def _class_interval(
    name: str,
    rows: ModelRows,
    reading: Reading,
    clusters: npt.NDArray[np.intp] | None,
    sampling: Sampling,
) -> Interval | None:
    if name == "accuracy":
        right = right_of(rows, reading)
        if clusters is None:
            return wilson(float(right.sum()), len(rows), sampling)
        return interval_of_sums(np.stack([right, np.ones(len(right))], 1), mean_of, RATE, sampling, clusters)
    if len(reading.labels.names) > MOST_RESAMPLED_LABELS:
        return None
    counts, headline = confusion_of(rows, reading), classification.FIGURES[name]
    if clusters is None:
        return interval_of_cells(counts, headline, sampling)
    assert rows.cells is not None
    scale = SIGNED if _SCALES.get(name) is SIGNED else RATE
    return interval_of_clustered_cells(rows.cells, clusters, counts.shape, headline, scale, sampling)


def _error_interval(name: str, pairs: Floats, sampling: Sampling) -> Interval | None:
    off = np.abs(pairs[:, 0] - pairs[:, 1])
    if name == "mean_absolute_error":
        return bootstrap_errors(off, sampling)
    found = bootstrap_errors(off**2, sampling)
    return found and Interval(math.sqrt(found.low), math.sqrt(found.high), found.method)


def _spearman_interval(
    pairs: Floats, sampling: Sampling, clusters: npt.NDArray[np.intp] | None
) -> Interval | None:
    one, two = map(numbers.codes_of, pairs.T)
    if len(pairs) <= MOST_RANKED:
        return interval_of_rows(
            len(pairs), lambda at: numbers.spearman_of_codes(one[at], two[at]), SPEARMAN, sampling, clusters
        )
    if clusters is not None:
        return None
    # Bonett and Wright 2000, Psychometrika 65: the error of Fisher's z of a rank correlation.
    value = numbers.spearman_of_codes(one, two)
    z, half = np.arctanh(value), sampling.z * np.sqrt((1 + value**2 / 2) / (len(pairs) - 3))
    return Interval(float(np.tanh(z - half)), float(np.tanh(z + half)), "fisher_z")
