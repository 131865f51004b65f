"""Every source of an endpoint, with every source of a credential, to every kind of host: what is sent?"""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from batchscore.cli.settings_file import settings_file
from batchscore.endpoint.target import endpoints_of
from batchscore.errors import BatchscoreError
from batchscore.mlflow_model.resolve import resolve_settings
from batchscore.settings.config_file import config_file
from batchscore.settings.slices import EndpointSettings, cut
from batchscore.settings.trust import remember, trust_file
from credential_table import CREDENTIALS, ENDPOINTS, FILES, HOSTS, SENT_WITH

VAULT = "https://own.vault.azure.net/secrets/key"
MARK = "MARK"


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def gives(credential: str) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    """Return the flags, the variables and the keys of a file with which a credential is given."""
    if credential.endswith("by `key_variable`"):
        name = credential.split("`")[1]
        return {}, {name: MARK}, {"key_variable": name}
    if "by `" in credential:
        key, value = ("auth", "entra") if "Entra" in credential else ("api_key_from", VAULT)
        return ({}, {}, {key: value}) if "in the file" in credential else ({key: value}, {}, {})
    name = credential.strip("`")
    if name == "OPENAI_CUSTOM_HEADERS":
        return {"auth": "none"}, {name: f"X-Token: {MARK}"}, {}
    return {}, {name: MARK}, {}


def sent(monkeypatch: pytest.MonkeyPatch, endpoint: str, file: str, credential: str, url: str) -> bool:
    """Return whether the requests to `url` would carry the credential."""
    flags, variables, in_file = gives(credential)
    argument = "Python" in endpoint
    table = dict(in_file) if "key_variable" in in_file or endpoint.startswith("[[") else {}
    top = {key: value for key, value in in_file.items() if key not in table}
    if endpoint in {"--endpoint", "the Python argument endpoint"}:
        flags["endpoint"] = url
    elif endpoint == "the Python argument deployments":
        flags["deployments"] = [{"endpoint": url}]
    elif endpoint == "endpoint in the file":
        top["endpoint"] = url
    elif endpoint.startswith("[["):
        table["endpoint"] = url
    else:
        variables[endpoint] = url
    lines = [f'{key} = "{value}"' for key, value in top.items()]
    lines += ["[[deployments]]", *(f'{key} = "{value}"' for key, value in table.items())] if table else []
    Path("batchscore.toml").write_text("\n".join(lines), "utf-8")
    flags |= {"model": "m", "task": "chat", "output": "out", "column": "text"}
    if file.endswith("BATCHSCORE_CONFIG"):
        variables["BATCHSCORE_CONFIG"] = "batchscore.toml"
    trust_file(os.environ).unlink(missing_ok=True)
    if "trusted" in file and "not" not in file:
        remember(config_file(None, {}, here=True), trust_file(os.environ), "here")
    if "changed" in file:
        Path("batchscore.toml").write_text("\n".join(["# changed", *lines]), "utf-8")
    found, message = None, ""
    with monkeypatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        try:
            config = None
            if not argument:
                config = settings_file("batchscore.toml" if file.endswith("--config") else None, flags)
            resolved = resolve_settings(flags, environ=os.environ, config=config)
            (found,) = endpoints_of(cut(EndpointSettings, resolved.settings), os.environ, resolved.sources)
        except BatchscoreError as error:
            message = error.text
    if found is None:
        assert MARK not in message
        return False
    target = found.target
    assert target.url.startswith(url + "/")
    if "Entra" in credential:
        return target.auth == "entra" and target.key is None
    if "Vault" in credential:
        return target.key_from is not None and target.key_from.url == VAULT
    return MARK in (target.key, *target.headers.values())


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("credential", CREDENTIALS)
def test_a_credential_is_sent_where_the_table_says(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, credential: str
) -> None:
    conditions, of_file = CREDENTIALS[credential]
    uses_file = of_file or not ENDPOINTS[endpoint]
    if of_file and "Python" in endpoint:
        pytest.skip("the file is not read here, or the tables are in the argument")
    got, expected = {}, {}
    for (host, when), file in product(zip(HOSTS, conditions, strict=True), FILES if uses_file else [""]):
        got[host, file] = sent(monkeypatch, endpoint, file, credential, HOSTS[host])
        expected[host, file] = endpoint in SENT_WITH[when] and (not uses_file or FILES[file])
    assert got == expected
