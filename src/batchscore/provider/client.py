"""How does one call to a service's control plane end: done, surely not done, or unknown?

The `openai` SDK makes the calls, with its retries off: it would repeat the creation of a batch, which has no
idempotency key, and the second one is billed, too. Reads are retried here by tenacity. All calls share one
pace, so that the status of a hundred batches never brings a 429.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import openai
import tenacity
from aiolimiter import AsyncLimiter

from batchscore.endpoint.credentials import FixedCredentials, TokenCredentials, credentials_for
from batchscore.endpoint.target import Target
from batchscore.errors import SettingsError, setting_name
from batchscore.task import Task

#: Calls a second to one resource. Azure asks for a minute between two looks at a batch; a hundred batches and
#: their files stay far below what either service allows.
CALLS_PER_SECOND = 5.0

#: An upload of 200 MB over a slow line takes minutes; any other call, seconds.
CALL_SECONDS = 60.0
UPLOAD_SECONDS = 1800.0

#: What is waited between two attempts of a read.
BACKOFF = tenacity.wait_exponential_jitter(initial=1.0, max=60.0)

#: Refusals that say nothing of the request: the same one may be accepted later.
FOR_NOW = frozenset({408, 409, 425, 429})

T = TypeVar("T")


class CallFailed(Exception):  # noqa: N818 - what a call ended with, not an error of the run
    """A call without a usable reply. `status` is `None` if none came; `code` is the service's, if any."""

    def __init__(self, what: str, status: int | None = None, code: str = "", param: str = "") -> None:
        named = ", ".join([str(each) for each in (status, code, param) if each])
        super().__init__(f"{what} failed ({named or 'no reply'})")
        self.status, self.code, self.param = status, code, param


class Refused(CallFailed):
    """The service has surely not done it, and the same call would be refused again."""


class NotThere(Refused):
    """There is no such thing, or another key's project owns it: a 404."""


class Unknown(CallFailed):
    """It may have been done or not: no reply, or a failure of the service. A read may simply be repeated."""


@dataclass(slots=True)
class ControlPlane:
    """The calls to one resource, signed and paced. `client` is the SDK's."""

    client: openai.AsyncOpenAI
    credentials: FixedCredentials | TokenCredentials
    patience_seconds: float
    sleep: Callable[[float], Awaitable[None]]
    pace: AsyncLimiter = field(default_factory=lambda: AsyncLimiter(CALLS_PER_SECOND, 1.0))

    async def once(self, what: str, call: Callable[[Mapping[str, str]], Awaitable[T]]) -> T:
        """Make a call one time; `call` gets the headers that sign it. Raises `CallFailed`.

        A 401 is tried once more after the token was renewed: nothing was done.
        """
        for is_last in (False, True):
            async with self.pace:
                headers = await self.credentials.headers()
                try:
                    return await call(headers)
                except openai.APIError as error:
                    failure = failure_of(what, error)
                except ValueError as error:
                    raise Unknown(f"{what}: the reply cannot be read ({type(error).__name__})") from None
            if failure.status != 401 or is_last or not await self.credentials.refresh(headers):
                raise failure from None
        raise AssertionError

    async def repeat(self, what: str, call: Callable[[Mapping[str, str]], Awaitable[T]]) -> T:
        """Make a call that may be made twice, until it is answered; raises `CallFailed`."""
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, Unknown)),
            wait=BACKOFF,
            stop=tenacity.stop_after_delay(self.patience_seconds),
            sleep=self.sleep,
            reraise=True,
        )
        return await retrying(self.once, what, call)


def failure_of(what: str, error: openai.APIError) -> CallFailed:
    """Return what an error of the SDK says of the call; the service's words are left out."""
    status = error.status_code if isinstance(error, openai.APIStatusError) else None
    code, param = plain(error.code), plain(error.param)
    if status is None or status >= 500 or status in FOR_NOW:
        return Unknown(what, status, code, param)
    return (NotThere if status == 404 else Refused)(what, status, code, param)


def plain(word: object) -> str:
    """Return a service's code or parameter if it is a name; other texts may quote an input."""
    text = word if isinstance(word, str) else ""
    return text if len(text) <= 64 and text.replace("_", "").replace(".", "").isalnum() else ""


def control_address(target: Target, task: Task) -> tuple[str, dict[str, str]]:
    """Return the address above files and batches, and the query parameters of every call.

    No path of theirs is below a deployment. Raises `SettingsError` if the address of the requests does not
    say where they are.
    """
    split = urlsplit(target.url)
    query = dict(pair.split("=", 1) for pair in split.query.split("&") if "=" in pair)
    above = {
        "azure-deployments": split.path.partition("/deployments/")[0],
        "azure-v1": split.path.removesuffix(task.path),
    }.get(target.surface, split.path.removesuffix(task.path))
    if above == split.path:
        raise SettingsError(
            f"{setting_name('endpoint')} is the whole address of one path, so it does not say where the "
            "service's files and batches are. Give its base address, such as https://api.openai.com/v1."
        )
    return urlunsplit((split.scheme, split.netloc, above.rstrip("/"), "", "")), {**query, **target.query}


@asynccontextmanager
async def open_control_plane(
    target: Target,
    task: Task,
    environ: Mapping[str, str],
    *,
    patience_seconds: float,
    sleep: Callable[[float], Awaitable[None]],
    verify: ssl.SSLContext | bool = True,
) -> AsyncIterator[ControlPlane]:
    """Give the control plane of the resource that `target` belongs to, open while the block runs."""
    address, query = control_address(target, task)
    headers: dict[str, Any] = {
        name: value for name, value in target.headers.items() if name != "Content-Type"
    }
    async with openai.DefaultAsyncHttpxClient(verify=verify, follow_redirects=False) as http:
        client = openai.AsyncOpenAI(
            base_url=address,
            default_query=query,
            api_key="-",
            default_headers=headers,
            max_retries=0,
            timeout=CALL_SECONDS,
            http_client=http,
        )
        yield ControlPlane(client, credentials_for(target, environ), patience_seconds, sleep)
