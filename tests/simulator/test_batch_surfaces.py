from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import openai
import pytest

from batch_files import PREFIXES, PlainClient, as_file, chat_line, results, submit
from batchscore.simulator import Running
from openai_schemas import check_object
from simulated import Project

pytestmark = pytest.mark.process


def test_the_official_client_drives_it_from_upload_to_deletion(batches: openai.OpenAI) -> None:
    lines = [chat_line(f"row-{number}", f"Text {number} is here.") for number in range(20)]
    refused = chat_line("refused", "simulate-content-filter")
    batch = submit(batches, [*lines, refused], metadata={"run": "7"})
    assert batch.status == "validating"
    batch = batches.batches.retrieve(batch.id)
    assert (batch.status, batch.metadata) == ("completed", {"run": "7"})
    assert (batch.request_counts.total, batch.request_counts.completed) == (21, 20)
    found = {one["custom_id"]: one for one in results(batches, batch.output_file_id)}
    assert sorted(found) == sorted(line["custom_id"] for line in lines)
    answer = found["row-7"]["response"]["body"]["choices"][0]["message"]["content"]
    assert answer.startswith("Text 7 is here.")
    (error,) = results(batches, batch.error_file_id)
    assert (error["custom_id"], error["response"]["status_code"], error["error"]) == ("refused", 400, None)
    assert error["response"]["body"]["error"]["code"] == "content_filter"
    assert [one.id for one in batches.batches.list()] == [batch.id]
    for parsed in (batch, *batches.files.list()):
        type(parsed).model_validate(parsed.to_dict())
    for file in (batch.input_file_id, batch.output_file_id, batch.error_file_id):
        assert batches.files.delete(file).deleted
        with pytest.raises(openai.NotFoundError):
            batches.files.retrieve(file)
    assert list(batches.files.list()) == []


def test_the_asynchronous_client_drives_it(simulator: Running, project: Project) -> None:
    async def drive() -> list[str]:
        async with openai.AsyncOpenAI(base_url=simulator.endpoint + "/v1", api_key=project.key) as client:
            file = await client.files.create(file=as_file([chat_line("a")]), purpose="batch")
            batch = await client.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
            )
            batch = await client.batches.retrieve(batch.id)
            assert batch.output_file_id is not None
            content = await client.files.content(batch.output_file_id)
            return [json.loads(line)["custom_id"] for line in content.read().splitlines()]

    assert asyncio.run(drive()) == ["a"]


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello you."}], "n": 2}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": "many"}),
        ("/v1/completions", {"prompt": ["One. Two.", "Three."], "max_tokens": 9}),
        ("/v1/embeddings", {"input": ["a text", "b"], "dimensions": 8}),
        ("/v1/embeddings", {"input": "a text", "encoding_format": "base64"}),
        ("/v1/responses", {"input": "Say something.", "max_output_tokens": 20}),
        ("/v1/responses", {"input": 7}),
    ],
)
def test_a_row_gets_the_same_reply_live_and_by_batch(
    simulator: Running, project: Project, openai_batches: openai.OpenAI, url: str, body: dict[str, Any]
) -> None:
    body = {"model": "any", **body}
    line = {"custom_id": "a", "method": "POST", "url": url, "body": body}
    batch = openai_batches.batches.retrieve(submit(openai_batches, [line], endpoint=url).id)
    (found,) = results(openai_batches, batch.output_file_id or batch.error_file_id)
    client = PlainClient(simulator, project)
    live = client.post(url.removeprefix("/v1"), body)
    by_batch = found["response"]["body"]
    for reply in (by_batch, expected := live.json()):
        for time in ("created", "created_at", "completed_at"):
            reply.pop(time, None)
    assert (found["response"]["status_code"], by_batch) == (live.status, expected)


def test_every_object_matches_the_public_description(
    simulator: Running, project: Project, openai_batches: openai.OpenAI
) -> None:
    project.stop_clock()
    project.set_rules(validating=1, in_progress=1, finalizing=1, cancelling=1)
    batch = submit(openai_batches, [chat_line("a"), chat_line("b", "simulate-content-filter")])
    wrong = submit(openai_batches, [b"nothing\n"])
    seen = []
    client = PlainClient(simulator, project)
    for _ in range(4):
        found = [client.get(f"/batches/{one.id}").json() for one in (batch, wrong)]
        seen.append([one["status"] for one in found])
        for one in found:
            check_object("Batch", one)
        project.advance(1)
    other = submit(openai_batches, [chat_line("a")])
    check_object("Batch", client.post(f"/batches/{other.id}/cancel").json())
    project.advance(1)
    check_object("ListBatchesResponse", client.get("/batches").json())
    check_object("ListFilesResponse", client.get("/files").json())
    check_object("OpenAIFile", client.upload().json())
    check_object("OpenAIFile", client.get(f"/files/{batch.input_file_id}").json())
    check_object("DeleteFileResponse", client.send("DELETE", f"/files/{batch.input_file_id}").json())
    assert [states[0] for states in seen] == ["validating", "in_progress", "finalizing", "completed"]
    assert [states[1] for states in seen] == ["validating", "failed", "failed", "failed"]


@pytest.mark.parametrize("surface", PREFIXES)
def test_every_surface_has_its_status_authentication_and_version(
    simulator: Running, project: Project, surface: str
) -> None:
    client = PlainClient(simulator, project, surface)
    reply = client.upload()
    assert reply.status == (201 if surface == "azure" else 200)
    assert ("location" in reply.headers) == (surface == "azure")
    file = reply.json()
    endpoint = "/chat/completions" if surface == "azure" else "/v1/chat/completions"
    given = {"input_file_id": file["id"], "endpoint": endpoint, "completion_window": "24h"}
    batch = client.post("/batches", given).json()
    assert client.get(f"/batches/{batch['id']}").json()["status"] in {"completed", "failed"}
    assert client.get("/deployments/any/batches").status == 404
    assert client.get("/batches", api_key="wrong").status == 401
    assert client.get("/batches", api_key="entra-token").status == 401
    bearer = f"Bearer entra-token@{project.key.partition('@')[2]}"
    assert len(client.get("/batches", authorization=bearer).json()["data"]) == 1
    assert client.get(f"/batches/{batch['id']}", api_key=simulator.key).status == 404
    if surface == "azure":
        client._version = ""
        assert client.get("/batches").status == 404


@pytest.mark.parametrize(
    ("surface", "part", "fields", "status"),
    [
        ("openai", "", {}, 200),
        ("openai", "Content-Type: \r\n", {}, 400),
        ("azure", "", {}, 400),
        ("azure_v1", "Content-Type: \r\n", {}, 400),
        ("openai", "Content-Type: text/plain\r\n", {}, 200),
        ("openai", None, {"purpose": "anything"}, 400),
        ("openai", None, {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}, 200),
        ("openai", None, {"expires_after[anchor]": "created_at", "expires_after[seconds]": "60"}, 400),
        ("openai", None, {"expires_after[seconds]": "3600"}, 400),
        ("azure", None, {"expires_after.anchor": "created_at", "expires_after.seconds": "1209600"}, 201),
        ("azure", None, {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}, 400),
    ],
)
def test_an_upload_is_checked(
    simulator: Running,
    project: Project,
    surface: str,
    part: str | None,
    fields: Mapping[str, str],
    status: int,
) -> None:
    client = PlainClient(simulator, project, surface)
    reply = client.upload(**fields) if part is None else client.upload(part, **fields)
    assert reply.status == status, reply.body
    assert project.books().files == (status < 400)


def test_an_upload_of_another_form_is_refused(
    simulator: Running, project: Project, openai_batches: openai.OpenAI
) -> None:
    client = PlainClient(simulator, project)
    assert client.post("/files", {}).status == 400
    with pytest.raises(openai.BadRequestError, match=r"Must be \.jsonl"):
        openai_batches.files.create(file=as_file([], "in.csv"), purpose="batch")
    assert client.upload(purpose="everything").json()["error"]["param"] == "purpose"
    assert project.books().files == 0


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"endpoint": "/v1/files"}, "endpoint"),
        ({"endpoint": "/chat/completions"}, "endpoint"),
        ({"endpoint": None}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"input_file_id": 7}, "input_file_id"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
        ({"metadata": {"a": "b" * 513}}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after.seconds"),
    ],
)
def test_a_wrong_creation_names_its_parameter(
    simulator: Running, project: Project, wrong: dict[str, Any], param: str
) -> None:
    client = PlainClient(simulator, project)
    file = client.upload().json()
    given = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    reply = client.post("/batches", given | wrong)
    assert (reply.status, reply.json()["error"]["param"]) == (400, param)
    assert project.books().batches == []


def test_a_batch_needs_a_file_for_batches(openai_batches: openai.OpenAI) -> None:
    other = openai_batches.files.create(file=as_file([chat_line("a")]), purpose="user_data")
    given: Any = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
    with pytest.raises(openai.BadRequestError, match="purpose"):
        openai_batches.batches.create(input_file_id=other.id, **given)
    with pytest.raises(openai.NotFoundError, match="No such File"):
        openai_batches.batches.create(input_file_id="file-none", **given)


def test_what_is_sent_is_recorded_and_matches_the_public_description(
    project: Project, openai_batches: openai.OpenAI
) -> None:
    project.will("create", drop=True)
    with pytest.raises(openai.APIConnectionError):
        submit(openai_batches, [chat_line("a")], metadata={"run": "7"})
    (upload,), (create,) = project.requests("upload"), project.requests("create")
    check_object("CreateFileRequest", {"file": "", "purpose": upload.body["purpose"]})
    assert upload.body == {"purpose": "batch", "filename": "in.jsonl", "content_type": "application/jsonl"}
    check_object("CreateBatchRequest", create.body)
    assert (upload.status, create.status, create.authentication) == (200, 0, "bearer")
    assert [one.call for one in project.requests()] == ["upload", "create"]


def test_deployments_for_batches_and_for_live_calls_differ(
    azure_batches: openai.OpenAI, azure_v1_batches: openai.OpenAI, plain: openai.OpenAI
) -> None:
    messages: Any = [{"role": "user", "content": "Hello"}]
    for client in (azure_batches, azure_v1_batches):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="gpt-4o-batch", messages=messages)
        assert caught.value.code == "OperationNotSupported"
    assert plain.chat.completions.create(model="gpt-4o-batch", messages=messages).choices
    for model, status in (("gpt-4o-batch", "completed"), ("gpt-4o-live", "failed")):
        batch = submit(azure_v1_batches, [chat_line("a", body={"model": model})])
        batch = azure_v1_batches.batches.retrieve(batch.id)
        assert batch.status == status
        assert [one.code for one in (batch.errors.data if batch.errors else [])] == ["invalid_request"] * (
            status == "failed"
        )
