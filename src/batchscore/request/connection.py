"""How is the model reached: where, signed in how, over which wire?

It joins endpoint, credentials and wire into what the engine needs, and knows nothing of what is asked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from batchscore.request.credentials import credentials_for
from batchscore.request.endpoint import Target
from batchscore.request.wire import Send, open_wire


@dataclass(frozen=True, slots=True)
class Connection:
    """`send` posts a body and gives the reply; `renew_token` gets a fresh token after a 401."""

    send: Send
    renew_token: Callable[[], Awaitable[bool]]
    model: str | None


@asynccontextmanager
async def connect(target: Target, *, environ: Mapping[str, str]) -> AsyncIterator[Connection]:
    """Open the connection to a target; raises `SettingsError` where it cannot be used as it is set."""
    credentials = credentials_for(target, environ)
    async with open_wire(target.url, target.headers, credentials.headers) as send:
        yield Connection(send, credentials.refresh, target.body_model)
