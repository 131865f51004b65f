from __future__ import annotations

from base64 import b64encode
from typing import Any

import openai
import pytest

from batch_files import PlainClient, as_file, chat_line, results, submit
from batchscore.simulator import Running
from pictures import png
from simulated import Project

pytestmark = pytest.mark.process


def embedding(custom_id: str, given: Any = "text", **changes: Any) -> dict[str, Any]:
    return chat_line(custom_id, url="/v1/embeddings", **changes) | {"body": {"model": "emb", "input": given}}


def line(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {**chat_line(f"row-{number}"), **changes}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in line(2).items() if key != name}


#: What is wrong with a file -> its lines, and the codes with their lines, on OpenAI's surface.
WRONG: dict[str, tuple[list[Any], list[tuple[str, int | None]]]] = {
    "empty": ([], [("empty_file", None)]),
    "no JSON": ([line(1), b"{\n", line(3), b"[]\n"], [("invalid_json_line", 2), ("invalid_json_line", 4)]),
    "a blank line": ([line(1), b"\n", line(3)], [("invalid_json_line", 2)]),
    "no id": ([line(1), without("custom_id")], [("invalid_request", 2)]),
    "an id that is no text": ([line(1), line(custom_id=7)], [("invalid_request", 2)]),
    "an id twice": ([line(1), line(2), line(1)], [("duplicate_custom_id", 3)]),
    "another url": ([line(1), line(2, url="/v1/completions")], [("url_mismatch", 2)]),
    "a short url": ([line(1, url="/chat/completions")], [("url_mismatch", 1)]),
    "no method": ([without("method")], [("invalid_request", 1)]),
    "no body": ([without("body")], [("invalid_request", 1)]),
    "two models": ([line(1), chat_line("b", body={"model": "other"})], [("model_mismatch", 2)]),
    "an unknown model": ([chat_line("a", body={"model": "no-such-model"})], [("model_not_found", 1)]),
    "no model": ([chat_line("a", body={"model": None})], [("invalid_request", 1)]),
    "a live deployment": ([chat_line("a", body={"model": "m-live"})], [("invalid_request", 1)]),
    "a stream": ([chat_line("a", body={"stream": True})], [("invalid_request", 1)]),
    "too many lines": ([line(number) for number in range(5)], [("too_many_tasks", None)]),
    "too many bytes": ([chat_line("a", "x" * 3000)], [("invalid_request", None)]),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_one_wrong_line_fails_the_whole_file(
    project: Project, openai_batches: openai.OpenAI, wrong: str
) -> None:
    project.set_rules(max_lines=4, max_bytes=2000)
    lines, expected = WRONG[wrong]
    batch = openai_batches.batches.retrieve(submit(openai_batches, lines).id)
    assert batch.status == "failed"
    assert batch.errors is not None
    found = [(one.code, one.line) for one in batch.errors.data or []]
    assert found == expected
    assert all(one.message for one in batch.errors.data or [])
    project.set_rules(invalid_at_create=True)
    with pytest.raises(openai.BadRequestError) as caught:
        submit(openai_batches, lines)
    assert caught.value.code == expected[0][0]
    assert (project.executions(), project.books().enqueued_tokens) == ({}, {})


def test_only_so_many_errors_are_listed(project: Project, openai_batches: openai.OpenAI) -> None:
    project.set_rules(max_errors=3)
    batch = openai_batches.batches.retrieve(submit(openai_batches, [b"no\n"] * 9).id)
    assert batch.errors is not None
    assert [one.line for one in batch.errors.data or []] == [1, 2, 3]


def test_azure_takes_both_forms_of_urls_and_no_embeddings(azure_v1_batches: openai.OpenAI) -> None:
    client = azure_v1_batches
    mixed = [line(1), line(2, url="/chat/completions")]
    batch: Any = submit(client, mixed, endpoint="/chat/completions")
    assert client.batches.retrieve(batch.id).status == "completed"
    for lines, code in (
        ([embedding("a")], "invalid_request"),
        ([line(1), line(2, url="/v1/responses")], "url_mismatch"),
    ):
        batch = client.batches.retrieve(submit(client, lines, endpoint="/v1/embeddings").id)
        assert [one.code for one in batch.errors.data] == [code]
    batch = client.batches.retrieve(submit(client, [line(1)], completion_window="12h").id)
    assert (batch.status, batch.errors.data[0].param) == ("failed", "completion_window")


def test_inputs_of_embeddings_are_limited(project: Project, openai_batches: openai.OpenAI) -> None:
    project.set_rules(max_inputs=5)
    for count, status in ((2, "completed"), (3, "failed")):
        lines = [embedding("a", ["a", "b", "c"]), embedding("b", ["d"] * count)]
        batch = submit(openai_batches, lines, endpoint="/v1/embeddings")
        assert openai_batches.batches.retrieve(batch.id).status == status


def test_enqueued_tokens_are_booked_and_freed(project: Project, openai_batches: openai.OpenAI) -> None:
    project.stop_clock()
    project.set_rules(in_progress=100, enqueued_tokens=100, release_after=50)
    words = "word " * 60
    first = submit(openai_batches, [chat_line("a", words)])
    assert openai_batches.batches.retrieve(first.id).status == "in_progress"
    enqueued = project.books().enqueued_tokens["gpt-4o-mini"]
    assert 60 <= enqueued <= 100
    second = openai_batches.batches.retrieve(submit(openai_batches, [chat_line("a", words)]).id)
    assert second.errors is not None
    assert second.errors.data is not None
    assert (second.status, second.errors.data[0].code) == ("failed", "token_limit_exceeded")
    assert "Limit: 100 enqueued tokens" in (second.errors.data[0].message or "")
    project.set_rules(quota_at_create=True)
    with pytest.raises(openai.BadRequestError) as caught:
        submit(openai_batches, [chat_line("a", words)])
    assert caught.value.code == "token_limit_exceeded"
    other = submit(openai_batches, [chat_line("a", words, body={"model": "other"})])
    assert openai_batches.batches.retrieve(other.id).status == "in_progress", "each model has its own"
    project.advance(149)
    assert openai_batches.batches.retrieve(first.id).status == "completed"
    assert project.books().enqueued_tokens["gpt-4o-mini"] == enqueued, "it is released late"
    project.advance(1)
    assert project.books().enqueued_tokens == {}
    assert submit(openai_batches, [chat_line("a", words)]).status == "validating"


def test_images_are_enqueued_as_images(project: Project, openai_batches: openai.OpenAI) -> None:
    project.set_rules(in_progress=None)
    picture = b64encode(png(640, 480, more=100_000)).decode()
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}
    content = [{"type": "text", "text": "What is this?"}, part]
    lines = [chat_line("a", body={"messages": [{"role": "user", "content": content}]})]
    batch = submit(openai_batches, lines)
    assert openai_batches.batches.retrieve(batch.id).status == "in_progress"
    assert 100 < project.books().enqueued_tokens["gpt-4o-mini"] < 2000


def test_enqueued_requests_of_embeddings_are_limited(project: Project, openai_batches: openai.OpenAI) -> None:
    project.set_rules(enqueued_requests=3, in_progress=None)
    statuses = []
    for _ in range(2):
        batch = submit(openai_batches, [embedding("a"), embedding("b")], endpoint="/v1/embeddings")
        statuses.append(openai_batches.batches.retrieve(batch.id))
    assert [batch.status for batch in statuses] == ["in_progress", "failed"]
    assert statuses[1].errors is not None
    assert "Enqueued request limit" in str(statuses[1].errors)
    assert project.books().enqueued_requests == {"emb": 2}


def test_creations_are_limited_by_the_hour(project: Project, openai_batches: openai.OpenAI) -> None:
    project.stop_clock()
    project.set_rules(batches_per_hour=2)
    for _ in range(2):
        submit(openai_batches, [line(1)])
    project.advance(600)
    with pytest.raises(openai.RateLimitError) as caught:
        submit(openai_batches, [line(1)])
    assert caught.value.response.headers["retry-after"] == "3000"
    project.advance(3000)
    submit(openai_batches, [line(1)])


def test_the_bill_is_half_and_each_execution_is_counted(
    project: Project, openai_batches: openai.OpenAI
) -> None:
    lines = [line(1), chat_line("long", "Many words are here."), chat_line("no", "simulate-content-filter")]
    batch = openai_batches.batches.retrieve(submit(openai_batches, lines).id)
    usages = [one["response"]["body"]["usage"] for one in results(openai_batches, batch.output_file_id)]
    usage, billed = batch.usage, project.books().billed["gpt-4o-mini"]
    assert usage is not None
    assert len(usages) == 2
    assert usage.input_tokens == sum(one["prompt_tokens"] for one in usages) == billed["input_tokens"]
    assert usage.output_tokens == sum(one["completion_tokens"] for one in usages) == billed["output_tokens"]
    assert usage.output_tokens > 0
    assert billed["half_price_tokens"] == usage.total_tokens / 2
    assert billed["lines"] == 2
    openai_batches.batches.retrieve(submit(openai_batches, lines[:1]).id)
    assert project.executions() == {"row-1": 2, "long": 1, "no": 1}
    assert project.executions(at_least=2) == {"row-1": 2}
    assert project.execution_totals() == (4, 3)


def test_batches_are_listed_newest_first_in_pages(
    simulator: Running, project: Project, openai_batches: openai.OpenAI
) -> None:
    project.stop_clock()
    project.set_rules(batch_hidden=30)
    made = []
    for _ in range(5):
        made.append(submit(openai_batches, [line(1)], metadata={"a": "b"}).id)
        project.advance(10)
    assert [one.id for one in openai_batches.batches.list()] == made[2::-1], "new ones are not listed yet"
    assert openai_batches.batches.retrieve(made[-1]).id == made[-1]
    project.advance(30)
    assert [one.id for one in openai_batches.batches.list(limit=2)] == made[::-1]
    plain = PlainClient(simulator, project)
    page = plain.get(f"/batches?limit=2&after={made[3]}").json()
    assert [page["first_id"], page["last_id"], page["has_more"]] == [made[2], made[1], True]
    for wrong in ("limit=0", "limit=101", "limit=x", "after=batch_none"):
        assert plain.get(f"/batches?{wrong}").status == 400
    project.set_rules(foreign_batches=2, metadata=False)
    listed = list(openai_batches.batches.list(limit=1))
    foreign = [one.id for one in listed if one.id not in made]
    assert (len(listed), len(foreign)) == (7, 2)
    assert openai_batches.batches.retrieve(foreign[0]).status == "completed"
    assert {one.metadata for one in listed} == {None}
    project.set_rules(listing=False)
    with pytest.raises(openai.InternalServerError) as caught:
        openai_batches.batches.list()
    assert caught.value.status_code == 501


def test_files_are_listed_by_purpose_and_order(
    simulator: Running, project: Project, openai_batches: openai.OpenAI, azure_batches: openai.OpenAI
) -> None:
    openai_batches.batches.retrieve(submit(openai_batches, [line(1)]).id)
    openai_batches.files.create(file=as_file([]), purpose="user_data")
    purposes = [one.purpose for one in openai_batches.files.list()]
    assert purposes == ["user_data", "batch_output", "batch"]
    assert [one.purpose for one in openai_batches.files.list(order="asc", limit=1)] == purposes[::-1]
    assert [one.purpose for one in openai_batches.files.list(purpose="batch")] == ["batch"]
    dated = PlainClient(simulator, project, "azure").get("/files?purpose=batch&limit=1").json()
    assert set(dated) == {"object", "data"}
    assert len(list(azure_batches.files.list())) == 3


def test_each_key_has_its_own_project(simulator: Running, openai_batches: openai.OpenAI) -> None:
    batch = submit(openai_batches, [line(1)])
    other = openai_batches.with_options(api_key=f"{simulator.key}@somebody-else")
    for call in (other.batches.retrieve, other.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            call(batch.id)
    assert list(other.files.list()) == []


@pytest.mark.parametrize(
    "wrong", [{"forms": ["odd"]}, {"nothing": 1}, {"in_progress": -1}, {"done_at_most": 2}, {"progress": [7]}]
)
def test_a_wrong_rule_is_named(project: Project, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        project.set_rules(**wrong)
