"""When a request times out: by the latency of similar ones, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from batchscore.request.timeouts import SHORTEST_SECONDS, UNKNOWN_SECONDS, Timeouts
from virtual_time import LOOP_CLOCK, run_virtual


def add(timeouts: Timeouts, size: int, latencies: list[float]) -> None:
    for seconds in latencies:
        timeouts.by_size[size].add(seconds)


def test_the_timeout_fits_the_latency_of_similar_requests() -> None:
    timeouts = Timeouts(LOOP_CLOCK)
    assert timeouts.timeout(1, 0) == UNKNOWN_SECONDS
    add(timeouts, 1, [0.5] * 100)
    assert timeouts.timeout(1, 0) == SHORTEST_SECONDS
    add(timeouts, 4, [30.0] * 99 + [500.0])
    assert timeouts.timeout(4, 0) == pytest.approx(120, rel=0.25)
    assert timeouts.timeout(4, 1) == 2 * timeouts.timeout(4, 0)
    assert timeouts.timeout(7, 0) == timeouts.timeout(4, 0), "unlike any: as the slowest"
    assert Timeouts(LOOP_CLOCK, 3.0).timeout(1, 2) == 12


def test_what_timed_out_waits_as_long_as_the_few_others_suggest() -> None:
    timeouts = Timeouts(LOOP_CLOCK)
    assert timeouts.timeout(1, 1) == 2 * UNKNOWN_SECONDS, "nothing was answered"
    add(timeouts, 1, [0.5, 0.1])
    assert timeouts.timeout(7, 0) == UNKNOWN_SECONDS, "the first attempt waits longer: it may be the slow one"
    assert timeouts.timeout(7, 1) == 2 * SHORTEST_SECONDS
    add(timeouts, 4, [5.0])
    assert timeouts.timeout(7, 1) == pytest.approx(2 * 80, rel=0.25)
    add(timeouts, 4, [60.0])
    assert timeouts.timeout(7, 1) == 2 * UNKNOWN_SECONDS


@pytest.mark.parametrize(("max_outage", "first"), [(0.0, 15.0), (15.0, 15.0), (60.0, 60.0), (1800.0, 120.0)])
def test_the_first_timeout_is_no_longer_than_an_outage_may_be(max_outage: float, first: float) -> None:
    assert Timeouts(LOOP_CLOCK, None, max_outage).timeout(1, 0) == first


def test_short_answers_do_not_make_slow_ones_forgotten() -> None:
    """Chat has one size class: a stretch of short answers must not cost the long ones behind it."""
    timeouts = Timeouts(LOOP_CLOCK)
    add(timeouts, 1, [40.0] * 500 + [1.0] * 1_000)
    assert timeouts.timeout(1, 0) > 150


def test_only_the_overdue_request_is_cancelled() -> None:
    async def main() -> list[str]:
        timeouts = Timeouts(LOOP_CLOCK, 2.0)
        ended: list[str] = []

        async def ask(name: str, seconds: float) -> None:
            flight = timeouts.start(1, 0)
            try:
                await asyncio.sleep(seconds)
                ended.append(name)
            except asyncio.CancelledError:
                assert flight.overdue
                ended.append(f"{name} was late")
            finally:
                timeouts.end(flight)

        watch = asyncio.create_task(timeouts.watch())
        await asyncio.gather(ask("quick", 1), ask("hung", 100), ask("slow", 1.9))
        watch.cancel()
        return ended

    ended, seconds = run_virtual(main())
    assert ended == ["quick", "slow", "hung was late"]
    assert seconds < 4
