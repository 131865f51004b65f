"""Precedence of settings: flag over variable over file; and all names of the endpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from cli_records import whole

from batchscore.simulator import Running
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Files

KEY_VARIABLES = ("OPENAI_API_KEY", "OPENAI_BASE_URL")


def test_a_flag_beats_a_variable_beats_the_file(
    batchscore: Cli, files: Files, deployment: Deployment, simulator: Running
) -> None:
    """Without a flag the variable counts; with an empty variable, the file."""
    files.csv("a.csv", [{"id": "7", "text": "one", "lang": "en"}])
    named = Deployment(simulator.endpoint, deployment.name + "-named")
    toml = (
        'task = "chat"\noutput = "OUT"\ncolumn = "text"\nsystem = "file"\nmax-tokens = 1\nkeep = ["lang"]\n'
    )
    files.text("batchscore.toml", toml.replace("OUT", "here") + "[param]\nseed = 3\n")
    files.text("other/named.toml", toml.replace("OUT", "there") + 'id = "id"\n')
    here, there = batchscore.each(
        (
            ["score", "a.csv", "--max-tokens", "3"],
            {
                "BATCHSCORE_MODEL": deployment.name,
                "BATCHSCORE_MAX_TOKENS": "2",
                "BATCHSCORE_SYSTEM": "variable",
                "BATCHSCORE_COLUMN": "",
            },
        ),
        (
            ["score", "a.csv", "-m", named.name, "--config", "other/named.toml"],
            {"BATCHSCORE_KEEP": "text", "BATCHSCORE_CONFIG": "none.toml"},
        ),
    )
    assert (here.exit_code, there.exit_code) == (0, 0), (here, there)
    (sent,) = deployment.requests()
    assert sent.body == {
        "model": deployment.name,
        "messages": [{"role": "system", "content": "variable"}, {"role": "user", "content": "one"}],
        "max_tokens": 3,
        "seed": 3,
    }
    assert list(whole("here", "chat")[0]["a.csv", 0])[2:3] == ["lang"]
    (sent,) = named.requests()
    assert sent.body["messages"][0]["content"] == "file"
    assert sent.body["max_tokens"] == 1
    assert list(whole("there", "chat")[0]["a.csv", 0])[2:4] == ["id", "text"]


def test_settings_files_that_cannot_be_used(batchscore: Cli, files: Files) -> None:
    files.texts("a.csv", ["one"])
    texts = {
        "typo.toml": 'colum = "text"\n',
        "secret.toml": 'api_key = "sk-very-secret"\n',
        "flag.toml": "overwrite = true\n",
        "broken.toml": "column = \n",
        "kind.toml": 'max_tokens = "many"\n',
    }
    for name, text in texts.items():
        files.text(name, text)
    expected = {
        "typo.toml": (2, "colum is not a setting; did you mean column?"),
        "secret.toml": (2, "API keys belong into the environment."),
        "flag.toml": (2, "overwrite can only be given as a flag, --overwrite"),
        "broken.toml": (2, "broken.toml is not TOML"),
        "kind.toml": (2, "max_tokens in kind.toml is not a whole number"),
        "none.toml": (1, "none.toml: there is no such file"),
    }
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "-m", "m", "--config"]
    runs = batchscore.together(*([*command, name] for name in expected))
    runs.append(batchscore(*command[:-1], env={"BATCHSCORE_CONFIG": "typo.toml"}))
    runs.append(batchscore(*command[:-1], env={"BATCHSCORE_CONFIG": "none.toml"}))
    by_variable = [expected["typo.toml"], (1, "BATCHSCORE_CONFIG none.toml: there is no such file.")]
    for run, (code, words) in zip(runs, [*expected.values(), *by_variable], strict=True):
        assert run.exit_code == code, run
        assert words in run.stderr
        assert "sk-very-secret" not in run.stderr
    assert not Path("out").exists()


def test_every_way_to_name_the_endpoint(
    batchscore: Cli, files: Files, deployment: Deployment, simulator: Running
) -> None:
    """The old samples' variables, today's, and flags."""
    files.texts("a.csv", ["one"])
    name, url, key = deployment.name, simulator.endpoint, simulator.key
    command = ["score", "a.csv", "--task", "chat", "--column", "text"]
    without = dict.fromkeys(KEY_VARIABLES)
    old = {
        "OPENAI_API_TYPE": "azure",
        "OPENAI_API_BASE": url,
        "OPENAI_API_VERSION": "2023-05-15",
        "OPENAI_API_KEY": key,
    }
    today = {"AZURE_OPENAI_ENDPOINT": url, "AZURE_OPENAI_API_KEY": key}
    runs = batchscore.each(
        ([*command, "-o", "old", "-m", "gpt-4o", "--deployment", name], without | old),
        ([*command, "-o", "dated", "-m", name], without | today | {"OPENAI_API_VERSION": "2024-10-21"}),
        ([*command, "-o", "v1", "-m", name], without | today),
        (
            [*command, "-o", "flags", "-m", name, "--endpoint", f"{url}/v1"],
            {"BATCHSCORE_API_KEY": key, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "OPENAI_API_KEY": "no"},
        ),
    )
    assert [run.exit_code for run in runs] == [0, 0, 0, 0], runs
    ways = {(one.path, one.authentication) for one in deployment.requests()}
    deployed = f"/openai/deployments/{name}/chat/completions?api-version="
    assert ways == {
        (deployed + "2023-05-15", "key"),
        (deployed + "2024-10-21", "key"),
        ("/openai/v1/chat/completions", "bearer"),
        ("/v1/chat/completions", "bearer"),
    }
    # The record of the run says which name won.
    (record,) = Path("old/runs").iterdir()
    assert json.loads(record.read_bytes())["endpoints"][0]["from"] == {
        "endpoint": "OPENAI_API_BASE",
        "api_version": "OPENAI_API_VERSION",
        "deployment": "deployment",
        "key": "OPENAI_API_KEY",
        "auth": "OPENAI_API_KEY",
    }


def test_unknown_variables_are_reported(
    batchscore: Cli, files: Files, deployment: Deployment, simulator: Running
) -> None:
    files.texts("a.csv", ["one", "two"])
    files.text("west.toml", '[[deployments]]\nkey_variable = "BATCHSCORE_WEST_KEY"\n')
    stray = {
        "BATCHSCORE_CONFIG": "west.toml",
        "BATCHSCORE_WEST_KEY": "k3y-that-must-show-nowhere",
        "BATCHSCORE_ALLOW_PLAIN_HTTP": "1",
        "BATCHSCORE_LIMIT": "1",
        "BATCHSCORE_DEPLOYMENTS": "a,b",
        "BATCHSCORE_COLUM": "id",
        "BATCHSCORE_SOMETHING_ELSE": "s3cret",
    }
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    run = batchscore(*command, env=stray)
    assert run.exit_code == 0, run
    first, line = run.stderr.splitlines()
    assert first == (
        f"Requests go to {simulator.endpoint}/v1/chat/completions (OPENAI_BASE_URL) with the key in "
        "BATCHSCORE_WEST_KEY. Settings file: west.toml."
    )
    assert line == (
        "The variable BATCHSCORE_COLUM has no effect: did you mean BATCHSCORE_COLUMN? "
        "The variable BATCHSCORE_DEPLOYMENTS has no effect: it can only be set in batchscore.toml. "
        "The variable BATCHSCORE_LIMIT has no effect: it can only be set as a flag, --limit. "
        "The variable BATCHSCORE_SOMETHING_ELSE has no effect: there is no such setting."
    )


def test_the_record_of_a_run_has_the_source_of_each_deployments_settings(
    batchscore: Cli, files: Files, deployment: Deployment, simulator: Running
) -> None:
    files.texts("a.csv", ["one"])
    files.text(
        "east.toml",
        f'api-version = "2024-10-21"\n[[deployments]]\nendpoint = "{simulator.endpoint}"\n'
        f'deployment = "{deployment.name}"\nkey_variable = "BATCHSCORE_WEST_KEY"\n',
    )
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "-m", "m", "--column", "text"]
    run = batchscore(*command, "--config", "east.toml", env={"BATCHSCORE_WEST_KEY": simulator.key})
    assert run.exit_code == 0, run
    (record,) = Path("out/runs").iterdir()
    assert json.loads(record.read_bytes())["endpoints"][0]["from"] == {
        "endpoint": "[[deployments]] in east.toml",
        "api_version": "east.toml",
        "deployment": "[[deployments]] in east.toml",
        "key": "BATCHSCORE_WEST_KEY",
        "auth": "BATCHSCORE_WEST_KEY",
    }


def test_no_key_is_sent_if_none_is_wanted(batchscore: Cli, files: Files, deployment: Deployment) -> None:
    files.texts("a.csv", ["one"])
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    run = batchscore(*command, "--auth", "none")
    assert run.exit_code == 1
    assert "401" in run.said
    assert "is not sent" not in run.said
    unused = batchscore(*command, "--auth", "none", env={"AZURE_OPENAI_API_KEY": "x"})
    assert "AZURE_OPENAI_API_KEY is set, but is not sent to 127.0.0.1: only to Azure's hosts" in unused.said
    assert not any(one.headers.keys() & {"authorization", "api-key"} for one in deployment.requests())
