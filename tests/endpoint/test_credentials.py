"""Keys and tokens: through azure-identity itself, against a token service on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from batchscore.endpoint.credentials import (
    ADVICE,
    DEFAULT_SCOPE,
    FixedCredentials,
    TokenCredentials,
    credentials_for,
    fetch_token,
    scope_of,
    sign_in_failure,
)
from batchscore.endpoint.target import resolve_target
from batchscore.errors import ServiceRefused, SettingsError
from endpoint_settings import endpoint_settings
from http_served import Handler, running

CLIENT_ID = "11111111-2222-3333-4444-555555555555"
AZ = "https://res.openai.azure.com"


class TokenService(ThreadingHTTPServer):
    """Speaks Azure ML's managed identity protocol: one GET, a new token for each."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, str], str | None]] = []
        self.asked_at: list[float] = []
        #: Header → until when it counts.
        self.ends: dict[str, int] = {}
        self.life_seconds = 3600
        self.delay_seconds = 0.0
        self.status = 200
        self.body: str | None = None
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(Handler):
    server: TokenService

    def do_GET(self) -> None:
        service = self.server
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        service.asked.append((query, self.headers["secret"]))
        service.asked_at.append(time.time())
        end = int(time.time()) + service.life_seconds
        token = f"SECRET-{len(service.asked)}"
        service.ends[f"Bearer {token}"] = end
        answer = {
            "access_token": token,
            "expires_on": str(end),
            "token_type": "Bearer",
            "resource": query.get("resource", ""),
        }
        time.sleep(service.delay_seconds)
        content = service.body if service.body is not None else json.dumps(answer)
        self.reply(service.status, content.encode(), {"Content-Type": "application/json"})


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TokenService]:
    for name in os.environ:
        if name.startswith(("AZURE_", "MSI_", "IDENTITY_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    # Hides az, azd, pwsh and the developer's own login.
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with running(TokenService()) as server:
        monkeypatch.setenv("MSI_ENDPOINT", f"http://127.0.0.1:{server.server_port}/msi/token")
        monkeypatch.setenv("MSI_SECRET", "s3")
        yield server


def entra(environ: Mapping[str, str] | None = None) -> FixedCredentials | TokenCredentials:
    environ = environ or {}
    target = resolve_target(endpoint_settings(model="m", endpoint=AZ, auth="entra"), environ)
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
def test_a_key_or_token_from_a_variable_is_sent_and_cannot_be_renewed(
    environ: dict[str, str], settings: dict[str, str], headers: dict[str, str]
) -> None:
    target = resolve_target(endpoint_settings(model="m", endpoint=AZ, **settings), environ)
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
def test_a_client_id_that_is_not_a_guid_is_ignored(service: TokenService, value: str) -> None:
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


def test_an_invalid_scope_is_refused() -> None:
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


@pytest.mark.slow
def test_a_short_token_serves_its_whole_life(service: TokenService) -> None:
    """Over several lives no request gets an expired token, and none is fetched before another one ends."""
    service.life_seconds, service.delay_seconds = 2, 0.1
    credentials = entra()

    async def scene() -> None:
        for _ in range(400):
            headers = await credentials.headers()
            assert time.time() < service.ends[headers["Authorization"]]
            await asyncio.sleep(0.01)

    run(scene)
    assert len(service.asked) >= 3
    assert all(asked >= end for asked, end in zip(service.asked_at[1:], service.ends.values(), strict=False))


def test_a_cancelled_caller_does_not_cancel_the_fetch_of_others(service: TokenService) -> None:
    service.delay_seconds = 0.2
    credentials = entra()

    async def scene() -> None:
        first, second = (asyncio.ensure_future(credentials.headers()) for _ in range(2))
        await asyncio.sleep(0.05)
        first.cancel()
        assert await second == {"Authorization": "Bearer SECRET-1"}

    run(scene)
    assert len(service.asked) == 1


def test_calls_of_a_process_share_a_token_whatever_their_threads_and_loops(service: TokenService) -> None:
    """Azure ML calls us hundreds of times in a process, each time on another thread with another loop."""
    service.delay_seconds = 0.1

    async def ask() -> Mapping[str, str]:
        credentials = entra()
        return (await asyncio.gather(*(credentials.headers() for _ in range(20))))[0]

    async def refused(old: Mapping[str, str]) -> bool:
        credentials = entra()
        return all(await asyncio.gather(*(credentials.refresh(old) for _ in range(20))))

    with ThreadPoolExecutor(8) as pool:
        given = [*pool.map(asyncio.run, [ask() for _ in range(8)]), run(ask)]
        assert {headers["Authorization"] for headers in given} == {"Bearer SECRET-1"}
        assert len(service.asked) == 1
        assert all(pool.map(asyncio.run, [refused(given[0]) for _ in range(8)]))
    assert run(ask) == {"Authorization": "Bearer SECRET-2"}
    assert len(service.asked) == 2


def test_another_scope_or_identity_has_a_token_of_its_own(
    service: TokenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    foundry = {"BATCHSCORE_ENTRA_SCOPE": "https://ai.azure.com/.default"}
    for environ in ({}, foundry, {"DEFAULT_IDENTITY_CLIENT_ID": CLIENT_ID}, {}, foundry):
        run(entra(environ).headers)
    monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT_ID)
    run(entra().headers)
    assert len(service.asked) == 4


@pytest.mark.process
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, '{"error": "invalid_request", "error_description": "AADSTS700016: no HUSH here"}'),
        pytest.param(500, '{"error": "HUSH"}', marks=pytest.mark.slow),
        (200, "<html>HUSH</html>"),
        (200, "{}"),
        (200, '{"access_token": "HUSH"}'),
    ],
)
def test_a_token_service_that_fails_gives_one_message(
    service: TokenService,
    status: int,
    body: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    service.status, service.body = status, body
    with pytest.raises(ServiceRefused) as caught:
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


@pytest.mark.process
def test_azure_identity_is_imported_only_when_a_token_is_fetched() -> None:
    code = "import sys, batchscore.endpoint.credentials; sys.exit('azure.identity' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("code", ADVICE)
def test_a_code_of_entra_id_gets_its_advice(code: str) -> None:
    message = sign_in_failure("s/.default", ["Environment"], f"{code}: HUSH", {})
    assert f"({code})" in message
    assert ADVICE[code][1:] in message
    assert "HUSH" not in message


def test_a_service_principal_that_is_refused_is_named() -> None:
    principal = {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "HUSH"}
    message = sign_in_failure("s/.default", ["Environment"], "no connection", principal)
    assert "The service principal in AZURE_TENANT_ID" in message
    assert "HUSH" not in message
