"""Which part gets an example: training, validation or test?

Pure: arrays and a seed in, parts out. Examples that share an input, or a value of the user's column, are one
group and stay together, so that no part holds what another one is measured by. Classes are spread evenly.
The same examples and seed give the same parts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt

from batchscore.errors import UsageError
from batchscore.finetune.prepared_folder import PARTS

Integers = npt.NDArray[Any]

#: In place of the digest of a blank cell.
NO_VALUE = 0

#: Differences of sums that are rounding errors.
_TIE = 1e-6


def shares_of(text: str) -> tuple[float, float, float]:
    """Return the shares that a text such as `80/10/10` gives; raises `UsageError`."""
    numbers = text.split("/")
    if not 1 <= len(numbers) <= len(PARTS) or not all(re.fullmatch(r"\d+(\.\d+)?", each) for each in numbers):
        raise UsageError(f"the split {text!r} must be up to three numbers, such as 80/10/10 or 90/10.")
    values = [float(each) for each in numbers] + [0.0] * (len(PARTS) - len(numbers))
    total = sum(values)
    if not any(math.isclose(total, whole) for whole in (1, 100)) or not values[0]:
        raise UsageError(f"the numbers of the split {text!r} must add up to 100, and the first is not 0.")
    return (values[0] / total, values[1] / total, values[2] / total)


def groups_of(inputs: Integers, column: Integers | None) -> Integers:
    """Return the number of each example's group: equal inputs, and equal values of the column, are one.

    `NO_VALUE` in the column joins no examples.
    """
    _, groups = np.unique(inputs, return_inverse=True)
    groups = groups.reshape(-1)
    if column is None:
        return groups
    _, values = np.unique(column, return_inverse=True)
    values = values.reshape(-1) + int(groups.max(initial=-1)) + 1
    parents = list(range(int(values.max(initial=-1)) + 1))

    def root(place: int) -> int:
        while parents[place] != place:
            parents[place] = parents[parents[place]]
            place = parents[place]
        return place

    has_value = column != NO_VALUE
    for group, value in zip(groups[has_value].tolist(), values[has_value].tolist(), strict=True):
        parents[root(value)] = root(group)
    return np.array([root(group) for group in groups.tolist()], dtype=np.int64)


def split(
    groups: Integers, strata: Integers | None, shares: Sequence[float], seed: int
) -> npt.NDArray[np.int8]:
    """Return the part of each example, by its place in `PARTS`. O(examples log examples).

    Groups are shuffled, and each goes to the part that lacks most of its stratum; what a part still lacks
    then, or has too much, counts for the next stratum. A stratum that is too small for all parts joins the
    other small ones, but its first group goes to training: a class that training lacks cannot be learned.
    """
    _, first, which, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    labels = np.zeros(len(first), dtype=np.int64)
    if strata is not None:
        _, numbered = np.unique(strata, return_inverse=True)
        labels = numbered.reshape(-1)[first]  # that of its first example
    in_stratum = np.bincount(labels, weights=sizes)
    small = in_stratum * min(share for share in shares if share) < 0.5
    pool = len(in_stratum)
    pooled = np.where(small[labels], pool, labels) if len(labels) else labels
    shuffled = list(range(len(first)))
    Random(seed).shuffle(shuffled)  # noqa: S311 - repeatable on purpose
    order = np.array(shuffled, dtype=np.int64)
    order = order[np.argsort(pooled[order], kind="stable")]
    totals = np.bincount(pooled, weights=sizes).tolist()
    lacks = [0.0] * len(shares)
    usable = [place for place, share in enumerate(shares) if share][1:]
    found, seen, current = list[int](), set[int](), -1
    for label, own, size in zip(
        pooled[order].tolist(), labels[order].tolist(), sizes[order].tolist(), strict=True
    ):
        if label != current:
            current = label
            lacks = [lack + share * totals[label] for lack, share in zip(lacks, shares, strict=True)]
        part = 0
        if label != pool or own in seen or strata is None:
            for place in usable:
                if lacks[place] > lacks[part] + _TIE:
                    part = place
        seen.add(own)
        lacks[part] -= size
        found.append(part)
    parts = np.zeros(len(first), dtype=np.int8)
    parts[order] = found
    return parts[which.reshape(-1)]
