"""Commands that messages offer work when they are copied: they reach the service that the user has named."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from command import Command
from trained import client_of, train

from batchscore.cli.main import cli
from batchscore.finetune.offered import GIVEN, GivenFlags, finetune_command
from batchscore.finetune.state import STATE, DeploymentRecord, JobRecord, TrainingState, write_state
from batchscore.simulator import Running
from sampled import mostly_slow
from simulated import ACCOUNT_ID, Project
from tuning_jobs import AZURE, MODEL

pytestmark = pytest.mark.process

Change = Callable[[TrainingState], TrainingState]

#: A command, up to what follows it in a message.
OFFERED = re.compile(r"batchscore (finetune [a-z]+ .*?)(?=, or |\. To |$)", re.MULTILINE)


@pytest.mark.parametrize(
    ("action", "folder", "flags"),
    [
        ("check", "a b", ""),
        ("watch", "-x", "--endpoint http://h"),
        ("start", "tuned", "--training-url '${URL}' --prices p.toml --yes --endpoint http://h"),
        ("clean", "tuned", "--endpoint http://h --resource /r"),
        ("list", None, "--endpoint http://h --resource /r"),
    ],
)
def test_a_command_has_the_flags_that_it_takes(action: str, folder: str | None, flags: str) -> None:
    start = ("--training-url", "${URL}", "--prices", "p.toml", "--yes")
    GIVEN.set(GivenFlags(("--endpoint", "http://h"), ("--resource", "/r"), start))
    place = {None: [], "-x": ["./-x"]}.get(folder, [folder])
    assert shlex.split(finetune_command(action, folder)) == [
        *("batchscore", "finetune", action),
        *place,
        *shlex.split(flags),
    ]


def with_job(**fields: object) -> Change:
    return lambda state: replace(state, job=replace(JobRecord(request=state.job.request), **fields))


def deployed(state: TrainingState) -> TrainingState:
    made = DeploymentRecord(
        arm_id=f"{ACCOUNT_ID}/deployments/tickets",
        name="tickets",
        model=state.job.model,
        sku="Standard",
        intent_at=1.0,
    )
    return replace(state, deployment=made)


#: What was recorded, and a command whose message offers others.
OFFERS: list[tuple[str, Change | None, tuple[str, ...]]] = [
    ("nothing was started", None, ("status", "tuned")),
    ("no job", with_job(), ("status", "tuned")),
    ("not confirmed", with_job(intent_at=4e9), ("status", "tuned")),
    ("running", lambda state: state, ("deploy", "tuned", "--yes")),
    ("failed", with_job(id="ftjob-1", status="failed"), ("deploy", "tuned", "--yes")),
    ("results not looked at", lambda state: replace(state, results=None), ("deploy", "tuned", "--yes")),
    ("running", lambda state: state, ("clean", "tuned")),
    ("not saved", lambda state: replace(state, results=None), ("clean", "tuned")),
    ("succeeded", lambda state: state, ("status", "tuned")),
    ("succeeded", lambda state: state, ("results", "tuned")),
    ("succeeded", lambda state: state, ("deploy", "tuned", "--yes")),
    ("other options", deployed, ("deploy", "tuned", "--yes", "--name", "second")),
    ("misspelled", lambda state: state, ("clean", "tuned", "--file", "file-none", "--yes")),
]


@mostly_slow("about, change, words", OFFERS, [OFFERS[3], OFFERS[6], OFFERS[11]])
def test_what_a_message_offers_reaches_the_same_service(
    about: str,
    change: Change | None,
    words: tuple[str, ...],
    simulator: Running,
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    state = train(simulator, project, Path("tuned"))
    if about == "running":
        state = with_job(id=running_job(simulator, project, state), status="running")(state)
    if change is None:
        Path("tuned", STATE).unlink()
    else:
        write_state(Path("tuned"), change(state))
    for name, value in {"BATCHSCORE_API_KEY": project.key, **project.identity()}.items():
        monkeypatch.setenv(name, value)
    command = Command(monkeypatch, capsys)
    if about == "other options":
        assert command("finetune", "deploy", "tuned", "--name", "tickets", "--yes", *of_service(simulator))
    ran = command("finetune", *words, *of_service(simulator, words[0]))
    offered = [shlex.split(each) for each in OFFERED.findall(ran.stdout + ran.stderr)]
    assert offered, ran
    given = {*of_service(simulator, words[0])}
    for _, action, *rest in offered:
        assert not given & {*of_service(simulator, action)} - {*rest}, (action, rest)
        parse(["finetune", action, *rest])


def running_job(simulator: Running, project: Project, state: TrainingState) -> str:
    """Return a job that does not end."""
    project.set_tuning(running=3600.0)
    with client_of(simulator, project, "azure-v1") as client:
        file = state.training.file_id
        return client.fine_tuning.jobs.create(model=MODEL, training_file=file, extra_body=AZURE).id


def of_service(simulator: Running, action: str = "deploy") -> list[str]:
    """Return the flags of the service that an action takes."""
    flags = ["--endpoint", f"{simulator.endpoint}/openai/v1"]
    if action in {"deploy", "list", "clean"}:
        flags += ["--arm-endpoint", simulator.endpoint, "--resource", ACCOUNT_ID]
    return flags


def parse(words: list[str]) -> None:
    """Fail unless the command line takes these words."""
    command: object = cli
    for each in words[:2]:
        command = command.commands[each]  # type: ignore[attr-defined]
    # The names of the group: a command keeps those of its first context for all later tests.
    command.make_context(words[1], words[2:], **cli.context_settings)  # type: ignore[attr-defined]
