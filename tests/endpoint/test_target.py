"""Where a request goes: a table of environments, and the official client's requests for responses."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest

from batchscore import score_rows
from batchscore.endpoint.credentials import DEFAULT_SCOPE, credentials_for, scope_of
from batchscore.endpoint.describe import destination_text
from batchscore.endpoint.target import Endpoint, Target, endpoints_of, resolve_target
from batchscore.endpoint.url import PRECEDENCE
from batchscore.errors import BatchscoreError, SettingsError, UsageError
from batchscore.settings.declare import as_flag
from batchscore.task import RESPONSES
from endpoint_settings import endpoint_settings
from http_served import Handler, running

AZ = "https://res.openai.azure.com"
DATED = "2024-10-21"
#: A version that has responses.
NEWER = "2025-04-01-preview"
DEPLOYMENTS = f"{AZ}/openai/deployments/ada/embeddings?api-version={DATED}"
V1 = f"{AZ}/openai/v1/embeddings"
DOCS = Path(__file__).resolve().parents[2] / "docs" / "how-to"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("OPENAI_", "AZURE_", "BATCHSCORE_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def target(
    environ: dict[str, str] | None = None, origins: dict[str, str] | None = None, **settings: Any
) -> Target:
    given = endpoint_settings(**{"model": "ada", **settings})
    return resolve_target(given, environ or {}, origins)


# The two tables below are read across: a case a line where it fits.
# ruff: noqa: E501

# environment, settings, url, surface, auth, key
CASES: dict[str, tuple[dict[str, str], dict[str, str], str, str, str, str | None]] = {
    "today's Azure variables with a version": (
        {"AZURE_OPENAI_ENDPOINT": AZ + "/", "AZURE_OPENAI_API_KEY": "a", "OPENAI_API_VERSION": DATED},
        {}, DEPLOYMENTS, "azure-deployments", "key", "a",
    ),
    "today's Azure variables without a version": (
        {"AZURE_OPENAI_ENDPOINT": AZ, "AZURE_OPENAI_API_KEY": "a"}, {}, V1, "azure-v1", "key", "a",
    ),
    "an empty version is none": (
        {"AZURE_OPENAI_ENDPOINT": AZ, "AZURE_OPENAI_API_KEY": "a", "OPENAI_API_VERSION": " "},
        {}, V1, "azure-v1", "key", "a",
    ),
    "a v1 endpoint ignores a version left in the environment": (
        {"AZURE_OPENAI_ENDPOINT": AZ + "/openai/v1/", "AZURE_OPENAI_API_KEY": "a", "OPENAI_API_VERSION": DATED},
        {}, V1, "azure-v1", "key", "a",
    ),
    "v1 preview": (
        {"AZURE_OPENAI_API_KEY": "a"}, {"endpoint": AZ, "api_version": "preview"},
        V1 + "?api-version=preview", "azure-v1", "key", "a",
    ),
    "the SDK's ordinary client on Azure v1": (
        {"OPENAI_BASE_URL": AZ + "/openai/v1/", "OPENAI_API_KEY": "a"}, {}, V1, "azure-v1", "key", "a",
    ),
    "an endpoint that ends in /openai": (
        {"AZURE_OPENAI_API_KEY": "a"}, {"endpoint": AZ + "/openai/"}, V1, "azure-v1", "key", "a",
    ),
    "a whole address pasted from the portal": (
        {"AZURE_OPENAI_API_KEY": "a"},
        {"endpoint": f"{AZ}/openai/deployments/my%20ada/embeddings?api-version={DATED}", "model": "text-ada"},
        f"{AZ}/openai/deployments/my%20ada/embeddings?api-version={DATED}", "azure-deployments", "key", "a",
    ),
    "a flag wins over the version in a variable's address": (
        {"AZURE_OPENAI_ENDPOINT": f"{AZ}/openai/deployments/ada/embeddings?api-version=2023-05-15",
         "AZURE_OPENAI_API_KEY": "a"},
        {"api_version": DATED}, DEPLOYMENTS, "azure-deployments", "key", "a",
    ),
    "the old samples": (
        {"OPENAI_API_TYPE": "azure", "OPENAI_API_BASE": AZ, "OPENAI_API_VERSION": DATED,
         "OPENAI_API_KEY": "a", "OPENAI_DEPLOYMENT_NAME": "ada"},
        {"model": "text-embedding-ada-002"}, DEPLOYMENTS, "azure-deployments", "key", "a",
    ),
    "the old samples with an engine": (
        {"OPENAI_API_TYPE": "azure", "OPENAI_API_BASE": AZ, "OPENAI_API_VERSION": DATED,
         "OPENAI_API_KEY": "a", "OPENAI_ENGINE": "ada"},
        {"model": "x"}, DEPLOYMENTS, "azure-deployments", "key", "a",
    ),
    "the old samples with Entra ID": (
        {"OPENAI_API_TYPE": "azure_ad", "OPENAI_API_BASE": AZ, "OPENAI_API_VERSION": DATED},
        {}, DEPLOYMENTS, "azure-deployments", "entra", None,
    ),
    "the old samples with a token by hand": (
        {"OPENAI_API_TYPE": "azuread", "OPENAI_API_BASE": AZ, "OPENAI_API_VERSION": DATED,
         "OPENAI_API_KEY": "eyJx.y.z"},
        {}, DEPLOYMENTS, "azure-deployments", "entra", "eyJx.y.z",
    ),
    "a key beside azure_ad is not a token": (
        {"OPENAI_API_TYPE": "azuread", "OPENAI_API_BASE": AZ, "OPENAI_API_KEY": "a"},
        {}, V1, "azure-v1", "entra", None,
    ),
    "the old samples on a simulator": (
        {"OPENAI_API_TYPE": "azure", "OPENAI_API_BASE": "http://127.0.0.1:81", "OPENAI_API_VERSION": DATED,
         "OPENAI_API_KEY": "a"},
        {}, f"http://127.0.0.1:81/openai/deployments/ada/embeddings?api-version={DATED}",
        "azure-deployments", "key", "a",
    ),
    "a simulator with a version": (
        {}, {"endpoint": "http://127.0.0.1:81", "api_version": DATED},
        f"http://127.0.0.1:81/openai/deployments/ada/embeddings?api-version={DATED}",
        "azure-deployments", "none", None,
    ),
    "a simulator's v1": (
        {}, {"endpoint": "http://localhost:81/openai/v1"},
        "http://localhost:81/openai/v1/embeddings", "azure-v1", "none", None,
    ),
    "a local server with a version left in the environment": (
        {"OPENAI_API_VERSION": DATED}, {"endpoint": "http://localhost:81"},
        "http://localhost:81/v1/embeddings", "openai", "none", None,
    ),
    "a local server's /v1 with a type left in the environment": (
        {"OPENAI_API_TYPE": "azure"}, {"endpoint": "http://localhost:81/v1"},
        "http://localhost:81/v1/embeddings", "openai", "none", None,
    ),
    "a gateway before Azure": (
        {"BATCHSCORE_API_KEY": "g"}, {"endpoint": "https://gw.example.com/llm", "api_version": DATED},
        f"https://gw.example.com/llm/openai/deployments/ada/embeddings?api-version={DATED}",
        "azure-deployments", "key", "g",
    ),
    "a gateway in AZURE_OPENAI_ENDPOINT": (
        {"AZURE_OPENAI_ENDPOINT": "https://gw.example.com", "AZURE_OPENAI_API_KEY": "a"},
        {}, "https://gw.example.com/openai/v1/embeddings", "azure-v1", "key", "a",
    ),
    "a host of Foundry": (
        {"AZURE_OPENAI_API_KEY": "a"}, {"endpoint": "https://res.services.ai.azure.com"},
        "https://res.services.ai.azure.com/openai/v1/embeddings", "azure-v1", "key", "a",
    ),
    "a sovereign cloud": (
        {"AZURE_OPENAI_API_KEY": "a"}, {"endpoint": "https://res.openai.azure.us"},
        "https://res.openai.azure.us/openai/v1/embeddings", "azure-v1", "key", "a",
    ),
    "both families: Azure wins, with Azure's key": (
        {"AZURE_OPENAI_ENDPOINT": AZ, "AZURE_OPENAI_API_KEY": "a",
         "OPENAI_BASE_URL": "https://api.openai.com/v1", "OPENAI_API_KEY": "sk-o"},
        {}, V1, "azure-v1", "key", "a",
    ),
    "both families, the type says OpenAI": (
        {"AZURE_OPENAI_ENDPOINT": AZ, "AZURE_OPENAI_API_KEY": "a", "OPENAI_API_TYPE": "open_ai",
         "OPENAI_BASE_URL": "https://api.openai.com/v1", "OPENAI_API_KEY": "sk-o"},
        {}, "https://api.openai.com/v1/embeddings", "openai", "key", "sk-o",
    ),
    "both families, the flag says OpenAI": (
        {"AZURE_OPENAI_ENDPOINT": AZ, "AZURE_OPENAI_API_KEY": "a", "OPENAI_API_KEY": "sk-o"},
        {"endpoint": "https://api.openai.com"}, "https://api.openai.com/v1/embeddings", "openai", "key", "sk-o",
    ),
    "both keys, an Azure host in OpenAI's variable": (
        {"OPENAI_BASE_URL": AZ + "/openai/v1", "AZURE_OPENAI_API_KEY": "a", "OPENAI_API_KEY": "sk-o"},
        {}, V1, "azure-v1", "key", "a",
    ),
    "our own key wins": (
        {"BATCHSCORE_API_KEY": "b", "AZURE_OPENAI_API_KEY": "a", "AZURE_OPENAI_AD_TOKEN": "t"},
        {"endpoint": AZ}, V1, "azure-v1", "key", "b",
    ),
    "a token in the environment wins over the provider's key": (
        {"AZURE_OPENAI_API_KEY": "a", "AZURE_OPENAI_AD_TOKEN": "t"},
        {"endpoint": AZ}, V1, "azure-v1", "entra", "t",
    ),
    "Entra ID by flag": ({"AZURE_OPENAI_API_KEY": "a"}, {"endpoint": AZ, "auth": "entra"}, V1, "azure-v1", "entra", None),
    "the key by flag": (
        {"AZURE_OPENAI_API_KEY": "a", "AZURE_OPENAI_AD_TOKEN": "t"},
        {"endpoint": AZ, "auth": "key"}, V1, "azure-v1", "key", "a",
    ),
    "no key by flag": (
        {"AZURE_OPENAI_API_KEY": "a"}, {"endpoint": AZ, "auth": "none"}, V1, "azure-v1", "none", None,
    ),
    "a provider's key does not go to a host named by flag": (
        {"OPENAI_API_KEY": "sk-o", "AZURE_OPENAI_API_KEY": "a", "AZURE_OPENAI_AD_TOKEN": "t"},
        {"endpoint": "https://llm.example.com"}, "https://llm.example.com/v1/embeddings", "openai", "none", None,
    ),
    "but it goes to the host of its sister variable": (
        {"OPENAI_API_KEY": "sk-o", "OPENAI_BASE_URL": "https://llm.example.com:443/other"},
        {"endpoint": "https://llm.example.com/v1"}, "https://llm.example.com/v1/embeddings", "openai", "key", "sk-o",
    ),
    "our own key goes anywhere": (
        {"BATCHSCORE_API_KEY": "b"}, {"endpoint": "http://10.0.0.7:8000"},
        "http://10.0.0.7:8000/v1/embeddings", "openai", "key", "b",
    ),
    "a /openai/v1 that is not Azure's": (
        {"BATCHSCORE_API_KEY": "b"}, {"endpoint": "https://api.groq.com/openai/v1"},
        "https://api.groq.com/openai/v1/embeddings", "openai", "key", "b",
    ),
    "an Azure ML endpoint's scoring address": (
        {"BATCHSCORE_API_KEY": "b"}, {"endpoint": "https://e.westeurope.inference.ml.azure.com/score"},
        "https://e.westeurope.inference.ml.azure.com/v1/embeddings", "openai", "key", "b",
    ),
    "another path is kept": (
        {}, {"endpoint": "https://llm.example.com/api/v3/"},
        "https://llm.example.com/api/v3/embeddings", "openai", "none", None,
    ),
    "a region's host": (
        {"AZURE_OPENAI_API_KEY": "a"}, {"endpoint": "https://eastus.api.cognitive.microsoft.com/"},
        "https://eastus.api.cognitive.microsoft.com/openai/v1/embeddings", "azure-v1", "key", "a",
    ),
    "a region's host with a version": (
        {"AZURE_OPENAI_API_KEY": "a"},
        {"endpoint": "https://eastus.api.cognitive.microsoft.com", "api_version": DATED},
        f"https://eastus.api.cognitive.microsoft.com/openai/deployments/ada/embeddings?api-version={DATED}",
        "azure-deployments", "key", "a",
    ),
    "a region of the US government's cloud": (
        {"AZURE_OPENAI_API_KEY": "a"}, {"endpoint": "https://virginia.api.cognitive.microsoft.us"},
        "https://virginia.api.cognitive.microsoft.us/openai/v1/embeddings", "azure-v1", "key", "a",
    ),
    "a region of China's cloud": (
        {"AZURE_OPENAI_API_KEY": "a"}, {"endpoint": "https://chinaeast2.api.cognitive.azure.cn"},
        "https://chinaeast2.api.cognitive.azure.cn/openai/v1/embeddings", "azure-v1", "key", "a",
    ),
    "a host that only sounds like a region's": (
        {"AZURE_OPENAI_API_KEY": "a"}, {"endpoint": "https://eastus.api.cognitive.microsoft.com.example.org"},
        "https://eastus.api.cognitive.microsoft.com.example.org/v1/embeddings", "openai", "none", None,
    ),
    "a project of Foundry": (
        {"AZURE_OPENAI_API_KEY": "a"},
        {"endpoint": "https://r.services.ai.azure.com/api/projects/p/openai/v1", "task": "chat"},
        "https://r.services.ai.azure.com/api/projects/p/openai/v1/chat/completions", "azure-v1", "key", "a",
    ),
    "a project's address as the portal shows it": (
        {"AZURE_OPENAI_API_KEY": "a"}, {"endpoint": "https://r.services.ai.azure.com/api/projects/p", "task": "chat"},
        "https://r.services.ai.azure.com/api/projects/p/openai/v1/chat/completions", "azure-v1", "key", "a",
    ),
    "responses, as the portal shows the address": (
        {"AZURE_OPENAI_API_KEY": "a"}, {"endpoint": f"{AZ}/openai/responses?api-version={NEWER}", "task": "responses"},
        f"{AZ}/openai/responses?api-version={NEWER}", "azure-deployments", "key", "a",
    ),
    "responses, with a version of its own": (
        {"AZURE_OPENAI_API_KEY": "a"}, {"endpoint": AZ, "api_version": NEWER, "task": "responses"},
        f"{AZ}/openai/responses?api-version={NEWER}", "azure-deployments", "key", "a",
    ),
    "responses at a deployment's address": (
        {"AZURE_OPENAI_API_KEY": "a"},
        {"endpoint": f"{AZ}/openai/deployments/x?api-version={NEWER}", "task": "responses"},
        f"{AZ}/openai/responses?api-version={NEWER}", "azure-deployments", "key", "a",
    ),
    "responses on the v1 API, whatever the variable says": (
        {"AZURE_OPENAI_API_KEY": "a", "OPENAI_API_VERSION": DATED},
        {"endpoint": f"{AZ}/openai/v1/responses", "task": "responses"},
        f"{AZ}/openai/v1/responses", "azure-v1", "key", "a",
    ),
    "a variable's version before responses": (
        {"AZURE_OPENAI_API_KEY": "a", "OPENAI_API_VERSION": DATED}, {"endpoint": AZ, "task": "responses"},
        f"{AZ}/openai/v1/responses", "azure-v1", "key", "a",
    ),
    "a variable's version with responses": (
        {"AZURE_OPENAI_API_KEY": "a", "OPENAI_API_VERSION": NEWER}, {"endpoint": AZ, "task": "responses"},
        f"{AZ}/openai/responses?api-version={NEWER}", "azure-deployments", "key", "a",
    ),
    "responses of a Foundry project": (
        {"AZURE_OPENAI_API_KEY": "a"},
        {"endpoint": "https://r.services.ai.azure.com/api/projects/p", "task": "responses"},
        "https://r.services.ai.azure.com/api/projects/p/openai/v1/responses", "azure-v1", "key", "a",
    ),
    "Foundry's inference API, pasted whole": (
        {"AZURE_OPENAI_API_KEY": "a"},
        {"endpoint": "https://r.services.ai.azure.com/models/chat/completions?api-version=2024-05-01-preview",
         "task": "chat"},
        "https://r.services.ai.azure.com/models/chat/completions?api-version=2024-05-01-preview",
        "azure-deployments", "key", "a",
    ),
    "Databricks": (
        {"BATCHSCORE_API_KEY": "b"},
        {"endpoint": "https://adb-1.azuredatabricks.net/serving-endpoints/my-model/invocations", "task": "chat"},
        "https://adb-1.azuredatabricks.net/serving-endpoints/my-model/invocations", "openai", "key", "b",
    ),
    "Databricks, the base address": (
        {"BATCHSCORE_API_KEY": "b"},
        {"endpoint": "https://adb-1.azuredatabricks.net/serving-endpoints", "task": "chat"},
        "https://adb-1.azuredatabricks.net/serving-endpoints/chat/completions", "openai", "key", "b",
    ),
    "a server whose API is at /": (
        {}, {"endpoint": "http://localhost:81/embeddings"}, "http://localhost:81/embeddings", "openai", "none", None,
    ),
    "chat at /": (
        {}, {"endpoint": "http://localhost:81/chat/completions/", "task": "chat"},
        "http://localhost:81/chat/completions", "openai", "none", None,
    ),
    "the whole address of a server": (
        {}, {"endpoint": "http://localhost:81/v1/embeddings"}, "http://localhost:81/v1/embeddings", "openai", "none", None,
    ),
    "a gateway whose address names no deployment": (
        {"BATCHSCORE_API_KEY": "g"}, {"endpoint": f"https://gw.example.com/llm/embeddings?api-version={DATED}"},
        f"https://gw.example.com/llm/embeddings?api-version={DATED}", "azure-deployments", "key", "g",
    ),
    "a gateway's whole address and a version": (
        {"BATCHSCORE_API_KEY": "g"}, {"endpoint": "https://gw.example.com/v1/embeddings", "api_version": DATED},
        f"https://gw.example.com/v1/embeddings?api-version={DATED}", "azure-deployments", "key", "g",
    ),
    "a gateway that adds the version itself": (
        {"BATCHSCORE_API_KEY": "g"}, {"endpoint": "https://gw.example.com/openai/deployments/x/embeddings"},
        "https://gw.example.com/openai/deployments/x/embeddings", "azure-deployments", "key", "g",
    ),
    "another deployment than that of a variable's address": (
        {"AZURE_OPENAI_ENDPOINT": f"https://gw.example.com/openai/deployments/x/embeddings?api-version={DATED}",
         "AZURE_OPENAI_API_KEY": "a"},
        {"deployment": "y"},
        f"https://gw.example.com/openai/deployments/y/embeddings?api-version={DATED}",
        "azure-deployments", "key", "a",
    ),
    "OpenAI's host without /v1": (
        {"OPENAI_API_KEY": "k"}, {"endpoint": "https://api.openai.com/embeddings"},
        "https://api.openai.com/v1/embeddings", "openai", "key", "k",
    ),
    "Azure's host without /openai": (
        {"AZURE_OPENAI_API_KEY": "a"}, {"endpoint": AZ + "/embeddings"}, V1, "azure-v1", "key", "a",
    ),
    "a user and password": (
        {"BATCHSCORE_API_KEY": "me:pass word"}, {"endpoint": "https://gw.example.com", "auth": "basic"},
        "https://gw.example.com/v1/embeddings", "openai", "basic", "me:pass word",
    ),
    "a key in the clear, by permission": (
        {"BATCHSCORE_API_KEY": "b", "BATCHSCORE_ALLOW_PLAIN_HTTP": "1"}, {"endpoint": "http://llm.example.com"},
        "http://llm.example.com/v1/embeddings", "openai", "key", "b",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_an_environment_leads_to_its_target(case: str) -> None:
    environ, settings, url, surface, auth, key = CASES[case]
    found = target(environ, **settings)
    assert (found.url, found.surface, found.auth, found.key) == (url, surface, auth, key)
    assert found.key_headers == (
        ("api-key",) if surface == "azure-deployments" and auth == "key" else ("Authorization",)
    )


# environment, settings, error, words of the message
WRONG: dict[str, tuple[dict[str, str], dict[str, str], type[BatchscoreError], str]] = {
    "no endpoint": ({"OPENAI_API_KEY": "SECRET"}, {}, SettingsError, "simulate"),
    "no scheme": ({}, {"endpoint": "res.openai.azure.com"}, SettingsError, "https://"),
    "a key for an endpoint": ({"AZURE_OPENAI_ENDPOINT": "SECRET"}, {}, SettingsError, "AZURE_OPENAI_ENDPOINT"),
    "a space": ({}, {"endpoint": "https://SECRET .com"}, SettingsError, "space"),
    "an unexpanded variable": ({}, {"endpoint": "https://$NAME.com"}, SettingsError, "unexpanded"),
    "a placeholder": ({}, {"endpoint": "https://<name>.openai.azure.com"}, SettingsError, "placeholder"),
    "a user name": ({}, {"endpoint": "https://me:SECRET@h.com"}, SettingsError, "BATCHSCORE_API_KEY"),
    "another scheme": ({}, {"endpoint": "ftp://h.com"}, SettingsError, "ftp://"),
    "a port that is none": ({}, {"endpoint": "https://h.com:99999"}, SettingsError, "port"),
    "a bracket that does not close": ({}, {"endpoint": "https://[::1"}, SettingsError, "port"),
    "a host that no library reads": ({}, {"endpoint": "https://é&.com"}, SettingsError, "host"),
    "no host": ({}, {"endpoint": "https://"}, SettingsError, "no host"),
    "a key in the query": ({}, {"endpoint": "https://h.com/?code=SECRET"}, SettingsError, "api-version"),
    "quotes around a key": ({"BATCHSCORE_API_KEY": "'SECRET'"}, {"endpoint": "https://h.com"}, SettingsError, "has quotes"),
    "quotes around a token": (
        {"AZURE_OPENAI_AD_TOKEN": '"SECRET"'}, {"endpoint": AZ}, SettingsError, "AZURE_OPENAI_AD_TOKEN has quotes",
    ),
    "quotes around a password": (
        {"BATCHSCORE_API_KEY": '"me:SECRET"'}, {"endpoint": "https://h.com", "auth": "basic"}, SettingsError, "has quotes",
    ),
    "a password without a user": (
        {"BATCHSCORE_API_KEY": "SECRET"}, {"endpoint": "https://h.com", "auth": "basic"}, SettingsError, "user:password",
    ),
    "Entra ID at a region's host": (
        {}, {"endpoint": "https://eastus.api.cognitive.microsoft.com", "auth": "entra"}, SettingsError, "of a region",
    ),
    "a token in another header": (
        {}, {"endpoint": AZ, "auth": "entra", "key_header": "api-key"}, UsageError, "can only go into authorization",
    ),
    "a header of a name that is none": (
        {"BATCHSCORE_API_KEY": "SECRET"}, {"endpoint": AZ, "key_header": "x"}, UsageError, "key_header is 'x'",
    ),
    "a parameter in the query": ({}, {"endpoint": "https://h.com/v1?code=SECRET"}, SettingsError, "query={'NAME': 'VALUE'}"),
    "plain http to Azure": (
        {"AZURE_OPENAI_API_KEY": "SECRET"}, {"endpoint": "http://res.openai.azure.com"}, SettingsError, "https",
    ),
    "a key in the clear": (
        {"BATCHSCORE_API_KEY": "SECRET"}, {"endpoint": "http://h.com"}, SettingsError, "ALLOW_PLAIN_HTTP",
    ),
    "a token in the clear": ({}, {"endpoint": "http://h.com", "auth": "entra"}, SettingsError, "https"),
    "no key for Azure": ({"OPENAI_API_KEY": "SECRET"}, {"endpoint": AZ}, SettingsError, "OPENAI_API_KEY is set, but is not sent"),
    "no key for OpenAI": (
        {"AZURE_OPENAI_API_KEY": "SECRET"}, {"endpoint": "https://api.openai.com/v1"}, SettingsError, "OPENAI_API_KEY",
    ),
    "an Azure key by type is not for OpenAI": (
        {"OPENAI_API_TYPE": "azure", "OPENAI_API_KEY": "SECRET", "OPENAI_BASE_URL": "https://api.openai.com/v1"},
        {}, SettingsError, "is not sent to",
    ),
    "an OpenAI key by type is not for Azure": (
        {"OPENAI_API_TYPE": "open_ai", "OPENAI_API_KEY": "SECRET", "OPENAI_BASE_URL": AZ},
        {}, SettingsError, "is not sent to",
    ),
    "no key for Azure ML": ({}, {"endpoint": "https://e.x.inference.ml.azure.com"}, SettingsError, "entra"),
    "the key by flag, none set": ({}, {"endpoint": "http://localhost:81", "auth": "key"}, SettingsError, "No key"),
    "Entra ID at OpenAI": (
        {"OPENAI_API_KEY": "SECRET"}, {"endpoint": "https://api.openai.com", "auth": "entra"}, SettingsError, "key",
    ),
    "a key with a line break": (
        {"AZURE_OPENAI_API_KEY": "SEC\nRET"}, {"endpoint": AZ}, SettingsError, "AZURE_OPENAI_API_KEY",
    ),
    "an unknown way in": ({}, {"endpoint": AZ, "auth": "kerberos"}, UsageError, "kerberos"),
    "an unknown type": ({"OPENAI_API_TYPE": "bedrock"}, {"endpoint": AZ}, SettingsError, "bedrock"),
    "a dated version on v1": (
        {"AZURE_OPENAI_API_KEY": "SECRET"}, {"endpoint": AZ + "/openai/v1", "api_version": DATED},
        SettingsError, "no dated",
    ),
    "a version before responses": (
        {"AZURE_OPENAI_API_KEY": "SECRET"}, {"endpoint": AZ, "task": "responses", "api_version": DATED},
        SettingsError, f"api_version is {DATED}, but Azure has responses since 2025-03-01-preview",
    ),
    "a version at OpenAI": (
        {"OPENAI_API_KEY": "SECRET"}, {"endpoint": "https://api.openai.com/v1", "api_version": DATED},
        SettingsError, "no API versions",
    ),
    "a deployment's address without a version": (
        {"AZURE_OPENAI_API_KEY": "SECRET"}, {"endpoint": AZ + "/openai/deployments/x"}, SettingsError, "Set api_version",
    ),
    "two deployments": (
        {"AZURE_OPENAI_API_KEY": "SECRET"},
        {"endpoint": f"{AZ}/openai/deployments/x?api-version={DATED}", "deployment": "y"}, UsageError, "deployment is y",
    ),
    "two versions": (
        {"AZURE_OPENAI_API_KEY": "SECRET"},
        {"endpoint": f"{AZ}/openai/deployments/x?api-version={DATED}", "api_version": "2023-05-15"},
        UsageError, "api_version is 2023-05-15",
    ),
    "another task's address": (
        {"AZURE_OPENAI_API_KEY": "SECRET"}, {"endpoint": f"{AZ}/openai/v1/chat/completions"},
        SettingsError, "task is embeddings",
    ),
    "a project's address": (
        {"AZURE_OPENAI_API_KEY": "SECRET"}, {"endpoint": "https://r.services.ai.azure.com/api/projects/p"},
        SettingsError, "https://r.services.ai.azure.com alone",
    ),
    "a version at a /v1": ({}, {"endpoint": "http://localhost:81/v1", "api_version": DATED}, SettingsError, "version"),
    "no model": ({}, {"endpoint": "http://localhost:81", "model": ""}, SettingsError, "model"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_an_unusable_setting_is_reported_without_a_secret(case: str) -> None:
    environ, settings, error, words = WRONG[case]
    with pytest.raises(error) as caught:
        target(environ, **settings)
    assert words in str(caught.value)
    assert "SEC" not in str(caught.value)


GATEWAY = "https://gw.example.com"
KEYS = {"BATCHSCORE_API_KEY": "k", "BATCHSCORE_APIM_KEY": "SECRET"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"authorization": "Bearer k"}),
        ({"key_header": "api-key"}, {"api-key": "k"}),
        ({"key_header": "both"}, {"api-key": "k", "authorization": "Bearer k"}),
        ({"api_version": DATED}, {"api-key": "k"}),
        ({"api_version": DATED, "key_header": "authorization"}, {"authorization": "Bearer k"}),
        (
            {"header": {"X-Tenant": "${BATCHSCORE_APIM_KEY}a"}},
            {"authorization": "Bearer k", "x-tenant": "SECRETa"},
        ),
        ({"header": {"authorization": "Basic $BATCHSCORE_APIM_KEY"}}, {"authorization": "Basic SECRET"}),
        ({"header": {"Api-Key": "$BATCHSCORE_APIM_KEY"}}, {"authorization": "Bearer k", "api-key": "SECRET"}),
        ({"header": {"user-agent": "a"}, "auth": "none"}, {"user-agent": "a"}),
    ],
)
def test_the_key_and_other_headers_go_where_a_gateway_expects_them(
    settings: dict[str, Any], expected: dict[str, str]
) -> None:
    found = target(KEYS, endpoint=GATEWAY, **settings)
    signed = asyncio.run(credentials_for(found, {}).headers())
    sent = {name.lower(): value for name, value in {**found.headers, **signed}.items()}
    assert {name: sent[name] for name in expected} == expected
    assert {"api-key", "authorization"} & sent.keys() == {"api-key", "authorization"} & expected.keys()
    assert "SECRET" not in repr(found) + destination_text([Endpoint("n", found)], None)


def test_a_user_and_password_are_sent_in_base64() -> None:
    found = target({"BATCHSCORE_API_KEY": "Aladdin:open sesame"}, endpoint=GATEWAY, auth="basic")
    signed = asyncio.run(credentials_for(found, {}).headers())
    assert signed == {"Authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}  # RFC 7617, 2


def test_query_parameters_are_sent_and_never_shown() -> None:
    query = {"subscription-key": "$BATCHSCORE_APIM_KEY", "tenant": "a b"}
    found = target(KEYS, endpoint=GATEWAY, api_version=DATED, query=query)
    assert found.url == f"{GATEWAY}/openai/deployments/ada/embeddings?api-version={DATED}"
    assert found.request_url == found.url + "&subscription-key=SECRET&tenant=a+b"
    assert "SECRET" not in repr(found)
    text = destination_text([Endpoint("n", found)], None)
    assert "with the key in BATCHSCORE_API_KEY and the query parameters subscription-key, tenant." in text
    other = target(KEYS | {"BATCHSCORE_APIM_KEY": "OTHER"}, endpoint=GATEWAY, api_version=DATED, query=query)
    assert Endpoint("n", found).quota_name != Endpoint("n", other).quota_name


@pytest.mark.parametrize(
    ("environ", "settings", "words"),
    [
        (
            {},
            {"header": {"x": "$BATCHSCORE_APIM_KEY"}},
            "names the variable BATCHSCORE_APIM_KEY, which is not set",
        ),
        ({"BATCHSCORE_APIM_KEY": "'SECRET'"}, {"query": {"x": "$BATCHSCORE_APIM_KEY"}}, "has quotes around"),
        (
            {"BATCHSCORE_APIM_KEY": "SEC\nRET"},
            {"query": {"x": "$BATCHSCORE_APIM_KEY"}},
            "BATCHSCORE_APIM_KEY holds",
        ),
        (
            KEYS,
            {"header": {"Authorization": "SECRET"}, "auth": "key"},
            "header and auth both set Authorization",
        ),
        (KEYS, {"header": {"x": "a"}, "endpoint": "http://h.com", "auth": "none"}, "ALLOW_PLAIN_HTTP"),
        ({}, {"query": {"x": "a"}, "endpoint": "http://h.com"}, "ALLOW_PLAIN_HTTP"),
        ({}, {"client_cert": "missing.pem"}, "missing.pem cannot be read: No such file"),
        ({}, {"client_key_file": "key.pem"}, "client_key_file needs client_cert"),
    ],
)
def test_a_credential_of_a_gateway_that_cannot_be_sent_is_reported_without_it(
    environ: dict[str, str], settings: dict[str, Any], words: str
) -> None:
    with pytest.raises((SettingsError, UsageError)) as caught:
        target(environ, **{"endpoint": GATEWAY, **settings})
    assert words in str(caught.value)
    assert "SEC" not in str(caught.value)


def test_a_key_that_is_withheld_from_a_host_is_named_with_the_reason() -> None:
    environ = {
        "AZURE_OPENAI_API_KEY": "SECRET",
        "AZURE_OPENAI_AD_TOKEN": "SECRET",
        "OPENAI_API_KEY": "SECRET",
        "OPENAI_CUSTOM_HEADERS": "api-key: SECRET",
    }
    found = target(environ, endpoint=GATEWAY)
    assert found.unused_keys == (
        "AZURE_OPENAI_API_KEY and AZURE_OPENAI_AD_TOKEN are set, but are not sent to gw.example.com: only to "
        "Azure's hosts and the host in AZURE_OPENAI_ENDPOINT. OPENAI_API_KEY is set, but is not sent to "
        "gw.example.com: only to api.openai.com and the hosts in OPENAI_BASE_URL and OPENAI_API_BASE. "
        "api-key in OPENAI_CUSTOM_HEADERS is not sent: a key goes into "
        "BATCHSCORE_API_KEY (see \x02key_header\x03), other credentials into \x02header\x03."
    )
    names = "AZURE_OPENAI_API_KEY and AZURE_OPENAI_AD_TOKEN and OPENAI_API_KEY"
    assert f"with no key ({names} not sent to this host). " in destination_text([Endpoint("n", found)], None)
    chosen = target(environ, endpoint=GATEWAY, auth="none")
    assert "with no key. " in destination_text([Endpoint("n", chosen)], None)


def test_a_projects_token_is_for_its_own_scope() -> None:
    project = "https://r.services.ai.azure.com/api/projects/p/openai/v1/chat/completions"
    assert scope_of(project, {}) == "https://ai.azure.com/.default"
    assert scope_of(project.replace("azure", "azure.example"), {}) == DEFAULT_SCOPE
    assert scope_of("https://r.services.ai.azure.com/openai/v1", {}) == DEFAULT_SCOPE


def test_the_sources_that_won_are_named() -> None:
    found = target(
        {
            "OPENAI_API_TYPE": "azure",
            "OPENAI_API_BASE": AZ,
            "OPENAI_API_VERSION": DATED,
            "OPENAI_API_KEY": "a",
        },
        deployment="x",
        origins={"deployment": "batchscore.toml"},
    )
    assert found.sources == {
        "endpoint": "OPENAI_API_BASE",
        "api_version": "OPENAI_API_VERSION",
        "deployment": "batchscore.toml",
        "key": "OPENAI_API_KEY",
        "auth": "OPENAI_API_KEY",
    }


def test_a_target_never_shows_its_key_or_headers() -> None:
    found = target({"BATCHSCORE_API_KEY": "SECRET", "OPENAI_CUSTOM_HEADERS": "X-Token: SECRET"}, endpoint=AZ)
    assert found.key == found.headers["X-Token"] == "SECRET"
    assert "SECRET" not in f"{found!r} {found}"


def test_headers_name_batchscore_and_take_no_credential_from_custom_ones() -> None:
    found = target(
        {
            "OPENAI_API_KEY": "k",
            "OPENAI_ORG_ID": "org-1",
            "OPENAI_PROJECT_ID": "p-1",
            "OPENAI_CUSTOM_HEADERS": "X-A: 1: 2\naccept: text/plain\nAuthorization: no\napi-key: no\nnonsense",
        },
        endpoint="https://api.openai.com/v1",
    )
    headers = dict(found.headers)
    assert re.fullmatch(r"batchscore/\d\S+", headers.pop("User-Agent"))
    assert headers == {
        "Content-Type": "application/json",
        "OpenAI-Organization": "org-1",
        "OpenAI-Project": "p-1",
        "X-A": "1: 2",
        "accept": "text/plain",
    }


def test_a_broken_custom_header_is_an_error() -> None:
    with pytest.raises(SettingsError, match="OPENAI_CUSTOM_HEADERS"):
        target({"OPENAI_CUSTOM_HEADERS": "Bad Name: SECRET"}, endpoint="http://localhost:81")


def test_nothing_is_read_from_the_process_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the environment that is given counts, though the official client would look further."""
    for name, value in {
        "OPENAI_BASE_URL": "http://elsewhere",
        "AZURE_OPENAI_ENDPOINT": "http://elsewhere",
        "AZURE_OPENAI_AD_TOKEN": "no",
        "OPENAI_API_KEY": "no",
        "OPENAI_ORG_ID": "no",
        "OPENAI_PROJECT_ID": "no",
        "OPENAI_CUSTOM_HEADERS": "X-No: no",
        "OPENAI_API_VERSION": "no",
        "ALL_PROXY": "socks5://nowhere:1",
    }.items():
        monkeypatch.setenv(name, value)
    for settings in (
        {"endpoint": "http://localhost:81"},
        {"endpoint": "http://localhost:81", "api_version": DATED},
    ):
        found = target({}, **settings)
        assert "no" not in found.headers.values()
        assert found.url.startswith("http://localhost:81/")


class Recorder(ThreadingHTTPServer):
    """Answers every request like an embeddings or chat endpoint, and keeps what it was sent."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(Handler):
    server: Recorder

    def do_POST(self) -> None:
        body = json.loads(self.body())
        self.server.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        answer = {
            "object": "list",
            "id": "1",
            "created": 1,
            "model": "m",
            "data": [],
            "choices": [],
            "usage": usage,
        }
        if self.path.partition("?")[0].endswith("responses"):
            part = {"type": "output_text", "text": "x", "annotations": []}
            answer |= {"status": "completed", "output": [{"type": "message", "content": [part]}]}
        if self.path.partition("?")[0].endswith("embeddings"):
            answer["data"] = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
        self.reply_json(200, answer)


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    with running(Recorder()) as server:
        yield server


SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
ITEMS = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": [{"type": "input_text", "text": "x"}]},
]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {"input": "x"}),
        ({"system": "Be kind.", "max_tokens": 20}, {"input": "x", "instructions": "Be kind.", "max_output_tokens": 20}),
        ({"param": {"store": True}}, {"input": "x", "store": True}),
        ({"messages": json.dumps([ITEMS[0], {"role": "user", "content": "{text}"}])},
         {"input": [ITEMS[0], {"role": "user", "content": "x"}]}),
        ({"row": ITEMS, "system": "unused: the items have their own"}, {"input": ITEMS}),
        ({"row": ITEMS[1:], "system": "Be kind."}, {"input": ITEMS[1:], "instructions": "Be kind."}),
        (
            {"param": RESPONSES.answer_format("json_schema", {"name": "n", "schema": SCHEMA, "strict": True})},
            {"input": "x", "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}}},
        ),
        ({"param": {"reasoning": {"effort": "low"}}}, {"input": "x", "reasoning": {"effort": "low"}}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("base", ["/v1", "/openai/v1"])
def test_a_call_of_responses_sends_what_the_official_sdk_sends(
    recorder: Recorder,
    base: str,
    ours: dict[str, Any],
    theirs: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = f"http://127.0.0.1:{recorder.server_port}{base}"
    with openai.OpenAI(base_url=root, api_key="k") as client:
        client.responses.create(**{"model": "gpt-5", "store": False, **theirs})
    path, headers, body = recorder.seen[-1]
    monkeypatch.setenv("OPENAI_BASE_URL", root)
    monkeypatch.setenv("BATCHSCORE_API_KEY", "k")
    row = {"input": ours["row"]} if "row" in ours else {"text": "x"}
    settings = {name: value for name, value in ours.items() if name != "row"}
    (answer,) = score_rows([row], task="responses", model="gpt-5", **settings)
    assert (answer.value, answer.finish_reason) == ("x", "stop")
    our_path, our_headers, our_body = recorder.seen[-1]
    assert our_path == path
    assert our_body == body
    same = ("authorization", "content-type", "accept")
    assert {name: our_headers[name] for name in same} == {name: headers[name] for name in same}


def test_the_docs_list_the_sources_in_the_order_of_the_code() -> None:
    page = (DOCS / "endpoints.md").read_text(encoding="utf-8")
    for value, sources in PRECEDENCE.items():
        (row,) = re.findall(rf"^\| {value.replace('_', ' ')} \| (.*) \|$", page, re.MULTILINE)
        named = [as_flag(name) if name.isidentifier() and name.islower() else name for name in sources]
        assert [cell.replace("`", "").split(" (")[0] for cell in row.split("<br>")] == named


def _commands() -> list[tuple[dict[str, str], dict[str, str]]]:
    """Read the variables and flags out of every shell block of the docs."""
    found = []
    pages = "".join(
        (DOCS / name).read_text(encoding="utf-8") for name in ("endpoints.md", "local-servers.md")
    )
    for block in re.findall(r"```sh\n(.*?)```", pages, re.DOTALL):
        environ = dict(re.findall(r"^export (\w+)=(\S+)", block, re.MULTILINE))
        for command in re.findall(r"^batchscore score .*?[^\\]$", block, re.MULTILINE | re.DOTALL):
            flags = dict(re.findall(r"--([a-z-]+) ([^\s\\]+)", command))
            found.append((environ, flags))
    return found


@pytest.mark.parametrize(("environ", "flags"), _commands())
def test_every_command_of_the_docs_resolves(environ: dict[str, str], flags: dict[str, str]) -> None:
    known = {"endpoint", "api-version", "deployment", "auth", "api-key-from", "model", "task"}
    settings = {name.replace("-", "_"): value for name, value in flags.items() if name in known}
    found = target(environ, **settings)
    assert found.url.startswith(("https://", "http://localhost:"))


def test_the_docs_have_a_command_for_each_of_the_six() -> None:
    urls = " ".join(
        target(environ, endpoint=flags["endpoint"], api_version=flags.get("api-version")).url
        for environ, flags in _commands()
        if not flags.keys() & {"auth", "api-key-from"}
    )
    for part in ("openai/deployments/", "openai/v1/", "api.openai.com", "inference.ml.azure.com"):
        assert part in urls
    assert {"localhost:8000", "localhost:11434", "localhost:8080"} <= set(re.findall(r"localhost:\d+", urls))


def test_each_deployment_of_a_run_may_have_a_vault_of_its_own() -> None:
    table = {"endpoint": "https://a.openai.azure.com"}
    settings = endpoint_settings(
        model="m",
        api_key_from="https://all.vault.azure.net/secrets/a",
        deployments=(
            table,
            {**table, "api_key_from": "https://own.vault.azure.net/secrets/b"},
            {**table, "key_variable": "BATCHSCORE_MY_KEY"},
        ),
    )
    targets = [endpoint.target for endpoint in endpoints_of(settings, {"BATCHSCORE_MY_KEY": "k"}, None)]
    vaults = [target.key_from.url if target.key_from else target.key for target in targets]
    own = "https://own.vault.azure.net/secrets/b"
    assert vaults == ["https://all.vault.azure.net/secrets/a", own, "k"]
