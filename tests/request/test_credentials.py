"""Keys and tokens: through azure-identity itself, against a token service on loopback."""

from __future__ import annotations

import asyncio
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from batchscore.errors import Refused, SettingsError
from batchscore.request.credentials import (
    DEFAULT_SCOPE,
    Credentials,
    RenewedCredentials,
    Token,
    credentials_for,
    fetch_token,
    scope_of,
)
from batchscore.request.endpoint import resolve_target

CLIENT_ID = "11111111-2222-3333-4444-555555555555"
AZ = "https://res.openai.azure.com"


class TokenService(http.server.ThreadingHTTPServer):
    """Speaks Azure ML's managed identity protocol: one GET, a new token for each."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, str], str | None]] = []
        self.life_seconds = 3600
        self.delay_seconds = 0.0
        self.status = 200
        self.body: str | None = None
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: TokenService

    def do_GET(self) -> None:
        service = self.server
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        service.asked.append((query, self.headers["secret"]))
        answer = {
            "access_token": f"SECRET-{len(service.asked)}",
            "expires_on": str(int(time.time()) + service.life_seconds),
            "token_type": "Bearer",
            "resource": query.get("resource", ""),
        }
        time.sleep(service.delay_seconds)
        content = (service.body if service.body is not None else json.dumps(answer)).encode()
        self.send_response(service.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TokenService]:
    for name in os.environ:
        if name.startswith(("AZURE_", "MSI_", "IDENTITY_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    # No az, azd or pwsh is found, and no login of whoever runs the tests.
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with TokenService() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        monkeypatch.setenv("MSI_ENDPOINT", f"http://127.0.0.1:{server.server_port}/msi/token")
        monkeypatch.setenv("MSI_SECRET", "s3")
        yield server
        server.shutdown()
        thread.join()


def entra(environ: Mapping[str, str] | None = None) -> Credentials:
    environ = environ or {}
    target = resolve_target(task="chat", model="m", endpoint=AZ, auth="entra", environ=environ)
    return credentials_for(target, environ)


def run(scene: Callable[[], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        return await scene()

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("environ", "settings", "headers"),
    [
        ({"BATCHSCORE_API_KEY": "k"}, {"api_version": "2024-10-21"}, {"api-key": "k"}),
        ({"BATCHSCORE_API_KEY": "k"}, {}, {"Authorization": "Bearer k"}),
        ({"AZURE_OPENAI_AD_TOKEN": "t"}, {"api_version": "2024-10-21"}, {"Authorization": "Bearer t"}),
        ({}, {"auth": "none"}, {}),
    ],
)
def test_what_is_given_by_hand_is_sent_and_cannot_be_renewed(
    environ: dict[str, str], settings: dict[str, str], headers: dict[str, str]
) -> None:
    target = resolve_target(task="chat", model="m", endpoint=AZ, environ=environ, **settings)
    credentials = credentials_for(target, environ)
    assert run(credentials.headers) == headers
    assert run(credentials.refresh) is False


def test_a_token_comes_from_the_managed_identity(service: TokenService) -> None:
    credentials = entra({"DEFAULT_IDENTITY_CLIENT_ID": CLIENT_ID})
    assert run(credentials.headers) == {"Authorization": "Bearer SECRET-1"}
    query, secret = service.asked[0]
    assert (query["resource"], query["clientid"], secret) == (
        "https://cognitiveservices.azure.com",
        CLIENT_ID,
        "s3",
    )


@pytest.mark.parametrize("value", ["", "default", "my-identity"])
def test_a_client_id_that_is_no_guid_is_left_out(service: TokenService, value: str) -> None:
    run(entra({"DEFAULT_IDENTITY_CLIENT_ID": value}).headers)
    assert "clientid" not in service.asked[0][0]


def test_the_scope_is_a_setting(service: TokenService) -> None:
    run(entra({"BATCHSCORE_ENTRA_SCOPE": "https://ai.azure.com/.default"}).headers)
    assert service.asked[0][0]["resource"] == "https://ai.azure.com"


@pytest.mark.parametrize(
    ("url", "scope"),
    [
        (AZ, DEFAULT_SCOPE),
        ("https://res.openai.azure.us/x", "https://cognitiveservices.azure.us/.default"),
        ("https://e.eu.inference.ml.azure.com/v1", "https://ml.azure.com/.default"),
        ("https://gw.example.com", DEFAULT_SCOPE),
    ],
)
def test_the_scope_follows_the_host(url: str, scope: str) -> None:
    assert scope_of(url, {"BATCHSCORE_ENTRA_SCOPE": ""}) == scope


def test_a_scope_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="default"):
        scope_of(AZ, {"BATCHSCORE_ENTRA_SCOPE": "cognitive services"})


def test_a_hundred_callers_at_the_start_fetch_one_token(service: TokenService) -> None:
    service.delay_seconds = 0.1
    credentials = entra()

    async def scene() -> None:
        got = await asyncio.gather(*(credentials.headers() for _ in range(100)))
        assert {headers["Authorization"] for headers in got} == {"Bearer SECRET-1"}

    run(scene)
    assert len(service.asked) == 1


def test_a_hundred_401s_give_one_new_token(service: TokenService) -> None:
    service.delay_seconds = 0.1
    credentials = entra()

    async def scene() -> None:
        old = await credentials.headers()
        assert all(await asyncio.gather(*(credentials.refresh() for _ in range(100))))
        assert await credentials.headers() == {"Authorization": "Bearer SECRET-2"}
        # Stragglers that were signed with the old token, and one that does not say.
        assert await credentials.refresh(old)
        assert await credentials.refresh()

    run(scene)
    assert len(service.asked) == 2


def test_a_short_token_is_renewed_while_everybody_goes_on(service: TokenService) -> None:
    """Tokens of 2 to 3 s, over 4 s: no request is signed with an expired one, and none waits."""
    service.life_seconds = 3
    credentials = entra()

    async def scene() -> None:
        await credentials.headers()
        service.delay_seconds = 0.2
        longest = 0.0
        end = time.monotonic() + 4
        while time.monotonic() < end:
            before = time.monotonic()
            await credentials.headers()
            longest = max(longest, time.monotonic() - before)
            await asyncio.sleep(0.01)
        assert longest < service.delay_seconds

    run(scene)
    assert 2 <= len(service.asked) <= 4


def test_a_caller_that_is_cancelled_takes_the_token_from_nobody(service: TokenService) -> None:
    service.delay_seconds = 0.2
    credentials = entra()

    async def scene() -> None:
        first, second = (asyncio.ensure_future(credentials.headers()) for _ in range(2))
        await asyncio.sleep(0.05)
        first.cancel()
        assert await second == {"Authorization": "Bearer SECRET-1"}

    run(scene)
    assert len(service.asked) == 1


def test_credentials_outlive_their_event_loop(service: TokenService) -> None:
    """Azure ML calls us many times in one process, each time with a loop of its own."""
    service.life_seconds = 0
    credentials = entra()
    for _ in range(2):
        run(credentials.headers)
        credentials._expires_at = credentials._renew_at = 0.0  # type: ignore[attr-defined]
    assert len(service.asked) == 2


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, '{"error": "invalid_request", "error_description": "AADSTS700016: no HUSH here"}'),
        (500, '{"error": "HUSH"}'),
        (200, "<html>HUSH</html>"),
        (200, "{}"),
        (200, '{"access_token": "HUSH"}'),
    ],
)
def test_a_token_service_that_fails_gives_one_message_for_a_person(
    service: TokenService,
    status: int,
    body: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    service.status, service.body = status, body
    with pytest.raises(Refused) as caught:
        run(entra().headers)
    message = str(caught.value)
    assert message.startswith(f"No Entra ID token for {DEFAULT_SCOPE}")
    assert "ManagedIdentity" in message
    assert ("MSI_ENDPOINT" in message) == (status != 400)
    assert "\n" not in message
    assert ("AADSTS700016" in message) == (status == 400)
    assert caught.value.__cause__ is None
    assert "HUSH" not in message + caplog.text + "".join(capfd.readouterr())


def test_a_library_setting_that_is_wrong_is_a_setting_error(
    service: TokenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", "http://login.example.com")
    with pytest.raises(SettingsError, match="AZURE_"):
        fetch_token(DEFAULT_SCOPE)


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Fetch:
    """A scripted source of tokens: each of an hour, or an error."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.count, self.fails, self.same = clock, 0, False, False

    def __call__(self) -> Token:
        self.count += 1
        if self.fails:
            raise Refused("no token")
        return Token("t" if self.same else f"t{self.count}", self.clock.now + 3600)


async def _settled(credentials: RenewedCredentials) -> None:
    await asyncio.wait([credentials._renewal])  # type: ignore[list-item]


def test_a_token_is_renewed_five_minutes_ahead_and_a_failure_waits_half_a_minute() -> None:
    clock = Clock()
    fetch = Fetch(clock)
    credentials = RenewedCredentials(fetch, clock=clock)

    async def scene() -> None:
        first = await credentials.headers()
        clock.now += 3299
        assert await credentials.headers() is first
        assert fetch.count == 1
        fetch.fails = True
        clock.now += 2
        assert await credentials.headers() is first
        await _settled(credentials)
        assert await credentials.headers() is first
        assert fetch.count == 2
        clock.now += 31
        assert await credentials.headers() is first
        await _settled(credentials)
        assert fetch.count == 3
        clock.now += 300
        with pytest.raises(Refused):
            await credentials.headers()
        fetch.fails = False
        assert await credentials.headers() == {"Authorization": "Bearer t5"}

    run(scene)


def test_a_source_that_gives_the_same_token_again_is_not_asked_for_every_401() -> None:
    clock = Clock()
    fetch = Fetch(clock)
    fetch.same = True
    credentials = RenewedCredentials(fetch, clock=clock)

    async def scene() -> None:
        old = await credentials.headers()
        assert [await credentials.refresh(old) for _ in range(5)] == [False] * 5
        assert fetch.count == 2

    run(scene)


def test_a_clock_that_is_wrong_does_not_make_every_request_fetch() -> None:
    clock = Clock()
    fetch = Fetch(Clock())
    credentials = RenewedCredentials(fetch, clock=clock)
    clock.now += 7200

    async def scene() -> None:
        for _ in range(50):
            await credentials.headers()
        assert fetch.count == 1

    run(scene)


def test_a_token_never_shows_itself() -> None:
    assert "SECRET" not in repr(Token("SECRET", 1.0))


def test_azure_identity_is_imported_only_when_a_token_is_fetched() -> None:
    code = "import sys, batchscore.request.credentials; sys.exit('azure.identity' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
