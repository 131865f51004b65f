"""The next step of a training, and the record of what was done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchscore.errors import OutputError, OutputLocked, SettingsError, UsageError
from batchscore.finetune.begin import continued
from batchscore.finetune.dialects import (
    AZURE_DATED,
    AZURE_V1,
    COMPATIBLE,
    OPENAI,
    TrainingDialect,
    advice_for,
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
    write_state,
)
from batchscore.finetune.steps import (
    RUN_KEY,
    JobMove,
    PartStep,
    TrainingStep,
    after_failure,
    after_looking,
    job_body,
    next_step,
    request_of,
)
from batchscore.provider.client import NotThere, Refused, Unknown
from batchscore.provider.job_object import JobState, job_state, training_event
from batchscore.provider.models import model_facts
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
        (with_job_of(READY, intent_at=1.0, id="j", status="running"), TrainingStep.FOLLOW_JOB, ""),
        (with_job_of(READY, id="j", status="a state of next year"), TrainingStep.FOLLOW_JOB, ""),
        (with_job_of(READY, id="j", status="failed"), TrainingStep.DONE, ""),
    ],
)
def test_the_first_step_that_is_not_done(state: TrainingState, step: TrainingStep, part: str) -> None:
    assert next_step(state) == PartStep(step, part)


def job(key: str, created: float = 1.0, **fields: Any) -> JobState:
    return job_state({"id": key, "status": "running", "created_at": 1.7e9 + created, **fields})


def test_a_job_is_found_by_its_run_or_its_file() -> None:
    state = with_job_of(READY, intent_at=1.7e9, request={"model": "m", "suffix": "s"})
    own, file = {"metadata": {RUN_KEY: "r"}}, {"training_file": state.training.file_id}
    others = [
        job("other"),
        job("other-run", metadata={RUN_KEY: "x"}, **file),
        job("other-suffix", suffix="t", **file),
    ]
    assert after_looking(state, others, [3.0]).move is JobMove.LOOK_AGAIN
    assert after_looking(state, others, []).move is JobMove.CREATE
    for mine in (job("mine", **own), job("mine", **file), job("mine", suffix="s", **file)):
        found = after_looking(state, [*others, mine], [])
        assert found.job is not None
        assert found.job.id == "mine"
    earlier = replace(state, earlier_jobs=("mine",))
    assert after_looking(earlier, [job("mine", **own)], []).move is JobMove.CREATE


def test_doubles_are_named_and_the_first_job_is_kept() -> None:
    found = after_looking(
        with_job_of(READY, intent_at=1.7e9),
        [
            job("third", 3.0, metadata={RUN_KEY: "r"}, status="cancelled"),
            job("second", 2.0, metadata={RUN_KEY: "r"}),
            job("first", 1.0, metadata={RUN_KEY: "r"}),
        ],
        [],
    )
    assert found.job is not None
    assert found.job.id == "first"
    assert [each.id for each in found.doubles] == ["second"], "one that has ended needs nothing"


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
        earlier_jobs=("j0",),
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


@pytest.mark.parametrize("text", ["", "[]", '{"version": 1}', '{"version": 2, "run": "r"}', '{"versi'])
def test_a_damaged_record_stops_everything(tmp_path: Path, text: str) -> None:
    (tmp_path / STATE).write_text(text)
    with pytest.raises(OutputError, match="may be paid for again"):
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
    assert set(found.leftovers) == {READY.training.file_id, READY.files["validation"].file_id}
    assert found.run == READY.run


@pytest.mark.parametrize("status", ["running", "succeeded", ""])
def test_a_new_job_follows_no_other(tmp_path: Path, status: str) -> None:
    made = with_job_of(READY, id="j" if status else "", status=status)
    with pytest.raises(UsageError):
        continued(made, NEW, tmp_path, again=True)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_new_job_follows_one_that_failed(tmp_path: Path, status: str) -> None:
    made = with_job_of(READY, id="j", status=status)
    found = continued(made, NEW, tmp_path, again=True)
    assert found.earlier_jobs == ("j",)
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
