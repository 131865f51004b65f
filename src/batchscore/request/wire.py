"""How do bytes get to the service and back?

It knows one URL, headers and seconds; what bodies mean is others' business. One aiohttp session a
run: connections are kept alive, proxies and certificates are taken from the usual variables.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from yarl import URL

from batchscore.errors import ErrorCode, ServiceRefused, SettingsError
from batchscore.rows import Reply

#: Gives the headers that sign a request in.
Sign = Callable[[], Awaitable[Mapping[str, str]]]

#: Sends one body and gives the reply; raises `NoReply`.
Send = Callable[[bytes], Awaitable[Reply]]


#: A connection that takes longer is not coming.
CONNECT_SECONDS = 30.0

#: Azure closes idle connections after about a minute; one must not be used just as it is being closed.
KEEP_ALIVE_SECONDS = 45.0

#: A reply of vectors is megabytes; a small buffer would stop and start the reading many times.
READ_BYTES = 2**20


class NoReply(Exception):  # noqa: N818 - a reason to ask again, not an error of the run
    """No reply came: `code` is TIMEOUT or CONNECTION, `detail` for a person, without the input.

    `needs_person`: waiting alone will not mend it.
    """

    def __init__(self, code: ErrorCode, detail: str, *, needs_person: bool = False) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.needs_person = needs_person


#: What is wrong with a name, a certificate or a proxy stays wrong.
LASTING = (
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ClientConnectorSSLError,
    aiohttp.ClientConnectorDNSError,
    aiohttp.ClientProxyConnectionError,
    aiohttp.ClientHttpProxyError,
)


@asynccontextmanager
async def open_wire(url: str, headers: Mapping[str, str], sign: Sign) -> AsyncIterator[Send]:
    """Give a function that posts a JSON body to `url`.

    Anything that breaks the exchange raises `NoReply(CONNECTION)`, a connection that cannot be made in
    `CONNECT_SECONDS` `NoReply(TIMEOUT)`; `ServiceRefused` if signing in has never worked. How long an answer
    may take is for the caller to say, by cancelling.
    """
    fixed = {**headers, "Content-Type": "application/json"}
    # The engine bounds how many requests are in flight; a second bound here could only stall.
    connector = aiohttp.TCPConnector(
        limit=0, ttl_dns_cache=300, keepalive_timeout=KEEP_ALIVE_SECONDS, ssl=trusted()
    )
    address = URL(url, encoded=True)
    # Asked once: aiohttp's trust_env reads the variables and .netrc anew, in a thread, for every request.
    proxy = proxy_for(address)
    async with aiohttp.ClientSession(
        headers=fixed,
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        proxy=proxy,
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=READ_BYTES,
    ) as session:
        signed_before = False

        async def send(body: bytes) -> Reply:
            nonlocal signed_before
            try:
                signed = await sign()
            except ServiceRefused as reason:
                if not signed_before:
                    raise
                # It worked before, so this is the network's or the token service's outage.
                raise NoReply(ErrorCode.CONNECTION_ERROR, f"signing in again fails: {reason}") from None
            signed_before = True
            started = time.perf_counter()
            try:
                # Reading a reply to its end gives its connection back; a reply that breaks off closes it.
                response = await session.post(address, data=body, headers=signed, allow_redirects=False)
                content = await response.read()
            except (asyncio.TimeoutError, aiohttp.ServerTimeoutError):
                raise NoReply(ErrorCode.TIMEOUT, f"no connection in {CONNECT_SECONDS:g} s") from None
            except (aiohttp.ClientError, OSError) as error:
                lasting = isinstance(error, LASTING)
                raise NoReply(ErrorCode.CONNECTION_ERROR, described(error), needs_person=lasting) from None
            return Reply(response.status, response.headers, content, time.perf_counter() - started)

        yield send


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
    # `proxy:3128` is usual, and curl and requests take it so.
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def trusted() -> ssl.SSLContext | bool:
    """Return whose certificates are trusted: `True` for what OpenSSL finds by itself, and by `SSL_CERT_FILE`.

    Without that variable the file or folder that requests and curl are told of counts. Raises `SettingsError`
    where it cannot be used.
    """
    if any(os.environ.get(name, "").strip() for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")):
        return True
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        place = os.environ.get(name, "").strip()
        if place:
            try:
                if Path(place).is_dir():
                    return ssl.create_default_context(capath=place)
                return ssl.create_default_context(cafile=place)
            except OSError:
                raise SettingsError(
                    f"{name} is {place}, which holds no certificates that can be read."
                ) from None
    return True


def described(error: BaseException) -> str:
    """Return what broke, in a few words that hold no request content."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return "the TLS handshake failed; is a certificate authority missing (SSL_CERT_FILE)?"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"cannot connect to the proxy at {error.host}:{error.port} ({os_words(error.os_error)})"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy refused ({error.status})"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the host name is not known"
    if isinstance(error, aiohttp.ClientConnectorError):
        if isinstance(error.os_error, ConnectionRefusedError):
            return f"nothing listens at {error.host}:{error.port}"
        return f"cannot connect to {error.host}:{error.port} ({os_words(error.os_error)})"
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError):
        return "the service closed the connection"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the reply broke off"
    return type(error).__name__


def os_words(error: OSError) -> str:
    """Return the system's words for an error, without addresses."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else type(error).__name__
