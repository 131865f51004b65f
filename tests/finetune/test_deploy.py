"""A trained model is deployed once, listed, and deleted again, whatever is refused or lost."""

from __future__ import annotations

import json
import random
import shlex
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command import Command, Ran
from trained import SYSTEM, client_of, forget_results, train, variables

from batchscore.finetune.state import UploadRecord, write_state
from batchscore.simulator import Running
from simulated import ACCOUNT_ID, Project
from trainings import place_of, started, state_of, write_prepared
from tuning_jobs import MODEL, Management

if TYPE_CHECKING:
    from conftest import Cli

SLOW = pytest.mark.slow
AZURE = ["azure-v1", pytest.param("azure-dated", marks=SLOW)]
Run = Callable[..., Ran]

pytestmark = pytest.mark.process


@pytest.fixture
def management(simulator: Running, project: Project) -> Management:
    return Management(simulator, project)


@pytest.fixture
def run(
    simulator: Running,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Run:
    """Run `batchscore finetune …` against the project, in this process."""
    monkeypatch.chdir(tmp_path)
    command = Command(monkeypatch, capsys)

    def call(*words: str, surface: str = "azure-v1", env: Mapping[str, str | None] | None = None) -> Ran:
        given = {**variables(simulator, project, surface), **(env or {})}
        for name, value in given.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        return command("finetune", *words)

    return call


@pytest.fixture
def folder(simulator: Running, project: Project, tmp_path: Path) -> Path:
    train(simulator, project, tmp_path / "tuned")
    return tmp_path / "tuned"


def made(project: Project) -> tuple[dict[str, int], dict[str, int]]:
    """Return how often each deployment was created, and changed afterwards."""
    meter = project.meter()
    return meter["created"]["deployments"], meter["changed"]["deployments"]


@pytest.mark.parametrize("surface", AZURE)
def test_a_model_is_deployed_once_and_its_commands_are_shown(
    run: Run, project: Project, simulator: Running, tmp_path: Path, surface: str
) -> None:
    folder = tmp_path / "tuned"
    model = train(simulator, project, folder, surface).job.model
    project.set_tuning(creating=0.2, not_ready=0.2)
    first = run("deploy", "tuned", "--name", "topics", "--yes", surface=surface)
    assert first.exit_code == 0, first.stderr
    again = run("deploy", "tuned", surface=surface)
    assert again.exit_code == 0, "nothing new is made, so nobody is asked"
    assert made(project) == ({"topics": 1}, {})
    state = state_of(folder)
    assert state.deployment is not None
    assert (state.deployment.name, state.deployment.model, state.deployment.sku) == (
        "topics",
        model,
        "DeveloperTier",
    )
    assert state.deployment.arm_id == f"{ACCOUNT_ID}/deployments/topics"
    assert state.deployment.ends_at == state.deployment.created_at + 86_400
    written = (folder / "finetune.json").read_text()
    assert project.key not in written
    assert "management" not in written
    assert project.arm_token not in first.stdout + first.stderr
    assert "any region" in first.stderr
    assert "nothing by the hour" in first.stdout
    score, of_saved = [line for line in again.stdout.splitlines() if "score INPUT" in line]
    assert "--model ./tuned-model" in of_saved
    words = shlex.split(score)
    assert words[words.index("--deployment") + 1] == "topics"
    assert words[words.index("--system") + 1] == SYSTEM
    assert project.requests("put_deployment")[0].body["sku"] == {"name": "DeveloperTier", "capacity": 50}


def test_a_checkpoint_is_deployed_by_its_id(
    run: Run, project: Project, simulator: Running, folder: Path
) -> None:
    """`results` proposes one by the name that jobs give it; Azure's management knows only its id."""
    client = client_of(simulator, project, "azure-v1")
    found = client.fine_tuning.jobs.checkpoints.list(state_of(folder).job.id).data
    best = min(found, key=lambda each: each.step_number)
    write_state(folder, replace(state_of(folder), checkpoint=best.fine_tuned_model_checkpoint))
    done = run("deploy", "tuned", "--yes")
    assert done.exit_code == 0, done.stderr
    assert run("deploy", "tuned").exit_code == 0
    (sent,) = project.requests("put_deployment")
    assert sent.body["properties"]["model"]["name"] == best.id
    assert f"-o tuned/scores-tuned-ckpt-step-{best.step_number} " in done.stdout, (
        "another model's are elsewhere"
    )
    assert f"-o tuned/evaluation-ckpt-step-{best.step_number}\n" in done.stdout
    assert best.id in run("list", "tuned").stdout
    assert run("clean", "tuned", "--yes").exit_code == 0
    assert project.meter()["held"] == held()


def test_at_openai_a_model_needs_no_deployment(
    run: Run, project: Project, simulator: Running, tmp_path: Path
) -> None:
    state = train(simulator, project, tmp_path / "tuned", "openai")
    project.set_tuning(model_hidden=0.2)
    done = run("deploy", "tuned", "--name", "topics", "--capacity", "5", surface="openai")
    assert done.exit_code == 0, done.stderr
    assert done.stderr.splitlines()[:2] == [
        f"{flag} has no effect: at this service no deployment is needed" for flag in ("--name", "--capacity")
    ]
    assert "needs no deployment" in done.stdout
    assert f"-m {state.job.model}" in done.stdout
    assert "--deployment" not in done.stdout
    assert not project.requests("put_deployment")
    assert not project.requests("get_token")


def test_a_model_that_a_copied_folder_has_deleted_is_not_waited_for(
    run: Run, project: Project, simulator: Running, tmp_path: Path
) -> None:
    state = train(simulator, project, tmp_path / "tuned", "openai")
    shutil.copytree("tuned", "copy")
    assert run("clean", "copy", "--yes", surface="openai").exit_code == 0
    done = run("deploy", "tuned", surface="openai")
    assert done.exit_code == 1
    assert f"{state.job.model} does not exist any more: it was deleted" in done.stderr
    assert "run: batchscore finetune start tuned --again" in done.stderr
    assert "waiting for" not in done.stderr


def test_nothing_is_made_without_an_answer(run: Run, project: Project, folder: Path) -> None:
    done = run("deploy", "tuned", "--kind", "standard", "--prices", str(write_prices(folder)))
    assert done.exit_code == 2
    assert "add --yes" in done.stderr
    assert "1.70 an hour" in done.stderr
    assert made(project) == ({}, {})
    assert state_of(folder).deployment is None


@SLOW
@pytest.mark.parametrize("yes", [[], ["--yes"]])
def test_what_is_made_after_a_wait_is_agreed_to(
    run: Run, project: Project, folder: Path, management: Management, yes: list[str]
) -> None:
    """While a deployment is being deleted, nothing is to be made yet; afterwards it is."""
    project.set_tuning(deleting=0.6)
    words = ("deploy", "tuned", "--name", "topics", "--kind", "standard")
    assert run(*words, "--yes").exit_code == 0
    asked = len(project.requests("get_permissions"))
    assert management.send("DELETE", "/deployments/topics").status == 202
    done = run(*words, *yes)
    assert (done.exit_code, "add --yes" in done.stderr) == ((0, False) if yes else (2, True))
    assert done.stderr.count("capacity    50") == 1, "what it costs is shown once"
    assert len(project.requests("get_permissions")) == asked + 1, "what may refuse it was read before"
    assert made(project) == ({"topics": 1 + len(yes)}, {})


def test_a_failure_after_the_creation_says_what_stays(run: Run, project: Project, folder: Path) -> None:
    words = ("deploy", "tuned", "--name", "topics", "--kind", "standard", "--yes")
    done = run(*words, env={"BATCHSCORE_API_KEY": "expired"})
    assert done.exit_code == 1
    assert "The deployment topics is there, and costs by the hour while it exists." in done.stderr
    assert done.stderr.endswith("run: batchscore finetune clean tuned --deployment topics --yes\n")


def test_units_are_counted_and_each_costs(run: Run, project: Project, folder: Path) -> None:
    words = ("deploy", "tuned", "--kind", "provisioned", "--prices", str(write_prices(folder)))
    done = run(*words)
    assert (done.exit_code, "say how many, with --capacity N" in done.stderr) == (2, True)
    done = run(*words, "--capacity", "15", "--yes")
    assert done.exit_code == 0, done.stderr
    assert "15, in provisioned throughput units" in done.stderr
    for said in (done.stderr, done.stdout):
        assert "25.50 an hour" in said
        assert "of 1.70 in --prices is that of one unit" in said
    listed = json.loads(run("list", "tuned", *words[4:], "--json").stdout)
    assert listed["deployments"][0]["cost_per_hour"] == 25.5


@SLOW
def test_the_status_says_what_the_deployment_costs_and_how_to_end_it(run: Run, folder: Path) -> None:
    forget_results(folder, state_of(folder))
    assert run("status", "tuned").stdout.endswith(
        "draw the results, run: batchscore finetune results tuned\n"
    )
    assert run("results", "tuned").exit_code == 0
    offer = "To use the model, run: batchscore finetune deploy tuned\n"
    assert run("status", "tuned").stdout.endswith(offer)
    assert run("deploy", "tuned", "--name", "topics", "--kind", "standard", "--yes").exit_code == 0
    shown = run("status", "tuned", "--prices", str(write_prices(folder))).stdout
    assert "topics: Standard\n" in shown
    assert "1.70 an hour while it exists, used or not" in shown
    end = "batchscore finetune clean tuned --deployment topics --yes"
    assert f"To end it, run: {end}\n" in shown
    assert offer not in shown
    assert "give --prices a file with hosting = PRICE for" in run("status", "tuned").stdout
    assert run(*shlex.split(end)[2:]).exit_code == 0
    gone = run("status", "tuned").stdout
    assert "topics" not in gone
    assert gone.endswith(offer)


def write_prices(folder: Path) -> Path:
    path = folder.parent / "prices.toml"
    path.write_text('[prices."gpt-4.1-mini"]\nin = 0.4\nout = 1.6\nhosting = 1.70\n')
    return path


def test_a_deployment_of_others_is_never_changed(
    run: Run, project: Project, folder: Path, management: Management
) -> None:
    assert management.put("topics", MODEL).status == 201
    done = run("deploy", "tuned", "--name", "topics", "--yes")
    assert done.exit_code == 1
    assert "did not make" in done.stderr
    assert made(project) == ({"topics": 1}, {})
    assert state_of(folder).deployment is None


def test_a_deployment_of_others_with_this_model_is_used(
    run: Run, project: Project, folder: Path, management: Management
) -> None:
    assert management.put("theirs", state_of(folder).job.model).status == 201
    done = run("deploy", "tuned", "--yes")
    assert done.exit_code == 0, done.stderr
    assert "--deployment theirs" in done.stdout
    assert "did not make it" in done.stdout
    assert made(project) == ({"theirs": 1}, {})
    cleaned = run("clean", "tuned", "--yes")
    assert cleaned.exit_code == 1
    assert "deployed as theirs" in cleaned.stdout
    assert "--deployment theirs" in cleaned.stdout
    assert project.meter()["held"] == held(models=1, deployments=1)
    assert run("clean", "tuned", "--deployment", "theirs", "--yes").exit_code == 0
    assert run("clean", "tuned", "--yes").exit_code == 0
    assert project.meter()["held"] == held()


def held(**left: int) -> dict[str, int]:
    return dict.fromkeys(("files", "uploads", "jobs", "models", "deployments"), 0) | left


@pytest.mark.parametrize(
    ("rules", "words", "said"),
    [
        ({"may_deploy": False}, [], "Microsoft.CognitiveServices/accounts/deployments/write"),
        ({"quota": 20}, [], "--capacity 20"),
        pytest.param({"quota": 0}, [], "used up", marks=SLOW),
        pytest.param({}, ["--capacity", "1001"], "--capacity 1000", marks=SLOW),
        ({"inference_ends": 0.0}, [], "retired"),
        ({}, ["--kind", "Nonsense"], "may not offer Nonsense"),
        ({}, ["--resource", ACCOUNT_ID.replace("accounts/simulator", "accounts/other")], "--resource"),
        pytest.param({}, ["--resource", ACCOUNT_ID.replace("000001", "000002")], "--resource", marks=SLOW),
    ],
)
def test_what_is_refused_is_explained(
    run: Run, project: Project, folder: Path, rules: dict[str, Any], words: list[str], said: str
) -> None:
    project.set_tuning(**rules)
    done = run("deploy", "tuned", "--yes", *words)
    assert done.exit_code == 1, done.stderr
    assert said in done.stderr
    assert made(project) == ({}, {})
    assert state_of(folder).deployment is None, "nothing was made, so nothing is looked for"


@SLOW
@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (409, "ScopeLocked", "lock on the resource"),
        (409, "ReadOnlyDisabledSubscription", "subscription is disabled"),
        (409, "MissingSubscriptionRegistration", "az provider register"),
        (403, "RequestDisallowedByPolicy", "policy of the subscription"),
        (400, "DeploymentLimitReached", "remove one"),
    ],
)
def test_what_waiting_does_not_cure_is_not_waited_for(
    run: Run, project: Project, folder: Path, status: int, code: str, said: str
) -> None:
    """Such refusals have the status of conflicts that pass, too."""
    project.will("put_deployment", times=None, status=status, code=code)
    done = run("deploy", "tuned", "--yes")
    assert (done.exit_code, said in done.stderr) == (1, True), done.stderr
    assert (made(project), state_of(folder).deployment) == (({}, {}), None)
    assert len(project.requests("put_deployment")) == 1
    project.drop_faults()
    assert run("deploy", "tuned", "--yes").exit_code == 0
    project.will("delete_deployment", times=None, status=status, code=code)
    done = run("clean", "tuned", "--yes")
    assert (done.exit_code, said in done.stdout) == (1, True), done.stdout
    assert len(project.requests("delete_deployment")) == 1


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"BATCHSCORE_ARM_ENDPOINT": None}, "--arm-endpoint"),
        ({"BATCHSCORE_AZURE_RESOURCE": None}, "--resource"),
        ({"BATCHSCORE_AZURE_RESOURCE": "/subscriptions/x"}, "is not the ID"),
        ({"BATCHSCORE_ARM_ENDPOINT": "https://evil.example"}, "no token is sent"),
        pytest.param(
            {
                "IDENTITY_ENDPOINT": "http://127.0.0.1:9",
                "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
            },
            "No Entra ID token",
            marks=SLOW,
        ),
    ],
)
def test_what_is_missing_is_named(
    run: Run, project: Project, folder: Path, env: dict[str, str | None], said: str
) -> None:
    done = run("deploy", "tuned", "--yes", env=env)
    assert done.exit_code == 1
    assert said in done.stderr
    assert made(project) == ({}, {})


def test_a_folder_without_a_model_gets_advice(
    run: Run, project: Project, simulator: Running, tmp_path: Path
) -> None:
    project.set_tuning(validating=0, queued=0, running=20.0, creating=0)
    project.stop_clock()
    write_prepared(tmp_path / "tuned")
    started(place_of(tmp_path / "tuned", simulator.endpoint, project.key, "azure-v1"), "azure-v1")
    project.advance(1)
    done = run("deploy", "tuned", "--yes")
    assert done.exit_code == 1
    assert "its job is running. Run: batchscore finetune watch tuned" in done.stderr
    assert "finetune start" in run("deploy", ".", "--yes").stderr


@pytest.mark.parametrize("surface", ["openai", *AZURE])
def test_a_command_without_an_endpoint_names_that_of_its_folder_and_sends_nothing_there(
    surface: str, run: Run, project: Project, simulator: Running, tmp_path: Path
) -> None:
    host = train(simulator, project, tmp_path / "tuned", surface).endpoint
    write_prepared(tmp_path / "new")
    unset = {"BATCHSCORE_ENDPOINT": None, "BATCHSCORE_API_VERSION": None}
    before = project.books().calls
    for action in ("status", "watch", "results", "list", "deploy", "clean"):
        done = run(action, "tuned", surface=surface, env=unset)
        assert (done.exit_code, f"finetune.json says that its job is at {host}." in done.stderr) == (1, True)
        assert "Nothing was started from new" in run(action, "new", surface=surface, env=unset).stderr
    assert project.books().calls == before
    words = shlex.split(done.stderr.partition(" run: ")[2])
    assert words[:3] == ["batchscore", "finetune", "clean"]
    copied = run(*words[2:], surface=surface, env=unset)
    assert (copied.exit_code, "To delete, in this order" in copied.stdout) == (0, True), copied.stderr


@pytest.mark.parametrize("surface", ["openai", *AZURE])
def test_the_service_is_asked_whether_a_job_has_ended(
    surface: str, run: Run, project: Project, simulator: Running, tmp_path: Path
) -> None:
    """The state of the job was written when it was created: nobody has followed it."""
    folder = tmp_path / "tuned"
    ended = train(simulator, project, folder, surface)
    old = replace(ended, job=replace(ended.job, status="validating_files", model="", result_files=()))
    write_state(folder, old)
    listed = [json.loads(run("list", *words, "--json", surface=surface).stdout) for words in ((), ("tuned",))]
    assert listed[0] == listed[1]
    found = json.loads(run("clean", "tuned", "--json", surface=surface).stdout)["removals"]
    assert {each["why"] for each in found} == {None}
    assert len(found) == listed[0]["left"], "both count checkpoints if they are models of their own"
    assert (state_of(folder).job.model, state_of(folder).job.status) == (ended.job.model, "succeeded")
    write_state(folder, old)
    done = run("deploy", "tuned", "--yes", surface=surface)
    assert (done.exit_code, state_of(folder).job.model) == (0, ended.job.model), done.stderr


@pytest.mark.parametrize(
    ("fault", "happened"),
    [
        ({"drop": True}, True),
        pytest.param({"drop": True}, False, marks=SLOW),
        *[
            pytest.param({"status": status, "retry_after": 1}, happened, marks=SLOW)
            for status in (500, 503)
            for happened in (True, False)
        ],
    ],
)
def test_a_lost_reply_makes_no_second_deployment(
    run: Run, project: Project, folder: Path, fault: dict[str, Any], *, happened: bool
) -> None:
    project.will("put_deployment", happened=happened, **fault)
    done = run("deploy", "tuned", "--name", "topics", "--yes")
    if not happened:
        assert done.exit_code == 4, done.stderr
        assert len(project.requests("put_deployment")) == 1, "never repeated without the user"
        done = run("deploy", "tuned", "--name", "topics", "--yes")
    assert done.exit_code == 0, done.stderr
    assert made(project) == ({"topics": 1}, {})


@SLOW
def test_a_busy_resource_is_waited_for(run: Run, project: Project, folder: Path) -> None:
    project.will("put_deployment", status=409, code="RequestConflict", happened=False, times=2)
    project.will("list_deployments", status=429, retry_after=0.1)
    done = run("deploy", "tuned", "--name", "topics", "--yes")
    assert done.exit_code == 0, done.stderr
    assert "busy" in done.stderr
    assert made(project) == ({"topics": 1}, {})


@SLOW
def test_a_failed_deployment_is_removed_and_made_again_once(run: Run, project: Project, folder: Path) -> None:
    project.set_tuning(deployment_fails=True)
    done = run("deploy", "tuned", "--name", "topics", "--yes")
    assert done.exit_code == 1, done.stderr
    assert "failed again" in done.stderr
    assert made(project) == ({"topics": 2}, {})
    project.set_tuning(deployment_fails=False)
    assert run("deploy", "tuned", "--yes").exit_code == 0
    assert made(project) == ({"topics": 3}, {})


@SLOW
@pytest.mark.parametrize("stuck", ["creating", "not_ready"])
def test_waiting_ends_and_continues(run: Run, project: Project, folder: Path, stuck: str) -> None:
    project.set_tuning(**{stuck: None})
    done = run("deploy", "tuned", "--name", "topics", "--yes", "--max-wait", "1s")
    assert done.exit_code == 4, done.stderr
    assert "Run the same command again" in done.stderr
    assert "costs by the hour" not in done.stderr, "one for evaluation does not"
    assert done.stderr.endswith("run: batchscore finetune clean tuned --deployment topics --yes\n")
    project.set_tuning(**{stuck: 0})
    assert run("deploy", "tuned", "--name", "topics", "--yes").exit_code == 0
    assert made(project) == ({"topics": 1}, {})


def test_what_only_helps_may_be_refused(run: Run, project: Project, folder: Path) -> None:
    """A role may be allowed to deploy, and not to read quotas or permissions."""
    for kind in ("list_account_models", "list_capacities", "list_usages", "get_permissions"):
        project.will(kind, status=403, code="AuthorizationFailed")
    done = run("deploy", "tuned", "--name", "topics", "--yes")
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("not known") == 2
    assert made(project) == ({"topics": 1}, {})


def test_options_of_a_deployment_that_exists(run: Run, project: Project, folder: Path) -> None:
    assert run("deploy", "tuned", "--yes").exit_code == 0
    for more in (["--kind", "standard"], ["--capacity", "7"], ["--name", "second"]):
        done = run("deploy", "tuned", "--yes", *more)
        assert done.exit_code == 1
        assert "emove it" in done.stderr
    assert sum(made(project)[0].values()) == 1


@SLOW
def test_a_deployment_that_is_interrupted_says_what_it_costs(
    batchscore: Cli, project: Project, folder: Path, simulator: Running
) -> None:
    project.set_tuning(creating=60.0)
    Path("prices.toml").write_text(f'[prices."{MODEL}"]\nhosting = 1.70\n')
    words = ["finetune", "deploy", "tuned", "--name", "tickets", "--kind", "standard", "--yes"]
    environ = variables(simulator, project, "azure-v1")
    with batchscore.start(*words, "--prices", "prices.toml", env=environ) as run:
        project.wait_for("get_deployment", 2, timeout_s=60)
        run.interrupt()
        done = run.finish()
    assert done.exit_code == 4
    assert "1.70 an hour" in done.stderr
    assert "run: batchscore finetune clean tuned --deployment tickets --yes" in done.stderr


def test_a_plan_asks_whether_it_can_be_deployed(run: Run, project: Project, folder: Path) -> None:
    lines = (folder / "test.jsonl").read_text()
    (folder / "some.jsonl").write_text(lines)
    words = ("plan", "tuned/some.jsonl", "-m", MODEL, "--resource", ACCOUNT_ID, "--json")
    done = run(*words)
    assert done.exit_code == 0, done.stdout
    found = json.loads(done.stdout)["deployment"]
    assert (found["permission"], found["quota_left"], found["location"]) == (True, 1000, "swedencentral")
    project.set_tuning(may_deploy=False, quota=10)
    done = run(*words)
    assert done.exit_code == 3
    assert len(json.loads(done.stdout)["deployment"]["problems"]) == 2
    assert "may NOT deploy" in run(*words[:-1]).stdout
    assert not project.requests("put_deployment")


# What is listed.


def test_the_list_shows_all_of_it_and_then_nothing(run: Run, project: Project, folder: Path) -> None:
    state = state_of(folder)
    assert run("deploy", "tuned", "--name", "topics", "--kind", "standard", "--yes").exit_code == 0
    project.stop_clock()
    found = json.loads(run("list", "--prices", str(write_prices(folder)), "--json").stdout)
    assert [job["id"] for job in found["jobs"]] == [state.job.id]
    assert [model["id"] for model in found["models"]] == [state.job.model]
    assert found["models"][0]["retires_at"] > 1.7e9
    (deployment,) = found["deployments"]
    assert (deployment["name"], deployment["model"], deployment["cost_per_hour"]) == (
        "topics",
        state.job.model,
        1.7,
    )
    assert {file["id"] for file in found["files"]} == {state.training.file_id, *state.job.result_files}
    assert found["left"] == 2 + len(found["files"])
    text = run("list", "tuned").stdout
    for part in (state.job.id, state.job.model, "topics", "retires 20", "up "):
        assert part in text
    assert run("clean", "tuned", "--yes").exit_code == 0
    for words in (("list",), ("list", "tuned")):
        done = run(*words)
        assert "Nothing is left at Azure OpenAI" in done.stdout
    assert json.loads(run("list", "--json").stdout)["left"] == 0


def test_lists_have_pages(run: Run, project: Project, folder: Path, management: Management) -> None:
    for number in range(3):
        assert management.put(f"base-{number}", "gpt-4o").status == 201
    project.set_tuning(page=1, one_at_a_time=False)
    assert management.put("theirs", state_of(folder).job.model).status == 201
    done = run("deploy", "tuned", "--yes")
    assert "--deployment theirs" in done.stdout, "it is on the fourth page"


def test_a_list_without_a_resource_says_so(run: Run, folder: Path) -> None:
    done = run("list", env={"BATCHSCORE_AZURE_RESOURCE": None})
    assert done.exit_code == 0
    assert "deployments are not listed" in done.stdout


# What is deleted.


@pytest.mark.parametrize("surface", ["openai", *AZURE])
def test_without_yes_nothing_is_deleted(
    run: Run, project: Project, simulator: Running, tmp_path: Path, surface: str
) -> None:
    state = train(simulator, project, tmp_path / "tuned", surface)
    assert run("deploy", "tuned", "--yes", surface=surface).exit_code == 0
    before = project.meter()["held"]
    shown = run("clean", "tuned", surface=surface)
    assert shown.exit_code == 0
    assert state.training.file_id in shown.stdout
    assert "finetune clean tuned --yes" in shown.stdout
    assert project.meter()["held"] == before
    done = run("clean", "tuned", "--yes", surface=surface)
    assert done.exit_code == 0, done.stdout + done.stderr
    assert "not there" not in done.stdout, "a checkpoint that is a model is deleted before its model"
    assert project.meter()["held"] == held()
    spent = project.meter()["total"]
    again = run("clean", "tuned", "--yes", surface=surface)
    assert (again.exit_code, again.stdout) == (0, "Nothing is left to delete.\n")
    assert project.meter()["total"] == spent
    assert state_of(tmp_path / "tuned").deployment is None


def test_what_is_not_there_is_fine(run: Run, project: Project, folder: Path, simulator: Running) -> None:
    state = state_of(folder)
    assert run("deploy", "tuned", "--name", "topics", "--yes").exit_code == 0
    Management(simulator, project).send("DELETE", "/deployments/topics")
    client = client_of(simulator, project, "azure-v1")
    client.files.delete(state.training.file_id)
    done = run("clean", "tuned", "--yes", "--json")
    assert done.exit_code == 0, done.stderr
    states = {each["id"]: each["state"] for each in json.loads(done.stdout)["removals"]}
    assert states["topics"] == states[state.training.file_id] == "not_there"
    assert states[state.job.model] == "deleted"


@pytest.mark.parametrize("tagged", [True, False])
def test_a_deployment_of_others_that_took_the_name_is_left(
    run: Run, project: Project, folder: Path, management: Management, *, tagged: bool
) -> None:
    """As after 24 hours, when the service has removed one for evaluation, and a colleague takes the name."""
    model = state_of(folder).job.model
    assert run("deploy", "tuned", "--name", "topics", "--yes").exit_code == 0
    assert management.send("GET", "/deployments/topics").json()["tags"] == {"batchscore": "a" * 32}
    management.send("DELETE", "/deployments/topics")
    more = {"tags": {"batchscore": "b" * 32}} if tagged else {}
    assert management.put("topics", model if tagged else MODEL, "GlobalStandard", **more).status == 201
    assert ("topics" in run("list", "tuned").stdout) is tagged, "only what serves the model of this folder"
    done = run("clean", "tuned", "--deployment", "topics", "--yes")
    assert done.exit_code == 0, done.stderr
    assert "not there: deployment topics; another one" in done.stdout
    assert "left as it is" in done.stdout
    assert project.meter()["held"]["deployments"] == 1
    assert state_of(folder).deployment is None
    assert run("clean", "tuned", "--yes").exit_code == (1 if tagged else 0), "a served model stays"
    assert project.meter()["held"] == held(deployments=1, models=int(tagged))


def test_a_deployment_is_looked_for_where_it_was_made(run: Run, project: Project, folder: Path) -> None:
    assert run("deploy", "tuned", "--name", "topics", "--kind", "standard", "--yes").exit_code == 0
    wrong = ACCOUNT_ID.replace("accounts/simulator", "accounts/simulatr")
    for words in ((), ("--deployment", "topics")):
        done = run("clean", "tuned", "--yes", "--resource", wrong, *words)
        assert done.exit_code == 1
        assert f"is in {ACCOUNT_ID}. Leave --resource out" in done.stderr
    elsewhere = run("clean", "--deployment", "topics", "--yes", "--resource", wrong)
    assert elsewhere.exit_code == 1
    assert "not deleted: deployment topics: the look at the resource" in elsewhere.stdout
    assert project.meter()["held"]["deployments"] == 1
    assert state_of(folder).deployment is not None
    done = run("clean", "tuned", "--yes", "--resource", ACCOUNT_ID.upper().replace("/SUBSCR", "/subscr"))
    assert done.exit_code == 0, done.stderr
    assert project.meter()["held"] == held()


@pytest.mark.parametrize("surface", ["openai", pytest.param("azure-dated", marks=SLOW)])
def test_a_key_that_sees_nothing_of_a_folder_records_nothing_as_deleted(
    surface: str, run: Run, project: Project, simulator: Running, tmp_path: Path
) -> None:
    """Otherwise the right key would delete nothing, and the model and its files would stay."""
    state = train(simulator, project, tmp_path / "tuned", surface)
    other = Project(simulator.endpoint, simulator.key, "of-others")
    done = run("clean", "tuned", "--yes", surface=surface, env={"BATCHSCORE_API_KEY": other.key})
    assert (done.exit_code, "this key sees nothing of the folder" in done.stdout) == (1, True)
    assert state_of(tmp_path / "tuned") == state
    assert run("clean", "tuned", "--yes", surface=surface).exit_code == 0
    assert (project.meter()["held"]["models"], project.books().files) == (0, 0)


@SLOW
@pytest.mark.parametrize("kind", ["delete_deployment", "delete_model", "delete_file"])
@pytest.mark.parametrize("happened", [True, False])
def test_a_deletion_without_a_reply_is_looked_at(
    run: Run, project: Project, folder: Path, kind: str, *, happened: bool
) -> None:
    assert run("deploy", "tuned", "--yes").exit_code == 0
    project.will(kind, drop=True, happened=happened)
    done = run("clean", "tuned", "--yes")
    assert done.exit_code == 0, done.stdout + done.stderr
    assert project.meter()["held"] == held()


@SLOW
@pytest.mark.parametrize("status", [400, 404, 409, 410])
def test_an_upload_that_is_over_is_gone(run: Run, project: Project, folder: Path, status: int) -> None:
    state = state_of(folder)
    upload = UploadRecord(id="upload-1", part_bytes=1)
    validation = replace(state.training, file_id="", intent_at=0.0, upload=upload)
    write_state(folder, replace(state, validation=validation))
    project.will("cancel_upload", status=status, times=9)
    done = run("clean", "tuned", "--yes")
    assert done.exit_code == 0, done.stdout
    assert "not there: upload upload-1" in done.stdout


def test_a_missing_permission_to_delete_is_explained_and_the_rest_is_deleted(
    run: Run, project: Project, folder: Path
) -> None:
    assert run("deploy", "tuned", "--yes").exit_code == 0
    project.set_tuning(may_deploy=False)
    done = run("clean", "tuned", "--yes")
    assert done.exit_code == 1
    assert "deployments/delete" in done.stdout
    assert "still exists" in done.stdout, "the model waits for its deployment"
    assert project.meter()["held"] == held(models=1, deployments=1)
    project.set_tuning(may_deploy=True)
    assert run("clean", "tuned", "--yes").exit_code == 0
    assert project.meter()["held"] == held()


def test_a_role_that_may_not_delete_models_is_explained(run: Run, project: Project, folder: Path) -> None:
    project.set_tuning(may_delete=False)
    done = run("clean", "tuned", "--yes")
    assert done.exit_code == 1
    assert "may delete models" in done.stdout
    assert project.meter()["held"] == held(models=1)


@pytest.mark.parametrize("looked", [True, False])
def test_a_model_whose_results_were_not_looked_at_is_deployed_with_a_warning(
    *, looked: bool, run: Run, folder: Path
) -> None:
    """An earlier checkpoint may be better."""
    if not looked:
        forget_results(folder, state_of(folder))
    done = run("deploy", "tuned")
    assert ("To find out whether an earlier checkpoint is better, run:" in done.stderr) is not looked


def test_a_model_that_was_deleted_is_not_offered(run: Run, folder: Path) -> None:
    assert run("clean", "tuned", "--yes").exit_code == 0
    for action in ("status", "results", "start"):
        done = run(action, "tuned")
        assert done.exit_code == 0
        assert "The model was deleted at the service." in done.stdout
        assert "batchscore finetune" not in done.stdout


def test_results_are_not_lost(run: Run, project: Project, folder: Path) -> None:
    forget_results(folder, state_of(folder))
    done = run("clean", "tuned", "--yes")
    assert done.exit_code == 1
    assert "finetune results tuned" in done.stdout
    assert project.meter()["held"] == held(files=1)
    assert run("clean", "tuned", "--yes", "--discard-results").exit_code == 0
    assert project.meter()["held"] == held()


@SLOW
def test_results_that_were_saved_while_the_job_ran_are_not_all(
    run: Run, project: Project, simulator: Running, tmp_path: Path
) -> None:
    """The file grows until the job has ended."""
    project.set_tuning(validating=0, queued=0, running=20.0, creating=0, mid_results=True)
    project.stop_clock()
    write_prepared(tmp_path / "tuned")
    started(place_of(tmp_path / "tuned", simulator.endpoint, project.key, "azure-v1"), "azure-v1")
    project.advance(8)
    assert run("results", "tuned").exit_code == 4
    early = (tmp_path / "tuned" / "results.csv").read_text()
    project.advance(60)
    assert run("status", "tuned").exit_code == 0
    done = run("clean", "tuned", "--yes")
    assert (done.exit_code, "the results are not downloaded yet" in done.stdout) == (1, True)
    assert run("results", "tuned").exit_code == 0
    whole = (tmp_path / "tuned" / "results.csv").read_text()
    assert whole.startswith(early.rstrip())
    assert len(whole) > len(early)
    assert run("clean", "tuned", "--yes").exit_code == 0
    assert project.meter()["held"] == held()


def test_only_what_is_named_is_deleted(run: Run, project: Project, folder: Path, simulator: Running) -> None:
    mine = state_of(folder)
    other = train(simulator, project, folder.parent / "other")
    assert run("clean", "tuned", "--yes").exit_code == 0
    client = client_of(simulator, project, "azure-v1")
    assert client.files.retrieve(other.training.file_id).id
    assert client.models.retrieve(other.job.model).id == other.job.model
    done = run("clean", "--trained-model", other.job.model, "--file", other.training.file_id, "--yes")
    assert done.exit_code == 0, done.stdout
    assert project.meter()["held"]["models"] == 0
    assert mine.job.model not in done.stdout
    assert run("clean", "--yes").exit_code == 2
    gone = run("clean", "--deployment", "mistyped", "--yes")
    assert (gone.exit_code, "run: batchscore finetune list" in gone.stdout) == (0, True), "it may be repeated"


@SLOW
def test_a_deployment_that_is_not_listed_yet_is_not_made_again(
    run: Run, project: Project, folder: Path
) -> None:
    project.will("get_deployment", status=404, code="ResourceNotFound", times=2)
    assert run("deploy", "tuned", "--name", "topics", "--yes").exit_code == 0
    assert made(project) == ({"topics": 1}, {})


@SLOW
def test_reads_are_repeated(run: Run, project: Project, folder: Path) -> None:
    project.will("get_account", status=503)
    assert run("deploy", "tuned", "--yes").exit_code == 0


# Killed at each step.

DEPLOY_STEPS = (
    "get_account",
    "list_deployments",
    "list_account_models",
    "list_capacities",
    "list_usages",
    "get_permissions",
    "put_deployment",
    "get_deployment",
)
CLEAN_STEPS = (
    "get_deployment",
    "delete_deployment",
    "list_deployments",
    "delete_model",
    "delete_file",
)


def kill_at(
    cli: Cli, project: Project, kind: str, words: tuple[str, ...], *, happened: bool, **more: Any
) -> None:
    """Kill a command while it waits for the reply to a call."""
    before = project.books().calls.get(kind, 0)
    project.will(kind, hang=60, happened=happened)
    with cli.start("finetune", *words, **more) as process:
        project.wait_for(kind, before + 1, timeout_s=60)
        process.popen.kill()
    project.drop_faults()


@SLOW
@pytest.mark.parametrize("happened", [True, False])
@pytest.mark.parametrize("kind", DEPLOY_STEPS)
def test_a_killed_deployment_is_made_once(
    command_line: Cli, project: Project, simulator: Running, tmp_path: Path, kind: str, *, happened: bool
) -> None:
    train(simulator, project, tmp_path / "tuned")
    project.set_tuning(creating=0.5)
    more = {"env": variables(simulator, project, "azure-v1"), "cwd": tmp_path}
    words = ("deploy", "tuned", "--name", "topics", "--yes")
    kill_at(command_line, project, kind, words, happened=happened, **more)
    done = command_line("finetune", *words, **more)
    assert done.exit_code == 0, done.stderr
    assert made(project) == ({"topics": 1}, {})
    assert command_line("finetune", "clean", "tuned", "--yes", **more).exit_code == 0
    assert project.meter()["held"] == held()


@SLOW
@pytest.mark.parametrize("happened", [True, False])
@pytest.mark.parametrize("kind", CLEAN_STEPS)
def test_a_killed_clean_up_continues(
    command_line: Cli, project: Project, simulator: Running, tmp_path: Path, kind: str, *, happened: bool
) -> None:
    train(simulator, project, tmp_path / "tuned")
    more = {"env": variables(simulator, project, "azure-v1"), "cwd": tmp_path}
    done = command_line("finetune", "deploy", "tuned", "--kind", "standard", "--yes", **more)
    assert done.exit_code == 0, done.stderr
    project.set_tuning(deleting=0.5)
    words = ("clean", "tuned", "--yes")
    kill_at(command_line, project, kind, words, happened=happened, **more)
    done = command_line("finetune", *words, **more)
    assert done.exit_code == 0, done.said
    meter = project.meter()
    assert meter["held"] == held()
    project.advance(3600)
    assert project.meter()["total"] == meter["total"], "nothing was left running"


@SLOW
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(2))
def test_killed_at_any_call_until_it_is_done(
    command_line: Cli, project: Project, simulator: Running, tmp_path: Path, seed: int
) -> None:
    """Each run makes one call more than the one before, and is killed as it waits for the reply."""
    train(simulator, project, tmp_path / "tuned")
    project.set_tuning(creating=0.7, not_ready=0.3, deleting=0.4)
    chosen = random.Random(seed)
    more: Any = {"env": variables(simulator, project, "azure-v1"), "cwd": tmp_path}
    for words in (("deploy", "tuned", "--name", "topics", "--yes"), ("clean", "tuned", "--yes")):
        for calls in range(100):
            project.will(None, skip=calls, hang=60, happened=chosen.random() < 0.5)
            with command_line.start("finetune", *words, **more) as process:
                while process.popen.poll() is None and project.books().faults_left:
                    time.sleep(0.02)
                is_killed = process.popen.poll() is None
                process.popen.kill()
                done = process.finish()
            project.drop_faults()
            if not is_killed:
                break
        assert done.exit_code == 0, done.said
        assert calls > 3
        if words[0] == "deploy":
            assert made(project) == ({"topics": 1}, {})
    assert project.meter()["held"] == held()
