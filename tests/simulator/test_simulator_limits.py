from __future__ import annotations

import openai
import pytest

from batchscore.simulator.error_replies import Surface
from batchscore.simulator.state import DeploymentLimits
from simulated import Deployment


def limits(
    *, rpm: float | None = None, tpm: float | None = None, charge_refused: bool = True
) -> DeploymentLimits:
    return DeploymentLimits(rpm=rpm, tpm=tpm, burst_seconds=10, charge_refused=charge_refused, now=0)


def test_a_burst_is_ten_seconds_of_the_rate_and_then_the_rate() -> None:
    bucket = limits(rpm=60)
    assert [bucket.admit(1, 0, Surface.AZURE).refused_by for _ in range(11)] == [None] * 10 + ["requests"]
    assert bucket.admit(1, 1.0, Surface.AZURE).refused_by is None
    assert bucket.admit(1, 1.0, Surface.AZURE).refused_by == "requests"


def test_a_client_that_waits_as_required_is_served() -> None:
    bucket = limits(rpm=600, tpm=6000)
    now = 0.0
    for _ in range(200):
        admission = bucket.admit(90, now, Surface.AZURE)
        if admission.refused_by is not None:
            assert admission.refused_by == "tokens"
            now += admission.wait_seconds
            assert bucket.admit(90, now, Surface.AZURE).refused_by is None
    assert now == pytest.approx((200 * 90 - 1000) / 100, rel=0.01)


def test_no_minute_admits_more_than_its_rate_and_one_burst() -> None:
    bucket = limits(tpm=6000)
    served = sum(
        100 for tick in range(6000) if bucket.admit(100, tick / 100, Surface.AZURE).refused_by is None
    )
    assert 5900 <= served <= 7000


def test_a_request_larger_than_a_burst_is_admitted_by_a_full_bucket_and_charged() -> None:
    bucket = limits(tpm=6000)
    assert bucket.admit(5000, 0, Surface.AZURE).refused_by is None
    admission = bucket.admit(1, 0, Surface.AZURE)
    assert admission.refused_by == "tokens"
    assert admission.wait_seconds == pytest.approx(40.01)


def test_a_refused_call_uses_up_a_request() -> None:
    strict, forgiving = limits(rpm=60), limits(rpm=60, charge_refused=False)
    for bucket in (strict, forgiving):
        for _ in range(10):
            bucket.admit(1, 0, Surface.AZURE)
        for tick in range(1, 10):
            assert bucket.admit(1, tick / 10, Surface.AZURE).refused_by == "requests"
    assert strict.admit(1, 1, Surface.AZURE).refused_by == "requests"
    assert forgiving.admit(1, 1, Surface.AZURE).refused_by is None


def test_headers_give_the_limits_in_each_surfaces_units() -> None:
    azure = limits(rpm=60, tpm=6000).admit(500, 0, Surface.AZURE).headers
    assert azure == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "9",
        "x-ratelimit-reset-requests": "1",
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "500",
        "x-ratelimit-reset-tokens": "5",
    }
    plain = limits(rpm=60, tpm=600).admit(1050, 0, Surface.OPENAI).headers
    assert plain["x-ratelimit-reset-requests"] == "1s"
    assert plain["x-ratelimit-reset-tokens"] == "1m45s"
    assert limits(rpm=600).admit(1, 0, Surface.OPENAI).headers["x-ratelimit-reset-requests"] == "100ms"


def test_a_deployment_over_its_tokens_answers_429(azure: openai.AzureOpenAI, deployment: Deployment) -> None:
    deployment.set_limits(tpm=600, burst_seconds=10)
    azure.embeddings.create(model=deployment.name, input="x" * 400)
    with pytest.raises(openai.RateLimitError) as caught:
        azure.embeddings.create(model=deployment.name, input="x" * 400)
    assert caught.value.code == "429"
    assert "exceeded token rate limit" in caught.value.message
    headers = caught.value.response.headers
    assert 8000 < int(headers["retry-after-ms"]) <= 10_000
    assert int(headers["retry-after"]) in {9, 10}
    assert headers["x-ratelimit-limit-tokens"] == "600"
    assert deployment.statistics().statuses == {"200": 1, "429": 1}


def test_a_chat_request_is_charged_for_max_tokens(azure: openai.AzureOpenAI, deployment: Deployment) -> None:
    deployment.set_limits(tpm=6000, burst_seconds=10)
    raw = azure.chat.completions.with_raw_response.create(
        model=deployment.name, messages=[{"role": "user", "content": "hello"}], max_tokens=100, n=3
    )
    assert int(raw.headers["x-ratelimit-remaining-tokens"]) == pytest.approx(1000 - 300 - 9, abs=5)


def test_a_wrong_request_is_charged_too(azure: openai.AzureOpenAI, deployment: Deployment) -> None:
    deployment.set_limits(rpm=60, burst_seconds=1)
    with pytest.raises(openai.BadRequestError):
        azure.embeddings.create(model=deployment.name, input="")
    with pytest.raises(openai.RateLimitError):
        azure.embeddings.create(model=deployment.name, input="a")
