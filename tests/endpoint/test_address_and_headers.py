"""Our address, query and headers beside those of the official client's own requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import openai
import pytest

from batchscore.endpoint.credentials import credentials_for
from batchscore.endpoint.target import resolve_target
from batchscore.errors import SettingsError
from batchscore.task import TASKS
from endpoint_settings import endpoint_settings

AZ = "https://res.openai.azure.com"
#: The first version of each kind, the last dated ones, and one that has responses.
DATED = ("2022-12-01", "2023-05-15", "2024-10-21", "2025-04-01-preview")
ENVIRON = {"OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": " p-1 "}


class NotSentError(Exception):
    """Ends a call of the official client at its HTTP library, before anything is sent."""


class Kept:
    """The transport of an official client that keeps its requests."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def handle_request(self, request: Any) -> Any:
        self.requests.append(request)
        raise NotSentError

    def close(self) -> None:
        pass


def request_of(client_class: type[openai.OpenAI], task: str, name: str, **given: Any) -> Any:
    """Return the request that an official client would send for a task."""
    kept: Any = Kept()
    transport = openai.DefaultHttpxClient(transport=kept)
    client = client_class(**given, organization="org-1", project="p-1", http_client=transport, max_retries=0)
    resources: Mapping[str, Any] = {
        "embeddings": client.embeddings,
        "completions": client.completions,
        "chat": client.chat.completions,
        "responses": client.responses,
    }
    body = {TASKS[task].input_key: [{"role": "user", "content": "x"}] if task == "chat" else "x"}
    with pytest.raises((NotSentError, openai.APIConnectionError)):
        resources[task].create(model=name, **body)
    return kept.requests[-1]


def check_same(request: Any, task: str, name: str, environ: dict[str, str], **settings: Any) -> None:
    """Check that our request goes where the official client's goes, with the same headers."""
    given = endpoint_settings(**{"task": task, "model": name, **settings})
    found = resolve_target(given, environ | ENVIRON)
    signed = asyncio.run(credentials_for(found, environ).headers())
    assert found.request_url.partition("?")[0] == str(request.url).partition("?")[0]
    ours, theirs = (parse_qsl(urlsplit(url).query) for url in (found.request_url, str(request.url)))
    assert ours == theirs
    assert found.body_model == json.loads(request.content)["model"]
    headers = {header.lower(): value for header, value in {**found.headers, **signed}.items()}
    names = (
        {"accept", "content-type"}
        | {header for header in request.headers if header.startswith("openai-")}
        | (headers.keys() - {"user-agent"})
    )
    assert {each: headers.get(each) for each in names} == {each: request.headers.get(each) for each in names}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("auth", ["key", "entra"])
def test_dated_versions_of_azure_are_called_as_by_the_official_client(task: str, auth: str) -> None:
    credential = {"api_key": "k"} if auth == "key" else {"azure_ad_token": "k"}
    environ = {"BATCHSCORE_API_KEY": "k"} if auth == "key" else {"AZURE_OPENAI_AD_TOKEN": "k"}
    names = ["ada", "gpt-4.1_x~", "my model", "é"]
    # Before version 3 the client leaves these in a deployment's name as they are.
    if int(openai.__version__.partition(".")[0]) >= 3:
        names += ["a/b", "ä#?%20", "!$&'()*+,:;=@[]^|<>\"{}`\\"]
    for version in (each for each in DATED if each >= TASKS[task].azure_since):
        for root in (AZ, AZ + "/", "https://gw.example.com/llm", "https://gw.example.com:8443/a%2Fb/é"):
            if auth == "entra" and not root.startswith(AZ):
                continue
            for name in names if version == DATED[-1] else names[:1]:
                theirs = request_of(
                    openai.AzureOpenAI, task, name, azure_endpoint=root, api_version=version, **credential
                )
                check_same(theirs, task, name, environ, endpoint=root, api_version=version, auth=auth)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("auth", ["key", "entra"])
def test_azures_v1_is_called_as_by_the_official_client(task: str, auth: str) -> None:
    environ = {"BATCHSCORE_API_KEY": "k"} if auth == "key" else {"AZURE_OPENAI_AD_TOKEN": "k"}
    for version in (None, "preview", "latest"):
        for root in (AZ, "https://eastus.api.cognitive.microsoft.com", "https://res.services.ai.azure.com"):
            if auth == "entra" and "eastus" in root:
                continue
            theirs = request_of(
                openai.OpenAI,
                task,
                "my ada",
                base_url=root + "/openai/v1/",
                default_query={"api-version": version} if version else None,
                api_key="k",
            )
            for written in (root, root + "/openai", root + "/openai/v1/"):
                check_same(theirs, task, "my ada", environ, endpoint=written, api_version=version, auth=auth)
                if version is None:
                    check_same(theirs, task, "my ada", environ, endpoint=written, api_version="v1", auth=auth)


@pytest.mark.parametrize(
    "base",
    [
        "https://api.openai.com/v1",
        "http://localhost:8000/v1",
        "http://10.0.0.7:8000/v1/",
        "http://[::1]:8000/v1",
        "https://llm.example.com/api/v3/",
        "https://api.groq.com/openai/v1",
        "HTTPS://GW.Example.com:443/v1",
        "http://localhost:80/v1",
        "https://gw_1.example.com:444/v1",
        "https://gw.example.com/a/../b/./v1",
        "https://gw.example.com/../v1/..",
        "https://gw.example.com/a%20b%2f/100%/%zz/v1",
        "https://gw.example.com/x;y=1,2/(a)!/@b:c/[d]|^*+&/v1",
        "https://gw.example.com/é/日本/v1",
        "https://bücher.example.com/v1",
        "https://straße.example.com/v1",
        "https://b|c^d.example.com/v1",
    ],
)
def test_a_base_address_is_called_as_by_the_official_client(base: str) -> None:
    environ = {"BATCHSCORE_API_KEY": "k"}
    for task in TASKS:
        theirs = request_of(openai.OpenAI, task, "m", base_url=base, api_key="k")
        check_same(theirs, task, "m", environ, endpoint=base)
    query = {"tenant": "a b&c", "é": "1"}
    theirs = request_of(openai.OpenAI, "chat", "m", base_url=base, api_key="k", default_query=query)
    check_same(theirs, "chat", "m", environ, endpoint=base, query=query)


def test_a_whole_address_is_called_as_the_official_client_calls_its_parts() -> None:
    """Also if the surface would have another path, and with the host and path written in the same way."""
    base = "https://GW.example.com:443/llm%/é"
    theirs = request_of(openai.OpenAI, "chat", "m", base_url=base, api_key="k")
    check_same(theirs, "chat", "m", {"BATCHSCORE_API_KEY": "k"}, endpoint=f"{base}/chat/completions")


@pytest.mark.parametrize("host", ["my..openai.azure.com", "xn--a.de", f"{'a' * 64}.com", "1.2.3.4.5", ".com"])
def test_a_host_that_no_resolver_takes_is_reported(host: str) -> None:
    """The official client fails when it connects."""
    with pytest.raises(SettingsError, match="not a valid address"):
        resolve_target(
            endpoint_settings(model="m", endpoint=f"https://{host}/v1"), {"BATCHSCORE_API_KEY": "k"}
        )


@pytest.mark.parametrize("account", ["org\nid", "org\x01", "örg", "'org'"])
def test_an_account_that_no_header_can_hold_is_reported(account: str) -> None:
    for variable in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        environ = {"BATCHSCORE_API_KEY": "k", variable: account}
        with pytest.raises(SettingsError, match=f"^{variable} ") as caught:
            resolve_target(endpoint_settings(model="m", endpoint="https://h.example/v1"), environ)
        assert account not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["1.2.3.999", "999.1.1.1", "é&.com", "a..bücher.com", "xn--ü.com", "[::1%]", "bü\udc80.com"]
)
def test_a_host_that_the_official_client_does_not_read_is_reported(host: str) -> None:
    base = f"https://{host}/v1"
    with pytest.raises(SettingsError, match="not a valid address"):
        resolve_target(endpoint_settings(model="m", endpoint=base), {"BATCHSCORE_API_KEY": "k"})
    with pytest.raises(Exception, match=r"(?i)invalid|surrogates"):
        request_of(openai.OpenAI, "chat", "m", base_url=base, api_key="k")
