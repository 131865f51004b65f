"""What Azure Resource Manager's objects mean; its calls are in tests/finetune/test_deploy.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchscore.errors import SettingsError
from batchscore.provider.arm import WRITE, account_of, deployed, next_page, permits
from batchscore.provider.batch_object import moment
from batchscore.provider.client import Unknown, only_ours

ID = "/subscriptions/0-1/resourceGroups/my.group/providers/Microsoft.CognitiveServices/accounts/name"


@pytest.mark.parametrize("given", [ID, ID.lower(), f" {ID}/ ", ID[1:]])
def test_the_id_of_a_resource(given: str) -> None:
    account = account_of(given)
    assert account.id == ID
    assert account.deployment_id("a b") == f"{ID}/deployments/a%20b"


@pytest.mark.parametrize(
    "given",
    [
        "",
        "name",
        ID + "/deployments/d",
        ID.replace("0-1", ".."),
        ID.replace("name", "../x"),
        f"{ID}?x=1",
        "https://x" + ID,
    ],
)
def test_what_is_not_the_id_of_a_resource(given: str) -> None:
    with pytest.raises(SettingsError, match="az cognitiveservices account show"):
        account_of(given)


@pytest.mark.parametrize(
    ("permission", "allowed"),
    [
        ({"actions": ["*"], "notActions": []}, True),
        ({"actions": ["Microsoft.CognitiveServices/*"]}, True),
        ({"actions": ["microsoft.cognitiveservices/accounts/deployments/write"]}, True),
        ({"actions": ["Microsoft.CognitiveServices/*/read"]}, False),
        ({"actions": ["*"], "notActions": ["Microsoft.CognitiveServices/accounts/deployments/*"]}, False),
        ({"actions": [], "dataActions": ["*"]}, False),
        ({"actions": ["*/read", "Microsoft.Authorization/*"], "notActions": None}, False),
        ({}, False),
    ],
)
def test_what_permissions_allow(permission: dict[str, Any], *, allowed: bool) -> None:
    assert permits(permission, WRITE) is allowed


def test_a_page_on_another_host_gets_no_token() -> None:
    base = "https://management.azure.com/"
    assert next_page("https://management.azure.com/a?api-version=1&$skip=2%203", base, "x") == (
        "/a",
        {"api-version": "1", "$skip": "2 3"},
    )
    for link in ("https://evil.example/a", "http://management.azure.com/a", "/a", "//evil.example/a"):
        with pytest.raises(Unknown, match="another host"):
            next_page(link, base, "x")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-29T12:00:00Z", 1795953600.0),
        ("2026-11-29T12:00:00.1234567Z", 1795953600.1234567),
        ("2026-11-29T12:00:00+01:00", 1795950000.0),
        ("2026-13-29T12:00:00Z", 0.0),
        ("soon", 0.0),
        ("", 0.0),
    ],
)
def test_times_are_read(text: str, seconds: float) -> None:
    assert (moment(text) or 0.0) == pytest.approx(seconds)


@pytest.mark.parametrize("found", ["<html>", None, [], {}, {"properties": {"model": 5}}, {"name": 7}])
def test_a_reply_that_is_not_a_deployment(found: Any) -> None:
    with pytest.raises(Unknown):
        deployed(found)


@pytest.mark.parametrize("inner", [None, 5, {}, {"model": "x", "provisioningState": 3}])
def test_a_deployment_with_odd_fields_is_read(inner: Any) -> None:
    made = deployed({"name": "d", "properties": inner, "sku": inner, "tags": inner, "systemData": inner})
    assert (made.name, made.state, made.model, made.created_at) == ("d", "", "", 0.0)
    assert json.dumps(made.tags) is not None


def test_no_header_of_the_environment_goes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK sends what OPENAI_CUSTOM_HEADERS holds with each call, wherever it goes."""
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "api-key: SECRET\nX-Ours: 1\nCookie: SECRET")
    found = only_ours({"x-ours": "2"})
    assert {name: value for name, value in found.items() if isinstance(value, str)} == {"x-ours": "2"}
    assert {"api-key", "Cookie", "OpenAI-Organization", "OpenAI-Project"} <= found.keys()
