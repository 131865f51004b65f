"""The guide to a customised model, command by command, from a spreadsheet to nothing, on each service."""

from __future__ import annotations

import json
import random
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from batchscore.simulator import Running
from simulated import ACCOUNT_ID, Project
from written import CUSTOM_MODEL, Block, blocks_of

if TYPE_CHECKING:
    from conftest import Cli, Finished

#: The variables that name each service.
SERVICES: dict[str, dict[str, str]] = {
    "OpenAI": {"OPENAI_BASE_URL": "{}/v1"},
    "Azure OpenAI": {"AZURE_OPENAI_ENDPOINT": "{}"},
    "Azure OpenAI, dated": {"AZURE_OPENAI_ENDPOINT": "{}", "BATCHSCORE_API_VERSION": "2024-10-21"},
}

#: What tickets of a topic say, and what all of them may say.
WORDS = {
    "billing": ("the invoice is wrong", "I paid twice", "the amount is too high", "no refund has come"),
    "delivery": ("the parcel is late", "nobody brought it", "the box was open", "the courier left"),
    "account": ("I cannot log in", "the password fails", "my profile is gone", "the code never comes"),
}
MORE = ("Please help", "I wrote before", "This is urgent", "Thanks a lot", "I am waiting", "Kind regards")


def tickets(count: int, seed: int) -> pd.DataFrame:
    chosen = random.Random(seed)
    rows = []
    for number in range(count):
        topic = chosen.choice([*WORDS])
        said, first, last = chosen.choice(WORDS[topic]), chosen.choice(MORE), chosen.choice(MORE)
        text = f"{first}: {said}, ticket {seed}-{number}. {last}."
        rows.append({"id": f"t{number}", "text": text, "topic": topic})
    return pd.DataFrame(rows)


def is_for(block: Block, service: str) -> bool:
    """Whether a block is for a service: the sentence before it says so, or it is for all."""
    sentence = block.before.strip().rsplit("\n\n", 1)[-1]
    azure, other = "On Azure" in sentence, "On OpenAI" in sentence
    return azure is other or azure is service.startswith("Azure")


def commands(service: str) -> Iterator[str]:
    """Give the commands of the guide for a service."""
    for block in blocks_of(CUSTOM_MODEL, "sh"):
        for line in block.lines if is_for(block, service) else ():
            if line.startswith("batchscore "):
                yield line


def test_the_guide_has_each_command_of_a_training() -> None:
    for service in SERVICES:
        verbs = [line.split()[2] for line in commands(service) if line.split()[1] == "finetune"]
        assert verbs == [
            *("prepare", "check", "plan", *(["plan"] if service != "OpenAI" else [])),
            *("start", "watch", "status", "results", "deploy", "list", "clean", "clean", "list"),
        ]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder with what the guide begins with."""
    tickets(400, 1).to_excel(tmp_path / "tickets.xlsx", index=False)
    tickets(30, 2).to_csv(tmp_path / "new.csv", index=False)
    (prices,) = blocks_of(CUSTOM_MODEL, "toml")
    (tmp_path / "prices.toml").write_text(prices.code)
    return tmp_path


@pytest.fixture(params=list(SERVICES))
def service(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def environ(project: Project, simulator: Running, service: str) -> dict[str, Any]:
    """The variables that reach the project at its service."""
    variables: dict[str, Any] = {
        name: text.format(simulator.endpoint) for name, text in SERVICES[service].items()
    }
    key = "OPENAI_API_KEY" if service == "OpenAI" else "AZURE_OPENAI_API_KEY"
    variables |= {key: project.key, **project.identity(), "BATCHSCORE_ARM_ENDPOINT": simulator.endpoint}
    return variables | {"BATCHSCORE_AZURE_RESOURCE": ACCOUNT_ID}


def words_of(line: str) -> list[str]:
    """Return the arguments of a line, as a shell would."""
    return [word.replace("$BATCHSCORE_AZURE_RESOURCE", ACCOUNT_ID) for word in shlex.split(line)[1:]]


@pytest.fixture
def run(
    command_line: Cli, project: Project, place: Path, environ: dict[str, Any]
) -> Callable[[str], Finished]:
    """Run a line of the guide."""

    def call(line: str) -> Finished:
        done = command_line(*words_of(line), env=environ, cwd=place)
        assert done.exit_code == 0, f"{line}\n{done.said}"
        assert project.key not in done.said
        return done

    return call


@pytest.fixture
def kill(
    command_line: Cli, project: Project, place: Path, environ: dict[str, Any]
) -> Callable[[str, str], None]:
    """Run a line of the guide, and kill it as a call of a kind has happened, before its reply."""

    def call(line: str, kind: str) -> None:
        project.will(kind, hang=60, happened=True)
        with command_line.start(*words_of(line), env=environ, cwd=place) as process:
            project.wait_for(kind, happened=True, timeout_s=60)
            process.popen.kill()
        project.drop_faults()

    return call


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_guide_from_a_spreadsheet_to_nothing(
    run: Callable[[str], Finished],
    kill: Callable[[str, str], None],
    project: Project,
    place: Path,
    service: str,
) -> None:
    """The job's creation is killed, and so is that of the deployment."""
    project.set_tuning(validating=0.2, queued=0.5, running=2, creating=0.5, not_ready=0.5, model_hidden=0.5)
    printed, last = "", ""
    for line in commands(service):
        if " start " in line:
            kill(line, "create_job")
        if " deploy " in line and service != "OpenAI":
            kill(line, "put_deployment")
        last = run(line).stdout
        if " deploy " in line:
            printed = last
            use_what_was_printed(run, printed, place)
    assert "Nothing is left" in last
    meter = project.meter()
    assert meter["held"] == dict.fromkeys(("files", "uploads", "jobs", "models", "deployments"), 0)
    assert [*meter["created"]["jobs"].values()] == [1]
    assert sum(meter["created"]["deployments"].values()) == (service != "OpenAI")
    assert meter["total"] > 0
    project.advance(7 * 86_400)
    assert project.meter()["total"] == meter["total"], "nothing was left running"
    written = (place / "tuned" / "finetune.json").read_text()
    assert project.key not in written
    assert project.arm_token not in written


def use_what_was_printed(run: Callable[[str], Finished], printed: str, place: Path) -> None:
    """Copy the commands that `deploy` prints, and see what they are worth."""
    lines = [line.strip() for line in printed.splitlines() if line.startswith("  batchscore ")]
    verbs = [line.split()[1] for line in lines]
    assert verbs == ["score", "score", "score", "evaluate", "model", "score", "finetune"], printed
    use, base, tuned, compare, save, use_saved, clean = lines
    for line in (base, tuned, compare):
        run(line)
    found = json.loads((place / "tuned" / "evaluation" / "metrics.json").read_text())
    better = tuned_over_base(found)
    assert better["difference"] > 0.2
    assert better["p_value"] < 0.001
    run(use.replace("INPUT", "new.csv").replace("OUT", "printed"))
    run(save)
    run(use_saved.replace("INPUT", "new.csv").replace("OUT", "printed-saved"))
    saved = place / "tuned-model" / "MLmodel"
    assert "Name the topic of the ticket" in "".join(
        path.read_text("utf-8")
        for path in saved.parent.rglob("*")
        if path.suffix in {".json", ".yaml", ""} and path.is_file()
    )
    assert "--yes" not in clean
    for name in ("tuned/scores-base", "tuned/scores-tuned", "tuned/evaluation", "tuned-model"):
        shutil.rmtree(place / name)  # the guide shows the same commands


def tuned_over_base(found: dict[str, Any]) -> dict[str, Any]:
    """Return the difference between both models."""
    (tuned,) = [each for each in found["models"] if each["name"] == "tuned"]
    comparison: dict[str, Any] = tuned["comparisons"]["accuracy"]
    return comparison
