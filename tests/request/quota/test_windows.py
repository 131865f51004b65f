"""When a request may start: each window holds at most its rate and one request, and hardly less."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchscore.request.quota.windows import (
    SMOOTHING_SECONDS,
    WINDOW_SECONDS,
    LocalSchedule,
    Quota,
    QuotaRates,
)
from hypothesis_profiles import examples

START = 1000.0


def sent_requests(
    quota: Quota, costs: list[float], rates: QuotaRates, late: list[float]
) -> list[tuple[float, float]]:
    """Let a client reserve, wait, be late, and send; return when each request was counted, and its cost."""
    now = START
    sent = []
    for cost, lateness in zip(costs, late, strict=True):
        ticket = quota.reserve(now, cost, rates)
        assert ticket.start >= now
        sent.append((ticket.start, cost))
        now = ticket.start + lateness
    return sent


@settings(max_examples=examples(50))
@given(
    rate=st.floats(10, 1e6),
    requests=st.none() | st.floats(0.5, 1000),
    seed=st.integers(0, 10_000),
    largest=st.floats(0.01, 3),
)
def test_no_window_exceeds_its_quota_and_no_request_starves(
    rate: float, requests: float | None, seed: int, largest: float
) -> None:
    chance = random.Random(seed)
    costs = [chance.random() * largest * rate + 1 for _ in range(200)]
    late = [chance.choice([0, 0, 0.01, 0.1, 0.4]) * chance.random() for _ in costs]
    sent = sent_requests(Quota(LocalSchedule.begin(START)), costs, QuotaRates(rate, requests), late)
    starts = [at for at, _ in sent]
    assert starts == sorted(starts)
    for window in WINDOW_SECONDS:
        for first, (start, _) in enumerate(sent):
            within = [cost for at, cost in sent[first:] if at < start + window * (1 - 1e-9)]
            assert sum(within) - max(within) <= rate * window * (1 + 1e-6) + 1e-3
            if requests is not None:
                assert len(within) - 1 <= requests * window * (1 + 1e-6) + 1e-3
    paid = (sum(costs) / rate, 0 if requests is None else len(costs) / requests)
    assert starts[-1] - START <= sum(paid) + sum(late) + 10 + max(costs) / rate


@given(size=st.floats(0.05, 0.9), seed=st.integers(0, 1000))
def test_a_quota_that_is_always_wanted_is_used(size: float, seed: int) -> None:
    chance = random.Random(seed)
    rate = 1000.0
    costs = [chance.uniform(0.5, 1) * size * rate for _ in range(int(60 / size) + 1)]
    late = [chance.random() * 0.02 for _ in costs]
    sent = sent_requests(Quota(LocalSchedule.begin(START)), costs, QuotaRates(rate), late)
    assert sum(costs[:-1]) / (rate * (sent[-1][0] - START)) > 0.98


def test_the_first_second_begins_without_a_burst() -> None:
    quota, rates = Quota(LocalSchedule.begin(START)), QuotaRates(1000.0)
    sent = sent_requests(quota, [10.0] * 300, rates, [0.0] * 300)
    assert sum(cost for at, cost in sent if at < START + 1) <= 1000 + 10


def test_an_unsent_request_is_refunded_and_a_wrong_estimate_corrected() -> None:
    rates = QuotaRates(1000.0, 10.0)
    quota = Quota(LocalSchedule.begin(START))
    quota.refund(quota.reserve(START, 5000, rates))
    assert quota.reserve(START + 5, 1, rates).start == START + 5
    quota = Quota(LocalSchedule.begin(START))
    ticket = quota.reserve(START, 100, rates)
    quota.correct(ticket, 2100)
    assert quota.reserve(START, 1, QuotaRates(1000.0)).start == pytest.approx(START + 2.1, abs=0.01)


def test_nothing_is_caught_up_after_a_pause() -> None:
    schedule = LocalSchedule.begin(START)
    schedule.pause(START, START + 30)
    starts = [schedule.reserve(START + 1, 100, QuotaRates(1000.0)) for _ in range(11)]
    assert starts[0] == START + 30
    assert starts[-1] == pytest.approx(START + 31)


def test_unused_quota_may_be_used_at_once_up_to_a_quarter_second() -> None:
    schedule = LocalSchedule.begin(START)
    schedule.release(START, 99.0)
    starts = [schedule.reserve(START, 50, QuotaRates(1000.0)) for _ in range(20)]
    assert starts.count(START) == pytest.approx(SMOOTHING_SECONDS / 0.05 + 1)
