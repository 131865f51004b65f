"""Rankings as trec_eval counts them, and vectors by MTEB's protocols."""

from __future__ import annotations

import gzip
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.evaluate.metrics import numbers, retrieval, vectors

PUBLISHED = Path(__file__).parent / "published"

documents = st.sampled_from([f"d{n}" for n in range(12)])
scores = st.dictionaries(documents, st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1)
judgements = st.dictionaries(documents, st.integers(0, 3), min_size=1)

#: Our names, and those of trec_eval.
NAMES = {
    "map": "map",
    "mrr": "recip_rank",
    "ndcg": "ndcg",
    **{f"ndcg_at_{k}": f"ndcg_cut_{k}" for k in (5, 10, 100)},
    **{f"recall_at_{k}": f"recall_{k}" for k in (5, 10, 100)},
    **{f"precision_at_{k}": f"P_{k}" for k in (5, 10, 100)},
    **{f"map_at_{k}": f"map_cut_{k}" for k in (5, 10, 100)},
    **{f"success_at_{k}": f"success_{k}" for k in (5, 10)},
}


@pytest.mark.slow
@given(scores, judgements)
def test_rankings_equal_pytrec_eval(found: dict[str, float], judged: dict[str, int]) -> None:
    pytrec = pytest.importorskip("pytrec_eval")
    measures = {"map", "recip_rank", "ndcg", "ndcg_cut", "recall", "P", "map_cut", "success"}
    evaluator = pytrec.RelevanceEvaluator({"q": judged}, measures)
    expected = evaluator.evaluate({"q": found})["q"]
    order = retrieval.ranked(found)
    for ours, theirs in NAMES.items():
        assert retrieval.figure_of(ours, order, judged) == pytest.approx(expected[theirs], abs=1e-6), ours


def _lines(name: str) -> list[str]:
    return gzip.decompress((PUBLISHED / f"{name}.gz").read_bytes()).decode("ascii").splitlines()


def test_the_table_of_trec_eval_by_topic() -> None:
    """To the last digit that it prints."""
    judged: dict[str, dict[str, int]] = defaultdict(dict)
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for line in _lines("trec_eval-qrels.test"):
        topic, _, name, relevance = line.split()
        judged[topic][name] = int(relevance)
    for line in _lines("trec_eval-results.test"):
        topic, _, name, _, score, _ = line.split()
        found[topic][name] = float(np.float32(score))
    checked, ours = 0, {theirs: name for name, theirs in NAMES.items()}
    values = defaultdict(list)
    for line in _lines("trec_eval-out.test.aq"):
        theirs, topic, shown = line.split(maxsplit=2)
        name = ours.get(theirs.strip())
        if name is None:
            continue
        if topic == "all":
            value = float(np.mean(values[name]))
        else:
            value = retrieval.figure_of(name, retrieval.ranked(found[topic]), judged[topic])
            values[name].append(value)
        assert f"{value:.4f}" == shown, (name, topic)
        checked += 1
    assert checked > 50


def test_a_query_without_results_or_relevant_documents_counts_zero() -> None:
    assert retrieval.figure_of("ndcg_at_10", [], {"a": 1}) == 0
    assert retrieval.figure_of("ndcg_at_10", ["a"], {"a": 0}) == 0
    with pytest.raises(ValueError, match="no figure"):
        retrieval.figure_of("ndcg@10", [], {})


def test_an_exact_search_in_blocks() -> None:
    generator = np.random.default_rng(2)
    stored = generator.normal(size=(300, 8)).astype(np.float32)
    asked = generator.normal(size=(70, 8)).astype(np.float32)
    ids = [f"d{n:03}" for n in range(300)]
    cosines = retrieval.normalized(asked) @ retrieval.normalized(stored).T
    for row, found in zip(cosines, retrieval.nearest(asked, stored, ids, 7), strict=True):
        assert list(found) == [ids[n] for n in np.argsort(-row)[:7]]


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=30))
def test_rank_correlation_equals_scipy(pairs: list[tuple[int, int]]) -> None:
    stats = pytest.importorskip("scipy.stats")
    one, two = np.array(pairs, dtype=float).T
    if len(set(one)) > 1 < len(set(two)):
        assert numbers.spearman(one, two) == pytest.approx(stats.spearmanr(one, two).statistic)
        assert numbers.pearson(one, two) == pytest.approx(stats.pearsonr(one, two).statistic)
        sums = numbers.columns_of(one, two).sum(0)[None]
        assert numbers.FIGURES["pearson_correlation"](sums)[0] == pytest.approx(numbers.pearson(one, two))
    else:
        assert np.isnan(numbers.spearman(one, two))


def test_cosines_of_pairs() -> None:
    one = np.array([[1, 0], [3, 4], [0, 0]], dtype=np.float32)
    two = np.array([[1, 1], [6, 8], [1, 0]], dtype=np.float32)
    assert vectors.cosines(one, two) == pytest.approx([2**-0.5, 1, 0])


def test_the_drawn_rows_are_those_of_mteb() -> None:
    """One order, shuffled each time with the same seed; the first eight of each label."""
    labels = [n % 3 for n in range(60)]
    order = list(range(60))
    first, second = vectors.drawn_rows(labels)[:2]
    np.random.RandomState(42).shuffle(order)
    assert first == sorted(first, key=order.index)
    np.random.RandomState(42).shuffle(order)
    assert second == sorted(second, key=order.index)
    assert [labels[n] for n in first].count(0) == 8
    assert first != second


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.alone
def test_probes_and_clusters_of_digits() -> None:
    """The 1,797 digits of scikit-learn as vectors."""
    datasets = pytest.importorskip("sklearn.datasets")
    data, target = datasets.load_digits(return_X_y=True)
    data, target = data.astype(np.float32), target.astype(np.intp)
    near = vectors.nearest_neighbours(data[:1200], target[:1200], data[1200:])
    assert (near == target[1200:]).mean() == pytest.approx(0.96, abs=0.02)
    probe = vectors.linear_probe(data[:1200], target[:1200], data[1200:])
    assert len(probe) == 10
    assert np.mean([(found == target[1200:]).mean() for found in probe]) > 0.75
    assert np.mean(vectors.cluster_scores("v_measure", data, target)) == pytest.approx(0.74, abs=0.06)


numbers_of_rows = st.lists(
    st.tuples(st.floats(-100, 100, width=32), st.floats(-100, 100, width=32)), min_size=2, max_size=30
)


@pytest.mark.slow
@given(numbers_of_rows)
def test_errors_equal_those_of_scikit_learn(pairs: list[tuple[float, float]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    found, gold = np.array(pairs, dtype=float).T
    sums = numbers.columns_of(found + 2e9, gold + 2e9).sum(0)[None]
    with np.errstate(invalid="ignore", divide="ignore"):
        ours = {name: float(figure(sums)[0]) for name, figure in numbers.FIGURES.items()}
    assert ours["mean_absolute_error"] == pytest.approx(metrics.mean_absolute_error(gold, found), abs=1e-6)
    root = metrics.root_mean_squared_error(gold, found)
    assert ours["root_mean_squared_error"] == pytest.approx(root, abs=1e-6)
    if np.ptp(gold) > 1:
        assert ours["r2_score"] == pytest.approx(metrics.r2_score(gold, found), rel=1e-5, abs=1e-5)


@pytest.mark.process
@pytest.mark.slow
@given(st.integers(0, 1000))
def test_the_nearest_rows_equal_those_of_scikit_learn(seed: int) -> None:
    """Where no vote is tied: then the nearest row decides here, and the first label there."""
    neighbours = pytest.importorskip("sklearn.neighbors")
    generator = np.random.default_rng(seed)
    train, test = (generator.normal(size=(count, 4)).astype(np.float32) for count in (40, 10))
    labels = generator.integers(0, 2, 40).astype(np.intp)
    model = neighbours.KNeighborsClassifier(5, metric="cosine", algorithm="brute").fit(train, labels)
    assert vectors.nearest_neighbours(train, labels, test).tolist() == model.predict(test).tolist()
