"""How is a connection to the service made, and why does it fail?

It knows hosts, TLS and proxies, not what is sent over a connection. A proxy is asked for a tunnel (CONNECT)
if the service uses TLS; otherwise it gets the requests itself.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

import aiohappyeyeballs

from batchscore.errors import SettingsError
from batchscore.request.connection import Connection, ConnectionClosed
from batchscore.request.head_bytes import Address, address_of, header_lines, proxy_headers, request_line
from batchscore.request.reply_head import BrokenReply

#: A connection that takes longer counts as failed.
CONNECT_SECONDS = 30.0

#: Seconds before the next address of a host is tried, too (RFC 8305).
NEXT_ADDRESS_SECONDS = 0.25

#: A host's addresses are looked up again after this.
ADDRESSES_SECONDS = 300.0


class NoConnection(Exception):  # noqa: N818 - a reason to retry, not an error of the run
    """No connection was made; the message says why, in a few words without request content.

    `needs_action`: waiting does not help. `alert` is what the server said of certificates.
    """

    def __init__(self, text: str, *, needs_action: bool = False, alert: str = "") -> None:
        super().__init__(alert or text)
        self.needs_action = needs_action or bool(alert)
        self.alert = alert


class ConnectTimeout(Exception):  # noqa: N818 - a reason to retry, not an error of the run
    """No connection was made in time."""


@dataclass(slots=True)
class Connector:
    """Makes connections to one service. `tls` secures them; `True` means OpenSSL's defaults."""

    address: Address
    proxy: SplitResult | None
    tls: ssl.SSLContext | bool
    new: Callable[[], Connection]
    found: list[Any] = field(default_factory=list)
    found_until: float = 0.0
    lookup: asyncio.Task[None] | None = None

    @property
    def first(self) -> Address:
        """The address to which connections are made: that of the proxy, if there is one."""
        return self.address if self.proxy is None else address_of(self.proxy)

    @property
    def shown(self) -> str:
        """How messages name it."""
        return f"{self.first}" if self.proxy is None else f"the proxy at {self.first}"

    def context(self, address: Address) -> ssl.SSLContext | None:
        """Return what secures connections to an address."""
        if not address.secure:
            return None
        if not isinstance(self.tls, ssl.SSLContext):
            self.tls = ssl.create_default_context()
            self.tls.set_alpn_protocols(["http/1.1"])
        return self.tls

    async def connect(self) -> Connection:
        """Return a new connection; raises `NoConnection` or `ConnectTimeout`."""
        connecting = asyncio.create_task(self.connect_to(await self.addresses()))
        made = False
        try:
            # `wait_for` loses a cancellation at the moment of the connection, before Python 3.12.
            made = bool((await asyncio.wait({connecting}, timeout=CONNECT_SECONDS))[0])
        finally:
            if not made:
                connecting.cancel()
                connecting.add_done_callback(abandon)
        if not made:
            raise ConnectTimeout
        return connecting.result()

    def close(self) -> None:
        """Stop to look for addresses."""
        if self.lookup is not None:
            self.lookup.cancel()

    async def addresses(self) -> list[Any]:
        """Return the addresses of the host; each time, another one is the first."""
        loop = asyncio.get_running_loop()
        if not self.found or loop.time() > self.found_until:
            if self.lookup is None:
                self.lookup = loop.create_task(self.look_up())
            # Others may wait for it, too.
            await asyncio.shield(self.lookup)
        found = self.found
        self.found = [*found[1:], *found[:1]]
        return found

    async def look_up(self) -> None:
        """Look up the addresses of the host, and keep them for a while."""
        loop, name, port = asyncio.get_running_loop(), self.first.host, self.first.port
        # Python would load a slow encoding for any text.
        host = name.encode() if name.isascii() else name
        try:
            try:
                numeric = socket.AI_NUMERICHOST
                self.found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=numeric)
            except socket.gaierror:
                usable = socket.AI_ADDRCONFIG
                self.found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=usable)
        except (OSError, UnicodeError):
            of_proxy = "" if self.proxy is None else " of the proxy"
            raise NoConnection(f"the host name{of_proxy} cannot be resolved", needs_action=True) from None
        finally:
            self.lookup = None
        self.found_until = loop.time() + ADDRESSES_SECONDS

    async def connect_to(self, addresses: list[Any]) -> Connection:
        """Return a connection to the first of several addresses that answers."""
        loop, first = asyncio.get_running_loop(), self.first
        host, port, *flow_and_scope = addresses[0][4]
        to: dict[str, Any] = {"host": host, "port": port}
        try:
            if len(addresses) > 1 or any(flow_and_scope):
                delay = NEXT_ADDRESS_SECONDS
                to = {"sock": await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=delay)}
            context = self.context(first)
            _, connection = await loop.create_connection(
                self.new, **to, ssl=context, server_hostname=tls_name(first) if context else None
            )
        except (OSError, RuntimeError) as error:  # uvloop raises both
            self.found_until = 0.0
            raise self.failure(error, first, self.shown) from None
        if self.proxy is not None and self.address.secure:
            try:
                await self.open_tunnel(connection, self.proxy)
            except BaseException:
                connection.abort()
                raise
        return connection

    async def open_tunnel(self, connection: Connection, proxy: SplitResult) -> None:
        """Let a proxy connect to the service, and secure that connection."""
        target = str(self.address)
        try:
            status = await connection.open_tunnel(
                request_line("CONNECT", target)
                + header_lines({"Host": target}, proxy_headers(proxy))
                + b"\r\n"
            )
        except ConnectionClosed:
            raise NoConnection(f"{self.shown} closed the connection", needs_action=True) from None
        except BrokenReply:
            raise NoConnection(f"{self.shown} sent a reply that is not HTTP", needs_action=True) from None
        if not 200 <= status < 300:
            raise NoConnection(f"the proxy refused ({status})", needs_action=True)
        try:
            secured = await asyncio.get_running_loop().start_tls(
                connection.transport,
                connection,
                self.context(self.address),  # type: ignore[arg-type]
                server_hostname=tls_name(self.address),
            )
        except (OSError, TypeError) as error:  # Python 3.10's own loop has no TLS within TLS
            raise self.failure(error, self.address, str(self.address)) from None
        connection.secure(secured)

    def failure(self, error: Exception, address: Address, shown: str) -> NoConnection:
        """Return an error of the network or of TLS as one of ours."""
        if isinstance(error, ssl.SSLError):
            return NoConnection(describe_tls(error, address), needs_action=True, alert=describe_alert(error))
        direct = self.proxy is None
        if direct and isinstance(error, ConnectionRefusedError):
            return NoConnection(f"nothing listens at {address}")
        # The error's own text may hold addresses.
        number = getattr(error, "errno", None) or 0
        why = os.strerror(number) if number > 0 else type(error).__name__
        return NoConnection(f"cannot connect to {shown} ({why})", needs_action=not direct)


def abandon(connecting: asyncio.Task[Connection]) -> None:
    """Close a connection that nobody waits for any more."""
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().abort()


def tls_name(address: Address) -> str:
    """Return the name that a certificate must have."""
    return address.host.rstrip(".").partition("%")[0]


#: The variables that name a proxy, in small letters. Other systems have settings, too.
PROXY_VARIABLES = {"http_proxy", "https_proxy", "all_proxy"}


def proxy_for(address: Address) -> SplitResult | None:
    """Return the proxy that `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` name for an address, if any."""
    names = {name.lower() for name in os.environ}
    if sys.platform not in {"darwin", "win32"} and not names & PROXY_VARIABLES:
        return None
    import urllib.request  # noqa: PLC0415 - with `email` and `http`, it is a fortieth of a short run

    if urllib.request.proxy_bypass(f"{address.host}:{address.port}"):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get("https" if address.secure else "http") or proxies.get("all")
    if not proxy:
        return None
    # `proxy:3128` is usual; curl and requests accept it.
    url = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if url.scheme.lower().startswith("socks"):
        raise SettingsError(
            "The proxy variables name a SOCKS proxy, which batchscore cannot use. Set HTTPS_PROXY to an HTTP "
            "proxy, or NO_PROXY to the endpoint's host."
        )
    try:
        usable = bool(address_of(url).host)
    except ValueError:  # the port is no number
        usable = False
    if not usable:
        raise SettingsError(
            "The proxy variables hold no address. Set HTTPS_PROXY to one such as http://proxy:3128, or "
            "NO_PROXY to the endpoint's host."
        )
    return url


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


def describe_alert(error: BaseException | None) -> str:
    """Return what an alert of the server means; empty if there was none about certificates.

    In TLS 1.3 it arrives after the handshake, with the first reply.
    """
    reason = str(getattr(error, "reason", None) or "")
    return next((text for alert, text in ALERTS.items() if reason.endswith(alert)), "")


def describe_tls(error: ssl.SSLError, address: Address) -> str:
    """Return why a TLS handshake failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        wrong = WRONG_CERTIFICATES.get(error.verify_code)
        return (
            f"the certificate of {address} {wrong}"
            if wrong
            else f"the certificate of {address} is from an unknown authority; is one missing (SSL_CERT_FILE)?"
        )
    if error.reason in NO_TLS:
        return f"{address} does not use TLS; does the endpoint's address begin with http://?"
    return f"the TLS handshake with {address} failed"
