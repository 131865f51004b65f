"""How long a run takes at rate limits: plain arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from batchscore.plan.estimates import RateLimits, pace, rate_limits_of
from batchscore.settings.fields import Settings

LIMIT = st.none() | st.floats(1, 1e8)
DEPLOYMENTS = st.lists(st.builds(RateLimits, LIMIT, LIMIT), min_size=1, max_size=4)
WORK = st.tuples(st.floats(1, 1e7), st.floats(1, 1e10))


def test_the_scarcer_limit_decides() -> None:
    by_tokens = pace(600, 1_200_000, [RateLimits(rpm=600, tpm=120_000)])
    by_requests = pace(600, 1_200, [RateLimits(rpm=60, tpm=120_000)])
    assert by_tokens is not None
    assert by_requests is not None
    assert (by_tokens.minutes, by_tokens.decided_by) == (pytest.approx(10), "tokens")
    assert (by_requests.minutes, by_requests.decided_by) == (pytest.approx(10), "requests")


def test_no_requests_take_no_time_and_without_a_limit_the_time_is_unknown() -> None:
    assert pace(0, 0, [RateLimits(None, None)]) is not None
    assert pace(5, 100, [RateLimits(1, 1), RateLimits(None, None)]) is None


@given(WORK, DEPLOYMENTS)
def test_one_more_deployment_never_takes_longer(work: tuple[float, float], allowed: list[RateLimits]) -> None:
    together = pace(*work, allowed)
    alone = pace(*work, allowed[:1])
    assume(together is not None and alone is not None)
    assert together is not None
    assert alone is not None
    assert together.minutes <= alone.minutes * 1.0001


@given(WORK, st.floats(1, 1e6), st.floats(1, 1e8))
def test_neither_limit_is_exceeded(work: tuple[float, float], rpm: float, tpm: float) -> None:
    found = pace(*work, [RateLimits(rpm, tpm)])
    assert found is not None
    requests, charged = work
    assert requests <= rpm * found.minutes * 1.0001
    assert charged <= tpm * found.minutes * 1.0001


def test_the_settings_limits_are_this_workers_share() -> None:
    settings = Settings(task="chat", model="m", output="o", tpm=1000, quota_share=0.25)
    assert rate_limits_of(settings) == (RateLimits(rpm=None, tpm=250),)
    several = Settings(task="chat", model="m", output="o", deployments=({"rpm": 10}, {"tpm": 20}))
    assert rate_limits_of(several) == (RateLimits(10, None), RateLimits(None, 20))
