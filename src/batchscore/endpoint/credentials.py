"""Which headers authenticate a request at this moment, how do they stay valid, and what helps if they fail?

It knows neither requests nor replies: the sender reports a 401 with `refresh`. It never logs or quotes a
token. Of an error's text it uses only Entra ID's error codes; the rest may quote a token service's reply.

Facts of the field (azure-identity 1.17 and 1.27, tried against a token service on loopback): tokens live
an hour or a day. In the last 5 minutes, the library's own cache asks again on every call in one version and
not at all in the other. It does not read DEFAULT_IDENTITY_CLIENT_ID, which Azure ML sets on clusters. So
`token_cache` keeps tokens, once for all runs of a process, and every renewal starts with a new, empty
library cache.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from batchscore.endpoint.key_vault import KEY_LIFE_SECONDS, read_key
from batchscore.endpoint.resource_manager import SCOPES as MANAGEMENT_SCOPES
from batchscore.endpoint.target import Target
from batchscore.endpoint.token_cache import NO_TOKEN, Token, TokenCache, shared_token_cache
from batchscore.endpoint.url import AZURE_HOST, PROJECT, PROJECT_SCOPE, SERVICE_SCOPES, scope_of_host
from batchscore.errors import ServiceRefused, SettingsError

DEFAULT_SCOPE = "https://cognitiveservices.azure.com/.default"

_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

#: Prefixes of the variables that decide which identity azure-identity finds, and those that locate az.
_OF_IDENTITY = ("AZURE_", "IDENTITY_", "MSI_", "IMDS_")
_OF_LOGIN = ("PATH", "HOME", "USERPROFILE")


def credentials_for(
    target: Target, environ: Mapping[str, str], clock: Callable[[], float] = time.time
) -> FixedCredentials | TokenCredentials:
    """Return the credentials for the requests to `target`. `clock` gives seconds since 1970."""
    if target.auth == "none":
        return FixedCredentials({})
    scheme = "Basic " if target.auth == "basic" else "Bearer "
    prefixes = {name: "" if name == "api-key" else scheme for name in target.key_headers}

    def sent(key: str) -> str:
        # RFC 7617: user:password in base64.
        return base64.b64encode(key.encode()).decode() if target.auth == "basic" else key

    if target.key is not None:
        return FixedCredentials({name: prefix + sent(target.key) for name, prefix in prefixes.items()})
    secret = target.key_from
    if secret is None:
        return token_credentials(scope_of(target.url, environ), environ, clock, prefixes)
    client_id = client_id_of(environ)

    def fetch() -> Token:
        key = read_key(secret, lambda scope: fetch_token(scope, client_id=client_id).text)
        return Token(sent(key), clock() + KEY_LIFE_SECONDS)

    cache = shared_token_cache((target.auth, secret.url, client_id, identity()), fetch, clock)
    return TokenCredentials(cache, prefixes)


def token_credentials(
    scope: str,
    environ: Mapping[str, str],
    clock: Callable[[], float] = time.time,
    prefixes: Mapping[str, str] | None = None,
) -> TokenCredentials:
    """Return credentials with Entra ID tokens of one scope. `clock` gives seconds since 1970."""
    client_id = client_id_of(environ)
    cache = shared_token_cache(
        ("token", scope, client_id, identity()), lambda: fetch_token(scope, client_id=client_id), clock
    )
    return TokenCredentials(cache, BEARER if prefixes is None else prefixes)


def client_id_of(environ: Mapping[str, str]) -> str | None:
    """Return which identity of the machine signs in, `None` for its only one."""
    variable = environ.get("DEFAULT_IDENTITY_CLIENT_ID", "").strip()
    # Azure ML has been seen to set it to an empty or made-up value; only a GUID names an identity.
    return variable if _GUID.fullmatch(variable) else None


def identity() -> str:
    """Return a digest of the variables that decide which identity this process uses."""
    variables = sorted(
        f"{name}={value}"
        for name, value in os.environ.items()
        if name.startswith(_OF_IDENTITY) or name in _OF_LOGIN
    )
    return hashlib.blake2b("\0".join(variables).encode("utf-8", "surrogateescape")).hexdigest()


def scope_of(url: str, environ: Mapping[str, str]) -> str:
    """Return the scope of the token: BATCHSCORE_ENTRA_SCOPE, else by the host."""
    given = environ.get("BATCHSCORE_ENTRA_SCOPE", "").strip()
    if given:
        if not re.fullmatch(r"[!-~]+/\.default", given):
            raise SettingsError(
                f"BATCHSCORE_ENTRA_SCOPE is {given!r}. A scope ends in /.default, such as {DEFAULT_SCOPE}"
            )
        return given
    split = urlsplit(url)
    host = split.hostname or ""
    if AZURE_HOST.fullmatch(host) and PROJECT.match(split.path):
        return PROJECT_SCOPE
    return scope_of_host(host, SERVICE_SCOPES) or DEFAULT_SCOPE


class FixedCredentials:
    """A key, a token from a variable, or nothing: the same headers for the whole run."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.fixed = headers

    async def headers(self) -> Mapping[str, str]:
        """Return the headers."""
        return self.fixed

    async def refresh(self, rejected: Mapping[str, str] | None = None) -> bool:  # noqa: ARG002
        """Return False: there is nothing newer."""
        return False


#: The header of a token, and what comes before it.
BEARER: Mapping[str, str] = {"Authorization": "Bearer "}


class TokenCredentials:
    """The headers for a token (or a vault's key) that a `TokenCache` keeps valid.

    No request waits while a token is valid, except in the last moments of one that lives seconds. Raises the
    errors of fetching, and only if there is no valid token left. Several objects may share one cache.
    """

    def __init__(self, cache: TokenCache, prefixes: Mapping[str, str] = BEARER) -> None:
        self._cache = cache
        self._prefixes = prefixes
        self._headers: Mapping[str, str] = {}
        self._of = NO_TOKEN

    async def headers(self) -> Mapping[str, str]:
        """Return the headers for a request sent now; wait only if no token is valid, else about 1 µs."""
        renewal = self._cache.due_renewal()
        if renewal is not None:
            await asyncio.wrap_future(renewal)
        current = self._cache.current
        if current is not self._of:
            if current.text != self._of.text:
                self._headers = {name: prefix + current.text for name, prefix in self._prefixes.items()}
            self._of = current
        return self._headers

    async def refresh(self, rejected: Mapping[str, str] | None = None) -> bool:
        """Renew the token after a 401; return whether it is a different one, so that a retry makes sense.

        `rejected` are the headers of that request. If they are older than the last renewal, no new one
        starts. Without them, a renewal also covers the 401s of the next 10 s.
        """
        name, prefix = next(iter(self._prefixes.items()))
        old = (rejected or self._headers).get(name, "").removeprefix(prefix)
        renewal = self._cache.renew(old)
        if renewal is not None:
            await asyncio.wrap_future(renewal)
        elif rejected is None:
            return True
        return old != self._cache.current.text


def fetch_token(scope: str, *, client_id: str | None = None) -> Token:
    """Return a token from `DefaultAzureCredential`; this blocks, for seconds if it must try many ways.

    Raises `ServiceRefused` with one message for people, `SettingsError` if the settings are wrong.
    """
    from azure.core.exceptions import AzureError  # noqa: PLC0415
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415

    # It logs every attempt with the token service's reply, which our own message makes redundant.
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
        text = "azure-identity cannot be used with these settings"
        raise SettingsError(f"{text} ({type(error).__name__}). Check the AZURE_… variables.") from None
    if not re.fullmatch(r"[!-~]+", token.token):
        raise ServiceRefused(f"The token service returned something that is not a token (for {scope}).")
    return Token(token.token, float(token.expires_on))


_PRINCIPAL = "the service principal in AZURE_CLIENT_ID was refused: "
_LOGIN = "the sign-in on this machine has expired: run az login again."

#: Entra ID's error codes → what to do (learn.microsoft.com, "Microsoft Entra authentication and authorization
#: error codes", seen 2026-11).
ADVICE: Mapping[str, str] = {
    "AADSTS7000215": _PRINCIPAL + "AZURE_CLIENT_SECRET is not its secret (the value, not the secret's id).",
    "AADSTS7000222": _PRINCIPAL + "its secret has expired; create a new one.",
    "AADSTS700016": _PRINCIPAL + "the tenant in AZURE_TENANT_ID has no application with this id.",
    "AADSTS700024": _PRINCIPAL + "its assertion is not valid at this time; check this machine's clock.",
    "AADSTS700213": _PRINCIPAL + "it has no federated credential for this workload.",
    "AADSTS70021": _PRINCIPAL + "it has no federated credential for this workload.",
    "AADSTS90002": "AZURE_TENANT_ID is not a tenant.",
    "AADSTS500011": "this tenant has no resource with this scope: check BATCHSCORE_ENTRA_SCOPE.",
    "AADSTS70011": "the scope is not valid: check BATCHSCORE_ENTRA_SCOPE.",
    "AADSTS53003": "a Conditional Access policy forbids it on this machine; ask your tenant's administrator.",
    "AADSTS50173": _LOGIN,
    "AADSTS50078": _LOGIN,
    "AADSTS50076": _LOGIN,
    "AADSTS50079": _LOGIN,
    "AADSTS70043": _LOGIN,
    "AADSTS700082": _LOGIN,
}

#: Variables of a machine with an identity service: App Service, and Azure ML and others.
_MACHINE = ("IDENTITY_ENDPOINT", "MSI_ENDPOINT")


def sign_in_failure(scope: str, tried: Sequence[str], text: str, environ: Mapping[str, str]) -> str:
    """Return the message for a missing token: its scope, the ways that were tried, and what usually helps."""
    ways = ", ".join(name for name in tried if name != "FailedDAC") or "nothing"
    codes = list(dict.fromkeys(re.findall(r"AADSTS\d+", text)))
    shown = f" ({', '.join(codes)})" if codes else ""
    advice = next((ADVICE[code] for code in codes if code in ADVICE), None) or _by_situation(environ)
    # Resource Manager takes no keys.
    other = "" if scope in MANAGEMENT_SCOPES.values() else " Or use a key."
    return f"No Entra ID token for {scope}{shown}. Tried: {ways}. {advice[0].upper()}{advice[1:]}{other}"


def _by_situation(environ: Mapping[str, str]) -> str:
    """Return what usually helps a machine with its own identity, a service principal, or neither."""
    service = next((name for name in _MACHINE if environ.get(name)), None)
    if all(environ.get(name) for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID")) and any(
        environ.get(name)
        for name in ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE")
    ):
        return (
            "the service principal in AZURE_TENANT_ID, AZURE_CLIENT_ID and the rest got no token: check "
            "them, and that this machine can reach login.microsoftonline.com (or AZURE_AUTHORITY_HOST)."
        )
    if service is not None:
        chosen = next(
            (name for name in ("DEFAULT_IDENTITY_CLIENT_ID", "AZURE_CLIENT_ID") if environ.get(name)), None
        )
        which = (
            f"{chosen} must be the client id of one of its identities"
            if chosen
            else "if it has several, set DEFAULT_IDENTITY_CLIENT_ID to the client id of one"
        )
        return (
            f"this machine's identity service ({service}) gave no token: give the cluster an identity "
            "(az ml compute update --identity-type system_assigned) with the role Cognitive Services OpenAI "
            f"User; {which}."
        )
    return (
        "on your machine: run az login, or set a service principal in AZURE_TENANT_ID, AZURE_CLIENT_ID and "
        "AZURE_CLIENT_SECRET. "
        "On Azure: give the machine an identity with the role Cognitive Services OpenAI User, and if it has "
        "several, set DEFAULT_IDENTITY_CLIENT_ID or AZURE_CLIENT_ID."
    )
