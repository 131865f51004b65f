"""The official client trains a model on each surface: files, uploads, jobs, events, checkpoints, results."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
from typing import Any

import openai
import pytest

from batch_files import PlainClient
from batchscore.simulator import Running
from openai_schemas import check_object
from simulated import Project
from tuning_jobs import AZURE, MODEL, create, end, is_azure, training_file, upload

pytestmark = pytest.mark.process


@pytest.fixture
def project(project: Project) -> Project:
    """A project whose clock a test turns."""
    project.stop_clock()
    project.set_tuning(validating=1, queued=1, running=10, pausing=1, creating=1)
    return project


def test_the_official_client_trains_a_model(project: Project, batches: openai.OpenAI) -> None:
    valid = upload(batches, 12)
    job = create(batches, validation_file=valid, suffix="topics", seed=7, metadata={"run": "1"})
    states = [job.status]
    for seconds in (1, 1, 5, 10):
        project.advance(seconds)
        states.append(batches.fine_tuning.jobs.retrieve(job.id).status)
    waiting = ["pending", "pending"] if is_azure(batches) else ["validating_files", "queued"]
    assert states == [*waiting, "running", "running", "succeeded"]
    done = batches.fine_tuning.jobs.retrieve(job.id)
    assert (done.seed, done.metadata, done.trained_tokens) == (7, {"run": "1"}, done.trained_tokens or 0)
    assert done.hyperparameters.n_epochs == 3
    assert done.fine_tuned_model is not None
    assert done.fine_tuned_model.startswith(f"{MODEL}.ft-" if is_azure(batches) else f"ft:{MODEL}:")
    events = list(batches.fine_tuning.jobs.list_events(job.id, limit=7))
    assert len({event.id for event in events}) == len(events) > 60
    assert [event.created_at for event in events] == sorted((one.created_at for one in events), reverse=True)
    metrics = [event for event in events if event.type == "metrics"]
    assert metrics[0].message.startswith("Step 120/120: training loss=")
    checkpoints = list(batches.fine_tuning.jobs.checkpoints.list(job.id, limit=2))
    assert [one.step_number for one in checkpoints] == [120, 80, 40]
    assert all(one.metrics.full_valid_loss for one in checkpoints)
    assert [one.id for one in batches.fine_tuning.jobs.list()] == [job.id]
    assert batches.models.retrieve(done.fine_tuned_model).id == done.fine_tuned_model
    (sent,) = project.requests("create_job")
    check_object("CreateFineTuningJobRequest", sent.body)
    for parsed in (done, *events, *checkpoints):
        type(parsed).model_validate(parsed.to_dict(), strict=False)


def rows(client: openai.OpenAI, file: str) -> list[dict[str, str]]:
    raw = client.files.content(file).read()
    if not raw.startswith(b"step"):
        raw = base64.b64decode(raw, validate=True)
    return list(csv.DictReader(io.StringIO(raw.decode())))


@pytest.mark.parametrize("validation", [12, 0])
def test_the_results_have_a_row_of_each_step(
    project: Project, batches: openai.OpenAI, validation: int
) -> None:
    job = create(batches, validation_file=upload(batches, validation) if validation else None)
    (file,) = end(project, batches, job).result_files
    shown = batches.files.retrieve(file)
    assert (shown.purpose, shown.status) == ("fine-tune-results", "processed")
    raw = batches.files.content(file).read()
    assert raw.startswith(b"step,") == is_azure(batches)
    found = rows(batches, file)
    assert [row["step"] for row in found] == [str(step) for step in range(1, 121)]
    missing = "-1" if is_azure(batches) else ""
    ends = [row["step"] for row in found if row["full_valid_loss"] != missing]
    assert ends == (["40", "80", "120"] if validation else [])
    assert float(found[0]["train_loss"]) > 4 * float(found[-1]["train_loss"])


def test_a_job_does_its_last_step_whatever_its_length(
    project: Project, openai_batches: openai.OpenAI
) -> None:
    """A time since 1970 with a fraction of a second is rounded."""
    for seconds in (0.1, 0.3, 0.7, 2.4, 3.3):
        project.set_tuning(running=seconds)
        job = create(openai_batches)
        (file,) = end(project, openai_batches, job).result_files
        assert rows(openai_batches, file)[-1]["step"] == "120"
        assert next(iter(openai_batches.fine_tuning.jobs.checkpoints.list(job.id))).step_number == 120


@pytest.mark.parametrize(
    ("columns", "first"),
    [
        ("gpt3", "step,elapsed_tokens,elapsed_examples,training_loss,training_sequence_accuracy"),
        ("chat", "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"),
        ("azure", "step,train_loss,train_mean_token_accuracy,valid_loss,valid_mean_token_accuracy"),
        ("reinforcement", "step,train_mean_reward,full_valid_mean_reward,reasoning_tokens_mean"),
    ],
)
def test_results_come_in_each_vintage(
    project: Project, openai_batches: openai.OpenAI, columns: str, first: str
) -> None:
    project.set_tuning(columns=columns, encoding="plain")
    job = create(openai_batches, validation_file=upload(openai_batches, 10))
    (file,) = end(project, openai_batches, job).result_files
    header, *lines = openai_batches.files.content(file).text.splitlines()
    assert header.startswith(first)
    assert {line.count(",") for line in lines} == {header.count(",")}


def test_results_grow_on_azure_while_the_job_runs(project: Project, azure_batches: openai.OpenAI) -> None:
    job = create(azure_batches)
    assert job.result_files is None
    counts = []
    project.advance(2)
    for _ in range(2):
        project.advance(4)
        (file,) = azure_batches.fine_tuning.jobs.retrieve(job.id).result_files
        counts.append(len(rows(azure_batches, file)))
    assert counts == [48, 96]


def test_every_object_matches_the_public_description(
    simulator: Running, project: Project, openai_batches: openai.OpenAI
) -> None:
    client = PlainClient(simulator, project)
    file = upload(openai_batches)
    given = {"model": MODEL, "training_file": file, "method": {"type": "supervised"}}
    check_object("CreateFineTuningJobRequest", given)
    job = client.post("/fine_tuning/jobs", given).json()
    assert job["hyperparameters"]["n_epochs"] == "auto"
    for _ in range(4):
        check_object("FineTuningJob", client.get(f"/fine_tuning/jobs/{job['id']}").json())
        project.advance(5)
    few = create(openai_batches, upload(openai_batches, 9))
    project.advance(5)
    failed = client.get(f"/fine_tuning/jobs/{few.id}").json()
    check_object("FineTuningJob", failed)
    assert failed["error"] == {
        "code": "invalid_n_examples",
        "message": "Training file has 9 example(s), but must have at least 10 examples",
        "param": "training_file",
    }
    check_object("ListPaginatedFineTuningJobsResponse", client.get("/fine_tuning/jobs").json())
    for name, path in (("Events", "events"), ("Checkpoints", "checkpoints")):
        found = client.get(f"/fine_tuning/jobs/{job['id']}/{path}").json()
        assert found["data"]
        check_object(f"ListFineTuningJob{name}Response", found)
    check_object("ListModelsResponse", client.get("/models").json())
    model = client.get(f"/fine_tuning/jobs/{job['id']}").json()["fine_tuned_model"]
    shown = client.get(f"/models/{model}").json()
    check_object("Model", shown)
    assert shown["shutdown_date"]
    check_object("DeleteModelResponse", client.send("DELETE", f"/models/{model}").json())
    assert client.get(f"/models/{model}").status == 404
    check_object("ListFilesResponse", client.get("/files?purpose=fine-tune-results").json())


@pytest.mark.parametrize("surface", ["openai", "azure"])
def test_the_asynchronous_client_trains_a_model(simulator: Running, project: Project, surface: str) -> None:
    given: Any = {"api_key": project.key, "max_retries": 0}
    if surface == "openai":
        client = openai.AsyncOpenAI(base_url=simulator.endpoint + "/v1", **given)
    else:
        client = openai.AsyncAzureOpenAI(azure_endpoint=simulator.endpoint, api_version="2024-10-21", **given)

    async def drive() -> str | None:
        async with client:
            file = await client.files.create(file=training_file(), purpose="fine-tune")
            job = await client.fine_tuning.jobs.create(
                model=MODEL, training_file=file.id, extra_body=AZURE if surface == "azure" else None
            )
            project.advance(100)
            return (await client.fine_tuning.jobs.retrieve(job.id)).status

    assert asyncio.run(drive()) == "succeeded"
