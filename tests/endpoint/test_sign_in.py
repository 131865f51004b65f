"""Whole runs that sign in by Entra ID, or with a Key Vault's key: through azure-identity, on loopback."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchscore.endpoint.credentials import DEFAULT_SCOPE, fetch_token
from batchscore.endpoint.from_settings import endpoints_of
from batchscore.endpoint.key_vault import read_key, vault_secret
from batchscore.endpoint.sign_in_errors import ADVICE, sign_in_failure
from batchscore.errors import ServiceRefused, SettingsError
from batchscore.settings.fields import Settings
from batchscore.settings.slices import EndpointSettings, cut
from cloud import Cloud

if TYPE_CHECKING:
    from conftest import Cli, Files

CLIENT_ID = "11111111-2222-3333-4444-555555555555"


def ways_in(cloud: Cloud) -> Mapping[str, dict[str, str]]:
    """Give the variables with which each host of Azure tells where its tokens are."""
    return {
        "azureml": {"MSI_ENDPOINT": f"{cloud.url}/msi", "MSI_SECRET": "s3"},
        "app-service": {"IDENTITY_ENDPOINT": f"{cloud.url}/app", "IDENTITY_HEADER": "s3"},
        "imds": {"AZURE_POD_IDENTITY_AUTHORITY_HOST": cloud.url},
    }


def alone(folder: Path) -> dict[str, str | None]:
    """Give variables under which no login of whoever runs the tests is found, and no other service."""
    (folder / "home").mkdir(exist_ok=True)
    (folder / "bin").mkdir(exist_ok=True)
    return {
        "PATH": str(folder / "bin"),
        "HOME": str(folder / "home"),
        # Port 9 refuses at once; the real one would be waited for.
        "AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:9",
        "OPENAI_API_KEY": None,
        "OPENAI_BASE_URL": None,
    }


def score(cloud: Cloud, *more: str) -> list[str]:
    words = "score in -o out --task embeddings -m m --column text --api-version 2024-10-21 --quiet --json"
    return [*words.split(), "--endpoint", cloud.url, *more]


def azure_cli(folder: Path, *lines: str) -> None:
    """Put an `az` on the path that prints these lines of shell."""
    program = folder / "bin" / "az"
    program.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    program.chmod(0o755)


@pytest.mark.parametrize("way", ["azureml", "app-service", "imds"])
def test_a_run_signs_in_as_the_machine(
    batchscore: Cli, files: Files, cloud: Cloud, tmp_path: Path, way: str
) -> None:
    files.texts("in/a.csv", ["one", "two"])
    named = {"DEFAULT_IDENTITY_CLIENT_ID": CLIENT_ID}
    run = batchscore(
        *score(cloud, "--auth", "entra"), env={**alone(tmp_path), **ways_in(cloud)[way], **named}
    )
    assert run.exit_code == 0, run.said
    assert [(token.protocol, token.client_id) for token in cloud.tokens] == [(way, CLIENT_ID)]
    assert "T0KEN" not in run.said + "".join(path.read_text() for path in Path("out").rglob("*.json*"))


def test_a_laptop_signs_in_by_az_login(batchscore: Cli, files: Files, cloud: Cloud, tmp_path: Path) -> None:
    files.texts("in/a.csv", ["one", "two"])
    environ = alone(tmp_path)
    token = cloud.issue("az", "https://cognitiveservices.azure.com")
    answer = {
        "accessToken": token.text,
        "expiresOn": "2099-01-01 00:00:00.000000",
        "expires_on": token.expires_on,
        "tokenType": "Bearer",
    }
    azure_cli(tmp_path, f"echo '{json.dumps(answer)}'")
    run = batchscore(*score(cloud, "--auth", "entra"), env={**environ, "PATH": f"{tmp_path}/bin:/bin"})
    assert run.exit_code == 0, run.said
    assert cloud.answered == 1


def expiring(
    batchscore: Cli, files: Files, cloud: Cloud, environ: Mapping[str, str | None], seconds: int
) -> None:
    """Run at 50 requests a second for so long; no request is refused, and no token asked for too soon."""
    rows = 50 * seconds * 4
    files.texts("in/a.csv", [f"text {number}" for number in range(rows)])
    pace = ["--auth", "entra", "--rpm", "3000", "--batch-size", "4"]
    with batchscore.start(*score(cloud, *pace), env=environ) as process:
        run = process.finish(timeout_s=30 + 2 * seconds)
    assert run.exit_code == 0, run.said
    assert run.report["ok"] == rows
    assert cloud.rejected == 0
    assert cloud.each_token_served_its_life("azureml")
    assert len(cloud.tokens) > seconds // cloud.life_seconds


@pytest.mark.slow
def test_tokens_of_seconds_are_renewed_under_load(
    batchscore: Cli, files: Files, cloud: Cloud, tmp_path: Path
) -> None:
    cloud.life_seconds = 4
    expiring(batchscore, files, cloud, {**alone(tmp_path), **ways_in(cloud)["azureml"]}, seconds=6)


@pytest.mark.slow
def test_tokens_of_five_seconds_over_many_lives(
    batchscore: Cli, files: Files, cloud: Cloud, tmp_path: Path
) -> None:
    cloud.life_seconds = 5
    expiring(batchscore, files, cloud, {**alone(tmp_path), **ways_in(cloud)["azureml"]}, seconds=90)


def test_a_key_comes_from_the_vault_and_is_never_shown(
    batchscore: Cli, files: Files, cloud: Cloud, tmp_path: Path
) -> None:
    files.texts("in/a.csv", ["one", "two"])
    environ = {**alone(tmp_path), **ways_in(cloud)["azureml"]}
    run = batchscore(*score(cloud, "--api-key-from", f"{cloud.url}/secrets/openai"), env=environ)
    assert run.exit_code == 0, run.said
    assert [token.resource for token in cloud.tokens] == ["https://vault.azure.net"]
    assert cloud.secrets_read == 1
    written = "".join(path.read_text() for path in Path("out").rglob("*.json*"))
    assert cloud.key not in run.said + written
    assert "T0KEN" not in run.said + written


@pytest.mark.slow
def test_a_key_that_is_rotated_during_a_run_is_read_again(
    batchscore: Cli, files: Files, cloud: Cloud, tmp_path: Path
) -> None:
    files.texts("in/a.csv", [f"text {number}" for number in range(200)])
    cloud.exchange_key_after = 20
    environ = {
        **alone(tmp_path),
        **ways_in(cloud)["azureml"],
        "BATCHSCORE_API_KEY_FROM": f"{cloud.url}/secrets/openai",
    }
    run = batchscore(*score(cloud, "--batch-size", "2", "--max-concurrency", "4"), env=environ)
    assert run.exit_code == 0, run.said
    assert run.report["ok"] == 200
    assert cloud.rejected > 0
    assert cloud.secrets_read == 2


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (403, {"code": "Forbidden", "message": "HUSH"}, "Key Vault Secrets User"),
        (403, {"innererror": {"code": "SecretDisabled"}, "message": "HUSH"}, "is disabled"),
        (403, {"innererror": {"code": "ForbiddenByFirewall"}}, "firewall does not admit"),
        (404, {"code": "SecretNotFound"}, "the vault has no such secret"),
        (401, {}, "vault's tenant"),
    ],
)
def test_a_vault_that_refuses_says_what_to_do(cloud: Cloud, status: int, error: object, said: str) -> None:
    cloud.vault_status, cloud.vault_body = status, {"error": error}
    secret = vault_secret(f"{cloud.url}/secrets/openai", source="api_key_from")
    with pytest.raises(ServiceRefused) as caught:
        read_key(secret, lambda _: "T0KEN")
    message = str(caught.value)
    assert message.startswith(f"The key could not be read from {secret.url} ({status}): ")
    assert said in message
    assert "HUSH" not in message
    assert "T0KEN" not in message


@pytest.mark.slow
def test_a_vault_that_does_not_respond_is_reported() -> None:
    secret = vault_secret("http://127.0.0.1:9/secrets/openai", source="api_key_from")
    with pytest.raises(ServiceRefused, match="the vault does not respond"):
        read_key(secret, lambda _: "T0KEN")


@pytest.mark.parametrize("value", ["", "two words", "two\nlines"])
def test_a_secret_that_is_not_a_key_is_reported(cloud: Cloud, value: str) -> None:
    cloud.key = value
    token = cloud.issue("by hand", "https://vault.azure.net")
    secret = vault_secret(f"{cloud.url}/secrets/openai", source="api_key_from")
    with pytest.raises(ServiceRefused, match="does not hold a key"):
        read_key(secret, lambda _: token.text)


def test_a_run_without_its_key_sends_no_request(
    batchscore: Cli, files: Files, cloud: Cloud, tmp_path: Path
) -> None:
    files.texts("in/a.csv", ["one"])
    cloud.vault_status = 403
    environ = {**alone(tmp_path), **ways_in(cloud)["azureml"]}
    run = batchscore(*score(cloud, "--api-key-from", f"{cloud.url}/secrets/openai"), env=environ)
    assert run.exit_code == 1
    assert "Key Vault Secrets User" in run.said
    assert cloud.answered + cloud.rejected == 0


@pytest.mark.parametrize(
    "text",
    [
        "my-key-itself",
        "https://vault.azure.net.example.com/secrets/a",
        "http://v.vault.azure.net/secrets/a",
        "https://v.vault.azure.net/keys/a",
        "https://v.vault.azure.net/secrets/a?x=1",
        "https://me:pw@v.vault.azure.net/secrets/a",
        "https://[/secrets/a",
    ],
)
def test_another_address_than_a_vault_secrets_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(SettingsError, match="is not the address of a Key Vault secret") as caught:
        vault_secret(text, source="api_key_from")
    assert text not in str(caught.value)


def test_each_cloud_has_its_vaults() -> None:
    version = "0123456789abcdef0123456789abcdef"
    secret = vault_secret(f"https://v.vault.azure.cn/secrets/a-b/{version}/", source="x")
    assert secret.url == f"https://v.vault.azure.cn/secrets/a-b/{version}"
    assert secret.scope == "https://vault.azure.cn/.default"


def test_each_deployment_of_a_run_may_have_a_vault_of_its_own() -> None:
    table = {"endpoint": "https://a.openai.azure.com"}
    settings = Settings(
        task="chat",
        model="m",
        output="out",
        column="text",
        api_key_from="https://all.vault.azure.net/secrets/a",
        deployments=(
            table,
            {**table, "api_key_from": "https://own.vault.azure.net/secrets/b"},
            {**table, "key_variable": "MY_KEY"},
        ),
    )
    targets = [
        endpoint.target for endpoint in endpoints_of(cut(EndpointSettings, settings), {"MY_KEY": "k"}, None)
    ]
    vaults = [target.key_from.url if target.key_from else target.key for target in targets]
    own = "https://own.vault.azure.net/secrets/b"
    assert vaults == ["https://all.vault.azure.net/secrets/a", own, "k"]


def test_a_vault_and_another_way_to_sign_in_contradict_each_other(batchscore: Cli, files: Files) -> None:
    files.texts("in/a.csv", ["one"])
    words = "score in -o out --task embeddings -m m --column text --endpoint https://r.openai.azure.com"
    vault = ["--api-key-from", "https://v.vault.azure.net/secrets/a"]
    run = batchscore(*words.split(), *vault, "--auth", "entra")
    assert run.exit_code == 2
    assert "--api-key-from names a key, but --auth is entra" in run.said


def refusal(monkeypatch: pytest.MonkeyPatch, environ: Mapping[str, str | None]) -> str:
    """Give what is said where no token can be had."""
    for name, value in environ.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    with pytest.raises(ServiceRefused) as caught:
        fetch_token(DEFAULT_SCOPE)
    message = str(caught.value)
    assert message.startswith(f"No Entra ID token for {DEFAULT_SCOPE}")
    assert "\n" not in message
    assert "HUSH" not in message
    return message


@pytest.mark.slow
def test_each_way_to_fail_has_its_own_advice(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environ = alone(tmp_path)
    assert "run az login, or set a service principal" in refusal(monkeypatch, environ).lower()

    azure_cli(tmp_path, "echo 'ERROR: AADSTS700082: HUSH, the refresh token has expired.' >&2", "exit 1")
    expired = refusal(monkeypatch, {"PATH": f"{tmp_path}/bin:/bin"})
    assert "run az login again" in expired
    assert "AADSTS700082" in expired

    (tmp_path / "bin" / "az").unlink()
    cloud.refuse_tokens = 400
    machine = refusal(monkeypatch, {**environ, **ways_in(cloud)["azureml"]})
    assert "identity service (MSI_ENDPOINT) gave no token" in machine
    assert "az login" not in machine
    wrong = refusal(monkeypatch, {"DEFAULT_IDENTITY_CLIENT_ID": CLIENT_ID})
    assert "DEFAULT_IDENTITY_CLIENT_ID must be the client id" in wrong
    nobody = refusal(monkeypatch, {"MSI_ENDPOINT": "http://127.0.0.1:9/msi"})
    assert "MSI_ENDPOINT" in nobody


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
