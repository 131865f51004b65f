"""How many requests are in flight: pure figures."""

from __future__ import annotations

from batchscore.request.concurrency import FEWEST_BY_MEMORY, MOST_BYTES, OPENING, Concurrency


def answer(concurrency: Concurrency, times: int, seconds: float, size: float = 1000) -> None:
    for _ in range(times):
        concurrency.note_answer(seconds, size, concurrency.limit, for_quota=False)


def idle() -> float:
    return 0.1


def test_after_one_request_as_many_go_as_latency_times_rate_needs() -> None:
    blind, told = Concurrency(500, idle), Concurrency(500, idle, rate=100.0)
    answer(blind, 1, 1.0)
    answer(told, 1, 1.0)
    assert (blind.limit, told.limit) == (OPENING, 200)


def test_a_thread_that_is_always_busy_puts_no_more_in_flight() -> None:
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


def test_requests_that_wait_for_quota_need_no_more_in_flight() -> None:
    concurrency = Concurrency(500, idle)
    answer(concurrency, 1, 0.1)
    for _ in range(100):
        concurrency.note_answer(0.1, 1000, concurrency.limit, for_quota=True)
    assert concurrency.limit == OPENING


def test_a_service_that_fails_more_than_a_fifth_gets_fewer_requests_at_a_time() -> None:
    concurrency = Concurrency(500, idle, limit=100, doubling=False)
    for _ in range(75):
        concurrency.note_answer(0.1, 1000, 100, for_quota=False)
    for _ in range(25):
        concurrency.note_failure()
    assert concurrency.limit == 70


def test_memory_bounds_the_requests_in_flight() -> None:
    concurrency = Concurrency(500, idle, rows=256)
    for _ in range(8):
        answer(concurrency, concurrency.round_size, 0.1, size=8000)
    assert concurrency.limit == max(FEWEST_BY_MEMORY, MOST_BYTES // (8000 * 256))
