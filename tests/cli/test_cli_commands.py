"""The command line: help, versions, exit codes, and the simulator."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from http.client import HTTPConnection
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click
import pytest

from batchscore import ExitCode
from batchscore.cli.main import cli
from batchscore.cli.program import COMMANDS, as_called, program, python
from batchscore.errors import BatchscoreError, InputError, UsageError

if TYPE_CHECKING:
    from conftest import Cli

#: What each exit code means, as `--help` says it.
EXIT_CODES = {
    0: "done",
    1: "error",
    2: "usage error",
    3: "more rows failed",
    4: "stopped early",
    5: "another run",
}


#: The commands of a training job.
OF_A_JOB = ("start", "status", "watch", "pause", "resume", "cancel", "results")


def test_help_is_as_reviewed(batchscore: Cli, golden: Callable[[str, str], None]) -> None:
    wide = {"COLUMNS": "100"}
    runs = batchscore.each(
        (["--help"], wide),
        (["score", "--help"], wide),
        (["simulate", "-h"], wide),
        (["merge", "--help"], wide),
        (["plan", "--help"], wide),
        (["batches", "--help"], wide),
        (["verify", "--help"], wide),
        (["report", "--help"], wide),
        (["evaluate", "--help"], wide),
        (["finetune", "--help"], wide),
        (["finetune", "prepare", "--help"], wide),
        (["finetune", "check", "--help"], wide),
        (["finetune", "plan", "--help"], wide),
        *((["finetune", name, "--help"], wide) for name in OF_A_JOB),
        (["model", "--help"], wide),
        (["model", "save", "--help"], wide),
        (["-V"], {}),
        ([], wide),
    )
    assert [run.exit_code for run in runs[:-1]] == [0] * (len(runs) - 1)
    golden("help.txt", "\n".join(run.stdout for run in runs[:-2]))
    assert version("batchscore") in runs[-2].stdout
    assert (runs[-1].exit_code, "Usage:" in runs[-1].said) == (2, True)
    for name in ("AZURE_OPENAI_API_KEY", "OPENAI_API_KEY", "BATCHSCORE_API_KEY"):
        assert name in runs[1].stdout
    assert [runs[place].stdout.count("[required]") for place in (1, 4)] == [3, 2]
    assert not re.search(r" (TEXT|FLOAT|INTEGER)\b", runs[2].stdout)
    codes = re.search(r"Exit codes:\n(.*?)\n\n", runs[1].stdout, re.DOTALL)
    assert codes is not None
    said = " ".join(codes[1].split())
    assert {int(one) for one in re.findall(r"\b(\d) ", said)} == {*map(int, ExitCode)} - {6}
    for code, words in EXIT_CODES.items():
        assert f"{code} {words}" in said


def test_every_error_has_an_exit_code_of_the_table() -> None:
    kinds = [BatchscoreError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    assert {kind.__name__: int(kind.exit_code) for kind in kinds} == {
        "BatchscoreError": 1,
        "UsageError": 2,
        "SettingsError": 1,
        "InputError": 1,
        "UnreadableFile": 1,
        "OutputError": 1,
        "OutputLocked": 5,
        "InputChanged": 1,
        "OutputOverwritten": 4,
        "OutputIncomplete": 4,
        "ServiceRefused": 1,
        "Outage": 4,
        "BoundReached": 4,
        "TooManyErrors": 4,
        "RowFailed": 3,
        "BrokenInvariant": 1,
    }


@pytest.mark.parametrize("most", [1, pytest.param(None, marks=pytest.mark.slow)])
def test_no_option_silently_takes_the_last_of_two_values(most: int | None) -> None:
    """On every command; options that may be repeated and flags stay as they are."""
    every = {name: cli.get_command(click.Context(cli), name) for name in COMMANDS}
    group = every["model"]
    assert isinstance(group, click.Group)
    commands = {("model", name): each for name, each in group.commands.items()}
    commands |= {(name,): each for name, each in every.items() if not isinstance(each, click.Group)}
    for words, command in commands.items():
        options = [each for each in command.params if isinstance(each, click.Option)]
        for option in options[:most]:
            if option.is_flag:
                values = option.secondary_opts and [option.opts[-1], option.secondary_opts[-1]]
                said = " and ".join(values)
            else:
                values = [option.opts[0], "7", f"{option.opts[-1]}=8"]
                said = "" if option.multiple else f"{option.opts[-1]} is given twice: 7 and 8."
            if said:
                with pytest.raises(click.UsageError) as refused:
                    cli([*words, *values], standalone_mode=False)
                assert said in refused.value.format_message(), (words, option)
    for again in (["--param", "top_k=1", "--param", " top_k =2"], ["--header", "a=1", "--header", "a=2"]):
        with pytest.raises(UsageError, match=r"(?s)(top_k|a)\W* is given twice"):
            cli(["score", "in", "-o", "out", "--task", "chat", "-m", "m", *again], standalone_mode=False)
    with pytest.raises(InputError, match="no such output folder"):
        cli(["verify", "none", "--json", "--json"], standalone_mode=False)


def test_words_that_are_no_option_get_the_right_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-dash.csv").touch()
    for words, said in (
        (["score", "-dash.csv"], "The file of this name is ./-dash.csv."),
        (
            ["score", "a.csv", "-v"],
            "Give --verbose to see more of a run. The version is shown by: ",
        ),
        (["plan", "a.csv", "-v"], "No such option -v. The version is shown by"),
        (["-v"], "The version is shown by -V."),
        (["verfy", "out"], "No such command 'verfy'. Did you mean 'verify'?"),
        (["help", "scor"], "No such command 'scor'. Did you mean 'score'?"),
        (["plan", "a.csv", "--budget", "1"], "No such option --budget. Did you mean '--max-spend'?"),
        (["score", "a.csv", "--limit-rows", "1"], "Did you mean '--limit'?"),
        (["score", "a.csv", "--sheet-name", "1"], "Did you mean '--sheet'?"),
        (["score", "a.csv", "--outage-wait", "1"], "Did you mean '--max-outage'?"),
        (["score", "a.csv", "--max-price", "1"], "Did you mean '--max-spend'?"),
        (["score", "a.csv", "--api-key", "1"], "read from the environment: set BATCHSCORE_API_KEY."),
        (
            ["score", "a.csv", "--top-k", "1"],
            "No such option --top-k. A parameter of the model is set by --param top_k=VALUE.",
        ),
        (["score", "a.csv", "--n", "1"], "by --param n=VALUE. Did you mean '--limit'?"),
        (["score", "a.csv", "--tpm", "lots"], "'lots' is not a valid number."),
        (["score", "a.csv", "--limit", "1.5"], "'1.5' is not a valid whole number."),
    ):
        with pytest.raises(click.UsageError) as refused:
            cli(words, standalone_mode=False)
        assert said in refused.value.format_message()
    with pytest.raises(click.UsageError, match=r"No such option --zebra\.$"):
        cli(["score", "a.csv", "--zebra", "1"], standalone_mode=False)


def test_help_is_a_command_too(capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for words in (["help"], ["--help"], ["help", "merge"], ["merge", "--help"]):
        cli(words, standalone_mode=False)
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] != shown[2] == shown[3]


def test_the_installed_command_is_the_module(batchscore: Cli) -> None:
    script = Path(sys.executable).with_name("batchscore")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == batchscore("--version").stdout.split()[-1] == version("batchscore")


@pytest.mark.parametrize(
    ("script", "words", "said"),
    [
        (".venv/bin/batchscore", ["/x/python", ".venv/bin/batchscore"], ".venv/bin/batchscore"),
        ("a b/batchscore", ["/x/python", "a b/batchscore"], "'a b/batchscore'"),
        ("bin/batchscore", ["/x/python", "bin/batchscore"], "batchscore"),
        (
            "/x/batchscore/__main__.py",
            ["python3", "-m", "batchscore", "score", "-m", "m"],
            "python3 -m batchscore",
        ),
        ("/x/batchscore/__main__.py", ["py", "-I", "-m", "batchscore"], "py -I -m batchscore"),
        ("/x/pytest/__main__.py", ["python", "-m", "pytest"], "batchscore"),
        ("ipykernel_launcher.py", ["python", "ipykernel_launcher.py"], "batchscore"),
    ],
)
def test_offered_commands_begin_as_the_user_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (".venv/bin", "a b", "bin"):
        Path(folder).mkdir(parents=True)
        Path(folder, "batchscore").touch()
    assert program(script, words, lambda _: "bin/batchscore") == said


def test_offered_python_is_the_one_that_has_our_packages() -> None:
    """As a virtual environment that is not active has it."""
    assert python(lambda _: str(Path(sys.executable).with_name("python"))) == "python"
    for other in ("/elsewhere/bin/python", None):
        assert python(lambda _, other=other: other) == shlex.quote(sys.executable)


@pytest.mark.process
def test_only_commands_are_written_as_the_user_began() -> None:
    """The words before a command; not a name, a path or a module."""
    assert cli.list_commands(click.Context(cli)) == sorted(COMMANDS)
    kept = "batchscore: x, ./batchscore score, py -m batchscore score, my-batchscore score, batchscore scores"
    assert as_called(kept) == kept


@pytest.mark.slow
def test_the_command_that_is_offered_starts_as_the_user_started() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "batchscore", "model", "save", "m", "--task", "chat", "-m", "any"],
        capture_output=True,
        text=True,
        check=True,
    )
    command = f"{sys.executable} -m batchscore score INPUT -o OUT --model ./m --endpoint ENDPOINT"
    how = "It holds no endpoint: to score with it, write the service's address for ENDPOINT, and run"
    assert done.stdout == f"Saved m. {how}: {command}\n"


def test_simulate_serves_until_a_signal(batchscore: Cli) -> None:
    """Its first line is JSON, it ends quietly, and a port in use is reported in one line."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        processes = [batchscore.start("simulate", "--key", "mine") for _ in range(2)]
        refused = batchscore("simulate", "--port", str(port))
    assert refused.exit_code == 1
    (line,) = refused.stderr.splitlines()
    assert f"the simulator cannot listen on port {port}: Address already in use." in line
    for process, number in zip(processes, (signal.SIGINT, signal.SIGTERM), strict=True):
        with process:
            announced = json.loads(process.stdout.readline())
            assert announced["key"] == "mine"
            connection = HTTPConnection(urlsplit(announced["endpoint"]).netloc, timeout=10)
            connection.request("GET", "/v1/models", headers={"Authorization": "Bearer mine"})
            assert connection.getresponse().status == 200
            connection.close()
            process.interrupt(number)
            run = process.finish()
        assert (run.exit_code, run.stdout) == (0, "")
        assert run.stderr.startswith("This is a simulator: answers are made up")
        assert run.stderr.splitlines()[-1] == (
            f"export AZURE_OPENAI_ENDPOINT={announced['endpoint']} AZURE_OPENAI_API_KEY=mine"
        ), "a whole line can be copied"
