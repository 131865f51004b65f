"""Every source of an endpoint, with every source of a credential, to every kind of host: what is sent?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from batchscore.cli.settings_file import settings_file
from batchscore.endpoint.target import Target, endpoints_of
from batchscore.errors import BatchscoreError
from batchscore.mlflow_model.resolve import resolve_settings
from batchscore.settings.config_file import config_file
from batchscore.settings.slices import EndpointSettings, cut
from batchscore.settings.trust import remember, trust_file
from certificates import write_certificate
from credential_table import CREDENTIALS, ENDPOINTS, FILES, HOSTS, SENT_WITH
from sampled import mostly_slow

#: Half of the hosts are left to the slow tests.
by_hosts = pytest.mark.parametrize(
    "hosts",
    [
        ("Azure OpenAI", "any other host"),
        pytest.param(("Azure ML endpoint", "api.openai.com"), marks=pytest.mark.slow),
    ],
    ids=["azure-and-others", "azure-ml-and-openai"],
)

#: An eighth of the pairs, in which each endpoint and each credential occurs, runs by default.
PAIRS = {
    (endpoint, credential): (row + column) % 8 == 0
    for row, endpoint in enumerate(ENDPOINTS)
    for column, credential in enumerate(CREDENTIALS)
}

VAULT = "https://own.vault.azure.net/secrets/key"
MARK = "MARK"


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    Path("client.pem").write_bytes(b"".join(path.read_bytes() for path in write_certificate(tmp_path)))


@dataclass
class Given:
    """What the user gives: flags (or arguments), variables, and the settings and the table of a file."""

    flags: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    table: dict[str, Any] = field(default_factory=dict)

    def add_credential(self, credential: str) -> None:
        name = credential.split("`")[1]
        by = credential.rpartition("by `")[2].partition("`")[0].lstrip("-").replace("-", "_")
        if by in {"header", "query", "key_header", "client_cert"}:
            self.variables[name] = MARK + name
            values = {"key_header": "api-key", "client_cert": "client.pem"}
            value = values.get(by, {"x-own": f"${name}"})
            (self.settings if "in the file" in credential else self.flags)[by] = value
        elif credential.endswith("by `key_variable`"):
            self.variables[name] = MARK + name
            self.table["key_variable"] = name
        elif "OPENAI_API_TYPE" in credential:
            self.variables["OPENAI_API_TYPE"] = "azure_ad"
        elif "by `" in credential:
            key, value = ("auth", "entra") if "Entra" in credential else ("api_key_from", VAULT)
            (self.settings if "in the file" in credential else self.flags)[key] = value
        elif name == "OPENAI_CUSTOM_HEADERS":
            self.variables[name] = f"X-Token: {MARK}{name}"
        else:
            self.variables[name] = MARK + name

    def add_endpoint(self, endpoint: str, url: str) -> None:
        if endpoint in {"--endpoint", "the Python argument endpoint"}:
            self.flags["endpoint"] = url
        elif endpoint == "the Python argument deployments":
            self.flags["deployments"] = [{"endpoint": url}]
        elif endpoint == "endpoint in the file":
            self.settings["endpoint"] = url
        elif endpoint == "[[deployments]] in the file":
            # The whole file is one table then, if that has such a key.
            self.table |= {"endpoint": url, **self.settings}
            self.settings = {}
        else:
            self.variables[endpoint] = url

    def write_file(self, file: str) -> None:
        if not file:
            return
        lines = [toml_line(key, value) for key, value in self.settings.items()]
        if self.table:
            lines += ["[[deployments]]", *(toml_line(key, value) for key, value in self.table.items())]
        Path("batchscore.toml").write_text("\n".join(lines), "utf-8")
        trust_file(os.environ).unlink(missing_ok=True)
        if file in {"./batchscore.toml, trusted", "./batchscore.toml, changed since it was trusted"}:
            remember(config_file(None, {}, here=True), trust_file(os.environ), "here")
        if "changed" in file:
            Path("batchscore.toml").write_text("\n".join(["# changed", *lines]), "utf-8")

    def target(self, monkeypatch: pytest.MonkeyPatch, file: str, *, python: bool) -> Target | None:
        """Return where requests would go, as the command line or a Python function finds it."""
        self.write_file(file)
        flags = {"model": "m", "task": "chat", "output": "out", "column": "text", **self.flags}
        variables: Mapping[str, str] = self.variables
        if file == "named in BATCHSCORE_CONFIG":
            variables = {**variables, "BATCHSCORE_CONFIG": "batchscore.toml"}
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            message = ""
            try:
                named = "batchscore.toml" if file == "named with --config" else None
                config = None if python else settings_file(named, flags)
                resolved = resolve_settings(flags, environ=os.environ, config=config)
                slice_ = cut(EndpointSettings, resolved.settings)
                (found,) = endpoints_of(slice_, os.environ, resolved.sources)
            except BatchscoreError as error:
                message = error.text
            else:
                return found.target
        assert MARK not in message
        return None


def toml_line(key: str, value: str | dict[str, str]) -> str:
    """Return a line of the file; values are texts or tables of texts."""
    inner = [toml_line(*pair) for pair in value.items()] if isinstance(value, dict) else []
    return f"{key} = {{ {', '.join(inner)} }}" if inner else f'{key} = "{value}"'


def carries(target: Target | None, credential: str) -> bool:
    """Return whether requests would carry the credential."""
    if target is None:
        return False
    if "Entra" in credential:
        return target.auth == "entra" and target.key is None
    if "Vault" in credential:
        return target.key_from is not None and target.key_from.url == VAULT
    if "certificate" in credential:
        return target.certificate is not None
    mark = MARK + credential.split("`")[1]
    if "key_header" in credential:
        return target.key == mark and target.key_headers == ("api-key",)
    return mark in (target.key, *target.headers.values(), *target.query.values())


def is_sent(credential: str, endpoint: str, host: str, file: str) -> bool:
    """Return what the table says; `file` is empty if none names the endpoint or the credential."""
    conditions, of_file = CREDENTIALS[credential]
    if of_file and "Python" in endpoint:
        # There a file is read only if the variable names it, and tables are in the argument.
        tables = "key_variable" in credential and endpoint.endswith("deployments")
        if file != "named in BATCHSCORE_CONFIG" or tables:
            return False
    condition = dict(zip(HOSTS, conditions, strict=True))[host]
    return endpoint in SENT_WITH[condition] and (not file or FILES[file])


@by_hosts
@mostly_slow("endpoint, credential", PAIRS, [pair for pair, by_default in PAIRS.items() if by_default])
def test_a_credential_is_sent_where_the_table_says(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, credential: str, hosts: tuple[str, ...]
) -> None:
    got, expected = {}, {}
    uses_file = CREDENTIALS[credential][1] or not ENDPOINTS[endpoint]
    for host, file in product(hosts, FILES if uses_file else [""]):
        given = Given()
        given.add_credential(credential)
        given.add_endpoint(endpoint, HOSTS[host])
        if any(word in credential for word in ("HEADERS", "header", "query", "certificate")):
            given.flags["auth"] = "key" if "key_header" in credential else "none"
        target = given.target(monkeypatch, file, python="Python" in endpoint)
        assert target is None or target.url.startswith(HOSTS[host] + "/")
        got[host, file] = carries(target, credential)
        expected[host, file] = is_sent(credential, endpoint, host, file)
    assert got == expected


@by_hosts
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_with_all_variables_set_no_other_credential_is_sent(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, hosts: tuple[str, ...]
) -> None:
    """A variable that does not belong to the host is not sent because another one is set, too."""
    variables = [name for name, (_, of_file) in CREDENTIALS.items() if name.startswith("`") and not of_file]
    for host, file in product(hosts, [""] if ENDPOINTS[endpoint] else FILES):
        for left_out in ("", "`BATCHSCORE_API_KEY`"):
            given = Given()
            for name in variables:
                if name != left_out:
                    given.add_credential(name)
            given.add_endpoint(endpoint, HOSTS[host])
            target = given.target(monkeypatch, file, python="Python" in endpoint)
            for name in variables:
                assert not carries(target, name) or is_sent(name, endpoint, host, file), (name, host, file)
