"""Which address and headers does each request have?

Those that the official client would give it: its own requests are compared with these in
tests/endpoint/test_address_and_headers.py. It knows no settings and no keys, and imports no client: that
would take half of a short run.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import SplitResult, quote, urlencode

from batchscore.endpoint.gateway import sendable
from batchscore.endpoint.url import EndpointUrl
from batchscore.task import Task
from batchscore.version import VERSION

#: What the client leaves as it is, besides letters, digits and `-._~`, in the name of a deployment, in a path
#: (a `%` in it counts as encoded) and in a host.
_NAME_SAFE = "!$&'()*+,:;=@"
_PATH_SAFE = _NAME_SAFE + "%/[\\]^|"
_HOST_SAFE = "!$%&'()*+,;=\"`{}|\\"
_DEFAULT_PORTS = {"http": 80, "https": 443}


def request_address(url: EndpointUrl, name: str, task: Task) -> str:
    """Return where the requests of a task for a deployment go, with the query of the endpoint's surface.

    An endpoint that gives the whole address is called as it is. Raises `ValueError` for a host or path that
    cannot be sent.
    """
    whole = url.whole if url.deployment in {None, name} else ""
    below = {"azure-v1": "/openai/v1", "azure-deployments": "/openai"}.get(url.surface, "")
    if url.surface == "azure-deployments" and not task.azure_since:
        below += f"/deployments/{quote(name, safe=_NAME_SAFE)}"
    address = _written(url.split, whole or f"{url.path}{below}/{task.path}")
    has_version = url.api_version and (whole or url.api_version != "v1")
    return address + ("?" + urlencode({"api-version": url.api_version}) if has_version else "")


def _written(split: SplitResult, path: str) -> str:
    """Return an address with another path, written as it is sent."""
    port = "" if split.port in {None, _DEFAULT_PORTS[split.scheme]} else f":{split.port}"
    encoded = quote(_without_dot_segments(path), safe=_PATH_SAFE)
    return f"{split.scheme}://{_host(split.hostname or '')}{port}{encoded}"


def _host(host: str) -> str:
    if ":" in host:
        ipaddress.IPv6Address(host)
        return f"[{host}]"
    if re.fullmatch(r"([^.]+\.)*[0-9]+", host):
        return str(ipaddress.IPv4Address(host))
    encoded = quote(host, safe=_HOST_SAFE).lower()
    if not host.isascii() or "xn--" in encoded:
        # Few hosts need its tables. Its errors are `ValueError`.
        import idna  # noqa: PLC0415

        encoded = idna.encode(host).decode()
        idna.decode(encoded)
    # No resolver takes other names, and libraries fail in ways of their own.
    if not all(0 < len(label) < 64 for label in encoded.removesuffix(".").split(".")) or len(encoded) > 253:
        raise ValueError("a part of the host is empty or too long")
    return encoded


def _without_dot_segments(path: str) -> str:
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[max(1, len(kept) - 1) :]
        elif segment != ".":
            kept.append(segment)
    return "/".join(kept)


def headers_of(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of each request, except for authorization.

    Raises `SettingsError` for an account that cannot be sent.
    """
    accounts = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}
    named = {header: sendable(variable, environ) for header, variable in accounts.items()}
    return {
        "Accept": "application/json",
        "Content-Type": "application/json",
        **{header: value for header, value in named.items() if value},
        "User-Agent": f"batchscore/{VERSION}",
    }
