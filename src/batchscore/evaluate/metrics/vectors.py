"""How good are vectors: for similarity, for classification with few labels, for clusters? MTEB's protocols.

Read in mteb 2.20: `AbsTaskClassification`, `AbsTaskClustering`, `AbsTaskSTS`. scikit-learn is an optional
dependency, which similarity and nearest neighbours do not need.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from batchscore.errors import SettingsError
from batchscore.evaluate.metrics.retrieval import normalized

Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.intp]

#: MTEB's protocol for classification.
EXPERIMENTS, PER_LABEL, SEED = 10, 8, 42


def cosines(one: Vectors, two: Vectors) -> npt.NDArray[np.float64]:
    """Return the cosine of each pair, in double precision."""
    first, second = (np.asarray(each, dtype=np.float64) for each in (one, two))
    below = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.asarray((first * second).sum(1) / np.where(below == 0, 1, below))


def _scikit_learn(module: str) -> Any:
    try:
        return importlib.import_module(f"sklearn.{module}")
    except ImportError:
        raise SettingsError(
            "linear probes and clusters need scikit-learn, which is not installed. Run: pip install "
            "'batchscore[evaluate]'"
        ) from None


def drawn_rows(labels: Sequence[Any]) -> list[list[int]]:
    """Return the training rows of each experiment: the first of each label in one order.

    Each experiment shuffles the order of the one before it, with the same seed.
    """
    order, experiments = list(range(len(labels))), []
    for _ in range(EXPERIMENTS):
        np.random.RandomState(SEED).shuffle(order)
        taken: dict[Any, int] = {}
        chosen = []
        for place in order:
            count = taken.get(labels[place], 0)
            if count < PER_LABEL:
                chosen.append(place)
                taken[labels[place]] = count + 1
        experiments.append(chosen)
    return experiments


def linear_probe(train: Vectors, labels: Codes, test: Vectors) -> list[Codes]:
    """Return the predictions of each experiment: logistic regression on few rows of each label."""
    model = _scikit_learn("linear_model").LogisticRegression
    found = []
    for chosen in drawn_rows(labels.tolist()):
        fitted = model(max_iter=100, random_state=SEED).fit(train[chosen], labels[chosen])
        found.append(np.asarray(fitted.predict(test), dtype=np.intp))
    return found


def nearest_neighbours(train: Vectors, labels: Codes, test: Vectors, count: int = 5) -> Codes:
    """Return the label that most of the nearest rows by cosine have; of several the nearest one's."""
    known, found = normalized(train), []
    for start in range(0, len(test), 256):
        near = normalized(test[start : start + 256]) @ known.T
        for row in near:
            order = np.argsort(-row, kind="stable")[:count]
            votes = labels[order]
            times = np.bincount(votes)
            found.append(next(vote for vote in votes.tolist() if times[vote] == times.max()))
    return np.array(found, dtype=np.intp)


#: Figures of clusters, as scikit-learn names their functions.
CLUSTER_FIGURES = {
    "v_measure": "v_measure_score",
    "adjusted_mutual_information": "adjusted_mutual_info_score",
}


def cluster_scores(name: str, vectors: Vectors, labels: Codes, *, most: int = 16_384) -> list[float]:
    """Return a figure of each of ten clusterings of drawn rows, as MTEB's fast protocol does."""
    cluster, metrics = _scikit_learn("cluster"), _scikit_learn("metrics")
    score = getattr(metrics, CLUSTER_FIGURES[name])
    generator = random.Random(SEED)  # noqa: S311 - a sample, and MTEB's own
    rows = range(len(vectors))
    pool = generator.sample(rows, min(most, len(rows)))
    found = []
    for _ in range(EXPERIMENTS):
        drawn = generator.choices(pool, k=min(16_384, len(pool)))
        chosen = vectors[drawn]
        # Fewer different rows than labels can form no more clusters.
        model = cluster.MiniBatchKMeans(
            n_clusters=min(len(set(labels[drawn].tolist())), len(np.unique(chosen, axis=0))),
            batch_size=512,
            init="k-means++",
            n_init=1,
            random_state=SEED,
        )
        model.fit(chosen)
        found.append(float(score(labels[drawn], model.labels_)))
    return found
