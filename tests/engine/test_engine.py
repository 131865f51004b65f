"""The engine alone: a scripted service, virtual time, no server and no file."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batchscore.engine.engine import Engine
from batchscore.engine.result_queue import MOST_ROWS_WAITING
from batchscore.errors import ErrorCode, InputError, Outage, ServiceRefused
from batchscore.prompts.kept_cells import packed
from batchscore.request.send import NoReply
from batchscore.rows import Attempt, Prompt, Reply, RowError, Settled
from hypothesis_profiles import examples
from scripted import (
    Service,
    collected,
    deployment_of,
    engine_over,
    has_its_own_vector,
    prompts,
    refusal,
    reply,
    vectors,
)
from virtual_time import run_virtual


async def answers(texts: list[str], number: int) -> Reply:
    await asyncio.sleep(0.1)
    return vectors(texts)


def run(engine_of: object) -> tuple[list[Settled], float]:
    """Build the engine inside the loop, as its events belong to it, and run it."""

    async def main() -> list[Settled]:
        return await collected(engine_of())  # type: ignore[operator]

    return run_virtual(main())


def text_of(row: int, size: int) -> Prompt:
    return Prompt("file.csv", row, b'"' + b"x" * (size - 9) + b":%06d" % row + b'"')


@pytest.mark.parametrize(("rpm", "fails"), [(None, 0.0), (60_000.0, 0.2)])
def test_the_bytes_in_flight_are_bounded_also_if_large_prompts_follow_small_ones(
    rpm: float | None, fails: float
) -> None:
    """At most the bound and one request; a request that is larger than the bound goes, too."""
    chance = random.Random(1)
    most, large, huge = 1_000_000, 300_000, 2_500_000
    sizes = [100] * 300 + [large] * 30 + [100] * 5 + [huge, huge, large]
    held: list[int] = []
    sums: list[tuple[int, int]] = []

    async def answer(texts: list[str], number: int) -> Reply:
        size = sum(map(len, texts))
        held.append(size)
        sums.append((sum(held), max(held)))
        await asyncio.sleep(1.0)
        held.remove(size)
        return refusal(500) if number > 250 and chance.random() < fails else vectors(texts)

    service = Service(answer)

    def engine() -> Engine:
        rows = iter([text_of(row, size) for row, size in enumerate(sizes)])
        member = deployment_of(service, concurrency=100, rpm=rpm)
        made = engine_over([member], rows, rows_a_request=1, retries=50)
        made.in_flight.most = most
        return made

    settled, seconds = run(engine)
    assert sorted(row.row for row in settled) == list(range(len(sizes)))
    assert all(has_its_own_vector(row) for row in settled)
    assert service.most_in_flight == 100
    assert max(total for total, _ in sums) >= most
    assert all(total < most + largest for total, largest in sums)
    assert seconds < 120


@pytest.mark.parametrize(
    "kept",
    [
        packed({f"c{n}": "x" * 90 for n in range(1000)}, tuple(f"c{n}" for n in range(1000))),
        {"c": "x" * 90_000},
    ],
    ids=["many", "one"],
)
def test_cells_that_rows_keep_count_among_the_bytes_in_flight(kept: Mapping[str, Any]) -> None:
    """Of small prompts of wide rows, at most the bound and one request are in flight."""
    most, rows_a_request = 1_000_000, 4
    service = Service(answers)
    rows = [replace(text_of(row, 20), kept=kept) for row in range(200)]

    def engine() -> Engine:
        made = engine_over(
            [deployment_of(service, concurrency=100)], iter(rows), rows_a_request=rows_a_request
        )
        made.in_flight.most = most
        return made

    settled, _ = run(engine)
    assert sorted(row.row for row in settled) == list(range(200))
    assert all(row.kept is kept for row in settled)
    assert service.most_in_flight == most // (rows_a_request * 90_000) + 1


def errors_of(settled: list[Settled]) -> dict[int, ErrorCode]:
    return {row.row: row.result.code for row in settled if isinstance(row.result, RowError)}


def test_every_row_gets_its_own_vector() -> None:
    service = Service(answers)
    settled, _ = run(lambda: engine_over(service, prompts(100)))
    assert sorted(row.row for row in settled) == list(range(100))
    assert all(has_its_own_vector(row) for row in settled)


def test_the_first_request_goes_alone_and_the_others_never_exceed_the_concurrency() -> None:
    in_flight_at: list[int] = []
    service = Service(answers)

    async def answer(texts: list[str], number: int) -> Reply:
        in_flight_at.append(service.in_flight)
        return await answers(texts, number)

    service.answer = answer
    run(lambda: engine_over(service, prompts(200), concurrency=4))
    assert in_flight_at[:2] == [1, 1]
    assert service.most_in_flight == 4


def test_the_source_is_read_no_further_than_what_is_in_flight_and_waiting() -> None:
    taken = 0
    settled_rows = 0
    furthest = 0

    def source() -> Iterator[Prompt]:
        nonlocal taken, furthest
        for prompt in prompts(5_000):
            taken += 1
            furthest = max(furthest, taken - settled_rows)
            yield prompt

    async def main() -> None:
        nonlocal settled_rows
        engine = engine_over(Service(answers), source(), rows_a_request=8, concurrency=4)
        async for batch in engine.settled():
            await asyncio.sleep(0.5)  # a slow reader holds the engine back
            settled_rows += len(batch)

    run_virtual(main())
    assert taken == 5_000
    # Waiting and in the reader's hand, and twice what was in flight when no more was to be taken.
    assert furthest <= 2 * (MOST_ROWS_WAITING + 4 * 8) + 4 * 8


def test_no_request_is_sent_before_the_reader_has_the_answer_of_the_one_before() -> None:
    """So a killed process has paid in vain for no more rows than may be in flight, whenever answers come."""
    seen = 0
    unseen: list[int] = []

    async def answer(texts: list[str], _: int) -> Reply:
        unseen.append(sum(map(len, service.asked)) - seen)
        await asyncio.sleep(0.1)
        return vectors(texts)

    service = Service(answer)

    async def main() -> None:
        nonlocal seen
        engine = engine_over(service, prompts(2_000), rows_a_request=8, concurrency=16)
        engine.results.most = 1
        async for batch in engine.settled():
            seen += len(batch)
            await asyncio.sleep(0.25 if seen % 3 else 0)

    run_virtual(main())
    assert max(unseen) == 16 * 8


@settings(max_examples=examples(40))
@given(bad=st.sets(st.integers(0, 59), max_size=12), size=st.integers(1, 16), seed=st.integers(0, 1000))
def test_a_refused_request_is_halved_down_to_exactly_the_bad_rows(
    bad: set[int], size: int, seed: int
) -> None:
    chance = random.Random(seed)

    async def answer(texts: list[str], number: int) -> Reply:
        await asyncio.sleep(chance.random())
        if any(int(text.split(":")[1]) in bad for text in texts):
            return refusal(400, "content_filter")
        return vectors(texts)

    settled, _ = run(lambda: engine_over(Service(answer), prompts(60), rows_a_request=size))
    assert sorted(row.row for row in settled) == list(range(60))
    assert errors_of(settled) == dict.fromkeys(bad, ErrorCode.CONTENT_FILTER)
    assert all(has_its_own_vector(row) for row in settled if row.row not in bad)


@settings(max_examples=examples(40))
@given(seed=st.integers(0, 10_000), size=st.integers(1, 16), concurrency=st.integers(1, 9))
@example(seed=654, size=1, concurrency=1)
@example(seed=2, size=7, concurrency=2)
@example(seed=3518, size=7, concurrency=7)
def test_every_row_is_settled_once_under_random_failures(seed: int, size: int, concurrency: int) -> None:
    chance = random.Random(seed)
    were_short: list[list[str]] = []
    were_late: set[str] = set()
    fates: dict[str, list[str]] = defaultdict(list)

    async def answer(texts: list[str], number: int) -> Reply:
        await asyncio.sleep(chance.random() * 3)
        # The very first is answered: a service that was never reached is given up sooner.
        kind = chance.choice(["ok"] * 12 + ["429", "500", "502", "lost", "late", "short"] * bool(number))
        for text in texts:
            fates[text].append({"502": "500"}.get(kind, kind))
        if kind == "429":
            return reply(429, {}, retry_after="0.5")
        if kind in {"500", "502"}:
            return reply(int(kind), "<html>")
        if kind == "lost":
            raise NoReply(ErrorCode.CONNECTION_ERROR, "reset")
        # A row that is late again and again, while others are answered, gets an error. That is its fault.
        if kind == "late" and were_late.isdisjoint(texts):
            were_late.update(texts)
            await asyncio.sleep(10)
            raise NoReply(ErrorCode.TIMEOUT, "no answer")
        # A reply that is too short again would be so for ever.
        if kind == "short" and texts not in were_short:
            were_short.append(texts)
            return vectors(texts[:-1])
        return vectors(texts)

    def engine() -> Engine:
        return engine_over(
            Service(answer),
            prompts(80),
            rows_a_request=size,
            concurrency=concurrency,
            retries=30,
            # A few late replies in a row are a minute's outage.
            max_outage=36_000,
        )

    settled, _ = run(engine)
    assert sorted(row.row for row in settled) == list(range(80))
    for row in settled:
        # A part of a divided request has fewer retries, so that bad luck may be enough for an error.
        fate = fates[f"text:{row.row}"]
        assert has_its_own_vector(row) or (len(fate) > 2 and fate[-1] == fate[-2] != "ok"), fate


def test_a_service_that_takes_fewer_inputs_is_rarely_sent_more_than_that() -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        if len(texts) > 16:
            return refusal(400, "too_many_inputs")
        return await answers(texts, number)

    service = Service(answer)
    settled, _ = run(lambda: engine_over(service, prompts(1000), rows_a_request=256))
    assert not errors_of(settled)
    assert len(settled) == 1000
    too_large = [texts for texts in service.asked if len(texts) > 16]
    # One request is halved, before the others were packed; later one is tried with twice as many.
    assert len(too_large) <= 16


def test_one_row_that_always_fails_the_service_costs_one_row() -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        if "text:17" in texts:
            return reply(500, {})
        return await answers(texts, number)

    settled, _ = run(lambda: engine_over(Service(answer), prompts(400), retries=2))
    assert errors_of(settled) == {17: ErrorCode.SERVER_ERROR}
    assert len(settled) == 400


def test_an_error_counts_the_requests_of_its_row() -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        return refusal(400, "content_filter") if "text:5" in texts else vectors(texts)

    service = Service(answer)
    settled, _ = run(lambda: engine_over(service, prompts(8), rows_a_request=8))
    (failed,) = (row.result for row in settled if isinstance(row.result, RowError))
    assert failed.attempts == sum("text:5" in texts for texts in service.asked) == 3


def test_an_outage_is_not_an_error_of_a_row() -> None:
    seen: list[Settled] = []

    async def answer(texts: list[str], number: int) -> Reply:
        return await answers(texts, number) if number < 6 else reply(503, {})

    async def main() -> None:
        engine = engine_over(Service(answer), prompts(400), retries=3)
        async for batch in engine.settled():
            seen.extend(batch)

    with pytest.raises(Outage):
        run_virtual(main())
    assert len(seen) == 6 * 8
    assert not errors_of(seen)


def test_wrong_credentials_cost_one_request_and_one_try_with_a_fresh_token() -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        return refusal(401, "invalid_api_key")

    service = Service(answer)
    renewed = []

    async def renew() -> bool:
        renewed.append(1)
        return True

    with pytest.raises(ServiceRefused, match="401"):
        run(lambda: engine_over(service, prompts(400), renew_token=renew))
    assert (len(service.asked), len(renewed)) == (3, 1)
    assert service.asked[2] == ["ping:0"], "a row alone may be refused so"


def test_the_same_refusal_of_every_row_is_a_wrong_parameter() -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        await asyncio.sleep(0.1)
        return refusal(400, "unknown_parameter", param="nonsense")

    service = Service(answer)
    with pytest.raises(ServiceRefused, match="unknown_parameter"):
        run(lambda: engine_over(service, prompts(10_000), rows_a_request=1))
    assert len(service.asked) < 40


def test_one_429_pauses_every_request_of_the_deployment() -> None:
    sent_at: list[float] = []

    async def answer(texts: list[str], number: int) -> Reply:
        sent_at.append(asyncio.get_running_loop().time())
        if number == 9:
            return reply(429, {}, retry_after="60")
        await asyncio.sleep(0.1)
        return vectors(texts)

    settled, _ = run(lambda: engine_over(Service(answer), prompts(400)))
    assert len(settled) == 400
    refused_at = sent_at[9]
    assert not [at for at in sent_at if refused_at + 0.01 < at < refused_at + 59.9]


def test_a_wait_of_a_day_is_an_outage() -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        return reply(429, {}, retry_after="86400")

    with pytest.raises(Outage, match=r"1 d "):
        run(lambda: engine_over(Service(answer), prompts(10)))


def stop_after(engine: Engine, seconds: float) -> None:
    asyncio.get_running_loop().call_later(seconds, engine.stop.set)


def test_a_stop_does_not_wait_until_refused_rows_are_judged_and_gives_them_no_errors() -> None:
    """Nothing was answered, so a parameter may be the reason. The rows are sent again later."""

    async def answer(texts: list[str], number: int) -> Reply:
        await asyncio.sleep(1e6 if texts == ["ping:0"] else 0.1)
        return refusal(400, "invalid_value")

    async def main() -> list[Settled]:
        engine = engine_over(Service(answer), prompts(5), rows_a_request=1)
        stop_after(engine, 5)
        return await collected(engine)

    settled, seconds = run_virtual(main())
    assert settled == []
    assert seconds < 6


def test_a_stop_waits_for_requests_in_flight_and_sends_no_more() -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        await asyncio.sleep(2)
        return vectors(texts)

    service = Service(answer)

    async def main() -> list[Settled]:
        engine = engine_over(service, prompts(4000))
        stop_after(engine, 5)
        return await collected(engine)

    settled, seconds = run_virtual(main())
    assert 5 < seconds < 7
    assert len(settled) == sum(len(texts) for texts in service.asked)


def test_a_stop_waits_no_longer_than_it_may() -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        await asyncio.sleep(500 if number else 0.1)
        return vectors(texts)

    async def main() -> list[Settled]:
        engine = engine_over(Service(answer), prompts(4000), drain_seconds=20)
        stop_after(engine, 5)
        return await collected(engine)

    settled, seconds = run_virtual(main())
    assert 24 < seconds < 27
    assert not errors_of(settled)


@pytest.mark.parametrize("trouble", ["pause", "backoff", "first"])
def test_a_stop_ends_every_wait_without_errors(trouble: str) -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        if trouble == "pause" and number == 3:
            return reply(429, {}, retry_after="500")
        if trouble == "backoff" and number >= 3:
            return reply(503, {})
        if trouble == "first":
            await asyncio.sleep(1000)
        await asyncio.sleep(0.1)
        return vectors(texts)

    async def main() -> list[Settled]:
        engine = engine_over(Service(answer), prompts(4000), retries=50)
        stop_after(engine, 5)
        return await collected(engine)

    settled, seconds = run_virtual(main())
    assert seconds < 27
    assert not errors_of(settled)


def test_a_source_that_breaks_off_ends_the_stream_after_what_was_settled() -> None:
    def source() -> Iterator[Prompt]:
        yield from prompts(40)
        raise InputError("the input has changed")

    seen: list[Settled] = []

    async def main() -> None:
        async for batch in engine_over(Service(answers), source()).settled():
            seen.extend(batch)

    with pytest.raises(InputError, match="changed"):
        run_virtual(main())
    assert all(has_its_own_vector(row) for row in seen)


def test_rows_without_a_request_pass_in_bounded_lists() -> None:
    nothing = RowError(ErrorCode.EMPTY_INPUT, "nothing")

    def source() -> Iterator[Prompt | Settled]:
        for row in range(10_000):
            yield Settled("file.csv", row, nothing)

    async def main() -> list[int]:
        engine = engine_over(Service(answers), source())
        return [len(batch) async for batch in engine.settled()]

    sizes, _ = run_virtual(main())
    assert sum(sizes) == 10_000
    assert max(sizes) <= 2048


def test_every_attempt_is_reported() -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        return reply(500, {}) if number in {2, 5} else await answers(texts, number)

    heard: list[Attempt] = []
    service = Service(answer)
    run(lambda: engine_over(service, prompts(100), attempts=heard))
    assert len(heard) == len(service.asked)
    assert [attempt.cause for attempt in heard if attempt.cause] == ["server_error", "server_error"]
    assert sum(attempt.prompt_tokens for attempt in heard) == 100


def test_a_reader_that_leaves_ends_the_engine() -> None:
    service = Service(answers)

    async def main() -> None:
        stream = engine_over(service, prompts(10_000)).settled()
        async for _ in stream:
            break
        await stream.aclose()
        sent = len(service.asked)
        await asyncio.sleep(100)
        assert len(service.asked) == sent

    run_virtual(main())
