"""Which key does a secret of an Azure Key Vault hold?

It knows a secret's address and the vault's errors, not the purpose of the key. It never shows the value.
Plain REST with azure-identity's token: one GET does not justify the dependency azure-keyvault-secrets, which
Azure ML's batch host would pin to an old release, as it does azure-identity.

Facts of the field (learn.microsoft.com, "Get Secret" and "Key Vault REST API error codes", seen 2026-11): the
reply is `{"value": …}`; 403 is a missing role, a firewall or a disabled secret, by
`error.innererror.code`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson

from batchscore.endpoint.url import VAULT_SCOPES, is_loopback, scope_of_host
from batchscore.errors import ServiceRefused, SettingsError

API_VERSION = "7.4"
_PATH = re.compile(r"/secrets/[A-Za-z0-9-]{1,127}(/[0-9a-fA-F]{32})?/?")

#: A key is read again after this time, and at once if it is refused: keys are rotated during long runs.
KEY_LIFE_SECONDS = 86_400.0

_ADVICE = {
    401: "the vault does not accept this identity's tokens: is the identity in the vault's tenant?",
    403: "this identity may not read it: give it the role Key Vault Secrets User on the vault (or Get on its "
    "secrets), and check that the vault's firewall admits this machine.",
    404: "the vault has no such secret.",
}
_INNER_ADVICE = {
    "SecretDisabled": "the secret is disabled.",
    "ForbiddenByFirewall": "the vault's firewall does not admit this machine.",
    "ForbiddenByConnection": "the vault is reachable only by a private link, and not from this machine.",
}


@dataclass(frozen=True, slots=True)
class VaultSecret:
    """Where a secret is, and the scope of the token that reads it."""

    url: str
    scope: str


def vault_secret(text: str, *, source: str, emulator: bool = True) -> VaultSecret:
    """Return the secret that a setting names; `source` is the setting. Raises `SettingsError`.

    `emulator`: the address may be on this machine. The token for the vault goes to that host.
    """
    try:
        split = urlsplit(text)
        host = split.hostname or ""
    except ValueError:
        split, host = urlsplit(""), ""
    scope = scope_of_host(host, VAULT_SCOPES)
    if scope is None and emulator and is_loopback(host):
        scope = VAULT_SCOPES[".vault.azure.net"]
    elif split.scheme != "https":
        scope = None
    if scope is None or not _PATH.fullmatch(split.path) or split.query or "@" in split.netloc:
        # Not quoted: it may be the key itself.
        raise SettingsError(
            f"{source} is not the address of a Key Vault secret. Write https://VAULT.vault.azure.net/secrets/NAME"
        )
    return VaultSecret(f"{split.scheme}://{split.netloc}{split.path.rstrip('/')}", scope)


def read_key(secret: VaultSecret, token: Callable[[str], str]) -> str:
    """Return a secret's value; this blocks.

    `token` gives an Entra ID token for a scope. Raises `ServiceRefused` with one message for people.
    """
    from azure.core import PipelineClient  # noqa: PLC0415 - half a second, and only if a vault is used
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
        text = f"the vault does not respond ({type(error).__name__})."
        raise ServiceRefused(f"The key could not be read from {secret.url}: {text}") from None
    try:
        document = orjson.loads(content)
    except ValueError:
        document = None
    if status != 200:
        text = _advice(status, document)
        raise ServiceRefused(f"The key could not be read from {secret.url} ({status}): {text}")
    value = document.get("value") if isinstance(document, dict) else None
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]+", value.strip()):
        raise ServiceRefused(f"{secret.url} does not hold a key: it is empty, or has spaces in it.")
    return value.strip()


def _advice(status: int, document: object) -> str:
    inner = document
    for name in ("error", "innererror", "code"):
        inner = inner.get(name) if isinstance(inner, dict) else None
    return _INNER_ADVICE.get(str(inner)) or _ADVICE.get(status, "the vault refused; try again later.")
