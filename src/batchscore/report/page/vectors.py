"""What do some thousand vectors of an output look like, and are there problems?

Pure: vectors and their rows in, points on a map and findings out. The same vectors give the same map on every
machine. Cost: the products of all pairs, 0.3 s for 3,000 vectors of 1,536 dimensions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batchscore.errors import count_text
from batchscore.report.words import percent_text

#: Above this cosine two vectors are near duplicates.
NEAR = 0.999

#: Above this mean cosine of all pairs the vectors hardly distinguish texts.
COLLAPSED = 0.97

MOST_EXAMPLES = 12
_BLOCK = 512
_ROUNDS = 8

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Origin:
    """The row of a vector or an answer."""

    file: str
    row: int
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two rows with almost equal vectors."""

    first: Origin
    second: Origin
    cosine: float


@dataclass(frozen=True, slots=True)
class VectorMap:
    """The map of a sample: `places` is `(n, 2)`, in the order of `origins`.

    `explained` is the share of the variance that each axis shows. `zero` and `odd` (not finite) vectors are
    counted but not on the map. `near` counts the pairs of near duplicates, `rows_in_pairs` the rows in them;
    `lengths` are the shortest, median and longest. `alike` is the mean cosine of all pairs.
    """

    origins: Sequence[Origin]
    places: Floats
    explained: tuple[float, float]
    dimensions: int
    sampled: int
    zero: int
    odd: int
    near: int
    rows_in_pairs: int
    examples: Sequence[Pair]
    lengths: tuple[float, float, float] | None
    alike: float | None
    all_equal: bool


def map_of(vectors: Floats, origins: Sequence[Origin]) -> VectorMap:
    """Return the map of vectors `(n, d)` float32."""
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(vectors).all(axis=1))
    # In float64: the square of a large float32 overflows.
    lengths = np.linalg.norm(np.where(finite[:, None], vectors, 0).astype(np.float64), axis=1)
    good = finite & (lengths > 0)
    kept, norms = vectors[good], lengths[good]
    rows = [origin for origin, is_good in zip(origins, good, strict=True) if is_good]
    unit = (kept / norms[:, None]).astype(np.float32)
    near, involved, examples = near_pairs(unit, rows)
    places, explained = principal(kept)
    # `median` would load a large module for masked arrays.
    middle = np.sort(norms)[(len(norms) - 1) // 2 : len(norms) // 2 + 1]
    return VectorMap(
        origins=rows,
        places=places,
        explained=explained,
        dimensions=int(vectors.shape[1]) if vectors.ndim == 2 else 0,
        sampled=len(vectors),
        zero=int((finite & (lengths == 0)).sum()),
        odd=int((~finite).sum()),
        near=near,
        rows_in_pairs=involved,
        examples=examples,
        lengths=(float(norms.min()), float(middle.mean()), float(norms.max())) if len(kept) else None,
        alike=mean_cosine(unit),
        all_equal=len(kept) > 1 and bool((kept == kept[0]).all()),
    )


def mean_cosine(unit: Floats) -> float | None:
    """Return the mean cosine of all pairs of unit vectors; `None` if there is no pair."""
    count = len(unit)
    if count < 2:
        return None
    summed = float((unit.sum(axis=0, dtype=np.float64) ** 2).sum())
    return (summed - count) / (count * (count - 1))


def near_pairs(unit: Floats, rows: Sequence[Origin]) -> tuple[int, int, list[Pair]]:
    """Return the number of pairs of near duplicates, the number of rows in them, and the first pairs."""
    near, examples = 0, list[Pair]()
    involved = np.zeros(len(unit), dtype=bool)
    for start in range(0, len(unit), _BLOCK):
        cosines = unit[start : start + _BLOCK] @ unit[start:].T
        # Each pair once: only the entries above the diagonal.
        found = np.argwhere(np.triu(cosines > NEAR, k=1))
        near += len(found)
        involved[found + start] = True
        for one, two in found[: MOST_EXAMPLES - len(examples)].tolist():
            examples.append(Pair(rows[start + one], rows[start + two], min(float(cosines[one, two]), 1.0)))
    return near, int(involved.sum()), examples


def principal(vectors: Floats) -> tuple[Floats, tuple[float, float]]:
    """Return the scores `(n, 2)` of the first two principal components, and the share of variance of each.

    It iterates a small subspace, always from the same one: a full decomposition of 3,072 dimensions would
    take ten seconds.
    """
    if len(vectors) < 2:
        return np.zeros((len(vectors), 2), np.float32), (0.0, 0.0)
    scale = float(np.abs(vectors).max()) or 1.0
    centred = vectors / scale
    centred = centred - centred.mean(axis=0)
    total = float((centred.astype(np.float64) ** 2).sum())
    if total < 1e-9 * len(vectors):
        return np.zeros((len(vectors), 2), np.float32), (0.0, 0.0)
    width = min(10, *centred.shape)
    # These spread as well as random numbers, and `numpy.random` takes as long to load as the rest of this.
    basis = np.sin(np.arange(1.0, centred.shape[1] * width + 1) ** 2).reshape(-1, width).astype(np.float32)
    for _ in range(_ROUNDS):
        basis = np.linalg.qr(centred.T @ (centred @ basis))[0]
    left, sizes, _ = np.linalg.svd((centred @ basis).astype(np.float64), full_matrices=False)
    # One component has no second one.
    places = np.pad(left * sizes, ((0, 0), (0, 1)))[:, :2]
    # The sign of an axis is arbitrary; the largest score is made positive, so that it is the same everywhere.
    places *= np.where(places[np.abs(places).argmax(axis=0), [0, 1]] < 0, -1, 1)
    shares = [*(float(size) ** 2 / total for size in sizes), 0.0]
    most = float(np.finfo(np.float32).max)
    return np.clip(places * scale, -most, most).astype(np.float32), (shares[0], shares[1])


def points_by_file(vectors: VectorMap, most: int) -> list[tuple[str, list[int]]]:
    """Return the map's points in at most `most` groups: the files with most points, and all others."""
    by_file = Counter(origin.file for origin in vectors.origins)
    named = [file for file, _ in sorted(by_file.items(), key=lambda item: (-item[1], item[0]))]
    shown = named if len(named) <= most else named[: most - 1]
    places: dict[str | None, list[int]] = {file: [] for file in shown}
    rest: list[int] = []
    for index, origin in enumerate(vectors.origins):
        places.get(origin.file, rest).append(index)
    groups: list[tuple[str, list[int]]] = [(str(file), indexes) for file, indexes in places.items()]
    return [*groups, (f"{len(named) - len(shown):,} other files", rest)] if rest else groups


def findings(vectors: VectorMap) -> list[tuple[str, str]]:
    """Return the obvious problems of the vectors: `fine` or `look`, and a sentence."""
    if not vectors.sampled:
        return [("look", "There are no vectors to look at.")]
    of = f"of the {vectors.sampled:,} vectors read"
    problems = []
    if vectors.odd:
        problems.append(f"{vectors.odd:,} {of} have numbers that are not finite.")
    if vectors.zero:
        problems.append(f"{vectors.zero:,} {of} are zero: their similarity to others is undefined.")
    mapped, alike = len(vectors.origins), vectors.alike or 0.0
    if vectors.all_equal:
        problems.append("All vectors are the same. Check which text was sent.")
    elif alike > COLLAPSED and mapped > 20:
        problems.append(f"The vectors hardly differ (mean cosine {alike:.3f}). Check which text was sent.")
    if not vectors.all_equal and vectors.rows_in_pairs > 0.2 * max(mapped, 5):
        share = percent_text(vectors.rows_in_pairs, mapped, decimals=1)
        problems.append(f"{share} {of} have a near duplicate (cosine above {NEAR}).")
    if problems:
        return [("look", problem) for problem in problems]
    pairs = f"{count_text(vectors.near, 'pair')} of near duplicates"
    return [("fine", f"No problems found in {vectors.sampled:,} vectors read: none is zero; {pairs}.")]
