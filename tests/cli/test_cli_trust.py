"""A settings file that nobody named: what it may set, when the user is asked, and what a run says first."""

from __future__ import annotations

import os
import re
import shlex
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchscore.simulator import Running
from cloud import Cloud
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Files

SCORE = ["score", "a.csv", "-o", "out", "--task", "chat", "--column", "text", "-m"]


def read_until(terminal: int, text: str) -> str:
    """Return what a terminal shows, up to a text."""
    seen = ""
    os.set_blocking(terminal, False)
    while text not in seen:
        try:
            seen += os.read(terminal, 65536).decode()
        except BlockingIOError:
            time.sleep(0.02)
    return seen


def test_a_file_that_nobody_named_sends_no_variable_to_its_host(
    batchscore: Cli, files: Files, deployment: Deployment, simulator: Running
) -> None:
    files.texts("a.csv", ["one"])
    url = f"{simulator.endpoint}/v1"
    table = f'[[deployments]]\nendpoint = "{url}"\n'
    texts = {
        "provider": f'{table}key_variable = "GITHUB_TOKEN"\n',
        "table": f'{table}key_variable = "BATCHSCORE_EAST_KEY"\n',
        "entra": 'auth = "entra"\n',
    }
    variables = dict.fromkeys(("GITHUB_TOKEN", "BATCHSCORE_EAST_KEY", "BATCHSCORE_API_KEY"), simulator.key)
    for name, text in texts.items():
        files.text(f"{name}/batchscore.toml", text)
        files.texts(f"{name}/a.csv", ["one"])
    command = ["score", "a.csv", "--task", "chat", "--column", "text", "-m", deployment.name]
    for name in texts:
        run = batchscore(*command, "-o", "out", env=variables, cwd=name)
        assert run.exit_code == (2 if name == "provider" else 1), run
        words = (
            "key_variable must be" if name == "provider" else "decides where requests go or what signs them"
        )
        assert words in run.stderr
        assert not Path(name, "out").exists()
    assert not deployment.requests()


def test_a_refused_file_is_used_by_the_command_that_is_offered(
    batchscore: Cli, files: Files, deployment: Deployment, simulator: Running
) -> None:
    files.texts("a.csv", ["one"])
    files.text("batchscore.toml", f'endpoint = "{simulator.endpoint}/v1"\nmax_tokens = 3\n')
    env = {"BATCHSCORE_API_KEY": simulator.key, "OPENAI_BASE_URL": None}
    refused = batchscore(*SCORE, deployment.name, env=env)
    assert refused.exit_code == 1
    offered = re.search(r"name it: batchscore (.*)", refused.stderr)
    assert offered is not None
    run = batchscore(*shlex.split(offered[1]), env=env)
    assert run.exit_code == 0, run
    assert run.stderr.splitlines()[0] == (
        f"Requests go to {simulator.endpoint}/v1/chat/completions (batchscore.toml) with the key in "
        "BATCHSCORE_API_KEY. Settings file: batchscore.toml."
    )


def test_what_is_typed_beats_the_tables_of_a_file(
    batchscore: Cli, files: Files, deployment: Deployment, simulator: Running
) -> None:
    """Then nothing of the file needs trust; how rows are scored still comes from it."""
    files.texts("a.csv", ["one"])
    table = '[[deployments]]\nendpoint = "http://127.0.0.1:9/v1"\nkey_variable = "BATCHSCORE_EAST_KEY"\n'
    files.text("batchscore.toml", f"max_tokens = 3\n{table}")
    env = {"BATCHSCORE_EAST_KEY": "no", "OPENAI_BASE_URL": None, "BATCHSCORE_API_KEY": simulator.key}
    flag = batchscore(*SCORE, deployment.name, "--endpoint", f"{simulator.endpoint}/v1", env=env)
    url = {"BATCHSCORE_ENDPOINT": f"{simulator.endpoint}/v1"}
    variable = batchscore(
        *SCORE, deployment.name, "--overwrite", "--config", "batchscore.toml", env=env | url
    )
    assert [run.exit_code for run in (flag, variable)] == [0, 0], (flag, variable)
    assert [sent.body["max_tokens"] for sent in deployment.requests()] == [3] * len(deployment.requests())
    unused = "batchscore.toml without [[deployments]], which is overridden."
    key = "with the key in BATCHSCORE_API_KEY. Settings file: "
    where = f"Requests go to {simulator.endpoint}/v1/chat/completions"
    assert flag.stderr.splitlines()[0] == f"{where} (--endpoint) {key}./{unused}"
    assert variable.stderr.splitlines()[0] == f"{where} (BATCHSCORE_ENDPOINT) {key}{unused}"


@pytest.mark.slow
def test_a_rehearsal_needs_no_trust_in_the_tables_of_a_file(batchscore: Cli, files: Files) -> None:
    files.texts("a.csv", ["one"])
    table = '[[deployments]]\nendpoint = "http://127.0.0.1:9/v1"\nkey_variable = "BATCHSCORE_EAST_KEY"\n'
    files.text("batchscore.toml", table)
    simulated = batchscore(*SCORE, "m", "--simulate", env={"OPENAI_BASE_URL": None})
    assert simulated.exit_code == 0, simulated
    assert simulated.stderr.splitlines()[0].endswith(
        "the simulator on this machine. Settings file: "
        "./batchscore.toml without [[deployments]], which is overridden."
    )


@pytest.mark.slow
def test_a_terminal_is_asked_once_and_again_when_the_file_changes(
    batchscore: Cli, files: Files, deployment: Deployment, simulator: Running, tmp_path: Path
) -> None:
    files.texts("a.csv", ["one"])
    target = files.text("elsewhere/own.toml", f'endpoint = "{simulator.endpoint}/v1"\n')
    Path("batchscore.toml").symlink_to(target)
    env = {
        "BATCHSCORE_API_KEY": simulator.key,
        "OPENAI_BASE_URL": None,
        "XDG_STATE_HOME": str(tmp_path / "s"),
    }
    trusted = tmp_path / "s" / "batchscore" / "trusted"

    def ask(answer: str) -> tuple[str, int]:
        ours, theirs = os.openpty()
        with batchscore.start(*SCORE, deployment.name, env=env, stdin=theirs, stderr=theirs) as process:
            seen = read_until(ours, "[y/N]")
            os.write(ours, answer.encode())
            code = process.popen.wait(50)
        os.close(theirs)
        os.close(ours)
        return seen, code

    seen, code = ask("n\n")
    assert code == 1
    assert f"endpoint = '{simulator.endpoint}/v1'" in seen
    assert not trusted.exists()
    assert not deployment.requests()
    assert ask("y\n")[1] == 0
    assert stat.S_IMODE(trusted.stat().st_mode) == 0o600
    assert stat.S_IMODE(trusted.parent.stat().st_mode) == 0o700
    again = batchscore(*SCORE, deployment.name, "--overwrite", env=env)
    assert again.exit_code == 0, again
    with target.open("a") as file:
        file.write("max_tokens = 3\n")
    before = len(deployment.requests())
    changed = batchscore(*SCORE, deployment.name, "--overwrite", env=env)
    assert changed.exit_code == 1
    assert len(deployment.requests()) == before


@pytest.mark.slow
def test_a_token_of_azure_goes_to_no_host_that_only_a_file_names(
    batchscore: Cli, files: Files, cloud: Cloud, tmp_path: Path
) -> None:
    """Not even if the file was named; a host that is typed or listed gets it."""
    files.texts("a.csv", ["one"])
    files.text("own.toml", f'endpoint = "{cloud.url}"\nauth = "entra"\n')
    env: dict[str, str | None] = {
        "PATH": str(tmp_path),
        "HOME": str(tmp_path),
        "OPENAI_BASE_URL": None,
        "MSI_ENDPOINT": f"{cloud.url}/msi",
        "MSI_SECRET": "s3",
    }
    command = ["score", "a.csv", "-o", "out", "--task", "embeddings", "--column", "text", "-m", "m"]
    command += ["--config", "own.toml"]
    refused = batchscore(*command, env=env)
    assert refused.exit_code == 1, refused
    assert "127.0.0.1 is not a host of Azure, and only own.toml names it" in refused.stderr
    assert not cloud.tokens
    listed = batchscore(*command, env=env | {"BATCHSCORE_TRUSTED_HOSTS": "gateway.example.com, 127.0.0.1"})
    assert listed.exit_code == 0, listed
    assert "with an Entra ID token" in listed.stderr.splitlines()[0]
