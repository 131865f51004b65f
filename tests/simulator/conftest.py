from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from batchscore.simulator import Running, start
from simulated import Deployment, Project


@pytest.fixture(scope="session")
def simulator() -> Iterator[Running]:
    with start(dimensions=32, token=("entra-token",), hang_seconds=5, record_last=100) as running:
        yield running


@pytest.fixture
def deployment(simulator: Running, request: pytest.FixtureRequest) -> Deployment:
    """One name per test, so that tests can run in parallel."""
    return Deployment(simulator.endpoint, request.node.name.replace("/", "-"))


@pytest.fixture
def azure(clients: dict[str, openai.OpenAI]) -> openai.OpenAI:
    return clients["azure"]


@pytest.fixture
def plain(clients: dict[str, openai.OpenAI]) -> openai.OpenAI:
    return clients["openai"]


@pytest.fixture
def azure_v1(clients: dict[str, openai.OpenAI]) -> openai.OpenAI:
    return clients["azure_v1"]


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


@pytest.fixture
def project(simulator: Running, request: pytest.FixtureRequest) -> Iterator[Project]:
    """One project per test, whose batches end by the first poll."""
    project = Project(simulator.endpoint, simulator.key, re.sub(r"\W", "-", request.node.name))
    project.end_at_once()
    yield project
    project.reset()


@pytest.fixture(scope="session")
def clients(simulator: Running) -> Iterator[dict[str, openai.OpenAI]]:
    """One client of each surface, since to make one takes tens of milliseconds."""
    given: Any = {"api_key": simulator.key, "max_retries": 0, "timeout": 20}
    with (
        openai.OpenAI(base_url=simulator.endpoint + "/v1", **given) as one,
        openai.OpenAI(base_url=simulator.endpoint + "/openai/v1", **given) as azure_v1,
        openai.AzureOpenAI(azure_endpoint=simulator.endpoint, api_version="2024-10-21", **given) as azure,
    ):
        yield {"openai": one, "azure_v1": azure_v1, "azure": azure}


@pytest.fixture
def openai_batches(clients: dict[str, openai.OpenAI], project: Project) -> openai.OpenAI:
    return clients["openai"].with_options(api_key=project.key)


@pytest.fixture
def azure_batches(clients: dict[str, openai.OpenAI], project: Project) -> openai.OpenAI:
    return clients["azure"].with_options(api_key=project.key)


@pytest.fixture
def azure_v1_batches(clients: dict[str, openai.OpenAI], project: Project) -> openai.OpenAI:
    return clients["azure_v1"].with_options(api_key=project.key)


@pytest.fixture(params=["openai", "azure_v1", pytest.param("azure", marks=pytest.mark.slow)])
def batches(request: pytest.FixtureRequest) -> openai.OpenAI:
    """The official client on each surface; that of dated versions in slow tests."""
    client: openai.OpenAI = request.getfixturevalue(f"{request.param}_batches")
    return client
