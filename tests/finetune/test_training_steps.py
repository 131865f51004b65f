"""The next step of a training, and the record of what was done."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchscore.endpoint.target import Target, resolve_target
from batchscore.errors import InputError, OutputError, OutputLocked, SettingsError, UsageError
from batchscore.finetune.service.calls import address_above, address_of
from batchscore.finetune.service.dialects import (
    AZURE_DATED,
    AZURE_V1,
    COMPATIBLE,
    OPENAI,
    TrainingDialect,
    advice_for,
    dialect_of,
)
from batchscore.finetune.state import (
    STATE,
    DeploymentRecord,
    FileRecord,
    JobRecord,
    ResultsRecord,
    TrainingState,
    UploadRecord,
    change_state,
    hold_folder,
    read_state,
    require_job,
    with_job,
    with_own_job,
    write_state,
)
from batchscore.finetune.training.begin import continued
from batchscore.finetune.training.steps import (
    RUN_KEY,
    JobMove,
    PartStep,
    TrainingStep,
    after_failure,
    job_body,
    next_step,
    own_jobs,
    request_of,
    with_listed,
)
from batchscore.provider.client import NotThere, Refused, Unknown, control_address
from batchscore.provider.job_object import JobState, job_state, training_event
from batchscore.provider.models import model_facts
from batchscore.task import CHAT
from endpoint_settings import endpoint_settings
from openai_schemas import check_object

TRAIN = FileRecord(name="r-train.jsonl", digest="xxh3:1", bytes=3, examples=10)
VALID = FileRecord(name="r-validation.jsonl", digest="xxh3:2", bytes=3)
NEW = TrainingState(
    run="r",
    endpoint="h",
    dialect="openai",
    training=TRAIN,
    validation=VALID,
    job=JobRecord(request={"model": "m"}),
)


def sent(file: FileRecord, **more: Any) -> FileRecord:
    return replace(file, file_id=f"id-{file.name}", **more)


READY = replace(NEW, training=sent(TRAIN, processed=True), validation=sent(VALID, processed=True))


def with_job_of(state: TrainingState, **fields: Any) -> TrainingState:
    return replace(state, job=replace(state.job, **fields))


@pytest.mark.parametrize(
    ("state", "step", "part"),
    [
        (NEW, TrainingStep.SEND_FILE, "training"),
        (replace(NEW, training=sent(TRAIN)), TrainingStep.SEND_FILE, "validation"),
        (replace(NEW, training=sent(TRAIN), validation=None), TrainingStep.WAIT_FOR_FILE, "training"),
        (replace(READY, validation=sent(VALID)), TrainingStep.WAIT_FOR_FILE, "validation"),
        (READY, TrainingStep.CREATE_JOB, ""),
        (with_job_of(READY, intent_at=1.0), TrainingStep.FIND_JOB, ""),
        (with_job_of(READY, intent_at=1.0, id="j", status="running"), TrainingStep.DONE, ""),
        (with_job_of(READY, id="j", status="failed"), TrainingStep.DONE, ""),
    ],
)
def test_the_first_step_that_is_not_done(state: TrainingState, step: TrainingStep, part: str) -> None:
    assert next_step(state) == PartStep(step, part)


def job(key: str, created: float = 1.0, **fields: Any) -> JobState:
    return job_state({"id": key, "status": "running", "created_at": 1.7e9 + created, **fields})


def ids(found: list[JobState]) -> list[str]:
    return [each.id for each in found]


def test_a_job_is_found_by_its_run_or_its_file() -> None:
    state = with_job_of(READY, intent_at=1.7e9, request={"model": "m", "suffix": "s"})
    own, file = {"metadata": {RUN_KEY: "r"}}, {"training_file": state.training.file_id}
    others = [
        job("other"),
        job("other-run", metadata={RUN_KEY: "x"}, **file),
        job("other-suffix", suffix="t", **file),
    ]
    assert own_jobs(state, others) == []
    for mine in (job("mine", **own), job("mine", **file), job("mine", suffix="s", **file)):
        assert ids(own_jobs(state, [*others, mine])) == ["mine"]
    earlier = replace(state, earlier_jobs=(JobRecord(id="mine", status="failed"),))
    assert own_jobs(earlier, [job("mine", **own)]) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "another"},
        {"model": "m-mini"},
        {"hyperparameters": {"n_epochs": 9}},
        {"created_at": 1.7e9 - 86_400},
        {"metadata": {RUN_KEY: "x"}},
    ],
)
def test_a_job_that_somebody_made_of_our_file_is_not_ours(fields: dict[str, Any]) -> None:
    state = with_job_of(
        READY, intent_at=1.7e9, request={"model": "m", "hyperparameters": {"n_epochs": 3, "beta": "auto"}}
    )
    ours = {"model": "m-2025-04-14", "training_file": state.training.file_id}
    ours["hyperparameters"] = {"n_epochs": 3, "beta": 0.1}
    assert ids(own_jobs(state, [job("mine", **ours)])) == ["mine"]
    assert own_jobs(state, [job("by-hand", **(ours | fields))]) == []


def test_a_service_that_keeps_our_run_knows_all_our_jobs_by_it() -> None:
    """So one that somebody made of the same file, in the same way, is no double: nobody cancels it."""
    state = with_job_of(READY, intent_at=1.7e9, id="mine", doubtful=True)
    alike = job("by-hand", 2.0, training_file=state.training.file_id, model="m")
    mine = job("mine", 3.0, metadata={RUN_KEY: "r"})
    assert ids(own_jobs(state, [alike, mine])) == ["mine"]
    assert with_listed(state, [alike, mine]).doubles == []


def test_the_first_job_that_makes_a_model_is_kept() -> None:
    run = {"metadata": {RUN_KEY: "r"}}
    listed = [
        job("third", 3.0, **run),
        job("second", 2.0, **run),
        job("stopping", 0.5, status="cancelling", **run),
        job("first", 1.0, status="cancelled", **run),
    ]
    assert ids(own_jobs(with_job_of(READY, intent_at=1.7e9), listed)) == [
        "second",
        "third",
        "stopping",
        "first",
    ]


def test_each_job_has_a_record_of_its_own() -> None:
    """What is said of one job never becomes the record of another one."""
    made = replace(
        with_job_of(READY, intent_at=1.0, id="b", status="running", expected_tokens=7, doubtful=True),
        earlier_jobs=(JobRecord(id="a", status="cancelled", model="ft:a"),),
        checkpoint="ft:b-1",
    )
    found = with_job(made, job("a", status="cancelled"))
    assert (found.job, found.earlier_jobs[0].model) == (made.job, "ft:a")
    found = with_job(made, job("c"))
    assert [each.id for each in found.jobs] == ["b", "a", "c"]
    assert found.doubles == ["c"]
    taken = with_own_job(found, job("c"))
    assert [each.id for each in taken.jobs] == ["c", "a", "b"]
    assert (taken.job.expected_tokens, taken.job.doubtful, taken.checkpoint) == (7, True, "")
    with pytest.raises(InputError, match="b now"):
        require_job(made, "a", Path("tuned"))
    new = replace(made, job=JobRecord(intent_at=2.0))
    with pytest.raises(InputError, match="being created"):
        require_job(new, "a", Path("tuned"))
    assert require_job(new, "c", Path("tuned")) is new


def test_the_doubt_ends_with_the_last_job() -> None:
    run = {"metadata": {RUN_KEY: "r"}}
    state = with_job_of(READY, intent_at=1.7e9, id="a", status="running", doubtful=True)
    state = with_listed(state, [job("a", **run)])
    assert state.job.doubtful, "the list may lag"
    state = with_listed(with_job(state, job("a", status="succeeded")), [job("b", **run)])
    assert (state.job.doubtful, state.doubles) == (True, ["b"])
    ended = job("b", status="succeeded", fine_tuned_model="ft:b", **run)
    state = with_listed(state, [ended])
    assert (state.job.doubtful, state.doubles) == (False, [])
    assert state.earlier_jobs[0].model == "ft:b"


def test_what_a_service_says_no_more_is_not_forgotten() -> None:
    made = with_job_of(READY, id="j", status="succeeded", model="ft:m", result_files=("f",))
    found = with_job(made, job("j", status="succeeded", fine_tuned_model=None, result_files=None))
    assert (found.job.model, found.job.result_files) == ("ft:m", ("f",))


@pytest.mark.parametrize(
    ("failure", "tries", "move"),
    [
        (Unknown("it", 503), 1, JobMove.LOOK_AGAIN),
        (Unknown("it", 429), 1, JobMove.LOOK_AGAIN),
        (Unknown("it", 429, "daily_rate_limit_exceeded"), 1, JobMove.STOP),
        (Refused("it", 400, "invalidPayload"), 1, JobMove.STOP),
        (
            Refused("it", 400, "invalidPayload", "must point to a completed file import."),
            1,
            JobMove.WAIT_FOR_FILE,
        ),
        (NotThere("it", 404), 1, JobMove.WAIT_FOR_FILE),
        (NotThere("it", 404), 9, JobMove.STOP),
        (Refused("it", 403), 1, JobMove.STOP),
    ],
)
def test_what_follows_a_creation_that_failed(failure: Any, tries: int, move: JobMove) -> None:
    assert after_failure(failure, tries) is move


PARAMETERS = {"hyperparameters": {"n_epochs": 2}}


def method(name: str, **more: Any) -> dict[str, Any]:
    return {"method": {"type": name, name: {**more, **PARAMETERS}}}


@pytest.mark.parametrize(
    ("dialect", "name", "expected"),
    [
        (OPENAI, "supervised", method("supervised")),
        (COMPATIBLE, "supervised", PARAMETERS),
        (AZURE_DATED, "supervised", PARAMETERS),
        (AZURE_DATED, "dpo", method("dpo")),
        (AZURE_V1, "reinforcement", method("reinforcement", grader={"type": "x"})),
    ],
)
def test_the_request_of_a_job(dialect: TrainingDialect, name: str, expected: dict[str, Any]) -> None:
    more = {"suffix": None, "trainingType": "Standard", "reinforcement": {"grader": {"type": "x"}}}
    request = request_of("m", name, {"n_epochs": 2}, more, dialect)
    assert request == {"model": "m", "trainingType": "Standard", **expected}
    body = job_body(replace(READY, job=JobRecord(request=request)), dialect)
    assert body["training_file"] == READY.training.file_id
    assert ("metadata" in body) is dialect.keeps_metadata


GRADER = {"type": "string_check", "name": "g", "input": "{{sample.output_text}}", "operation": "eq"}


@pytest.mark.parametrize("dialect", [OPENAI, COMPATIBLE], ids=lambda each: each.name)
@pytest.mark.parametrize("name", ["supervised", "dpo", "reinforcement"])
def test_a_request_is_as_the_description_of_openai_has_it(dialect: TrainingDialect, name: str) -> None:
    parameters = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 0.5}
    more = {"suffix": "s", "seed": 3, "reinforcement": {"grader": {**GRADER, "reference": "{{item.answer}}"}}}
    request = request_of("gpt-4o-mini", name, parameters, more, dialect)
    check_object(
        "CreateFineTuningJobRequest", job_body(replace(READY, job=JobRecord(request=request)), dialect)
    )


def test_the_record_is_private_whole_and_complete(tmp_path: Path) -> None:
    upload = UploadRecord(id="u", part_bytes=4, parts=("p1", "p2"), expires_at=5.0)
    state = replace(
        with_job_of(READY, intent_at=1.0, result_files=("f",)),
        training=replace(TRAIN, upload=upload),
        earlier_jobs=(JobRecord(id="j0", result_files=("r",)),),
        leftovers=(sent(TRAIN),),
        results=ResultsRecord(file_id="f", digest="d"),
        deployment=DeploymentRecord(arm_id="/a", intent_at=2.0, capacity=50),
        deleted=("x",),
    )
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state
    assert (tmp_path / STATE).stat().st_mode & 0o777 == 0o600
    assert change_state(tmp_path, lambda each: replace(each, checkpoint="c")).checkpoint == "c"
    assert [each.name for each in tmp_path.iterdir()] == [STATE], "no lock and no half-written file is left"
    with hold_folder(tmp_path, "it", print), pytest.raises(OutputLocked):
        change_state(tmp_path, lambda each: each)


@pytest.mark.parametrize("text", ["", "[]", '{"version": 1}', '{"version": "1", "run": "r"}', '{"versi'])
def test_a_damaged_record_stops_everything(tmp_path: Path, text: str) -> None:
    (tmp_path / STATE).write_text(text)
    with pytest.raises(OutputError, match="may be paid for again"):
        read_state(tmp_path)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("job",), None),
        (("job", "id"), 7),
        (("job", "intent_at"), "soon"),
        (("job", "doubtful"), 1),
        (("job", "request"), []),
        (("job", "result_files"), "f"),
        (("training", "name"), None),
        (("earlier_jobs",), ["j0"]),
        (("leftovers",), ["file-1"]),
        (("deleted",), [1]),
        (("results",), {}),
    ],
    ids=str,
)
def test_a_record_with_another_type_or_without_a_field_is_damaged(
    tmp_path: Path, place: tuple[str, ...], value: Any
) -> None:
    write_state(tmp_path, with_job_of(READY, intent_at=1.0, id="j"))
    whole = json.loads((tmp_path / STATE).read_text())
    for is_missing in (False, True):
        found = json.loads(json.dumps(whole))
        inner = found[place[0]] if len(place) > 1 else found
        inner[place[-1]] = value
        if is_missing:
            del inner[place[-1]]
        (tmp_path / STATE).write_text(json.dumps(found))
        with pytest.raises(OutputError, match="is damaged"):
            read_state(tmp_path)


def test_a_record_of_a_newer_version_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / STATE).write_text('{"version": 2, "jobs": []}')
    with pytest.raises(OutputError, match="update batchscore"):
        read_state(tmp_path)


def test_settings_of_a_job_cannot_change(tmp_path: Path) -> None:
    made = with_job_of(READY, intent_at=1.0, id="j", status="running")
    other = with_job_of(NEW, request={"model": "m", "seed": 1})
    assert continued(made, NEW, tmp_path, again=False) is made
    assert continued(made, with_job_of(NEW, request={}), tmp_path, again=False) is made
    with pytest.raises(SettingsError, match=r"other settings \(seed\)"):
        continued(made, other, tmp_path, again=False)
    before = continued(READY, other, tmp_path, again=False)
    assert before.job.request["seed"] == 1, "before there is a job they can"
    assert before.training == READY.training


def test_a_folder_that_was_prepared_again_sends_its_new_files(tmp_path: Path) -> None:
    new = replace(NEW, training=replace(TRAIN, digest="xxh3:9", name="n"))
    found = continued(READY, new, tmp_path, again=False)
    assert found.training == new.training
    assert set(found.leftovers) == {READY.training, READY.validation}
    assert found.run == READY.run
    begun = replace(TRAIN, upload=UploadRecord(id="u", part_bytes=1))
    lost = replace(NEW, training=begun, validation=replace(VALID, intent_at=1.0))
    found = continued(lost, new, tmp_path, again=False)
    assert set(found.leftovers) == {lost.training, lost.validation}, "without an id they may be there, too"


@pytest.mark.parametrize("status", ["running", "succeeded", ""])
def test_a_new_job_follows_no_other(tmp_path: Path, status: str) -> None:
    """One without a status may exist."""
    made = with_job_of(READY, id="j" if status else "", intent_at=1.0, status=status)
    with pytest.raises(UsageError):
        continued(made, NEW, tmp_path, again=True)


def test_a_first_job_may_be_one_of_data_that_others_have_trained(tmp_path: Path) -> None:
    assert continued(READY, NEW, tmp_path, again=True) == READY


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_new_job_follows_one_that_failed(tmp_path: Path, status: str) -> None:
    made = with_job_of(READY, id="j", status=status, result_files=("f",))
    found = continued(made, NEW, tmp_path, again=True)
    assert found.earlier_jobs == (made.job,)
    assert next_step(found) == PartStep(TrainingStep.WAIT_FOR_FILE, "training")


def test_objects_of_both_dialects() -> None:
    azure = job_state(
        {
            "id": "ftjob-1",
            "status": "Pending",
            "hyperparameters": {"n_epochs": -1, "batch_size": None, "learning_rate_multiplier": 0.5},
            "result_files": None,
            "error": None,
            "estimated_finish": 1.8e9,
        }
    )
    assert azure.status == "queued"
    assert azure.settings == {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": 0.5}
    assert azure.result_files == ()
    openai = job_state(
        {
            "id": "ftjob-2",
            "status": "failed",
            "method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1, "n_epochs": "auto"}}},
            "error": {
                "code": "invalid_n_examples",
                "message": "Training file has 3 example(s)",
                "param": "x",
            },
        }
    )
    assert openai.ended
    assert openai.settings == {"beta": 0.1, "n_epochs": "auto"}
    assert "too few" in advice_for(openai.error_code, openai.error_words, "check it")
    event = training_event({"id": "e", "level": "warning", "data": {"step": 1, "train_loss": "x"}})
    assert (event.level, event.metrics) == ("warn", {"step": 1})
    facts = model_facts({"id": "m", "shutdown_date": "2027-01-14", "capabilities": {"fine_tune": False}})
    assert facts.used_until == 1799884800.0
    assert facts.trainable is False


@pytest.mark.parametrize(
    ("endpoint", "version", "address"),
    [
        ("https://gw.example.com/team/v1", None, "https://gw.example.com/team/v1"),
        ("http://gw.internal:8080/team", None, "http://gw.internal:8080/team"),
        ("https://api.openai.com/", None, "https://api.openai.com/v1"),
        ("https://gw.example.com/team/openai/v1/chat/completions", "v1", "https://gw.example.com/team/openai/v1"),
        ("https://gw.example.com/team", "2024-10-21", "https://gw.example.com/team/openai"),
        ("https://topics.openai.azure.com", None, "https://topics.openai.azure.com/openai/v1"),
        ("https://topics.openai.azure.com", "2024-10-21", "https://topics.openai.azure.com/openai"),
        ("https://gw.example.com/sk-aB3dE6gH9jK2mN5pQ8sT1vX4/v1", None, "https://gw.example.com/***/v1"),
    ],
)  # fmt: skip
def test_the_address_that_a_folder_records_leads_to_the_same_calls(
    endpoint: str, version: str | None, address: str
) -> None:
    def target(text: str) -> Target:
        return resolve_target(
            endpoint_settings(task="chat", model="any", endpoint=text, api_version=version),
            {"BATCHSCORE_API_KEY": "k"},
        )

    assert address_above(target(endpoint)) == address
    state = replace(NEW, address=address, dialect=dialect_of(target(endpoint)).name)
    assert address_of(state, version) == ["--endpoint", address]
    if "***" not in address:
        assert control_address(target(address), CHAT)[0] == control_address(target(endpoint), CHAT)[0]


def test_a_state_of_an_earlier_version_has_no_address(tmp_path: Path) -> None:
    write_state(tmp_path, replace(NEW, address="https://gw.example.com/v1"))
    content = json.loads((tmp_path / STATE).read_text())
    del content["address"]
    (tmp_path / STATE).write_text(json.dumps(content))
    assert read_state(tmp_path) == NEW
    assert address_of(replace(NEW, endpoint="api.openai.com"), None) == [
        "--endpoint",
        "https://api.openai.com",
    ]
