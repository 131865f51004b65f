"""Intervals cover what they say, and comparisons equal those of scipy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.evaluate.figures import interval_of_numbers
from batchscore.evaluate.metrics import numbers, translation
from batchscore.evaluate.metrics.classification import FIGURES, divide
from batchscore.evaluate.statistics.cells import (
    bootstrap_cells,
    interval_of_cells,
    interval_of_clustered_cells,
)
from batchscore.evaluate.statistics.compare import (
    Comparison,
    compare_right,
    detectable_difference,
    holm,
    mcnemar,
    resample_cells,
    resample_ranks,
    resample_sums,
    with_holm,
)
from batchscore.evaluate.statistics.intervals import (
    MOST_UNITS,
    PEARSON,
    PERCENT,
    RATE,
    SPEARMAN,
    Interval,
    Sampling,
    bootstrap_t,
    interval_of_rows,
    interval_of_sums,
    percentiles,
    resampled_sums,
    student,
    units_of,
    wilson,
)
from batchscore.evaluate.statistics.mean_errors import bootstrap_errors

SAMPLING = Sampling(resamples=500)


def test_wilson_intervals() -> None:
    found = wilson(20, 20, Sampling())
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.8389, 1), abs=1e-4)
    assert wilson(0, 0, Sampling()) is None


@pytest.mark.slow
@given(st.integers(1, 1000), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_equals_scipy(total: int, share: float, confidence: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    right = int(total * share)
    expected = stats.binomtest(right, total).proportion_ci(confidence, method="wilson")
    found = wilson(right, total, Sampling(confidence))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_covers_at_twenty_rows() -> None:
    """The chance that the interval holds the true rate; at 0.95 it is 92.5 %, its worst among these."""
    intervals = [wilson(k, 20, Sampling()) for k in range(21)]

    def coverage(rate: float) -> float:
        chances = [math.comb(20, k) * rate**k * (1 - rate) ** (20 - k) for k in range(21)]
        found = zip(chances, intervals, strict=True)
        return sum(chance for chance, each in found if each is not None and each.low <= rate <= each.high)

    assert [rate for rate in (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.97) if coverage(rate) < 0.93] == []
    assert np.mean([coverage(rate) for rate in np.linspace(0.5, 0.99, 100)]) >= 0.95


@pytest.mark.slow
@given(st.sampled_from([0.8, 0.9, 0.975, 0.995]), st.integers(3, 200))
def test_quantiles_of_student(share: float, freedom: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert student(share, freedom) == pytest.approx(stats.t.ppf(share, freedom), rel=0.06)


Draw = Callable[[np.random.Generator, int], np.ndarray]


def some_cells(classes: int, right: float) -> Draw:
    """Give counts of rows that are right, or have any of the other answers."""

    def draw(generator: np.random.Generator, rows: int) -> np.ndarray:
        gold = generator.integers(0, classes, rows)
        found = np.where(generator.random(rows) < right, gold, generator.integers(0, classes + 1, rows))
        counts = np.bincount(gold * (classes + 1) + found, minlength=classes * (classes + 1))
        return counts.reshape(classes, classes + 1)

    return draw


def some_scores(perfect: float, wrong: float) -> Draw:
    """Give scores of answers: many are 1, some 0, the others between."""

    def draw(generator: np.random.Generator, rows: int) -> np.ndarray:
        kind, between = generator.random(rows), generator.beta(2, 2, rows)
        return np.where(kind < perfect, 1, np.where(kind < perfect + wrong, 0, between))

    return draw


@pytest.mark.slow
@pytest.mark.parametrize("name", ["f1_score_macro", "balanced_accuracy", "matthews_correlation"])
@pytest.mark.parametrize(("classes", "right"), [(2, 0.6), (2, 0.9), (4, 0.75), (8, 0.8)])
def test_intervals_of_counts_cover_at_twenty_rows(name: str, classes: int, right: float) -> None:
    figure = FIGURES[name]
    generator, draw = np.random.default_rng(12), some_cells(classes, right)
    truth = float(figure(draw(generator, 2_000_000)))
    covered = []
    for _ in range(500):
        found = interval_of_cells(draw(generator, 20), figure, SAMPLING)
        assert found is not None
        covered.append(found.low <= truth <= found.high)
    assert np.mean(covered) >= 0.93


def mean(sums: np.ndarray) -> np.ndarray:
    return sums[:, 0] / sums[:, 1]


def interval_of_scores(
    values: np.ndarray, clusters: np.ndarray | None = None, sampling: Sampling = SAMPLING
) -> Interval:
    """Give the interval of a mean of scores from 0 to 1."""
    found = interval_of_sums(np.stack([values, np.ones(len(values))], 1), mean, RATE, sampling, clusters)
    assert found is not None
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("usual", "share"), [(0.3077, 0.05), (0.5, 0.01), (0.8, 0.1)])
def test_intervals_of_mean_scores_know_of_better_answers(usual: float, share: float) -> None:
    """If nearly all scores are the same, a better one may be rare, and not in the sample at all."""
    generator = np.random.default_rng(18)
    found = [interval_of_scores(np.where(generator.random(20) < share, 1, usual)) for _ in range(200)]
    assert shares(found, usual + (1 - usual) * share)[0] <= 0.07


@pytest.mark.slow
@pytest.mark.parametrize(("perfect", "wrong"), [(0.4, 0.2), (0.8, 0.1), (0.0, 0.0), (0.9, 0.0), (0.05, 0.9)])
def test_intervals_of_mean_scores_cover_at_twenty_rows(perfect: float, wrong: float) -> None:
    generator, draw = np.random.default_rng(13), some_scores(perfect, wrong)
    found = [interval_of_scores(draw(generator, 20)) for _ in range(500)]
    assert shares(found, perfect + (1 - perfect - wrong) / 2)[0] <= 0.07


#: Rows of labels that are about as frequent.
_ALIKE = ([2, 2, 2], [46, 38, 36], [500, 500, 500])


@pytest.mark.parametrize(("right", "found"), [(1, [0, 1, 2]), (0, [1, 2, 0]), (0, [3, 3, 3])])
@pytest.mark.parametrize(
    ("name", "rows"),
    [
        *((name, rows) for name in ("balanced_accuracy", "f1_score_macro") for rows in _ALIKE),
        ("balanced_accuracy", [400, 20, 5]),
    ],
)
def test_no_interval_at_the_edge_is_narrower_than_that_of_accuracy(
    name: str, rows: list[int], right: int, found: list[int]
) -> None:
    """A mean over labels is known less well than the rate of all rows: none, or all, of them are right."""
    counts = np.zeros((3, 4), dtype=int)
    counts[np.arange(3), found] = rows
    ours, of_all = (
        interval_of_cells(counts, FIGURES[name], SAMPLING),
        wilson(right * sum(rows), sum(rows), SAMPLING),
    )
    assert ours is not None
    assert of_all is not None
    assert ours.low <= right <= ours.high
    assert ours.high - ours.low >= 0.99 * (of_all.high - of_all.low)
    if name == "balanced_accuracy" and rows == [46, 38, 36]:
        assert ours.high - ours.low == pytest.approx(0.0513, abs=1e-4)


Errors = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def rare(share: float, power: int = 1) -> Errors:
    """Give errors that most rows do not have."""
    return lambda g, size: np.where(g.random(size) < share, g.exponential(size=size) ** power, 0)


#: Errors with their mean.
ERRORS: dict[str, tuple[Errors, float]] = {
    "normal": (lambda g, size: np.abs(g.normal(size=size)), np.sqrt(2 / np.pi)),
    "uniform": (lambda g, size: g.random(size), 0.5),
    "exponential": (lambda g, size: g.exponential(size=size), 1),
    "squared normal": (lambda g, size: g.normal(size=size) ** 2, 1),
    "log-normal": (lambda g, size: np.exp(g.normal(size=size)), np.exp(0.5)),
    "squared log-normal": (lambda g, size: np.exp(g.normal(size=size) / 2) ** 2, np.exp(0.5)),
    "squared t": (lambda g, size: g.standard_t(3, size) ** 2, 3),
    "squared exponential": (lambda g, size: g.exponential(size=size) ** 2, 2),
    "log-normal, far apart": (lambda g, size: np.exp(2 * g.normal(size=size)), np.exp(2)),
    "1 or 5": (lambda g, size: np.where(g.random(size) < 0.3, 5.0, 1.0), 2.2),
    "40 % of rows": (rare(0.4), 0.4),
    "20 % of rows": (rare(0.2), 0.2),
    "5 % of rows": (rare(0.05), 0.05),
    "5 % of rows, all equal": (lambda g, size: (g.random(size) < 0.05).astype(float), 0.05),
}


#: Errors of which differences are not tested: of some, one row outweighs all others.
LARGE = {
    "uniform",
    "1 or 5",
    "squared log-normal",
    "squared t",
    "squared exponential",
    "log-normal, far apart",
}


def shares(found: list[Any], truth: float) -> tuple[float, float]:
    """Return how many intervals do not hold the truth, and how many are none."""
    none = sum(each is None for each in found)
    wrong = sum(each is not None and not each.low <= truth <= each.high for each in found)
    return wrong / len(found), none / len(found)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [20, 50, 200])
@pytest.mark.parametrize("name", ERRORS)
def test_intervals_of_mean_errors_hold_the_truth(name: str, rows: int) -> None:
    """Wrong are 7 % at most. Rare errors say little of 20 rows: then there is no interval.

    There is also none if the largest errors are so far apart that others may be of any size.
    """
    draw, truth = ERRORS[name]
    generator = np.random.default_rng(14)
    found = [bootstrap_errors(draw(generator, (rows,)), SAMPLING) for _ in range(1000)]
    wrong, none = shares(found, truth)
    assert wrong <= 0.07
    most = {"squared t": 0.2, "squared exponential": 0.2, "log-normal, far apart": 0.3, "1 or 5": 0.2}
    most["squared normal"] = 0.06
    assert none <= most.get(name, 0.01 if "%" not in name else 0.05 if "40" in name else 1)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [20, 50])
@pytest.mark.parametrize("part", [1, 0.5, 0.1])
@pytest.mark.parametrize("name", [name for name in ERRORS if name not in LARGE])
def test_intervals_of_differences_of_mean_errors_hold_the_truth(name: str, part: float, rows: int) -> None:
    """Of two models whose errors do not depend on each other, and are as large or smaller."""
    draw, truth = ERRORS[name]
    generator = np.random.default_rng(15)
    pairs = draw(generator, (2000, 2, rows)) * [[1], [part]]
    few = Sampling(resamples=300)
    found = [bootstrap_t(one - two, few, by_kurtosis=True) for one, two in pairs]
    wrong, none = shares(found, truth * (1 - part))
    assert wrong <= 0.07
    assert none == 0 or "%" in name


@pytest.mark.slow
@pytest.mark.parametrize("part", [1, 0.5])
@pytest.mark.parametrize("name", ["normal", "exponential"])
def test_intervals_of_differences_of_root_mean_squares_hold_the_truth(name: str, part: float) -> None:
    draw, _ = ERRORS[name]
    generator = np.random.default_rng(16)
    squares = (draw(generator, (500, 20, 2)) * [1, part]) ** 2
    truth = np.sqrt(2 if name == "exponential" else 1) * (1 - part)
    assert shares([difference_of_roots(each) for each in squares], truth)[0] <= 0.07


def difference_of_roots(squares: np.ndarray) -> Interval | None:
    def figure(sums: np.ndarray) -> np.ndarray:
        return np.sqrt(sums[:, 0] / sums[:, 2]) - np.sqrt(sums[:, 1] / sums[:, 2])

    return interval_of_sums(np.column_stack([squares, np.ones(len(squares))]), figure, None, SAMPLING)


def test_a_studentized_bootstrap_knows_the_error_of_a_difference_of_roots() -> None:
    """As the delta method does, with the covariance of both."""
    rows = np.random.default_rng(17).gamma(2, size=(1500, 2)) + np.arange(1500)[:, None] % 7
    found = difference_of_roots(rows)
    assert found is not None
    roots = np.sqrt(rows.mean(0))
    error = np.sqrt([0.5, -0.5] / roots @ np.cov(rows.T) @ ([0.5, -0.5] / roots) / 1500)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def normal(correlation: float, *, first: str = "", second: str = "") -> Draw:
    """Give pairs `(2, n)` of normal numbers, or of such that are made from them."""
    made: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "": np.asarray,
        "exp": np.exp,
        "rating": lambda x: np.digitize(x, [-2, -1.5, -1, 0]).astype(float),
        "yes or no": lambda x: (x > 0.3).astype(float),
    }

    def draw(generator: np.random.Generator, rows: int) -> np.ndarray:
        one, two = generator.normal(size=(2, rows))
        two = correlation * one + np.sqrt(1 - correlation**2) * two
        return np.stack([made[first](one), made[second](two)])

    return draw


def proportional(generator: np.random.Generator, rows: int) -> np.ndarray:
    """Give numbers that are found with errors in proportion to them."""
    gold = generator.gamma(2, size=rows)
    return np.stack([gold * (1 + 0.4 * generator.normal(size=rows)), gold])


def mostly_zero(share: float) -> Draw:
    """Give numbers that are found with errors, where this share of the labels is 0."""

    def draw(generator: np.random.Generator, rows: int) -> np.ndarray:
        gold = np.where(generator.random(rows) < share, 0, generator.exponential(size=rows))
        return np.stack([gold + 0.5 * generator.normal(size=rows), gold])

    return draw


def heavy(generator: np.random.Generator, rows: int) -> np.ndarray:
    one, two = generator.standard_t(4, (2, rows))
    return np.stack([one, 0.8 * one + 0.6 * two])


#: Numbers that are found, with those of the labels.
PAIRS: dict[str, Draw] = {
    "unrelated": normal(0),
    "normal": normal(0.8),
    "nearly equal": normal(0.99),
    "log-normal": normal(0.9, first="exp", second="exp"),
    "curved": normal(0.8, second="exp"),
    "ratings": normal(0.7, first="rating", second="rating"),
    "yes or no": normal(0.8, first="yes or no", second="yes or no"),
    "t": heavy,
    "proportional": proportional,
    "60 % are 0": mostly_zero(0.6),
    "80 % are 0": mostly_zero(0.8),
    "90 % are 0": mostly_zero(0.9),
    "more curved": normal(0.95, second="exp"),
    "on a curve": normal(0.99, second="exp"),
}

#: How many samples of 20 or 50 rows at most have no interval, and how many times as wide as percentiles the
#: others are.
NONE = {"60 % are 0": 0.1, "80 % are 0": 0.6, "90 % are 0": 1}
WIDE = {"log-normal": 3, "curved": 4, "more curved": 8, "on a curve": 10}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rows"),
    [
        *((name, 20) for name in PAIRS),
        *product(["normal", "ratings", "yes or no", "more curved"], [50, 200]),
        *product(["60 % are 0", "80 % are 0"], [50]),
        *product(["curved", "on a curve"], [50, 2000]),
    ],
)
@pytest.mark.parametrize("metric", ["pearson_correlation", "r2_score"])
@np.errstate(invalid="ignore", divide="ignore")
def test_intervals_of_numbers_hold_the_truth(metric: str, name: str, rows: int) -> None:
    """They are at most twice as wide as percentiles, unless most rows are the same, or on a curve."""
    figure, generator, draw = numbers.FIGURES[metric], np.random.default_rng(29), PAIRS[name]
    truth = float(figure(numbers.columns_of(*draw(generator, 1_000_000)).sum(0)[None])[0])
    count = 1000 if "are 0" in name else 100 if rows > 1000 else 300
    pairs = [draw(generator, rows) for _ in range(count)]
    found = [interval_of_numbers(metric, each.T, SAMPLING) for each in pairs]
    wrong, none = shares(found, truth)
    assert wrong <= 0.07
    assert none <= NONE.get(name, 0.05)
    samples = [numbers.columns_of(*each) for each in pairs[:100]]
    plain = [
        percentiles(np.concatenate([*map(figure, resampled_sums(each, SAMPLING))]), SAMPLING, rows)
        for each in samples
    ]
    assert "are 0" in name or usual_width(found) <= WIDE.get(name, 2) * usual_width(plain)


@np.errstate(invalid="ignore", divide="ignore")
def test_intervals_hold_the_truth_if_most_labels_are_zero() -> None:
    """Without a bootstrap-t, 18 % of these were wrong."""
    generator, few = np.random.default_rng(30), Sampling(resamples=100)
    samples = [PAIRS["60 % are 0"](generator, 20).T for _ in range(120)]
    found = [interval_of_numbers("r2_score", each, few) for each in samples]
    assert shares(found, 1 - 0.25 / 0.64)[0] <= 0.1


def usual_width(found: Sequence[Interval | None]) -> float:
    return float(np.median([each.high - each.low for each in found if each is not None]))


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRS)
def test_intervals_of_rank_correlations_cover_at_twenty_rows(name: str) -> None:
    generator, draw, few = np.random.default_rng(20), PAIRS[name], Sampling(resamples=100)
    truth = numbers.spearman(*draw(generator, 1_000_000))
    found = []
    for _ in range(200):
        one, two = draw(generator, 20)
        found.append(
            interval_of_rows(20, lambda at, a=one, b=two: numbers.spearman(a[at], b[at]), SPEARMAN, few)
        )
    assert shares(found, truth)[0] <= 0.07


def some_entities(each_row: float, right: float, *, uneven: bool = False) -> Draw:
    """Give numbers of entities: right, found, in the labels. `uneven`: some rows have many, or wrong ones."""

    def draw(generator: np.random.Generator, rows: int) -> np.ndarray:
        many = each_row * (generator.gamma(0.5, 2, rows) if uneven else np.ones(rows))
        wanted = generator.poisson(many)
        chance = generator.beta(3 * right, 3 - 3 * right, rows) if uneven else right
        good = generator.binomial(wanted, chance)
        found = good + generator.binomial(wanted - good, 0.5) + generator.poisson(many * (1 - right) / 2)
        return np.stack([good, found, wanted], axis=1).astype(float)

    return draw


ENTITIES = {
    "usual": some_entities(3, 0.8),
    "nearly right": some_entities(3, 0.97),
    "nearly wrong": some_entities(3, 0.03),
    "few": some_entities(0.3, 0.8),
    "many": some_entities(10, 0.9),
    "uneven": some_entities(3, 0.8, uneven=True),
    "uneven, half right": some_entities(3, 0.5, uneven=True),
}


def micro_f1(sums: np.ndarray) -> np.ndarray:
    return divide(2 * sums[:, 0], sums[:, 1] + sums[:, 2])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rows"), [*((name, 20) for name in ENTITIES), ("usual", 50), ("few", 50)])
@pytest.mark.parametrize("metric", ["f1", "precision", "recall"])
def test_intervals_of_entities_hold_the_truth(metric: str, name: str, rows: int) -> None:
    columns = {"f1": [0, 1, 2], "precision": [0, 1], "recall": [0, 2]}[metric]
    figure: Any = micro_f1 if metric == "f1" else lambda sums: divide(sums[:, 0], sums[:, 1])
    generator, draw = np.random.default_rng(21), ENTITIES[name]
    truth = float(figure(draw(generator, 1_000_000).sum(0)[None, columns])[0])
    samples = [draw(generator, rows)[:, columns] for _ in range(300)]
    wrong, none = shares([interval_of_sums(each, figure, RATE, SAMPLING) for each in samples], truth)
    assert wrong <= 0.07
    assert none <= (0.1 if name == "few" else 0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["usual", "nearly right", "uneven", "uneven, half right"])
def test_intervals_of_differences_of_entities_hold_the_truth(name: str) -> None:
    """Of two models of which one misses 15 % more."""
    generator = np.random.default_rng(22)

    def draw(rows: int) -> tuple[np.ndarray, np.ndarray]:
        model = ENTITIES[name](generator, rows)
        missed = generator.binomial(model[:, 0].astype(int), 0.15)
        return model, model - np.stack([missed, generator.binomial(missed, 0.5), 0 * missed], axis=1)

    one, two = (float(micro_f1(each.sum(0)[None])[0]) for each in draw(1_000_000))
    found = [resample_sums(*draw(20), micro_f1, SAMPLING).interval for _ in range(300)]
    assert shares(found, one - two)[0] <= 0.07


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["pearson_correlation", "r2_score"])
@pytest.mark.parametrize(
    "name", ["normal", "log-normal", "curved", "ratings", "t", "proportional", "60 % are 0"]
)
@np.errstate(invalid="ignore", divide="ignore")
def test_intervals_of_differences_of_numbers_hold_the_truth(metric: str, name: str) -> None:
    figure, generator = numbers.FIGURES[metric], np.random.default_rng(23)
    spread = PAIRS[name](generator, 1_000_000)[1].std()

    def draw(rows: int) -> list[np.ndarray]:
        found, gold = PAIRS[name](generator, rows)
        other = found + 0.5 * spread * generator.normal(size=rows)
        return [numbers.columns_of(each, gold) for each in (found, other)]

    one, two = (float(figure(each.sum(0)[None])[0]) for each in draw(1_000_000))
    found = [resample_sums(*draw(20), figure, SAMPLING).interval for _ in range(300)]
    assert shares(found, one - two)[0] <= 0.07


@pytest.mark.slow
@pytest.mark.parametrize(("model", "baseline"), [("FBK", "LIUM"), ("online_B", "FBK")])
def test_intervals_of_bleu_hold_the_truth(model: str, baseline: str) -> None:
    """Of samples of 20 of WMT17's sentences, whose figure is known."""
    pytest.importorskip("sacrebleu")
    figure, few = translation.figure_of(translation.metric_named("bleu")), Sampling(resamples=200)
    with np.load(Path(__file__).parent / "published" / "wmt17-en-de-bleu.npz") as file:
        counts = [file[name].astype(float) for name in (model, baseline)]
    one, two = (float(figure(each.sum(0)[None])[0]) for each in counts)
    chosen = np.random.default_rng(24).integers(len(counts[0]), size=(200, 20))
    found = [interval_of_sums(counts[0][each], figure, PERCENT, few) for each in chosen]
    assert shares(found, one)[0] <= 0.07
    apart = [resample_sums(*(each[rows] for each in counts), figure, few).interval for rows in chosen[:100]]
    assert shares(apart, one - two)[0] <= 0.07


@pytest.mark.slow
@pytest.mark.parametrize("right", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("alike", [0.1, 0.5])
def test_intervals_cover_with_twenty_clusters(right: float, alike: float) -> None:
    """Of rows that depend on each other: most clusters of a good model are all right."""
    generator, size = np.random.default_rng(25), 1 / alike - 1
    found, of_classes = [], []
    for _ in range(300):
        number = 1 + generator.poisson(4, 20)
        rates = generator.beta(right * size, (1 - right) * size, 20)
        clusters = np.repeat(np.arange(20), number)
        values = (generator.random(len(clusters)) < np.repeat(rates, number)).astype(float)
        found.append(interval_of_scores(values, clusters))
        cells = 4 * (np.arange(len(values)) % 3) + np.where(values, np.arange(len(values)) % 3, 3)
        few = Sampling(resamples=100)
        figure = FIGURES["balanced_accuracy"]
        of_classes.append(interval_of_clustered_cells(cells, clusters, (3, 4), figure, RATE, few))
    assert shares(found, right)[0] <= 0.07
    assert shares(of_classes, right)[0] <= 0.07


@pytest.mark.slow
@pytest.mark.parametrize("name", ["normal", "exponential", "squared normal"])
def test_intervals_of_errors_cover_with_twenty_clusters(name: str) -> None:
    draw, truth = ERRORS[name]
    generator, found = np.random.default_rng(26), []
    for _ in range(300):
        clusters = np.repeat(np.arange(20), 1 + generator.poisson(4, 20))
        values = draw(generator, clusters.shape) * generator.gamma(2, 0.5, 20)[clusters]
        rows = np.stack([values, np.ones(len(values))], axis=1)
        found.append(interval_of_sums(rows, mean, None, SAMPLING, clusters))
    assert shares(found, truth)[0] <= 0.07


def test_a_perfect_figure_has_an_interval() -> None:
    """All entities of 20 rows are right: the true share may be 0.85. A perfect correlation says nothing."""
    rows = np.tile([2.0, 2.0, 2.0], (20, 1))
    found = interval_of_sums(rows, micro_f1, RATE, SAMPLING)
    assert found is not None
    assert found.high == 1
    assert 0.7 < found.low < 0.9
    line = numbers.columns_of(np.arange(20.0), np.arange(20.0))
    assert interval_of_sums(line, numbers.FIGURES["pearson_correlation"], PEARSON, SAMPLING) is None
    assert interval_of_sums(np.zeros((5, 3)), micro_f1, RATE, SAMPLING) is None


def test_ranks_are_resampled_by_cluster() -> None:
    generator = np.random.default_rng(27)
    one, two = normal(0.8)(generator, 60)
    copies, clusters = np.repeat([one, two], 5, axis=1), np.repeat(np.arange(60), 5)

    def of(at: np.ndarray) -> float:
        return numbers.spearman(*copies[:, at])

    once = interval_of_rows(60, lambda at: numbers.spearman(one[at], two[at]), SPEARMAN, SAMPLING)
    whole = interval_of_rows(300, of, SPEARMAN, SAMPLING, clusters)
    naive = interval_of_rows(300, of, SPEARMAN, SAMPLING)
    assert once is not None
    assert whole is not None
    assert naive is not None
    assert whole.method == "cluster_bootstrap"
    assert whole.high - whole.low == pytest.approx(once.high - once.low, rel=0.02)
    assert naive.high - naive.low < 0.6 * (once.high - once.low)


def test_rank_correlations_of_two_models_are_compared() -> None:
    """Whatever the scale of their numbers is: only ranks count."""
    generator = np.random.default_rng(28)
    gold = generator.normal(size=120)
    near, far = gold + 0.3 * generator.normal(size=120), gold + generator.normal(size=120)
    found = resample_ranks(near, far, gold, SAMPLING)
    assert found.difference == pytest.approx(numbers.spearman(near, gold) - numbers.spearman(far, gold))
    assert found.interval is not None
    assert 0 < found.interval.low < found.difference < found.interval.high
    assert found.comparison(120).p_value < 0.01
    other = resample_ranks(np.exp(9 * near), far, gold, SAMPLING)
    assert other.comparison(120) == found.comparison(120)
    same = resample_ranks(near, near, gold, SAMPLING).comparison(120)
    assert (same.difference, same.low, same.p_value) == (0, None, 1)


@pytest.mark.parametrize("values", [[], [2.5], [1.0, 1.0, 1.0], [0.0] * 17 + [3.0, 1.0, 2.0]])
def test_there_is_no_interval_if_too_few_errors_differ(values: list[float]) -> None:
    assert bootstrap_errors(np.array(values), SAMPLING) is None
    more = np.array([*values, *range(1, 9)], dtype=float)
    found = bootstrap_errors(more, SAMPLING)
    assert found is not None
    assert 0 <= found.low <= more.mean() <= found.high


@pytest.mark.slow
def test_a_bootstrap_of_many_rows_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(5).beta(1, 3, size=3 * MOST_UNITS)
    found = interval_of_scores(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)
    assert found.low < values.mean() < found.high


def test_clusters_are_resampled_whole() -> None:
    """Ten copies of each row say no more than the row."""
    values = np.random.default_rng(6).random(200)
    once = interval_of_scores(values)
    copies = interval_of_scores(np.repeat(values, 10), np.repeat(np.arange(200), 10))
    naive = interval_of_scores(np.repeat(values, 10))
    assert copies.method == "cluster_bootstrap"
    assert copies.high - copies.low == pytest.approx(once.high - once.low, rel=0.01)
    assert naive.high - naive.low < 0.5 * (once.high - once.low)


def test_cells_are_resampled_as_rows_are() -> None:
    generator = np.random.default_rng(7)
    gold = generator.integers(0, 3, 400)
    predicted = np.where(generator.random(400) < 0.7, gold, generator.integers(0, 4, 400))
    cells = np.bincount(gold * 4 + predicted, minlength=12).reshape(3, 4)
    figure = FIGURES["f1_score_macro"]
    by_cells = percentiles(bootstrap_cells(cells, figure, SAMPLING), SAMPLING, 400)
    by_rows = percentiles(
        np.array(
            [
                float(figure(np.bincount(gold[rows] * 4 + predicted[rows], minlength=12).reshape(3, 4)))
                for rows in generator.integers(400, size=(500, 400))
            ]
        ),
        SAMPLING,
        400,
    )
    assert by_cells is not None
    assert by_rows is not None
    assert (by_cells.low, by_cells.high) == pytest.approx((by_rows.low, by_rows.high), abs=0.012)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(8).random(50)
    once, again, other = (interval_of_scores(values, sampling=Sampling(seed=seed)) for seed in (4, 4, 5))
    assert once == again
    assert once != other


def test_groups_keep_the_sums() -> None:
    rows = np.random.default_rng(9).random((MOST_UNITS + 5, 2))
    np.testing.assert_allclose(units_of(rows).sum(0), rows.sum(0))


@pytest.mark.slow
@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar(wins: int, losses: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    found = mcnemar(wins, losses)
    if 0 < wins + losses < 25:
        assert found == pytest.approx(stats.binomtest(wins, wins + losses).pvalue)
    elif wins + losses:
        statistic = max(0, abs(wins - losses) - 1) ** 2 / (wins + losses)
        assert found == pytest.approx(stats.chi2.sf(statistic, 1))
    else:
        assert found == 1


def test_a_paired_difference_of_rates() -> None:
    """Newcombe 1998, table III: 36 both, 12 and 2 only one, 0 neither; method 10."""
    model = np.array([1] * 36 + [1] * 12 + [0] * 2, dtype=float)
    baseline = np.array([1] * 36 + [0] * 12 + [1] * 2, dtype=float)
    found = compare_right(model, baseline, Sampling())
    assert (found.difference, found.low, found.high) == pytest.approx((0.2, 0.0569, 0.3404), abs=5e-4)
    assert (found.wins, found.losses, found.ties) == (12, 2, 36)


def test_paired_intervals_cover_at_twenty_rows() -> None:
    generator = np.random.default_rng(10)
    hard, covered = generator.random((1500, 20)), []
    noise = generator.random((2, 1500, 20))
    one, two = (
        (hard + 0.5 * each < limit).astype(float) for each, limit in zip(noise, (1.1, 0.9), strict=True)
    )
    truth = (one - two).mean()
    for first, second in zip(one, two, strict=True):
        found = compare_right(first, second, Sampling())
        covered.append(found.low <= truth <= found.high)
    assert np.mean(covered) >= 0.93


@pytest.mark.slow
def test_a_difference_of_means() -> None:
    generator = np.random.default_rng(11)
    base = generator.normal(0, 1, 300)
    model = base + generator.normal(0.15, 1, 300)
    rows = (np.stack([each, np.ones(300)], axis=1) for each in (model, base))
    found = resample_sums(*rows, mean, Sampling()).comparison(300, model - base)
    stats = pytest.importorskip("scipy.stats")
    test = stats.ttest_rel(model, base)
    assert found.p_value == pytest.approx(test.pvalue, abs=0.01)
    interval = test.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=0.02)
    assert found.wins + found.losses == 300


def test_a_difference_of_a_figure_of_counts() -> None:
    """From cells as from rows: macro F1 of two models, one of which is right more often."""
    generator = np.random.default_rng(12)
    gold = generator.integers(0, 3, 500)
    one, two = (
        np.where(generator.random(500) < share, gold, generator.integers(0, 4, 500)) for share in (0.75, 0.65)
    )
    figure = FIGURES["f1_score_macro"]
    cells = np.stack([gold * 4 + one, gold * 4 + two], axis=1)
    found = resample_cells(cells, (3, 4), figure, SAMPLING).comparison(500)
    hot = [np.eye(12)[column] for column in cells.T]
    by_rows = resample_sums(
        hot[0], hot[1], lambda sums: figure(np.rint(sums).astype(int).reshape(-1, 3, 4)), SAMPLING
    ).comparison(500)
    assert found.difference == by_rows.difference > 0
    assert (found.low, found.high) == pytest.approx((by_rows.low, by_rows.high), abs=0.02)
    assert found.p_value == pytest.approx(by_rows.p_value, abs=0.02)


def test_an_interval_excludes_zero_only_if_the_test_does() -> None:
    """Of 20 rows, one model alone is right in five: McNemar's p-value is 0.0625."""
    model, baseline = np.array([1.0] * 5 + [0] * 15), np.zeros(20)
    found = compare_right(model, baseline, Sampling())
    assert found.p_value == 0.0625
    assert found.low is not None
    assert found.low > 0
    assert found.agreeing(0.95).low == 0
    assert found.agreeing(0.95).high == found.high
    assert found.agreeing(0.9) == found


def test_an_interval_of_a_difference_holds_the_difference() -> None:
    """One model always gives the same label, the other none: resamples have less equal classes."""
    gold = np.arange(120) % 3
    cells = np.stack([gold * 4 + 1, gold * 4 + 3], axis=1)
    found = resample_cells(cells, (3, 4), FIGURES["matthews_correlation"], SAMPLING).comparison(120)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.difference <= found.high


def test_equal_models_do_not_differ() -> None:
    same = np.random.default_rng(13).random((20, 1))
    found = resample_sums(same, same, lambda sums: sums[:, 0], SAMPLING).comparison(20)
    assert (found.difference, found.low, found.high, found.p_value) == (0, None, None, 1)
    undefined = resample_sums(same, same, lambda sums: sums[:, 0] * np.nan, SAMPLING)
    assert undefined.comparison(20).p_value == 1


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    found = with_holm([Comparison(0, 0, 0, p, "m", 1) for p in (0.5, 0.9)])
    assert [each.p_holm for each in found] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("rows", "share", "difference"), [(3917, 0.05, 0.01), (1955, 0.1, 0.02), (150, 0.2, 0.1)]
)
def test_what_a_set_can_show(rows: int, share: float, difference: float) -> None:
    assert detectable_difference(rows, share) == pytest.approx(difference, rel=0.01)


@pytest.mark.parametrize("name", ["pearson_correlation", "r2_score"])
def test_intervals_of_numbers_are_as_narrow_as_many_rows_allow(name: str) -> None:
    """Also if rows are resampled in groups."""
    labels, noise = np.random.default_rng(0).normal(size=(2, 100_000))
    pairs = np.stack([labels, 0.8 * labels + 0.6 * noise], axis=1)
    few, many = (interval_of_numbers(name, rows, Sampling()) for rows in (pairs[:10_000], pairs))
    assert few is not None
    assert many is not None
    assert 0.2 < (many.high - many.low) / (few.high - few.low) < 0.45
