"""Failures apart from rows: refusals during a run, failing probes, broken streams, closing."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from itertools import cycle, product
from typing import Any

import orjson
import pytest

from batchscore.engine.engine import Engine
from batchscore.errors import BatchscoreError, ErrorCode, Outage, ServiceRefused
from batchscore.prompts.duplicates import MOST_WAITING
from batchscore.request.deployment import Deployment
from batchscore.request.health import State
from batchscore.request.send import NoReply
from batchscore.rows import Prompt, Reply, RowError, Settled
from sampled import mostly_slow
from scripted import (
    Service,
    Timed,
    collected,
    deployment_of,
    engine_over,
    has_its_own_vector,
    prompts,
    refusal,
    reply,
    vectors,
)
from virtual_time import loop_time, run_virtual


def from_second(second: float, refused: Reply) -> Timed:
    return Timed(lambda _, seconds: refused if seconds >= second else None)


async def settled_before_failure(engine: Engine) -> tuple[list[Settled], BatchscoreError | None]:
    settled: list[Settled] = []
    try:
        async for batch in engine.settled():
            settled += batch
    except BatchscoreError as error:
        return settled, error
    return settled, None


def errors_of(settled: list[Settled]) -> list[RowError]:
    return [row.result for row in settled if isinstance(row.result, RowError)]


# --- a service that refuses everything from some moment on


@mostly_slow("status", [401, 402, 403, 404, 407], [401, 404])
@mostly_slow("rows_a_request", [1, 8], [8])
def test_a_refusal_of_all_requests_is_not_an_error_of_a_row(status: int, rows_a_request: int) -> None:
    timed = from_second(2.0, refusal(status, "x"))

    async def run() -> tuple[list[Settled], BatchscoreError | None]:
        engine = engine_over(timed.service, prompts(2000), rows_a_request=rows_a_request, concurrency=16)
        return await settled_before_failure(engine)

    (settled, error), _ = run_virtual(run())
    assert isinstance(error, ServiceRefused)
    assert settled
    assert not errors_of(settled)


def test_no_request_is_split_after_a_stop() -> None:
    timed = from_second(2.0, refusal(400, "x"))

    async def run() -> tuple[list[Settled], int]:
        engine = engine_over(timed.service, prompts(100_000), rows_a_request=16, concurrency=8)
        settled: list[Settled] = []
        at_stop = 0
        async for batch in engine.settled():
            settled += batch
            if timed.asked_at[-1] > 1.9 and not engine.stop.is_set():
                engine.stop.set()
                at_stop = len(timed.asked_at)
        return settled, len(timed.asked_at) - at_stop

    (settled, after), _ = run_virtual(run())
    assert after == 0
    assert not errors_of(settled)


@pytest.mark.parametrize("rows_a_request", [8, 64])
def test_what_is_left_of_a_divided_request_is_not_sent_or_waited_for_after_a_stop(
    rows_a_request: int,
) -> None:
    """Wherever the division is: between two parts, or before the wait for a failure to pass."""
    bad = Timed(lambda texts, _: refusal(500) if "text:7" in texts else None, takes=1.0)

    async def run(seconds: float) -> tuple[float, list[Settled]]:
        service = bad.service
        engine = engine_over(service, prompts(100_000), rows_a_request=rows_a_request, retries=6)

        async def stop() -> tuple[float, int]:
            await asyncio.sleep(seconds)
            engine.stop.set()
            return loop_time(), len(service.asked)

        stopping = asyncio.create_task(stop())
        settled = await collected(engine)
        stopped_at, asked = await stopping
        assert len(service.asked) == asked
        return loop_time() - stopped_at, settled

    for half_seconds in range(4, 24):
        (took, settled), _ = run_virtual(run(half_seconds / 2))
        assert took < 2, "as long as one request takes"
        assert not errors_of(settled)


def test_a_wrong_parameter_leaves_no_error_records() -> None:
    timed = from_second(0.0, refusal(400, "unknown_parameter"))

    async def run() -> tuple[list[Settled], BatchscoreError | None]:
        return await settled_before_failure(engine_over(timed.service, prompts(500), rows_a_request=1))

    (settled, error), _ = run_virtual(run())
    assert isinstance(error, ServiceRefused)
    assert "parameter is probably wrong" in str(error)
    assert settled == []


def test_equal_rows_that_are_all_refused_do_not_wait_for_each_other() -> None:
    """More rows than may wait for one answer, which is held back while a parameter may be the cause."""
    timed = Timed(lambda texts, _: refusal(400, "x") if "text:1" in texts else None)

    async def run() -> list[Settled]:
        same = (Prompt("file.csv", row, b'"text:1"') for row in range(3 * MOST_WAITING))
        return await collected(engine_over(timed.service, same, rows_a_request=1, dedup=True))

    settled, _ = run_virtual(run())
    assert sorted(row.row for row in settled) == list(range(3 * MOST_WAITING))


@pytest.mark.parametrize("good", [0, 1])
def test_a_few_refused_rows_at_the_start_are_their_own_fault(good: int) -> None:
    bad = {f"text:{row}" for row in range(12)}
    timed = Timed(lambda texts, _: refusal(400, "x") if bad & set(texts) else None)

    async def run() -> list[Settled]:
        return await collected(engine_over(timed.service, prompts(12 + good), rows_a_request=1))

    settled, _ = run_virtual(run())
    assert sorted(row.row for row in settled) == list(range(12 + good))
    assert [error.code for error in errors_of(settled)] == [ErrorCode.INVALID_REQUEST] * 12


@pytest.mark.parametrize("status", [403, 404])
def test_a_refused_row_costs_only_itself(status: int) -> None:
    """Like a firewall that inspects requests."""
    timed = Timed(lambda texts, _: reply(status, "blocked") if "text:77" in texts else None)

    async def run() -> list[Settled]:
        return await collected(engine_over(timed.service, prompts(500), rows_a_request=8))

    settled, _ = run_virtual(run())
    assert sorted(row.row for row in settled) == list(range(500))
    (failed,) = [row for row in settled if not has_its_own_vector(row)]
    assert failed.row == 77
    assert isinstance(failed.result, RowError)
    assert failed.result.code is ErrorCode.SERVER_ERROR, "a later run tries it again"
    assert "though it answers others" in failed.result.message
    assert 2 < len(timed.asked_at) - 500 / 8 < 11


# --- rubbish


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<html>please sign in</html>", "an HTML page, not JSON"),
        (b"data: [DONE]", "an event stream"),
        (b'{"error":{"type":"model_not_found"}}', "an error with status 200 (model_not_found)"),
        (b'{"data":[]}', "the reply has no data"),
        (b'{"data":[{"index":1,"embedding":[1]}]}', "vectors for|index numbers"),
    ],
)
@mostly_slow("second", [0.0, 5.0], [0.0])
def test_replies_that_were_never_usable_are_for_a_person(body: bytes, says: str, second: float) -> None:
    """Waiting cannot help; once there were answers, it can."""
    timed = from_second(second, Reply(200, {}, body, 0.1))

    async def run() -> tuple[list[Settled], BatchscoreError | None]:
        return await settled_before_failure(engine_over(timed.service, prompts(2000), max_outage=120.0))

    (settled, error), seconds = run_virtual(run())
    assert bool(settled) == bool(second)
    assert isinstance(error, Outage if second else ServiceRefused)
    assert any(word in str(error) for word in says.split("|"))
    assert seconds < (300 if second else 30)


@pytest.mark.parametrize(("rows", "second"), [(1, 5.0), (64, 0.15)])
def test_vectors_of_another_length_than_before_are_for_a_person(rows: int, second: float) -> None:
    """Waiting cannot help: another model answers."""

    def longer(texts: list[str], now: float) -> Reply | None:
        return reply(200, {"data": [{"embedding": [1.0] * 9} for _ in texts]}) if now > second else None

    timed = Timed(longer)

    async def run() -> tuple[list[Settled], BatchscoreError | None]:
        engine = engine_over(timed.service, prompts(2000), rows_a_request=rows, max_outage=1800.0)
        return await settled_before_failure(engine)

    (settled, error), seconds = run_virtual(run())
    assert settled
    assert not errors_of(settled)
    assert isinstance(error, ServiceRefused)
    assert "has not sent a usable reply for" in str(error)
    assert "vectors have 9 numbers, and those before have 3" in str(error)
    assert "never sent" not in str(error)
    assert seconds < 60


@pytest.mark.parametrize(("status", "kind"), [(402, ServiceRefused), (429, Outage), (503, Outage)])
def test_an_error_with_a_good_status_counts_as_its_own(status: int, kind: type[Exception]) -> None:
    timed = from_second(2.0, reply(200, {"error": {"code": status, "message": "no"}}))

    async def run() -> tuple[list[Settled], BatchscoreError | None]:
        return await settled_before_failure(engine_over(timed.service, prompts(2000), max_outage=120.0))

    (settled, error), _ = run_virtual(run())
    assert isinstance(error, kind)
    assert not errors_of(settled)


def rows_answered_wrongly(form: Callable[[dict[str, Any]], Any], bad: str) -> Callable[..., Any]:
    """A service that spoils the vector of one row."""

    async def answer(texts: list[str], number: int) -> Reply:
        del number
        await asyncio.sleep(0.1)
        body = orjson.loads(vectors(texts).body)
        for item, text in zip(body["data"], texts, strict=True):
            if text == bad:
                form(item)
        return reply(200, body)

    return answer


@pytest.mark.parametrize(
    "form",
    [
        lambda item: item.update(embedding=None),
        lambda item: item.update(embedding=[1e300, 0, 0]),
        lambda item: item.update(embedding=[1.0]),
        lambda item: item.pop("embedding"),
    ],
)
def test_one_row_whose_vector_is_never_usable_costs_four_requests(form: Any) -> None:
    """The last one is after a test request: no other row shows that the service answers."""
    service = Service(rows_answered_wrongly(form, "text:177"))

    async def run() -> list[Settled]:
        return await collected(engine_over(service, prompts(300), rows_a_request=100, concurrency=1))

    settled, _ = run_virtual(run())
    assert sorted(row.row for row in settled) == list(range(300))
    (failed,) = [row for row in settled if not has_its_own_vector(row)]
    assert failed.row == 177
    assert isinstance(failed.result, RowError)
    assert (failed.result.code, failed.result.attempts) == (ErrorCode.INVALID_RESPONSE, 4)
    assert len(service.asked) <= 7
    assert sum(map(len, service.asked)) <= 304


@pytest.mark.parametrize(
    "form",
    [
        lambda data: data[0].pop("index"),
        lambda data: [item.pop("index") for item in data],
        lambda data: [item.update(index=0) for item in data],
        lambda data: data[len(data) // 2].pop("index"),
    ],
    ids=["first left out", "all left out", "all zero", "one in the middle left out"],
)
def test_a_service_that_leaves_out_index_costs_no_further_request(form: Any) -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        del number
        await asyncio.sleep(0.1)
        body = orjson.loads(vectors(texts).body)
        form(body["data"])
        return reply(200, body)

    service = Service(answer)

    async def run() -> list[Settled]:
        return await collected(engine_over(service, prompts(1000), rows_a_request=100, concurrency=1))

    settled, _ = run_virtual(run())
    assert all(has_its_own_vector(row) for row in settled)
    assert len(settled) == 1000
    assert len(service.asked) <= 11


def test_a_reply_that_is_refused_twice_for_its_form_is_not_bought_again() -> None:
    """Every batch is answered in another form, but rows alone are not."""

    async def answer(texts: list[str], number: int) -> Reply:
        del number
        await asyncio.sleep(0.1)
        body = orjson.loads(vectors(texts).body)
        for item in body["data"]:
            item["index"] += len(texts) > 1
        return reply(200, body)

    service = Service(answer)

    async def run() -> list[Settled]:
        return await collected(engine_over(service, prompts(64), rows_a_request=8, concurrency=1))

    settled, _ = run_virtual(run())
    assert all(has_its_own_vector(row) for row in settled)
    assert len(service.asked) <= 8 * (2 + 2 + 4 + 8) + 2  # and a probe or two


def test_a_malformed_first_reply_does_not_fix_the_dimensions() -> None:
    def behave(texts: list[str], seconds: float) -> Reply | None:
        if seconds > 0.12:
            return None
        data = [{"index": index, "embedding": [1.0] * (index + 1)} for index in range(len(texts))]
        return reply(200, {"data": data})

    async def run() -> list[Settled]:
        return await collected(engine_over(Timed(behave).service, prompts(60)))

    settled, _ = run_virtual(run())
    assert len(settled) == 60
    assert all(has_its_own_vector(row) for row in settled)


# --- outages


@mostly_slow("concurrency, retries", [(1, 0), (2, 1), (3, 2), (16, 0), (16, 6)], [(1, 0), (16, 6)])
def test_an_outage_costs_no_row_however_few_its_retries(concurrency: int, retries: int) -> None:
    timed = Timed(lambda _, seconds: reply(503, {}) if 10 < seconds < 600 else None)

    async def run() -> list[Settled]:
        engine = engine_over(
            timed.service,
            prompts(250),
            rows_a_request=1,
            concurrency=concurrency,
            retries=retries,
            max_outage=1800.0,
        )
        return await collected(engine)

    settled, _ = run_virtual(run())
    assert sorted(row.row for row in settled) == list(range(250))
    assert not errors_of(settled)


def test_a_failure_with_quota_headers_does_not_pause() -> None:
    wholes = {"x_ratelimit_reset_requests": "8m24s", "x_ratelimit_remaining_requests": "9999"}
    failing = [True]

    def behave(texts: list[str], seconds: float) -> Reply | None:
        del texts
        return reply(500, {}, **wholes) if seconds > 1 and failing and failing.pop() else None

    async def run() -> list[Settled]:
        return await collected(engine_over(Timed(behave).service, prompts(200), rows_a_request=1))

    settled, seconds = run_virtual(run())
    assert not errors_of(settled)
    assert seconds < 60


def test_sign_in_fails_and_recovers_with_the_network() -> None:
    """A token cannot be renewed during an outage either; the probe then continues."""

    async def answer(texts: list[str], number: int) -> Reply:
        del number
        await asyncio.sleep(0.1)
        if 1000 > loop_time() - started > 1:
            raise NoReply(ErrorCode.CONNECTION_ERROR, "signing in again fails")
        return vectors(texts)

    async def run() -> list[Settled]:
        nonlocal started
        started = loop_time()
        return await collected(engine_over(Service(answer), prompts(500), max_outage=1800.0))

    started = 0.0
    settled, _ = run_virtual(run())
    assert len(settled) == 500
    assert not errors_of(settled)


def test_probing_that_breaks_off_ends_the_run() -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        await asyncio.sleep(0.1)
        if number > 20 and texts == ["ping:0"]:
            raise ZeroDivisionError
        if number > 20:
            raise NoReply(ErrorCode.CONNECTION_ERROR, "gone")
        return vectors(texts)

    async def run() -> tuple[list[Settled], BatchscoreError | None]:
        engine = engine_over(Service(answer), prompts(4000), rows_a_request=1, max_outage=1800.0)
        return await settled_before_failure(engine)

    (_, error), seconds = run_virtual(run())
    assert "please report this" in str(error)
    assert seconds < 60


def test_a_waiting_request_wakes_when_the_deployment_is_up() -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        del number
        return vectors(texts)

    async def run() -> bool:
        deployment = deployment_of(Service(answer))
        deployments = engine_over([deployment], prompts(1)).attempt_loop.deployments
        deployment.set_state(State.DOWN)
        choosing = asyncio.create_task(deployments.choose(1.0))
        await asyncio.sleep(0)
        deployment.set_state(State.UP)
        done, _ = await asyncio.wait({choosing}, timeout=3600)
        choosing.cancel()
        return bool(done)

    assert run_virtual(run())[0]


def test_a_late_probe_does_not_revive_an_abandoned_request() -> None:
    timed = Timed(lambda *_: None, takes=2.0)

    async def run() -> State:
        first, other = (deployment_of(timed.service, name=name) for name in "ab")
        deployments = engine_over([first, other], prompts(1)).attempt_loop.deployments
        deployments.mark_down(first)
        await asyncio.sleep(1)
        deployments.stop(first, ServiceRefused("404"))
        await asyncio.sleep(10)
        return first.health.state

    assert run_virtual(run())[0] is State.STOPPED


# --- several deployments


@pytest.mark.slow
def test_a_pause_of_all_deployments_leaves_the_loop_to_others() -> None:
    """In real time: waiting must not use the CPU, or Ctrl-C does not work."""
    refused = reply(429, {}, retry_after="1")
    first = [True] * 16

    async def answer(texts: list[str], number: int) -> Reply:
        del number
        await asyncio.sleep(0.01)
        return refused if first and first.pop() else vectors(texts)

    async def run() -> tuple[list[Settled], float]:
        members = [deployment_of(Service(answer), name=name, concurrency=8) for name in "ab"]
        worked = time.thread_time()
        settled = await collected(engine_over(members, prompts(40), rows_a_request=1))
        return settled, time.thread_time() - worked

    settled, worked = asyncio.run(run())
    assert len(settled) == 40
    assert worked < 0.9


def test_each_deployment_may_renew_its_own_token() -> None:
    notices: list[str] = []

    def member(name: str, seconds: float) -> Deployment:
        renewed: list[bool] = []

        async def renew() -> bool:
            await asyncio.sleep(seconds)
            renewed.append(True)
            return True

        timed = Timed(lambda _, passed: reply(401, {}) if passed > 1 and not renewed else None)
        return deployment_of(timed.service, name=name, renew_token=renew)

    async def run() -> list[Settled]:
        members = [member("a", 0.5), member("b", 5.0), member("c", 1.0)]
        return await collected(engine_over(members, prompts(600), rows_a_request=1, notices=notices))

    settled, _ = run_virtual(run())
    assert len(settled) == 600
    assert not [notice for notice in notices if "not used any more" in notice]


@pytest.mark.parametrize("fails", ["signing in", "signing in again"])
def test_a_deployment_that_cannot_sign_in_leaves_its_work_to_the_others(fails: str) -> None:
    notices: list[str] = []

    async def lost(texts: list[str], number: int) -> Reply:
        await asyncio.sleep(0.1)
        if number > 20 and fails == "signing in":
            raise ServiceRefused("No Entra ID token")
        return reply(401, {}) if number > 20 else vectors(texts)

    async def renew() -> bool:
        raise ServiceRefused("No Entra ID token")

    async def run() -> list[Settled]:
        members = [
            deployment_of(Service(lost), name="a", renew_token=renew),
            deployment_of(Timed(lambda *_: None).service, name="b"),
        ]
        return await collected(engine_over(members, prompts(500), rows_a_request=1, notices=notices))

    settled, _ = run_virtual(run())
    assert sorted(row.row for row in settled) == list(range(500))
    assert notices == ["a is no longer used: No Entra ID token"]


@pytest.mark.slow
def test_a_deployment_that_requests_minutes_of_pause_recovers() -> None:
    timed = Timed(lambda _, seconds: reply(503, {}, retry_after="700") if 1 < seconds < 3 else None)

    async def run() -> list[Settled]:
        members = [
            deployment_of(timed.service, name="a", rpm=60),
            deployment_of(Timed(lambda *_: None).service, name="b", rpm=60),
        ]
        return await collected(engine_over(members, prompts(3000), rows_a_request=1))

    settled, _ = run_virtual(run())
    assert len(settled) == 3000
    assert len([at for at in timed.asked_at if at > 700]) > 100


# --- the stream, and who reads


def test_rows_before_a_broken_stream_are_settled() -> None:
    def breaking() -> Iterator[Prompt]:
        yield from prompts(61)
        raise ZeroDivisionError

    settled: list[Settled] = []

    async def run() -> None:
        async for batch in engine_over(Timed(lambda *_: None).service, breaking()).settled():
            settled.extend(batch)

    with pytest.raises(ZeroDivisionError):
        run_virtual(run())
    assert len(settled) >= 56


def test_closing_at_the_moment_of_a_timeout_ends_all_tasks() -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        asked.append(number)
        await asyncio.sleep(1000 if number == 30 else 0.1)
        return vectors(texts)

    asked: list[int] = []

    async def run() -> int:
        engine = engine_over(Service(answer), prompts(30_000), rows_a_request=1)
        results = engine.settled()
        async for _ in results:
            if len(asked) >= 60:
                break
        flights = engine.attempt_loop.requester.timeouts.flights
        (late,) = [flight for flight in flights if loop_time() - flight.started > 0.5]

        def give_up() -> None:
            late.overdue = True
            late.task.cancel()

        before = len(asked)
        asyncio.get_running_loop().call_soon(give_up)
        await results.aclose()
        return len(asked) - before

    assert run_virtual(run())[0] == 0


@pytest.mark.slow
def test_time_in_which_the_thread_was_blocked_is_not_a_timeout() -> None:
    """In real time: the source of rows blocks the thread for longer than the timeout."""

    def slow() -> Iterator[Prompt]:
        for number, prompt in enumerate(prompts(40)):
            if number == 20:
                time.sleep(1.2)
            yield prompt

    async def answer(texts: list[str], number: int) -> Reply:
        del number
        await asyncio.sleep(0.3)
        return vectors(texts)

    async def run() -> tuple[list[Settled], Service]:
        service = Service(answer)
        return await collected(engine_over(service, slow(), rows_a_request=1, timeout=1.0)), service

    settled, service = asyncio.run(run())
    assert len(settled) == len(service.asked) == 40


# --- credentials that are refused by chance, and limits that never end


@pytest.mark.parametrize("rows_a_request", [1, 8])
def test_a_key_that_is_refused_now_and_then_does_not_end_the_run(rows_a_request: int) -> None:
    """Also if the first probe after a refusal is refused, too."""
    number = 0

    def flap(texts: list[str], _: float) -> Reply | None:
        nonlocal number
        number += 1
        refused = number % 20 == 0 or (texts == ["ping:0"] and number % 40 == 1)
        return refusal(401, "401") if refused else None

    async def run() -> list[Settled]:
        return await collected(engine_over(Timed(flap).service, prompts(300), rows_a_request=rows_a_request))

    settled, _ = run_virtual(run())
    assert len(settled) == 300
    assert not errors_of(settled)


@pytest.mark.parametrize("bad", [0, 150])
def test_a_row_whose_credentials_alone_are_refused_is_asked_again_by_later_runs(bad: int) -> None:
    timed = Timed(lambda texts, _: refusal(401, "401") if f"text:{bad}" in texts else None)

    async def run() -> list[Settled]:
        return await collected(engine_over(timed.service, prompts(300), rows_a_request=4, retries=2))

    settled, _ = run_virtual(run())
    [error] = errors_of(settled)
    assert (error.code, error.status) == (ErrorCode.SERVER_ERROR, 401)
    assert len(settled) == 300


MOMENTS: dict[str, Reply] = {
    "401": refusal(401, "401"),
    "403": Reply(403, {}, b"<html>blocked</html>", 0.1),
    "404": refusal(404, "DeploymentNotFound"),
    "key": reply(400, {"error": {"message": "API key not valid. Please pass a valid API key."}}),
}


@pytest.mark.parametrize("kind", MOMENTS)
@mostly_slow("rows_a_request, concurrency", [*product([1, 8], [1, 64])], [(1, 64)])
@mostly_slow("retries", [0, 6], [6])
def test_a_key_that_is_revoked_ends_the_run_in_half_a_minute(
    kind: str, rows_a_request: int, concurrency: int, retries: int
) -> None:
    timed = from_second(1.0, MOMENTS[kind])

    async def run() -> tuple[list[Settled], BatchscoreError | None]:
        return await settled_before_failure(
            engine_over(
                timed.service,
                prompts(100_000),
                rows_a_request=rows_a_request,
                concurrency=concurrency,
                retries=retries,
                max_outage=1800,
            )
        )

    (settled, error), seconds = run_virtual(run())
    assert isinstance(error, ServiceRefused)
    assert settled
    assert not errors_of(settled)
    assert str(error).startswith("the service has not accepted a request for 2")
    assert f"({'400' if kind == 'key' else kind}" in str(error)
    assert seconds < 30
    assert len([at for at in timed.asked_at if at > 2]) <= 10, "test requests only"


@pytest.mark.parametrize("kind", MOMENTS)
@mostly_slow(
    "rows_a_request, concurrency, seconds",
    [*product([1, 8], [1, 4, 64], [0.5, 3, 8, 20])],
    [(1, 4, 3), (8, 1, 20)],
)
def test_a_moment_in_which_everything_is_refused_is_waited_for(
    kind: str, rows_a_request: int, concurrency: int, seconds: float
) -> None:
    timed = Timed(lambda _, now: MOMENTS[kind] if 1 <= now < 1 + seconds else None)
    rows = 500 + 40 * rows_a_request * concurrency
    notices: list[str] = []

    async def run() -> list[Settled]:
        return await collected(
            engine_over(
                timed.service,
                prompts(rows),
                rows_a_request=rows_a_request,
                concurrency=concurrency,
                retries=0,
                notices=notices,
            )
        )

    settled, _ = run_virtual(run())
    assert len(settled) == rows
    assert not errors_of(settled)
    if seconds > 2:
        assert "refuses all requests" in notices[0]
        assert "at most 20 s" in notices[0]
        assert "responds again" in notices[1]


@mostly_slow("kind", MOMENTS, ["401", "403"])
@mostly_slow("seeds", [range(2), range(2, 16)], [range(2)])
def test_a_moment_in_which_many_requests_are_refused_is_no_rows_error(kind: str, seeds: range) -> None:
    """Some of several servers behind one address start again or change their keys."""
    for seed in seeds:
        random.seed(seed)
        sample = random.Random(seed)
        share, seconds = sample.choice([0.1, 0.25, 0.5, 0.8, 0.95]), sample.choice([1, 5, 19])
        rows_a_request, concurrency = sample.choice([1, 1, 8, 64]), sample.choice([1, 4, 16])
        begin = sample.uniform(0.5, 3)

        def behave(_: list[str], now: float, values: Any = (begin, seconds, share, sample)) -> Reply | None:
            begin, seconds, share, sample = values
            return MOMENTS[kind] if begin <= now < begin + seconds and sample.random() < share else None

        rows = 300 + 20 * rows_a_request * concurrency

        async def run(
            behave: Any = behave, rows: int = rows, values: Any = (rows_a_request, concurrency)
        ) -> list[Settled]:
            service = Timed(behave).service
            engine = engine_over(
                service,
                prompts(rows),
                rows_a_request=values[0],
                concurrency=values[1],
                retries=6,
                max_outage=1800,
            )
            return await collected(engine)

        settled, _ = run_virtual(run())
        assert len(settled) == rows, seed
        assert not errors_of(settled), seed


@mostly_slow("kind", ["401", "key"], ["401"])
@mostly_slow("rows_a_request", [1, 8, 64], [8])
def test_keys_that_are_refused_at_random_are_no_rows_error(kind: str, rows_a_request: int) -> None:
    """One of several servers behind one address may have another key, for the whole run."""
    for seed in range(3):
        random.seed(seed)
        sample = random.Random(seed)
        timed = Timed(
            lambda _, now, sample=sample: MOMENTS[kind] if now > 1 and sample.random() < 0.2 else None  # type: ignore[misc]
        )

        async def run(service: Service = timed.service) -> list[Settled]:
            engine = engine_over(
                service, prompts(300), rows_a_request=rows_a_request, retries=6, max_outage=1800
            )
            return await collected(engine)

        settled, _ = run_virtual(run())
        assert len(settled) == 300
        assert not errors_of(settled), seed


@mostly_slow("rows_a_request", [1, 4, 8], [4])
def test_a_row_of_a_small_request_has_all_of_its_retries_if_its_credentials_are_refused(
    rows_a_request: int,
) -> None:
    """They may be refused at random: of 30 % a row gets four one after the other now and then."""
    refused = 0

    def behave(texts: list[str], _: float) -> Reply | None:
        nonlocal refused
        if "text:50" not in texts or refused == 5:
            return None
        refused += 1
        return MOMENTS["401"]

    async def run() -> list[Settled]:
        return await collected(
            engine_over(Timed(behave).service, prompts(100), rows_a_request=rows_a_request, retries=6)
        )

    settled, _ = run_virtual(run())
    assert len(settled) == 100
    assert not errors_of(settled)


@mostly_slow("concurrency", [1, 4], [4])
@mostly_slow("kind", MOMENTS, ["404"])
def test_rows_that_wait_and_their_retries_do_not_exceed_the_concurrency(kind: str, concurrency: int) -> None:
    timed = Timed(lambda texts, now: MOMENTS[kind] if now > 3 and texts != ["ping:0"] else None, takes=1.0)
    sent = most = 0

    async def answer(texts: list[str], number: int) -> Reply:
        nonlocal sent, most
        is_row = texts != ["ping:0"]
        sent += is_row
        most = max(most, sent)
        try:
            return await timed.answer(texts, number)
        finally:
            sent -= is_row

    async def run() -> list[Settled]:
        service = Service(answer)
        return await collected(
            engine_over(service, prompts(120), rows_a_request=1, concurrency=concurrency, retries=6)
        )

    settled, _ = run_virtual(run())
    assert len(settled) == 120
    assert errors_of(settled)
    assert most == concurrency


@mostly_slow("kind", MOMENTS, ["401", "404"])
@mostly_slow(
    "others, most",
    [*product(["503", "form", "reset", "503 503", "random"], [60.0, 600.0])],
    [("503", 60.0), ("random", 600.0)],
)
def test_refusals_of_everything_that_alternate_with_other_failures_end_the_run(
    kind: str, others: str, most: float
) -> None:
    failures = {"503": reply(503), "form": reply(200, {"data": []}), "reset": None}
    names = ["503", "reset"] if others == "random" else others.split()
    # A lost connection is a failure without a reply.
    kinds: list[Reply | None] = [MOMENTS[kind], *(failures[name] for name in names)]
    sample, in_turn = random.Random(1), cycle(kinds)

    async def answer(texts: list[str], number: int) -> Reply:
        await asyncio.sleep(0.1)
        if number < 20:
            return vectors(texts)
        failure = sample.choice(kinds) if others == "random" else next(in_turn)
        if failure is None:
            raise NoReply(ErrorCode.CONNECTION_ERROR, "reset")
        return failure

    async def run() -> tuple[list[Settled], BatchscoreError | None]:
        return await settled_before_failure(
            engine_over(Service(answer), prompts(1000), rows_a_request=4, retries=6, max_outage=most)
        )

    (settled, error), seconds = run_virtual(run())
    assert isinstance(error, (Outage, ServiceRefused))
    assert settled
    assert not errors_of(settled)
    assert seconds < most + 45


@mostly_slow("kind", MOMENTS, ["401"])
def test_a_deployment_that_refuses_everything_is_not_asked_for_ever_while_others_answer(kind: str) -> None:
    refusing = Timed(lambda _, now: MOMENTS[kind] if now >= 2 else None, takes=1.0)
    answering = Timed(lambda *_: None, takes=1.0)
    notices: list[str] = []

    async def run() -> list[Settled]:
        members = [
            deployment_of(each.service, name=name)
            for each, name in ((refusing, "first"), (answering, "second"))
        ]
        return await collected(engine_over(members, prompts(5000), notices=notices))

    settled, seconds = run_virtual(run())
    assert len(settled) == 5000
    assert not errors_of(settled)
    assert seconds > 120
    assert len([at for at in refusing.asked_at if at > 4]) <= 10, "test requests for 20 seconds"
    assert "Other deployments do its work" in notices[0]
    assert notices[1].startswith("first is no longer used: ")
    assert len(notices) == 2


@mostly_slow("kind", MOMENTS, ["401"])
def test_the_last_of_two_deployments_that_refuse_everything_ends_the_run(kind: str) -> None:
    services = [
        Timed(lambda _, now, at=at: MOMENTS[kind] if now >= at else None, takes=1.0)  # type: ignore[misc]
        for at in (2.0, 60.0)
    ]

    async def run() -> tuple[list[Settled], BatchscoreError | None]:
        members = [deployment_of(each.service, name=f"{number}") for number, each in enumerate(services)]
        return await settled_before_failure(engine_over(members, prompts(100_000), max_outage=1800))

    (settled, error), seconds = run_virtual(run())
    assert isinstance(error, ServiceRefused)
    assert settled
    assert not errors_of(settled)
    assert seconds < 90


def test_a_token_that_is_revoked_during_an_outage_is_renewed_after_it() -> None:
    """Only test requests are sent then, so one of them is the first to be refused."""
    used = "old"

    def behave(_: list[str], now: float) -> Reply | None:
        if 1 <= now < 30:
            return reply(503)
        return MOMENTS["401"] if now >= 30 and used == "old" else None

    async def renew() -> bool:
        nonlocal used
        used = "new"
        return True

    async def run() -> list[Settled]:
        return await collected(engine_over(Timed(behave).service, prompts(2000), renew_token=renew))

    settled, _ = run_virtual(run())
    assert len(settled) == 2000
    assert not errors_of(settled)


@pytest.mark.parametrize("kind", MOMENTS)
@pytest.mark.parametrize("concurrency", [1, 64])
def test_what_is_refused_before_any_answer_costs_two_requests(kind: str, concurrency: int) -> None:
    timed = Timed(lambda *_: MOMENTS[kind])

    async def run() -> tuple[list[Settled], BatchscoreError | None]:
        return await settled_before_failure(engine_over(timed.service, prompts(500), concurrency=concurrency))

    (settled, error), seconds = run_virtual(run())
    assert isinstance(error, ServiceRefused)
    assert settled == []
    assert len(timed.asked_at) == 2
    assert seconds < 2


@mostly_slow("begin", [0.0, 5.0], [5.0])
@mostly_slow("most", [4.0, 10.0, 90.0, 600.0], [4.0, 90.0])
def test_rate_limits_without_an_end_are_an_outage(most: float, begin: float) -> None:
    timed = from_second(begin, reply(429, {}))

    async def run() -> tuple[list[Settled], BatchscoreError | None]:
        return await settled_before_failure(engine_over(timed.service, prompts(100_000), max_outage=most))

    (settled, error), seconds = run_virtual(run())
    assert isinstance(error, Outage)
    assert not errors_of(settled)
    assert begin + most <= seconds < begin + 1.6 * most + 4
