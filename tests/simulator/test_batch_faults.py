from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import threading
from collections.abc import Callable
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import openai
import pytest

from batch_files import PlainClient, as_file, chat_line, results, submit
from batchscore.simulator import Running, SimulatorSettings
from batchscore.simulator.batch.faults import CALLS, LINE_FAULTS, CallFault, FaultScript, LineFault
from batchscore.simulator.batch.files import SimulatedFile, UploadForm
from batchscore.simulator.batch.lifecycle import SimulatedBatch
from batchscore.simulator.batch.projects import Projects
from batchscore.simulator.error_replies import Surface
from batchscore.simulator.service import Service
from simulated import Project

GIVEN: Any = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
LINES = [chat_line(f"row-{number}", f"Text {number}. More.") for number in range(8)]


def raw_results(client: openai.OpenAI, batch: Any) -> tuple[bytes, bytes]:
    """Return the output file and the error file of a batch."""
    found = client.batches.retrieve(batch.id)
    ids = (found.output_file_id, found.error_file_id)
    output, errors = (client.files.content(one).read() if one else b"" for one in ids)
    return output, errors


#: Fault -> how many lines the output file and the error file have afterwards, and a text in the fault's line.
SPOILT: dict[str, tuple[int, int, bytes]] = {
    "content_filter": (7, 1, b'"code":"content_filter"'),
    "context_length": (7, 1, b'"code":"context_length_exceeded"'),
    "status_zero": (8, 0, b'"status_code": 0,'),
    "missing": (7, 0, b""),
    "duplicate": (9, 0, b"row-3"),
    "different_duplicate": (9, 0, b"Another answer."),
    "foreign_id": (8, 0, b"of-somebody-else"),
    "null_id": (8, 0, b'"custom_id": null'),
    "refused_in_output": (8, 0, b'"status_code": 400,'),
    "error_text": (7, 1, b'"error":"Refused."'),
    "cut_off": (8, 0, b"row-3"),
    "not_json": (8, 0, b"row-3"),
    "separators": (8, 0, "\u2028\u0085".encode()),
    "long": (8, 0, b"x" * 70_000),
}


@pytest.mark.parametrize("fault", LINE_FAULTS)
def test_a_line_has_each_fault(project: Project, openai_batches: openai.OpenAI, fault: str) -> None:
    outputs, errors, text = SPOILT[fault]
    project.will_spoil(line=fault, when_contains="row-3", size=70_000)
    output, error = raw_results(openai_batches, submit(openai_batches, LINES))
    assert [len([line for line in raw.split(b"\n") if line]) for raw in (output, error)] == [outputs, errors]
    assert text in output + error
    assert output.endswith(b"\n") == (fault != "cut_off")
    readable = set()
    for line in (output + b"\n" + error).split(b"\n"):
        try:
            readable.add(json.loads(line)["custom_id"])
        except ValueError:
            assert not line or fault in {"cut_off", "not_json"}
    gone = fault in {"missing", "foreign_id", "null_id", "cut_off", "not_json"}
    assert ("row-3" not in readable) == gone
    assert readable >= {line["custom_id"] for line in LINES} - {"row-3"}
    assert project.executions()["row-3"] == 1


@pytest.mark.parametrize(
    "line",
    [
        {"url": "/v1/embeddings", "body": {"model": "emb", "input": "a", "encoding_format": "base64"}},
        {"url": "/v1/embeddings", "body": {"model": "emb", "input": "a"}},
        {"url": "/v1/responses", "body": {"model": "m", "input": "Say it."}},
        {"url": "/v1/completions", "body": {"model": "m", "prompt": "Say it."}},
    ],
)
def test_a_second_line_with_another_answer_is_one_of_each_kind(
    project: Project, openai_batches: openai.OpenAI, line: dict[str, Any]
) -> None:
    project.will_spoil(line="different_duplicate")
    given = {"custom_id": "a", "method": "POST", **line}
    batch = submit(openai_batches, [given], endpoint=line["url"])
    output, _ = raw_results(openai_batches, batch)
    first, second = (json.loads(one)["response"]["body"] for one in output.splitlines())
    assert first != second
    assert first.keys() == second.keys()
    for reply in (first, second):
        for item in reply.get("data", ()):
            vector = item["embedding"]
            assert len(vector if isinstance(vector, list) else base64.b64decode(vector, validate=True)) in {
                32,
                128,
            }


def test_a_fault_leaves_a_refused_line_in_its_file(project: Project, openai_batches: openai.OpenAI) -> None:
    for fault in ("duplicate", "different_duplicate", "missing", "cut_off"):
        project.will_spoil(line=fault, times=1)
        batch = submit(openai_batches, [chat_line("a", "simulate-content-filter")])
        output, errors = raw_results(openai_batches, batch)
        project.drop_faults()
        assert output == b""
        assert errors.count(b"\n") == {"duplicate": 2, "different_duplicate": 2}.get(fault, 0)


def test_lines_fail_by_status_shape_share_and_times(project: Project, openai_batches: openai.OpenAI) -> None:
    project.will_spoil(status=429, code="rate_limit_exceeded", message="Slow down.", times=2)
    project.will_spoil(shape="finish_content_filter", when_contains="row-")
    output, errors = raw_results(openai_batches, submit(openai_batches, LINES))
    assert {json.loads(one)["response"]["status_code"] for one in errors.splitlines()} == {429}
    assert len(errors.splitlines()) == 2
    bodies = [json.loads(one)["response"]["body"] for one in output.splitlines()]
    endings = [body["choices"][0]["finish_reason"] for body in bodies]
    assert endings == ["content_filter"] * 6
    project.drop_faults()
    project.will_spoil(line="missing", share=0.5)
    many = [chat_line(f"many-{number}") for number in range(200)]
    output, _ = raw_results(openai_batches, submit(openai_batches, many))
    assert 60 < len(output.splitlines()) < 140


def test_a_shape_that_is_no_json_becomes_a_text(project: Project, openai_batches: openai.OpenAI) -> None:
    project.will_spoil(shape="html")
    batch = openai_batches.batches.retrieve(submit(openai_batches, LINES[:1]).id)
    (line,) = results(openai_batches, batch.output_file_id)
    assert line["response"]["body"].startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("happened", [True, False])
@pytest.mark.parametrize("symptom", [{"status": 500}, {"drop": True}])
def test_a_lost_reply_has_two_truths(
    project: Project, openai_batches: openai.OpenAI, symptom: dict[str, Any], *, happened: bool
) -> None:
    files, batches = openai_batches.files, openai_batches.batches

    def lost(act: Callable[[], Any]) -> None:
        with pytest.raises((openai.InternalServerError, openai.APIConnectionError)) as caught:
            act()
        assert isinstance(caught.value, openai.InternalServerError) == ("status" in symptom)

    for call in ("upload", "create", "cancel", "delete_file"):
        project.will(call, **symptom, happened=happened)
    lost(lambda: files.create(file=as_file(LINES), purpose="batch"))
    uploaded = files.list().data
    assert len(uploaded) == happened
    file = uploaded[0] if uploaded else files.create(file=as_file(LINES), purpose="batch")
    project.set_rules(in_progress=None)
    lost(lambda: batches.create(input_file_id=file.id, **GIVEN))
    created = batches.list().data
    assert [one.input_file_id for one in created] == [file.id] * happened
    batch = created[0] if created else batches.create(input_file_id=file.id, **GIVEN)
    lost(lambda: batches.cancel(batch.id))
    assert batches.retrieve(batch.id).status == ("cancelled" if happened else "in_progress")
    lost(lambda: files.delete(file.id))
    assert [one.id for one in files.list(purpose="batch")] == ([] if happened else [file.id])
    books = project.books()
    assert (books.calls["create"], books.happened["create"], books.faults_left) == (2 - happened, 1, 0)


@pytest.mark.parametrize("happened", [True, False])
def test_a_reply_that_never_comes_has_two_truths(
    project: Project, openai_batches: openai.OpenAI, *, happened: bool
) -> None:
    file = openai_batches.files.create(file=as_file(LINES), purpose="batch")
    project.will("create", hang=30, happened=happened)
    with pytest.raises(openai.APITimeoutError):
        openai_batches.with_options(timeout=0.5).batches.create(input_file_id=file.id, **GIVEN)
    assert len(openai_batches.batches.list().data) == happened


def test_a_client_can_be_killed_between_two_steps(
    simulator: Running, project: Project, openai_batches: openai.OpenAI
) -> None:
    """A call that hangs, and the count of those that have taken effect, say where to kill it."""
    file = openai_batches.files.create(file=as_file(LINES), purpose="batch")
    project.will("create", hang=30, happened=True)
    port = int(simulator.endpoint.rpartition(":")[2])
    body = json.dumps({"input_file_id": file.id, **GIVEN})
    with socket.create_connection(("127.0.0.1", port)) as connection:
        head = f"POST /v1/batches HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {project.key}\r\n"
        connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
        project.wait_for("create", happened=True)
    (batch,) = openai_batches.batches.list()
    assert batch.status == "completed"
    with pytest.raises(TimeoutError, match="'create': 1"):
        project.wait_for("create", 2, timeout_s=0.01)


@pytest.mark.parametrize("call", CALLS)
def test_each_call_can_be_refused_or_late(project: Project, openai_batches: openai.OpenAI, call: str) -> None:
    project.set_rules(in_progress=None)
    batch = submit(openai_batches, LINES)
    acts: dict[str, Callable[[], Any]] = {
        "upload": lambda: openai_batches.files.create(file=as_file(LINES), purpose="batch"),
        "list_files": openai_batches.files.list,
        "get_file": lambda: openai_batches.files.retrieve(batch.input_file_id),
        "download": lambda: openai_batches.files.content(batch.input_file_id),
        "delete_file": lambda: openai_batches.files.delete(batch.input_file_id),
        "create": lambda: openai_batches.batches.create(input_file_id=batch.input_file_id, **GIVEN),
        "list_batches": openai_batches.batches.list,
        "get_batch": lambda: openai_batches.batches.retrieve(batch.id),
        "cancel": lambda: openai_batches.batches.cancel(batch.id),
    }
    project.will(call, status=429, retry_after=7, code="slow_down", times=2, skip=call != "cancel")
    if call != "cancel":
        if call == "delete_file":
            openai_batches.files.delete(openai_batches.files.create(file=as_file([]), purpose="user_data").id)
        else:
            acts[call]()
    for _ in range(2):
        with pytest.raises(openai.RateLimitError) as caught:
            acts[call]()
        assert (caught.value.code, caught.value.response.headers["retry-after"]) == ("slow_down", "7")
    project.will(call, latency=0.01)
    assert acts[call]()


def test_a_key_is_refused_from_a_call_on(project: Project, openai_batches: openai.OpenAI) -> None:
    batch = submit(openai_batches, LINES)
    project.will(None, status=401, times=None)
    for _ in range(2):
        with pytest.raises(openai.AuthenticationError):
            openai_batches.batches.retrieve(batch.id)
    project.drop_faults()
    assert openai_batches.batches.retrieve(batch.id).status == "completed"


def ask(simulator: Running, project: Project, path: str, **headers: str) -> Any:
    given = {"authorization": f"Bearer {project.key}", **headers}
    return build_opener(ProxyHandler({})).open(
        Request(f"{simulator.endpoint}/v1{path}", headers=given), timeout=20
    )


@pytest.mark.parametrize("cut", ["length", "chunked", "close"])
def test_a_download_breaks_off(
    simulator: Running, project: Project, openai_batches: openai.OpenAI, cut: str
) -> None:
    batch = openai_batches.batches.retrieve(submit(openai_batches, LINES).id)
    path = f"/files/{batch.output_file_id}/content"
    whole = ask(simulator, project, path).read()
    project.will("download", cut_after=1000, cut=cut)
    with ask(simulator, project, path) as reply:
        try:
            found = reply.read()
        except Exception as error:  # IncompleteRead is no URLError
            assert cut != "close"
            found = getattr(error, "partial", b"")
        assert ("Content-Length" in reply.headers) == (cut == "length")
    assert found == whole[:1000] or cut == "chunked"
    assert ask(simulator, project, path).read() == whole


def test_a_download_is_resumed_by_range(
    simulator: Running, project: Project, openai_batches: openai.OpenAI
) -> None:
    batch = openai_batches.batches.retrieve(submit(openai_batches, LINES).id)
    path = f"/files/{batch.output_file_id}/content"
    with ask(simulator, project, path) as reply:
        whole, tag = reply.read(), reply.headers["etag"]
    for fault in (None, {"cut_after": 10_000_000}):
        if fault:
            project.will("download", times=None, **fault)
        with ask(simulator, project, path, range="bytes=1000-", **{"if-range": tag}) as reply:
            assert (reply.status, reply.read()) == (206, whole[1000:])
            assert reply.headers["content-range"] == f"bytes 1000-{len(whole) - 1}/{len(whole)}"
            assert reply.headers["etag"] == tag
        with ask(simulator, project, path, range="bytes=1000-", **{"if-range": '"another"'}) as reply:
            assert (reply.status, reply.read()) == (200, whole)
    project.drop_faults()
    project.set_rules(ranges=False)
    with ask(simulator, project, path, range="bytes=1000-") as reply:
        assert (reply.status, reply.read(), reply.headers["accept-ranges"]) == (200, whole, None)


def test_a_download_is_compressed_or_unavailable_for_a_while(
    simulator: Running, project: Project, openai_batches: openai.OpenAI
) -> None:
    batch = openai_batches.batches.retrieve(submit(openai_batches, LINES).id)
    assert batch.output_file_id is not None
    whole = openai_batches.files.content(batch.output_file_id).read()
    project.will("download", gzip=True)
    project.will("download", status=502, times=2)
    reply = PlainClient(simulator, project).get(f"/files/{batch.output_file_id}/content")
    assert (reply.headers["content-encoding"], reply.body[:2]) == ("gzip", b"\x1f\x8b")
    for _ in range(2):
        with pytest.raises(openai.InternalServerError):
            openai_batches.files.content(batch.output_file_id)
    project.will("download", gzip=True)
    assert openai_batches.files.content(batch.output_file_id).read() == whole


def test_an_upload_that_breaks_off_leaves_nothing(simulator: Running, project: Project) -> None:
    port = int(simulator.endpoint.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        head = f"POST /v1/files HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {project.key}\r\n"
        head += "content-type: multipart/form-data; boundary=edge\r\ncontent-length: 99999\r\n\r\n"
        connection.sendall(
            f'{head}--edge\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nba'.encode()
        )
        project.wait_for("upload")
    assert (project.books().files, project.books().happened) == (0, {})


def test_calls_at_the_same_time_execute_each_line_once(
    project: Project, openai_batches: openai.OpenAI
) -> None:
    project.set_rules(in_progress=0.2)
    many = [chat_line(f"row-{number}") for number in range(600)]
    batch = submit(openai_batches, many)

    def poll() -> None:
        while openai_batches.batches.retrieve(batch.id).status != "completed":
            openai_batches.batches.list()

    def hang_up() -> None:
        impatient = openai_batches.with_options(timeout=0.01)
        for _ in range(20):
            with contextlib.suppress(openai.APITimeoutError):
                impatient.batches.retrieve(batch.id)

    threads = [threading.Thread(target=act) for act in (poll, poll, poll, hang_up)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert project.execution_totals() == (600, 600)
    output, _ = raw_results(openai_batches, batch)
    assert len({json.loads(line)["custom_id"] for line in output.splitlines()}) == 600


def test_the_simulators_own_shares_of_faults_spoil_lines_too() -> None:
    settings = SimulatorSettings(batch_seconds=0, fail_500=0.4, reset=0.2, shape="finish_length")

    async def run() -> tuple[bytes, bytes]:
        projects = Projects(Service(settings), settings)
        try:
            project = projects.get("any")
            path = project.folder / "in.jsonl"
            path.write_bytes(as_file(chat_line(f"row-{number}") for number in range(100))[1].read())
            file = project.files.add_upload(UploadForm(path, "in.jsonl", "batch"), Surface.OPENAI)
            assert isinstance(file, SimulatedFile)
            batch = await project.batches.create({"input_file_id": file.id, **GIVEN}, Surface.OPENAI)
            assert isinstance(batch, SimulatedBatch)
            await batch.step(project.clock.now())
            found = [project.files.get(batch.to_json()["output_file_id"] or "")]
            found.append(project.files.get(batch.to_json()["error_file_id"] or ""))
            output, errors = (one.path.read_bytes() for one in found if one)
            return output, errors
        finally:
            projects.close()

    output, errors = asyncio.run(run())
    assert output.count(b"\n") + errors.count(b"\n") == 100
    assert output.count(b'"finish_reason":"length"') == output.count(b"\n")
    assert 20 < errors.count(b'"status_code": 500') == errors.count(b"\n") < 60


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: CallFault(call="nothing"),
        lambda: CallFault(status=200),
        lambda: CallFault(cut="nowhere"),
        lambda: CallFault(times=0),
        LineFault,
        lambda: LineFault(status=500, line="missing"),
        lambda: LineFault(line="nothing"),
        lambda: LineFault(shape="nothing"),
        lambda: LineFault(status=500, share=0),
    ],
)
def test_a_wrong_fault_is_named(wrong: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=r"call|status|cut|times|line|shape|share"):
        wrong()


def test_faults_are_taken_in_order_each_as_often_as_scripted() -> None:
    script = FaultScript(seed=0)
    script.add(
        calls=[{"call": "create", "times": 2, "skip": 1, "status": 500}, {"status": 503}],
        lines=[{"when_contains": "a", "times": 1, "status": 500}, {"line": "missing"}],
    )
    found = [script.for_call(call) for call in ("upload", "create", "create", "create", "create")]
    assert [one.status if one else None for one in found] == [503, None, 500, 500, None]
    assert [fault.line for fault in map(script.for_line, (b"b", b"a", b"a")) if fault] == [
        "missing",
        None,
        "missing",
    ]
    assert script.left() == 1
    script.clear()
    assert script.for_line(b"a") is None
