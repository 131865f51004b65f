"""Which headers sign a request in at this moment, and how are they kept fresh?

It must not know requests or replies: who got a 401 says so with `refresh`. It never logs or quotes a token.

Facts of the field (azure-identity 1.17 and 1.27, tried against a token service on loopback): tokens live
an hour or a day; the library's own cache asks again on every call in the last 5 minutes of one version and
not at all in the other, and it does not read DEFAULT_IDENTITY_CLIENT_ID, which Azure ML sets on clusters.
So the token is kept here, and every renewal starts with a new, empty library cache.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from batchscore.errors import Refused, SettingsError
from batchscore.request.endpoint import Target
from batchscore.request.key_vault import read_key
from batchscore.request.sign_in_failures import sign_in_failure

DEFAULT_SCOPE = "https://cognitiveservices.azure.com/.default"

#: End of the host → scope, where the default will not do.
_SCOPES = {
    ".inference.ml.azure.com": "https://ml.azure.com/.default",
    ".azure.us": "https://cognitiveservices.azure.us/.default",
    ".azure.cn": "https://cognitiveservices.azure.cn/.default",
}
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

#: A token is renewed this long before it expires, or after four fifths of a shorter life.
_AHEAD_SECONDS = 300.0
#: After a failed renewal the next one waits this long, while the old token still serves.
_AGAIN_SECONDS = 30.0
#: A forced renewal also answers the 401s that come in this long after it: they were under way before.
_FORCED_COVERS_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, or a key, and when it expires (seconds since 1970). Its repr hides it."""

    text: str
    expires_at: float

    def __repr__(self) -> str:
        return f"Token(***, expires_at={self.expires_at})"


#: Gets a new token, blocking; raises Refused or SettingsError.
Fetch = Callable[[], Token]


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

        return RenewedCredentials(fetch_key, header=target.key_header, prefix=prefix)
    if target.auth != "entra":
        raise SettingsError("No key is set.")
    scope = scope_of(target.url, environ)
    return RenewedCredentials(lambda: fetch_token(scope, client_id=client_id))


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
    """A token (or a vault's key) that is renewed ahead of its end by one task, whoever asks and however many.

    While the old token is valid nobody waits. Fails with what `fetch` raises, and only when there is no
    valid token left. So a token is fetched once in its life: when four fifths of it are over, or for a
    longer one 5 minutes before its end.
    """

    def __init__(
        self,
        fetch: Fetch,
        *,
        header: str = "Authorization",
        prefix: str = "Bearer ",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fetch = fetch
        self._header = header
        self._prefix = prefix
        self._clock = clock
        self._headers: Mapping[str, str] = {}
        self._renew_at = 0.0
        self._expires_at = 0.0
        self._forced_at = float("-inf")
        self._renewal: asyncio.Task[None] | None = None

    async def headers(self) -> Mapping[str, str]:
        """Give the headers; waits only when no token is valid."""
        now = self._clock()
        if now < self._renew_at:
            return self._headers
        renewal = self._renew()
        if now >= self._expires_at:
            # Shielded, for a caller that is cancelled must not take the token from the others.
            await asyncio.shield(renewal)
        return self._headers

    async def refresh(self, rejected: Mapping[str, str] | None = None) -> bool:
        """Renew the token, unless that has happened since; True if it is another one."""
        old = (rejected or self._headers).get(self._header)
        renewed_since = old != self._headers.get(self._header)
        # A token service with a cache of its own may give the same token again: not for every 401.
        if renewed_since or self._clock() < self._forced_at + _FORCED_COVERS_SECONDS:
            return renewed_since or rejected is None
        await asyncio.shield(self._renew(forced=True))
        return old != self._headers.get(self._header)

    def _renew(self, *, forced: bool = False) -> asyncio.Task[None]:
        """Give the renewal under way, or start it; a task of a loop that is gone does not count."""
        loop = asyncio.get_running_loop()
        task = self._renewal
        if task is None or task.done() or task.get_loop() is not loop:
            task = self._renewal = loop.create_task(self._renew_once(forced=forced))
            # The failure of a renewal that nobody awaits is no news: the old token still serves.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def _renew_once(self, *, forced: bool) -> None:
        try:
            token = await asyncio.to_thread(self._fetch)
        except BaseException:
            now = self._clock()
            self._renew_at = min(self._expires_at, now + min(_AGAIN_SECONDS, (self._expires_at - now) / 4))
            raise
        now = self._clock()
        # At least a second: with a clock that is wrong every request would fetch a token.
        life = max(token.expires_at - now, 1.0)
        self._expires_at = now + life
        self._renew_at = now + life - min(_AHEAD_SECONDS, life / 5)
        self._headers = {self._header: self._prefix + token.text}
        if forced:
            self._forced_at = now


def fetch_token(scope: str, *, client_id: str | None = None) -> Token:
    """Ask `DefaultAzureCredential` for a token, blocking; seconds where it must try many ways.

    Raises Refused with one message for a person, SettingsError where the settings are at fault.
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
        raise Refused(sign_in_failure(scope, tried, str(error), os.environ)) from None
    except ValueError as error:
        # Its own settings: AZURE_TOKEN_CREDENTIALS, AZURE_AUTHORITY_HOST, and the like.
        kind = type(error).__name__
        raise SettingsError(
            f"azure-identity cannot be used as it is set up ({kind}): look at the AZURE_… variables."
        ) from None
    if not re.fullmatch(r"[!-~]+", token.token):
        raise Refused(f"The token service gave something that is no token (for {scope}).")
    return Token(token.token, float(token.expires_on))
