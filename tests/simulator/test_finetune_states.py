"""Files, uploads and jobs go through the states of each service, and are refused in its words."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any

import openai
import pytest

from batch_files import PlainClient
from batchscore.simulator import Running
from batchscore.simulator.batch.faults import TUNING_CALLS, CallFault
from batchscore.simulator.finetune import routes
from batchscore.simulator.finetune.arm_routes import ARM_CALLS
from http_served import Handler, running
from openai_schemas import check_object
from simulated import Project
from tuning_jobs import AZURE, MODEL, create, end, example, is_azure, training_file, upload

PARTS = (b'{"messages": ', b"[]}\n")


@pytest.fixture
def project(project: Project) -> Project:
    project.stop_clock()
    project.set_tuning(validating=1, queued=1, running=10, pausing=1)
    return project


def began(size: int = 17, **changes: Any) -> dict[str, Any]:
    return {
        "filename": "train.jsonl",
        "purpose": "fine-tune",
        "bytes": size,
        "mime_type": "application/jsonl",
        **changes,
    }


@pytest.mark.parametrize("surface", ["openai", "azure"])
def test_a_file_is_uploaded_in_parts(project: Project, surface: str, request: pytest.FixtureRequest) -> None:
    client: openai.OpenAI = request.getfixturevalue(f"{surface}_batches")
    name, content, _ = training_file()
    raw = content.read()
    begun = client.uploads.create(**began(len(raw)))
    assert begun.expires_at - begun.created_at == (3600 if surface == "openai" else 7200)
    pieces = [raw[:700], raw[700:]]
    parts = [client.uploads.parts.create(begun.id, data=piece).id for piece in reversed(pieces)]
    done = client.uploads.complete(
        begun.id, part_ids=parts[::-1], md5=hashlib.md5(raw, usedforsecurity=False).hexdigest()
    )
    assert (done.status, done.file and done.file.filename) == ("completed", name)
    assert done.file is not None
    assert client.files.content(done.file.id).read() == raw
    assert end(project, client, create(client, done.file.id)).status == "succeeded"
    (sent,) = project.requests("create_upload")
    check_object("CreateUploadRequest", sent.body)
    check_object("CompleteUploadRequest", project.requests("complete_upload")[0].body)
    with pytest.raises(openai.BadRequestError, match="is completed"):
        client.uploads.parts.create(begun.id, data=b"more")
    chunked = client.uploads.upload_file_chunked(
        file=raw, filename=name, bytes=len(raw), mime_type="application/jsonl", purpose="fine-tune"
    )
    assert chunked.status == "completed"


def test_an_upload_expires_or_is_cancelled(project: Project, openai_batches: openai.OpenAI) -> None:
    late, other = (openai_batches.uploads.create(**began()) for _ in range(2))
    assert project.meter()["held"]["uploads"] == 2
    assert openai_batches.uploads.cancel(other.id).status == "cancelled"
    project.advance(3600)
    with pytest.raises(openai.BadRequestError, match="is expired"):
        openai_batches.uploads.parts.create(late.id, data=b"{}")
    assert project.meter()["held"]["uploads"] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bytes": 5}, "were|was created with 5"),
        ({"md5": "wrong"}, "md5"),
        ({"part_ids": []}, "part_ids"),
        ({"part_ids": ["part_none"]}, "Invalid part id"),
        ({"part_ids": [["part_none"]]}, "Invalid part id"),
        ({"md5": ["wrong"]}, "md5"),
    ],
)
def test_an_upload_is_checked_as_a_whole(
    project: Project, openai_batches: openai.OpenAI, changes: dict[str, Any], message: str
) -> None:
    begun = openai_batches.uploads.create(**began(changes.pop("bytes", 17)))
    part = openai_batches.uploads.parts.create(begun.id, data=b'{"messages": []}\n').id
    with pytest.raises(openai.BadRequestError, match=message):
        openai_batches.uploads.complete(begun.id, **{"part_ids": [part], **changes})
    assert project.books().files == 0


def test_the_objects_of_uploads_match_the_public_description(simulator: Running, project: Project) -> None:
    client = PlainClient(simulator, project)
    begun = client.post("/uploads", began(17))
    check_object("Upload", begun.json())
    form = {"content-type": "multipart/form-data; boundary=edge"}
    part = b'--edge\r\nContent-Disposition: form-data; name="data"; filename="x"\r\n\r\n{}\r\n--edge--\r\n'
    check_object("UploadPart", client.send("POST", f"/uploads/{begun.json()['id']}/parts", part, form).json())
    for wrong in ({"bytes": 0}, {"bytes": "many"}, {"purpose": None}, {"filename": "train.csv"}):
        assert client.post("/uploads", began(**wrong)).status == 400
    assert client.post("/uploads/none/cancel").status == 404
    assert PlainClient(simulator, project, "azure_v1").post("/uploads", began()).status == 404


@contextmanager
def served(content: bytes) -> Iterator[str]:
    """Serve a file on this machine while the block runs; give its URL."""

    class FileHandler(Handler):
        def do_GET(self) -> None:
            self.reply(*(200, content) if self.path == "/train.jsonl" else (404, b""))

    with running(ThreadingHTTPServer(("127.0.0.1", 0), FileHandler)) as server:
        yield f"http://127.0.0.1:{server.server_port}/train.jsonl"


def test_azure_imports_a_file(simulator: Running, project: Project) -> None:
    project.set_tuning(file_running=10)
    client = PlainClient(simulator, project, "azure")
    given = {"purpose": "fine-tune", "filename": "train.jsonl"}
    with served(training_file()[1].read()) as url:
        right = client.post("/files/import", {**given, "content_url": url})
        gone = client.post("/files/import", {**given, "content_url": url + "?no"})
    far = client.post("/files/import", {**given, "content_url": "https://example.com/train.jsonl"})
    wrong = client.post("/files/import", {**given, "content_url": "http://[::1"})
    other = client.post("/files/import", {**given, "filename": "train.csv", "content_url": url})
    assert (wrong.status, other.status) == (201, 400)
    assert (right.status, right.json()["status"]) == (201, "pending")
    seen = []
    for _ in range(3):
        seen.append([client.get(f"/files/{one.json()['id']}").json()["status"] for one in (right, gone, far)])
        project.advance(5)
    assert seen == [["pending"] * 3, ["running"] * 3, ["processed", "error", "error"]]
    details = client.get(f"/files/{far.json()['id']}").json()["status_details"]
    assert details.startswith("fileImportFailed")
    assert PlainClient(simulator, project, "azure_v1").post("/files/import", given).status == 404


WRONG: dict[str, tuple[Any, str]] = {
    "a list": (b"[]\n", "JSONL"),
    "cut off": (b'{"messages": [\n', "JSONL"),
    "no messages": ({}, "Line 41"),
    "wrong role": ({"messages": [{"role": "bot", "content": "x"}]}, "messages[0].role"),
    "role is a list": ({"messages": [{"role": [], "content": "x"}]}, "messages[0].role"),
    "no answer": ({"messages": [{"role": "user", "content": "x"}]}, "assistant"),
    "weight of a user": ({"messages": [{"role": "user", "content": "x", "weight": 1}]}, "weight"),
    "no content": ({"messages": [{"role": "assistant"}]}, "content"),
    "parts in an answer": ({"messages": [{"role": "assistant", "content": [{"type": "text"}]}]}, "string"),
    "a call without a text": (
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "a", "arguments": {}}}]}]},
        "arguments",
    ),
    "an unknown tool": (
        {
            "messages": [
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "1", "type": "function", "function": {"name": [], "arguments": ""}}
                    ],
                }
            ],
            "tools": [{"function": {"name": "b"}}],
        },
        "name",
    ),
    "another method": ({"prompt": "a", "completion": "b", "context": "c"}, "extra"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_file_is_found_where_the_service_looks(
    project: Project, openai_batches: openai.OpenAI, azure_batches: openai.OpenAI, wrong: str
) -> None:
    """OpenAI looks for objects at once and at examples in the job; Azure says all in the file's status."""
    line, expected = WRONG[wrong]
    if expected == "JSONL":
        with pytest.raises(openai.BadRequestError, match="Line 41 is not a dictionary"):
            upload(openai_batches, 40, line)
    else:
        job = end(project, openai_batches, create(openai_batches, upload(openai_batches, 40, line)))
        assert (job.status, job.error.code, job.error.param) == (
            "failed",
            "invalid_file_format",
            "training_file",
        )
        assert expected in job.error.message
    file = azure_batches.files.retrieve(upload(azure_batches, 40, line))
    assert file.status == "error"
    assert str(file.status_details).startswith("jsonlValidationFailed")
    assert expected in str(file.status_details)
    with pytest.raises(openai.BadRequestError, match="completed file import"):
        create(azure_batches, file.id)
    assert project.meter()["total"] == 0


def test_a_byte_order_mark_is_refused_by_openai_only(
    project: Project, openai_batches: openai.OpenAI, azure_batches: openai.OpenAI
) -> None:
    name, content, kind = training_file()
    given: Any = {"file": (name, b"\xef\xbb\xbf" + content.read(), kind), "purpose": "fine-tune"}
    with pytest.raises(openai.BadRequestError, match="Line 1 is not a dictionary"):
        openai_batches.files.create(**given)
    file = azure_batches.files.create(**given)
    assert end(project, azure_batches, create(azure_batches, file.id)).status == "succeeded"
    project.set_tuning(bom="required")
    assert openai_batches.files.create(**given).id
    with pytest.raises(openai.BadRequestError, match="with a byte order mark"):
        upload(openai_batches)


def test_preferences_need_their_method(project: Project, openai_batches: openai.OpenAI) -> None:
    said = [{"role": "assistant", "content": "Yes."}]
    pair = {
        "input": {"messages": example(1)["messages"][:2]},
        "preferred_output": said,
        "non_preferred_output": said,
    }
    file = upload(openai_batches, 0, *[pair] * 10)
    method: Any = {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 2, "beta": 0.5}}}
    job = end(project, openai_batches, create(openai_batches, file, method=method))
    assert (job.status, job.method.dpo.hyperparameters.beta) == ("succeeded", 0.5)
    assert end(project, openai_batches, create(openai_batches, file)).error.code == "invalid_file_format"
    with pytest.raises(openai.BadRequestError, match="method dpo is not supported"):
        create(openai_batches, file, model="gpt-4o-mini", method=method)


def test_a_job_is_paused_and_resumed(project: Project, batches: openai.OpenAI) -> None:
    jobs = batches.fine_tuning.jobs
    job = create(batches)
    with pytest.raises(openai.BadRequestError, match="training step"):
        jobs.pause(job.id)
    project.advance(7)
    assert jobs.pause(job.id).status == ("running" if is_azure(batches) else "pausing")
    project.advance(1)
    assert jobs.retrieve(job.id).status == "paused"
    (checkpoint, *_) = jobs.checkpoints.list(job.id).data
    assert checkpoint.step_number == 60
    project.advance(1000)
    assert jobs.retrieve(job.id).status == "paused"
    assert jobs.resume(job.id).status == ("pending" if is_azure(batches) else "queued")
    project.advance(5)
    assert jobs.retrieve(job.id).status == "running"
    project.advance(1)
    done = jobs.retrieve(job.id)
    assert done.status == "succeeded"
    assert project.meter()["training"]["tokens"] == done.trained_tokens
    with pytest.raises(openai.BadRequestError):
        jobs.resume(job.id)


def test_a_job_of_the_developer_type_is_preempted(project: Project, azure_batches: openai.OpenAI) -> None:
    project.set_tuning(preempts=100)
    job = create(azure_batches, extra_body={"trainingType": "developerTier"})
    states = []
    for seconds in (7, 100, 1, 5):
        project.advance(seconds)
        states.append(azure_batches.fine_tuning.jobs.retrieve(job.id).status)
    assert states == ["paused", "pending", "running", "succeeded"]
    events = azure_batches.fine_tuning.jobs.list_events(job.id, limit=100)
    assert [event.message for event in events if str(event.level) == "warning"] == [
        "The job was preempted and will be resumed."
    ]


def test_a_cancelled_job_costs_what_was_done(project: Project, batches: openai.OpenAI) -> None:
    whole = end(project, batches, create(batches)).trained_tokens
    job = create(batches)
    project.advance(7)
    assert batches.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    assert project.meter()["training"]["jobs"][job.id]["tokens"] == whole // 2
    with pytest.raises(openai.BadRequestError):
        batches.fine_tuning.jobs.cancel(job.id)


@pytest.mark.parametrize("fails", ["server_error", "exceeded_quota", "safety_before", "safety_after"])
def test_a_failed_job_costs_nothing(project: Project, batches: openai.OpenAI, fails: str) -> None:
    project.set_tuning(fails=fails)
    job = end(project, batches, create(batches))
    assert (job.status, job.fine_tuned_model, job.trained_tokens) == ("failed", None, None)
    assert job.error.message
    assert batches.fine_tuning.jobs.list_events(job.id).data[0].level == "error"
    assert project.meter()["total"] == 0


def test_a_file_may_be_unsafe_or_show_people(project: Project, batches: openai.OpenAI) -> None:
    unsafe = example(1)
    unsafe["messages"][1]["content"] = "simulate-content-filter"
    job = end(project, batches, create(batches, upload(batches, 40, unsafe)))
    assert job.error.code == ("contentFilter" if is_azure(batches) else "invalid_training_file")
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/simulate-person.png"}}
    shown = example(1)
    shown["messages"][1]["content"] = [{"type": "text", "text": "Who is it?"}, picture]
    whole = end(project, batches, create(batches)).trained_tokens
    assert end(project, batches, create(batches, upload(batches, 40, shown))).trained_tokens == whole


def test_reinforcement_needs_a_grader_and_its_examples(
    project: Project, openai_batches: openai.OpenAI
) -> None:
    lines = [{"messages": example(number)["messages"][:2], "input": "x"} for number in range(10)]
    file = upload(openai_batches, 0, *lines)
    grader = {"type": "string_check", "name": "g", "operation": "eq", "input": "a", "reference": "b"}
    method: Any = {"type": "reinforcement", "reinforcement": {"grader": grader}}
    given: Any = {"model": "o4-mini", "validation_file": file, "method": method}
    assert end(project, openai_batches, create(openai_batches, file, **given)).status == "succeeded"
    failed = end(project, openai_batches, create(openai_batches, **given))
    assert failed.error.code == "invalid_file_format"


def test_a_page_of_events_may_repeat_some(project: Project, openai_batches: openai.OpenAI) -> None:
    project.set_tuning(repeats_events=3)
    job = end(project, openai_batches, create(openai_batches))
    found = [event.id for event in openai_batches.fine_tuning.jobs.list_events(job.id, limit=20)]
    assert len(found) > len(set(found)) > 100
    first = openai_batches.fine_tuning.jobs.list_events(job.id, limit=20)
    assert [event.id for event in first.get_next_page().data[:3]] == [event.id for event in first.data[-3:]]


def test_jobs_wait_for_a_place(project: Project, batches: openai.OpenAI) -> None:
    project.set_tuning(running_jobs=1, queued_jobs=1)
    file = upload(batches)
    one, two = create(batches, file), create(batches, file)
    with pytest.raises(openai.RateLimitError, match="maximum of 2 active requests"):
        create(batches, file)
    project.advance(30)
    done = [batches.fine_tuning.jobs.retrieve(job.id) for job in (one, two)]
    assert [job.status for job in done] == ["succeeded", "succeeded"]
    ends = [job.finished_at or 0 for job in done]
    assert ends[1] - ends[0] == 10
    assert sorted(project.meter()["created"]["jobs"].values()) == [2]


def test_jobs_are_listed_in_pages_and_by_metadata(project: Project, batches: openai.OpenAI) -> None:
    file = upload(batches)
    made = [create(batches, file, metadata={"run": str(number % 2)}).id for number in range(5)]
    assert [job.id for job in batches.fine_tuning.jobs.list(limit=2)] == made[::-1]
    assert [job.id for job in batches.fine_tuning.jobs.list(metadata={"run": "1"})] == [made[3], made[1]]
    project.set_tuning(metadata=False)
    assert len(batches.fine_tuning.jobs.list(metadata={"run": "1"}).data) == 5
    assert batches.fine_tuning.jobs.retrieve(made[0]).metadata is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"model": "gpt-none"}, "not available for fine-tuning"),
        ({"training_file": "file-none"}, "invalid training_file"),
        ({"validation_file": "file-none"}, "invalid validation_file"),
        ({"suffix": "x" * 65}, "suffix"),
        ({"seed": -1}, "seed"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"hyperparameters": {"n_epochs": 51}}, "n_epochs"),
        ({"hyperparameters": {"n_epochs": 1.5}}, "n_epochs"),
        ({"hyperparameters": {"beta": 1}}, "Unknown parameter"),
        ({"method": {"type": "guess"}}, "Supported values"),
        ({"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 3}}}}, "beta"),
        ({"method": {"type": "reinforcement"}}, "grader"),
        ({"extra_body": {"trainingType": "Standard"}}, "Unknown parameter: 'trainingType'"),
    ],
)
def test_a_wrong_job_is_refused(
    project: Project, openai_batches: openai.OpenAI, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=message):
        create(openai_batches, **{"training_file": upload(openai_batches), **wrong})
    assert project.meter()["created"]["jobs"] == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"extra_body": {}}, "The specified base model does not support fine-tuning."),
        (
            {"extra_body": AZURE, "model": "gpt-none"},
            "The specified base model does not support fine-tuning.",
        ),
        ({"extra_body": {"trainingType": "Fast"}}, "Fast TrainingType not supported."),
        ({"suffix": "a.b"}, "suffix"),
    ],
)
def test_azure_refuses_in_its_words(
    project: Project, azure_v1_batches: openai.OpenAI, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        create(azure_v1_batches, **given)
    assert (caught.value.code, message in caught.value.message) == ("invalidPayload", True)
    assert project.meter()["held"]["jobs"] == 0


def test_a_project_that_may_not_train_is_refused_with_the_reason(
    project: Project, openai_batches: openai.OpenAI
) -> None:
    file = upload(openai_batches)
    project.set_tuning(daily_jobs=1)
    create(openai_batches, file)
    with pytest.raises(openai.RateLimitError) as caught:
        create(openai_batches, file)
    assert caught.value.code == "daily_rate_limit_exceeded"
    project.set_tuning(eligible=False)
    with pytest.raises(openai.PermissionDeniedError):
        create(openai_batches, file)
    project.set_tuning(eligible=True, daily_jobs=None, training_ends=10)
    project.advance(10)
    with pytest.raises(openai.BadRequestError, match="not available"):
        create(openai_batches, file)
    with pytest.raises(ValueError, match="there is no rule 'epoch'; the rules are"):
        project.set_tuning(epoch=1)


def test_a_lost_reply_makes_one_job(project: Project, openai_batches: openai.OpenAI) -> None:
    file = upload(openai_batches)
    for happened in (False, True):
        project.will("create_job", status=503, retry_after=0.01, happened=happened)
        with pytest.raises(openai.InternalServerError):
            create(openai_batches, file)
        assert len(openai_batches.fine_tuning.jobs.list().data) == happened
    create(openai_batches.with_options(max_retries=2), file)
    project.will("create_job", status=503, retry_after=0.01, happened=True)
    create(openai_batches.with_options(max_retries=2), file)
    (count,) = project.meter()["created"]["jobs"].values()
    assert count == 4


def test_azure_counts_the_files_of_a_resource(project: Project, azure_batches: openai.OpenAI) -> None:
    project.set_tuning(max_files=1)
    upload(azure_batches)
    with pytest.raises(openai.BadRequestError, match="1 files, the limit"):
        upload(azure_batches)
    project.set_tuning(max_files=100, max_file_bytes=9000)
    with pytest.raises(openai.BadRequestError, match="exceed 9000 bytes"):
        upload(azure_batches)


def test_a_file_that_is_gone_fails_the_job(project: Project, openai_batches: openai.OpenAI) -> None:
    file = upload(openai_batches)
    early = create(openai_batches, file)
    openai_batches.files.delete(file)
    assert end(project, openai_batches, early).error.code == "invalid_training_file"
    file = upload(openai_batches)
    late = create(openai_batches, file)
    project.advance(2)
    openai_batches.files.delete(file)
    assert end(project, openai_batches, late).status == "succeeded"


def test_the_best_checkpoint_need_not_be_the_last(project: Project, batches: openai.OpenAI) -> None:
    project.set_tuning(overfits=True, epochs=4)
    job = end(project, batches, create(batches, validation_file=upload(batches, 10)))
    found = batches.fine_tuning.jobs.checkpoints.list(job.id).data
    assert [one.step_number for one in found] == [160, 120, 80]
    losses = [one.metrics.full_valid_loss or 0 for one in found]
    assert losses == sorted(losses, reverse=True)


def test_an_unknown_state_is_shown_once(project: Project, batches: openai.OpenAI) -> None:
    project.set_tuning(odd_status="preempted", running=None)
    job = create(batches)
    project.advance(5)
    assert [batches.fine_tuning.jobs.retrieve(job.id).status for _ in range(2)] == ["preempted", "running"]


def test_each_call_has_the_name_that_faults_use() -> None:
    served = {call.name for call in (*routes.TUNING_CALLS, *routes.model_calls([]), *ARM_CALLS)}
    assert served == set(TUNING_CALLS)


def test_a_fault_names_a_call_that_exists() -> None:
    assert CallFault(call=TUNING_CALLS[0]).call == "create_upload"
    with pytest.raises(ValueError, match="call must be one of"):
        CallFault(call="tune")


def test_models_say_until_when_they_can_be_trained(project: Project, simulator: Running) -> None:
    client = PlainClient(simulator, project, "azure")
    found = {one["id"]: one for one in client.get("/models").json()["data"]}
    shown = found[MODEL]
    assert shown["capabilities"]["fine_tune"]
    assert shown["deprecation"]["fine_tune"] < shown["deprecation"]["inference"]
    assert not found["text-embedding-3-small"]["capabilities"]["fine_tune"]
    assert client.get(f"/models/{MODEL}").json() == shown
