"""The parts of a split: shares, groups, classes and the seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.errors import UsageError
from batchscore.finetune.prepare.split import NO_VALUE, groups_of, shares_of, split
from batchscore.finetune.training.costs import auto_epochs

SHARES = (0.8, 0.1, 0.1)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)), max_size=80), st.integers(0, 5))
def test_groups_never_part_and_the_seed_decides(examples: list[tuple[int, int]], seed: int) -> None:
    inputs = np.array([each[0] for each in examples], dtype=np.uint64)
    column = np.array([each[1] for each in examples], dtype=np.uint64)
    groups = groups_of(inputs, column)
    parts = split(groups, column, SHARES, seed)
    for values in (inputs, column):
        for value in set(values.tolist()) - ({NO_VALUE} if values is column else set()):
            assert len(set(parts[values == value].tolist())) == 1
    assert parts.tolist() == split(groups, column, SHARES, seed).tolist()


def test_blank_cells_are_no_group() -> None:
    inputs, column = (
        np.arange(6, dtype=np.uint64),
        np.array([NO_VALUE, 5, NO_VALUE, 5, NO_VALUE, 7], np.uint64),
    )
    groups = groups_of(inputs, column).tolist()
    assert len(set(groups)) == 5
    assert groups[1] == groups[3]


@pytest.mark.parametrize("each", [1, 2, 3, 4, 5, 7, 10, 40])
def test_shares_are_kept_and_training_has_every_class(each: int) -> None:
    classes = np.repeat(np.arange(30), each)
    parts = split(np.arange(len(classes)), classes, SHARES, 0)
    assert set(classes[parts == 0].tolist()) == set(range(30))
    if each > 1:
        counts = np.bincount(parts, minlength=3) / len(classes)
        assert counts == pytest.approx(SHARES, abs=0.02)


def test_all_examples_get_a_part_that_has_a_share() -> None:
    parts = split(np.arange(100), None, (0.9, 0.1, 0.0), 3)
    assert np.bincount(parts).tolist() == [90, 10]
    assert not len(split(groups_of(np.array([], dtype=np.uint64), None), None, SHARES, 0))


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("80/10/10", (0.8, 0.1, 0.1)),
        ("90/10", (0.9, 0.1, 0)),
        ("100", (1, 0, 0)),
        ("0.7/0.2/0.1", (0.7, 0.2, 0.1)),
        ("33.3/33.3/33.4", (0.333, 0.333, 0.334)),
    ],
)
def test_shares_are_percent_or_parts_of_one(text: str, shares: tuple[float, ...]) -> None:
    assert shares_of(text) == pytest.approx(shares)


@pytest.mark.parametrize(
    "text", ["", "80", "80/10/5", "0.7/0.2", "99.9", "0/50/50", "50/50/0/0", "a/b", "-10/110", "nan"]
)
def test_other_shares_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError):
        shares_of(text)


@pytest.mark.parametrize(
    ("examples", "epochs"),
    [(0, 25), (4, 25), (10, 10), (33, 3), (100, 3), (8_333, 3), (10_000, 2), (50_000, 1)],
)
def test_auto_epochs_are_those_of_the_cookbook(examples: int, epochs: int) -> None:
    assert auto_epochs(examples) == epochs
