from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import Any

import aiohttp
import openai
import pytest

from batchscore.simulator import Running, start
from batchscore.simulator.script import Behaviour, RandomFaults
from batchscore.simulator.settings import SimulatorSettings
from simulated import Deployment

pytestmark = pytest.mark.process

APIError = openai.APIConnectionError


def embed(client: openai.OpenAI, deployment: Deployment, text: Any = "text") -> Any:
    return client.embeddings.create(model=deployment.name, input=text)


def test_behaviours_are_played_in_order_each_as_often_as_scripted(
    plain: openai.OpenAI, deployment: Deployment
) -> None:
    deployment.will(status=500, times=2)
    deployment.will(Behaviour(status=503), Behaviour(status=429))
    for _ in range(4):
        with pytest.raises(openai.APIStatusError):
            embed(plain, deployment)
    embed(plain, deployment)
    assert [one.status for one in deployment.requests()] == [500, 500, 503, 429, 200]
    assert deployment.statistics().behaviours_left == 0


def test_a_behaviour_can_wait_for_its_text_and_last_for_ever(
    plain: openai.OpenAI, deployment: Deployment
) -> None:
    deployment.will(status=400, code="bad_row", when_input_contains="poison", times=None)
    for _ in range(3):
        with pytest.raises(openai.BadRequestError) as caught:
            embed(plain, deployment, ["good", "a poisoned one"])
        assert caught.value.code == "bad_row"
        embed(plain, deployment, ["good"])
    message: Any = [{"role": "user", "content": [{"type": "text", "text": "poison"}]}]
    with pytest.raises(openai.BadRequestError):
        plain.chat.completions.create(model=deployment.name, messages=message)


def test_any_body_and_headers_can_be_scripted(plain: openai.OpenAI, deployment: Deployment) -> None:
    gateway = {"statusCode": 429, "message": "Rate limit is exceeded. Try again in 10 seconds."}
    deployment.will(status=429, body=gateway, headers={"x-ratelimit-remaining-tokens": "-1"})
    with pytest.raises(openai.RateLimitError) as caught:
        embed(plain, deployment)
    assert caught.value.response.json() == gateway
    assert caught.value.code is None
    assert caught.value.response.headers["x-ratelimit-remaining-tokens"] == "-1"
    deployment.will_not_speak_json(502)
    with pytest.raises(openai.InternalServerError) as failed:
        embed(plain, deployment)
    assert failed.value.response.headers["content-type"] == "text/html"
    deployment.will_not_speak_json()
    raw = plain.embeddings.with_raw_response.create(model=deployment.name, input="a", encoding_format="float")
    assert raw.text.startswith("<html>")


@pytest.mark.parametrize("before", [True, False])
def test_a_dropped_connection_is_a_reset(
    azure: openai.AzureOpenAI, deployment: Deployment, *, before: bool
) -> None:
    deployment.will_drop(before_reading=before, times=2)
    for _ in range(2):
        with pytest.raises(APIError) as caught:
            embed(azure, deployment)
        assert not isinstance(caught.value, openai.APITimeoutError)
    assert embed(azure, deployment).data
    sent = deployment.requests()
    assert [one.status for one in sent] == [0, 0, 200]
    assert (sent[0].body is None) == before


def test_a_hanging_request_times_out_and_is_released(
    azure: openai.AzureOpenAI, deployment: Deployment
) -> None:
    deployment.will_hang()
    with pytest.raises(openai.APITimeoutError):
        azure.with_options(timeout=0.05).embeddings.create(model=deployment.name, input="a")
    assert embed(azure, deployment).data
    assert deployment.statistics().count == 2


def test_a_hang_ends_in_a_closed_connection(azure: openai.AzureOpenAI, deployment: Deployment) -> None:
    deployment.will_hang(0.01)
    with pytest.raises(APIError):
        embed(azure, deployment)


def test_latency_comes_before_a_correct_answer(azure: openai.AzureOpenAI, deployment: Deployment) -> None:
    deployment.will_be_slow(0.1)
    started = time.monotonic()
    assert embed(azure, deployment).data
    assert time.monotonic() - started >= 0.1


async def _raw(simulator: Running, deployment: Deployment) -> tuple[int, bytes, float]:
    """Return the announced length, the body, and the seconds until its end."""
    body = {"model": deployment.name, "input": "a"}
    headers, started = {"api-key": simulator.key}, time.monotonic()
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(simulator.endpoint + "/v1/embeddings", json=body) as reply,
    ):
        got = await reply.read()
        return int(reply.headers["content-length"]), got, time.monotonic() - started


def test_a_dripped_body_arrives_slowly_and_whole(simulator: Running, deployment: Deployment) -> None:
    deployment.will_drip(0.2)
    announced, got, seconds = asyncio.run(_raw(simulator, deployment))
    assert announced == len(got)
    assert json.loads(got)["model"] == f"simulator:{deployment.name}"
    assert seconds > 0.1


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_body_breaks_off(simulator: Running, deployment: Deployment, share: float) -> None:
    deployment.will_truncate(share)
    with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError)):
        asyncio.run(_raw(simulator, deployment))
    announced, got, _ = asyncio.run(_raw(simulator, deployment))
    assert announced == len(got)


def test_requests_are_recorded_without_secrets(azure: openai.AzureOpenAI, deployment: Deployment) -> None:
    embed(azure, deployment, ["a", "b"])
    with pytest.raises(openai.BadRequestError):
        embed(azure, deployment, "")
    first, second = deployment.requests()
    assert first.body == {"input": ["a", "b"], "model": deployment.name, "encoding_format": "base64"}
    assert first.path.endswith("/embeddings?api-version=2024-10-21")
    assert (first.authentication, first.status, second.status) == ("key", 200, 400)
    assert first.headers["content-type"] == "application/json"
    assert not {"api-key", "authorization"} & set(first.headers)
    assert first.at <= second.at
    assert deployment.requests(last=1) == [second]
    assert deployment.statistics().tokens_served == 4


def test_a_reset_forgets_script_records_and_counts(azure: openai.AzureOpenAI, deployment: Deployment) -> None:
    embed(azure, deployment)
    deployment.will(status=500, times=None)
    deployment.reset()
    assert deployment.requests() == []
    assert deployment.statistics().count == 0
    assert embed(azure, deployment).data


def test_requests_in_flight_can_be_awaited_and_counted(simulator: Running, deployment: Deployment) -> None:
    deployment.will_be_slow(60, times=None)

    async def many() -> None:
        async with aiohttp.ClientSession(headers={"api-key": simulator.key}) as session:
            body = {"model": deployment.name, "input": "a"}
            calls = [session.post(simulator.endpoint + "/v1/embeddings", json=body) for _ in range(8)]
            sending = asyncio.gather(*calls, return_exceptions=True)
            seen = await asyncio.to_thread(deployment.wait_for, 8)
            assert (seen.count, seen.in_flight) == (8, 8)
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending

    asyncio.run(many())
    assert deployment.statistics().max_in_flight == 8
    with pytest.raises(TimeoutError):
        deployment.wait_for(9, timeout_s=0.01)


def test_a_behaviour_out_of_bounds_is_refused(deployment: Deployment) -> None:
    for wrong in (
        {"status": 99},
        {"times": 0},
        {"truncate": 1},
        {"drop": "now"},
        {"vectors": "odd"},
        {"hang": -1},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            deployment.will(**wrong)
    with pytest.raises(ValueError, match="colour"):
        deployment.will(colour="red")


@pytest.mark.slow
def test_random_faults_are_the_same_for_the_same_seed() -> None:
    shares: Any = {"fail_500": 0.3, "fail_503": 0.2, "reset": 0.1}

    def drawn(seed: int) -> list[int | None]:
        faults = RandomFaults(SimulatorSettings(**shares, seed=seed))
        each = [faults.draw() for _ in range(40)]
        return [200 if fault is None else 0 if fault.drop else fault.status for fault in each]

    with (
        start(dimensions=4, **shares, seed=1, record_last=40) as running,
        openai.OpenAI(base_url=running.endpoint + "/v1", api_key=running.key, max_retries=0) as client,
    ):
        for _ in range(40):
            with contextlib.suppress(openai.APIError):
                client.embeddings.create(model="emb", input="a")
        found = [one.status for one in Deployment(running.endpoint, "emb").requests()]
    assert set(found) == {200, 500, 503, 0}
    assert found == drawn(1) == drawn(1)
    assert drawn(2) != found
