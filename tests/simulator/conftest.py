from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from batchscore.simulator import Running, start
from simulated import Deployment


@pytest.fixture(scope="session")
def simulator() -> Iterator[Running]:
    with start(dimensions=32, token=("entra-token",), hang_seconds=5, record_last=100) as running:
        yield running


@pytest.fixture
def deployment(simulator: Running, request: pytest.FixtureRequest) -> Deployment:
    """One name per test, so that tests can run in parallel."""
    return Deployment(simulator.endpoint, request.node.name.replace("/", "-"))


@pytest.fixture
def azure(simulator: Running) -> Iterator[openai.AzureOpenAI]:
    with openai.AzureOpenAI(
        azure_endpoint=simulator.endpoint, api_key=simulator.key, api_version="2024-10-21", max_retries=0
    ) as client:
        yield client


@pytest.fixture
def plain(simulator: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=simulator.endpoint + "/v1", api_key=simulator.key, max_retries=0) as client:
        yield client


@pytest.fixture
def azure_v1(simulator: Running) -> Iterator[openai.OpenAI]:
    url = simulator.endpoint + "/openai/v1"
    with openai.OpenAI(base_url=url, api_key=simulator.key, max_retries=0) as client:
        yield client


@pytest.fixture
def refused() -> Callable[..., dict[str, Any]]:
    """Return the `error` object of the reply with status 400 that a call gets."""

    def call(function: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
        with pytest.raises(openai.BadRequestError) as caught:
            function(**arguments)
        body = caught.value.response.json()
        assert set(body) == {"error"}
        error: dict[str, Any] = body["error"]
        return error

    return call
