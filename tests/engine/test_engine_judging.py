"""What failures and refusals cost, and who gets the blame: rows, requests or the account. In virtual time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from itertools import product
from math import inf

import orjson
import pytest

from batchscore.engine.engine import Engine
from batchscore.errors import BatchscoreError, ErrorCode, Outage, ServiceRefused
from batchscore.request.deployment import Deployment
from batchscore.request.send import NoReply
from batchscore.rows import Reply, RowError, Settled
from sampled import mostly_slow
from scripted import (
    Service,
    Timed,
    deployment_of,
    engine_over,
    has_its_own_vector,
    prompts,
    refusal,
    reply,
    vectors,
)
from virtual_time import loop_time, run_virtual

Refuse = Callable[[list[str]], "Reply | None"]


def service_of(refuse: Refuse, *, takes: float = 0.1, refuses_after: float = 0.0) -> Service:
    """A service that answers what `refuse` lets pass."""

    async def answer(texts: list[str], number: int) -> Reply:
        del number
        refused = refuse(texts)
        await asyncio.sleep(refuses_after if refused else takes)
        return timed(refused or vectors(texts), refuses_after if refused else takes)

    return Service(answer)


def timed(answered: Reply, seconds: float) -> Reply:
    return Reply(answered.status, answered.headers, answered.body, seconds)


def scored(make: Callable[[], Engine]) -> tuple[list[Settled], BatchscoreError | None, float]:
    """What an engine settles, the error that ends it, and the seconds it takes."""
    settled: list[Settled] = []

    async def main() -> BatchscoreError | None:
        try:
            async for batch in make().settled():
                settled.extend(batch)
        except BatchscoreError as error:
            return error
        return None

    error, seconds = run_virtual(main())
    return settled, error, seconds


def errors_of(settled: list[Settled]) -> dict[int, RowError]:
    return {row.row: row.result for row in settled if isinstance(row.result, RowError)}


def cost_of(service: Service) -> tuple[int, int]:
    """The requests and the inputs that were sent, with probes."""
    return len(service.asked), sum(map(len, service.asked))


# --- a size, or one row, that makes requests fail


FAILURES: dict[str, Callable[[], Reply]] = {
    **{
        str(status): lambda status=status: reply(status, {}) for status in (408, 424, 500, 502, 503, 504, 524)
    },
    "429": lambda: reply(429, {"error": {"message": "boom"}}),
    "429 with a wait": lambda: reply(429, {}, retry_after="1"),
    "429 with a long wait": lambda: reply(429, {}, retry_after="20"),
    "bad reply": lambda: reply(200, {"data": []}),
    "firewall": lambda: reply(403, "blocked"),
    "not found": lambda: refusal(404, "DeploymentNotFound"),
    "content": lambda: refusal(400, "content_filter"),
    "invalid": lambda: refusal(400, "invalid_value"),
    "page": lambda: Reply(500, {}, b"<html>oops</html>", 0.1),
    "odd json": lambda: refusal(400, "json_validate_failed"),
    "503 with a wait": lambda: reply(503, {}, retry_after="1"),
    "no reply": lambda: reply(504, {}),
    "key": lambda: refusal(401, "401"),
    "key, with another status": lambda: reply(400, {"error": {"message": "API key not valid."}}),
}


def service_with_bad_row(kind: str, bad: int) -> Service:
    """A service that fails all requests that hold one row."""
    hangs = 1e6 if kind == "no reply" else 0.0
    return service_of(lambda texts: FAILURES[kind]() if f"text:{bad}" in texts else None, refuses_after=hangs)


@pytest.mark.parametrize("kind", FAILURES)
@mostly_slow("bad, rows", [*product([0, 100, 150, 255, 299], [256, 300]), (244, 255)], [(100, 256), (0, 300)])
def test_one_bad_row_of_300_costs_20_requests_and_3_times_the_inputs(kind: str, bad: int, rows: int) -> None:
    service = service_with_bad_row(kind, bad)
    settled, error, _ = scored(lambda: engine_over(service, prompts(300), rows_a_request=rows, retries=6))
    requests, inputs = cost_of(service)
    assert error is None
    assert sorted(row.row for row in settled) == list(range(300))
    assert list(errors_of(settled)) == [bad]
    assert requests <= 20
    assert inputs <= 900


@pytest.mark.parametrize("kind", sorted(FAILURES.keys() - {"408", "424", "502", "504", "524"}))
@mostly_slow("total, concurrency", [(0, 4), (300, 1)], [])
def test_one_bad_row_costs_20_requests_at_any_place_of_a_request_of_any_size(
    kind: str, total: int, concurrency: int
) -> None:
    """With 0 the request holds the whole input. Of smaller requests, only the further ones are counted."""
    for size in (2, 5, 25, 100, 163, 244, 256, *(() if total else (290, 299, 300))):
        rows, most = total or size, min(size, 256)
        for bad in {0, rows // 2, most - 1, size * 37 % rows}:
            service = service_with_bad_row(kind, bad)
            made = partial(
                engine_over, service, prompts(rows), rows_a_request=most, retries=6, concurrency=concurrency
            )
            settled, error, _ = scored(made)
            assert error is None
            assert len(settled) == rows
            assert list(errors_of(settled)) == [bad]
            # Only a test request shows that others are answered if one is sent after the other.
            usual = -(-rows // most) + (concurrency == 1)
            assert cost_of(service)[0] <= (20 if usual <= 2 else usual + 18), (size, bad)
            assert service.most_in_flight <= concurrency + 1, "a test request may be one more"


@mostly_slow("rows, size", [*product([1, 3, 40, 300], [1, 4, 256])], [(3, 1)])
@mostly_slow("concurrency", [1, 4], [4])
def test_a_row_that_is_never_answered_ends_after_a_bounded_time(
    rows: int, size: int, concurrency: int
) -> None:
    for bad in {0, rows // 2, rows - 1}:

        async def answer(texts: list[str], number: int, bad: int = bad) -> Reply:
            del number
            await asyncio.sleep(1e6 if f"text:{bad}" in texts else 1.0)
            return timed(vectors(texts), 1.0)

        service = Service(answer)
        made = partial(
            engine_over, service, prompts(rows), rows_a_request=size, retries=6, concurrency=concurrency
        )
        settled, error, seconds = scored(made)
        assert error is None
        assert len(settled) == rows
        assert {row: error.code for row, error in errors_of(settled).items()} == {bad: ErrorCode.TIMEOUT}
        assert seconds < (25 if rows <= 3 else 45) * 60
        assert cost_of(service)[0] <= -(-rows // size) + 18


@mostly_slow("takes", [50, 100, 200, 300], [100, 300])
@mostly_slow("rows_a_request", [1, 8], [1])
@mostly_slow("concurrency", [1, 4], [4])
def test_rows_whose_answers_take_minutes_are_answered(
    takes: int, rows_a_request: int, concurrency: int
) -> None:
    """Test requests are answered within a second."""

    async def answer(texts: list[str], number: int) -> Reply:
        seconds = 1.0 if texts == ["ping:0"] else takes * (1 + number % 7 / 20)
        await asyncio.sleep(seconds)
        return timed(vectors(texts), seconds)

    service = Service(answer)
    made = partial(
        engine_over,
        service,
        prompts(12),
        rows_a_request=rows_a_request,
        retries=6,
        concurrency=concurrency,
        max_outage=1800,
    )
    settled, error, _ = scored(made)
    assert error is None
    assert len(settled) == 12
    assert not errors_of(settled)


@mostly_slow(
    "refused, seconds, most",
    [
        *((504, seconds, most) for seconds in (0.0, 60.0) for most in (1, 10, 64, 100, 255)),
        *((status, seconds, 64) for status, seconds in ((524, 100.0), (408, 5.0), (500, 1.0), (502, 30.0))),
        (None, 900.0, 64),
        (429, 0.0, 64),
    ],
    [(504, 60.0, 64), (429, 0.0, 64)],
)
def test_a_limit_of_inputs_is_found_and_remembered(refused: int | None, seconds: float, most: int) -> None:
    def refuse(texts: list[str]) -> Reply | None:
        return reply(refused or 200, {}) if len(texts) > most else None

    service = service_of(refuse, refuses_after=seconds)
    settled, error, _ = scored(
        lambda: engine_over(service, prompts(10_240), rows_a_request=256, concurrency=64, retries=6)
    )
    assert error is None
    assert len(settled) == 10_240
    assert not errors_of(settled)
    assert cost_of(service)[1] <= 1.5 * 10_240


@mostly_slow("refused, code", [(504, None), (413, None), (400, "array_above_max_length")], [(504, None)])
def test_a_reduced_size_grows_back_when_larger_requests_are_accepted(refused: int, code: str | None) -> None:
    def refuse(texts: list[str]) -> Reply | None:
        strict = len(service.asked) < 100
        return reply(refused, {"error": {"code": code}}) if strict and len(texts) > 16 else None

    service = service_of(refuse)
    settled, error, _ = scored(
        lambda: engine_over(service, prompts(5120), rows_a_request=64, concurrency=4, retries=6)
    )
    assert error is None
    assert len(settled) == 5120
    assert not errors_of(settled)
    sizes = [len(texts) for texts in service.asked]
    assert max(sizes[75:100]) <= 32
    assert sizes[-5] == 64
    assert cost_of(service)[1] <= 1.1 * 5120


@pytest.mark.slow
def test_a_size_that_stays_refused_is_tried_ever_more_seldom() -> None:
    service = service_of(lambda texts: reply(504, {}) if len(texts) > 16 else None)
    settled, _, _ = scored(lambda: engine_over(service, prompts(20_480), rows_a_request=32, concurrency=4))
    assert not errors_of(settled)
    tried = [place for place, texts in enumerate(service.asked) if len(texts) > 16 and place > 50]
    assert 3 <= len(tried) <= 6  # after 32, 64, 128, … requests
    assert cost_of(service)[1] <= 1.05 * 20_480


def test_a_failure_that_passes_does_not_make_requests_smaller() -> None:
    failing = {200: 2, 900: 2}

    def refuse(texts: list[str]) -> Reply | None:
        for row, times in failing.items():
            if f"text:{row}" in texts and times:
                failing[row] -= 1
                return reply(500, {})
        return None

    service = service_of(refuse)
    settled, _, _ = scored(lambda: engine_over(service, prompts(8000), rows_a_request=128))
    assert not errors_of(settled)
    assert {len(texts) for texts in service.asked[-20:]} <= {128, 64}
    assert cost_of(service)[1] <= 8000 + 4 * 128 + 10


def broken(texts: list[str]) -> Reply:
    raise NoReply(ErrorCode.CONNECTION_ERROR, f"{len(texts)} rows")


PASSING: dict[str, Callable[[list[str]], Reply]] = {
    "503": lambda _: reply(503, {}),
    "504": lambda _: reply(504, {}),
    "reset": broken,
    "page": lambda _: Reply(200, {}, b"<html>back soon</html>", 0.1),
    "not found": lambda _: refusal(404, "DeploymentNotFound"),
}


@mostly_slow(
    "kind, rows, single, begin",
    [*product(PASSING, [1, 8, 64, 256], ["7", "text:1"], [0.0, 0.5])],
    [("503", 256, "7", 0.5), ("reset", 8, "text:1", 0.0), ("not found", 1, "7", 0.5)],
)
def test_a_failure_of_larger_requests_that_passes_is_no_rows_error(
    kind: str, rows: int, single: str, begin: float
) -> None:
    """As while a service starts again: for twenty seconds it answers small requests only."""

    def behave(texts: list[str], now: float) -> Reply | None:
        large = len(texts) > 4 or any(single in text for text in texts)
        return PASSING[kind](texts) if begin <= now < begin + 20 and large else None

    timed = Timed(behave)
    settled, error, _ = scored(
        lambda: engine_over(timed.service, prompts(300), rows_a_request=rows, retries=6, max_outage=1800)
    )
    assert error is None
    assert len(settled) == 300
    assert not errors_of(settled)


def test_two_failures_of_different_kinds_do_not_make_the_first_requests_smaller() -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        await asyncio.sleep(0.1)
        return [reply(200, {"data": []}), reply(500, {})][number] if number < 2 else vectors(texts)

    service = Service(answer)
    settled, _, _ = scored(lambda: engine_over(service, prompts(64), rows_a_request=8, concurrency=1))
    assert not errors_of(settled)
    assert len(service.asked) == 2 + 64 / 8


# --- rate limits that name no wait


def pending(most: int, takes: float = 0.05) -> Service:
    """A service that takes this many requests at once, and refuses others immediately."""
    working = 0

    async def answer(texts: list[str], number: int) -> Reply:
        nonlocal working
        if working >= most:
            await asyncio.sleep(0.002)
            return timed(refusal(429, "too_many_pending"), 0.002)
        working += 1
        try:
            await asyncio.sleep(takes)
        finally:
            working -= 1
        return timed(vectors(texts), takes)

    return Service(answer)


@mostly_slow("takes", [0.05, 1.0], [0.05])
@mostly_slow("most", [1, 2, 4], [2])
def test_a_service_with_few_requests_at_once_is_used_as_if_they_were_set(most: int, takes: float) -> None:
    def run(concurrency: int) -> tuple[float, Service]:
        service = pending(most, takes)
        settled, error, seconds = scored(
            lambda: engine_over(service, prompts(500), rows_a_request=1, concurrency=concurrency)
        )
        assert error is None
        assert len(settled) == 500
        assert not errors_of(settled)
        return seconds, service

    as_set, _ = run(most)
    found, service = run(512)
    assert found <= 1.3 * as_set
    assert len(service.asked) <= 800


@mostly_slow("strays", [{9, 10, 11}, {0, 1, 2}, {1, 5, 9}], [{9, 10, 11}])
@mostly_slow("takes", [0.05, 0.5], [0.05])
@mostly_slow("concurrency", [1, 64], [64])
@mostly_slow("headers", [{}, {"retry_after": "1"}], [{}])
def test_three_stray_429s_cost_at_most_10_seconds(
    strays: set[int], concurrency: int, takes: float, headers: dict[str, str]
) -> None:
    def run(strays: set[int]) -> float:
        async def answer(texts: list[str], number: int) -> Reply:
            await asyncio.sleep(takes)
            return timed(reply(429, {}, **headers) if number in strays else vectors(texts), takes)

        service = Service(answer)
        settled, _, seconds = scored(
            lambda: engine_over(service, prompts(400), rows_a_request=1, concurrency=concurrency)
        )
        assert len(settled) == 400
        assert not errors_of(settled)
        return seconds

    assert run(strays) <= run(set()) + 10


LIMITS: dict[str, Callable[[list[str], int], bool]] = {
    "all": lambda *_: True,
    "all but tiny ones": lambda texts, _: texts != ["ping:0"],
    "many rows, or some single ones": lambda texts, _: len(texts) > 4 or len(texts[0]) > 7,
    "one row": lambda texts, _: "text:150" in texts,
    "every second": lambda _, number: number % 2 == 0,
    "two of three": lambda _, number: number % 3 > 0,
    "most": lambda _, number: number % 20 > 0,
}


@pytest.mark.parametrize("kind", LIMITS)
@mostly_slow(
    "rows, seconds, wait, begin",
    [*product([1, 8, 64], [20, 120], ["", "1", "10"], [0.0, 0.5])],
    [(1, 120, "1", 0.5), (8, 120, "", 0.0)],
)
def test_a_rate_limit_that_passes_is_no_rows_error(
    kind: str, rows: int, seconds: float, wait: str, begin: float
) -> None:
    headers = {"retry_after": wait} if wait else {}

    def behave(texts: list[str], now: float) -> Reply | None:
        refused = begin <= now < begin + seconds and LIMITS[kind](texts, len(timed.asked_at))
        return reply(429, {}, **headers) if refused else None

    timed = Timed(behave)
    settled, error, _ = scored(
        lambda: engine_over(timed.service, prompts(160), rows_a_request=rows, max_outage=1800)
    )
    assert error is None
    assert len(settled) == 160
    assert not errors_of(settled)


def test_a_row_that_is_always_limited_leaves_the_only_place_to_the_others() -> None:
    settled_at: dict[int, float] = {}
    notices: list[str] = []

    async def run() -> None:
        service = service_of(lambda texts: reply(429, {}, retry_after="1") if "text:7" in texts else None)
        member = deployment_of(service, concurrency=1)
        member.notice = notices.append
        began = loop_time()
        async for batch in engine_over([member], prompts(300), rows_a_request=1).settled():
            settled_at.update({row.row: loop_time() - began for row in batch})

    run_virtual(run())
    assert len(settled_at) == 300
    assert max(seconds for row, seconds in settled_at.items() if row != 7) < 50
    assert settled_at[7] > 120, "until then, the limit may pass"
    (notice,) = [text for text in notices if "answers other rows" in text]
    # The pauses before are partly random, so that this time differs by seconds.
    assert re.search(r"\(429\)\. It is sent again in (1 min 5\d s|2 min( \d s)?), others meanwhile", notice)


@mostly_slow(
    "status, rows, begin",
    [*product([429, 500], [1, 8, 64, 256], [1, 2, 3, 20, 60])],
    [(429, 256, 3), (429, 64, 60), (500, 256, 3), (500, 8, 20)],
)
def test_an_outage_fails_no_row_while_one_waits_for_its_next_attempt(
    status: int, rows: int, begin: float
) -> None:
    def behave(texts: list[str], now: float) -> Reply | None:
        return reply(503) if now > begin else reply(status, {}) if "text:7" in texts else None

    timed = Timed(behave)
    settled, error, _ = scored(
        lambda: engine_over(timed.service, prompts(600), rows_a_request=rows, retries=6, max_outage=30)
    )
    if status == 500 and begin == 60:
        assert list(errors_of(settled)) == [7], "it had all of its attempts before the outage"
        return
    assert isinstance(error, Outage)
    assert "has not responded for 3" in str(error), "the wait for the limit is no outage"
    assert not errors_of(settled)


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("headers", [{}, {"retry_after": "1"}])
def test_rows_that_waited_for_their_limit_exceed_no_concurrency(
    concurrency: int, headers: dict[str, str]
) -> None:
    members: list[Deployment] = []
    most = 0

    async def answer(texts: list[str], number: int) -> Reply:
        nonlocal most
        del number
        most = max(most, members[0].in_flight)  # without test requests
        limited = texts != ["ping:0"] and int(texts[0].split(":")[1]) % 20 == 7
        await asyncio.sleep(0.0 if limited else 0.5)
        return reply(429, {}, **headers) if limited else timed(vectors(texts), 0.5)

    def main() -> Engine:
        members.append(deployment_of(Service(answer), concurrency=concurrency, rpm=300))
        return engine_over(members, prompts(2000), rows_a_request=1, max_outage=1800)

    settled, error, _ = scored(main)
    assert error is None
    assert len(settled) == 2000
    assert most == concurrency


@pytest.mark.parametrize("rows", [8, 16])
def test_divided_requests_that_waited_exceed_no_concurrency(rows: int) -> None:
    members: list[Deployment] = []
    most, began = 0, inf

    async def answer(texts: list[str], number: int) -> Reply:
        nonlocal most, began
        began = began if number else loop_time()
        most = max(most, members[0].in_flight)  # without test requests
        numbers = [int(text.split(":")[1]) for text in texts]
        fails = loop_time() < began + 20 and any(each % 16 == 7 for each in numbers)
        await asyncio.sleep(0.0 if fails else 2.0)
        return reply(500, {}) if fails else timed(vectors(texts), 2.0)

    def main() -> Engine:
        members.append(deployment_of(Service(answer), concurrency=2))
        return engine_over(members, prompts(2000), rows_a_request=rows, retries=6)

    settled, error, _ = scored(main)
    assert error is None
    assert len(settled) == 2000
    assert not errors_of(settled)
    assert most == 2


@mostly_slow("headers", [{}, {"retry_after": "1"}], [{}])
def test_a_row_that_is_always_limited_does_not_hold_up_the_others(headers: dict[str, str]) -> None:
    def refuse(texts: list[str]) -> Reply | None:
        return reply(429, {}, **headers) if {"text:7", "text:300"} & set(texts) else None

    service = service_of(refuse, takes=0.05)
    settled, error, seconds = scored(lambda: engine_over(service, prompts(500), rows_a_request=1))
    assert error is None
    assert len(settled) == 500
    assert {error.code for error in errors_of(settled).values()} == {ErrorCode.RATE_LIMITED}
    assert seconds < 150
    done = [at for at, texts in enumerate(service.asked) if texts == ["text:499"]]
    assert done[0] < 550


@mostly_slow("rows, total", [*product([1, 64, 256], [60, 500])], [(1, 60), (64, 500)])
def test_rows_that_are_always_limited_wait_at_the_same_time(rows: int, total: int) -> None:
    bad = {f"text:{row}" for row in range(0, total, total // 6)}
    service = service_of(lambda texts: reply(429, {}) if bad & set(texts) else None)
    settled, error, seconds = scored(
        lambda: engine_over(service, prompts(total), rows_a_request=rows, max_outage=1800)
    )
    assert error is None
    assert {f"text:{row}" for row in errors_of(settled)} == bad
    assert seconds < 250


def test_a_row_that_the_service_calls_larger_than_its_limit_is_over_quota_at_once() -> None:
    words = "Request too large for m: Limit 30000, Requested 342389. Must be reduced. text:7"
    body = {"error": {"code": "rate_limit_exceeded", "message": words}}
    service = service_of(lambda texts: reply(429, body) if "text:7" in texts else None)
    settled, _, seconds = scored(lambda: engine_over(service, prompts(100), rows_a_request=1))
    failed = errors_of(settled)
    assert [(row, error.code) for row, error in failed.items()] == [(7, ErrorCode.OVER_QUOTA)]
    assert seconds < 10


def test_a_wait_without_a_time_is_not_called_the_services_wish() -> None:
    notices: list[str] = []

    def main() -> Engine:
        service = Service(answer)
        member = deployment_of(service)
        member.notice = notices.append
        return engine_over([member], prompts(4), max_outage=400)

    async def answer(texts: list[str], number: int) -> Reply:
        del texts, number
        return refusal(429)

    scored(main)
    assert notices
    assert not [text for text in notices if "as the service asked" in text]
    assert any("after a rate limit (429) that names no wait" in text for text in notices)


# --- refusals that are no row's fault


CREDIT: dict[str, Reply] = {
    "litellm": reply(400, {"error": {"message": "x", "type": "budget_exceeded", "code": "400"}}),
    "litellm, words only": reply(400, {"error": {"message": "Budget has been exceeded! Spend: 1"}}),
    "litellm 429": reply(429, {"error": {"message": "x", "type": "budget_exceeded", "code": 429}}),
    "dashscope": refusal(400, "Arrearage"),
    "openai 400": refusal(400, "billing_hard_limit_reached"),
    "moonshot": reply(429, {"error": {"type": "exceeded_current_quota_error", "message": "x"}}),
    "anthropic": reply(
        400, {"error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}}
    ),
    "deepseek": reply(402, {"error": {"message": "Insufficient Balance", "code": "invalid_request_error"}}),
    "403": reply(403, {"error": {"code": "insufficient_quota", "message": "x"}}),
}  # fmt: skip


@pytest.mark.parametrize("kind", CREDIT)
@pytest.mark.parametrize("rows", [1, 8])
@pytest.mark.parametrize("good", [0, 20])
def test_credit_that_runs_out_stops_the_run_and_blames_no_row(kind: str, rows: int, good: int) -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        await asyncio.sleep(0.1)
        return vectors(texts) if number < good else CREDIT[kind]

    service = Service(answer)
    settled, error, _ = scored(lambda: engine_over(service, prompts(2000), rows_a_request=rows))
    assert isinstance(error, ServiceRefused)
    assert "quota is exhausted" in str(error)
    assert len(settled) == good * rows
    assert not errors_of(settled)
    assert len(service.asked) <= good + 12


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "Cannot parse: 'my credit balance is too low'"),
        (400, "'Your API key is missing. Please add it.' was blocked by policy"),
        (422, "Invalid API key, says the row"),
        (403, "blocked: 'out of credit'"),
        (404, "model not found, says the row"),
        (429, "'insufficient balance' is refused"),
        (400, "Cannot parse: 'set encoding_format to float'"),
        (422, "'base64 is not supported here, use response_format' was blocked"),
        (500, "failed on 'base64 support'"),
    ],
)
@pytest.mark.parametrize("rows", [1, 8])
@pytest.mark.parametrize("bad", [0, 30])
def test_a_row_that_is_quoted_with_such_words_is_the_only_one_refused(
    status: int, message: str, rows: int, bad: int
) -> None:
    quoting = reply(status, {"error": {"message": message}})
    service = service_of(lambda texts: quoting if f"text:{bad}" in texts else None)
    made: list[Engine] = []

    def engine() -> Engine:
        made.append(engine_over(service, prompts(50), rows_a_request=rows))
        return made[0]

    settled, error, _ = scored(engine)
    assert error is None
    assert set(errors_of(settled)) == {bad}
    assert len(settled) == 50
    assert {b"base64" in form.tail for form in made[0].requests.forms.values()} == {True}


@pytest.mark.parametrize("probe", [reply(503), reply(429)], ids=["503", "429"])
@pytest.mark.parametrize("message", ["Invalid API key, says the row", "'my credit balance is too low'"])
def test_a_probe_that_fails_confirms_nothing(message: str, probe: Reply) -> None:
    quoting = reply(400, {"error": {"message": message}})
    probes = iter([probe])

    def answer(texts: list[str]) -> Reply | None:
        return quoting if "text:0" in texts else next(probes, None) if "ping:0" in texts else None

    settled, error, _ = scored(lambda: engine_over(service_of(answer), prompts(50), rows_a_request=8))
    assert error is None
    assert set(errors_of(settled)) == {0}


@pytest.mark.parametrize("good", [0, 20])
def test_credentials_that_are_refused_with_400_stop_the_run(good: int) -> None:
    refused = reply(400, {"error": {"message": "API key not valid. Please pass a valid API key."}})

    async def answer(texts: list[str], number: int) -> Reply:
        return vectors(texts) if number < good else refused

    settled, error, _ = scored(lambda: engine_over(Service(answer), prompts(500)))
    assert isinstance(error, ServiceRefused)
    assert "refused the credentials (400)" in str(error)
    assert not errors_of(settled)


@pytest.mark.parametrize("rows", [1, 64])
@pytest.mark.parametrize("good", [0, 1, 30])
def test_twenty_rows_refused_alike_are_probed_and_the_probes_words_are_shown(rows: int, good: int) -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        await asyncio.sleep(0.1)
        if number < good:
            return vectors(texts)
        return reply(400, {"error": {"code": "bad_thing", "message": f"I do not like {texts[0]}"}})

    service = Service(answer)

    def main() -> Engine:
        member = deployment_of(service)
        member.address = "https://host/v1/embeddings"
        return engine_over([member], prompts(2000), rows_a_request=rows)

    settled, error, _ = scored(main)
    assert isinstance(error, ServiceRefused)
    assert error.service_reply == "I do not like ping:0"
    assert error.terminal_text == f'{error.text} The reply to a test request: "I do not like ping:0"'
    assert "like" not in str(error)
    assert "Requests go to https://host/v1/embeddings." in str(error)
    assert "text:" not in error.terminal_text
    assert len(settled) == good * rows
    assert not errors_of(settled)
    assert len(service.asked) < good + 80


def test_rows_that_are_really_bad_are_probed_now_and_then_only() -> None:
    service = service_of(
        lambda texts: (
            refusal(400, "bad")
            if int(texts[0].split(":")[1]) in range(50, 350) and "ping" not in texts[0]
            else None
        )
    )
    settled, error, _ = scored(lambda: engine_over(service, prompts(400), rows_a_request=1))
    assert error is None
    assert len(errors_of(settled)) == 300
    assert len(service.asked) < 420


@pytest.mark.parametrize("rows", [1, 5, 19])
def test_a_wrong_parameter_is_found_with_few_rows(rows: int) -> None:
    service = service_of(
        lambda _: reply(
            422,
            {
                "detail": [
                    {
                        "type": "extra_forbidden",
                        "loc": ["body", "dimensions"],
                        "msg": "Extra inputs are not permitted",
                    }
                ]
            },
        )
    )
    settled, error, _ = scored(lambda: engine_over(service, prompts(rows)))
    assert settled == []
    assert "422, extra_forbidden" in str(error)
    assert error is not None
    assert error.service_reply == "body.dimensions: Extra inputs are not permitted"


@pytest.mark.parametrize(
    "refused",
    [
        refusal(400, "unsupported_parameter", param="encoding_format"),
        reply(400, {"error": {"message": "encoding_format base64 is not supported"}}),
        reply(422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "encoding_format"], "msg": "x"}]}),
        Reply(400, {}, b"", 0.1),
    ],
    ids=["named", "in words", "fastapi", "nothing said"],
)
@pytest.mark.parametrize("rows", [3, 300])
def test_vectors_as_numbers_are_asked_for_if_base64_is_refused(refused: Reply, rows: int) -> None:
    class Numbers(Service):
        async def send(self, body: bytes, most_bytes: int) -> Reply:
            if "encoding_format" in orjson.loads(body):
                self.asked.append([])
                return refused
            return await super().send(body, most_bytes)

    async def answer(texts: list[str], number: int) -> Reply:
        await asyncio.sleep(0.1)
        return vectors(texts)

    service = Numbers(answer)
    settled, error, _ = scored(lambda: engine_over(service, prompts(rows), rows_a_request=8))
    assert error is None
    assert len(settled) == rows
    assert all(map(has_its_own_vector, settled))


# --- stray refusals


STRAY: dict[str, Reply] = {
    "deployment": refusal(404, "DeploymentNotFound"),
    "firewall": Reply(403, {}, b"<html>403</html>", 0.1),
    "schema": refusal(400, "json_validate_failed"),
    "tools": refusal(400, "tool_use_failed"),
    "credit": refusal(429, "insufficient_quota"),
    "paid": refusal(402, ""),
    "method": refusal(405, ""),
    "redirect": Reply(301, {"location": "https://other.example/"}, b"", 0.1),
}


@pytest.mark.parametrize("kind", STRAY)
@mostly_slow("rows", [1, 8], [8])
def test_a_stray_refusal_costs_no_row(kind: str, rows: int) -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        await asyncio.sleep(0.1)
        return STRAY[kind] if number in {30, 31, 70} else vectors(texts)

    settled, error, _ = scored(lambda: engine_over(Service(answer), prompts(1000), rows_a_request=rows))
    assert error is None
    assert len(settled) == 1000
    assert not errors_of(settled)


# --- quotas of gateways


def test_a_used_up_quota_of_api_management_is_waited_for() -> None:
    began: list[float] = []
    body = {"statusCode": 403, "message": "Token quota is exceeded. Try again in 10 seconds."}

    async def answer(texts: list[str], number: int) -> Reply:
        began.append(loop_time())
        await asyncio.sleep(0.1)
        if 1 < loop_time() - began[0] < 11:
            return reply(403, body, retry_after="10")
        return vectors(texts)

    settled, error, seconds = scored(lambda: engine_over(Service(answer), prompts(1000)))
    assert error is None
    assert len(settled) == 1000
    assert not errors_of(settled)
    assert 10 < seconds < 25


@pytest.mark.parametrize("good", [0, 10])
def test_a_quota_of_api_management_that_takes_days_is_an_outage(good: int) -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        await asyncio.sleep(0.1)
        return vectors(texts) if number < good else reply(403, {"message": "x"}, retry_after="200000")

    settled, error, _ = scored(lambda: engine_over(Service(answer), prompts(1000)))
    assert isinstance(error, Outage), "later the same command continues"
    assert not errors_of(settled)


@pytest.mark.parametrize("status", [429, 503, 403])
def test_a_wait_longer_than_the_longest_outage_ends_the_run(status: int) -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        await asyncio.sleep(0.1)
        return vectors(texts) if number < 20 else reply(status, {"message": "x"}, retry_after="600")

    settled, error, seconds = scored(lambda: engine_over(Service(answer), prompts(1000), max_outage=8.0))
    assert isinstance(error, Outage)
    assert seconds < 60
    assert not errors_of(settled)


def test_one_request_that_must_wait_longer_than_the_longest_outage_is_waited_for() -> None:
    began: list[float] = []

    async def answer(texts: list[str], number: int) -> Reply:
        await asyncio.sleep(0.1)
        began.append(loop_time())
        return (
            reply(429, {}, retry_after="20")
            if "text:50" in texts and loop_time() - began[0] < 20
            else vectors(texts)
        )

    settled, error, _ = scored(lambda: engine_over(Service(answer), prompts(1000), max_outage=8.0))
    assert error is None
    assert len(settled) == 1000
    assert not errors_of(settled)


def container(status: int, code: str = "") -> Reply:
    """A reply of an Azure ML endpoint: the status of its container is in a header."""
    refused = refusal(424, code)
    return Reply(424, {"ms-azureml-model-error-statuscode": str(status)}, refused.body, 0.1)


def test_errors_of_an_azure_ml_container_are_judged_by_their_own_status() -> None:
    service = service_of(lambda texts: container(400, "content_filter") if "text:5" in texts else None)
    settled, _, _ = scored(lambda: engine_over(service, prompts(100)))
    assert {row: error.code for row, error in errors_of(settled).items()} == {5: ErrorCode.CONTENT_FILTER}
    _, error, seconds = scored(
        lambda: engine_over(service_of(lambda _: container(400, "unknown_parameter")), prompts(100))
    )
    assert isinstance(error, ServiceRefused)
    assert seconds < 30


def test_a_row_that_is_never_answered_is_given_up_in_minutes() -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        del number
        await asyncio.sleep(1e6 if "text:40" in texts else 0.1)
        return vectors(texts)

    settled, error, seconds = scored(
        lambda: engine_over(Service(answer), prompts(400), rows_a_request=1, retries=6)
    )
    assert error is None
    (failed,) = errors_of(settled).values()
    assert failed.code is ErrorCode.TIMEOUT
    assert "all attempts took 3 min" in failed.message
    assert seconds < 300


def test_a_row_that_was_answered_proves_that_rows_of_its_size_fit_a_small_limit_in_headers() -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        del number
        await asyncio.sleep(0.1)
        body = vectors(texts).body.replace(b"prompt_tokens", b"other_tokens")
        return Reply(200, {"x-ratelimit-limit-tokens": "2", "x-ratelimit-remaining-tokens": "2"}, body, 0.1)

    settled, _, seconds = scored(lambda: engine_over(Service(answer), prompts(30), rows_a_request=1))
    assert len(settled) == 30
    assert not errors_of(settled)
    assert seconds < 10


def test_what_a_service_wants_of_a_person_is_no_outage() -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        del texts, number
        raise NoReply(ErrorCode.CONNECTION_ERROR, "the service closed the connection", needs_action=True)

    _, error, seconds = scored(lambda: engine_over(Service(answer), prompts(30)))
    assert isinstance(error, ServiceRefused)
    assert seconds < 60
