"""What may be deployed, what is deleted in which order, and which commands use a trained model: decisions."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchscore.cli.finetune.deployment_text import new_folder
from batchscore.cli.finetune.use import Use, handover
from batchscore.errors import SettingsError, UsageError
from batchscore.evaluate.labels import answer_of
from batchscore.finetune.deployment.commands import DeployOptions
from batchscore.finetune.deployment.decide import (
    KINDS,
    DeployStep,
    WantedDeployment,
    checked_kind,
    checked_name,
    ends_at,
    hosting_hour,
    hosting_price,
    kind_of,
    name_for,
    next_step,
    no_room,
    room_for,
    versioned,
)
from batchscore.finetune.deployment.inventory import base_of
from batchscore.finetune.deployment.make import check_account
from batchscore.finetune.deployment.removals import Named, Removal, Thing, is_gone, removals_of, waits_for
from batchscore.finetune.service.dialects import AZURE_DATED, AZURE_V1
from batchscore.finetune.state import (
    DeploymentRecord,
    FileRecord,
    JobRecord,
    ResultsRecord,
    TrainingState,
    UploadRecord,
)
from batchscore.provider.arm import Account, AccountFacts, CapacityLeft, Deployed

MODEL = "gpt-4.1-mini-2025-04-14.ft-0a1b2c-topics"
RUN = "run-1"
DEVELOPER = KINDS["developer"]
WANTED = WantedDeployment("topics", MODEL, DEVELOPER)
RECORD = DeploymentRecord(name="topics", model=MODEL, intent_at=1.0, arm_id="/x/deployments/topics")


def there(name: str = "topics", state: str = "succeeded", model: str = MODEL, **more: Any) -> Deployed:
    given = {"sku": "DeveloperTier", "capacity": 50, "created_at": 5.0, "tags": {"batchscore": RUN}, **more}
    return Deployed(name, state, model, **given)


@pytest.mark.parametrize(
    ("found", "record", "step"),
    [
        ([], None, DeployStep.CREATE),
        ([there(model="gpt-4o", tags={})], None, DeployStep.REFUSE),  # of others, with this name
        ([there("TOPICS", model="gpt-4o", tags={})], None, DeployStep.REFUSE),
        ([there(model="gpt-4o", tags={})], RECORD, DeployStep.REFUSE),
        ([there(model="gpt-4o", tags={"batchscore": "run-2"})], RECORD, DeployStep.REFUSE),
        ([there(tags={"batchscore": "run-2"})], RECORD, DeployStep.REUSE),
        ([there(tags={})], replace(RECORD, created_at=4.0), DeployStep.REUSE),  # made later, by others
        ([there(tags={})], replace(RECORD, created_at=5.0), DeployStep.PROBE),
        ([there("other", tags={})], None, DeployStep.REUSE),
        ([there("other", "deleting", tags={})], None, DeployStep.CREATE),
        ([there("base", model="gpt-4o", tags={})], None, DeployStep.CREATE),
        ([there()], RECORD, DeployStep.PROBE),
        ([there("Topics")], RECORD, DeployStep.PROBE),
        ([there(tags={})], RECORD, DeployStep.PROBE),  # a service that keeps no tags
        ([there(tags={})], replace(RECORD, intent_at=0.0), DeployStep.REUSE),
        ([there()], None, DeployStep.PROBE),  # finetune.json was restored from a backup
        ([there(state="creating")], RECORD, DeployStep.WAIT),
        ([there(state="")], RECORD, DeployStep.WAIT),
        ([there(state="deleting")], RECORD, DeployStep.WAIT),
        ([there(state="failed")], RECORD, DeployStep.REMOVE),
        ([there(state="canceled")], RECORD, DeployStep.REMOVE),
        ([there(state="failed", model="gpt-4o", tags={})], None, DeployStep.REFUSE),
        ([there("earlier", model="gpt-4o.ft-1")], None, DeployStep.REFUSE),  # ours, of an earlier training
        ([there(model="gpt-4o.ft-1")], RECORD, DeployStep.REFUSE),
    ],
)
def test_the_next_step(found: list[Deployed], record: DeploymentRecord | None, step: DeployStep) -> None:
    decided = next_step(WANTED, record, found, RUN)
    assert decided.step is step
    assert bool(decided.why) is (step in {DeployStep.REFUSE, DeployStep.REUSE, DeployStep.REMOVE})


def test_options_that_an_existing_deployment_does_not_have_are_refused() -> None:
    wanted = replace(WANTED, kind=KINDS["standard"], capacity=10)
    assert next_step(wanted, RECORD, [there()], RUN).step is DeployStep.PROBE, "nobody chose them"
    for option in ("kind", "capacity"):
        decided = next_step(replace(wanted, chosen=frozenset({option})), RECORD, [there()], RUN)
        assert decided.step is DeployStep.REFUSE


def test_the_request_says_whose_the_deployment_is() -> None:
    assert WANTED.body(RUN) == {
        "sku": {"name": "DeveloperTier", "capacity": 50},
        "properties": {"model": {"format": "OpenAI", "name": MODEL, "version": "1"}},
        "tags": {"batchscore": RUN},
    }
    open_model = replace(WANTED, format="Mistral AI").body(RUN)
    assert open_model["properties"]["model"]["format"] == "Mistral AI"


@pytest.mark.parametrize("given", ["developer", "DeveloperTier", "developertier", " DEVELOPER "])
def test_kinds_are_named_in_two_ways(given: str) -> None:
    assert checked_kind(given) is DEVELOPER


def test_an_unknown_kind_costs_by_the_hour() -> None:
    assert checked_kind("DataZoneStandard").hourly
    assert kind_of("a b").hourly
    for wrong in ("", "a b", "x" * 99, "foo", "dev"):
        with pytest.raises(UsageError):
            checked_kind(wrong)


@pytest.mark.parametrize("model", [MODEL, "ft:gpt-4o:org::x1", "a" * 200, "..x.."])
def test_a_model_gives_a_name_that_the_service_takes(model: str) -> None:
    assert checked_name(name_for(model) + "x" * (len(name_for(model)) < 2))


def test_the_name_of_a_deployment_is_short_and_tells_models_apart() -> None:
    tuned = "gpt-4.1-mini-2025-04-14.ft-42f87ed2b243aad5dea5e9b21698a7a9"
    assert name_for(tuned) == "gpt-4-1-mini-ft-42f87ed2b2"
    assert name_for(f"{tuned}-topics") == "gpt-4-1-mini-ft-42f87ed2b2-topics"
    assert name_for(f"{tuned}:ckpt-step-40") == "gpt-4-1-mini-ft-42f87ed2b2-ckpt-step-40"


@pytest.mark.parametrize("name", ["a", "a.b", "a b", "-a", "a" * 65, "a/../b", ""])
def test_a_name_that_the_service_does_not_take(name: str) -> None:
    with pytest.raises(UsageError):
        checked_name(name)


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("gpt-4.1-mini-2025-04-14", ("gpt-4.1-mini", "2025-04-14")),
        ("gpt-35-turbo-0125", ("gpt-35-turbo", "0125")),
        ("gpt-4o", ("gpt-4o", "")),
    ],
)
def test_the_version_of_a_base_model(base: str, expected: tuple[str, str]) -> None:
    assert versioned(base) == expected


@pytest.mark.parametrize(
    ("capacities", "usages", "left"),
    [
        ([], [], None),
        ([("DeveloperTier", 20)], [], 20),
        ([("Standard", 20)], [], None),
        ([("DeveloperTier", 200)], [("OpenAI.DeveloperTier.gpt-4.1-mini-finetune", 30)], 30),
        ([("DeveloperTier", 200)], [("OpenAI.DeveloperTier.gpt-4.1-mini", 0)], 200),
        ([], [("OpenAI.DeveloperTier.gpt-4.1-mini", 7)], 7),
        (
            [],
            [("OpenAI.Standard.gpt-4.1-mini", 7), ("OpenAI.DeveloperTier.gpt-4.1", 7), ("AccountCount", 1)],
            None,
        ),
        ([("developertier", -4)], [], 0),
    ],
)
def test_how_much_can_be_deployed(capacities: Any, usages: Any, left: int | None) -> None:
    quotas = [[CapacityLeft(*each) for each in given] for given in (capacities, usages)]
    found = room_for(WANTED, "gpt-4.1-mini-2025-04-14", *quotas)
    assert found == left
    problem = no_room(found, WANTED)
    assert bool(problem) is (left is not None and left < 50)
    if left:
        assert not problem or f"--capacity {left}" in problem


def test_when_a_deployment_ends_and_what_it_costs() -> None:
    assert ends_at(DEVELOPER, 100.0) == 100.0 + 86_400
    assert ends_at(DEVELOPER, 0.0) == 0.0
    assert ends_at(KINDS["standard"], 100.0) == 0.0
    prices = {"gpt-4.1-mini": {"hosting": 1.7}, "gpt-4o": {"in": 1.0, "out": 2.0}}
    assert hosting_price(prices, MODEL, base_of(MODEL)) == 1.7
    assert hosting_price(prices, "gpt-4o") is None
    assert hosting_price(None, "gpt-4o") is None


@pytest.mark.parametrize(
    ("kind", "price", "hour"),
    [
        ("developer", 1.7, 0.0),
        ("developer", None, 0.0),
        ("standard", 1.7, 1.7),
        ("standard", None, None),
        ("provisioned", 2.0, 200.0),  # for each unit
        ("GlobalProvisionedManaged", 2.0, 200.0),
        ("provisioned", None, None),
    ],
)
def test_what_an_hour_costs(kind: str, price: float | None, hour: float | None) -> None:
    assert hosting_hour(kind_of(kind), 100, price) == hour


def test_units_have_no_usual_number() -> None:
    """Each of them costs, and half a dozen is not half a hundred."""
    state = trained(deployment=replace(RECORD, sku="Standard", capacity=80))
    provisioned = KINDS["provisioned"]
    assert DeployOptions(kind=KINDS["global"]).wanted(state, MODEL, MODEL).capacity == 80
    assert DeployOptions(kind=provisioned, capacity=15).wanted(state, MODEL, MODEL).capacity == 15
    with pytest.raises(UsageError, match="--capacity"):
        DeployOptions(kind=provisioned).wanted(state, MODEL, MODEL)


@pytest.mark.parametrize(
    ("endpoint", "fits"),
    [
        ("mine.openai.azure.com", True),
        ("mine.cognitiveservices.azure.com", True),
        ("other.openai.azure.com", False),
        ("gateway.example.com", True),
        ("127.0.0.1:8000", True),
    ],
)
def test_a_resource_must_be_that_of_the_endpoint(endpoint: str, *, fits: bool) -> None:
    account = Account("s", "g", "mine")
    facts = AccountFacts("swedencentral", frozenset({"mine.openai.azure.com", "mine.services.ai.azure.com"}))
    if fits:
        check_account(account, facts, endpoint)
        return
    with pytest.raises(SettingsError, match="Name the resource of that endpoint"):
        check_account(account, facts, endpoint)


# What is deleted.


def file(name: str, **more: Any) -> FileRecord:
    return FileRecord(name=name, digest="xxh3:0", bytes=1, **more)


def trained(**more: Any) -> TrainingState:
    job = JobRecord(
        id="job-1",
        intent_at=1.0,
        status="succeeded",
        model=MODEL,
        result_files=("file-r",),
        request={"model": "gpt-4.1-mini"},
    )
    given: dict[str, Any] = {
        "training": file("t.jsonl", file_id="file-t"),
        "validation": file("v.jsonl", file_id="file-v"),
        "job": job,
        "deployment": RECORD,
        "earlier_jobs": (JobRecord(id="job-0", status="cancelled", result_files=("file-r0",)),),
        "leftovers": (file("l.jsonl", file_id="file-l"),),
        **more,
    }
    return TrainingState(run=RUN, endpoint="x", dialect="azure-v1", **given)


def ids(removals: list[Removal]) -> list[tuple[Thing, str]]:
    return [(each.thing, each.id) for each in removals]


FILES = [(Thing.FILE, each) for each in ("file-t", "file-v", "file-r", "file-r0", "file-l")]


def test_the_order_of_deletion() -> None:
    found = removals_of(trained(), AZURE_V1, discard_results=True)
    assert ids(found) == [(Thing.DEPLOYMENT, "topics"), (Thing.MODEL, MODEL), *FILES]
    assert not any(each.blocked for each in found)
    dated = removals_of(trained(), AZURE_DATED, discard_results=True)
    assert ids(dated) == [(Thing.DEPLOYMENT, "topics"), (Thing.JOB, "job-1"), (Thing.JOB, "job-0"), *FILES]


@pytest.mark.parametrize(("saved", "kept"), [(None, True), ("file-of-job-0", True), ("file-r", False)])
def test_results_that_are_not_saved_stay(saved: str | None, *, kept: bool) -> None:
    results = None if saved is None else ResultsRecord(file_id=saved, digest="d")
    found = removals_of(trained(results=results), AZURE_DATED, discard_results=False)
    assert [each.id for each in found if each.blocked] == (["job-1", "file-r"] if kept else [])


@pytest.mark.parametrize("status", ["running", "queued", "paused", "new-word", ""])
def test_the_files_of_a_job_that_runs_stay(status: str) -> None:
    job = JobRecord(id="job-1", intent_at=1.0, status=status)
    found = removals_of(trained(job=job, deployment=None, earlier_jobs=()), AZURE_V1, discard_results=False)
    assert [each.id for each in found if not each.blocked] == ["file-l"]


def test_a_job_that_may_exist_keeps_its_files() -> None:
    state = trained(job=JobRecord(intent_at=1.0), deployment=None, earlier_jobs=())
    assert all(
        each.blocked for each in removals_of(state, AZURE_V1, discard_results=False) if each.id != "file-l"
    )


def test_what_may_have_arrived_without_a_reply_is_looked_for() -> None:
    upload = UploadRecord(id="upload-1", part_bytes=1)
    state = trained(
        training=file("run-t.jsonl", intent_at=1.0),
        validation=file("v", upload=upload),
        job=JobRecord(),
        deployment=None,
        earlier_jobs=(),
        leftovers=(),
    )
    assert ids(removals_of(state, AZURE_V1, discard_results=False)) == [
        (Thing.UPLOAD, "upload-1"),
        (Thing.LOST_FILE, "run-t.jsonl"),
    ]


def test_a_model_of_a_double_is_deleted_and_one_that_goes_on_keeps_the_files() -> None:
    double = JobRecord(id="job-2", status="succeeded", model="double", intent_at=1.0)
    state = trained(earlier_jobs=(double,), deployment=None)
    assert (Thing.MODEL, "double") in ids(removals_of(state, AZURE_V1, discard_results=True))
    state = trained(earlier_jobs=(replace(double, status="running"),), deployment=None)
    for dialect, blocked in ((AZURE_V1, []), (AZURE_DATED, ["job-2"])):
        found = removals_of(state, dialect, "tuned", discard_results=True)
        assert [each.id for each in found if each.blocked] == [*blocked, "file-t", "file-v"]
        assert "finetune start tuned" in next(each.blocked for each in found if each.blocked)


def test_a_leftover_is_looked_for_by_its_name() -> None:
    left = (file("run-t.jsonl", intent_at=1.0), file("", intent_at=1.0, file_id="file-x"))
    state = trained(leftovers=left, deployment=None, earlier_jobs=())
    found = removals_of(state, AZURE_V1, discard_results=True)
    assert ids(found)[-2:] == [(Thing.FILE, "file-x"), (Thing.LOST_FILE, "run-t.jsonl")]
    assert [each.file_name for each in found if each.thing is Thing.FILE] == ["t.jsonl", "v.jsonl", "", ""]


def test_a_file_that_is_deleted_before_there_is_a_job_is_sent_again() -> None:
    state = trained(job=JobRecord(), deployment=None, earlier_jobs=(), leftovers=())
    for removal in removals_of(state, AZURE_V1, discard_results=True):
        state = is_gone(state, removal)
    assert state.training == file("t.jsonl")
    sent = replace(state, training=file("t.jsonl", intent_at=2.0))
    assert ids(removals_of(sent, AZURE_V1, discard_results=True)) == [(Thing.LOST_FILE, "t.jsonl")]


def test_what_is_gone_is_not_deleted_again() -> None:
    state = trained()
    found = removals_of(state, AZURE_V1, discard_results=True)
    for number, removal in enumerate(found):
        state = is_gone(state, removal)
        assert removals_of(state, AZURE_V1, discard_results=True) == found[number + 1 :]
    assert state.deployment is None
    assert "/x/deployments/topics" in state.deleted


def test_a_model_waits_for_its_deployment() -> None:
    deployment, model, a_file = (
        Removal(thing, "x", "") for thing in (Thing.DEPLOYMENT, Thing.MODEL, Thing.FILE)
    )
    assert "x still exists" in waits_for(model, [deployment])
    assert not waits_for(model, [a_file])
    assert not waits_for(a_file, [deployment])


def test_what_the_command_names() -> None:
    assert not Named()
    named = Named(("d", "d"), ("m",), ("f", "g"))
    assert ids(named.removals()) == [
        (Thing.DEPLOYMENT, "d"),
        (Thing.MODEL, "m"),
        (Thing.FILE, "f"),
        (Thing.FILE, "g"),
    ]


# How a model is used.

SUMMARY: dict[str, Any] = {
    "format": "chat",
    "fields": {"prompt": "Topic of: {text}", "answer": "{topic}", "system": "Say {{x}}; it's {language}."},
    "system": None,
    "parts": {"test": {"file": "test.jsonl"}},
}


def test_the_commands_have_the_prompt_of_the_training() -> None:
    use = Use(MODEL, "gpt-4.1-mini", "topics", ["--endpoint", "https://x"])
    commands = handover("tuned/", SUMMARY, use, "./tuned-model")
    assert shlex.split(commands.score) == [
        *[
            "batchscore",
            "score",
            "INPUT",
            "-o",
            "OUT",
            "--task",
            "chat",
            "-m",
            "gpt-4.1-mini",
            "--deployment",
            "topics",
            "--endpoint",
            "https://x",
        ],
        "--system",
        "Say {{x}}; it's {language}.",
        "--prompt",
        "Topic of: {text}",
    ]
    save = shlex.split(commands.save)
    assert save[:8] == ["batchscore", "model", "save", "./tuned-model", "--task", "chat", "-m", "topics"]
    assert "https://x" not in save, "a saved model holds no endpoint"
    used = "batchscore score INPUT -o OUT --model ./tuned-model --endpoint https://x"
    assert commands.use_saved == used
    base, tuned, evaluate = map(shlex.split, commands.evaluate)
    assert base[2] == tuned[2] == "tuned/test.jsonl"
    assert "--deployment" not in base
    assert evaluate[2:4] == ["tuned/scores-base", "tuned/scores-tuned"]


def test_a_model_is_saved_to_a_folder_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = []
    for _ in range(3):
        names.append(new_folder("tuned-model"))
        Path(names[-1]).mkdir()
    assert names == ["./tuned-model", "./tuned-model-2", "./tuned-model-3"]


def test_a_system_message_of_conversations_is_no_template() -> None:
    summary = {**SUMMARY, "fields": {"messages": "as it is"}, "system": 'Answer as {"a": 1}.'}
    words = shlex.split(handover("tuned", summary, Use("ft:m", "gpt-4o"), "s").score)
    assert words[-2:] == ["--system", 'Answer as {{"a": 1}}.']
    assert words[7:9] == ["-m", "ft:m"]


@pytest.mark.parametrize("base", ["o4-mini-2025-04-16", "gpt-5-mini"])
def test_models_without_a_temperature_get_none(base: str) -> None:
    assert "--temperature" not in " ".join(handover("t", SUMMARY, Use("m", base), "s").evaluate)


def test_without_a_test_part_there_is_no_evaluation() -> None:
    for summary in ({**SUMMARY, "parts": {}}, {**SUMMARY, "format": "preference"}):
        assert not handover("t", summary, Use("m", "gpt-4o"), "s").evaluate


@pytest.mark.parametrize(
    ("cell", "label"),
    [
        ([{"role": "user", "content": "?"}, {"role": "assistant", "content": "billing"}], "billing"),
        ([{"role": "user", "content": "?"}], [{"role": "user", "content": "?"}]),
        (["a", "b"], ["a", "b"]),
        ([], []),
        ("billing", "billing"),
    ],
)
def test_the_label_of_a_conversation_is_its_answer(cell: Any, label: Any) -> None:
    assert answer_of(cell) == label
