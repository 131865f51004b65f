"""How do bytes get to the service and back?

It knows one URL, headers and seconds, not what bodies mean; `endpoint.target` makes the headers. Connections
are kept alive; proxies and certificates come from the usual variables. All paths are the same code, also
those through proxies, and there is no task, no lock and no timer for a request.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from batchscore.errors import ErrorCode, ServiceRefused
from batchscore.request.connect import (
    CONNECT_SECONDS,
    Connector,
    ConnectTimeout,
    NoConnection,
    describe_alert,
    proxy_for,
)
from batchscore.request.connection import READ_BYTES, Connection, ConnectionClosed
from batchscore.request.head_bytes import address_of, header_lines, path_of, proxy_headers, request_line
from batchscore.request.reply_body import (
    ACCEPTED_ENCODINGS,
    COUNTED_FROM_BYTES,
    BodyReader,
    ReplyMemory,
    UnusableBody,
    is_packed,
)
from batchscore.request.reply_head import BrokenReply, ReplyParser
from batchscore.request.send import NoReply, Send
from batchscore.rows import Reply

#: Returns the headers that authenticate a request.
Sign = Callable[[], Awaitable[Mapping[str, str]]]

#: The body of an error is a few words; some never end.
ERROR_BODY_SECONDS = 10.0

#: Azure closes idle connections after about a minute; one must not be used at the moment it closes.
KEEP_ALIVE_SECONDS = 45.0

#: Sent with every request.
FIXED_HEADERS = {"Content-Type": "application/json", "Accept-Encoding": ACCEPTED_ENCODINGS}


@asynccontextmanager
async def open_wire(
    url: str,
    headers: Mapping[str, str],
    sign: Sign | Mapping[str, str],
    memory: ReplyMemory,
    *,
    tls: ssl.SSLContext | bool = True,
    error_seconds: float = ERROR_BODY_SECONDS,
) -> AsyncIterator[Send]:
    """Yield a function that posts a JSON body to `url`; all deployments of a run share `memory`.

    `sign` are the headers that authenticate, or returns them. `tls` secures the connection; `True` means
    OpenSSL's defaults.

    It raises `NoReply(CONNECTION_ERROR)` if the exchange breaks, `NoReply(TIMEOUT)` if no connection is made
    within `CONNECT_SECONDS`, `NoReply(INVALID_RESPONSE)` if the reply is not HTTP or beyond all bounds, and
    `ServiceRefused` if signing in has never worked. The caller limits the time for a reply, by cancelling;
    the body of an error has `error_seconds`.
    """
    split = urlsplit(url)
    address = address_of(split)
    # Read once: the variables may change during a run, and reading them takes time.
    proxy = proxy_for(address)
    target, given = path_of(split), [{"Host": address.host_header, "Accept": "*/*"}, headers, FIXED_HEADERS]
    if proxy is not None and not address.secure:
        target = f"http://{address.host_header}{target}"
        given.append(proxy_headers(proxy))
    new = partial(Connection, memoryview(bytearray(READ_BYTES)), error_seconds)
    head = SignedHead(request_line("POST", target), given, sign)
    wire = Wire(Pool(Connector(address, proxy, tls, new)), head, memory, error_seconds)
    try:
        yield wire.send
    finally:
        await wire.pool.close()


@dataclass(slots=True)
class SignedHead:
    """The head of all requests without its last line; `fixed` is set once it is known and cannot change."""

    line: bytes
    given: Sequence[Mapping[str, str]]
    sign: Sign | Mapping[str, str]
    signed: Mapping[str, str] | None = None
    lines: bytes = b""
    fixed: bytes = b""

    async def current(self) -> bytes:
        """Return the head of a request without its length; raises `ServiceRefused` or `NoReply`."""
        try:
            signed = await self.sign() if callable(self.sign) else self.sign
        except ServiceRefused as reason:
            if self.signed is None:
                raise
            # It worked before, so the network or the token service has an outage.
            raise NoReply(ErrorCode.CONNECTION_ERROR, f"renewing the sign-in failed: {reason}") from None
        if signed != self.signed:
            self.lines = self.line + header_lines(*self.given, signed)
            self.signed = dict(signed)
        if not callable(self.sign):
            self.fixed = self.lines
        return self.lines


@dataclass(slots=True)
class Wire:
    """What sends to one URL. `alert` is what the server said of certificates."""

    pool: Pool
    head: SignedHead
    memory: ReplyMemory
    error_seconds: float
    alert: str = ""

    async def send(self, body: bytes, most_bytes: int) -> Reply:
        """Send a body and return a reply of at most this many bytes, as `open_wire` says."""
        lines = self.head.fixed or await self.head.current()
        head = b"%bContent-Length: %d\r\n\r\n" % (lines, len(body))
        reading = BodyReader(most_bytes, self.memory)
        connection = None
        try:
            connection = self.pool.take() or await self.pool.connector.connect()
            # Round trips need the clock with the finest resolution, and connecting is not one.
            started = time.perf_counter()
            content = await connection.exchange(head, body, reading)
            status, headers = connection.parser.status, connection.parser.headers
            encoding = headers.raw(b"content-encoding")
            if is_packed(content, encoding):
                unpacking = reading.decompress(bytes(content), (encoding or b"").decode("latin-1"))
                content = await (unpacking if 200 <= status < 300 else ended(unpacking, self.error_seconds))
            if len(content) > COUNTED_FROM_BYTES:
                reading.check_values(content)
            return Reply(status, headers, content, time.perf_counter() - started)
        except ConnectTimeout:
            raise NoReply(ErrorCode.TIMEOUT, f"no connection within {CONNECT_SECONDS:g} s") from None
        except NoConnection as reason:
            # Of a refused handshake, some connections show only that they were closed.
            self.alert = reason.alert or self.alert
            text, needs_action = self.alert or str(reason), bool(self.alert) or reason.needs_action
            raise NoReply(ErrorCode.CONNECTION_ERROR, text, needs_action=needs_action) from None
        except (ConnectionClosed, BrokenReply, UnusableBody) as reason:
            assert connection is not None
            if isinstance(reason, ConnectionClosed):
                self.alert = describe_alert(reason.error) or self.alert
            seconds = time.perf_counter() - started
            raise no_reply(reason, connection.parser, seconds, self.alert) from None
        finally:
            reading.release()
            if connection is not None:
                self.pool.give_back(connection)


async def ended(unpacking: Coroutine[Any, Any, bytes], seconds: float) -> bytes:
    """Return the body of an error; raises `UnusableBody` if unpacking it does not end in time."""
    task = asyncio.ensure_future(unpacking)
    try:
        # Before Python 3.12, `wait_for` loses a cancellation at the moment at which the task ends.
        await asyncio.wait({task}, timeout=seconds)
    finally:
        task.add_done_callback(lambda over: over.cancelled() or over.exception())
        in_time = not task.cancel()
    if not in_time:
        raise UnusableBody(f"it does not end within {seconds:g} s")
    return task.result()


def no_reply(
    reason: ConnectionClosed | BrokenReply | UnusableBody, parser: ReplyParser, seconds: float, alert: str
) -> NoReply:
    """Return why a request got no reply; `alert` is what the server said of certificates."""
    head = None if parser.in_head else Reply(parser.status, parser.headers, b"", seconds)
    good = head is not None and 200 <= head.status < 300
    if isinstance(reason, BrokenReply):
        # The service, or a proxy, must be changed.
        broken = head is None or good
        return NoReply(ErrorCode.INVALID_RESPONSE, str(reason), head=head, needs_action=broken)
    if isinstance(reason, ConnectionClosed):
        if head is None:
            # If every connection is closed from the start, the port speaks another protocol.
            closed = alert or "the service closed the connection"
            return NoReply(ErrorCode.CONNECTION_ERROR, closed, needs_action=True)
        if good:
            return NoReply(ErrorCode.CONNECTION_ERROR, "the reply was cut off")
        reason = UnusableBody("it was cut off")
    # An error's body can be odd during an outage, too.
    detail = f"{reason} (status {parser.status})"
    return NoReply(ErrorCode.INVALID_RESPONSE, detail, head=head, needs_action=good)


@dataclass(slots=True)
class Pool:
    """The connections that wait for their next request; the latest is used first, so that others can end."""

    connector: Connector
    keep_alive_seconds: float = KEEP_ALIVE_SECONDS
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    idle: deque[Connection] = field(default_factory=deque)
    timer: asyncio.TimerHandle | None = None
    closed: bool = False

    def take(self) -> Connection | None:
        """Return a connection that is still open, if there is one."""
        while self.idle:
            connection = self.idle.pop()
            age = self.loop.time() - connection.idle_since
            if age < self.keep_alive_seconds and connection.quiet():
                return connection
            connection.abort()
        return None

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next request if it can carry one."""
        if not connection.release():
            return
        if self.closed:
            connection.abort()
            return
        connection.idle_since = self.loop.time()
        self.idle.append(connection)
        if self.timer is None:
            self.timer = self.loop.call_later(self.keep_alive_seconds, self.end_idle)

    def end_idle(self) -> None:
        """Close the connections that have waited too long."""
        oldest = self.loop.time() - self.keep_alive_seconds
        self.timer = None
        while self.idle and (self.idle[0].closed or self.idle[0].idle_since <= oldest):
            self.idle.popleft().abort()
        if self.idle:
            self.timer = self.loop.call_later(self.idle[0].idle_since - oldest, self.end_idle)

    async def close(self) -> None:
        """Close all connections."""
        self.closed = True
        self.connector.close()
        if self.timer is not None:
            self.timer.cancel()
        while self.idle:
            self.idle.pop().abort()
        await asyncio.sleep(0)  # in which they end
