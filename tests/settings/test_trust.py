"""What of an implicit settings file needs trust, and where trust is kept."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from batchscore.errors import SettingsError, UsageError
from batchscore.settings.arguments import StoredSettings
from batchscore.settings.config_file import ConfigFile, config_file
from batchscore.settings.fields import Settings
from batchscore.settings.sources import NEED_TRUST, gather
from batchscore.settings.trust import is_trusted, remember, settings_to_trust, trust_file

FILE = ConfigFile(digest="a" * 64, is_implicit=True)


def decisive(settings: dict[str, Any], flags: dict[str, Any] | None = None, **file: Any) -> set[str]:
    found = ConfigFile(settings=settings, **{"digest": "a" * 64, "is_implicit": True, **file})
    return set(settings_to_trust(*gather(flags or {}, environ={}, file=found), found))


def image(url: str) -> str:
    content = [
        {"type": "text", "text": "See https://b.example"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    return json.dumps([{"role": "user", "content": content}])


def test_messages_in_a_file_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(image("https://a.example/?q={text}"))
    assert decisive({"messages": str(tmp_path / "m.json")}) == {"messages"}


@pytest.mark.parametrize(
    ("items", "found"),
    [
        ([{"role": "user", "content": [{"type": "input_image", "image_url": "https://a.example"}]}], True),
        ([{"role": "user", "content": [{"type": "input_file", "file_url": "https://a.example/{id}"}]}], True),
        ([{"type": "computer_call_output", "output": {"image_url": "https://a.example"}}], True),
        ([{"type": "item_reference", "id": "{id}"}], False),
        ([{"role": "user", "content": [{"type": "input_text", "text": "See https://b.example"}]}], False),
    ],
)
def test_items_of_responses_in_a_file_are_looked_at(items: list[Any], *, found: bool) -> None:
    assert decisive({"messages": json.dumps(items)}) == ({"messages"} if found else set())


def test_every_setting_of_the_endpoint_is_decided_on() -> None:
    """A new setting of this group must be one of either."""
    scoring = {"deployment", "simulate"}
    of_endpoint = {
        name for name, one in Settings.__dataclass_fields__.items() if one.metadata["group"] == "Endpoint"
    }
    assert of_endpoint == NEED_TRUST | scoring
    # A saved model sets none of them.
    assert not NEED_TRUST & StoredSettings.__annotations__.keys()


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"task": "chat", "model": "m", "deployment": "d", "column": "c", "rpm": 3}, set()),
        (
            {
                "output": "scores",
                "prices": "prices.toml",
                "messages": "m.json",
                "prompt": "Is https://{a} ok?",
            },
            set(),
        ),
        ({"output": "abfss://c@a.dfs.core.windows.net/x"}, {"output"}),
        ({"param": {"temperature": 0, "response_format": {"$schema": "https://json-schema.org/x"}}}, set()),
        ({"param": {"tools": [{"type": "mcp", "server_url": "https://a.example"}]}}, {"param.tools"}),
        ({"param": {"data_sources": [{"environment": "a"}]}}, {"param.data_sources"}),
        ({"param": {"x": {"dataSources": [{}]}}}, {"param.x"}),
        ({"param": {"tools": [{"server_url": "//a.example"}, {"x": "https:a.example"}]}}, {"param.tools"}),
        ({"param": {"tools": [{"type": "mcp", "server_url": "evil.invalid/x"}]}}, {"param.tools"}),
        ({"param": {"tools": [{"type": "mcp", "connector_id": "connector_a"}]}}, {"param.tools"}),
        *(
            ({"param": {"x": {"y": [{key: value}]}}}, {"param.x"})
            for key, value in [
                ("callback", "a"),
                ("baseURL", "a"),
                ("Webhook", {"to": ["a"]}),
                ("request_uri", "a"),
                ("z", "evil.invalid:80/a"),
                ("z", "see evil.invalid/a"),
                ("z", "localhost:80"),
                ("z", "10.0.0.1/a"),
                ("z", "10.0.0.1"),
                ("z", "10.0.0.1:80"),
                ("z", "evil.invalid"),
                ("z", "[::1]"),
                ("z", "evil.invalid?a"),
                ("properties", {"host": "a"}),
                ("z", "b\u00fccher.example/a"),
                ("z", "a.xn--p1ai/a"),
                ("z", "evil\u3002invalid/a"),
                ("z", "ｅｖｉｌ．ｉｎｖａｌｉｄ/a"),  # noqa: RUF001 - letters of full width
                ("z", "https%3A//evil"),
                ("z", "https%253A%252F%252Fevil"),
                ("z", "localhost/a"),
            ]
        ),
        ({"param": {"callback": "evil.invalid:80/a"}}, {"param.callback"}),
        (
            {
                "param": {
                    "temperature": 0.5,
                    "stop": ["Q:", "1:2", "and/or", "\n\n", "e.g. this", "End."],
                    "user": "team-a",
                    "reasoning_effort": "low",
                    "include_urls": True,
                    "tools": [
                        {
                            "name": "open",
                            "parameters": {
                                "properties": {"url": {"type": "string"}, "n": {"type": "number"}},
                                "required": ["url"],
                            },
                        }
                    ],
                }
            },
            set(),
        ),
        ({"output": "out/a.b/c:1"}, set()),
        ({"messages": image("evil.invalid/a")}, {"messages"}),
        ({"messages": image("https://a.example/?q={text}")}, {"messages"}),
        ({"messages": image("{scheme}a.example/?q={text}")}, {"messages"}),
        ({"messages": image("{url}")}, set()),
        ({"messages": image("data:image/png;base64,{png}")}, set()),
        ({"messages": '[{"role": "user", "content": "Is https://{a} ok?"}]'}, set()),
        ({"model": "models:/m/3"}, {"model"}),
        ({"track": False}, set()),
        ({"track": True}, {"track"}),
        ({"model": "."}, {"model"}),
        ({"model": "~"}, {"model"}),
        ({"api-version": "v1", "auth": "none"}, {"api_version", "auth"}),
        ({"deployments": [{"rpm": 3}]}, {"deployments"}),
        ({"header": {"x": "a"}, "query": {"y": "$BATCHSCORE_A_KEY"}}, {"header", "query"}),
        ({"header": {}}, set()),
        (
            {"key-header": "both", "client-cert": "a", "client_key_file": "b"},
            {"key_header", "client_cert", "client_key_file"},
        ),
        ({"deployments": []}, set()),
    ],
)
def test_only_what_decides_about_hosts_and_credentials_needs_trust(
    settings: dict[str, Any], names: set[str]
) -> None:
    assert decisive(settings) == names
    assert decisive(settings, is_implicit=False) == set()


def test_what_a_flag_overrides_needs_no_trust() -> None:
    both = {"endpoint": "https://a.example", "auth": "entra"}
    assert decisive(both, {"endpoint": "https://b.example"}) == {"auth"}
    own = {"header": {"x": "a"}, "query": {"x": "a"}, "client_cert": "a"}
    assert decisive(own, {"header": ["x=b"], "client_cert": "c"}) == {"query"}
    assert decisive(both | own | {"deployments": [{"auth": "none"}]}, {"simulate": True}) == set()


@pytest.mark.parametrize(
    ("flags", "left"),
    [
        (
            {},
            ({"endpoint": "e", "auth": "key", "key_variable": "BATCHSCORE_A_KEY", "rpm": 1}, {"model": "m"}),
        ),
        ({"endpoint": "x"}, None),
        (
            {"deployment": "x"},
            ({"endpoint": "e", "auth": "key", "key_variable": "BATCHSCORE_A_KEY", "rpm": 1}, {"model": "m"}),
        ),
        ({"auth": "none"}, ({"endpoint": "e", "key_variable": "BATCHSCORE_A_KEY", "rpm": 1}, {"model": "m"})),
        ({"api_key_from": "x"}, ({"endpoint": "e", "auth": "key", "rpm": 1}, {"model": "m"})),
        (
            {"model": "x"},
            ({"endpoint": "e", "auth": "key", "key_variable": "BATCHSCORE_A_KEY", "rpm": 1}, {"model": "m"}),
        ),
    ],
)
def test_flags_override_the_keys_of_tables(flags: dict[str, Any], left: object) -> None:
    tables = [{"endpoint": "e", "auth": "key", "key_variable": "BATCHSCORE_A_KEY", "rpm": 1}, {"model": "m"}]
    file = ConfigFile(settings={"deployments": tables, "auth": "entra"})
    given, sources = gather(flags, environ={}, file=file)
    assert given.get("deployments") == left
    assert ("deployments" in sources) == (left is not None)


@pytest.mark.skipif(os.name != "posix", reason="pipes are those of POSIX")
def test_a_folder_or_a_pipe_is_not_read_unless_it_is_named() -> None:
    os.mkfifo("batchscore.toml")
    assert config_file(None, {}, here=True) == ConfigFile()


def test_a_file_in_a_parent_folder_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("batchscore.toml").write_text('endpoint = "https://a.example"\n')
    Path("below").mkdir()
    monkeypatch.chdir("below")
    assert config_file(None, {}, here=True) == ConfigFile()


def test_trust_is_kept_in_the_folder_for_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    default = tmp_path / ".local" / "state" / "batchscore" / "trusted"
    assert trust_file({}) == trust_file({"XDG_STATE_HOME": "relative"}) == default
    assert trust_file({"XDG_STATE_HOME": "/s"}) == Path("/s/batchscore/trusted")


@pytest.mark.skipif(os.name != "posix", reason="modes and links are those of POSIX")
def test_a_file_of_digests_that_others_could_have_written_is_not_relied_on(tmp_path: Path) -> None:
    trusted = tmp_path / "s" / "trusted"
    assert not is_trusted(FILE, trusted)
    remember(FILE, trusted, "/where\n")
    remember(ConfigFile(digest="b" * 64), trusted, "/there")
    assert is_trusted(FILE, trusted)
    assert not is_trusted(ConfigFile(digest="c" * 64), trusted)
    assert not is_trusted(ConfigFile(digest=""), trusted)
    link = tmp_path / "link"
    link.symlink_to(trusted)
    os.mkfifo(tmp_path / "pipe")
    trusted.chmod(0o666)
    for path in (link, tmp_path / "pipe", trusted, tmp_path):
        assert not is_trusted(FILE, path)
        with pytest.raises(SettingsError):
            remember(FILE, path, "")


@pytest.mark.parametrize(
    "name", ["GITHUB_TOKEN", "OPENAI_API_KEY", "BATCHSCORE_WEST", "XBATCHSCORE_A_KEY", "sk-123"]
)
def test_a_table_names_only_variables_that_were_made_for_its_key(name: str) -> None:
    with pytest.raises(UsageError, match="must be the name of a variable") as caught:
        Settings(task="chat", model="m", output="o", deployments=({"key_variable": name},))
    assert name not in str(caught.value)
