"""The endpoints of a run, by its settings and its `[[deployments]]` tables."""

from __future__ import annotations

from batchscore.endpoint.from_settings import endpoints_of
from endpoint_settings import endpoint_settings


def test_each_deployment_of_a_run_may_have_a_vault_of_its_own() -> None:
    table = {"endpoint": "https://a.openai.azure.com"}
    settings = endpoint_settings(
        model="m",
        api_key_from="https://all.vault.azure.net/secrets/a",
        deployments=(
            table,
            {**table, "api_key_from": "https://own.vault.azure.net/secrets/b"},
            {**table, "key_variable": "MY_KEY"},
        ),
    )
    targets = [endpoint.target for endpoint in endpoints_of(settings, {"MY_KEY": "k"}, None)]
    vaults = [target.key_from.url if target.key_from else target.key for target in targets]
    own = "https://own.vault.azure.net/secrets/b"
    assert vaults == ["https://all.vault.azure.net/secrets/a", own, "k"]
