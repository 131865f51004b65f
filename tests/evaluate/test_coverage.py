"""Intervals as they are shown, and those of differences, hold the true figure in 93 % of samples of 20 rows.

What `test_statistics` has of numbers, entities and translations is not repeated here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

from batchscore.evaluate.comparisons import compare
from batchscore.evaluate.figures import FigureOptions, figure_of
from batchscore.evaluate.fold import Labels
from batchscore.evaluate.judges import Reading
from batchscore.evaluate.labels import JoinCounts
from batchscore.evaluate.measure import ModelRows
from batchscore.evaluate.statistics.intervals import Sampling
from batchscore.evaluate.tasks import EVALUATION_TASKS

pytestmark = pytest.mark.slow

OPTIONS = FigureOptions(Sampling(resamples=200))

#: For the truth of 300,000 rows, whose interval is not needed.
ONCE = FigureOptions(Sampling(resamples=1))

Generator = np.random.Generator

#: Rows of two models.
Draw = Callable[[Generator, int], Sequence[ModelRows]]

Scores = Callable[[Generator, int], np.ndarray]


def rows_of(cells: Any, tables: Mapping[str, np.ndarray]) -> ModelRows:
    """Give rows as they are after all answers are read: each has one."""
    count = len(cells if cells is not None else next(iter(tables.values())))
    none, keys = np.zeros(count, dtype=np.intp), np.zeros((count, 2), np.uint64)
    output: Any = None
    unread = np.full(count, None, object)
    places = np.arange(count)
    return ModelRows("m", output, JoinCounts(), keys, places, none, none, cells, dict(tables), unread=unread)


def right_rows(generator: Generator, rows: int, right: Sequence[float]) -> np.ndarray:
    """Give which rows each model answers rightly; half of them are as hard for one as for the other."""
    hard, own = generator.random(rows), generator.random((len(right), rows))
    return np.where(generator.random(rows) < 0.5, hard, own) < np.array(right)[:, None]


def classes(shares: Sequence[float], *right: float) -> Draw:
    """Give rows of labels with these shares; a wrong answer is any other label, or none."""

    def draw(generator: Generator, rows: int) -> Sequence[ModelRows]:
        count = len(shares)
        gold = generator.choice(count, rows, p=shares)
        if rows < 1000:  # samples in which each label occurs: of others, the figures are other ones
            gold[:count] = range(count)
        found = []
        for good in right_rows(generator, rows, right):
            other = (gold + generator.integers(1, count + 1, rows)) % (count + 1)
            found.append(rows_of(gold * (count + 1) + np.where(good, gold, other), {}))
        return found

    return draw


def means(name: str, scores: Scores, *right: float) -> Draw:
    """Give rows with a score: 1 if the answer is right."""

    def draw(generator: Generator, rows: int) -> Sequence[ModelRows]:
        values = [np.where(good, 1.0, scores(generator, rows)) for good in right_rows(generator, rows, right)]
        return [rows_of(None, {name: np.stack([each, np.ones(rows)], axis=1)}) for each in values]

    return draw


def probe(*right: float) -> Draw:
    """Give the predictions of ten experiments for rows of three labels."""

    def draw(generator: Generator, rows: int) -> Sequence[ModelRows]:
        gold, found = generator.integers(0, 3, rows), []
        for good in right_rows(generator, rows, right):
            chance = np.where(good, generator.beta(8, 1, rows), generator.beta(1, 3, rows))
            hit = generator.random((10, rows)) < chance
            predicted = np.where(hit, gold, (gold + generator.integers(1, 3, (10, rows))) % 3)
            tables = {
                "accuracy": np.stack([hit.mean(0), np.ones(rows)], axis=1),
                "f1_score_macro": np.stack([gold, *predicted], axis=1).astype(float),
            }
            found.append(rows_of(None, tables))
        return found

    return draw


def words(generator: Generator, rows: int) -> np.ndarray:
    """Give F1 of answers that are not right: often 0."""
    return np.where(generator.random(rows) < 0.4, 0, generator.beta(2, 2, rows))


def by_rank(gain: Callable[[np.ndarray], np.ndarray], generator: Generator, rows: int) -> np.ndarray:
    """Give the gain of the only relevant document, which is not the first."""
    rank = 1 + generator.geometric(0.25, rows)
    return np.where(rank > 10, 0, gain(rank))


CLASSES = ("f1_score_macro", "f1_score_weighted", "precision_score_macro", "cohen_kappa")

FAMILIES: Mapping[str, tuple[str, Sequence[str], Draw]] = {
    "uneven labels": ("text-classification", CLASSES, classes([0.7, 0.2, 0.1], 0.8, 0.65)),
    "poor models": ("text-classification", CLASSES, classes([1 / 3] * 3, 0.3, 0.2)),
    "good models": ("knn", CLASSES, classes([1 / 3] * 3, 0.95, 0.85)),
    "answers": ("question-answering", ["f1_score"], means("f1_score", words, 0.6, 0.4)),
    "good answers": ("question-answering", ["f1_score"], means("f1_score", words, 0.95, 0.85)),
    "words": ("fill-mask", ["exact_match"], means("exact_match", lambda _, n: np.zeros(n), 0.5, 0.4)),
    "summaries": ("text-summarization", ["rougeL"], means("rougeL", lambda g, n: g.beta(2, 6, n), 0, 0)),
    "texts": ("text-generation", ["rouge2"], means("rouge2", words, 0.05, 0.02)),
    "ndcg": (
        "retrieval",
        ["ndcg_at_10"],
        means("ndcg_at_10", partial(by_rank, lambda rank: 1 / np.log2(rank + 1)), 0.5, 0.4),
    ),
    "mrr": (
        "retrieval",
        ["mrr_at_10"],
        means("mrr_at_10", partial(by_rank, lambda rank: 1 / rank), 0.6, 0.5),
    ),
    "recall": (
        "retrieval",
        ["recall_at_10"],
        means("recall_at_10", lambda g, n: g.binomial(4, 0.3, n) / 4, 0.7, 0.5),
    ),
    "precision": (
        "retrieval",
        ["precision_at_10"],
        means("precision_at_10", lambda g, n: g.binomial(9, g.beta(1, 2, n)) / 10, 0, 0),
    ),
    "probe": ("embedding-classification", ["accuracy", "f1_score_macro"], probe(0.8, 0.7)),
}


@pytest.mark.parametrize(
    ("family", "name"), [(family, name) for family, (_, names, _) in FAMILIES.items() for name in names]
)
def test_intervals_that_are_shown_hold_the_truth(family: str, name: str) -> None:
    task, _, draw = FAMILIES[family]
    generator = np.random.default_rng(41)
    labels = Labels(map(str, range(3)) if task.endswith("classification") or task == "knn" else ())
    reading = Reading(EVALUATION_TASKS[task], labels)
    one, two = (figure_of(name, each, reading, ONCE).value or 0.0 for each in draw(generator, 300_000))
    samples = [draw(generator, 20) for _ in range(100 if name in CLASSES else 500)]
    figures = [figure_of(name, model, reading, OPTIONS) for model, _ in samples]
    apart = [compare(name, model, baseline, reading, OPTIONS) for model, baseline in samples]
    assert wrong_share(figures, one) <= 0.07
    assert wrong_share([each for each in apart if each is not None], one - two) <= 0.07


def wrong_share(found: Sequence[Any], truth: float) -> float:
    """Give how many intervals do not hold the truth."""
    return float(
        np.mean([each.low is not None and not each.low <= truth <= each.high for each in found] or [0])
    )
