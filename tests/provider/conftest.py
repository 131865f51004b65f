from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from batchscore.endpoint.target import Target, resolve_target
from batchscore.provider.client import ControlPlane, open_control_plane
from batchscore.simulator import Running
from batchscore.task import CHAT
from endpoint_settings import endpoint_settings
from simulated import Project

SURFACES = {
    "openai": {"endpoint": "{}/v1"},
    "azure-v1": {"endpoint": "{}/openai/v1"},
    "azure-deployments": {"endpoint": "{}", "api_version": "2024-10-21"},
}

OpenPlane = Callable[..., AbstractAsyncContextManager[ControlPlane]]


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

        given: Any = {"patience_seconds": patience, "sleep": sleep, "calls_per_second": 1000.0}
        async with open_control_plane(target(surface), CHAT, {}, **given) as plane:
            yield plane

    return opened
