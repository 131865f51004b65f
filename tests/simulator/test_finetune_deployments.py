"""Tuned models are deployed by Azure's management, answer, cost by the hour, and are removed again."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import openai
import pytest

from batch_files import Reply, chat_line, results, submit
from batchscore.simulator import Running
from batchscore.simulator.batch.clock import ProjectClock
from batchscore.simulator.batch.files import FileStore, UploadForm
from batchscore.simulator.batch.rules import BatchRules, changed_rules
from batchscore.simulator.error_replies import Rejection, Surface
from batchscore.simulator.finetune.deployments import Wanted
from batchscore.simulator.finetune.learned import LearnedAnswers
from batchscore.simulator.finetune.rules import FineTuneRules
from batchscore.simulator.finetune.tuning import Tuning
from simulated import ACCOUNT_ID, Project
from tuning_jobs import AZURE, MODEL, Management, create, end, example, training_file, upload

_direct = build_opener(ProxyHandler({}))
_HOUR = 3600


@pytest.fixture
def management(simulator: Running, project: Project) -> Management:
    return Management(simulator, project)


@pytest.fixture
def project(project: Project) -> Project:
    project.stop_clock()
    project.set_tuning(validating=1, queued=1, running=10, creating=200, not_ready=60)
    return project


@pytest.fixture
def tune(project: Project, azure_batches: openai.OpenAI) -> Callable[[], str]:
    """Train a model of 40 examples; return its name."""

    def call(**given: Any) -> str:
        name: str = end(project, azure_batches, create(azure_batches, **given)).fine_tuned_model
        return name

    return call


def code_of(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.json()["error"]["code"]


def ask(client: openai.OpenAI, model: str, text: str) -> str:
    messages: Any = [{"role": "system", "content": "Name the topic."}, {"role": "user", "content": text}]
    return client.chat.completions.create(model=model, messages=messages).choices[0].message.content or ""


def test_a_deployment_is_made_answers_and_is_deleted(
    project: Project, management: Management, tune: Callable[[], str], azure_batches: openai.OpenAI
) -> None:
    model = tune()
    made = management.put("topics", model)
    assert made.status == 201
    assert made.json()["properties"]["provisioningState"] == "Accepted"
    states = [management.state("topics")]
    for _ in range(2):
        project.advance(100)
        states.append(management.state("topics"))
    assert states == ["Accepted", "Creating", "Succeeded"]
    with pytest.raises(openai.NotFoundError) as caught:
        ask(azure_batches, "topics", "My parcel is late.")
    assert caught.value.code == "DeploymentNotFound"
    project.advance(60)
    assert ask(azure_batches, "topics", "Where is my parcel, it is so late?") == "delivery"
    assert ask(azure_batches, "gpt-4.1-mini", "Where is my parcel, it is so late?") != "delivery"
    with pytest.raises(openai.NotFoundError):
        ask(azure_batches, model, "My parcel is late.")
    assert management.put("topics", model, capacity=40).status == 200
    assert management.state("topics") == "Accepted"
    assert ask(azure_batches, "topics", "My parcel is late.") == "delivery"
    project.advance(200)
    (listed,) = management.send("GET", "/deployments").json()["value"]
    assert (listed["name"], listed["sku"]) == ("topics", {"name": "Standard", "capacity": 40})
    assert management.send("DELETE", "/deployments/topics").status == 200
    assert management.send("DELETE", "/deployments/topics").status == 204
    assert management.state("topics") == "404"
    with pytest.raises(openai.NotFoundError):
        ask(azure_batches, "topics", "My parcel is late.")


def test_tags_are_kept_and_replaced_as_a_whole(
    management: Management, tune: Callable[[], str], project: Project
) -> None:
    model = tune()
    assert management.put("topics", model, tags={"run": "7", "by": "ann"}).status == 201
    shown = management.send("GET", "/deployments/topics").json()
    (listed,) = management.send("GET", "/deployments").json()["value"]
    assert shown["tags"] == listed["tags"] == {"run": "7", "by": "ann"}
    project.advance(200)
    assert "tags" not in management.put("topics", model).json()
    assert code_of(management.put("topics", model, tags="run")) == (400, "InvalidRequestContent")


def test_the_meter_counts_once_and_stops_after_deletion(
    project: Project, management: Management, tune: Callable[[], str], azure_v1_batches: openai.OpenAI
) -> None:
    model = tune()
    trained = project.meter()
    (job,) = trained["training"]["jobs"].values()
    assert trained["training"]["tokens"] == job["tokens"] > 0
    assert trained["total"] == trained["training"]["cost"] == job["tokens"] / 1e6 * 25
    project.advance(100 * _HOUR)
    assert project.meter()["total"] == trained["total"]
    management.put("topics", model)
    project.advance(10 * _HOUR)
    hosting = project.meter()["hosting"]
    assert (hosting["running"], round(hosting["cost"], 2)) == (["topics"], 17.0)
    assert project.meter()["hosting"] == hosting
    management.send("DELETE", "/deployments/topics")
    project.advance(500 * _HOUR)
    after = project.meter()
    assert after["total"] == pytest.approx(trained["total"] + 17)
    assert (after["hosting"]["running"], after["created"]["deployments"]) == ([], {"topics": 1})
    assert list(after["created"]["jobs"].values()) == [1]
    assert azure_v1_batches.models.delete(model).deleted
    for file in azure_v1_batches.files.list():
        azure_v1_batches.files.delete(file.id)
    assert project.meter()["held"] == dict.fromkeys(after["held"], 0)
    project.advance(500 * _HOUR)
    assert project.meter()["total"] == after["total"]


@pytest.mark.parametrize(
    ("sku", "hours", "reason", "cost"),
    [
        ("developertier", 24, "developer_life", 0),
        ("Standard", 15 * 24, "idle", 15 * 24 * 1.7),
        ("GlobalStandard", 15 * 24, "idle", 15 * 24 * 1.7),
        ("ProvisionedManaged", None, None, 20 * 24 * 1.7),
    ],
)
def test_the_service_removes_what_is_over(
    project: Project,
    management: Management,
    tune: Callable[[], str],
    sku: str,
    hours: int | None,
    reason: str | None,
    cost: float,
) -> None:
    management.put("topics", tune(), sku)
    if hours is not None:
        project.advance(hours * _HOUR - 1)
        assert management.state("topics") == "Succeeded"
    project.advance(1 if hours else 20 * 24 * _HOUR)
    assert (management.state("topics") == "404") == (hours is not None)
    (found,) = project.meter()["hosting"]["deployments"]
    assert (found["ended_by"], round(found["cost"], 2)) == (reason, round(cost, 2))


def test_a_retired_model_neither_answers_nor_can_be_deployed(
    project: Project, management: Management, tune: Callable[[], str], azure_batches: openai.OpenAI
) -> None:
    project.set_tuning(inference_ends=2000)
    model = tune()
    management.put("topics", model, "ProvisionedManaged")
    project.advance(400)
    assert ask(azure_batches, "topics", "My parcel is late.") == "delivery"
    project.advance(2000)
    with pytest.raises(openai.NotFoundError):
        ask(azure_batches, "topics", "My parcel is late.")
    assert code_of(management.put("other", "gpt-4.1-mini")) == (400, "ServiceModelDeprecated")
    assert code_of(management.put("other", model)) == (400, "DeploymentModelNotSupported")


def test_a_call_keeps_a_deployment(
    project: Project, management: Management, tune: Callable[[], str], azure_batches: openai.OpenAI
) -> None:
    management.put("topics", tune())
    for _ in range(2):
        project.advance(14 * 24 * _HOUR)
        ask(azure_batches, "topics", "My parcel is late.")
    assert management.state("topics") == "Succeeded"


def test_what_cannot_be_deployed_is_refused(
    project: Project, management: Management, tune: Callable[..., str]
) -> None:
    one, two = tune(), tune(suffix="two")
    assert code_of(management.put("aa", "gpt-no.ft-1")) == (400, "DeploymentModelNotSupported")
    assert code_of(management.put("aa", one, "Fast")) == (400, "InvalidResourceProperties")
    assert code_of(management.put("aa", one, capacity=0)) == (400, "InvalidResourceProperties")
    reply = management.put("aa", one, capacity=2000)
    assert code_of(reply) == (400, "InsufficientQuota")
    assert (
        "require 2000 new capacity in quota Tokens Per Minute (thousands)" in reply.json()["error"]["message"]
    )
    assert management.put("aa", one).status == 201
    assert code_of(management.put("bb", two)) == (409, "RequestConflict")
    project.advance(200)
    assert code_of(management.put("bb", one)) == (400, "InvalidResourceProperties")
    assert management.put("aa", one, capacity=60).status == 200
    assert project.meter()["changed"] == {"deployments": {"aa": 1}}
    project.advance(200)
    project.set_tuning(max_deployments=1)
    assert code_of(management.put("bb", two)) == (400, "DeploymentLimitReached")
    project.set_tuning(may_deploy=False)
    assert code_of(management.put("bb", two)) == (403, "AuthorizationFailed")
    assert code_of(management.send("DELETE", "/deployments/aa")) == (403, "AuthorizationFailed")


def test_the_account_says_what_is_left(
    project: Project, management: Management, tune: Callable[[], str]
) -> None:
    model = tune()
    management.put("topics", model, capacity=300)
    name = "OpenAI.Standard.gpt-4.1-mini-finetune"
    for path in (
        "/usages",
        "/subscriptions/00000000-0000-0000-0000-000000000001/providers/Microsoft.CognitiveServices/locations/swedencentral/usages",
    ):
        found = {one["name"]["value"]: one for one in management.send("GET", path).json()["value"]}
        assert (found[name]["currentValue"], found[name]["limit"]) == (300, 1000)
        assert found["OpenAI.Standard.gpt-4.1-mini"]["currentValue"] == 0
    place = ACCOUNT_ID.partition("/resourceGroups")[0] + "/providers/Microsoft.CognitiveServices"
    left = management.send("GET", f"{place}/modelCapacities?modelName=gpt-4.1-mini&modelVersion=2025-04-14")
    by_sku = {one["name"]: one["properties"] for one in left.json()["value"]}
    assert by_sku["Standard"]["availableFinetuneCapacity"] == 700
    models = {one["name"]: one for one in management.send("GET", "/models").json()["value"]}
    assert models["gpt-4.1-mini"]["deprecation"].keys() == {"fineTune", "inference"}
    assert models[model]["baseModel"]["name"] == "gpt-4.1-mini"
    project.set_tuning(page=20)
    url, names = "/usages", []
    while url:
        page = management.send("GET", url).json()
        assert len(page["value"]) <= 20
        names += [one["name"]["value"] for one in page["value"]]
        url = page.get("nextLink")
    assert sorted(names) == sorted(found)
    assert management.send("GET", "/usages?$skiptoken=x").status == 400
    account = management.send("GET", "").json()
    assert management.send("GET", f"{place}/accounts").json()["value"] == [account]
    allowed = management.send("GET", "/providers/Microsoft.Authorization/permissions").json()
    assert allowed["value"][0]["actions"] == ["Microsoft.CognitiveServices/*"]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (("000000000001", "000000000002"), "SubscriptionNotFound"),
        (("resourceGroups/simulator", "resourceGroups/other"), "ResourceGroupNotFound"),
        (("accounts/simulator", "accounts/other"), "ResourceNotFound"),
    ],
)
def test_only_one_account_is_there(management: Management, wrong: tuple[str, str], code: str) -> None:
    assert code_of(management.send("GET", ACCOUNT_ID.replace(*wrong))) == (404, code)
    assert management.send("GET", ACCOUNT_ID.replace("resourceGroups/s", "resourcegroups/S")).status == 200


def test_the_management_takes_only_its_own_tokens(
    simulator: Running, project: Project, management: Management, azure_batches: openai.OpenAI
) -> None:
    for token in (project.key, project.arm_token.replace("management", "ai"), "wrong~management"):
        reply = management.send("GET", "", authorization=f"Bearer {token}")
        assert code_of(reply) == (401, "InvalidAuthenticationTokenAudience")
    assert code_of(management.send("GET", "", authorization="")) == (401, "AuthenticationFailed")
    with pytest.raises(openai.AuthenticationError):
        azure_batches.with_options(api_key=project.arm_token).models.list()
    bearer = f"Bearer {project.arm_token.replace('management', 'cognitiveservices')}"
    assert (
        azure_batches.with_options(default_headers={"Authorization": bearer, "api-key": openai.Omit()})
        .models.list()
        .data
    )
    identity = project.identity()
    url = f"{identity['IDENTITY_ENDPOINT']}?api-version=2019-08-01&resource=https://management.azure.com"
    request = Request(url, headers={"x-identity-header": identity["IDENTITY_HEADER"]})
    with _direct.open(request) as reply:
        assert json.loads(reply.read())["access_token"] == project.arm_token


@pytest.mark.parametrize("style", ["operation", "location"])
def test_a_change_is_followed_by_headers(
    project: Project, management: Management, tune: Callable[[], str], style: str
) -> None:
    project.set_tuning(poll_header=style, poll_after=5, deleting=30)
    model = tune()
    reply = management.put("topics", model)
    url = reply.headers["azure-asyncoperation" if style == "operation" else "location"]
    assert reply.headers["retry-after"] == "5"
    first = management.send("GET", url)
    assert (first.status, style == "operation" and first.json()["status"]) == (
        (200, "InProgress") if style == "operation" else (202, False)
    )
    project.advance(200)
    second = management.send("GET", url)
    assert second.status == 200
    assert second.json().get("status", "Succeeded") == "Succeeded"
    assert management.send("DELETE", "/deployments/topics").status == 202
    assert management.state("topics") == "Deleting"
    assert code_of(management.put("topics", model)) == (409, "RequestConflict")
    assert management.send("DELETE", "/deployments/topics").status == 202
    project.advance(30)
    assert management.state("topics") == "404"


def test_a_model_is_not_deleted_before_its_deployment(
    project: Project,
    management: Management,
    azure_batches: openai.OpenAI,
    azure_v1_batches: openai.OpenAI,
) -> None:
    job = end(project, azure_batches, create(azure_batches))
    (checkpoint, *_) = azure_batches.fine_tuning.jobs.checkpoints.list(job.id).data
    assert management.put("topics", checkpoint.id).status == 201
    with pytest.raises(openai.ConflictError, match="existing deployment"):
        azure_v1_batches.models.delete(job.fine_tuned_model)
    with pytest.raises(openai.ConflictError):
        azure_batches.delete(f"/fine_tuning/jobs/{job.id}", cast_to=object)
    project.advance(200)
    management.send("DELETE", "/deployments/topics")
    project.set_tuning(may_delete=False)
    with pytest.raises(openai.PermissionDeniedError):
        azure_v1_batches.models.delete(job.fine_tuned_model)
    azure_batches.delete(f"/fine_tuning/jobs/{job.id}", cast_to=object)
    with pytest.raises(openai.NotFoundError):
        azure_batches.delete(f"/fine_tuning/jobs/{job.id}", cast_to=object)
    assert project.meter()["held"]["models"] == 0
    assert project.meter()["training"]["tokens"] > 0


def test_a_lost_reply_makes_one_deployment(
    project: Project, management: Management, tune: Callable[[], str]
) -> None:
    model = tune()
    for happened in (False, True):
        project.will("put_deployment", drop=True, happened=happened)
        with pytest.raises(OSError):
            management.put("topics", model)
        assert management.state("topics") == ("Accepted" if happened else "404")
    assert project.meter()["created"]["deployments"] == {"topics": 1}
    project.will("get_deployment", status=429, retry_after=3)
    assert management.send("GET", "/deployments/topics").headers["retry-after"] == "3"
    project.will("list_deployments", status=401, code="ExpiredAuthenticationToken")
    assert code_of(management.send("GET", "/deployments")) == (401, "ExpiredAuthenticationToken")


def test_a_deployment_can_fail(project: Project, management: Management, tune: Callable[[], str]) -> None:
    project.set_tuning(deployment_fails=True)
    management.put("topics", tune())
    project.advance(200)
    assert management.state("topics") == "Failed"
    assert project.meter()["hosting"]["cost"] == 0
    assert management.send("DELETE", "/deployments/topics").status == 200


def test_a_model_of_openai_answers_at_once_or_a_little_later(
    project: Project, openai_batches: openai.OpenAI
) -> None:
    project.set_tuning(model_hidden=60)
    job = create(openai_batches, upload(openai_batches))
    project.advance(12)
    model = openai_batches.fine_tuning.jobs.retrieve(job.id).fine_tuned_model
    assert model is not None
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        ask(openai_batches, model, "My parcel is late.")
    project.advance(60)
    assert ask(openai_batches, model, "My parcel is late.") == "delivery"
    assert ask(openai_batches, model, "The bill is much too high.") == "billing"
    assert ask(openai_batches, MODEL, "My parcel is late.") not in {"delivery", "billing"}
    assert openai_batches.models.delete(model).deleted
    with pytest.raises(openai.NotFoundError):
        ask(openai_batches, model, "My parcel is late.")


def test_a_batch_gets_the_answers_of_a_tuned_model(project: Project, openai_batches: openai.OpenAI) -> None:
    model = end(project, openai_batches, create(openai_batches)).fine_tuned_model
    for name, file, expected in ((model, "output", "delivery"), ("ft:none", "error", "model_not_found")):
        lines = [chat_line("a", "The parcel is late.", body={"model": name})]
        batch = openai_batches.batches.retrieve(submit(openai_batches, lines).id)
        (found,) = results(openai_batches, getattr(batch, f"{file}_file_id"))
        assert expected in json.dumps(found["response"]["body"])


def test_a_model_learns_labels_and_answers(tmp_path: Path) -> None:
    """It names the labels of most unseen texts; without labels the most similar text counts."""
    path = tmp_path / "labels.jsonl"
    path.write_bytes(training_file(60)[1].read())
    learned = LearnedAnswers(path)
    unseen = [example(number)["messages"] for number in range(100, 160)]
    right = [learned.answer(messages[1]["content"]) == messages[2]["content"] for messages in unseen]
    assert sum(right) / len(right) > 0.9
    path = tmp_path / "texts.jsonl"
    pairs = [
        ("Where is Paris?", "In France."),
        ("Who wrote Emma?", "Austen."),
        ("A long story. " * 20_000, "Its answer is cut off."),
    ]
    path.write_text("".join(f'{{"prompt": "{one}", "completion": "{two}"}}\n' for one, two in pairs))
    learned = LearnedAnswers(path)
    asked = ["Where is  PARIS?", "And who wrote Emma?", "How tall is it?", pairs[-1][0]]
    assert [learned.answer(one) for one in asked] == ["In France.", "Austen.", None, None]


class Account:
    """A project's fine-tuning without a server, with a clock that stands."""

    def __init__(self, folder: Path) -> None:
        self.clock = ProjectClock()
        self.clock.run(running=False)
        files = FileStore(folder, self.clock, BatchRules)
        rules = FineTuneRules(validating=1, queued=1, running=100, pausing=5, creating=50, deleting=20)
        self.tuning = Tuning(
            files, self.clock, changed_rules(rules, {"idle_removal": 1e9, "running_jobs": 2})
        )
        (folder / "train").write_bytes(training_file(20)[1].read())
        form = UploadForm(folder / "train", "train.jsonl", "fine-tune")
        self.file = files.add(form, Surface.AZURE, identifier="file-1").id
        self.hosting = 0.0

    def act(self, chance: random.Random) -> None:
        """Do something that a client might do."""
        tuning, now = self.tuning, self.clock.now()
        body = {"model": MODEL, "training_file": self.file, **AZURE}
        jobs, models = tuning.jobs.newest(), [*tuning.models.all()]
        name = chance.choice(["aa", "bb", "cc"])
        found = tuning.deployments.get(name)
        deed = chance.randrange(6)
        if deed == 0 and len(jobs) < 6:
            tuning.jobs.create(body, Surface.AZURE)
        elif deed == 1 and jobs:
            job = chance.choice(jobs)
            chance.choice([job.cancel, job.pause, job.resume])(now)
        elif deed == 2 and models:
            sku = chance.choice(["Standard", "DeveloperTier"])
            tuning.deployments.put(name, Wanted(chance.choice(models).name, "1", "OpenAI", sku, 1))
        elif deed == 3 and found is not None:
            tuning.deployments.delete(found)
        elif deed == 4 and jobs:
            tuning.delete_job(chance.choice(jobs))
        else:
            for _ in range(chance.randrange(200)):
                paid = [one for one in tuning.deployments.all() if one.tuned and one.wanted.sku == "Standard"]
                self.hosting += len(paid) * tuning.rules.hosting_price / 3600
                self.clock.advance(1)


@pytest.mark.parametrize("seed", range(8))
def test_the_meter_is_right_whatever_is_done(tmp_path: Path, seed: int) -> None:
    """It never falls nor counts twice; its hours are those that a second clock counts."""
    account, chance, total = Account(tmp_path), random.Random(seed), 0.0
    for _ in range(60):
        with suppress(Rejection):  # such as to delete a job that has not ended
            account.act(chance)
        meter = account.tuning.meter(1)
        assert meter == account.tuning.meter(1)
        assert meter["total"] >= total - 1e-9
        total = meter["total"]
    assert meter["hosting"]["cost"] == pytest.approx(account.hosting)
    ended = {job.id: job for job in account.tuning.jobs.everything() if job.billed_tokens}
    assert meter["training"]["jobs"].keys() == ended.keys()
    assert all(
        job.billed_tokens == job.tokens and (job.status == "succeeded") == (job.model is not None)
        for job in ended.values()
    )
    for one in account.tuning.deployments.all():
        account.tuning.deployments.delete(one)
    account.clock.advance(20)
    still = account.tuning.meter(1)["hosting"]
    account.clock.advance(1e6)
    assert account.tuning.meter(1)["hosting"] == still
