"""How do bytes get to the service and back?

It knows one URL, headers and seconds, not what bodies mean; `endpoint.target` makes the headers. One aiohttp
session per run: connections are kept alive, proxies and certificates come from the usual variables.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from yarl import URL

from batchscore.errors import ErrorCode, ServiceRefused, SettingsError
from batchscore.request.reply_body import (
    ACCEPTED_ENCODINGS,
    MOST_ERROR_BYTES,
    BodyReader,
    ReplyMemory,
    UnusableBody,
)
from batchscore.request.reply_head import (
    MOST_HEAD_BYTES,
    MOST_HEADER_BYTES,
    MOST_HEADERS,
    MOST_INTERIM,
    BoundedConnector,
)
from batchscore.request.send import NoReply, Send
from batchscore.rows import Reply

#: Returns the headers that authenticate a request.
Sign = Callable[[], Awaitable[Mapping[str, str]]]

#: A connection that takes longer counts as failed.
CONNECT_SECONDS = 30.0

#: The body of an error is a few words; some never end.
ERROR_BODY_SECONDS = 10.0

#: Azure closes idle connections after about a minute; one must not be used at the moment it closes.
KEEP_ALIVE_SECONDS = 45.0

#: A larger body is sent in pieces of this size: of one that is given whole, all that the socket does not take
#: at once is copied.
PIECE_BYTES = 2**18

#: A reply with vectors has megabytes, so a small buffer pauses and resumes reading many times; but each of
#: several hundred connections may fill a large one.
READ_BYTES = 2**17


#: A wrong name, certificate or proxy stays wrong.
PERMANENT = (
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ClientConnectorSSLError,
    aiohttp.ClientConnectorDNSError,
    aiohttp.ClientProxyConnectionError,
    aiohttp.ClientHttpProxyError,
)

#: The connection was made, and closed before a reply.
CLOSED = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    """Yield a body in pieces."""
    for start in range(0, len(body), PIECE_BYTES):
        yield body[start : start + PIECE_BYTES]


@asynccontextmanager
async def open_wire(
    url: str,
    headers: Mapping[str, str],
    sign: Sign,
    memory: ReplyMemory,
    *,
    tls: ssl.SSLContext | bool = True,
    error_seconds: float = ERROR_BODY_SECONDS,
) -> AsyncIterator[Send]:
    """Yield a function that posts a JSON body to `url`; all deployments of a run share `memory`.

    `tls` secures the connection; `True` means OpenSSL's defaults.

    It raises `NoReply(CONNECTION_ERROR)` if the exchange breaks, `NoReply(TIMEOUT)` if no connection is made
    within `CONNECT_SECONDS`, `NoReply(INVALID_RESPONSE)` if the reply is not HTTP or beyond all bounds, and
    `ServiceRefused` if signing in has never worked. The caller limits the time for a reply, by cancelling;
    the body of an error has `error_seconds`.
    """
    # The engine bounds how many requests are in flight; a second bound here could only stall.
    connector = BoundedConnector(limit=0, ttl_dns_cache=300, keepalive_timeout=KEEP_ALIVE_SECONDS, ssl=tls)
    address = URL(url, encoded=True)
    async with aiohttp.ClientSession(
        headers={
            **headers,
            "Content-Type": "application/json",
            "Accept-Encoding": ACCEPTED_ENCODINGS,
        },
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        # Read once: aiohttp's trust_env reads the variables and .netrc for every request, in a thread.
        proxy=proxy_for(address),
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=READ_BYTES,
        max_headers=MOST_HEADERS,
        max_field_size=MOST_HEADER_BYTES,
        auto_decompress=False,
    ) as session:
        signed_before = False
        alert = ""

        async def send(body: bytes, most_bytes: int) -> Reply:
            nonlocal signed_before, alert
            try:
                signed = await sign()
            except ServiceRefused as reason:
                if not signed_before:
                    raise
                # It worked before, so the network or the token service has an outage.
                raise NoReply(ErrorCode.CONNECTION_ERROR, f"renewing the sign-in failed: {reason}") from None
            signed_before = True
            # Round trips need the clock with the finest resolution.
            started = time.perf_counter()
            try:
                # A complete reply frees its connection for the next request; a broken one closes it.
                data: bytes | AsyncIterator[bytes] = body
                if len(body) > PIECE_BYTES:
                    data, signed = pieces(body), {**signed, "Content-Length": str(len(body))}
                response = await session.post(address, data=data, headers=signed, allow_redirects=False)
                failed = not 200 <= response.status < 300
                most = min(most_bytes, MOST_ERROR_BYTES) if failed else most_bytes
                reading = BodyReader(most, memory).read(response)
                content = await (ended(reading, error_seconds) if failed else reading)
            except UnusableBody as reason:
                head = Reply(response.status, response.headers, b"", time.perf_counter() - started)
                detail = f"{reason} (status {head.status})"
                # An error's body can be odd during an outage, too.
                raise NoReply(
                    ErrorCode.INVALID_RESPONSE, detail, head=head, needs_action=not failed
                ) from None
            except (asyncio.TimeoutError, aiohttp.ServerTimeoutError):
                raise NoReply(ErrorCode.TIMEOUT, f"no connection within {CONNECT_SECONDS:g} s") from None
            except (aiohttp.ClientError, OSError, UnicodeError) as error:  # a proxy has any name
                # Of a refused handshake, some connections show only that they were closed.
                closed = isinstance(error, aiohttp.ClientOSError | aiohttp.ServerDisconnectedError)
                alert = describe_alert(error) or (alert if closed else "")
                raise no_reply(error, alert) from None
            return Reply(response.status, response.headers, content, time.perf_counter() - started)

        yield send


async def ended(reading: Coroutine[Any, Any, bytes], seconds: float) -> bytes:
    """Return the body of an error; raises `UnusableBody` if it does not end in time, or breaks off."""
    try:
        return await asyncio.wait_for(reading, seconds)
    except asyncio.TimeoutError:
        raise UnusableBody(f"it does not end within {seconds:g} s") from None
    except aiohttp.ClientPayloadError:
        raise UnusableBody("it was cut off") from None


def proxy_for(address: URL) -> str | None:
    """Return the proxy that `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` name for an address, if any."""
    if urllib.request.proxy_bypass(f"{address.host}:{address.port}"):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(address.scheme) or proxies.get("all")
    if proxy is not None and proxy.lower().startswith("socks"):
        raise SettingsError(
            "The proxy variables name a SOCKS proxy, which batchscore cannot use. Set HTTPS_PROXY to an HTTP "
            "proxy, or NO_PROXY to the endpoint's host."
        )
    # `proxy:3128` is usual; curl and requests accept it.
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def no_reply(error: BaseException, alert: str = "") -> NoReply:
    """Return a failure of aiohttp as one of ours; `alert` is what the server said of certificates."""
    if alert:
        return NoReply(ErrorCode.CONNECTION_ERROR, alert, needs_action=True)
    if isinstance(error, aiohttp.ClientResponseError) and not isinstance(error, PERMANENT):
        # The service, or a proxy, must be changed.
        detail = describe_broken_http(error.message)
        return NoReply(ErrorCode.INVALID_RESPONSE, detail, needs_action=True)
    # If every connection is closed from the start, the port speaks another protocol.
    closed = isinstance(error, CLOSED) and not isinstance(error, aiohttp.ClientConnectorError)
    permanent = closed or isinstance(error, PERMANENT)
    return NoReply(ErrorCode.CONNECTION_ERROR, describe_error(error), needs_action=permanent)


#: How aiohttp's message about a reply begins, and what we say; the rest of it may quote the service.
BROKEN_HTTP = {
    "Transfer-Encoding can't": "it has both Content-Length and Transfer-Encoding",
    "Content-Length can't": "it has both Content-Length and Transfer-Encoding",
    "Duplicate Content-Length": "it has two Content-Length headers",
    "Too many interim": f"more than {MOST_INTERIM} interim replies come before it",
    "Too large head": f"its headers are larger than {MOST_HEAD_BYTES // 2**10} kB together",
    "Too many headers": f"it has more than {MOST_HEADERS:,} headers",
    "Got more than": f"one of its headers is larger than {MOST_HEADER_BYTES // 2**10} kB",
    "Bad status line": "it is not HTTP/1.1",
    "Expected HTTP/": "it is not HTTP/1.1",
}


def describe_broken_http(message: str) -> str:
    """Return why a reply is not HTTP; some clients read such replies, aiohttp does not."""
    known = [text for beginning, text in BROKEN_HTTP.items() if message.startswith(beginning)]
    return ": ".join(["the reply breaks HTTP", *known])


#: OpenSSL's numbers for certificates that are wrong in other ways than by their authority.
WRONG_CERTIFICATES = {
    9: "is not valid yet (is this machine's clock right?)",
    10: "has expired",
    62: "is for another host name; check the endpoint's host",
    64: "is for another address; check the endpoint's host",
}

#: What OpenSSL says of a server that answers without TLS.
NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")


#: TLS alerts (RFC 8446, 6.2, by OpenSSL's names) about the certificate of the client, and what we say.
ALERTS = {
    "ALERT_CERTIFICATE_REQUIRED": "the service demands a client certificate (the setting client_cert)",
    "ALERT_HANDSHAKE_FAILURE": "the service refused the TLS handshake; perhaps it demands a client "
    "certificate (the setting client_cert)",
    **dict.fromkeys(
        (
            *("ALERT_UNKNOWN_CA", "ALERT_BAD_CERTIFICATE", "ALERT_UNSUPPORTED_CERTIFICATE"),
            *("ALERT_CERTIFICATE_EXPIRED", "ALERT_CERTIFICATE_REVOKED", "ALERT_CERTIFICATE_UNKNOWN"),
            "ALERT_ACCESS_DENIED",
        ),
        "the service does not accept the client certificate",
    ),
}


def describe_alert(error: BaseException) -> str:
    """Return what an alert of the server means; empty if there was none about certificates.

    In TLS 1.3 it arrives after the handshake, with the first reply.
    """
    reason = str(getattr(error.__cause__, "reason", None) or "")
    return next((text for alert, text in ALERTS.items() if reason.endswith(alert)), "")


def describe_tls(error: aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError) -> str:
    """Return why a TLS handshake failed."""
    what = f"{error.host}:{error.port}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        wrong = WRONG_CERTIFICATES.get(getattr(error.certificate_error, "verify_code", 0))
        return (
            f"the certificate of {what} {wrong}"
            if wrong
            else f"the certificate of {what} is from an unknown authority; is one missing (SSL_CERT_FILE)?"
        )
    if getattr(error.os_error, "reason", "") in NO_TLS:
        return f"{what} does not use TLS; does the endpoint's address begin with http://?"
    return f"the TLS handshake with {what} failed"


def describe_error(error: BaseException) -> str:
    """Return what failed, in a few words without request content."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return describe_tls(error)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy refused ({error.status})"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the host name cannot be resolved"
    if isinstance(error, aiohttp.ClientConnectorError):
        what, cause = f"{error.host}:{error.port}", error.os_error
        if isinstance(error, aiohttp.ClientProxyConnectionError):
            what = f"the proxy at {what}"
        elif isinstance(cause, ConnectionRefusedError):
            return f"nothing listens at {what}"
        # The error's own text may hold addresses.
        number = cause.errno or 0
        return f"cannot connect to {what} ({os.strerror(number) if number > 0 else type(cause).__name__})"
    if isinstance(error, CLOSED):
        return "the service closed the connection"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the reply was cut off"
    return type(error).__name__
