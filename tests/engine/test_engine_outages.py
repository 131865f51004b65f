"""Outages, pauses and several deployments, in virtual time: hours pass in milliseconds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product

import pytest

from batchscore.errors import ErrorCode, Outage, ServiceRefused
from batchscore.request.deployment import Deployment
from batchscore.request.outcome_rules import Outcome
from batchscore.request.send import NoReply
from batchscore.rows import Attempt, Prompt, Reply, RowError, Settled
from sampled import mostly_slow
from scripted import (
    Answer,
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


@dataclass
class Clocked:
    """A service that behaves by the seconds since its first request."""

    behave: Callable[[float], Reply | None]
    began: float | None = None
    asked_at: list[float] = field(default_factory=list)

    async def answer(self, texts: list[str], number: int) -> Reply:
        del number
        now = loop_time()
        self.began = now if self.began is None else self.began
        self.asked_at.append(now - self.began)
        await asyncio.sleep(0.1)
        return self.behave(now - self.began) or vectors(texts)


def down_between(start: float, end: float, refused: Reply) -> Clocked:
    return Clocked(lambda seconds: refused if start <= seconds < end else None)


def healthy(seconds: float) -> None:
    del seconds


def good(settled: list[Settled], rows: int) -> None:
    assert sorted(row.row for row in settled) == list(range(rows))
    assert all(has_its_own_vector(row) for row in settled)


def test_half_an_hour_of_503_costs_a_pause_and_no_row() -> None:
    service = down_between(1.0, 1500.0, reply(503, {}))
    notices: list[str] = []

    async def main() -> list[Settled]:
        engine = engine_over(
            Service(service.answer), prompts(500), retries=2, max_outage=1800, notices=notices
        )
        return await collected(engine)

    settled, seconds = run_virtual(main())
    good(settled, 500)
    assert 1500 < seconds < 1700
    during = [at for at in service.asked_at if 20 < at < 1500]
    assert len(during) <= 60, "a service that is down is probed now and then, not flooded"
    assert [text.partition(" ")[0] for text in notices] == ["scripted", "scripted"]
    assert "does not respond" in notices[0]
    assert "responds again" in notices[1]


def test_a_long_outage_stops_the_run_without_row_errors() -> None:
    service = down_between(1.0, float("inf"), reply(503, {}))
    settled: list[Settled] = []

    async def main() -> None:
        engine = engine_over(Service(service.answer), prompts(2000), retries=2, max_outage=600)
        async for batch in engine.settled():
            settled.extend(batch)

    with pytest.raises(Outage, match="has not responded for"):
        run_virtual(main())
    assert 0 < len(settled) < 2000
    assert all(has_its_own_vector(row) for row in settled)


def test_an_address_that_was_never_reached_fails_early() -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        raise NoReply(ErrorCode.CONNECTION_ERROR, "nothing listens at 127.0.0.1:1")

    async def main() -> None:
        await collected(engine_over(Service(answer), prompts(10), max_outage=1800))

    started: list[float] = []

    async def timed() -> None:
        started.append(loop_time())
        try:
            await main()
        finally:
            started.append(loop_time())

    with pytest.raises(Outage, match=r"nothing listens .* check the host and the port"):
        run_virtual(timed())
    assert started[1] - started[0] < 60


@pytest.mark.parametrize("code", [ErrorCode.CONNECTION_ERROR, ErrorCode.INVALID_RESPONSE])
def test_a_service_that_never_speaks_http_is_no_outage_if_it_also_times_out(code: ErrorCode) -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        if number >= 4:
            await asyncio.sleep(1e6)
        raise NoReply(code, "the reply is not HTTP", needs_action=True)

    async def main() -> None:
        await collected(engine_over(Service(answer), prompts(10), max_outage=1800))

    with pytest.raises(ServiceRefused, match="not HTTP"):
        run_virtual(main())


@pytest.mark.parametrize("position", [0, 50, 99])
def test_a_row_that_always_fails_costs_only_itself_wherever_it_is(position: int) -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        await asyncio.sleep(0.1)
        return reply(500, {}) if f"text:{position}" in texts else vectors(texts)

    async def main() -> list[Settled]:
        return await collected(engine_over(Service(answer), prompts(100), rows_a_request=4))

    settled, seconds = run_virtual(main())
    assert sorted(row.row for row in settled) == list(range(100))
    (failed,) = [row for row in settled if isinstance(row.result, RowError)]
    assert failed.row == position
    assert failed.result.code is ErrorCode.SERVER_ERROR  # type: ignore[union-attr]
    assert seconds < 600


def two(first: Answer, second: Answer, rpm: float | None = None) -> list[Deployment]:
    services = {"first": Service(first), "second": Service(second)}
    return [deployment_of(service, name=name, rpm=rpm) for name, service in services.items()]


def test_the_quotas_of_several_deployments_add_up() -> None:
    services = [Clocked(healthy), Clocked(healthy)]

    async def main() -> list[Settled]:
        members = two(services[0].answer, services[1].answer, rpm=150)
        return await collected(engine_over(members, prompts(300), rows_a_request=1))

    settled, seconds = run_virtual(main())
    good(settled, 300)
    assert 58 < seconds < 64, "300 requests at twice 150 a minute"
    assert all(len(service.asked_at) > 125 for service in services)


def test_requests_move_from_a_dead_deployment_to_the_other_and_back() -> None:
    dying = down_between(5.0, 65.0, reply(503, {}))
    steady = Clocked(healthy)

    async def main() -> list[Settled]:
        members = two(dying.answer, steady.answer, rpm=150)
        return await collected(engine_over(members, prompts(600), rows_a_request=1, retries=2))

    settled, seconds = run_virtual(main())
    good(settled, 600)
    assert len([at for at in dying.asked_at if at > 95]) > 25, "once it answers again it is used again"
    assert seconds < 190


def test_a_deployment_that_refuses_all_requests_is_skipped() -> None:
    gone = down_between(0, float("inf"), refusal(404, "DeploymentNotFound"))
    steady = Clocked(healthy)
    notices: list[str] = []

    async def main() -> list[Settled]:
        members = two(gone.answer, steady.answer)
        return await collected(engine_over(members, prompts(300), rows_a_request=1, notices=notices))

    settled, _ = run_virtual(main())
    good(settled, 300)
    assert len(gone.asked_at) == 2, "a request and a probe, whose words may be shown"
    assert [text.startswith("first is no longer used") for text in notices] == [True]


def test_the_run_stops_if_all_deployments_refuse() -> None:
    gone = down_between(0, float("inf"), refusal(404, "DeploymentNotFound"))

    async def main() -> None:
        await collected(engine_over(two(gone.answer, gone.answer), prompts(300)))

    with pytest.raises(ServiceRefused, match="DeploymentNotFound"):
        run_virtual(main())


def test_one_429_pauses_the_deployment_once() -> None:
    service = Clocked(lambda seconds: reply(429, {}, retry_after="20") if 1 <= seconds < 1.3 else None)

    async def main() -> list[Settled]:
        return await collected(engine_over(Service(service.answer), prompts(400), rows_a_request=1))

    settled, seconds = run_virtual(main())
    good(settled, 400)
    assert not [at for at in service.asked_at if 1.6 < at < 21]
    assert 20 < seconds < 45


def test_a_row_that_can_never_fit_is_distinguished_from_an_exhausted_quota() -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        await asyncio.sleep(0.1)
        return reply(429, {}, retry_after="86400") if "text:7" in texts else vectors(texts)

    async def main() -> list[Settled]:
        return await collected(engine_over(Service(answer), prompts(40)))

    settled, seconds = run_virtual(main())
    (failed,) = [row for row in settled if isinstance(row.result, RowError)]
    assert failed.row == 7
    assert "1 d" in failed.result.message  # type: ignore[union-attr]
    assert len(settled) == 40
    assert seconds < 30


def test_a_hung_request_is_retried_and_blocks_no_other() -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        await asyncio.sleep(3600 if number == 100 else 0.1)
        return vectors(texts)

    attempts: list[Attempt] = []

    async def main() -> list[Settled]:
        return await collected(
            engine_over(Service(answer), prompts(3000), rows_a_request=8, attempts=attempts)
        )

    settled, seconds = run_virtual(main())
    good(settled, 3000)
    assert 15 < seconds < 35
    (late,) = [attempt for attempt in attempts if attempt.cause == "timeout"]
    assert late.rows == 8
    assert [attempt.rows for attempt in attempts if attempt.rows not in {8, 0}] == [2] * 4, "it was divided"


@pytest.mark.parametrize(("total", "rows", "minutes"), [(3, 3, 6), (3, 1, 6), (300, 256, 18)])
def test_a_row_that_always_hangs_in_a_small_input_holds_it_for_minutes_only(
    total: int, rows: int, minutes: int
) -> None:
    """Few others are answered, so their usual latency is not known. It was 24 and 44 minutes."""

    async def answer(texts: list[str], number: int) -> Reply:
        del number
        await asyncio.sleep(1e6 if "text:1" in texts else 0.1)
        return vectors(texts)

    async def main() -> list[Settled]:
        return await collected(engine_over(Service(answer), prompts(total), rows_a_request=rows, retries=6))

    settled, seconds = run_virtual(main())
    assert [row.row for row in settled if isinstance(row.result, RowError)] == [1]
    assert seconds < minutes * 60


def test_requests_to_a_slow_model_are_not_repeated() -> None:
    async def answer(texts: list[str], number: int) -> Reply:
        seconds = 40.0 + number % 10
        await asyncio.sleep(seconds)
        return Reply(200, {}, vectors(texts).body, seconds)

    attempts: list[Attempt] = []

    async def main() -> list[Settled]:
        return await collected(engine_over(Service(answer), prompts(400), attempts=attempts))

    settled, _ = run_virtual(main())
    good(settled, 400)
    assert not [attempt for attempt in attempts if attempt.cause]


def test_duplicate_prompts_are_sent_once() -> None:
    asked: list[str] = []

    async def answer(texts: list[str], number: int) -> Reply:
        asked.extend(texts)
        await asyncio.sleep(0.1)
        return vectors(texts)

    source = (Prompt("file.csv", row, b'"text:%d"' % (row % 25)) for row in range(500))

    async def main() -> list[Settled]:
        return await collected(engine_over(Service(answer), source, dedup=True))

    settled, _ = run_virtual(main())
    assert sorted(row.row for row in settled) == list(range(500))
    assert sorted(asked) == sorted({f"text:{row}" for row in range(25)})
    for row in settled:
        assert row.result.value[0] == row.row % 25  # type: ignore[union-attr]


def test_rows_that_always_fail_do_not_hold_up_the_others_from_the_start() -> None:
    """As in a resumed run that starts with failed rows: nothing has been answered before."""

    async def answer(texts: list[str], number: int) -> Reply:
        del number
        await asyncio.sleep(0.1)
        failing = texts[0].startswith("text:") and int(texts[0][5:]) < 30
        return reply(500, {}) if failing else vectors(texts)

    async def run() -> list[Settled]:
        return await collected(engine_over(Service(answer), prompts(40), rows_a_request=1, retries=6))

    settled, seconds = run_virtual(run())
    assert sorted(row.row for row in settled) == list(range(40))
    assert sum(isinstance(row.result, RowError) for row in settled) == 30
    assert seconds < 450, "one after the other they would take a quarter of an hour"


@mostly_slow("rows, length", [*product([16, 256], [0.3, 0.5, 1.0, 2.0])], [(16, 1.0), (256, 0.5)])
def test_a_moments_outage_costs_no_row_of_a_divided_request(rows: int, length: float) -> None:
    """Those of the rows that are bad have waited by then, with the good ones beside them."""

    def bad(text: str) -> bool:
        return text != "ping:0" and int(text.split(":")[1]) % 50 == 7

    async def run(begin: float) -> list[Settled]:
        def behave(texts: list[str], seconds: float) -> Reply | None:
            if begin <= seconds < begin + length:
                return reply(503)
            return reply(500) if any(map(bad, texts)) else None

        service = Timed(behave).service
        return await collected(engine_over(service, prompts(300), rows_a_request=rows, retries=6))

    for begin in range(30, 42):
        settled, _ = run_virtual(run(begin))
        failed = {row.row for row in settled if isinstance(row.result, RowError)}
        assert failed == {row for row in range(300) if row % 50 == 7}


@pytest.mark.parametrize(("rows", "retries", "times"), [(4, 6, 2), (4, 1, 1), (1, 1, 2), (1, 6, 7)])
def test_failures_of_one_outage_are_no_rows_error(rows: int, retries: int, times: int) -> None:
    """It ends after the row's last attempt, so that the test request is answered."""
    tried_at: list[float] = []

    def behave(texts: list[str], seconds: float) -> Reply | None:
        if texts == ["text:4"]:
            tried_at.append(seconds)
        is_down = len(tried_at) + (texts != ["text:4"]) <= times
        if tried_at and is_down and seconds < tried_at[0] + 40:
            return reply(503)
        return reply(500) if "text:5" in texts else None

    async def run() -> list[Settled]:
        service = Timed(behave).service
        engine = engine_over(
            service, prompts(8), rows_a_request=rows, retries=retries, concurrency=1, max_outage=600
        )
        return await collected(engine)

    settled, _ = run_virtual(run())
    assert {row.row for row in settled if isinstance(row.result, RowError)} == {5}


def lost() -> Reply:
    raise NoReply(ErrorCode.CONNECTION_ERROR, "reset")


OUTAGES: dict[str, Callable[[], Reply]] = {
    "503": lambda: reply(503),
    "429": lambda: reply(429),
    "429 with a wait": lambda: reply(429, {}, retry_after="1"),
    "reset": lost,
    "wrong form": lambda: reply(200, {"data": []}),
}


def errors_after(kind: str, sample: random.Random) -> set[int]:
    """The rows that get an error because of one outage of some length, in some run."""
    hangs = kind == "timeouts"
    seconds = sample.choice([20, 60, 120, 200, 300, 600] if hangs else [0.3, 1, 5, 20, 60, 120])
    rows, retries = sample.choice([1, 1, 4, 64]), sample.choice([0, 1, 3, 6])
    total = sample.choice([3, 12, 100, 300])
    bad = sample.choice([None, total - 1]) if total > rows else None  # something was answered before
    takes = sample.choice([0.1, 1.0, 5.0])
    begin = takes * (2.5 + total / rows / 4 * sample.random())

    async def answer(texts: list[str], number: int) -> Reply:
        now = loop_time() - began[0]
        if begin <= now < begin + seconds:
            await asyncio.sleep(1e6 if hangs else 0.05)
            return OUTAGES[kind]()
        taken = takes * (1 + number % 7 / 10)
        await asyncio.sleep(taken)
        return reply(500) if f"text:{bad}" in texts else Reply(200, {}, vectors(texts).body, taken)

    began: list[float] = []

    async def run() -> list[Settled]:
        began.append(loop_time())
        engine = engine_over(
            Service(answer),
            prompts(total),
            rows_a_request=rows,
            retries=retries,
            concurrency=sample.choice([1, 1, 2, 4, 16]),
            max_outage=1800,
        )
        return await collected(engine)

    settled, _ = run_virtual(run())
    assert len(settled) == total
    return {row.row for row in settled if isinstance(row.result, RowError)} - {bad}


@pytest.mark.parametrize("kind", ["timeouts", *OUTAGES])
@mostly_slow("seeds", [range(10, 20), range(20, 80)], [range(10, 20)])
def test_an_outage_of_any_kind_and_length_is_no_rows_error(kind: str, seeds: range) -> None:
    for seed in seeds:
        random.seed(seed)
        assert errors_after(kind, random.Random(seed)) == set(), seed


def test_a_test_request_that_was_sent_before_a_row_failed_does_not_show_that_others_are_answered() -> None:
    """A slow one is under way when the outage begins."""

    async def answer(texts: list[str], number: int) -> Reply:
        del number
        now = loop_time() - began[0]
        if 1.1 <= now < 26:
            await asyncio.sleep(0.05)
            return reply(200, {"data": []})
        if "text:1" in texts:
            await asyncio.sleep(0.05)
            return reply(500)
        await asyncio.sleep(1.5)
        return Reply(200, {}, vectors(texts).body, 1.5)

    began: list[float] = []

    async def run() -> list[Settled]:
        began.append(loop_time())
        return await collected(engine_over(Service(answer), prompts(12), rows_a_request=4, retries=6))

    for seed in range(10):
        random.seed(seed)
        began.clear()
        settled, _ = run_virtual(run())
        assert {row.row for row in settled if isinstance(row.result, RowError)} == {1}


REFUSED = {
    "401": refusal(401, "401"),
    "403": reply(403, "blocked"),
    "503": reply(503, {}),
    "429": reply(429, {}),
    "form": reply(200, {"data": []}),
}


def only_every_second_probe_is_answered(kind: str, probes: str, since: float, until: float) -> Timed:
    """From one second until another, all requests fail, and test requests fail and are answered in turn."""
    asked = 0

    def behave(texts: list[str], now: float) -> Reply | None:
        nonlocal asked
        if not since <= now < until:
            return None
        if texts != ["ping:0"]:
            return REFUSED[kind]
        asked += 1
        return REFUSED[probes] if asked % 2 else None

    return Timed(behave)


@mostly_slow(
    "kind, probes",
    [*product(["401", "403", "503", "form"], ["503", "429", "form"])],
    [("401", "503"), ("503", "429")],
)
@mostly_slow("begin", [0.0, 0.15], [0.15])
@mostly_slow("rows, total, concurrency", [(1, 1, 1), (16, 60, 1), (1, 60, 32)], [(16, 60, 1)])
def test_test_requests_that_are_answered_now_and_then_do_not_keep_a_run_from_its_end(
    kind: str, probes: str, begin: float, rows: int, total: int, concurrency: int
) -> None:
    """The run ends, or its rows get errors: an answered test request may show that they are the cause."""
    timed = only_every_second_probe_is_answered(kind, probes, begin, float("inf"))
    settled: list[Settled] = []

    async def main() -> str:
        engine = engine_over(
            timed.service,
            prompts(total),
            rows_a_request=rows,
            retries=6,
            max_outage=600,
            concurrency=concurrency,
        )
        try:
            async for batch in engine.settled():
                settled.extend(batch)
        except Outage as error:
            return str(error)
        return ""

    error, seconds = run_virtual(main())
    assert "has not" in error or len(settled) == total
    assert seconds < 2000


@mostly_slow("kind", ["401", "403", "503", "form"], ["403"])
def test_an_outage_in_which_test_requests_are_answered_now_and_then_is_waited_for(kind: str) -> None:
    timed = only_every_second_probe_is_answered(kind, "503", 0.15, 300.0)

    async def main() -> list[Settled]:
        engine = engine_over(
            timed.service, prompts(60), rows_a_request=16, concurrency=1, retries=6, max_outage=600
        )
        return await collected(engine)

    settled, seconds = run_virtual(main())
    good(settled, 60)
    assert seconds > 300


def test_a_request_that_fails_at_the_moment_at_which_a_test_request_ends_sends_another_one() -> None:
    """To await the one that has just ended does not yield: a loop over it would block the run for ever."""

    async def answer(texts: list[str], number: int) -> Reply:
        del number
        await asyncio.sleep(0.1)
        return vectors(texts)

    async def main() -> list[list[str]]:
        service = Service(answer)
        requester = engine_over(service, prompts(1)).attempt_loop.requester
        (deployment,) = requester.deployments.members
        later: list[asyncio.Task[Outcome]] = []

        def on_attempt(attempt: Attempt) -> None:
            # Its first step is before the callbacks of the test request, which is about to end.
            if not later:
                later.append(asyncio.create_task(requester.probe(deployment, loop_time())))

        requester.listen = on_attempt
        await requester.probe(deployment)
        await later[0]
        return service.asked

    assert run_virtual(main())[0] == [["ping:0"], ["ping:0"]]


def test_no_notice_names_the_end_of_a_wait_that_another_deployment_decides() -> None:
    notices: list[str] = []
    refusing = Timed(lambda _, now: refusal(401) if now > 8 else None, takes=1.0)
    down = Timed(lambda _, now: reply(503) if 5 < now < 45 else None, takes=1.0)

    async def main() -> list[Settled]:
        members = [deployment_of(each.service, name=name) for each, name in ((refusing, "A"), (down, "B"))]
        return await collected(engine_over(members, prompts(1000), max_outage=600, notices=notices))

    settled, seconds = run_virtual(main())
    good(settled, 1000)
    assert seconds > 40
    assert any(text.startswith("A refuses all requests") and "at most" not in text for text in notices), (
        notices
    )


def test_a_service_that_begins_to_refuse_all_requests_does_not_respond_again() -> None:
    notices: list[str] = []
    timed = Timed(lambda _, now: reply(503) if now < 5 else refusal(401))

    async def main() -> list[Settled]:
        return await collected(engine_over(timed.service, prompts(300), max_outage=600, notices=notices))

    with pytest.raises(ServiceRefused, match="refused the credentials"):
        run_virtual(main())
    assert not [text for text in notices if "responds again" in text]


@mostly_slow("members", [2, 3], [2])
@mostly_slow("kind, probes", [("503", "503"), ("503", "401"), ("form", "401")], [("503", "401")])
@mostly_slow("total", [1, 2, 3, 20], [2])
def test_several_deployments_that_answer_only_test_requests_now_and_then_end_a_run(
    members: int, kind: str, probes: str, total: int
) -> None:
    settled: list[Settled] = []

    async def main() -> str:
        services = [
            only_every_second_probe_is_answered(kind, probes, 0.0, float("inf")) for _ in range(members)
        ]
        deployments = [deployment_of(each.service, name=f"d{place}") for place, each in enumerate(services)]
        engine = engine_over(deployments, prompts(total), rows_a_request=1, retries=6, max_outage=600)
        try:
            async for batch in engine.settled():
                settled.extend(batch)
        except (Outage, ServiceRefused) as error:
            return str(error)
        return ""

    error, seconds = run_virtual(main())
    assert error or len(settled) == total
    assert seconds < 700 * members


@mostly_slow("retries, status", [(1, 401), (1, 404), (2, 401), (2, 404)], [(1, 401)])
def test_a_moment_of_refusals_is_not_the_last_failure_of_a_row(retries: int, status: int) -> None:
    """It had failed by itself before, with all attempts but its last one."""
    own: list[float] = []
    moment: list[float] = []

    def behave(texts: list[str], now: float) -> Reply | None:
        if moment and moment[0] <= now < moment[0] + 8:
            return refusal(status)
        if "text:7" not in texts:
            return None
        own.append(now)
        if len(own) <= retries:
            return reply(500)
        if not moment:
            moment.append(now)
            return refusal(status)
        return None

    timed = Timed(behave, takes=0.05)

    async def main() -> list[Settled]:
        engine = engine_over(timed.service, prompts(400), rows_a_request=1, retries=retries, max_outage=1800)
        return await collected(engine)

    good(run_virtual(main())[0], 400)
    assert moment
