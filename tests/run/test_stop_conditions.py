"""What a run has used, and when that is enough: events in, a reason out."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from batchscore.engine.open import DRAIN_SECONDS
from batchscore.errors import (
    BatchscoreError,
    BoundReached,
    ErrorCode,
    ExitCode,
    SettingsError,
    TooManyErrors,
    UsageError,
)
from batchscore.report.run_end import Ended
from batchscore.report.words import money_text
from batchscore.rows import Attempt, Event, FileFinished, Notice, RowsSettled
from batchscore.run.stop_conditions import LOOK_SECONDS, Bounds, bounds_of
from batchscore.settings.fields import Settings
from virtual_time import run_virtual

STARTED = 1_000_000.0


def settings(task: str = "chat", **given: Any) -> Settings:
    return Settings(task=task, model="m", output="out", **given)


def answered(prompt_tokens: int, completion_tokens: int = 0) -> Attempt:
    return Attempt(1, 200, 0.1, "", prompt_tokens, completion_tokens)


def after(bounds: Bounds, *events: Event) -> tuple[BatchscoreError | None, list[Event]]:
    """Give why these events end a run, and what a listener heard."""
    heard: list[Event] = []
    listen = bounds.listening(heard.append)
    for event in events:
        listen(event)
    assert bounds.stop.is_set() == (bounds.reached is not None)
    return bounds.reached, heard


def test_without_bounds_nothing_ends_a_run() -> None:
    bounds = bounds_of(settings(), STARTED)
    events = [answered(0), answered(10**9, 10**9), RowsSettled(0, {ErrorCode.TIMEOUT: 10**9})]
    assert after(bounds, *events) == (None, events)
    assert bounds.drain_seconds == DRAIN_SECONDS


def test_tokens_of_prompts_and_answers_count_together() -> None:
    just_below = after(bounds_of(settings(max_total_tokens=100), STARTED), answered(60, 39))
    assert just_below[0] is None
    reached, heard = after(bounds_of(settings(max_total_tokens=100), STARTED), answered(60), answered(1, 39))
    assert type(reached) is BoundReached
    assert str(reached) == "this run has used 100 tokens, and --max-total-tokens is 100."
    assert isinstance(heard[-1], Notice)
    assert heard[-1].text.startswith("Stopping: this run has used 100 tokens")


def test_money_is_counted_by_both_prices() -> None:
    chosen = settings(max_spend=1.0, price_in=0.5, price_out=2.0)
    assert chosen.cost(1_000_000, 250_000) == 1.0
    assert after(bounds_of(chosen, STARTED), answered(1_000_000, 249_999))[0] is None
    reached, _ = after(bounds_of(chosen, STARTED), answered(1_000_000, 250_000))
    assert str(reached) == "this run has cost 1.00, and --max-spend is 1."


def test_embeddings_have_a_price_of_prompts_only() -> None:
    chosen = settings("embeddings", max_spend=0.01, price_in=0.02)
    assert chosen.cost(1_000_000, 0) == 0.02
    assert after(bounds_of(chosen, STARTED), answered(500_000))[0] is not None


def test_what_has_no_price_has_no_cost() -> None:
    assert settings().cost(1, 1) is None
    assert settings(price_in=1.0).cost(1, 1) is None


@pytest.mark.parametrize(
    ("task", "given", "words"),
    [
        ("chat", {"max_spend": 5.0}, "--max-spend needs --price-in and --price-out"),
        ("chat", {"max_spend": 5.0, "price_in": 1.0}, "--max-spend needs --price-out:"),
        ("embeddings", {"max_spend": 5.0, "price_out": 1.0}, "--max-spend needs --price-in:"),
        ("embeddings", {"max_spend": 5.0, "price_in": 0.0}, "where --price-in are 0, nothing is ever spent"),
        ("chat", {"max_spend": 0.0, "price_in": 1.0, "price_out": 1.0}, "--max-spend is 0.0"),
        ("chat", {"price_in": -1.0}, "--price-in is -1.0"),
        ("chat", {"max_errors": 0}, "--max-errors is 0"),
        ("chat", {"max_total_tokens": 0}, "--max-total-tokens is 0"),
        ("chat", {"deadline": "soon"}, "--deadline is 'soon'; give a duration"),
    ],
)
def test_bounds_that_cannot_be_meant(task: str, given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        settings(task, **given)


def test_rows_that_had_nothing_to_ask_have_not_failed() -> None:
    empty = RowsSettled(5, {ErrorCode.EMPTY_INPUT: 50, ErrorCode.INPUT_TOO_LONG: 1})
    filtered = RowsSettled(0, {ErrorCode.CONTENT_FILTER: 2})
    assert after(bounds_of(settings(max_errors=3), STARTED), empty, answered(1))[0] is None
    reached, _ = after(bounds_of(settings(max_errors=3), STARTED), empty, filtered)
    assert isinstance(reached, TooManyErrors)
    assert "3 rows of this run have failed, and --max-errors is 3." in str(reached)


def test_a_budget_that_cannot_be_counted_ends_the_run_at_once() -> None:
    """Else it would be no bound at all; an attempt that came to nothing says no tokens, either."""
    lost = Attempt(4, None, 1.0, "timeout")
    probe = Attempt(0, 200, 0.1, "probe")
    assert after(bounds_of(settings(max_total_tokens=9), STARTED), lost, probe)[0] is None
    reached, _ = after(bounds_of(settings(max_total_tokens=9), STARTED), lost, answered(0))
    assert isinstance(reached, SettingsError)
    assert "--max-total-tokens cannot be kept" in str(reached)
    assert after(bounds_of(settings(max_total_tokens=9), STARTED), answered(1), answered(0))[0] is None


def test_what_stopped_the_run_first_is_the_reason() -> None:
    bounds = bounds_of(settings(max_total_tokens=1, max_errors=1), STARTED)
    reached, heard = after(bounds, answered(1), RowsSettled(0, {ErrorCode.TIMEOUT: 9}), answered(1))
    assert "--max-total-tokens" in str(reached)
    assert sum(isinstance(event, Notice) for event in heard) == 1
    interrupted = bounds_of(settings(max_total_tokens=1), STARTED)
    interrupted.stop.set()
    interrupted.listening(lambda _: None)(answered(1))
    assert interrupted.reached is None


@pytest.mark.parametrize(
    ("text", "asks_for", "drains_for"),
    [("2h", 7170.0, 20.0), ("1m", 30.0, 20.0), ("30s", 15.0, 10.0), ("3s", 1.5, 1.0)],
)
def test_a_deadline_leaves_time_to_wait_for_answers_and_to_write(
    text: str, asks_for: float, drains_for: float
) -> None:
    bounds = bounds_of(settings(deadline=text), STARTED)
    assert bounds.begins_to_end == STARTED + asks_for
    assert bounds.drain_seconds == pytest.approx(drains_for)


def test_a_deadline_ends_the_run_in_time_also_when_the_clock_is_set_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The wall's clock counts, whatever the event loop's says."""
    bounds = bounds_of(settings(deadline="2h"), STARTED)
    assert bounds.begins_to_end is not None
    clock = {"ahead": 0.0}

    async def watched() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()

        def now() -> float:
            return STARTED + loop.time() - began + clock["ahead"]

        async with bounds.watching(lambda _: None, now):
            await asyncio.sleep(60)
            assert not bounds.stop.is_set()
            clock["ahead"] = 7000.0
            await bounds.stop.wait()
        return now()

    stopped = run_virtual(watched())[0]
    assert bounds.begins_to_end <= stopped <= bounds.begins_to_end + LOOK_SECONDS
    assert str(bounds.reached) == "the run is to be over by --deadline 2h."


def test_a_date_as_a_deadline_says_that_it_does_not_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = bounds_of(settings(deadline="2100-01-01T00:00"), STARTED)
    assert bounds.begins_to_end is not None

    async def watched() -> None:
        async with bounds.watching(lambda _: None, functools.partial(float, bounds.begins_to_end or 0.0)):
            await bounds.stop.wait()

    run_virtual(watched())
    assert str(bounds.reached).endswith("To go on, give a later one.")
    with pytest.raises(UsageError, match="has passed"):
        bounds_of(settings(deadline="1969-01-01T00:00Z"), STARTED)


@pytest.mark.parametrize(
    ("amount", "words"), [(0.0, "0.00"), (0.00123456, "0.00123"), (12.345, "12.35"), (12345.6, "12,345.60")]
)
def test_amounts_of_money(amount: float, words: str) -> None:
    assert money_text(amount) == words


@pytest.mark.parametrize(
    ("reached", "threshold", "code"),
    [
        (TooManyErrors("x"), 0.0, ExitCode.ROWS_FAILED),
        (TooManyErrors("x"), 2.0, ExitCode.ROWS_FAILED),
        (TooManyErrors("x"), 3.0, ExitCode.CONTINUE_LATER),
        (TooManyErrors("x"), 0.5, ExitCode.CONTINUE_LATER),
        (BoundReached("x"), 0.0, ExitCode.CONTINUE_LATER),
        (SettingsError("x"), 0.0, ExitCode.ACTION_NEEDED),
    ],
)
def test_a_person_must_look_where_too_many_failed(
    reached: BatchscoreError, threshold: float, code: ExitCode
) -> None:
    """Three of ten rows have failed so far; a budget's end says nothing about them."""
    files = (FileFinished("a.csv", "partial", 10, 5, 4, 1, complete=False),)
    assert Ended(files, stopped=True, stopped_by=reached).exit_code(threshold) is code
