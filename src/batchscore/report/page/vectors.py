"""What do some thousand of an output's vectors look like, and is something wrong with them?

Pure: vectors and where they came from in, places on a map and findings out. The same vectors give the same
map on every machine. Cost: the products of all pairs, 0.3 s for 3,000 vectors of 1,536 dimensions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchscore.report.page.words import percent

#: Above this cosine two vectors are all but equal.
NEAR = 0.999

#: Above this mean cosine of all pairs the vectors hardly tell texts apart.
COLLAPSED = 0.97

MOST_EXAMPLES = 12
_BLOCK = 512
_ROUNDS = 8

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Origin:
    """The row that a vector or an answer is of."""

    file: str
    row: int
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two rows whose vectors are all but equal."""

    first: Origin
    second: Origin
    cosine: float


@dataclass(frozen=True, slots=True)
class Map:
    """The map of a sample: `places` is `(n, 2)`, of `origins` in that order.

    `explained` is the share of all variance that each axis shows. `zero` and `odd` (not finite) vectors are
    counted and are not on the map. `near` pairs are all but equal, `rows_in_pairs` are in one at least;
    `lengths` are the shortest, middle and longest. `alike` is the mean cosine of all pairs.
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


def map_of(vectors: Floats, origins: Sequence[Origin]) -> Map:
    """Return the map of vectors `(n, d)` float32."""
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(vectors).all(axis=1))
    # In float64: the square of a large float32 is none.
    lengths = np.linalg.norm(np.where(finite[:, None], vectors, 0).astype(np.float64), axis=1)
    good = finite & (lengths > 0)
    kept, norms = vectors[good], lengths[good]
    rows = [origin for origin, is_good in zip(origins, good, strict=True) if is_good]
    unit = (kept / norms[:, None]).astype(np.float32)
    near, involved, examples = near_pairs(unit, rows)
    places, explained = principal(kept)
    equal = len(kept) > 1 and bool((kept == kept[0]).all())
    return Map(
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
        lengths=(float(norms.min()), float(np.median(norms)), float(norms.max())) if len(kept) else None,
        alike=mean_cosine(unit),
        all_equal=equal,
    )


def mean_cosine(unit: Floats) -> float | None:
    """Return the mean cosine of all pairs of unit vectors; `None` where there is no pair."""
    count = len(unit)
    if count < 2:
        return None
    summed = float((unit.sum(axis=0, dtype=np.float64) ** 2).sum())
    return (summed - count) / (count * (count - 1))


def near_pairs(unit: Floats, rows: Sequence[Origin]) -> tuple[int, int, list[Pair]]:
    """Return how many pairs are all but equal, how many rows are in one, and the first of them."""
    near, examples = 0, list[Pair]()
    involved = np.zeros(len(unit), dtype=bool)
    for start in range(0, len(unit), _BLOCK):
        cosines = unit[start : start + _BLOCK] @ unit[start:].T
        # Each pair once: what stands right of the diagonal.
        found = np.triu(cosines > NEAR, k=1)
        count = int(found.sum())
        if not count:
            continue
        near += count
        involved[start : start + _BLOCK] |= found.any(axis=1)
        involved[start:] |= found.any(axis=0)
        left, right = np.nonzero(found)
        for one, two in zip(
            left[: MOST_EXAMPLES - len(examples)].tolist(),
            right[: MOST_EXAMPLES - len(examples)].tolist(),
            strict=True,
        ):
            examples.append(Pair(rows[start + one], rows[start + two], min(float(cosines[one, two]), 1.0)))
    return near, int(involved.sum()), examples


def principal(vectors: Floats) -> tuple[Floats, tuple[float, float]]:
    """Return the first two principal components' scores `(n, 2)`, and the share of variance of each.

    By iteration of a small random subspace with a fixed seed, since a whole decomposition of 3,072 dimensions
    takes ten seconds.
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
    basis = np.random.default_rng(0).standard_normal((centred.shape[1], width)).astype(np.float32)
    for _ in range(_ROUNDS):
        basis = orthonormal(centred.T @ (centred @ basis))
    scores = (centred @ basis).astype(np.float64)
    # Of so few columns the products tell as much as a decomposition of the whole.
    variances, turn = np.linalg.eigh(scores.T @ scores)
    order = np.argsort(-variances)[:2]
    places = scores @ turn[:, order]
    # The sign of an axis means nothing; so that it is the same everywhere, the largest score is positive.
    places *= np.sign(places[np.abs(places).argmax(axis=0), np.arange(places.shape[1])])
    if places.shape[1] < 2:
        places = np.column_stack([places[:, 0], np.zeros(len(places))])
    shares = [max(float(variances[place]), 0.0) / total for place in order] + [0.0]
    most = float(np.finfo(np.float32).max)
    return np.clip(places * scale, -most, most).astype(np.float32), (shares[0], shares[1])


def orthonormal(basis: Floats) -> Floats:
    """Return columns that span the same, upright on one another; those without length are dropped."""
    wide = basis.astype(np.float64)
    squares, turn = np.linalg.eigh(wide.T @ wide)
    kept = squares > squares.max() * 1e-10
    upright: Floats = (wide @ turn[:, kept] / np.sqrt(squares[kept])).astype(np.float32)
    return upright


def coloured(found: Map, most: int) -> list[tuple[str, list[int]]]:
    """Return the map's points by file, those with most points first; what is beyond `most` is the rest."""
    by_file = Counter(origin.file for origin in found.origins)
    named = [file for file, _ in sorted(by_file.items(), key=lambda item: (-item[1], item[0]))]
    shown = named if len(named) <= most else named[: most - 1]
    places: dict[str | None, list[int]] = {file: [] for file in shown}
    rest: list[int] = []
    for index, origin in enumerate(found.origins):
        places.get(origin.file, rest).append(index)
    groups: list[tuple[str, list[int]]] = [(str(file), indexes) for file, indexes in places.items()]
    return [*groups, (f"{len(named) - len(shown):,} other files", rest)] if rest else groups


def findings(found: Map) -> list[tuple[str, str]]:
    """Return what can be said of the vectors at a glance: `fine` or `look`, and a sentence."""
    if not found.sampled:
        return [("look", "There are no vectors to look at.")]
    of = f"of the {found.sampled:,} vectors looked at"
    said: list[tuple[str, str]] = []
    if found.odd:
        said.append(("look", f"{found.odd:,} {of} hold numbers that are not finite."))
    if found.zero:
        said.append(
            ("look", f"{found.zero:,} {of} are zero: such a row is near to nothing and to everything.")
        )
    if found.all_equal:
        said.append(("look", "All vectors are the same: something is wrong with what was asked."))
    elif found.alike is not None and found.alike > COLLAPSED and len(found.origins) > 20:
        said.append(
            (
                "look",
                f"The vectors hardly differ (mean cosine of two {found.alike:.3f}): see what was asked.",
            )
        )
    if not found.all_equal and found.rows_in_pairs > 0.2 * max(len(found.origins), 5):
        share = found.rows_in_pairs / len(found.origins)
        said.append(("look", f"{percent(share)} {of} have a near duplicate (cosine above {NEAR})."))
    if not said:
        pairs = "pair of near duplicates" if found.near == 1 else "pairs of near duplicates"
        said.append(
            (
                "fine",
                f"The vectors look sound: {found.sampled:,} looked at, none zero, {found.near:,} {pairs}.",
            )
        )
    return said


def plain(value: Any) -> Any:
    """Return a figure with the digits that a picture shows."""
    return float(f"{value:.4g}")
