"""The event loop of a run: what a run changes in its process is restored."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Iterator

import pytest

from batchscore.run.event_loop import (
    COLLECT_AFTER_OBJECTS,
    rare_garbage_collection,
    run_on_fast_loop,
    signals_kept_back,
    stop_on_signals,
)
from batchscore.run.stop import Stop


def test_the_last_of_several_runs_restores_the_garbage_collector() -> None:
    before = gc.get_threshold()
    first, second = rare_garbage_collection(), rare_garbage_collection()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold()[0] == COLLECT_AFTER_OBJECTS
    second.__exit__(None, None, None)
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def number(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """A signal that raises `KeyboardInterrupt`, as it does before a run handles it."""
    chosen: signal.Signals = request.param
    before = signal.signal(chosen, signal.default_int_handler)
    yield chosen
    signal.signal(chosen, before)


def test_a_signal_while_the_loop_starts_stops_the_run(number: signal.Signals) -> None:
    """Raised within the start, it would leave a loop that can neither run nor close."""
    stop = Stop()

    async def work() -> bool:
        signal.raise_signal(number)
        with stop_on_signals(stop, [].append):
            await asyncio.sleep(0)
            return stop.requested

    assert run_on_fast_loop(work())
    assert signal.getsignal(number) is signal.default_int_handler


def test_a_signal_while_the_loop_closes_is_delivered_after_it(number: signal.Signals) -> None:
    closed = []

    def start_and_close() -> None:
        with signals_kept_back():
            signal.raise_signal(number)
            signal.raise_signal(number)  # delivered twice, as to a process and to its group
            closed.append(True)

    with pytest.raises(KeyboardInterrupt):
        start_and_close()
    assert closed
    assert signal.getsignal(number) is signal.default_int_handler


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        stop = Stop()

        async def work() -> bool:
            with stop_on_signals(stop, [].append):
                signal.raise_signal(signal.SIGINT)
                await asyncio.sleep(0.01)
                return stop.requested

        assert not run_on_fast_loop(work())
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
