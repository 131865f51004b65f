"""What a run has used, and when that must stop it: events in, a reason out."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from batchscore.engine.bounds import DRAIN_SECONDS
from batchscore.errors import (
    BatchscoreError,
    BoundReached,
    ErrorCode,
    ExitCode,
    SettingsError,
    TooManyErrors,
    UsageError,
)
from batchscore.report.run_end import RunEnd
from batchscore.report.words import money_text
from batchscore.rows import Attempt, Event, FileFinished, FileOpened, Notice, RowsSettled
from batchscore.run.stop import LOOK_SECONDS, StopConditions, stop_conditions
from batchscore.settings.fields import Settings
from batchscore.settings.slices import StopSettings, cut
from virtual_time import run_virtual

STARTED = 1_000_000.0


def settings(task: str = "chat", **given: Any) -> Settings:
    return Settings(task=task, model="m", output="out", **given)


def conditions_of(settings: Settings, started: float) -> StopConditions:
    return stop_conditions(cut(StopSettings, settings), started)


def answered(prompt_tokens: int, completion_tokens: int = 0) -> Attempt:
    return Attempt(1, 200, 0.1, "", prompt_tokens, completion_tokens)


def after(conditions: StopConditions, *events: Event) -> tuple[BatchscoreError | None, list[Event]]:
    """Return why these events stop a run, and the events that a listener got."""
    heard: list[Event] = []
    listen = conditions.before(heard.append)
    for event in events:
        listen(event)
    assert conditions.stop.requested == (conditions.stop.reason is not None)
    return conditions.stop.reason, heard


def test_without_conditions_nothing_stops_a_run() -> None:
    conditions = conditions_of(settings(), STARTED)
    events = [answered(0), answered(10**9, 10**9), RowsSettled(0, {ErrorCode.TIMEOUT: 10**9})]
    assert after(conditions, *events) == (None, events)
    assert conditions.drain_seconds == DRAIN_SECONDS


def test_tokens_of_prompts_and_answers_count_together() -> None:
    just_below = after(conditions_of(settings(max_total_tokens=100), STARTED), answered(60, 39))
    assert just_below[0] is None
    reached, heard = after(
        conditions_of(settings(max_total_tokens=100), STARTED), answered(60), answered(1, 39)
    )
    assert type(reached) is BoundReached
    assert str(reached) == "this run has used 100 tokens, and max_total_tokens is 100."
    assert isinstance(heard[-1], Notice)
    assert heard[-1].text.startswith("Stopping: this run has used 100 tokens")


def test_cost_uses_both_prices() -> None:
    chosen = settings(max_spend=1.0, price_in=0.5, price_out=2.0)
    assert chosen.cost(1_000_000, 250_000) == 1.0
    assert after(conditions_of(chosen, STARTED), answered(1_000_000, 249_999))[0] is None
    reached, _ = after(conditions_of(chosen, STARTED), answered(1_000_000, 250_000))
    assert str(reached) == "this run has cost 1.00, and max_spend is 1."


def test_embeddings_cost_prompt_tokens_only() -> None:
    chosen = settings("embeddings", max_spend=0.01, price_in=0.02)
    assert chosen.cost(1_000_000, 0) == 0.02
    assert after(conditions_of(chosen, STARTED), answered(500_000))[0] is not None


def test_without_prices_there_is_no_cost() -> None:
    assert settings().cost(1, 1) is None
    assert settings(price_in=1.0).cost(1, 1) is None


@pytest.mark.parametrize(
    ("task", "given", "words"),
    [
        ("chat", {"max_spend": 5.0}, "max_spend needs price_in and price_out"),
        ("chat", {"max_spend": 5.0, "price_in": 1.0}, "max_spend needs price_out:"),
        ("embeddings", {"max_spend": 5.0, "price_out": 1.0}, "max_spend needs price_in:"),
        ("embeddings", {"max_spend": 5.0, "price_in": 0.0}, "max_spend has no effect if price_in are 0"),
        ("chat", {"max_spend": 0.0, "price_in": 1.0, "price_out": 1.0}, "max_spend is 0.0"),
        ("chat", {"price_in": -1.0}, "price_in is -1.0"),
        ("chat", {"max_errors": 0}, "max_errors is 0"),
        ("chat", {"max_total_tokens": 0}, "max_total_tokens is 0"),
        ("chat", {"deadline": "soon"}, "deadline cannot be read; give a duration"),
    ],
)
def test_impossible_conditions_are_refused(task: str, given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        settings(task, **given)


def test_empty_rows_do_not_count_as_failed() -> None:
    empty = RowsSettled(5, {ErrorCode.EMPTY_INPUT: 50, ErrorCode.INPUT_TOO_LONG: 1})
    filtered = RowsSettled(0, {ErrorCode.CONTENT_FILTER: 2})
    assert after(conditions_of(settings(max_errors=3), STARTED), empty, answered(1))[0] is None
    reached, _ = after(conditions_of(settings(max_errors=3), STARTED), empty, filtered)
    assert isinstance(reached, TooManyErrors)
    assert "3 rows of this run have failed, and max_errors is 3." in str(reached)


def test_a_run_stops_if_none_of_the_first_answers_matches_the_schema() -> None:
    def reason(*events: Event) -> BatchscoreError | None:
        return after(conditions_of(settings(), STARTED), FileOpened("a.csv", 0), *events)[0]

    invalid = RowsSettled(0, {ErrorCode.INVALID_ANSWER: 10})
    assert reason(invalid, RowsSettled(0, {ErrorCode.TIMEOUT: 10})) is None
    assert reason(RowsSettled(1), invalid, invalid) is None
    assert reason(FileOpened("b.csv", 20), invalid, invalid) is None  # the user has seen the errors
    reached = reason(invalid, invalid)
    assert isinstance(reached, TooManyErrors)
    assert "none of the first 20 answers matches schema" in str(reached)


def test_a_budget_stops_the_run_if_the_service_reports_no_usage() -> None:
    """Otherwise the budget would have no effect. Failed attempts and probes report no usage, either."""
    lost = Attempt(4, None, 1.0, "timeout")
    probe = Attempt(0, 200, 0.1, "probe")
    assert after(conditions_of(settings(max_total_tokens=9), STARTED), lost, probe)[0] is None
    reached, _ = after(conditions_of(settings(max_total_tokens=9), STARTED), lost, answered(0))
    assert isinstance(reached, SettingsError)
    assert "max_total_tokens cannot be enforced" in str(reached)
    assert after(conditions_of(settings(max_total_tokens=9), STARTED), answered(1), answered(0))[0] is None


def test_the_first_reason_to_stop_is_kept() -> None:
    conditions = conditions_of(settings(max_total_tokens=1, max_errors=1), STARTED)
    reached, heard = after(conditions, answered(1), RowsSettled(0, {ErrorCode.TIMEOUT: 9}), answered(1))
    assert "max_total_tokens" in str(reached)
    assert sum(isinstance(event, Notice) for event in heard) == 1
    interrupted = conditions_of(settings(max_total_tokens=1), STARTED)
    interrupted.stop.request()
    interrupted.before(lambda _: None)(answered(1))
    assert interrupted.stop.reason is None


@pytest.mark.parametrize(
    ("text", "asks_for", "drains_for"),
    [("2h", 7170.0, 20.0), ("1m", 30.0, 20.0), ("30s", 15.0, 10.0), ("3s", 1.5, 1.0)],
)
def test_a_deadline_leaves_time_for_requests_in_flight_and_for_writing(
    text: str, asks_for: float, drains_for: float
) -> None:
    conditions = conditions_of(settings(deadline=text), STARTED)
    assert conditions.stops_at == STARTED + asks_for
    assert conditions.drain_seconds == pytest.approx(drains_for)


def test_a_deadline_stops_the_run_in_time_even_if_the_clock_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The wall clock decides, not the event loop's clock."""
    conditions = conditions_of(settings(deadline="2h"), STARTED)
    assert conditions.stops_at is not None
    clock = {"ahead": 0.0}

    async def watched() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()

        def now() -> float:
            return STARTED + loop.time() - began + clock["ahead"]

        async with conditions.watch_deadline(lambda _: None, now):
            await asyncio.sleep(60)
            assert not conditions.stop.requested
            clock["ahead"] = 7000.0
            await conditions.stop.event.wait()
        return now()

    stopped = run_virtual(watched())[0]
    assert conditions.stops_at <= stopped <= conditions.stops_at + LOOK_SECONDS
    assert str(conditions.stop.reason) == "the run must end by deadline 2h."


@pytest.mark.parametrize(("deadline", "answers", "exit_code"), [("10s", 0, 1), ("10s", 1, 4), ("2h", 0, 4)])
def test_a_deadline_that_is_shorter_than_a_reply_is_for_a_person(
    deadline: str, answers: int, exit_code: int
) -> None:
    """A scheduler would run the same command for ever, and pay for replies that nobody waits for."""
    conditions = conditions_of(settings(deadline=deadline), STARTED)
    hear = conditions.before(lambda _: None)

    async def watched() -> None:
        async with conditions.watch_deadline(
            lambda _: None, functools.partial(float, conditions.stops_at or 0.0)
        ):
            await conditions.stop.event.wait()

    for _ in range(answers):
        hear(RowsSettled(1))
    run_virtual(watched())
    hear(Attempt(0, None, 5.0, "interrupted"))
    assert conditions.stop.reason is not None
    assert conditions.stop.reason.exit_code == exit_code
    assert ("would end like this again" in str(conditions.stop.reason)) == (exit_code == 1)


def test_a_date_as_deadline_must_be_changed_to_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    conditions = conditions_of(settings(deadline="2100-01-01T00:00"), STARTED)
    assert conditions.stops_at is not None

    async def watched() -> None:
        async with conditions.watch_deadline(
            lambda _: None, functools.partial(float, conditions.stops_at or 0.0)
        ):
            await conditions.stop.event.wait()

    run_virtual(watched())
    assert str(conditions.stop.reason).endswith("To resume, set a later one.")
    with pytest.raises(UsageError, match="has passed"):
        conditions_of(settings(deadline="1969-01-01T00:00Z"), STARTED)


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (0.0, "0.00"),
        (0.0000274, "0.0000274"),
        (0.00123456, "0.00123"),
        (0.15, "0.15"),
        (12.345, "12.35"),
        (12345.6, "12,345.60"),
    ],
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
def test_too_many_errors_decide_the_exit_code(
    reached: BatchscoreError, threshold: float, code: ExitCode
) -> None:
    """Three of ten rows have failed so far; a used-up budget says nothing about them."""
    files = (FileFinished("a.csv", "partial", 10, 5, 4, 1, complete=False),)
    assert RunEnd(files, stopped=True, stopped_by=reached).exit_code(threshold) is code
