"""Reading a key from a Key Vault: addresses that are accepted, and the vault's refusals."""

from __future__ import annotations

import pytest

from batchscore.endpoint.key_vault import read_key, vault_secret
from batchscore.errors import ServiceRefused, SettingsError
from cloud import Cloud


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


def test_no_redirect_moves_the_token_to_another_host(cloud: Cloud) -> None:
    cloud.vault_status = 302
    secret = vault_secret(f"{cloud.url}/secrets/openai", source="api_key_from")
    with pytest.raises(ServiceRefused, match=r"\(302\)"):
        read_key(secret, lambda _: "T0KEN")
    assert cloud.secrets_read == 1


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


@pytest.mark.parametrize(
    "text",
    [
        "my-key-itself",
        "https://vault.azure.net.example.com/secrets/a",
        "http://v.vault.azure.net/secrets/a",
        "https://v.vault.azure.net/keys/a",
        "https://v.vault.azure.net/secrets/a?x=1",
        "https://me:pw@v.vault.azure.net/secrets/a",
        "https://:pw@v.vault.azure.net/secrets/a",
        # Libraries disagree on where these hosts end.
        "https://evil.example\\.vault.azure.net/secrets/a",
        "https://evil.example%2f.vault.azure.net/secrets/a",
        "https://evil.example;.vault.azure.net/secrets/a",
        "https://[/secrets/a",
    ],
)
def test_another_address_than_a_vault_secrets_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(SettingsError, match="is not the address of a Key Vault secret") as caught:
        vault_secret(text, source="api_key_from")
    assert text not in str(caught.value)


def test_an_emulator_is_accepted_only_where_the_caller_says() -> None:
    assert vault_secret("http://127.0.0.1:9/secrets/a", source="x").url == "http://127.0.0.1:9/secrets/a"
    with pytest.raises(SettingsError, match="is not the address"):
        vault_secret("http://127.0.0.1:9/secrets/a", source="x", emulator=False)


def test_each_cloud_has_its_vaults() -> None:
    version = "0123456789abcdef0123456789abcdef"
    secret = vault_secret(f"https://v.vault.azure.cn/secrets/a-b/{version}/", source="x")
    assert secret.url == f"https://v.vault.azure.cn/secrets/a-b/{version}"
    assert secret.scope == "https://vault.azure.cn/.default"
