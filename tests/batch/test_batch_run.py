"""Whole runs through the Batch API against the simulator, which counts what it executes."""

from __future__ import annotations

import base64
import json
import re
import shutil
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import openai
import pytest

from batch_files import PlainClient, as_file, chat_line
from batch_runs import FAST, BatchRun, executed, records, write_rows
from batchscore import read_scores
from batchscore.errors import BatchscoreError, ExitCode, SettingsError, UsageError
from batchscore.output.layout import Layout
from batchscore.output.submitted import Chunk, Chunks, chunk_folder
from batchscore.output.verify import verify_output
from batchscore.report.page.make import write_report
from batchscore.run.batches import change_batches
from batchscore.run.record import RunResult
from batchscore.settings.fields import Settings
from batchscore.simulator import Running
from batchscore.simulator.batch.faults import LINE_FAULTS
from buckets import Bucket
from openai_schemas import check_object
from simulated import Project

pytestmark = pytest.mark.process

ROWS = 47

#: Of whole runs, which take a second each, only some are in the default suite.
SLOW = partial(pytest.param, marks=pytest.mark.slow)
QUICK_FAULTS = {"missing", "cut_off", "different_duplicate"}


@pytest.fixture
def score(simulator: Running, project: Project) -> BatchRun:
    return BatchRun(simulator.endpoint, project.key)


def open_chunks() -> list[Chunk]:
    """Return what an output knows of batches."""
    return Chunks(chunk_folder(Layout(Path("out"), "chat", ""))).read_all()


def check_whole(project: Project, rows: int = ROWS, task: str = "chat") -> dict[int, dict[str, Any]]:
    """Check that each row has one record, and that no id was executed twice."""
    found = records(task)
    assert sorted(found) == list(range(rows))
    assert set(executed(project)) <= {1}
    assert not open_chunks()
    assert project.books().files == 0
    return found


@pytest.mark.parametrize("task", ["chat", "embeddings", SLOW("completions"), SLOW("responses")])
def test_records_are_those_of_live_requests(score: BatchRun, project: Project, task: str) -> None:
    write_rows(ROWS)
    given = {"task": task, "model": "text-embedding-3-small"} if task == "embeddings" else {"task": task}
    result = score(**given)
    assert result.exit_code is ExitCode.DONE
    found = check_whole(project, task=task)
    assert executed(project) == {1: ROWS}
    assert project.books().calls["create"] == 2, "a canary, and the others"
    live = score(**given, via="live", output="live")
    assert found == records(task, "live")
    figures = result.statistics
    assert figures.requests == ROWS + 1, "the canary has a line of our own"
    assert figures.tokens_kept == live.statistics.tokens_kept > 0
    usage = [batch["usage"] for batch in project.books().batches]
    assert figures.prompt_tokens == sum(each["input_tokens"] for each in usage)
    assert figures.completion_tokens == sum(each["output_tokens"] for each in usage)
    assert figures.prompt_tokens > live.statistics.prompt_tokens, "that line is billed, too"
    assert not figures.retried


@pytest.mark.slow
@pytest.mark.parametrize("api_version", [None, "2024-10-21"])
def test_both_surfaces_of_azure_take_chat_and_not_embeddings(
    score: BatchRun, project: Project, api_version: str | None
) -> None:
    write_rows(25)
    azure = {"endpoint": f"{score.endpoint}/openai/v1" if api_version is None else score.endpoint}
    azure |= {"api_version": api_version} if api_version else {}
    assert score(**azure).exit_code is ExitCode.DONE
    check_whole(project, 25)
    with pytest.raises(SettingsError, match=r"takes chat.* not embeddings"):
        score(task="embeddings", output="other", **azure)
    assert project.books().calls["upload"] == 2


@pytest.mark.parametrize("surface", ["openai", "azure_v1", SLOW("azure")])
def test_all_that_is_sent_matches_the_public_description(
    score: BatchRun, project: Project, simulator: Running, surface: str
) -> None:
    """But Azure's own pages name the path without a version where OpenAI's description has it."""
    write_rows(5)
    azure = {
        "azure_v1": {"endpoint": f"{score.endpoint}/openai/v1"},
        "azure": {"endpoint": score.endpoint, "api_version": "2024-10-21"},
    }
    given = azure.get(surface, {})
    assert score(no_canary=True, keep_batch_files=True, **given).exit_code is ExitCode.DONE
    (upload,), (create,) = project.requests("upload"), project.requests("create")
    fields = dict(upload.body)
    assert fields.pop("filename").endswith(".jsonl")
    assert fields.pop("content_type") == "application/jsonl"
    lives = {"seconds": int(fields.pop("expires_after[seconds]", 86400))}
    lives["anchor"] = fields.pop("expires_after[anchor]", "created_at")
    check_object("CreateFileRequest", fields | {"file": "", "expires_after": lives})
    endpoint = create.body["endpoint"]
    versioned = endpoint if surface == "openai" else f"/v1{endpoint}"
    check_object("CreateBatchRequest", create.body | {"endpoint": versioned})
    content = PlainClient(simulator, project, surface).get(f"/files/{create.body['input_file_id']}/content")
    lines = [json.loads(line) for line in content.body.split(b"\n")[:-1]]
    assert len(lines) == len({line["custom_id"] for line in lines}) >= 5
    for line in lines:
        assert line.keys() == {"custom_id", "method", "url", "body"}
        assert re.fullmatch(r"[a-z][A-Za-z0-9_-]{0,63}", line["custom_id"])
        url = "/chat/completions" if surface == "azure" else "/v1/chat/completions"
        assert (line["method"], line["url"]) == ("POST", url)


#: The smallest picture, and what an answer must hold.
PICTURE = base64.b64encode(
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\0\0\0\0:~\x9bU"
    b"\0\0\0\nIDATx\x9cc`\0\0\0\2\0\1H\xaf\xa4q\0\0\0\0IEND\xaeB`\x82"
).decode()
ANSWER = {"type": "object", "properties": {"late": {"type": "boolean"}}}
SAMPLING = {"max_tokens": 20, "temperature": 0.5, "param": {"seed": 7, "user": "me"}}

#: A task, its settings, and the name of its request in the description.
BODIES = [
    ("chat", SAMPLING | {"system": "Be short."}, "CreateChatCompletionRequest"),
    ("chat", {"schema": ANSWER, "image": ("picture",)}, "CreateChatCompletionRequest"),
    ("embeddings", {"model": "text-embedding-3-small", "dimensions": 8}, "CreateEmbeddingRequest"),
    ("completions", SAMPLING, "CreateCompletionRequest"),
    ("responses", {"max_tokens": 20, "system": "Be short."}, "CreateResponse"),
    ("responses", {"schema": ANSWER, "image": ("picture",), "image_detail": "low"}, "CreateResponse"),
]


@pytest.mark.parametrize(("task", "flags", "name"), BODIES[:2] + [SLOW(*each) for each in BODIES[2:]])
def test_the_body_of_each_line_matches_the_public_description_of_its_endpoint(
    score: BatchRun, project: Project, simulator: Running, task: str, flags: dict[str, Any], name: str
) -> None:
    texts = ["plain", 'quotes \\ and ""', "\u2028 Gr\u00fc\u00dfe \U0001f4e6"]
    rows = "".join(f'"{text}","data:image/png;base64,{PICTURE}"\n' for text in texts)
    Path("in.csv").write_text("text,picture\n" + rows)
    assert score(task=task, keep_batch_files=True, **flags).exit_code is ExitCode.DONE
    sent = [create.body["input_file_id"] for create in project.requests("create")]
    client = PlainClient(simulator, project, "openai")
    lines = [
        json.loads(line)
        for file in sent
        for line in client.get(f"/files/{file}/content").body.split(b"\n")[:-1]
    ]
    assert len(lines) == 4, "the rows, and the probe of the first batch"
    for line in lines:
        assert line["url"] == project.requests("create")[0].body["endpoint"]
        check_object(name, line["body"])


@pytest.mark.parametrize("happened", [True, False])
@pytest.mark.parametrize("lost", [{"drop": True}, SLOW({"status": 500}), SLOW({"status": 429})])
@pytest.mark.parametrize("skip", [SLOW(0), 1])
def test_a_creation_whose_reply_is_lost_is_not_made_twice(
    score: BatchRun, project: Project, lost: dict[str, Any], skip: int, *, happened: bool
) -> None:
    project.will("create", skip=skip, happened=happened, **lost)
    write_rows(ROWS)
    assert score().exit_code is ExitCode.DONE
    if not happened:
        # Nobody can know that until a batch would surely be listed.
        (chunk,) = open_chunks()
        assert chunk.unconfirmed
        assert UNCONFIRMED in score.said
        day = {"creating_at": chunk.creating_at - 90_000, "sent_at": chunk.sent_at - 90_000}
        Chunks(chunk_folder(Layout(Path("out"), "chat", ""))).change(chunk, **day)
        assert score().exit_code is ExitCode.DONE
        assert UNCONFIRMED not in score.said
    check_whole(project)
    assert executed(project) == {1: ROWS}
    assert project.books().happened["create"] == 2
    assert project.books().calls["create"] == 2 + (not happened)


#: What is said of a creation whose batch is not listed.
UNCONFIRMED = "had no usable reply"


def test_a_batch_that_is_listed_after_the_end_was_announced_and_is_noticed_by_the_next_run(
    score: BatchRun, project: Project
) -> None:
    """The run that created another one says so, and what it does not know; so do its record and `verify`."""
    project.end_at_once()
    project.set_rules(batch_hidden=1000)
    project.will("create", drop=True, happened=True)
    write_rows(10)
    result = score(no_canary=True)
    assert result.exit_code is ExitCode.DONE
    assert "No usable reply came to the creation of a batch of 10 rows" in score.said
    assert score.said.count("To look, run: batchscore batches out") == 1
    assert recorded(result) == [each for each in score.notices if "usable reply" in each]
    write_report(Path("out"))
    checked = verify_output(Path("out"))
    assert checked.exit_code is ExitCode.DONE
    for text in (checked.to_text(), checked.to_json()["unconfirmed"], Path("out/report.html").read_text()):
        assert UNCONFIRMED in text
    assert score(no_canary=True).exit_code is ExitCode.DONE
    assert UNCONFIRMED in score.said, "it is not listed yet"
    project.set_rules(batch_hidden=0)
    result = score(no_canary=True)
    assert result.exit_code is ExitCode.DONE
    (said,) = recorded(result)
    assert f"{project.books().batches[0]['id']}, had ended after 10 rows, which may be billed twice" in said
    assert result.statistics.prompt_tokens > 0, "they are counted"
    assert not open_chunks()
    assert not verify_output(Path("out")).last.unconfirmed
    assert score(no_canary=True).statistics.prompt_tokens == 0


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ({"max_outage": 60.0, "deadline": "1s"}, "stopped while it looked"),
        SLOW({"max_outage": 0.1}, "the list of batches failed (503)"),
    ],
)
def test_a_last_look_that_is_stopped_or_fails_is_made_by_the_next_run(
    score: BatchRun, project: Project, flags: dict[str, Any], why: str
) -> None:
    """By then all rows have their records, but what another batch has cost is not known."""
    project.end_at_once()
    project.will("create", drop=True, happened=False)
    write_rows(10)
    assert score(no_canary=True).exit_code is ExitCode.DONE
    project.will("list_batches", status=503, times=None, skip=1)
    result = score(no_canary=True, **flags)
    assert result.exit_code is ExitCode.CONTINUE_LATER
    assert why in str(result.outcome.stopped_by)
    assert UNCONFIRMED in score.said
    assert open_chunks()[0].unconfirmed
    project.drop_faults()
    assert score(no_canary=True).exit_code is ExitCode.DONE
    assert sorted(records()) == list(range(10))


@pytest.mark.slow
@pytest.mark.parametrize("service", ["same", "other"])
def test_a_creation_of_other_parameters_that_is_not_confirmed_ends_too(
    score: BatchRun, project: Project, service: str
) -> None:
    """The list of the same service settles it, whatever rows the run has; else the user can forget it."""
    project.end_at_once()
    project.will("create", drop=True, happened=False)
    write_rows(10)
    assert score(no_canary=True).exit_code is ExitCode.DONE
    (chunk,) = open_chunks()
    day = {"creating_at": chunk.creating_at - 90_000, "sent_at": chunk.sent_at - 90_000}
    Chunks(chunk_folder(Layout(Path("out"), "chat", ""))).change(chunk, **day)
    if service == "other":
        score.endpoint = score.endpoint.replace("127.0.0.1", "localhost")
    assert score(no_canary=True, overwrite=True, temperature=0.5).exit_code is ExitCode.DONE
    if service == "other":
        assert "with the same endpoint and key looks for it" in score.said
        assert f"To look no more, run: batchscore batches out forget {chunk.key}" in score.said
        assert score(no_canary=True, temperature=0.5).exit_code is ExitCode.DONE
        settings = Settings(task="chat", model="m", output="out", simulate=True)
        forgotten = change_batches(
            Path("out"), "forget", [chunk.key], None, lambda _: (settings, {}), {}, print
        )
        assert "no run looks for" in forgotten.done[0]
    else:
        assert UNCONFIRMED not in score.said
    assert not open_chunks()
    assert not verify_output(Path("out")).last.unconfirmed


def recorded(result: RunResult) -> list[str]:
    """Return what a run's record says of rows that may be billed twice."""
    found: list[str] = json.loads(Path(str(result.record)).read_bytes())["billed_twice"]
    return found


#: Dialects of files and batches.
DIALECTS = {
    "openai": {},
    "azure": {"endpoint": "{}/openai/v1"},
    "azure_dated": {"endpoint": "{}", "api_version": "2024-10-21"},
}

#: What the list of a service does after a creation whose reply was lost.
SHOWS_LATE = [
    pytest.param(False, False, id="the reply was lost"),
    SLOW(True, False, id="the run was killed before the reply"),
    SLOW(False, True, id="the second batch has ended before the first is listed"),
    SLOW(True, True, id="killed, and the second batch has ended before"),
]


@pytest.mark.parametrize("oldest_first", [False, SLOW(True)])
@pytest.mark.parametrize("dialect", ["openai", SLOW("azure"), SLOW("azure_dated")])
@pytest.mark.parametrize(("killed", "ends_first"), SHOWS_LATE)
def test_two_batches_of_one_file_are_noticed_however_late_one_is_listed(
    score: BatchRun, project: Project, dialect: str, *, killed: bool, ends_first: bool, oldest_first: bool
) -> None:
    """The younger one is cancelled, unless it has ended; what the other has cost is counted and said."""
    given = {name: text.format(score.endpoint) for name, text in DIALECTS[dialect].items()}
    given |= {"no_canary": True, "no_wait": True}
    score.waits = replace(FAST, look_again=(0.01, 0.02))
    project.stop_clock()
    project.set_rules(batch_hidden=1000, validating=0, finalizing=0, cancelling=0, oldest_first=oldest_first)
    project.set_rules(in_progress=100 if ends_first else 10_000, foreign_batches=250)
    write_rows(10)
    if killed:
        assert score(**given).exit_code is ExitCode.CONTINUE_LATER
        (place,) = Path("out/.batchscore/batches/chat").glob("*.json")
        before = {"step": "creating", "batch": "", "created_at": 0.0, "expires_at": 0.0}
        place.write_text(json.dumps(json.loads(place.read_text()) | before))
        project.advance(5)
    else:
        project.will("create", drop=True, happened=True)
    assert score(**given).exit_code is ExitCode.CONTINUE_LATER
    assert project.books().happened["create"] == 2
    first, second = [batch["id"] for batch in project.books().batches]
    project.advance(2000)
    if ends_first:
        assert score(**given).exit_code is ExitCode.DONE
        assert f"The second one, {first}, had ended after 10 rows, which may be billed twice." in score.said
    else:
        assert score(**given).exit_code is ExitCode.CONTINUE_LATER
        (cancelled,) = [each["id"] for each in project.books().batches if each["status"] == "cancelled"]
        assert f"The second one, {cancelled}, was cancelled after 2 rows" in score.said
        assert cancelled == second or not killed, "neither is older if both are of one second"
        project.advance(10_000)
        assert score(**given).exit_code is ExitCode.DONE
        assert "Two batches" not in score.said
    assert sorted(records()) == list(range(10))
    books = project.books()
    (billed,) = books.billed.values()
    assert billed["lines"] == (20 if ends_first else 12)


@pytest.mark.slow
def test_a_batch_that_is_listed_after_its_rows_are_recorded_is_noticed_at_the_end(
    score: BatchRun, project: Project
) -> None:
    """Its rows are billed twice: no client can tell before. But they are counted, and said."""
    score.waits = replace(FAST, look_again=(0.01, 0.02))
    project.stop_clock()
    project.end_at_once()
    project.set_rules(batch_hidden=1000)
    project.will("create", drop=True, happened=True)
    write_rows(30)
    score.on_notice = lambda text, _: "20 of 20" in text and project.advance(2000)
    assert score().exit_code is ExitCode.DONE
    assert score.said.count("had ended after 20 rows, which may be billed twice.") == 1
    assert sorted(records()) == list(range(30))


@pytest.mark.slow
@pytest.mark.parametrize(
    "refusal",
    [
        {"status": 400, "code": "token_limit_exceeded"},
        {"status": 400, "code": "invalid_request"},
        {"status": 404},
    ],
)
@pytest.mark.parametrize("stopped", [True, False])
def test_a_batch_that_surfaces_after_the_next_was_refused_is_used(
    score: BatchRun, project: Project, refusal: dict[str, Any], *, stopped: bool
) -> None:
    """The refusal may be the first batch's own doing: it fills the quota."""
    project.set_rules(batch_hidden=2.0, in_progress=0)
    project.will("create", drop=True, happened=True)
    project.will("create", times=99, **refusal)
    write_rows(10)
    if stopped:
        score.on_notice = lambda text, run: "limit of tokens" in text and run.conditions.stop.request()
    first = score(no_canary=True)
    if first.exit_code is not ExitCode.DONE:
        assert first.exit_code in {ExitCode.CONTINUE_LATER, ExitCode.ACTION_NEEDED}
        verified = verify_output(Path("out"))
        assert verified.submitted == 10
        assert not any("not started" in each for each in verified.missing)
        time.sleep(2.1)
        score.on_notice = lambda *_: None
        assert score(no_canary=True).exit_code is ExitCode.DONE
    assert sorted(records()) == list(range(10))
    assert executed(project) == {1: 10}


@pytest.mark.slow
@pytest.mark.parametrize("status", [400, 403, 405])
def test_a_service_that_does_not_list_files_takes_an_upload_twice(
    score: BatchRun, project: Project, status: int
) -> None:
    project.will("upload", drop=True, happened=True)
    project.will("list_files", status=status, times=9)
    write_rows(10)
    assert score().exit_code is ExitCode.DONE


@pytest.mark.slow
@pytest.mark.parametrize("happened", [True, False])
def test_an_upload_whose_reply_is_lost_is_repeated(
    score: BatchRun, project: Project, *, happened: bool
) -> None:
    project.will("upload", drop=True, happened=happened)
    write_rows(10)
    assert score().exit_code is ExitCode.DONE
    check_whole(project, 10)
    assert executed(project) == {1: 10}


@pytest.mark.parametrize("fault", [each if each in QUICK_FAULTS else SLOW(each) for each in LINE_FAULTS])
def test_each_odd_line_costs_at_most_its_row(score: BatchRun, project: Project, fault: str) -> None:
    project.will_spoil(line=fault, share=0.3, times=9, size=20_000)
    write_rows(ROWS)
    result = score(error_threshold=0.5)
    assert result.exit_code is ExitCode.DONE
    found = check_whole(project)
    errors = Counter(record["error"]["code"] for record in found.values() if "error" in record)
    sent_again = {"status_zero", "missing", "foreign_id", "null_id", "cut_off", "not_json", "error_text"}
    expected = {"content_filter": "content_filter", "context_length": "input_too_long"}
    if fault in expected:
        assert set(errors) == {expected[fault]}
    elif fault == "refused_in_output":
        assert set(errors) == {"invalid_request"}
    elif fault in sent_again:
        assert set(errors) <= {"server_error", "invalid_request"}
    else:
        assert not errors
    said = {"foreign_id": "of no row", "null_id": "of no row", "duplicate": "repeated"}
    said |= {"different_duplicate": "second, different", "not_json": "unreadable"}
    assert said.get(fault, "") in score.said
    assert "parcel" not in score.said


@pytest.mark.slow
@pytest.mark.parametrize(("status", "code"), [(429, "rate_limited"), (500, "server_error")])
def test_rows_are_sent_again_until_the_last_round(
    score: BatchRun, project: Project, status: int, code: str
) -> None:
    write_rows(ROWS, {7: "poison seven", 30: "poison thirty"})
    project.will_spoil(when_contains="poison seven", status=status, times=1)
    project.will_spoil(when_contains="poison thirty", status=status)
    result = score(batch_rounds=3)
    assert result.exit_code is ExitCode.ROWS_FAILED
    found = check_whole(project)
    assert "chat" in found[7]
    error = found[30]["error"]
    assert (error["code"], error["status"], error["attempts"]) == (code, status, 3)
    project.drop_faults()
    assert score().exit_code is ExitCode.DONE, "the same command sends it again"


@pytest.mark.slow
def test_what_an_expired_batch_leaves_is_sent_again(score: BatchRun, project: Project) -> None:
    project.set_rules(done_at_most=0.6, window=0)
    write_rows(ROWS)
    result = score(batch_rounds=2, error_threshold=1.0 * ROWS)
    assert result.exit_code is ExitCode.DONE
    found = check_whole(project)
    errors = [record["error"]["code"] for record in found.values() if "error" in record]
    assert 0 < len(errors) < ROWS / 2
    assert set(errors) == {"server_error"}


@pytest.mark.slow
@pytest.mark.parametrize("at_create", [True, False])
def test_the_limit_of_tokens_is_waited_for(score: BatchRun, project: Project, *, at_create: bool) -> None:
    project.set_rules(enqueued_tokens=300, quota_at_create=at_create, in_progress=0.6)
    write_rows(60)
    assert score(batch_tokens=1600).exit_code is ExitCode.DONE
    check_whole(project, 60)
    assert executed(project) == {1: 60}
    assert "limit of tokens" in score.said


@pytest.mark.slow
def test_a_chunk_that_is_always_too_large_is_halved(score: BatchRun, project: Project) -> None:
    project.set_rules(enqueued_tokens=300)
    write_rows(60)
    # It is stopped before the halves are sent: nothing of the whole waits at the service then.
    score.on_notice = lambda text, run: "smaller ones" in text and run.conditions.stop.request()
    assert score(no_canary=True).exit_code is ExitCode.CONTINUE_LATER
    assert not records()
    score.on_notice = lambda *_: None
    assert score(no_canary=True).exit_code is ExitCode.DONE
    # The stop may come within an upload, whose file then stays until it expires.
    assert sorted(records()) == list(range(60))
    assert not list(Path("out/.batchscore/batches").rglob("*.json"))
    assert executed(project) == {1: 60}


@pytest.mark.slow
def test_the_cost_of_a_batch_is_reserved_before_it_is_sent(score: BatchRun, project: Project) -> None:
    write_rows(200)
    prices = {"price_in": 1000.0, "price_out": 1000.0, "max_tokens": 20}
    result = score(max_spend=2.0, batch_tokens=6000, **prices)
    assert result.exit_code is ExitCode.CONTINUE_LATER
    assert "reserved before it is sent" in str(result.outcome.stopped_by)
    spent = result.settings.cost(result.statistics.prompt_tokens, result.statistics.completion_tokens)
    assert spent is not None
    assert 0 < spent <= 2.0
    assert 20 <= len(records()) < 200
    assert project.books().calls["create"] >= 2
    assert score(**prices).exit_code is ExitCode.DONE
    check_whole(project, 200)


def test_a_wrong_parameter_costs_a_canary_and_no_more(score: BatchRun, project: Project) -> None:
    write_rows(500)
    result = score(param={"top_logprobs": 99})
    assert result.exit_code is ExitCode.ACTION_NEEDED
    assert "probably wrong" in str(result.outcome.stopped_by)
    assert project.books().calls["create"] == 1
    assert executed(project).total() <= 20
    assert not records()
    result = score()
    assert result.exit_code is ExitCode.DONE, "with other parameters it starts again"
    assert sorted(records()) == list(range(500))


#: Replies with status 200 that hold no usable answer, whatever row is sent.
UNUSABLE = [
    ("content_as_object", {}),
    SLOW("no_choices", {}),
    SLOW("html", {}),
    SLOW("error_402", {}),
    SLOW("other_dimensions", {"task": "embeddings", "model": "text-embedding-3-small", "dimensions": 4}),
]


@pytest.mark.parametrize(("shape", "flags"), UNUSABLE)
def test_a_canary_without_a_usable_reply_costs_no_more(
    score: BatchRun, project: Project, shape: str, flags: dict[str, Any]
) -> None:
    """Its replies have status 200, so they are billed: no others are bought before one can be used."""
    write_rows(500)
    project.will_spoil(shape=shape)
    result = score(**flags, batch_tokens=3000)
    assert result.exit_code is ExitCode.ACTION_NEEDED
    assert project.books().calls["create"] == 1
    assert executed(project).total() <= 20
    assert not records()
    billed = shape not in {"html", "error_402"}  # else no usage is reported
    assert bool(result.statistics.prompt_tokens) == billed, "they are counted"
    project.drop_faults()
    assert score(**flags).exit_code is ExitCode.DONE


@pytest.mark.slow
def test_a_service_whose_replies_change_their_form_is_sent_no_more(score: BatchRun, project: Project) -> None:
    """Also if it has answered such rows before: then each later command buys a canary at most."""
    write_rows(300)
    assert score(limit=20).exit_code is ExitCode.DONE
    project.will_spoil(shape="content_as_object")
    bought = []
    for _ in range(4):
        result = score(batch_tokens=3000)
        assert result.exit_code is ExitCode.ACTION_NEEDED
        assert "has no usable reply" in str(result.outcome.stopped_by)
        bought.append(executed(project).total())
    assert bought[0] < 300, "those that were sent before the first one had ended"
    assert bought[-1] - bought[0] <= 3 * 20
    project.drop_faults()
    while score().exit_code is ExitCode.ACTION_NEEDED:  # each fetches one that has ended before
        assert executed(project).total() - bought[-1] <= 20
    assert sorted(records()) == list(range(300))
    assert not errors_of(records())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "code", "times"),
    [
        ("content_as_object", "invalid_response", 2),
        ("html", "invalid_response", 2),
        ("finish_network_error", "server_error", 3),
    ],
)
def test_a_reply_that_has_the_same_wrong_form_twice_is_not_bought_again(
    score: BatchRun, project: Project, shape: str, code: str, times: int
) -> None:
    write_rows(30, {7: "poison seven"})
    project.will_spoil(when_contains="poison", shape=shape)
    assert score(batch_rounds=3).exit_code is ExitCode.ROWS_FAILED
    error = check_whole(project, 30)[7]["error"]
    assert (error["code"], error["attempts"]) == (code, times)
    assert executed(project).total() == 29 + times


@pytest.mark.slow
def test_a_line_that_the_service_refuses_costs_its_row_and_not_the_file(
    score: BatchRun, project: Project
) -> None:
    write_rows(30, dict.fromkeys((3, 17), "simulate-refused-line"))
    assert score(no_canary=True).exit_code is ExitCode.ROWS_FAILED
    found = check_whole(project, 30)
    assert {row: each["error"]["code"] for row, each in found.items() if "error" in each} == dict.fromkeys(
        (3, 17), "invalid_request"
    )
    assert executed(project) == {1: 28}
    assert project.books().happened["create"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [True, False])
def test_only_new_and_changed_rows_are_sent_with_incremental(
    score: BatchRun, project: Project, *, stopped: bool
) -> None:
    """Also if the run stops within it, or the input changes again while a batch runs."""
    given = {"incremental": True, "rows_per_part": 7}
    write_rows(20)
    first = score(**given)
    assert first.exit_code is ExitCode.DONE
    assert first.changes is not None
    assert first.changes.new == 20
    write_rows(25, {3: "This one is other."})
    more = 0
    if stopped:
        project.set_rules(in_progress=None)
        score.stops_when_submitted = True
        assert score(**given).exit_code is ExitCode.CONTINUE_LATER
        score.stops_when_submitted = False
        project.set_rules(in_progress=0)
        write_rows(25, {3: "This one is other.", 24: "This one has changed once more."})
        more = 1
    second = score(**given)
    assert second.exit_code is ExitCode.DONE
    # Without ids, a row with another text is a new one.
    assert second.changes is not None
    assert (second.changes.new, second.changes.deleted) == (6, 1)
    found = check_whole(project, 25)
    assert not any("error" in each for each in found.values())
    assert executed(project) == {1: 26 + more}
    assert verify_output(Path("out")).exit_code is ExitCode.DONE
    assert score(**given).statistics.requests == 0


@pytest.mark.slow
def test_a_canary_of_bad_rows_alone_does_not_stop_the_others(score: BatchRun, project: Project) -> None:
    project.will_spoil(when_contains='"ping"', status=500)
    write_rows(45, dict.fromkeys(range(20), "simulate-content-filter"))
    assert score().exit_code is ExitCode.ROWS_FAILED
    found = check_whole(project, 45)
    assert sum("error" in record for record in found.values()) == 20
    assert project.books().calls["create"] == 2


@pytest.mark.slow
def test_a_parameter_that_needs_another_name_is_renamed(score: BatchRun, project: Project) -> None:
    write_rows(30)
    result = score(model="my-o3-deployment", max_tokens=50)
    assert result.exit_code is ExitCode.DONE
    assert sorted(records()) == list(range(30))


def errors_of(found: dict[int, dict[str, Any]]) -> Counter[str]:
    return Counter(record["error"]["code"] for record in found.values() if "error" in record)


@pytest.mark.slow
@pytest.mark.parametrize("azure", [False, True])
def test_what_no_batch_answers_is_sent_live_at_the_full_price(
    score: BatchRun, project: Project, *, azure: bool
) -> None:
    write_rows(ROWS, {7: "poison seven", 30: "poison thirty"})
    project.will_spoil(when_contains="poison", status=500)
    flags: dict[str, Any] = {"finish_live": True, "batch_rounds": 2, "price_in": 1000.0, "price_out": 1000.0}
    if azure:
        flags |= {"endpoint": f"{score.endpoint}/openai/v1"}
        with pytest.raises(SettingsError, match="Name another one of the same model"):
            score(**flags)
        flags |= {"live_deployment": "gpt-4o-mini-live"}
    result = score(**flags)
    assert result.exit_code is ExitCode.DONE
    found = check_whole(project)
    assert not errors_of(found)
    assert executed(project).total() == ROWS - 2 + 2 * 2, "both rounds are tried first"
    now = result.statistics
    assert 0 < now.full_price_prompt_tokens < now.prompt_tokens / 2
    tokens = now.prompt_tokens + now.completion_tokens
    expected = 0.5 * (tokens - sum(now.full_price)) + sum(now.full_price)
    assert result.settings.cost(now.prompt_tokens, now.completion_tokens, now.full_price) == pytest.approx(
        expected / 1000
    )
    assert "No batch has answered 2 rows" in score.said


@pytest.mark.slow
def test_live_requests_after_batches_stop_at_the_budget_and_continue(
    score: BatchRun, project: Project
) -> None:
    write_rows(100)
    project.set_rules(done_at_most=0.0, window=0)
    flags: dict[str, Any] = {"finish_live": True, "batch_rounds": 1, "no_canary": True, "max_concurrency": 1}
    prices = {"price_in": 1000.0, "price_out": 1000.0, "max_tokens": 10}
    result = score(max_spend=1.0, batch_price_factor=0.1, **flags, **prices)
    assert result.exit_code is ExitCode.CONTINUE_LATER
    assert "max_spend" in str(result.outcome.stopped_by)
    answered = len(records())
    assert 0 < answered < 100
    result = score(**flags, **prices)
    assert result.exit_code is ExitCode.DONE
    check_whole(project, 100)
    assert project.books().calls["create"] == 1, "what was left stays left, it goes into no batch again"
    assert result.statistics.ok == 100 - answered


@pytest.mark.slow
@pytest.mark.parametrize("then", ["round", "live", "error"])
def test_a_batch_that_never_ends_is_cancelled_and_its_answers_are_kept(
    score: BatchRun, project: Project, then: str
) -> None:
    project.set_rules(in_progress=0.3, done_at_most=0.5)
    write_rows(ROWS)
    flags: dict[str, Any] = {"endpoint": f"{score.endpoint}/openai/v1", "no_canary": True}
    flags |= {"batch_patience": "0.8s", "batch_rounds": 2 if then == "round" else 1}
    if then == "live":
        flags |= {"finish_live": True, "live_deployment": "live"}
    result = score(error_threshold=float(ROWS), **flags)
    assert result.exit_code is ExitCode.DONE
    found = check_whole(project)
    failed = errors_of(found)
    assert failed.total() == {"round": ROWS // 4 + 1, "live": 0, "error": ROWS // 2 + 1}[then]
    assert set(failed) <= {"server_error"}
    assert project.books().calls["cancel"] == (2 if then == "round" else 1)
    assert "is cancelled. The answers that it has are kept." in score.said


@pytest.mark.slow
def test_a_batch_that_stays_cancelling_is_left_to_the_next_run(score: BatchRun, project: Project) -> None:
    project.set_rules(in_progress=None, cancelling=None)
    write_rows(10)
    score.waits = replace(score.waits, cancelling=0.2)
    assert score(no_canary=True, batch_patience="0.01s").exit_code is ExitCode.CONTINUE_LATER
    assert "is still being cancelled" in score.said
    project.set_rules(in_progress=0, cancelling=0)
    assert score(no_canary=True).exit_code is ExitCode.DONE
    assert sorted(records()) == list(range(10))


@pytest.mark.slow
def test_patience_counts_from_the_start_of_the_batch_also_without_waiting(
    score: BatchRun, project: Project
) -> None:
    project.set_rules(in_progress=None, done_at_most=0.0, cancelling=0)
    write_rows(10)
    flags: dict[str, Any] = {"endpoint": f"{score.endpoint}/openai/v1", "no_canary": True, "no_wait": True}
    assert score(batch_patience="1h", **flags).exit_code is ExitCode.CONTINUE_LATER
    assert "cancel" not in project.books().calls
    result = score(batch_patience="0.01s", batch_rounds=1, **flags)
    assert result.exit_code is ExitCode.ROWS_FAILED
    assert project.books().calls["cancel"] == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"via": "live", "finish_live": True}, "is for batches"),
        ({"via": "live", "batch_patience": "2h"}, "is for batches"),
        ({"batch_patience": "soon"}, "cannot be read"),
        ({"batch_patience": "0s"}, "cannot be read"),
        ({"live_deployment": "x"}, "is for .*finish_live"),
        ({"finish_live": True, "live_deployment": "gpt-4o-mini"}, "names the deployment of the batches"),
        ({"finish_live": True, "live_deployment": "x", "simulate": True, "endpoint": None}, "only one"),
        ({"no_wait": True, "simulate": True, "endpoint": None}, "would never fetch results"),
        ({"batch_rounds": 0, "retry_errors": True}, "would only remove the error records"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    score: BatchRun, flags: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        score(**flags)


def stop_at(words: str) -> Any:
    def on_notice(text: str, run: Any) -> None:
        if words in text:
            run.conditions.stop.request()

    return on_notice


@pytest.mark.slow
def test_a_stopped_run_leaves_batches_running_and_the_same_command_continues(
    score: BatchRun, project: Project
) -> None:
    write_rows(200)
    score.on_notice = stop_at("completed")  # the canary has ended
    assert score(rows_per_part=30).exit_code is ExitCode.CONTINUE_LATER
    project.set_rules(in_progress=None)
    score.on_notice, score.stops_when_submitted = lambda *_: None, True
    assert score(rows_per_part=30).exit_code is ExitCode.CONTINUE_LATER
    assert re.search(r"180 rows in 1 batch keep running at the service. .* again before 20", score.said)
    write_report(Path("out"))
    verified = verify_output(Path("out"))
    assert (verified.exit_code, verified.submitted) == (ExitCode.CONTINUE_LATER, 180)
    assert "180 rows in 1 batch wait for results" in verified.to_text()
    assert "180 rows in 1 batch at the service" in Path("out/report.html").read_text()
    with pytest.raises(SettingsError, match=r"180 rows in 1 batch of this output wait .* paid for again"):
        score(rows_per_part=30, via="live")
    with pytest.raises(SettingsError, match="would lose what they cost"):
        score(rows_per_part=30, overwrite=True)
    assert score(rows_per_part=30).exit_code is ExitCode.CONTINUE_LATER
    assert project.books().calls["create"] == 2
    project.set_rules(in_progress=0)
    score.stops_when_submitted = False
    result = score(rows_per_part=30)
    assert result.exit_code is ExitCode.DONE
    check_whole(project, 200)
    assert executed(project) == {1: 200}


@pytest.mark.slow
def test_without_waiting_each_start_goes_one_step(score: BatchRun, project: Project) -> None:
    project.stop_clock()
    project.set_rules(validating=10, in_progress=600, finalizing=10)
    write_rows(100)
    codes = []
    for _ in range(6):
        codes.append(score(no_wait=True).exit_code)
        project.advance(1000)
    assert codes == [4, 4, 0, 0, 0, 0]
    check_whole(project, 100)
    assert executed(project) == {1: 100}


@pytest.mark.slow
def test_reads_that_fail_and_cut_downloads_cost_nothing(score: BatchRun, project: Project) -> None:
    for kind in ("list_batches", "get_batch", "get_file", "list_files", "delete_file"):
        project.will(kind, times=1, status=503)
        project.will(kind, times=1, drop=True)
    project.will("download", cut_after=2000)
    project.will("download", status=502)
    write_rows(ROWS)
    assert score().exit_code is ExitCode.DONE
    check_whole(project)
    assert executed(project) == {1: ROWS}


@pytest.mark.slow
def test_an_input_that_changed_meanwhile_is_scored_as_it_is_now(score: BatchRun, project: Project) -> None:
    project.set_rules(in_progress=None)
    write_rows(30)
    score.stops_when_submitted = True
    assert score(no_canary=True).exit_code is ExitCode.CONTINUE_LATER
    write_rows(30, {3: "Something else."})
    project.set_rules(in_progress=0)
    score.stops_when_submitted = False
    assert score(no_canary=True).exit_code is ExitCode.DONE
    check_whole(project, 30)
    assert executed(project) == {1: 31}


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["key", "parameter", "host"])
def test_scores_are_not_discarded_for_a_service_that_does_not_answer(
    score: BatchRun, project: Project, wrong: str
) -> None:
    write_rows(10)
    assert score().exit_code is ExitCode.DONE
    flags: dict[str, Any] = {"parameter": {"param": {"top_logprobs": 99}}}.get(wrong, {})
    flags |= {"endpoint": "http://127.0.0.1:9/v1", "max_outage": 0.1} if wrong == "host" else {}
    refused = replace(score, key="wrong-key-123456") if wrong == "key" else score
    with pytest.raises(BatchscoreError, match="Nothing was discarded"):
        refused(overwrite=True, **flags)
    assert len(records()) == 10
    assert score(overwrite=True).exit_code is ExitCode.DONE
    assert executed(project) == {1: 20}


@pytest.mark.slow
def test_other_parameters_do_not_mix_with_open_batches(score: BatchRun, project: Project) -> None:
    project.set_rules(in_progress=None)
    write_rows(30)
    score.stops_when_submitted = True
    assert score().exit_code is ExitCode.CONTINUE_LATER
    score.stops_when_submitted = False
    result = score(temperature=0.5)
    assert "with other parameters" in str(result.outcome.stopped_by)
    assert project.books().calls["create"] == 1


@pytest.mark.slow
def test_a_batch_that_is_gone_is_said_and_not_paid_for_again(score: BatchRun, project: Project) -> None:
    project.set_rules(in_progress=None)
    write_rows(30)
    score.stops_when_submitted = True
    assert score(no_canary=True).exit_code is ExitCode.CONTINUE_LATER
    other = replace(score, key=score.key + "-other", stops_when_submitted=False)
    result = other(no_canary=True)
    assert result.exit_code is ExitCode.ACTION_NEEDED
    assert "is not there (404). Use the key of the project" in str(result.outcome.stopped_by)
    said = str(result.outcome.stopped_by)
    assert re.search(r"run batchscore batches out forget [a-z0-9]{8} --endpoint http", said)
    assert project.books().calls["create"] == 1


@pytest.mark.slow
def test_a_service_without_a_list_is_refused(score: BatchRun, project: Project) -> None:
    project.set_rules(listing=False)
    write_rows(3)
    result = score()
    assert "does not list its batches" in str(result.outcome.stopped_by)
    assert project.books().calls.get("upload", 0) == 0


def test_a_list_that_fails_is_an_outage_before_anything_is_sent(score: BatchRun, project: Project) -> None:
    project.will("list_batches", status=500, times=9)
    write_rows(3)
    result = score(max_outage=0.001)
    assert result.exit_code is ExitCode.CONTINUE_LATER
    assert "Nothing was sent. If this persists, the service may have no Batch API" in str(
        result.outcome.stopped_by
    )
    assert project.books().calls.get("upload", 0) == 0


@pytest.mark.parametrize("flags", [{"dedup": True}, {"on_long_input": "truncate"}])
def test_what_batches_do_not_take_is_refused(score: BatchRun, flags: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match='via="batch" does not take'):
        score(**flags)


@pytest.mark.slow
def test_a_rehearsal_that_was_stopped_starts_again(score: BatchRun) -> None:
    write_rows(30)
    score.stops_when_submitted = True
    assert score(simulate=True, endpoint=None).exit_code is ExitCode.CONTINUE_LATER
    score.stops_when_submitted = False
    assert "ended with the simulator" in score.said
    assert not verify_output(Path("out")).submitted, "the simulator has ended"
    assert score(simulate=True, endpoint=None).exit_code is ExitCode.DONE
    assert sorted(records()) == list(range(30))


@pytest.mark.slow
def test_only_our_own_files_are_deleted_and_they_can_be_kept(score: BatchRun, project: Project) -> None:
    client = openai.OpenAI(base_url=f"{score.endpoint}/v1", api_key=project.key, max_retries=0)
    other = client.files.create(file=as_file([chat_line("a")]), purpose="batch")
    write_rows(5)
    assert score().exit_code is ExitCode.DONE
    assert [each.id for each in client.files.list()] == [other.id]
    write_rows(5, path="in.csv", words={0: "Another."})
    assert score(keep_batch_files=True, output="kept").exit_code is ExitCode.DONE
    assert project.books().files == 3


@pytest.mark.slow
def test_another_machine_continues_when_the_scratch_of_the_first_is_lost(
    score: BatchRun,
    project: Project,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = str(Path("out").resolve())
    project.set_rules(in_progress=None)
    write_rows(ROWS)
    score.stops_when_submitted = True
    flags: dict[str, Any] = {"output": output, "no_canary": True, "scratch_dir": "scratch-1"}
    Path("scratch-1").mkdir()
    assert score(**flags).exit_code is ExitCode.CONTINUE_LATER
    assert "47 rows in 1 batch keep running" in score.said
    other = tmp_path_factory.mktemp("other")
    monkeypatch.chdir(other)
    Path("scratch-2").mkdir()
    write_rows(ROWS)
    project.set_rules(in_progress=0)
    second = replace(score, stops_when_submitted=False)
    result = second(**flags | {"scratch_dir": "scratch-2"})
    assert result.exit_code is ExitCode.DONE, result.outcome.stopped_by
    assert result.statistics.ok == ROWS
    assert executed(project) == {1: ROWS}
    assert project.books().calls["create"] == 1
    assert project.books().files == 0
    scores = read_scores(output)
    assert sorted(scores["row"]) == list(range(ROWS))
    assert not list(Path("scratch-2").rglob("*.prompts"))


@pytest.mark.slow
def test_answers_to_rows_that_the_input_has_no_more_settle_nothing(score: BatchRun, project: Project) -> None:
    project.set_rules(in_progress=None)
    write_rows(30)
    score.stops_when_submitted = True
    assert score(no_canary=True).exit_code is ExitCode.CONTINUE_LATER
    write_rows(20, {3: "Something else."})
    project.set_rules(in_progress=0)
    score.stops_when_submitted = False
    result = score(no_canary=True)
    assert result.exit_code is ExitCode.DONE
    check_whole(project, 20)
    assert executed(project) == {1: 31}
    assert "19 of 30 rows answered. 11 rows of it were not read" in score.said
    assert result.statistics.ok == 20


@pytest.mark.slow
@pytest.mark.parametrize("less", ["limit", "inputs"])
def test_answers_to_rows_that_a_run_does_not_read_wait_for_one_that_does(
    score: BatchRun, project: Project, less: str
) -> None:
    project.set_rules(in_progress=None)
    write_rows(20)
    write_rows(10, path="in2.csv")
    score.inputs, score.stops_when_submitted = ("in.csv", "in2.csv"), True
    assert score(no_canary=True).exit_code is ExitCode.CONTINUE_LATER
    project.set_rules(in_progress=0)
    fewer = replace(
        score, stops_when_submitted=False, inputs=score.inputs if less == "limit" else ("in.csv",)
    )
    fewer(no_canary=True, **({"limit": 5} if less == "limit" else {}))
    for flags in ({"via": "live"}, {"overwrite": True, "no_canary": True}):
        with pytest.raises(SettingsError, match=r"(10|25) rows in 1 batch of this output wait"):
            fewer(**flags)
    assert verify_output(Path("out")).exit_code is ExitCode.CONTINUE_LATER
    elsewhere = replace(fewer, endpoint=score.endpoint.replace("127.0.0.1", "localhost"))
    assert "sent to another service" in str(elsewhere(no_canary=True).outcome.stopped_by)
    score.stops_when_submitted = False
    assert score(no_canary=True).exit_code is ExitCode.DONE
    assert executed(project) == {1: 30}, "nothing is paid for again"
    assert project.books().calls["create"] == 1
    assert project.books().files == 0


@pytest.mark.slow
@pytest.mark.parametrize("stop", ["submitted", "settled"])
def test_an_output_in_a_store_is_continued_on_another_machine(
    score: BatchRun, project: Project, s3: Bucket, stop: str
) -> None:
    """Nothing of the first machine is needed: not its bulky files, nor its journal of unpublished rows."""
    write_rows(ROWS)
    given = {"output": f"{s3.uri}/out", "rows_per_part": 30}
    if stop == "submitted":
        project.set_rules(in_progress=600)
        score.stops_when_submitted = True
    else:
        score.on_notice = lambda text, run: "answered" in text and run.conditions.stop.request()
    assert score(**given, scratch_dir="machine-1").exit_code is ExitCode.CONTINUE_LATER
    assert [key for key in s3.keys("out/.batchscore/batches") if key.endswith(".json")]
    shutil.rmtree("machine-1", ignore_errors=True)
    project.end_at_once()
    score.stops_when_submitted, score.on_notice = False, lambda *_: None
    assert score(**given, scratch_dir="machine-2").exit_code is ExitCode.DONE
    found = [json.loads(line) for key in s3.keys("out/chat") for line in s3.get(key).splitlines()]
    assert sorted(record["row"] for record in found if "row" in record) == list(range(ROWS))
    assert set(executed(project)) == {1}
    assert sum(executed(project).values()) == ROWS
    assert not [key for key in s3.keys("out/.batchscore/batches") if key.endswith((".json", ".rows"))]
    assert project.books().files == 0


@pytest.mark.parametrize("finish_live", [False, SLOW(True)])
def test_a_cancelled_batch_is_recorded_without_sending_more(
    score: BatchRun, project: Project, *, finish_live: bool
) -> None:
    """What it had answered; other rows, and those that were never sent, go live or wait for a later run."""
    write_rows(30)
    project.set_rules(in_progress=1000, cancelling=0)
    project.stop_clock()
    assert score(limit=20, no_canary=True, no_wait=True).exit_code is ExitCode.CONTINUE_LATER
    project.advance(500)
    openai.OpenAI(base_url=f"{score.endpoint}/v1", api_key=score.key).batches.cancel(
        project.books().batches[0]["id"]
    )
    project.advance(1)
    fetched = score(batch_rounds=0, finish_live=finish_live)
    assert project.books().calls["create"] == 1
    assert sum(executed(project).values()) == 10
    if finish_live:
        assert fetched.exit_code is ExitCode.DONE
    else:
        assert fetched.exit_code is ExitCode.CONTINUE_LATER
        assert "leaves 20 rows without a result" in str(fetched.outcome.stopped_by)
        assert len(records()) == 10
        assert score(via="live").exit_code is ExitCode.DONE
    assert len(records()) == 30
    assert all("chat" in record for record in records().values())


@pytest.mark.slow
def test_refused_rows_do_not_stop_a_run_whose_other_rows_have_their_records(
    score: BatchRun, project: Project
) -> None:
    """Such as after a kill between the answers and the refusals of one batch."""
    project.will_spoil(when_contains="poison", status=400)
    project.set_rules(in_progress=None)
    write_rows(60, {row: f"poison {row}" for row in range(30, 60)})
    score.stops_when_submitted = True
    assert score(no_canary=True).exit_code is ExitCode.CONTINUE_LATER
    project.set_rules(in_progress=0)
    score.stops_when_submitted = False
    score(no_canary=True, limit=30)
    Path("out/.batchscore/batches/chat/answered").unlink()  # a kill comes before it is written
    assert score(no_canary=True).exit_code is ExitCode.ROWS_FAILED
    assert sum("error" in record for record in check_whole(project, 60).values()) == 30
    # From then on a batch of such rows alone stops nothing, either.
    write_rows(25, {row: f"poison again {row}" for row in range(25)}, path="in2.csv")
    score.inputs = ("in.csv", "in2.csv")
    assert score().exit_code is ExitCode.ROWS_FAILED
    assert executed(project) == {1: 85}
