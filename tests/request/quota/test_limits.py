"""Limits given, learned from headers or found by 429s: pure figures, driven by made-up clocks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.request.quota.limits import CUT, LEAST_SHARE, Limits, QuotaShare
from batchscore.request.rate_headers import LimitHeaders, RequestWindow, limit_headers

NOW = 1000.0


def test_the_lower_of_a_given_limit_and_a_headers_limit_counts() -> None:
    limits = Limits(rpm=600, tpm=60_000)
    assert (limits.rates.tokens, limits.rates.requests) == (1000, 10)
    limits.learn(LimitHeaders(tokens=30_000, requests=6000), NOW)
    assert (limits.rates.tokens, limits.rates.requests) == (500, 10), "lowered for hours, as Azure does"
    limits.learn(LimitHeaders(tokens=90_000), NOW)
    assert limits.rates.tokens == 1000
    learned = Limits()
    assert not learned.rates.limited
    assert learned.learn(LimitHeaders(tokens=60_000, requests=600), NOW)
    assert (learned.rates.tokens, learned.rates.requests, learned.most_tokens) == (1000, 10, 60_000)


@pytest.mark.parametrize("value", ["-1", "0", "", "many", "nan", "inf"])
def test_a_placeholder_in_a_header_is_no_limit(value: str) -> None:
    headers = {"x-ratelimit-limit-tokens": value, "x-ratelimit-remaining-tokens": "5"}
    assert limit_headers(headers) == LimitHeaders()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-ratelimit-limit-requests": "600", "x-ratelimit-limit-tokens": "9"}, (9, 600)),
        ({"X-RateLimit-Limit-Requests-Minute": "600"}, (None, 600)),  # Cerebras
        ({"x-ratelimit-limit-requests-day": "600"}, (None, None)),
        ({"x-ratelimit-limit-requests-second": "5"}, (None, 300)),
        (
            {"x-ratelimit-limit-req-minute": "60", "x-ratelimit-limit-tokens-minute": "500"},
            (500, 60),
        ),  # Mistral
        ({"x-ratelimit-limit-req-10-second": "5"}, (None, 30)),
        ({"X-RateLimit-Limit-Second": "5", "X-RateLimit-Limit-Minute": "100"}, (None, 100)),  # Kong
        ({"X-RateLimit-Limit-Hour": "5", "RateLimit-Limit": "5", "RateLimit-Reset": "9"}, (None, None)),
        ({"RateLimit-Policy": "100;w=60"}, (None, 100)),
        ({"RateLimit-Policy": '10;w=1;comment="burst", 100;w=60, 9;w=3600'}, (None, 100)),
        ({"RateLimit-Policy": '"default";q=5;w=1'}, (None, 300)),
        ({"RateLimit-Policy": '"a";q=5;w=1;qu="requests"'}, (None, 300)),
        ({"RateLimit-Policy": '"bytes";q=50000;w=60;qu="content-bytes"'}, (None, None)),
        ({"RateLimit-Policy": "0;w=60, 5;w=0, x"}, (None, None)),
    ],
)
def test_limits_are_read_in_the_names_and_units_of_each_gateway(
    headers: dict[str, str], expected: tuple[float | None, float | None]
) -> None:
    found = limit_headers(headers)
    assert (found.tokens, found.requests) == expected


def replies(limit: int, left: int, reset: str) -> dict[str, str]:
    names = ("limit", "remaining", "reset")
    values = (str(limit), str(left), reset)
    return {f"x-ratelimit-{name}-requests": value for name, value in zip(names, values, strict=True)}


def observed(limit: int, window: float, pace: float, reset: Callable[[float, int], str]) -> RequestWindow:
    """What replies show after a burst and a minute: a limit of a sliding window, at a pace a second."""
    found = RequestWindow()
    sent: list[float] = []
    burst = [number / 10 for number in range(min(limit, 8))]
    for now in [*burst, *(2 + number / pace for number in range(round(60 * pace)))]:
        sent = [each for each in sent if each > now - window] + [now]
        found.observe(replies(limit, limit - len(sent), reset(now, len(sent))), now)
    return found


@pytest.mark.parametrize("window", [1.0, 60.0])
@pytest.mark.parametrize("limit", [4, 5, 10, 20, 30])
@pytest.mark.parametrize("constant", ["", "1", "1s", "200ms"])
def test_a_limit_of_a_second_is_distinguished_from_one_of_a_minute(
    limit: int, window: float, constant: str
) -> None:
    found = observed(limit, window, limit / 60, lambda now, _: constant or f"{800 - 37 * now % 700:.0f}ms")
    assert found.is_second is (window == 1)
    if found.is_second:
        found.note_rate_limit()
        found.observe(replies(limit, limit - 1, "800ms"), 121.0)
        assert found.seconds == 60, "after a 429"


@pytest.mark.parametrize("limit", [10, 60, 300, 1000])
@pytest.mark.parametrize("pace", [0.1, 5.0])
@pytest.mark.parametrize(
    "reset",
    [
        pytest.param(lambda _now, _used, _limit: "1", id="constant"),
        pytest.param(lambda _now, _used, _limit: "1s", id="constant with a unit"),
        pytest.param(lambda _now, _used, _limit: "100ms", id="constant and short"),
        pytest.param(lambda _now, _used, limit: f"{60 / limit:.3f}s", id="until the next slot"),
        pytest.param(lambda now, _used, limit: f"{60 / limit * (1 - now % 1):.3f}s", id="of a bucket"),
        pytest.param(lambda _now, used, limit: f"{60 / limit * used:.3f}s", id="until it is full"),
        pytest.param(lambda now, _used, _limit: f"{60 - now % 60:.3f}s", id="of the clock's minute"),
    ],
)
def test_a_limit_that_may_be_one_of_a_minute_counts_as_such(
    limit: int, pace: float, reset: Callable[[float, int, int], str]
) -> None:
    found = observed(limit, 60.0, min(pace, limit / 60), lambda now, used: reset(now, used, limit))
    assert found.seconds == 60


def test_replies_out_of_order_and_a_new_minute_are_no_evidence_of_a_second() -> None:
    found = RequestWindow()
    for now, used in enumerate(
        [*range(30, 1, -1), *range(60, 30, -1), *range(20, 1, -1), *range(60, 30, -1)]
    ):
        found.observe(replies(100, 100 - used, "200ms"), float(now))
    assert not found.is_second


def test_the_window_is_that_of_the_header_that_has_the_limit() -> None:
    headers = replies(5, 4, "200ms")
    assert limit_headers(headers, unnamed_seconds=1.0).requests == 300
    for other in ({"x-ratelimit-limit-requests-minute": "100"}, {"ratelimit-policy": "100;w=60"}):
        assert limit_headers(headers | other, unnamed_seconds=1.0).requests == 100


def test_a_burst_of_refusals_under_one_limit_cuts_once() -> None:
    limits = Limits(tpm=60_000)
    assert limits.note_rate_limit(admitted=NOW, now=NOW + 1)
    assert [limits.note_rate_limit(NOW + early, NOW + 1.1) for early in (0.1, 0.5, 1.0)] == [
        False,
        False,
        False,
    ]
    assert limits.rates.tokens == pytest.approx(1000 * CUT)
    assert limits.note_rate_limit(admitted=NOW + 1.05, now=NOW + 2)
    assert limits.rates.tokens == pytest.approx(1000 * CUT**2)


def test_a_cut_is_regained_only_while_the_limit_is_used() -> None:
    limits = Limits(tpm=60_000)
    limits.note_rate_limit(NOW, NOW)
    for second in range(1, 60):
        limits.note_answer(10, NOW + second, used=False)
    assert limits.rates.tokens == pytest.approx(1000 * CUT)
    for second in range(60, 120):
        limits.note_answer(10, NOW + second, used=True)
    assert limits.rates.tokens == 1000, "and never more than the limit"


def test_an_unknown_limit_is_found_by_the_observed_rate() -> None:
    limits = Limits()
    for tenth in range(20):
        limits.note_answer(100, NOW + tenth / 10, used=False)
    assert not limits.rates.limited
    limits.note_rate_limit(NOW + 1.9, NOW + 2)
    assert limits.rates.tokens == pytest.approx(1000, rel=0.1)
    limits.note_answer(100, NOW + 2.5, used=False)
    limits.note_rate_limit(NOW + 2.1, NOW + 3)
    found = limits.rates.tokens
    assert found is not None
    for second in range(4, 9):
        limits.note_answer(found, NOW + second, used=True)
    assert limits.rates.tokens == pytest.approx(found * 1.02**5, rel=0.02)


def test_a_request_limit_of_a_header_may_count_ten_seconds_and_a_given_one_may_not() -> None:
    told, given_one = Limits(), Limits(rpm=600)
    for limits in (told, given_one):
        limits.learn(LimitHeaders(requests=600), NOW)
        for second in range(200):
            limits.note_answer(10, NOW + second, used=True)
    assert told.rates.requests == pytest.approx(60)
    assert given_one.rates.requests == 10


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
