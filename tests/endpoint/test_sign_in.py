"""Whole runs that sign in by Entra ID, or with a Key Vault's key: through azure-identity, on loopback."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchscore.endpoint.credentials import DEFAULT_SCOPE, fetch_token
from batchscore.errors import ServiceRefused
from cloud import Cloud
from sampled import mostly_slow

if TYPE_CHECKING:
    from conftest import Cli, Files

pytestmark = pytest.mark.process

CLIENT_ID = "11111111-2222-3333-4444-555555555555"


def ways_in(cloud: Cloud) -> Mapping[str, dict[str, str]]:
    """Return the variables with which each Azure host says where its tokens are."""
    return {
        "azureml": {"MSI_ENDPOINT": f"{cloud.url}/msi", "MSI_SECRET": "s3"},
        "app-service": {"IDENTITY_ENDPOINT": f"{cloud.url}/app", "IDENTITY_HEADER": "s3"},
        "imds": {"AZURE_POD_IDENTITY_AUTHORITY_HOST": cloud.url},
    }


def alone(folder: Path) -> dict[str, str | None]:
    """Return variables that hide the developer's own login and all other services."""
    (folder / "home").mkdir(exist_ok=True)
    (folder / "bin").mkdir(exist_ok=True)
    return {
        "PATH": str(folder / "bin"),
        "HOME": str(folder / "home"),
        # Port 9 refuses at once; the real address would time out.
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


@mostly_slow("way", ["azureml", "app-service", "imds"], ["imds"])
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


@pytest.mark.slow
@pytest.mark.parametrize(("life", "seconds"), [(4, 6), (5, 90)], ids=["4 seconds", "5 seconds, many lives"])
def test_tokens_of_seconds_are_renewed_under_load(
    life: int, seconds: int, batchscore: Cli, files: Files, cloud: Cloud, tmp_path: Path
) -> None:
    """Run at 50 requests per second; no request is refused, and no token is fetched too early."""
    cloud.life_seconds = life
    environ = {**alone(tmp_path), **ways_in(cloud)["azureml"]}
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


def test_a_vault_and_another_way_to_sign_in_contradict_each_other(batchscore: Cli, files: Files) -> None:
    files.texts("in/a.csv", ["one"])
    words = "score in -o out --task embeddings -m m --column text --endpoint https://r.openai.azure.com"
    vault = ["--api-key-from", "https://v.vault.azure.net/secrets/a"]
    run = batchscore(*words.split(), *vault, "--auth", "entra")
    assert run.exit_code == 2
    assert "--api-key-from names a key, but --auth is entra" in run.said


def refusal(monkeypatch: pytest.MonkeyPatch, environ: Mapping[str, str | None]) -> str:
    """Return the message if no token can be fetched."""
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
