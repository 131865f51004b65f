"""Figures of classification equal scikit-learn's, and rows without a prediction have the worst one."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.evaluate.metrics import classification as c

#: Labels and predictions of some rows; a prediction of `k` is none of the labels.
rows = st.integers(1, 6).flatmap(
    lambda k: st.tuples(
        st.just(k),
        st.lists(st.tuples(st.integers(0, k - 1), st.integers(0, k)), min_size=1, max_size=40),
    )
)


def counts_of(k: int, pairs: list[tuple[int, int]]) -> Any:
    gold, predicted = np.array(pairs, dtype=np.intp).T
    return c.confusion_matrix(gold, predicted, k)


@pytest.mark.slow
@given(rows)
def test_figures_equal_those_of_scikit_learn(case: tuple[int, list[tuple[int, int]]]) -> None:
    m = pytest.importorskip("sklearn.metrics")
    k, pairs = case
    gold, predicted = zip(*pairs, strict=True)
    labels = sorted(set(gold))
    whole = k not in predicted
    found = {name: figure(counts_of(k, pairs)) for name, figure in c.FIGURES.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "accuracy": m.accuracy_score(gold, predicted),
            "matthews_correlation": m.matthews_corrcoef(gold, predicted),
            "cohen_kappa": m.cohen_kappa_score(gold, predicted),
            "balanced_accuracy": m.recall_score(
                gold, predicted, labels=labels, average="macro", zero_division=0
            ),
        }
        for score, of in (("f1_score", m.f1_score), ("precision_score", m.precision_score)):
            for average in ("macro", "weighted"):
                expected[f"{score}_{average}"] = of(
                    gold, predicted, labels=labels, average=average, zero_division=0
                )
            expected[f"{score}_micro"] = of(
                gold, predicted, labels=range(k), average="micro", zero_division=0
            )
        if whole:
            expected["quadratic_kappa"] = m.cohen_kappa_score(
                gold, predicted, weights="quadratic", labels=range(k)
            )
    for name, value in expected.items():
        if whole or name == "accuracy" or "recall" in name:
            assert found[name] == pytest.approx(value, nan_ok=True, abs=1e-12), name
        else:
            assert not found[name] > value + 1e-12, name


def test_many_matrices_at_once() -> None:
    generator = np.random.default_rng(1)
    many = generator.integers(0, 5, (7, 3, 4))
    for figure in c.FIGURES.values():
        np.testing.assert_array_equal(figure(many), [figure(one) for one in many])


@given(rows, st.data())
def test_rows_without_a_prediction_have_the_worst_one(
    case: tuple[int, list[tuple[int, int]]], data: st.DataObject
) -> None:
    """A figure is at most that of any predictions in their place, also by its own rule for some of them."""
    k, pairs = case
    filled = [(gold, data.draw(st.integers(0, k)) if each == k else each) for gold, each in pairs]
    before, after = counts_of(k, pairs), counts_of(k, filled)
    for name, figure in c.FIGURES.items():
        assert not figure(before) > figure(after) + 1e-12, name
        assert np.isnan(figure(before)) or not np.isnan(figure(after)), name


@pytest.mark.parametrize("name", ["f1_score_macro", "f1_score_micro", "precision_score_macro", "cohen_kappa"])
def test_the_worst_predictions_are_not_made_up(name: str) -> None:
    """There are predictions that give the figure, or nearly: so it is no lower than it must be."""
    generator = np.random.default_rng(3)
    for _ in range(20):
        gold = generator.integers(0, 3, 60)
        found = np.where(generator.random(60) < 0.7, gold, generator.integers(0, 3, 60))
        found[:2] = 3
        others = [(one, two) for one in range(3) for two in range(3) if (one, two) != (*gold[:2],)]
        least = min(c.FIGURES[name](c.confusion_matrix(gold, np.r_[each, found[2:]], 3)) for each in others)
        value = c.FIGURES[name](c.confusion_matrix(gold, found, 3))
        assert least - 0.02 <= value <= least + 1e-12


def test_texts_outside_the_labels_are_no_classes() -> None:
    """Three invalid texts among 100 rows: scikit-learn's default makes each a class, and gives 0.353.

    With its labels fixed it gives 0.883; with three wrong labels in their place 0.870.
    """
    pairs = [(0, 0)] * 43 + [(1, 1)] * 44 + [(0, 1)] * 5 + [(1, 0)] * 5 + [(0, 2), (0, 2), (1, 2)]
    assert c.FIGURES["f1_score_macro"](counts_of(2, pairs)) == pytest.approx(0.87, abs=5e-4)
    assert c.per_class(counts_of(2, pairs))["f1_score"].mean() == pytest.approx(0.883, abs=5e-4)
    assert c.FIGURES["accuracy"](counts_of(2, pairs)) == 0.87


def test_single_rows_and_empty_classes_are_clear() -> None:
    one = counts_of(3, [(1, 1)])
    assert c.FIGURES["f1_score_macro"](one) == c.FIGURES["accuracy"](one) == 1
    assert c.FIGURES["matthews_correlation"](one) == 0
    assert np.isnan(c.FIGURES["cohen_kappa"](one))
    none = counts_of(3, [(1, 3), (2, 3)])
    assert {
        c.FIGURES[name](none).item() for name in ("accuracy", "f1_score_macro", "recall_score_micro")
    } == {0}
    assert c.per_class(one)["support"].tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("counts", "least"),
    [
        ([[0, 1]], 0),  # one row
        ([[0, 0, 1], [0, 0, 1]], -1),
        ([[0, 0, 0, 48], [0, 0, 0, 40], [0, 0, 0, 32]], -0.6644),
    ],
)
def test_a_correlation_is_no_less_than_predictions_give(counts: Any, least: float) -> None:
    assert c.FIGURES["matthews_correlation"](np.array(counts)) == pytest.approx(least, abs=5e-5)


def all_predictions(counts: Any) -> Any:
    """Return the counts of all predictions that the rows without one could have."""
    classes, missing = len(counts), np.repeat(np.arange(len(counts)), counts[:, -1])
    found = []
    for predicted in itertools.product(range(classes), repeat=len(missing)):
        one = counts * ([1] * classes + [0])
        np.add.at(one, (missing, np.array(predicted, dtype=np.intp)), 1)
        found.append(one)
    return np.array(found)


@pytest.mark.parametrize("name", ["matthews_correlation", "cohen_kappa", "quadratic_kappa"])
def test_the_least_figure_is_that_of_some_predictions(name: str) -> None:
    """Whichever of few rows failed, and however good the others are."""
    generator, figure = np.random.default_rng(5), c.FIGURES[name]
    for trial in range(30):
        classes, rows = 2 + trial % 3, int(generator.integers(1, 40))
        gold = np.minimum(generator.geometric(0.6, rows) - 1, classes - 1)
        found = np.where(generator.random(rows) < trial / 30, gold, generator.integers(0, classes, rows))
        found[np.flatnonzero(gold <= trial % 5)[:5]] = classes
        counts = c.confusion_matrix(gold, found, classes)
        value, least = float(figure(counts)), float(figure(all_predictions(counts)).min())
        if np.isnan(least) or value < 0 or name != "matthews_correlation":
            assert value == pytest.approx(least, abs=1e-9, nan_ok=True), counts
        else:
            assert least - 0.05 <= value <= least + 1e-9, counts
