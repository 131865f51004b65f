"""How does one call to a service's control plane end: done, surely not done, or unknown?

The `openai` SDK makes the calls, with its retries off: it would repeat the creation of a batch, which has no
idempotency key, and the second one is billed, too. Reads are retried here by tenacity. All calls share one
pace, so that the status of a hundred batches never brings a 429.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import openai
import tenacity
from aiolimiter import AsyncLimiter

from batchscore.endpoint.credentials import FixedCredentials, TokenCredentials, credentials_for
from batchscore.endpoint.gateway import ClientCertificate
from batchscore.endpoint.target import Target
from batchscore.endpoint.tls import tls_context
from batchscore.errors import Outage, ServiceRefused, SettingsError, setting_name
from batchscore.provider.batch_object import name_of
from batchscore.provider.bounded import UnboundedReply, bound_reply
from batchscore.task import Task

#: An upload of 200 MB over a slow line takes minutes; any other call, seconds.
CALL_SECONDS = 60.0
UPLOAD_SECONDS = 1800.0

#: What is waited between two attempts of a read at most, and if the service names a time.
LONGEST_RETRY_SECONDS = 60.0
LONGEST_WAIT_SECONDS = 300.0

#: How the reason begins if a connection is never made, however often it is tried.
WRONG_CERTIFICATE = "the certificate is not accepted"

#: Why a call never reached the service.
NO_HOST, NO_PORT, NO_TLS = (
    "the host name cannot be resolved",
    "nothing listens there",
    "the TLS handshake failed",
)

#: A header of the simulator's replies.
SIMULATED = "x-simulator"

#: Refusals that say nothing of the request: the same one may be accepted later.
FOR_NOW = frozenset({408, 409, 425, 429})

#: Failures that will be the same a moment later.
LASTING = frozenset({501, 505})

#: The same by Resource Manager's codes, of statuses that mean a conflict that passes.
LASTING_CODES = frozenset({"ScopeLocked", "ReadOnlyDisabledSubscription", "MissingSubscriptionRegistration"})

T = TypeVar("T")


class CallFailed(Exception):  # noqa: N818 - what a call ended with, not an error of the run
    """A call without a usable reply. `status` is `None` if none came; `code` is the service's, if any.

    `words` is the service's message, to be searched only: it may quote an input. `why` says what happened
    instead of a reply. `wait_seconds` is what the service asks to wait, 0 if nothing. `arrived`: the service
    may have got it.
    """

    def __init__(
        self, what: str, status: int | None = None, code: str = "", words: str = "", why: str = "no reply"
    ) -> None:
        named = ", ".join([str(each) for each in (status, code) if each])
        super().__init__(f"{what} failed ({named or why})")
        self.status, self.code, self.words = status, code, words
        self.wait_seconds = 0.0
        self.arrived = why not in {NO_HOST, NO_PORT, NO_TLS}


class Refused(CallFailed):
    """The service has surely not done it, and the same call would be refused again."""


class NotThere(Refused):
    """There is no such thing, or another key's project owns it: a 404."""


class Unknown(CallFailed):
    """It may have been done or not: no reply, or a failure of the service. A read may simply be repeated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CallPace:
    """How often a service is called, and how patiently.

    A read that fails is repeated for `patience_seconds`: first after `retry_seconds`, then after twice as
    many each time. `calls_per_second` is below what any service allows, also with hundreds of batches.
    """

    patience_seconds: float
    calls_per_second: float = 5.0
    retry_seconds: float = 1.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(slots=True)
class ControlPlane:
    """The calls to one resource, signed and paced. `client` is the SDK's, `bucket` has a token for each call.

    `simulated`: the simulator answers, as its replies say.
    """

    client: openai.AsyncOpenAI
    credentials: FixedCredentials | TokenCredentials
    pace: CallPace
    bucket: AsyncLimiter
    simulated: bool = False
    signed: bool = False

    async def sleep(self, seconds: float) -> None:
        """Wait between two calls."""
        await self.pace.sleep(seconds)

    async def once(self, what: str, call: Callable[[Mapping[str, str]], Awaitable[T]]) -> T:
        """Make a call one time; `call` gets the headers that sign it. Raises `CallFailed`.

        A 401 is tried once more after the token was renewed: nothing was done.
        """
        for is_last in (False, True):
            async with self.bucket:
                headers = await self.sign(what)
                try:
                    # The SDK would sign with a key of its own.
                    return await call({"Authorization": openai.omit, **headers})  # type: ignore[dict-item]
                except openai.APIError as error:
                    failure = failure_of(what, error)
                except UnboundedReply as error:
                    failure = Unknown(what, why=str(error))
                except ValueError:
                    failure = Unknown(what, why="the reply cannot be read")
            if failure.status != 401 or is_last or not await self.is_renewed(headers):
                raise failure from None
        raise AssertionError

    async def sign(self, what: str) -> Mapping[str, str]:
        """Return the headers that sign a call; raises `Unknown` if that has worked before."""
        try:
            headers = await self.credentials.headers()
        except ServiceRefused as reason:
            if not self.signed:
                raise
            raise Unknown(what, why=f"renewing the sign-in failed: {reason}") from None
        self.signed = True
        return headers

    async def is_renewed(self, refused: Mapping[str, str]) -> bool:
        """Whether there are other headers than those that were refused."""
        with suppress(ServiceRefused):
            return await self.credentials.refresh(refused)
        return False

    async def repeat(self, what: str, call: Callable[[Mapping[str, str]], Awaitable[T]]) -> T:
        """Make a call that may be made twice, until it is answered; raises `CallFailed`."""
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, Unknown)),
            wait=self.wait_seconds,
            stop=tenacity.stop_after_delay(self.pace.patience_seconds),
            sleep=self.sleep,
            reraise=True,
        )
        return await retrying(self.once, what, call)

    def wait_seconds(self, state: tenacity.RetryCallState) -> float:
        """Return the seconds until the next attempt of a read."""
        failure = state.outcome.exception() if state.outcome is not None else None
        asked = failure.wait_seconds if isinstance(failure, CallFailed) else 0.0
        first = self.pace.retry_seconds
        backoff = tenacity.wait_exponential(first, LONGEST_RETRY_SECONDS) + tenacity.wait_random(0, first)
        return max(backoff(state), min(asked, LONGEST_WAIT_SECONDS))


def failure_of(what: str, error: openai.APIError) -> CallFailed:
    """Return what an error of the SDK says of the call."""
    status = error.status_code if isinstance(error, openai.APIStatusError) else None
    kind: type[CallFailed] = Unknown
    is_lasting = status in LASTING or error.code in LASTING_CODES
    if status is not None and (is_lasting or (status < 500 and status not in FOR_NOW)):
        kind = NotThere if status == 404 else Refused
    why = "no reply"
    if isinstance(error, openai.APITimeoutError):
        why = "no reply in time"
    elif isinstance(error, openai.APIConnectionError):
        why = why_not_connected(error)
        kind = Refused if why.startswith(WRONG_CERTIFICATE) else kind
    failure = kind(what, status, name_of(error.code), error.message, why)
    if isinstance(error, openai.APIStatusError):
        given = error.response.headers.get("retry-after", "")
        failure.wait_seconds = float(given) if given.isascii() and given.isdecimal() else 0.0
    return failure


def error_of_call(failure: CallFailed, more: str = "") -> ServiceRefused | Outage:
    """Return the error of a command whose call failed. `more` says what else may help."""
    if not isinstance(failure, Refused):
        return Outage(f"{failure}. Run the same command again.")
    why = "the key or the sign-in" if failure.status in {401, 403} else "the endpoint and the key"
    return ServiceRefused(f"{failure}: check {why}. {more}".rstrip())


def why_not_connected(error: BaseException) -> str:
    """Return what failed below a client's error, in a few words."""
    cause = error.__cause__ or error.__context__
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"{WRONG_CERTIFICATE}: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return NO_TLS
        if isinstance(cause, socket.gaierror):
            return NO_HOST
        if isinstance(cause, ConnectionRefusedError):
            return NO_PORT
        if isinstance(cause, UnboundedReply):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    return "no reply"


def control_address(target: Target, task: Task) -> tuple[str, dict[str, str]]:
    """Return the address above files and batches, and the query parameters of every call.

    No path of theirs is below a deployment. Raises `SettingsError` if the address of the requests does not
    say where they are.
    """
    split = urlsplit(target.url)
    above = split.path.removesuffix(task.path)
    if above == split.path:
        raise SettingsError(
            f"{setting_name('endpoint')} is the whole address of one path, so it does not say where the "
            "service's files and batches are. Give its base address, such as https://api.openai.com/v1."
        )
    if target.surface == "azure-deployments":
        above = above.partition("/deployments/")[0]
    query = dict(parse_qsl(split.query)) | dict(target.query)
    return urlunsplit((split.scheme, split.netloc, above.rstrip("/"), "", "")), query


@asynccontextmanager
async def open_control_plane(
    target: Target, task: Task, environ: Mapping[str, str], pace: CallPace
) -> AsyncIterator[ControlPlane]:
    """Give the control plane of the resource that `target` belongs to, open while the block runs."""
    address, query = control_address(target, task)
    headers = {name: value for name, value in target.headers.items() if name.lower() != "content-type"}
    signed = credentials_for(target, environ)
    service = CalledService(address, query, headers, signed, target.certificate)
    async with open_service(service, pace) as plane:
        yield plane


@asynccontextmanager
async def failing_as_error(
    opened: AbstractAsyncContextManager[ControlPlane], hint: str = ""
) -> AsyncIterator[ControlPlane]:
    """Open a control plane while the block runs; a call that fails there is the error that ends the command.

    `hint` says what else may help then.
    """
    try:
        async with opened as plane:
            yield plane
    except CallFailed as failure:
        raise error_of_call(failure, hint) from None


@dataclass(frozen=True, slots=True)
class CalledService:
    """Where calls go, with which query parameters and headers, signed and secured how. Its repr is short."""

    address: str
    query: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    credentials: FixedCredentials | TokenCredentials = field(repr=False)
    certificate: ClientCertificate | None = field(default=None, repr=False)


@asynccontextmanager
async def open_service(service: CalledService, pace: CallPace) -> AsyncIterator[ControlPlane]:
    """Give a service's control plane, open while the block runs; see `open_control_plane`."""
    tls = tls_context(service.certificate)
    verify = ssl.create_default_context() if tls is True else tls
    planes: list[ControlPlane] = []

    async def note_service(reply: Any) -> None:
        planes[0].simulated = SIMULATED in reply.headers
        bound_reply(reply, CALL_SECONDS)

    async with openai.DefaultAsyncHttpxClient(
        verify=verify, follow_redirects=False, event_hooks={"response": [note_service]}
    ) as http:
        client = openai.AsyncOpenAI(
            base_url=service.address,
            default_query=service.query,
            api_key="-",
            default_headers={"Accept-Encoding": "identity", **only_ours(service.headers)},
            max_retries=0,
            timeout=CALL_SECONDS,
            http_client=http,
        )
        bucket = AsyncLimiter(pace.calls_per_second, 1.0)
        planes.append(ControlPlane(client, service.credentials, pace, bucket))
        yield planes[0]


def only_ours(headers: Mapping[str, str]) -> Mapping[str, Any]:
    """Return headers with which the SDK adds none from the environment, which may hold another host's key."""
    custom = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    unwanted = ["OpenAI-Organization", "OpenAI-Project", *(line.partition(":")[0].strip() for line in custom)]
    ours = {name.lower() for name in headers}
    return {name: openai.omit for name in unwanted if name and name.lower() not in ours} | dict(headers)
