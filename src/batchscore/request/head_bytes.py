"""How do the request line and the headers of a request become bytes?

`endpoint.address_and_headers` decides which headers. It knows no connections. The last line,
Content-Length, is the caller's.
"""

from __future__ import annotations

import base64
import string
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote

from batchscore.errors import SettingsError

#: Headers that say where a body ends, and when it may be sent: only the connection knows.
_OF_THE_CONNECTION = {"content-length", "transfer-encoding", "expect"}

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port, and whether connections to it are secured with TLS."""

    host: str
    port: int
    secure: bool

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def host_header(self) -> str:
        """The value of the header Host: without the usual port."""
        usual = _PORTS["https" if self.secure else "http"] == self.port
        return str(self).rpartition(":")[0] if usual else str(self)


def address_of(url: SplitResult) -> Address:
    """Return the address of a URL."""
    secure = url.scheme.lower() == "https"
    return Address(url.hostname or "", url.port or _PORTS["https" if secure else "http"], secure)


def path_of(url: SplitResult) -> str:
    """Return the path of a URL with its query, as it is written."""
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


def request_line(method: str, target: str) -> bytes:
    """Return the first line of a request."""
    return f"{method} {quote(target, safe=string.punctuation)} HTTP/1.1\r\n".encode()


def header_lines(*given: Mapping[str, str]) -> bytes:
    """Return headers as lines; of several with one name, in any case, the last counts."""
    merged = {name.lower(): (name, value) for headers in given for name, value in headers.items()}
    lines = []
    for lower, (name, value) in merged.items():
        line = f"{name}: {value}"
        if any(sign in line for sign in "\r\n\0"):
            raise SettingsError(
                f"The header {name.splitlines()[0]} has a line break in its value. Remove it."
            )
        if lower not in _OF_THE_CONNECTION:
            lines.append(f"{line}\r\n".encode("utf-8", "surrogateescape"))
    return b"".join(lines)


def proxy_headers(proxy: SplitResult) -> dict[str, str]:
    """Return the headers that sign in to a proxy, if its URL has a user."""
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair).decode()}"}
