"""Where is Azure Resource Manager, and which token does it take?

It knows hosts and variables, and sends nothing. A token of Resource Manager can change all that its owner
can, so no settings file names its host: a flag or a variable does, and only a host that may get it.

Facts of the field (learn.microsoft.com, "Azure Resource Manager: national clouds", seen 2026-11): each cloud
has one host and a scope of its own. An API key of a resource is worth nothing there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from batchscore.endpoint.url import is_loopback, trusted_hosts
from batchscore.errors import SettingsError

#: The option that names another host, and its variable.
OPTION, VARIABLE = "--arm-endpoint", "BATCHSCORE_ARM_ENDPOINT"

#: Host → scope of its tokens.
SCOPES = {
    "management.azure.com": "https://management.azure.com/.default",
    "management.usgovcloudapi.net": "https://management.usgovcloudapi.net/.default",
    "management.chinacloudapi.cn": "https://management.chinacloudapi.cn/.default",
}
_PUBLIC = "management.azure.com"

#: The end of a resource's host → the host of its cloud's Resource Manager.
_CLOUDS = {".azure.us": "management.usgovcloudapi.net", ".azure.cn": "management.chinacloudapi.cn"}


@dataclass(frozen=True, slots=True)
class ResourceManager:
    """The address above `/subscriptions`, and the scope of the tokens that it takes."""

    url: str
    scope: str


def resource_manager(given: str | None, service_host: str, environ: Mapping[str, str]) -> ResourceManager:
    """Return the Resource Manager of the cloud in which `service_host` is, or the one that is `given`.

    Raises `SettingsError` for a host that gets no token: any but Azure's and this machine's, unless the user
    trusts it.
    """
    given = (given or "").strip()
    if not given:
        if is_loopback(service_host):
            raise SettingsError(
                f"The endpoint is on this machine, so Azure Resource Manager is not called for it. Name the "
                f"simulator's address, too: {OPTION} ADDRESS or the variable {VARIABLE}."
            )
        host = next((one for end, one in _CLOUDS.items() if service_host.endswith(end)), _PUBLIC)
        return ResourceManager(f"https://{host}", SCOPES[host])
    try:
        split = urlsplit(given)
        host, has_port = (split.hostname or "").lower(), split.port is None or split.port > 0
    except ValueError:
        split, host, has_port = urlsplit(""), "", False
    bare = split.path.rstrip("/") == "" and not split.query and not split.fragment and "@" not in split.netloc
    if not host or not has_port or not bare or split.scheme not in {"http", "https"}:
        # Not quoted: it may be a pasted token.
        raise SettingsError(f"{OPTION} is not an address such as https://{_PUBLIC}.")
    local = is_loopback(host)
    if split.scheme == "http" and not local:
        raise SettingsError(f"{OPTION} begins with http://, so a token would be sent unencrypted.")
    listed = bool(re.fullmatch(r"[a-z0-9.-]+", host)) and host in trusted_hosts(environ)
    if not (host in SCOPES or local or listed):
        raise SettingsError(
            f"{OPTION}: {host} is not a host of Azure Resource Manager, so no token is sent there. If "
            "you trust it, list the host in the variable BATCHSCORE_TRUSTED_HOSTS."
        )
    return ResourceManager(f"{split.scheme}://{split.netloc}", SCOPES.get(host, SCOPES[_PUBLIC]))
