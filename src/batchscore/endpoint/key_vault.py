"""Which key does a secret of an Azure Key Vault hold?

It knows a vault's one address and its errors, nothing of what the key is for, and never shows the value.
Plain REST with azure-identity's token: it is one GET, for which azure-keyvault-secrets would be a dependency
that Azure ML's batch host then holds at some old release, as it does azure-identity.

Facts of the field (learn.microsoft.com, "Get Secret" and "Key Vault REST API error codes", seen 2026-11): the
reply is `{"value": …}`; 403 is a missing role, a firewall or a secret that is disabled, told apart by
`error.innererror.code`.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson

from batchscore.errors import ServiceRefused, SettingsError

API_VERSION = "7.4"
#: End of a vault's host → scope of the token. A token goes to these hosts only, and to this machine itself.
_SCOPES = {
    ".vault.azure.net": "https://vault.azure.net/.default",
    ".vault.azure.cn": "https://vault.azure.cn/.default",
    ".vault.usgovcloudapi.net": "https://vault.usgovcloudapi.net/.default",
}
_PATH = re.compile(r"/secrets/[A-Za-z0-9-]{1,127}(/[0-9a-fA-F]{32})?/?")

#: A key is read again after so long, and at once when it is refused: keys are exchanged while runs last.
KEY_LIFE_SECONDS = 86_400.0

_ADVICE = {
    401: "the vault does not take this identity's tokens: is it in the vault's tenant?",
    403: "this identity may not read it: give it the role Key Vault Secrets User on the vault (or Get on its "
    "secrets), and see whether the vault's firewall lets this machine in.",
    404: "there is no such secret in this vault.",
}
_INNER_ADVICE = {
    "SecretDisabled": "the secret is disabled.",
    "ForbiddenByFirewall": "the vault's firewall does not let this machine in.",
    "ForbiddenByConnection": "the vault is reachable by a private link only, and not from here.",
}


@dataclass(frozen=True, slots=True)
class VaultSecret:
    """Where a secret is, and the scope of the token that reads it."""

    url: str
    scope: str


def vault_secret(text: str, *, place: str) -> VaultSecret:
    """Return the secret that a setting names; `place` is the setting. Raises `SettingsError`."""
    try:
        split = urlsplit(text)
        host = split.hostname or ""
    except ValueError:
        split, host = urlsplit(""), ""
    scope = next((scope for end, scope in _SCOPES.items() if host.endswith(end)), None)
    if scope is None and _is_this_machine(host):
        scope = _SCOPES[".vault.azure.net"]
    elif split.scheme != "https":
        scope = None
    if scope is None or not _PATH.fullmatch(split.path) or split.query or split.username:
        # Not quoted: somebody may have put the key itself there.
        raise SettingsError(
            f"{place} is no secret of a Key Vault; write https://VAULT.vault.azure.net/secrets/NAME"
        )
    return VaultSecret(f"{split.scheme}://{split.netloc}{split.path.rstrip('/')}", scope)


def read_key(secret: VaultSecret, token: Callable[[str], str]) -> tuple[str, float]:
    """Read a secret's value, blocking; give it and until when it counts (seconds since 1970).

    `token` gives an Entra ID token for a scope. Raises `ServiceRefused` with one message for a person.
    """
    from azure.core import PipelineClient  # noqa: PLC0415 - half a second, and only where a vault is named
    from azure.core.exceptions import AzureError  # noqa: PLC0415
    from azure.core.pipeline.policies import RetryPolicy  # noqa: PLC0415
    from azure.core.rest import HttpRequest, HttpResponse  # noqa: PLC0415

    request = HttpRequest(
        "GET",
        secret.url,
        params={"api-version": API_VERSION},
        headers={"Authorization": f"Bearer {token(secret.scope)}", "Accept": "application/json"},
    )
    policies = [RetryPolicy(retry_total=3, retry_backoff_factor=0.3)]
    client: PipelineClient[HttpRequest, HttpResponse] = PipelineClient(secret.url, policies=policies)
    try:
        with client:
            response = client.send_request(request, connection_timeout=10, read_timeout=20)
            status, content = response.status_code, response.read()
    except AzureError as error:
        kind = type(error).__name__
        raise ServiceRefused(
            f"The key could not be read from {secret.url}: the vault does not answer ({kind})."
        ) from None
    try:
        found = orjson.loads(content)
    except ValueError:
        found = None
    if status != 200:
        raise ServiceRefused(
            f"The key could not be read from {secret.url} ({status}): {_advice(status, found)}"
        )
    value = found.get("value") if isinstance(found, dict) else None
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]+", value.strip()):
        raise ServiceRefused(
            f"{secret.url} holds nothing that can be a key: it is empty, or has spaces in it."
        )
    return value.strip(), time.time() + KEY_LIFE_SECONDS


def _advice(status: int, found: object) -> str:
    inner = found
    for name in ("error", "innererror", "code"):
        inner = inner.get(name) if isinstance(inner, dict) else None
    return _INNER_ADVICE.get(str(inner)) or _ADVICE.get(status, "the vault refused; try again later.")


def _is_this_machine(host: str) -> bool:
    """Say whether a vault is an emulator on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
