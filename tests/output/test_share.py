"""The shares of several workers are disjoint and whole, and a worker knows which one is its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.errors import UsageError
from batchscore.output.layout import journal_name
from batchscore.output.share import WHOLE, Share
from batchscore.settings.part_of import parse_part_of, part_of_launcher


@given(file=st.text(min_size=1), workers=st.integers(1, 64), parts=st.integers(0, 300))
def test_shares_are_disjoint_and_whole_and_equal(file: str, workers: int, parts: int) -> None:
    shares = [Share(number, workers) for number in range(1, workers + 1)]
    held = [[part for part in range(parts) if share.holds(file, part)] for share in shares]
    assert sorted(part for each in held for part in each) == list(range(parts))
    assert max(map(len, held)) - min(map(len, held)) <= 1
    for share in (*shares, WHOLE):
        journals = [journal_name(file, part) for part in range(parts)]
        assert [share.holds_journal(name) for name in journals] == [
            share.holds(file, part) for part in range(parts)
        ]


def test_small_files_begin_with_different_workers() -> None:
    firsts = [sum(Share(number, 4).holds(f"{at}.csv", 0) for at in range(400)) for number in range(1, 5)]
    assert sum(firsts) == 400
    assert min(firsts) > 60


@pytest.mark.parametrize(
    "text", ["0/4", "5/4", "x", "1/", "/4", "4", "1/0", "-1/4", "1.5/4", "1/4/4", "auto"]
)
def test_a_wrong_share_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="it must be K/N with K from 1 to N, such as 1/4"):
        parse_part_of(text)


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({"RANK": "0", "WORLD_SIZE": "4"}, "1/4"),
        ({"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4", "SLURM_PROCID": "0"}, "4/4"),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, "2/2"),
        ({"RANK": "a", "WORLD_SIZE": "4", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, "1/1"),
    ],
)
def test_the_launcher_says_which_worker_this_is(environ: dict[str, str], found: str) -> None:
    assert part_of_launcher(environ) == found


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "finds no worker number: none of these pairs of variables is set: RANK and WORLD_SIZE"),
        ({"RANK": "1"}, "finds no worker number"),
        ({"RANK": "4", "WORLD_SIZE": "4"}, "is '5/4'"),
        # Each task of an array is worker 0 of 1.
        ({"SLURM_ARRAY_TASK_ID": "2", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, r"SLURM_ARRAY_TASK_ID/4"),
    ],
)
def test_a_launcher_that_does_not_say_it_is_a_usage_error(environ: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        part_of_launcher(environ)
