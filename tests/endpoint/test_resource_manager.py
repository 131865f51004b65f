"""Which hosts may get a token of Azure Resource Manager."""

from __future__ import annotations

import pytest

from batchscore.endpoint.resource_manager import resource_manager
from batchscore.errors import SettingsError

PUBLIC = "https://management.azure.com"
AZURE = "name.openai.azure.com"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (AZURE, PUBLIC),
        ("gateway.example.com", PUBLIC),
        ("name.openai.azure.us", "https://management.usgovcloudapi.net"),
        ("name.openai.azure.cn", "https://management.chinacloudapi.cn"),
    ],
)
def test_each_cloud_has_its_own(host: str, expected: str) -> None:
    found = resource_manager(None, host, {})
    assert found.url == expected
    assert found.scope == f"{expected}/.default"


@pytest.mark.parametrize(
    "given", ["http://127.0.0.1:8123", "http://localhost:1", "https://[::1]:9", "http://127.0.0.1:8123/"]
)
def test_a_simulator_is_named(given: str) -> None:
    found = resource_manager(given, "127.0.0.1", {})
    assert found.url == given.rstrip("/")
    assert found.scope == f"{PUBLIC}/.default"


def test_the_real_one_is_never_asked_about_a_simulator() -> None:
    with pytest.raises(SettingsError, match="--arm-endpoint"):
        resource_manager(None, "127.0.0.1", {})


@pytest.mark.parametrize(
    "given",
    [
        "http://management.azure.com",
        "https://management.azure.com.evil.example",
        "https://evil.example/management.azure.com",
        "https://management.azure.com@evil.example",
        "https://evil.example\\@management.azure.com",
        "https://management.azure.com/x",
        "https://management.azure.com?x=1",
        "https://localhost.evil.example",
        "ftp://management.azure.com",
        "management.azure.com",
        "https://management.azure.com:0",
        "https://[::1",
        "eyJhbGciOi.J9.e30",
    ],
)
def test_no_token_for_other_hosts(given: str) -> None:
    with pytest.raises(SettingsError) as caught:
        resource_manager(given, AZURE, {})
    assert "eyJ" not in str(caught.value)


def test_a_host_that_the_user_trusts() -> None:
    environ = {"BATCHSCORE_TRUSTED_HOSTS": "a.example, proxy.example"}
    assert resource_manager("https://proxy.example", AZURE, environ).url == "https://proxy.example"
    with pytest.raises(SettingsError, match="unencrypted"):
        resource_manager("http://proxy.example", AZURE, environ)
