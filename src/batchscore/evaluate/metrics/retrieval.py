"""How well are documents ranked for queries, as trec_eval counts it?

Gains are the relevances themselves, and the ideal ranking has all judged documents. Of documents with the
same score the larger id, as text, comes first. A query without any ranked or relevant document counts 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

#: Documents by id with their scores, and with their relevance; 1 or more is relevant.
Scores = Mapping[str, float]
Judged = Mapping[str, int]

#: The figures of one query, the main one first.
NAMES = ("ndcg_at_10", "map_at_10", "mrr_at_10", "recall_at_10", "precision_at_10", "recall_at_100")

_NAME = re.compile(r"(ndcg|map|mrr|recall|precision|success)(?:_at_([1-9]\d{0,3}))?")


def is_figure(name: str) -> bool:
    """Whether a ranking has a figure of this name."""
    return _NAME.fullmatch(name) is not None


def ranked(scores: Scores) -> list[str]:
    """Return the ids in the order of their scores."""
    return [name for _, name in sorted(((score, name) for name, score in scores.items()), reverse=True)]


def figure_of(name: str, order: Sequence[str], judged: Judged) -> float:
    """Return a figure such as `ndcg_at_10`, or `map` of the whole ranking. Raises `ValueError` for others."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is no figure of a ranking")
    depth = int(match[2]) if match[2] else None
    gains = np.array([max(0, judged.get(each, 0)) for each in order[:depth]], dtype=float)
    relevant = sum(gain > 0 for gain in judged.values())
    if not relevant:
        return 0.0
    return _FIGURES[match[1]](gains, judged, relevant, depth)


def _ndcg(gains: npt.NDArray[np.float64], judged: Judged, _: int, depth: int | None) -> float:
    ideal = np.array(sorted((gain for gain in judged.values() if gain > 0), reverse=True), dtype=float)
    best = _discounted(ideal[:depth])
    return _discounted(gains) / best if best else 0.0


def _discounted(gains: npt.NDArray[np.float64]) -> float:
    return float((gains / np.log2(np.arange(2, len(gains) + 2))).sum())


def _map(gains: npt.NDArray[np.float64], _: Judged, relevant: int, __: int | None) -> float:
    hits = gains > 0
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].sum() / relevant)


def _mrr(gains: npt.NDArray[np.float64], *_: object) -> float:
    hits = np.flatnonzero(gains > 0)
    return 1 / (int(hits[0]) + 1) if hits.size else 0.0


def _recall(gains: npt.NDArray[np.float64], _: Judged, relevant: int, __: int | None) -> float:
    return float((gains > 0).sum() / relevant)


def _precision(gains: npt.NDArray[np.float64], _: Judged, __: int, depth: int | None) -> float:
    return float((gains > 0).sum() / (depth or max(1, len(gains))))


def _success(gains: npt.NDArray[np.float64], *_: object) -> float:
    return float((gains > 0).any())


_FIGURES = {
    "ndcg": _ndcg,
    "map": _map,
    "mrr": _mrr,
    "recall": _recall,
    "precision": _precision,
    "success": _success,
}


def nearest(
    queries: npt.NDArray[np.float32], documents: npt.NDArray[np.float32], ids: Sequence[str], most: int = 1000
) -> Iterator[dict[str, float]]:
    """Yield the nearest documents of each query with their cosines: an exact search, in blocks of documents.

    Of documents at the edge with the same cosine all are kept until the end, so that ties are broken by id.
    """
    block, documents = 20_000, normalized(documents)
    for start in range(0, len(queries), 64):
        some = normalized(queries[start : start + 64])
        kept: list[dict[str, float]] = [{} for _ in some]
        for first in range(0, len(documents), block):
            cosines = some @ documents[first : first + block].T
            for place, row in enumerate(cosines):
                edge = np.partition(row, -most)[-most] if len(row) > most else -np.inf
                chosen = np.flatnonzero(row >= edge)
                kept[place].update((ids[first + each], float(row[each])) for each in chosen.tolist())
                if len(kept[place]) > 4 * most:
                    kept[place] = _best(kept[place], most)
        yield from (_best(each, most) for each in kept)


def _best(scores: dict[str, float], most: int) -> dict[str, float]:
    return {name: scores[name] for name in ranked(scores)[:most]}


def normalized(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return vectors of length 1; a vector of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths == 0, 1, lengths), dtype=np.float32)
