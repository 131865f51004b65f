from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from aiolimiter import AsyncLimiter

from batchscore.endpoint.target import Target, resolve_target
from batchscore.provider.client import ControlPlane, open_control_plane
from batchscore.simulator import Running, start
from batchscore.task import CHAT
from endpoint_settings import endpoint_settings
from simulated import Project

SURFACES = {
    "openai": {"endpoint": "{}/v1"},
    "azure-v1": {"endpoint": "{}/openai/v1"},
    "azure-deployments": {"endpoint": "{}", "api_version": "2024-10-21"},
}

OpenPlane = Callable[..., AbstractAsyncContextManager[ControlPlane]]


@pytest.fixture(scope="session")
def simulator() -> Iterator[Running]:
    with start(dimensions=32, token=("entra-token",), hang_seconds=5, record_last=100) as running:
        yield running


@pytest.fixture
def project(simulator: Running, request: pytest.FixtureRequest) -> Iterator[Project]:
    """One project per test, whose batches end by the first poll."""
    project = Project(simulator.endpoint, simulator.key, re.sub(r"\W", "-", request.node.name))
    project.end_at_once()
    yield project
    project.reset()


@pytest.fixture(params=list(SURFACES))
def surface(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def target(simulator: Running, project: Project) -> Callable[[str], Target]:
    def of(surface: str = "openai") -> Target:
        given = {name: text.format(simulator.endpoint) for name, text in SURFACES[surface].items()}
        settings = endpoint_settings(task="chat", model="gpt-4o-mini", **given)
        return resolve_target(settings, {"BATCHSCORE_API_KEY": project.key})

    return of


@pytest.fixture
def plane(target: Callable[[str], Target]) -> OpenPlane:
    """Open a control plane on a surface, whose waits take no time."""

    @asynccontextmanager
    async def opened(surface: str = "openai", patience: float = 20.0) -> AsyncIterator[ControlPlane]:
        async def sleep(_: float) -> None:
            await asyncio.sleep(0.001)

        async with open_control_plane(
            target(surface), CHAT, {}, patience_seconds=patience, sleep=sleep
        ) as opened:
            opened.pace = AsyncLimiter(1000, 1.0)
            yield opened

    return opened
