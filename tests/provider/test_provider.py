"""The control plane against the simulator: three surfaces, the forms of objects, and calls that fail."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import pytest

from batch_files import chat_line
from batchscore.batch.looks import FRESH, Looks
from batchscore.endpoint.target import Target, resolve_target
from batchscore.errors import ServiceRefused, SettingsError
from batchscore.provider import batches, files
from batchscore.provider.batch_object import BatchState, batch_state
from batchscore.provider.client import (
    CallPace,
    ControlPlane,
    NotThere,
    Refused,
    Unknown,
    control_address,
    open_control_plane,
)
from batchscore.provider.traits import AZURE_V1, COMPATIBLE, OPENAI, traits_of
from batchscore.simulator import Running
from batchscore.simulator.batch.rules import BATCH_FORMS
from batchscore.task import CHAT, EMBEDDINGS, RESPONSES
from certificates import write_certificate
from endpoint_settings import endpoint_settings
from http_served import Handler, running
from simulated import Project

T = TypeVar("T")
OpenPlane = Callable[..., AbstractAsyncContextManager[ControlPlane]]

SURFACES = {
    "openai": {"endpoint": "{}/v1"},
    "azure-v1": {"endpoint": "{}/openai/v1"},
    "azure-deployments": {"endpoint": "{}", "api_version": "2024-10-21"},
}


@pytest.fixture(params=list(SURFACES))
def surface(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def target(simulator: Running, project: Project) -> Callable[[str], Target]:
    def of(surface: str = "openai") -> Target:
        given = {name: text.format(simulator.endpoint) for name, text in SURFACES[surface].items()}
        settings = endpoint_settings(task="chat", model="gpt-4o-mini", **given)
        return resolve_target(settings, {"BATCHSCORE_API_KEY": project.key})

    return of


@pytest.fixture
def plane(target: Callable[[str], Target]) -> OpenPlane:
    """Open a control plane on a surface, whose waits take no time."""

    @asynccontextmanager
    async def opened(surface: str = "openai", patience: float = 20.0) -> AsyncIterator[ControlPlane]:
        async def sleep(_: float) -> None:
            await asyncio.sleep(0.001)

        pace = CallPace(patience_seconds=patience, calls_per_second=1000.0, sleep=sleep)
        async with open_control_plane(target(surface), CHAT, {}, pace) as plane:
            yield plane

    return opened


def on_plane(open_plane: OpenPlane, work: Callable[[ControlPlane], Coroutine[Any, Any, T]], *given: Any) -> T:
    async def main() -> T:
        async with open_plane(*given) as plane:
            return await work(plane)

    return asyncio.run(main())


def write_lines(path: Path, count: int, prefix: str = "") -> Path:
    lines: Iterable[Any] = [chat_line(f"row-{number}") for number in range(count)]
    if prefix:
        lines = [{**line, "url": f"{prefix}/chat/completions"} for line in lines]
    path.write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    return path


async def make(plane: ControlPlane, path: Path) -> BatchState:
    file = await files.upload(plane, path, "bs-1.jsonl", purpose="batch", expires_seconds=14 * 86400)
    file = await files.wait_until_usable(plane, file)
    return await batches.create(
        plane, input_file=file.id, endpoint="/v1/chat/completions", window="24h", metadata={"chunk": "1"}
    )


def test_a_file_goes_up_and_its_results_come_down(
    plane: OpenPlane, project: Project, surface: str, tmp_path: Path
) -> None:
    prefix = "" if surface == "azure-deployments" else "/v1"

    async def work(plane: ControlPlane) -> tuple[BatchState, bytes]:
        batch = await make(plane, write_lines(tmp_path / "in", 5, prefix))
        found = await batches.look(plane, batch.id)
        await files.download(plane, found.output_file, tmp_path / "out")
        for file in (found.input_file, *found.files):
            await files.delete(plane, file)
            await files.delete(plane, file)  # gone already
        return found, (tmp_path / "out").read_bytes()

    found, output = on_plane(plane, work, surface)
    assert (found.status, found.total, found.completed, found.failed) == ("completed", 5, 5, 0)
    assert found.ended
    ids = {json.loads(line)["custom_id"] for line in output.split(b"\n") if line}
    assert ids == {f"row-{number}" for number in range(5)}
    assert project.books().files == 0
    sent = project.requests("upload")[0]
    assert (sent.body["filename"], sent.body["content_type"]) == ("bs-1.jsonl", "application/jsonl")
    assert sent.authentication == ("key" if surface == "azure-deployments" else "bearer")
    assert all("batchscore" in each.headers["user-agent"] for each in project.requests())


@pytest.mark.slow
@pytest.mark.parametrize(("count", "listing"), [(100, True), (12, False)])
def test_a_hundred_batches_are_looked_at_with_few_calls(
    plane: OpenPlane, project: Project, tmp_path: Path, count: int, *, listing: bool
) -> None:
    project.set_rules(in_progress=None, foreign_batches=30)
    rounds, wait = 3, 1.0

    async def look_often(looks: Looks, batch: BatchState) -> BatchState:
        for _ in range(rounds):
            state = await looks.look(batch.id, batch.created or 0.0, wait)
            assert state.id == batch.id
            await asyncio.sleep(wait)
        project_ends.set()
        await asyncio.sleep(wait)
        return await looks.look(batch.id, batch.created or 0.0, wait)

    project_ends = asyncio.Event()

    async def work(plane: ControlPlane) -> tuple[list[BatchState], float]:
        first = await make(plane, write_lines(tmp_path / "in", 2))
        made = [first] + [
            await batches.create(
                plane,
                input_file=first.input_file,
                endpoint="/v1/chat/completions",
                window="24h",
                metadata=None,
            )
            for _ in range(count - 1)
        ]
        project.set_rules(listing=listing)
        looks = Looks(plane, time.time)
        started = time.monotonic()
        every = asyncio.gather(*[look_often(looks, batch) for batch in made])
        await project_ends.wait()
        project.set_rules(in_progress=0, finalizing=0)
        return await every, time.monotonic() - started

    found, seconds = on_plane(plane, work)
    assert {batch.status for batch in found} == {"completed"}
    calls = project.books().calls
    if not listing:
        assert calls["list_batches"] == 1
        assert calls["get_batch"] >= rounds * count
        return
    assert calls["list_batches"] <= 2 * (1 + seconds / (wait * FRESH)), "two pages each time"
    assert calls["get_batch"] <= 9 + count, "a few before there were many, and each one's end"


class ListServer(Handler):
    """Answers everything with an empty list."""

    def do_GET(self) -> None:
        self.reply_json(200, {"object": "list", "data": [], "has_more": False})


def test_batches_trust_the_certificates_that_live_requests_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = write_certificate(tmp_path)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), ListServer)
    server.socket = context.wrap_socket(server.socket, server_side=True)

    async def offers(port: int) -> bool:
        chosen = endpoint_settings(task="chat", model="m", endpoint=f"https://127.0.0.1:{port}/v1")
        where = resolve_target(chosen, {"BATCHSCORE_API_KEY": "k"})
        pace = CallPace(patience_seconds=0.1, calls_per_second=1000.0, retry_seconds=0.01)
        async with open_control_plane(where, CHAT, {}, pace) as plane:
            return await batches.offers_batches(plane)

    with running(server):
        with pytest.raises(Refused, match="certificate is not accepted"):
            asyncio.run(offers(server.server_port))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert asyncio.run(offers(server.server_port))
    with pytest.raises(Unknown, match="nothing listens there") as failed:
        asyncio.run(offers(server.server_port))
    assert not failed.value.arrived, "so a creation was surely not made"


class Signing:
    """Credentials that fail after the first call."""

    def __init__(self) -> None:
        self.calls = 0

    async def headers(self) -> Mapping[str, str]:
        self.calls += 1
        if self.calls > 1:
            raise ServiceRefused("No token.")
        return {"Authorization": "Bearer x"}

    async def refresh(self, _: Mapping[str, str]) -> bool:
        raise ServiceRefused("No token.")


def test_a_sign_in_that_worked_before_has_an_outage(target: Callable[[str], Target]) -> None:
    async def main() -> None:
        pace = CallPace(patience_seconds=0.1, calls_per_second=1000.0)
        async with open_control_plane(target("openai"), CHAT, {}, pace) as plane:
            plane.credentials = Signing()  # type: ignore[assignment]
            with pytest.raises(Refused, match="401"):
                await batches.offers_batches(plane)
            with pytest.raises(Unknown, match="renewing the sign-in failed"):
                await batches.offers_batches(plane)

    asyncio.run(main())


def test_the_sdk_adds_no_header_of_the_environment(
    plane: OpenPlane, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would send what OPENAI_CUSTOM_HEADERS holds anywhere, also a key of another service."""
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Other-Service: 1\napi-key: another")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    assert on_plane(plane, batches.offers_batches)
    (call,) = project.requests("list_batches")
    assert not {"x-other-service", "openai-organization"} & call.headers.keys()


def test_the_pace_of_calls_is_kept(
    simulator: Running, project: Project, target: Callable[[str], Target]
) -> None:
    async def main() -> float:
        pace = CallPace(patience_seconds=5.0, calls_per_second=20.0)
        async with open_control_plane(target("openai"), CHAT, {}, pace) as plane:
            started = time.monotonic()
            await asyncio.gather(*[batches.offers_batches(plane) for _ in range(26)])
            return time.monotonic() - started

    assert asyncio.run(main()) > 0.25, "20 at once, and the others as the bucket fills"
    assert project.books().calls["list_batches"] == 26


@pytest.mark.parametrize("happened", [True, False])
@pytest.mark.parametrize("lost", [{"drop": True}, {"status": 500}, {"status": 429}])
def test_a_creation_is_sent_once_and_found_if_it_happened(
    plane: OpenPlane, project: Project, tmp_path: Path, lost: dict[str, Any], *, happened: bool
) -> None:
    project.will("create", happened=happened, **lost)
    since = time.time() - 600

    async def work(plane: ControlPlane) -> list[BatchState]:
        with pytest.raises(Unknown):
            await make(plane, write_lines(tmp_path / "in", 2))
        return [each async for each in batches.newest(plane, since)]

    found = on_plane(plane, work)
    assert len(project.requests("create")) == 1
    assert [each.metadata["chunk"] for each in found] == (["1"] if happened else [])


def test_what_is_surely_refused(plane: OpenPlane, project: Project, tmp_path: Path) -> None:
    project.set_rules(invalid_at_create=True)

    async def work(plane: ControlPlane) -> None:
        (tmp_path / "bad").write_bytes(b"nothing\n")
        with pytest.raises(Refused) as caught:
            await make(plane, tmp_path / "bad")
        assert caught.value.status == 400
        assert caught.value.code == "invalid_json_line"
        with pytest.raises(NotThere):
            await batches.look(plane, "batch_none")
        with pytest.raises(NotThere):
            await batches.cancel(plane, "batch_none")
        with pytest.raises(NotThere):
            await files.look(plane, "file-none")
        with pytest.raises(NotThere):
            await files.download(plane, "file-none", tmp_path / "out")

    on_plane(plane, work)


@pytest.mark.parametrize("fault", [{"status": 429, "retry_after": 1}, {"status": 503}, {"drop": True}])
def test_reads_are_repeated(
    plane: OpenPlane, project: Project, tmp_path: Path, fault: dict[str, Any]
) -> None:
    async def work(plane: ControlPlane) -> BatchState:
        batch = await make(plane, write_lines(tmp_path / "in", 2))
        for kind in ("get_batch", "list_batches", "get_file", "list_files", "download", "delete_file"):
            project.will(kind, times=2, **fault)
        found = await batches.look(plane, batch.id)
        assert [each.id async for each in batches.newest(plane, 0)] == [batch.id]
        uploads = await files.find_uploads(plane, "bs-1.jsonl", purpose="batch")
        assert [each.id for each in uploads] == [batch.input_file]
        await files.download(plane, found.output_file, tmp_path / "out")
        await files.delete(plane, found.output_file)
        return found

    assert on_plane(plane, work).status == "completed"
    assert project.books().faults_left == 0
    assert (tmp_path / "out").read_bytes().count(b"\n") == 2


def test_reads_are_given_up_in_time(plane: OpenPlane, project: Project) -> None:
    project.will("get_batch", times=None, status=503)

    async def work(plane: ControlPlane) -> None:
        with pytest.raises(Unknown):
            await batches.look(plane, "batch_1")

    on_plane(plane, work, "openai", 0.2)


@pytest.mark.parametrize("cut", ["length", "chunked", "close"])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_download_is_resumed(
    plane: OpenPlane, project: Project, tmp_path: Path, cut: str, *, ranges: bool
) -> None:
    async def work(plane: ControlPlane) -> None:
        batch = await batches.look(plane, (await make(plane, write_lines(tmp_path / "in", 20))).id)
        await files.download(plane, batch.output_file, tmp_path / "whole")
        project.set_rules(ranges=ranges)
        project.will("download", cut_after=3000, cut=cut)
        project.will("download", cut_after=4000, cut=cut)
        project.will("download", gzip=True)
        await files.download(plane, batch.output_file, tmp_path / "out")

    on_plane(plane, work)
    assert (tmp_path / "out").read_bytes() == (tmp_path / "whole").read_bytes()
    wanted = [each.headers.get("range") for each in project.requests("download")]
    assert wanted[1:3] == [None, "bytes=3000-"]


@pytest.mark.parametrize("form", BATCH_FORMS)
def test_every_form_of_a_batch_is_read(plane: OpenPlane, project: Project, tmp_path: Path, form: str) -> None:
    failed = form in {"errors_object", "errors_list", "ids_on_failed"}
    early = form in {"unknown_status", "early_ids", "canceled"}
    project.set_rules(forms=[form], validating=None if early else 0)

    async def work(plane: ControlPlane) -> BatchState:
        path = write_lines(tmp_path / "in", 2)
        if failed:
            path.write_bytes(path.read_bytes() + b"nothing\n")
        batch = await make(plane, path)
        if form == "canceled":
            return await batches.cancel(plane, batch.id)
        return await batches.look(plane, batch.id)

    found = on_plane(plane, work)
    assert found.ended != (early and form != "canceled")
    expected = "failed" if failed else "cancelled" if form == "canceled" else "completed"
    assert early or found.status == expected
    assert found.created is not None
    if failed:
        assert [(each.code, each.line) for each in found.problems] == [("invalid_json_line", 3)]


@pytest.mark.parametrize(
    "found", ["<html>", None, [], {}, {"id": 5}, {"errors": 7, "metadata": "x", "created_at": "soon"}]
)
def test_no_object_raises(found: Any) -> None:
    state = batch_state(found)
    assert (state.id, state.ended, state.files, state.problems) == ("", False, (), ())


@pytest.mark.parametrize("time", [1_760_000_000_000, 1e999, float("nan"), -5, 10**400, "9999-01-01", True])
def test_an_implausible_time_is_none(time: Any) -> None:
    """As from a gateway that counts milliseconds: dates made of it would fail."""
    assert batch_state({"id": "b", "created_at": time, "expires_at": time}).created is None


def test_a_batch_is_cancelled_and_one_that_has_ended_stays(
    plane: OpenPlane, project: Project, tmp_path: Path
) -> None:
    project.set_rules(in_progress=None, cancelling=None)

    async def work(plane: ControlPlane) -> list[str]:
        path = write_lines(tmp_path / "in", 2)
        running = await make(plane, path)
        project.will("cancel", drop=True, happened=True)
        first = await batches.cancel(plane, running.id)
        project.set_rules(cancelling=0)
        second = await batches.look(plane, running.id)
        project.set_rules(in_progress=0)
        ended = await make(plane, path)
        await batches.look(plane, ended.id)
        return [first.status, second.status, (await batches.cancel(plane, ended.id)).status]

    assert on_plane(plane, work) == ["cancelling", "cancelled", "completed"]


def test_a_list_has_pages_and_ends_at_a_time(plane: OpenPlane, project: Project, tmp_path: Path) -> None:
    project.set_rules(foreign_batches=250)

    async def work(plane: ControlPlane) -> tuple[int, int, bool]:
        batch = await make(plane, write_lines(tmp_path / "in", 1))
        every = [each async for each in batches.newest(plane, 0)]
        assert batch.created is not None
        late = [each async for each in batches.newest(plane, batch.created)]
        return len(every), len(late), await batches.offers_batches(plane)

    every, late, offers = on_plane(plane, work)
    assert every == 251
    assert 1 <= late < 251
    assert offers


def test_a_service_without_batches_is_known(plane: OpenPlane, project: Project) -> None:
    project.set_rules(listing=False)
    assert not on_plane(plane, batches.offers_batches)
    assert len(project.requests("list_batches")) == 1


def test_a_file_is_waited_for(plane: OpenPlane, project: Project, tmp_path: Path) -> None:
    project.set_rules(file_pending=0.1, file_hidden=0.02)

    async def work(plane: ControlPlane) -> str:
        return (await make(plane, write_lines(tmp_path / "in", 1, ""))).status

    assert on_plane(plane, work, "azure-deployments") in {"validating", "completed"}


def test_where_files_and_batches_are(target: Callable[..., Target], simulator: Running) -> None:
    root = simulator.endpoint
    assert control_address(target("openai"), CHAT) == (f"{root}/v1", {})
    assert control_address(target("azure-v1"), CHAT) == (f"{root}/openai/v1", {})
    dated = {"api-version": "2024-10-21"}
    assert control_address(target("azure-deployments"), CHAT) == (f"{root}/openai", dated)
    given = {"model": "m", "endpoint": "https://a.b/serving/invocations"}
    whole = resolve_target(endpoint_settings(task="chat", **given), {"BATCHSCORE_API_KEY": "k"})
    with pytest.raises(SettingsError, match="whole address"):
        control_address(whole, CHAT)
    responses = endpoint_settings(
        task="responses", model="m", endpoint="https://x.openai.azure.com", api_version="2025-04-01-preview"
    )
    found = control_address(resolve_target(responses, {"BATCHSCORE_API_KEY": "k"}), RESPONSES)
    assert found == ("https://x.openai.azure.com/openai", {"api-version": "2025-04-01-preview"})


def test_what_each_service_takes(target: Callable[..., Target]) -> None:
    assert traits_of(target("azure-v1")) is AZURE_V1
    assert traits_of(target("openai")) is COMPATIBLE
    assert OPENAI.takes(EMBEDDINGS)
    assert not AZURE_V1.takes(EMBEDDINGS)
    assert AZURE_V1.takes(RESPONSES)
    assert not traits_of(target("azure-deployments")).takes(RESPONSES)


async def look_at(serve: Callable[..., Coroutine[Any, Any, None]], target: Target) -> str:
    """Look at a batch of a service whose only reply is that of `serve`; returns its id."""
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = replace(target, url=f"http://127.0.0.1:{port}/v1/chat/completions")
        async with open_control_plane(found, CHAT, {}, CallPace(patience_seconds=0.0)) as plane:
            return (await batches.look(plane, "batch_1")).id


@pytest.mark.process
@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("", bytes), ("identity", bytes), ("UTF-8", bytes), ("identity, gzip", gzip.compress)],
)
def test_a_reply_is_read_whatever_words_name_no_other_compression(
    encoding: str,
    pack: Callable[[bytes], bytes],
    target: Callable[[str], Target],
    simulator: Running,
) -> None:
    """As those of live requests: some servers send a charset there, or nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = pack(b'{"id": "batch_1", "object": "batch", "status": "in_progress"}')
        head = (
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\ncontent-encoding: {encoding}"
        )
        writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode() + body)
        writer.close()

    assert asyncio.run(look_at(serve, target("openai"))) == "batch_1"


@pytest.mark.process
@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("content-length: 100000000000", b" " * 2**20),
        ("content-encoding: gzip", gzip.compress(b" " * 2**26) * 2),
        ("content-encoding: br", b"a few bytes"),
        ("content-encoding: gzip, gzip", b"a few bytes"),
    ],
)
def test_a_reply_without_a_bound_is_given_up(
    status: int, head: str, body: bytes, target: Callable[[str], Target], simulator: Running
) -> None:
    """It is not known then what the service did, as after any failure."""
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status} OK\r\ncontent-type: application/json\r\n{head}\r\n\r\n".encode())
        with suppress(ConnectionError, asyncio.CancelledError):
            while sent < 10**9:
                writer.write(body)
                await writer.drain()
                sent += len(body)
        writer.close()

    with pytest.raises(Unknown, match="the reply is too large"):
        asyncio.run(look_at(serve, target("openai")))
    assert sent < 10**8
