"""Which headers sign a request in at this moment, and how are they kept fresh?

It must not know requests or replies: who got a 401 says so with `refresh`. It never logs or quotes a token.

Facts of the field (azure-identity 1.17 and 1.27, tried against a token service on loopback): tokens live
an hour or a day; the library's own cache asks again on every call in the last 5 minutes of one version and
not at all in the other, and it does not read DEFAULT_IDENTITY_CLIENT_ID, which Azure ML sets on clusters.
So tokens are kept by us, once for all runs of a process (`renewal`), and every renewal starts with a new,
empty library cache.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlsplit

from batchscore.endpoint.key_vault import read_key
from batchscore.endpoint.sign_in_errors import sign_in_failure
from batchscore.endpoint.target import Target
from batchscore.endpoint.token_cache import NOTHING, Renewed, Token, renewed_for_process
from batchscore.errors import ServiceRefused, SettingsError

DEFAULT_SCOPE = "https://cognitiveservices.azure.com/.default"

#: End of the host → scope, where the default will not do.
_SCOPES = {
    ".inference.ml.azure.com": "https://ml.azure.com/.default",
    ".azure.us": "https://cognitiveservices.azure.us/.default",
    ".azure.cn": "https://cognitiveservices.azure.cn/.default",
}
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

#: Beginnings of the variables that decide which identity azure-identity finds, and where az is.
_OF_IDENTITY = ("AZURE_", "IDENTITY_", "MSI_", "IMDS_")
_OF_LOGIN = ("PATH", "HOME", "USERPROFILE")


class Credentials(Protocol):
    """What signs requests in."""

    async def headers(self) -> Mapping[str, str]:
        """Give the headers for a request that is sent now; about 1 µs while they are fresh."""

    async def refresh(self, rejected: Mapping[str, str] | None = None) -> bool:
        """Say that a request got a 401; True if asking again makes sense.

        `rejected` are the headers of that request. With them a request that was signed before the last
        renewal starts none; without them a renewal covers the 401s of the next 10 s as well.
        """


def credentials_for(target: Target, environ: Mapping[str, str]) -> Credentials:
    """Give what signs the requests to `target` in."""
    if target.auth == "none":
        return FixedCredentials({})
    if target.key is not None:
        prefix = "" if target.key_header == "api-key" else "Bearer "
        return FixedCredentials({target.key_header: prefix + target.key})
    named = environ.get("DEFAULT_IDENTITY_CLIENT_ID", "").strip()
    # Azure ML has been seen to set it to an empty or made-up value; only a GUID names an identity.
    client_id = named if _GUID.fullmatch(named) else None
    secret = target.key_from
    if secret is not None:
        prefix = "" if target.key_header == "api-key" else "Bearer "

        def fetch_key() -> Token:
            return Token(*read_key(secret, lambda scope: fetch_token(scope, client_id=client_id).text))

        key = renewed_for_process(("key", secret.url, client_id, identity()), fetch_key)
        return RenewedCredentials(key, header=target.key_header, prefix=prefix)
    if target.auth != "entra":
        raise SettingsError("No key is set.")
    scope = scope_of(target.url, environ)
    token = renewed_for_process(
        ("token", scope, client_id, identity()), lambda: fetch_token(scope, client_id=client_id)
    )
    return RenewedCredentials(token)


def identity() -> str:
    """Return a digest of the variables that decide as whom this process signs in."""
    found = sorted(
        f"{name}={value}"
        for name, value in os.environ.items()
        if name.startswith(_OF_IDENTITY) or name in _OF_LOGIN
    )
    return hashlib.blake2b("\0".join(found).encode("utf-8", "surrogateescape")).hexdigest()


def scope_of(url: str, environ: Mapping[str, str]) -> str:
    """Give the scope of the token: BATCHSCORE_ENTRA_SCOPE, else by the host."""
    named = environ.get("BATCHSCORE_ENTRA_SCOPE", "").strip()
    if named:
        if not re.fullmatch(r"[!-~]+/\.default", named):
            raise SettingsError(
                f"BATCHSCORE_ENTRA_SCOPE is {named!r}; a scope ends in /.default, such as {DEFAULT_SCOPE}"
            )
        return named
    host = urlsplit(url).hostname or ""
    return next((scope for end, scope in _SCOPES.items() if host.endswith(end)), DEFAULT_SCOPE)


class FixedCredentials:
    """A key, a token given by hand, or nothing: the same headers for the whole run."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    async def headers(self) -> Mapping[str, str]:
        """Give the headers."""
        return self._headers

    async def refresh(self, rejected: Mapping[str, str] | None = None) -> bool:  # noqa: ARG002
        """Give False: there is nothing newer."""
        return False


class RenewedCredentials:
    """A token (or a vault's key) that is kept fresh by `Renewed`, as headers.

    Nobody waits while a token is valid, but for the last moments of one that lives seconds. Fails with what
    fetching raises, and only when there is no valid token left. Several may share one `Renewed`.
    """

    def __init__(self, renewed: Renewed, *, header: str = "Authorization", prefix: str = "Bearer ") -> None:
        self._renewed = renewed
        self._header = header
        self._prefix = prefix
        self._headers: Mapping[str, str] = {}
        self._of = NOTHING

    async def headers(self) -> Mapping[str, str]:
        """Give the headers; waits only when no token is valid."""
        renewal = self._renewed.renewal()
        if renewal is not None:
            await asyncio.wrap_future(renewal)
        current = self._renewed.current
        if current is not self._of:
            if current.text != self._of.text:
                self._headers = {self._header: self._prefix + current.text}
            self._of = current
        return self._headers

    async def refresh(self, rejected: Mapping[str, str] | None = None) -> bool:
        """Renew the token, unless that has happened since; True if it is another one."""
        old = (rejected or self._headers).get(self._header, "").removeprefix(self._prefix)
        renewal = self._renewed.renew(old)
        if renewal is not None:
            await asyncio.wrap_future(renewal)
        elif rejected is None:
            return True
        return old != self._renewed.current.text


def fetch_token(scope: str, *, client_id: str | None = None) -> Token:
    """Ask `DefaultAzureCredential` for a token, blocking; seconds where it must try many ways.

    Raises ServiceRefused with one message for a person, SettingsError where the settings are at fault.
    """
    from azure.core.exceptions import AzureError  # noqa: PLC0415
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415

    # It logs every attempt with what the token service said, which nobody needs beside our own message.
    logger = logging.getLogger("azure.identity")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
    identity = {"managed_identity_client_id": client_id} if client_id else {}
    tried: list[str] = []
    try:
        with DefaultAzureCredential(
            retry_total=2, connection_timeout=10, read_timeout=20, **identity
        ) as credential:
            tried = [type(one).__name__.removesuffix("Credential") for one in credential.credentials]
            token = credential.get_token(scope)
    except AzureError as error:
        # Not chained: the original quotes whole replies of the token service.
        raise ServiceRefused(sign_in_failure(scope, tried, str(error), os.environ)) from None
    except ValueError as error:
        # Its own settings: AZURE_TOKEN_CREDENTIALS, AZURE_AUTHORITY_HOST, and the like.
        kind = type(error).__name__
        raise SettingsError(
            f"azure-identity cannot be used as it is set up ({kind}): look at the AZURE_… variables."
        ) from None
    if not re.fullmatch(r"[!-~]+", token.token):
        raise ServiceRefused(f"The token service gave something that is no token (for {scope}).")
    return Token(token.token, float(token.expires_on))
