"""Limits, concurrency, patience and shares: pure figures, driven by made-up clocks."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.request.concurrency import FEWEST_BY_MEMORY, MOST_BYTES, OPENING, Concurrency
from batchscore.request.quota.limits import CUT, Limits
from batchscore.request.quota.share import LEAST, Sharing
from batchscore.request.reply_headers import LimitHeaders, limit_headers
from batchscore.request.timeouts import LEAST_SECONDS, UNKNOWN_SECONDS, Patience, RoundTrips
from virtual_time import run_virtual

NOW = 1000.0


def test_limits_are_those_given_or_told_and_the_lower_one_counts() -> None:
    limits = Limits(rpm=600, tpm=60_000)
    assert (limits.rates.tokens, limits.rates.requests) == (1000, 10)
    limits.told(LimitHeaders(tokens=30_000, requests=6000), NOW)
    assert (limits.rates.tokens, limits.rates.requests) == (500, 10), "lowered for hours, as Azure does"
    limits.told(LimitHeaders(tokens=90_000), NOW)
    assert limits.rates.tokens == 1000
    learned = Limits()
    assert not learned.rates.limited
    assert learned.told(LimitHeaders(tokens=60_000, requests=600), NOW)
    assert (learned.rates.tokens, learned.rates.requests, learned.most_tokens) == (1000, 10, 60_000)


@pytest.mark.parametrize("value", ["-1", "0", "", "many", "nan", "inf"])
def test_a_placeholder_in_a_header_is_no_limit(value: str) -> None:
    headers = {"x-ratelimit-limit-tokens": value, "x-ratelimit-remaining-tokens": "5"}
    assert limit_headers(headers) == LimitHeaders()


def test_a_burst_of_refusals_under_one_limit_cuts_once() -> None:
    limits = Limits(tpm=60_000)
    assert limits.refused(admitted=NOW, now=NOW + 1)
    assert [limits.refused(NOW + early, NOW + 1.1) for early in (0.1, 0.5, 1.0)] == [False, False, False]
    assert limits.rates.tokens == pytest.approx(1000 * CUT)
    assert limits.refused(admitted=NOW + 1.05, now=NOW + 2)
    assert limits.rates.tokens == pytest.approx(1000 * CUT**2)


def test_what_was_cut_is_won_back_only_while_the_limit_is_used() -> None:
    limits = Limits(tpm=60_000)
    limits.refused(NOW, NOW)
    for second in range(1, 60):
        limits.passed(10, NOW + second, used=False)
    assert limits.rates.tokens == pytest.approx(1000 * CUT)
    for second in range(60, 120):
        limits.passed(10, NOW + second, used=True)
    assert limits.rates.tokens == 1000, "and never more than the limit"


def test_a_limit_that_nobody_tells_is_found_by_what_was_let_through() -> None:
    limits = Limits()
    for tenth in range(20):
        limits.passed(100, NOW + tenth / 10, used=False)
    assert not limits.rates.limited
    limits.refused(NOW + 1.9, NOW + 2)
    assert limits.rates.tokens == pytest.approx(1000, rel=0.1)
    limits.refused(NOW + 2.1, NOW + 3)
    found = limits.rates.tokens
    assert found is not None
    for second in range(4, 9):
        limits.passed(found, NOW + second, used=True)
    assert limits.rates.tokens == pytest.approx(found * 1.02**5, rel=0.02)


def test_a_request_limit_of_a_header_may_count_ten_seconds_and_a_given_one_may_not() -> None:
    told, given_one = Limits(), Limits(rpm=600)
    for limits in (told, given_one):
        limits.told(LimitHeaders(requests=600), NOW)
        for second in range(200):
            limits.passed(10, NOW + second, used=True)
    assert told.rates.requests == pytest.approx(60)
    assert given_one.rates.requests == 10


@given(st.lists(st.floats(0, 1), min_size=5, max_size=80))
def test_a_share_stays_between_next_to_nothing_and_all(left: list[float]) -> None:
    sharing = Sharing(0.25)
    for step, part in enumerate(left):
        sharing.told(part * 1000, 1000, NOW + step / 2)
    assert 0.25 * LEAST <= sharing.part <= 1


def test_a_share_takes_what_stays_free_and_gives_way_to_others() -> None:
    sharing = Sharing(0.25)
    for step in range(60):
        sharing.told(1000, 1000, NOW + step / 2)
    assert sharing.part == 1
    for step in range(60, 90):
        sharing.told(max(0.0, 1000 - (step - 60) * 50), 1000, NOW + step / 2)
    assert sharing.part < 0.5


def answer(concurrency: Concurrency, times: int, seconds: float, size: float = 1000) -> None:
    for _ in range(times):
        concurrency.answered(seconds, size, concurrency.limit, for_quota=False)


def test_one_request_goes_ahead_and_then_as_many_as_latency_times_rate_needs() -> None:
    blind, told = Concurrency(500), Concurrency(500, rate=100.0)
    answer(blind, 1, 1.0)
    answer(told, 1, 1.0)
    assert (blind.limit, told.limit) == (OPENING, 200)


def idle() -> float:
    return 0.1


def test_who_is_busy_all_the_time_gains_nothing_by_more_in_flight() -> None:
    concurrency = Concurrency(500, busy=lambda: 0.99)
    for _ in range(6):
        answer(concurrency, concurrency.round_size, 0.1)
    assert concurrency.limit == OPENING


def test_more_are_in_flight_while_that_helps() -> None:
    concurrency = Concurrency(500, busy=idle)
    for _ in range(6):
        answer(concurrency, concurrency.round_size, 0.1)
    assert concurrency.limit == 500
    slowing = Concurrency(500, busy=idle)
    for seconds in (0.1, 0.1, 0.1, 0.4, 0.4, 0.4):
        answer(slowing, slowing.round_size, seconds)
    assert slowing.limit < 100


def test_who_waits_for_quota_needs_no_more_in_flight() -> None:
    concurrency = Concurrency(500)
    answer(concurrency, 1, 0.1)
    for _ in range(100):
        concurrency.answered(0.1, 1000, concurrency.limit, for_quota=True)
    assert concurrency.limit == OPENING


def test_a_service_that_fails_a_fifth_is_asked_less_at_once() -> None:
    concurrency = Concurrency(500, limit=100, doubling=False)
    for _ in range(75):
        concurrency.answered(0.1, 1000, 100, for_quota=False)
    for _ in range(25):
        concurrency.failed()
    assert concurrency.limit == 70


def test_memory_bounds_what_is_in_flight() -> None:
    concurrency = Concurrency(500, rows=256, busy=idle)
    for _ in range(8):
        answer(concurrency, concurrency.round_size, 0.1, size=8000)
    assert concurrency.limit == max(FEWEST_BY_MEMORY, MOST_BYTES // (8000 * 256))


def test_patience_fits_what_like_requests_take() -> None:
    patience = Patience()
    assert patience.timeout(1, 0) == UNKNOWN_SECONDS
    trips = patience.by_size[1] = RoundTrips()
    for _ in range(100):
        trips.add(0.5)
    assert patience.timeout(1, 0) == LEAST_SECONDS
    slow = patience.by_size[4] = RoundTrips()
    for _ in range(100):
        slow.add(30)
    assert 120 <= patience.timeout(4, 0) <= 150
    assert patience.timeout(4, 1) == 2 * patience.timeout(4, 0)
    assert patience.timeout(7, 0) == patience.timeout(4, 0), "unlike any: as the slowest"
    assert Patience(3.0).timeout(1, 2) == 12


def test_only_the_overdue_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> list[str]:
        patience = Patience(2.0)
        ended: list[str] = []

        async def ask(name: str, seconds: float) -> None:
            flight = patience.begin(1, 0)
            try:
                await asyncio.sleep(seconds)
                ended.append(name)
            except asyncio.CancelledError:
                assert flight.overdue
                ended.append(f"{name} was late")
            finally:
                patience.end(flight)

        watch = asyncio.create_task(patience.watch())
        await asyncio.gather(ask("quick", 1), ask("hung", 100), ask("slow", 1.9))
        watch.cancel()
        return ended

    ended, seconds = run_virtual(main(), monkeypatch)
    assert ended == ["quick", "slow", "hung was late"]
    assert seconds < 4
