"""The part of a quota that one of several machines uses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batchscore.request.quota.limits import LEAST_SHARE, QuotaShare

NOW = 1000.0


@given(st.lists(st.floats(0, 1), min_size=5, max_size=80))
def test_a_share_stays_between_next_to_nothing_and_all(left: list[float]) -> None:
    share = QuotaShare(0.25)
    for step, part in enumerate(left):
        share.observe(part * 1000, 1000, NOW + step / 2)
    assert 0.25 * LEAST_SHARE <= share.part <= 1


def test_a_share_takes_what_stays_free_and_gives_way_to_others() -> None:
    share = QuotaShare(0.25)
    for step in range(60):
        share.observe(1000, 1000, NOW + step / 2)
    assert share.part == 1
    for step in range(60, 90):
        share.observe(max(0.0, 1000 - (step - 60) * 50), 1000, NOW + step / 2)
    assert share.part < 0.5
