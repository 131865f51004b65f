"""Figures of classification equal scikit-learn's, and failed rows never raise them."""

from __future__ import annotations

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
        if k not in predicted:
            expected["quadratic_kappa"] = m.cohen_kappa_score(
                gold, predicted, weights="quadratic", labels=range(k)
            )
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, nan_ok=True, abs=1e-12), name


def test_many_matrices_at_once() -> None:
    generator = np.random.default_rng(1)
    many = generator.integers(0, 5, (7, 3, 4))
    for figure in c.FIGURES.values():
        np.testing.assert_array_equal(figure(many), [figure(one) for one in many])


@given(rows, st.data())
def test_rows_that_failed_never_raise_a_figure(
    case: tuple[int, list[tuple[int, int]]], data: st.DataObject
) -> None:
    """Neither by being there, nor in place of a right answer."""
    k, pairs = case
    before = counts_of(k, pairs)
    more = data.draw(st.lists(st.integers(0, k - 1), min_size=1, max_size=10))
    failed = {place for place, (gold, predicted) in enumerate(pairs) if gold == predicted}
    failed &= set(data.draw(st.lists(st.integers(0, len(pairs) - 1))))
    in_place = [(gold, k if place in failed else predicted) for place, (gold, predicted) in enumerate(pairs)]
    for name in c.FIGURES.keys() - {"quadratic_kappa"} - c.LIFTED:
        value = c.headline(name, before)
        assert c.headline(name, counts_of(k, [*pairs, *((gold, k) for gold in more)])) <= value + 1e-12, name
        assert c.headline(name, counts_of(k, in_place)) <= value + 1e-12, name
    for name in c.FIGURES.keys() - {"quadratic_kappa"}:
        if not np.isnan(of := c.of_answered(name, before)):
            assert not c.headline(name, before) > of + 1e-12, name


@given(rows, st.data())
def test_no_failure_raises_accuracy_or_recall(
    case: tuple[int, list[tuple[int, int]]], data: st.DataObject
) -> None:
    k, pairs = case
    failed = set(data.draw(st.lists(st.integers(0, len(pairs) - 1))))
    after = [(gold, k if place in failed else predicted) for place, (gold, predicted) in enumerate(pairs)]
    for name in ("accuracy", "balanced_accuracy", "recall_score_macro", "recall_score_micro"):
        assert c.headline(name, counts_of(k, after)) <= c.headline(name, counts_of(k, pairs)), name


def test_texts_outside_the_labels_are_no_classes() -> None:
    """Three invalid texts among 100 rows: scikit-learn's default makes each a class, and gives 0.353."""
    pairs = [(0, 0)] * 43 + [(1, 1)] * 44 + [(0, 1)] * 5 + [(1, 0)] * 5 + [(0, 2), (0, 2), (1, 2)]
    assert c.FIGURES["f1_score_macro"](counts_of(2, pairs)) == pytest.approx(0.883, abs=5e-4)
    assert c.FIGURES["accuracy"](counts_of(2, pairs)) == 0.87


def test_single_rows_and_empty_classes_are_clear() -> None:
    one = counts_of(3, [(1, 1)])
    assert c.FIGURES["f1_score_macro"](one) == c.FIGURES["accuracy"](one) == 1
    assert c.FIGURES["matthews_correlation"](one) == 0
    assert np.isnan(c.FIGURES["cohen_kappa"](one))
    none = counts_of(3, [(1, 3), (2, 3)])
    assert {
        c.headline(name, none).item() for name in ("accuracy", "f1_score_macro", "recall_score_micro")
    } == {0}
    assert c.per_class(one)["support"].tolist() == [0, 1, 0]
