"""Rates and the ETA: pure, from totals and times to figures."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.report.progress.eta import Eta, Forecast, WorkDone, remaining_work
from batchscore.report.progress.view import GRAIN_SECONDS, WINDOW_SECONDS, RateWindow, Totals, Watch
from batchscore.rows import Attempt, DeploymentState, Expected, Heartbeat, RowsSettled

UP = DeploymentState("one", "up", 4, 1, 0, 600.0, 60_000.0, 0.0, for_quota=True)
DOWN = replace(UP, state="down", for_quota=False)
FREE = replace(UP, rpm=None, tpm=None, for_quota=False)

ROWS = 10_000
EXPECTED = Expected(ROWS, ROWS * 100, ROWS, exact=True)


@given(
    st.lists(st.tuples(st.floats(0.01, 30), st.integers(0, 100)), min_size=1, max_size=300),
)
def test_rates_are_what_was_done_in_the_window(steps: list[tuple[float, int]]) -> None:
    rates, now, rows = RateWindow(), 0.0, 0
    history = [(0.0, 0)]
    rates.add(now, Totals())
    for seconds, count in steps:
        now, rows = now + seconds, rows + count
        rates.add(now, Totals(rows))
        history.append((now, rows))
        assert len(rates.stored) <= WINDOW_SECONDS / GRAIN_SECONDS + 2
    found = rates.per_minute(now)
    if found is not None:
        since = rates.stored[0][0]
        assert since <= max(0.0, now - WINDOW_SECONDS) + GRAIN_SECONDS + 30 or len(rates.stored) == 1
        before = max(each for at, each in history if at <= since)
        assert found.rows == pytest.approx((rows - before) * 60 / (now - since))


def test_during_a_stall_the_rates_fall_to_zero() -> None:
    rates = RateWindow()
    for second in range(30):
        rates.add(second, Totals(10.0 * second))
    for second in range(30, 120):
        rates.add(second, Totals(290.0))
    found = rates.per_minute(119)
    assert found is not None
    assert found.rows == 0


def done_by(rows: float, answer: float = 0.0, per_row: float = 100.0) -> WorkDone:
    return WorkDone(int(rows), 0, int(rows), rows * per_row, rows * (per_row + answer), answer)


def ran(seconds: int, speed: float, standing: DeploymentState = UP, *, per_row: float = 100.0) -> Forecast:
    """A run so far at this many rows a second, the first of them after a second."""
    forecast = Forecast()
    for second in range(seconds + 1):
        forecast.observe(float(second), done_by(speed * second, per_row=per_row), [standing])
    return forecast


def middle(eta: Eta | None) -> float:
    assert eta is not None
    assert eta.high is not None
    assert 0 <= eta.low <= eta.high
    return (eta.low + eta.high) / 2


def end_of(forecast: Forecast, standing: DeploymentState, expected: Expected = EXPECTED) -> float:
    assert forecast.done is not None
    left = remaining_work(expected, forecast.done)
    assert left is not None
    return middle(forecast.eta(left, [standing]))


def test_before_the_first_response_the_limits_give_the_eta() -> None:
    left = remaining_work(EXPECTED, done_by(0))
    assert left is not None
    # 60,000 tokens and 600 requests a minute, and both are 10 rows a second.
    for seconds, standings in (
        (1000, [UP]),
        (500, [UP, UP, DOWN]),
        (1030, [replace(UP, paused_seconds=30.0)]),
        (2000, [replace(UP, tpm=30_000.0)]),  # a limit that was cut
    ):
        assert middle(Forecast().eta(left, standings)) == pytest.approx(seconds)
    at_least = Forecast().eta(left, [replace(UP, for_quota=False)])
    assert at_least is not None
    assert (round(at_least.low), at_least.high) == (1000, None)


def test_there_is_no_eta_if_nothing_is_known() -> None:
    left = remaining_work(EXPECTED, done_by(0))
    assert left is not None
    assert Forecast().eta(left, [FREE]) is None, "unlimited and just begun"
    assert Forecast().eta(left, [DOWN]) is None
    assert Forecast().eta(left, []) is None
    assert remaining_work(Expected(5, 5, 5, exact=True), done_by(6)) is None, "more rows than expected"


@given(st.floats(2.0, 40.0), st.integers(20, 300))
def test_later_the_observed_throughput_gives_the_eta(speed: float, seconds: int) -> None:
    """Here no request waits for the limits."""
    forecast = ran(seconds, speed, replace(UP, for_quota=False))
    left = ROWS - int(speed * seconds)
    if left > 0:
        assert end_of(forecast, replace(UP, for_quota=False)) == pytest.approx(left / speed, rel=0.15)


@given(st.integers(0, 60), st.floats(0.8, 1.25))
def test_a_rate_limited_run_has_a_good_eta_from_the_start(seconds: int, off: float) -> None:
    """However wrong the estimate of the tokens was, as soon as some are counted."""
    expected = Expected(ROWS, int(ROWS * 100 * off), ROWS, exact=True)
    off_by = max(off, 1 / off) - 1 if seconds < 10 else 0.0
    end = end_of(ran(seconds, 10.0), UP, expected)
    assert end == pytest.approx((ROWS - 10 * seconds) / 10, rel=0.15 + off_by)


@given(st.integers(20, 200), st.integers(5, 900))
def test_one_outage_does_not_change_the_throughput(before: int, outage: int) -> None:
    forecast = ran(before, 10.0)
    rows = 10 * before
    for second in range(before + 1, before + outage):
        forecast.observe(float(second), done_by(rows), [DOWN])
    for second in range(before + outage, before + outage + 20):
        rows += 10
        forecast.observe(float(second), done_by(rows), [UP])
    assert end_of(forecast, UP) == pytest.approx((ROWS - rows) / 10, rel=0.15)


def test_repeated_pauses_count_for_the_throughput() -> None:
    forecast, rows = Forecast(), 0
    paused = replace(UP, paused_seconds=5.0)
    for second in range(300):
        asking = second % 20 < 10
        rows += 10 * asking
        forecast.observe(float(second), done_by(rows), [UP if asking else paused])
    without_limits = replace(UP, tpm=None, rpm=None)
    assert end_of(forecast, without_limits) == pytest.approx((ROWS - rows) / 5, rel=0.15)


@given(st.floats(0.3, 3.0), st.floats(0.1, 0.9))
def test_with_known_bytes_neither_the_estimate_nor_the_order_of_rows_matters(off: float, part: float) -> None:
    """Rows become shorter over time, and the tokens were estimated badly."""
    bytes_in_all = ROWS * 400
    expected = Expected(ROWS, int(ROWS * 100 * off), ROWS, exact=True, prompt_bytes=bytes_in_all)
    bytes_done = int(bytes_in_all * part)
    rows = int(ROWS * part**2)
    done = WorkDone(rows, 0, rows, bytes_done / 4, bytes_done / 4, 0.0, bytes_done)
    left = remaining_work(expected, done)
    assert left is not None
    assert left.tokens == pytest.approx((bytes_in_all - bytes_done) / 4)


def test_a_watch_counts_tokens_as_a_service_charges_them() -> None:
    """`max_tokens` is charged whatever the length of the answer; without a limit, the actual tokens."""
    for bound, charged in ((50.0, 150.0), (None, 107.0)):
        watch = Watch(answer_tokens=bound)
        watch(EXPECTED)
        watch(Attempt(1, 200, 1.0, "", 100, 7))
        watch(Attempt(1, 429, 1.0, "rate_limited"))
        watch(RowsSettled(1))
        watch(Heartbeat((UP,)))
        assert watch.done().tokens == charged
        view = watch.view(watch.pulsed_at)
        assert (view.total, view.rows, view.rpm, view.tpm) == (ROWS, 1, 600.0, 60_000.0)


def test_with_more_rows_than_expected_there_is_no_total_and_no_eta() -> None:
    watch = Watch()
    watch(Expected(5, 5, 5, exact=False))
    watch(RowsSettled(6))
    watch(Heartbeat((FREE,)))
    view = watch.view(watch.pulsed_at)
    assert (view.total, view.eta, view.rows) == (None, None, 6)


@pytest.mark.parametrize("standing", [UP, FREE])
def test_a_run_does_not_end_before_a_row_that_waits_is_sent_again(standing: DeploymentState) -> None:
    forecast = ran(60, 10.0, standing)
    left = remaining_work(EXPECTED, done_by(ROWS - 1))
    assert left is not None
    soon = forecast.eta(left, [standing])
    assert soon is not None
    assert soon.low < 5
    eta = forecast.eta(left, [replace(standing, retry_seconds=120.0)])
    assert eta is not None
    assert eta.low == 120 == eta.high
    unknown = Forecast().eta(left, [replace(FREE, retry_seconds=31.0)])
    assert unknown == Eta(31.0, None), "also if nothing else is known"
    assert Forecast().eta(left, [replace(DOWN, retry_seconds=31.0)]) is None
