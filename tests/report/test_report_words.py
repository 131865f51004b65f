"""What figures are called: pure, from events to words."""

from __future__ import annotations

import pytest

from batchscore.report.progress import describe
from batchscore.report.tally import Tally
from batchscore.rows import RowsSettled


@pytest.mark.parametrize(
    ("rows", "seconds", "words"),
    [
        (1, 10.0, "1 row · 0 failed · 0.10 rows/s · 0 requests · 10.0 s"),
        (0, 10.0, "0 rows · 0 failed · 0 rows/s · 0 requests · 10.0 s"),
        (5000, 2.0, "5,000 rows · 0 failed · 2,500 rows/s · 0 requests · 2.0 s"),
    ],
)
def test_a_slow_run_does_not_look_as_if_it_stood_still(rows: int, seconds: float, words: str) -> None:
    tally = Tally()
    tally.add(RowsSettled(rows))
    assert describe(tally.statistics(), seconds, None) == words
