from __future__ import annotations

import openai
import pytest

from batchscore.simulator import Deployment
from batchscore.simulator.limits import Limits
from batchscore.simulator.problems import Surface


def limits(*, rpm: float | None = None, tpm: float | None = None, charge_refused: bool = True) -> Limits:
    return Limits(rpm=rpm, tpm=tpm, burst_seconds=10, charge_refused=charge_refused, now=0)


def test_a_burst_is_ten_seconds_of_the_rate_and_then_the_rate() -> None:
    books = limits(rpm=60)
    assert [books.admit(1, 0, Surface.AZURE).what for _ in range(11)] == [None] * 10 + ["requests"]
    assert books.admit(1, 1.0, Surface.AZURE).what is None
    assert books.admit(1, 1.0, Surface.AZURE).what == "requests"


def test_who_waits_as_long_as_told_is_served() -> None:
    books = limits(rpm=600, tpm=6000)
    now = 0.0
    for _ in range(200):
        verdict = books.admit(90, now, Surface.AZURE)
        if verdict.what is not None:
            assert verdict.what == "tokens"
            now += verdict.wait_seconds
            assert books.admit(90, now, Surface.AZURE).what is None
    assert now == pytest.approx((200 * 90 - 1000) / 100, rel=0.01)


def test_no_minute_admits_more_than_its_rate_and_one_burst() -> None:
    books = limits(tpm=6000)
    served = sum(100 for tick in range(6000) if books.admit(100, tick / 100, Surface.AZURE).what is None)
    assert 5900 <= served <= 7000


def test_a_request_larger_than_a_burst_goes_when_the_bucket_is_full_and_is_paid_for() -> None:
    books = limits(tpm=6000)
    assert books.admit(5000, 0, Surface.AZURE).what is None
    verdict = books.admit(1, 0, Surface.AZURE)
    assert verdict.what == "tokens"
    assert verdict.wait_seconds == pytest.approx(40.01)


def test_a_refused_call_uses_up_a_request() -> None:
    hammered, forgiving = limits(rpm=60), limits(rpm=60, charge_refused=False)
    for books in (hammered, forgiving):
        for _ in range(10):
            books.admit(1, 0, Surface.AZURE)
        for tick in range(1, 10):
            assert books.admit(1, tick / 10, Surface.AZURE).what == "requests"
    assert hammered.admit(1, 1, Surface.AZURE).what == "requests"
    assert forgiving.admit(1, 1, Surface.AZURE).what is None


def test_headers_tell_the_limits_in_each_surfaces_units() -> None:
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


def test_a_chat_request_is_charged_its_answers_most_tokens(
    azure: openai.AzureOpenAI, deployment: Deployment
) -> None:
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
