"""How bytes get there and back: a real server on the loopback that behaves well, and badly."""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
import zlib
from collections.abc import Awaitable, Callable, Mapping
from functools import cache, partial

import orjson
import pytest

from batchscore.errors import ErrorCode
from batchscore.request.reply_body import MOST_HELD_BYTES, ReplyMemory
from batchscore.request.send import NoReply
from batchscore.request.wire import open_wire
from batchscore.rows import Reply
from sampled import mostly_slow

SECRET = "s3cret"
BODY = orjson.dumps({"input": [f"{SECRET} row"]})

#: The bound of these replies.
MOST = 2 * 2**20

Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answer(status: str, *headers: str, body: bytes = b"", length: int | None = None) -> Behave:
    """Answer and keep the connection; `length` may promise more than comes."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()
        if length is not None:
            writer.close()

    return behave


def raw(rest: bytes) -> Behave:
    """Answer 200 with these headers and this body as they are, then close the connection."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + rest)
        await writer.drain()
        writer.close()

    return behave


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
    await reader.read()


async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    found = writer.get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    writer.transport.abort()


async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(f"{SECRET} is no HTTP\r\n\r\n".encode())
    writer.close()


class Server:
    """Behaves as given and remembers the heads and bodies it received."""

    def __init__(self, behave: Behave) -> None:
        self.behave = behave
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Server:  # noqa: PYI034 - typing.Self is newer than Python 3.10
        self.server = await asyncio.start_server(self.connected, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lower = head.lower()
                length = int(lower.partition("content-length:")[2].split("\r\n")[0] or 0)
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(length))
                await self.behave(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    def url(self, path: str = "/v1/embeddings?api-version=1") -> str:
        return f"http://127.0.0.1:{self.port}{path}"


async def sign() -> Mapping[str, str]:
    return {"api-key": SECRET}


async def post(url: str, times: int = 1, most: int = MOST) -> Reply:
    async with open_wire(url, {"X-Own": "1"}, sign, ReplyMemory(), error_seconds=0.2) as send:
        for _ in range(times):
            reply = await send(BODY, most)
        return reply


def ask(behave: Behave, *, times: int = 1, most: int = MOST) -> tuple[Reply, Server]:
    async def run() -> tuple[Reply, Server]:
        async with Server(behave) as server:
            return await asyncio.wait_for(post(server.url(), times, most), 5), server

    return asyncio.run(run())


def lost(behave: Behave) -> NoReply:
    """Return the `NoReply` of a server's misbehaviour; it must hold no secret."""
    with pytest.raises(NoReply) as caught:
        ask(behave)
    return checked(caught.value)


def checked(found: NoReply) -> NoReply:
    assert SECRET not in f"{found} {found!r} {found.detail}"
    assert found.__suppress_context__, "what aiohttp said may quote"
    return found


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def test_a_body_is_posted_with_its_headers_and_the_reply_comes_back_whole() -> None:
    reply, server = ask(answer("200 OK", "X-Request-Id: r1", body=b'{"data":[]}'))
    assert (reply.status, reply.body, reply.headers["x-request-ID"]) == (200, b'{"data":[]}', "r1")
    assert 0 < reply.seconds < 5
    assert server.bodies == [BODY]
    head = server.heads[0].lower()
    assert head.startswith("post /v1/embeddings?api-version=1 http/1.1\r\n")
    for line in ["content-type: application/json", f"api-key: {SECRET}", "x-own: 1"]:
        assert f"\r\n{line}\r\n" in head


def test_requests_share_a_connection() -> None:
    _, server = ask(answer("200 OK", body=b"{}"), times=3)
    assert (len(server.bodies), server.connections) == (3, 1)


def test_a_path_goes_out_as_it_is_written() -> None:
    async def run() -> str:
        async with Server(answer("200 OK")) as server:
            await post(server.url("/deployments/my%20ada%2F1/x?v=a%2Bb"))
            return server.heads[0]

    assert asyncio.run(run()).startswith("POST /deployments/my%20ada%2F1/x?v=a%2Bb HTTP")


@pytest.mark.parametrize("status", ["400 Bad Request", "429 Too Many Requests", "500 No", "503 No"])
def test_a_refusal_is_a_reply_like_any(status: str) -> None:
    reply, _ = ask(answer(status, "Retry-After: 3", body=b"x"))
    assert (reply.status, reply.headers["retry-after"], reply.body) == (int(status[:3]), "3", b"x")


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_not_followed(status: str) -> None:
    reply, server = ask(answer(status, "Location: /elsewhere"))
    assert reply.status == int(status[:3])
    assert len(server.heads) == 1, "the key goes nowhere but to the endpoint"


@pytest.mark.parametrize("behave", [hang, drip])
def test_a_caller_that_stops_waiting_cancels(behave: Behave) -> None:
    async def run() -> None:
        async with Server(behave) as server:
            await asyncio.wait_for(post(server.url()), 0.1)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(run())


@pytest.mark.parametrize(
    ("behave", "detail"),
    [
        (close, "the service closed the connection"),
        (reset, "the service closed the connection"),
        (answer("200 OK", body=b"abc", length=100), "the reply was cut off"),
    ],
    ids=["closed", "reset", "body broken off"],
)
def test_an_exchange_that_breaks_is_a_lost_connection(behave: Behave, detail: str) -> None:
    found = lost(behave)
    assert (found.code, found.detail) == (ErrorCode.CONNECTION_ERROR, detail)
    assert found.needs_action is (detail == "the service closed the connection"), "unless it answered before"


@pytest.mark.parametrize(
    ("behave", "detail"),
    [
        (babble, "it is not HTTP/1.1"),
        (
            raw(b"Content-Length: 2\r\nTransfer-Encoding: identity\r\n\r\n{}"),
            "it has both Content-Length and Transfer-Encoding",
        ),
        (
            raw(b"Transfer-Encoding: chunked, gzip\r\nContent-Length: 2\r\n\r\n{}"),
            "it has both Content-Length and Transfer-Encoding",
        ),
        (raw(b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}"), "it has two Content-Length headers"),
        (raw(b"Content-Length: 2\r\n" + b"X: y\r\n" * 1000 + b"\r\n{}"), "it has more than 1,000 headers"),
        (raw(b"X: " + b"y" * 40_000 + b"\r\n\r\n{}"), "one of its headers is larger than 32 kB"),
        (
            raw((b"X: " + b"y" * 30_000 + b"\r\n") * 6 + b"\r\n{}"),
            "its headers are larger than 128 kB together",
        ),
        (raw(b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"), ""),
    ],
)
def test_a_reply_that_is_not_http_says_why(behave: Behave, detail: str) -> None:
    found = lost(behave)
    expected = ": ".join(filter(None, ["the reply breaks HTTP", detail]))
    assert (found.code, found.detail) == (ErrorCode.INVALID_RESPONSE, expected)
    assert found.needs_action, "waiting does not help"


@pytest.mark.parametrize(
    "headers", [["X-Policy: " + "y" * 30_000], [f"X-{number}: y" for number in range(900)]]
)
def test_large_and_many_headers_are_read(headers: list[str]) -> None:
    assert ask(answer("200 OK", *headers, body=b"{}"))[0].body == b"{}"


@cache
def bomb(size: int, *, layers: int = 1) -> bytes:
    """Blanks, compressed."""
    return packed(bomb(size, layers=layers - 1) if layers > 1 else b" " * size, 1)


#: Without the time, which would be in the names of tests.
packed = partial(gzip.compress, mtime=0)

TEXT = b'{"data": [1, 2, 3]}' * 50
LARGE = os.urandom(MOST // 2) + b" " * (MOST // 2)


@pytest.mark.parametrize(
    ("encoding", "body", "text"),
    [
        ("gzip", packed(TEXT), TEXT),
        ("GZIP", packed(TEXT[:50]) + packed(TEXT[50:]), TEXT),
        ("x-gzip", packed(TEXT) + b"\0\0", TEXT),
        ("gzip", packed(LARGE, 1), LARGE),
        ("gzip, gzip", packed(packed(TEXT)), TEXT),
        ("gzip", packed(packed(TEXT)), TEXT),
        ("deflate, gzip", packed(zlib.compress(TEXT)), TEXT),
        ("", packed(TEXT), TEXT),
        ("deflate", zlib.compress(TEXT), TEXT),
        ("deflate", zlib.compress(TEXT)[2:-4], TEXT),
        ("identity", TEXT, TEXT),
        ("UTF-8", TEXT, TEXT),
        ("gzip, aws-chunked", packed(TEXT), TEXT),
        ("gzip", b"", b""),
        ("gzip, gzip", packed(b""), b""),
    ],
)
def test_a_compressed_reply_is_unpacked(encoding: str, body: bytes, text: bytes) -> None:
    headers = [f"Content-Encoding: {encoding}"] if encoding else []
    reply, server = ask(answer("200 OK", *headers, body=body), times=2)
    assert reply.body == text
    assert server.connections == 1
    assert "accept-encoding: gzip, deflate\r\n" in server.heads[0].lower()


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "500 No"])
@pytest.mark.parametrize(
    ("encoding", "body", "detail"),
    [
        ("identity", b" " * (MOST + 1), "it is larger than {most} MB, more than was asked for"),
        ("gzip", lambda: bomb(2**24), "it is larger than {most} MB, more than was asked for"),
        ("gzip, gzip", lambda: bomb(2**24, layers=2), "it is larger than {most} MB, more than was asked for"),
        ("gzip", bomb(9, layers=9), "it is compressed again and again"),
        ("gzip, " * 9 + "gzip", bomb(9, layers=10), "it is compressed again and again"),
        ("gzip", packed(TEXT)[:-9], "its compressed data is cut off"),
        ("gzip", b"no gzip", "it cannot be decompressed"),
        ("br", TEXT, "it is compressed in a way that was not asked for"),
    ],
)
def test_a_body_beyond_bounds_is_given_up(
    status: str, encoding: str, body: bytes | Callable[[], bytes], detail: str
) -> None:
    made = body() if callable(body) else body
    found = lost(answer(status, f"Content-Encoding: {encoding}", body=made))
    most = 2 if status.startswith("200") else 1
    assert found.detail == f"{detail.format(most=most)} (status {status[:3]})"
    assert found.head is not None
    assert (found.code, found.head.status) == (ErrorCode.INVALID_RESPONSE, int(status[:3]))
    assert found.needs_action is status.startswith("200")


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
        await writer.drain()


def test_a_body_without_an_end_is_given_up() -> None:
    assert lost(endless).detail == "it is larger than 2 MB, more than was asked for (status 200)"


@pytest.mark.parametrize("body", [b"", b"abc"])
def test_a_body_of_an_error_that_comes_slowly_is_given_up(body: bytes) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 503 No\r\nRetry-After: 7\r\nContent-Length: 100\r\n\r\n" + body)
        await reader.read()

    found = lost(behave)
    assert found.detail == "it does not end within 0.2 s (status 503)"
    assert found.head is not None
    assert (found.head.status, found.head.headers["retry-after"]) == (503, "7")


@mostly_slow("sign", [b"[],", b"1,", b"{},", b'{"a":0},', b'"ab",', b"[0],"], [b"{},"])
def test_json_that_would_fill_memory_is_not_parsed(sign: bytes) -> None:
    """Also below what the body may have, and if much was asked for: 256 vectors of 1,536 numbers."""
    for size, most in ((5.7, 8), (19, 20)):
        body = b"[" + sign * (int(size * 2**20) // len(sign)) + b"0]"
        with pytest.raises(NoReply, match="it holds far more values than were asked for"):
            ask(answer("200 OK", body=body), most=most * 2**20)


def test_answers_with_many_alternatives_are_read() -> None:
    """A reply of 6,000 tokens with 20 alternatives each, which was asked for."""
    alternative = b'{"token":"abcd","logprob":-12.345678,"bytes":[97,98,99,100]}'
    body = b"[" + b",".join([alternative] * (6_000 * 21)) + b"]"
    reply, _ = ask(answer("200 OK", body=body), most=8 * 2**20 + 6_000 * 21 * 64)
    assert len(reply.body) == len(body)


@pytest.mark.slow
def test_replies_that_hold_much_memory_take_turns() -> None:
    """Six replies of 20 MB at once: what does not fit waits in its socket."""
    memory, held = ReplyMemory(), []
    body = b" " * (20 * 2**20)

    async def run() -> list[Reply]:
        async with (
            Server(answer("200 OK", body=body)) as server,
            open_wire(server.url(), {}, sign, memory) as send,
        ):
            waiting = [asyncio.ensure_future(send(BODY, 2**30)) for _ in range(6)]
            while not all(one.done() for one in waiting):
                held.append(memory.held)
                await asyncio.sleep(0.001)
            return [one.result() for one in waiting]

    replies = asyncio.run(run())
    assert [len(reply.body) for reply in replies] == [len(body)] * 6
    assert max(held) < MOST_HELD_BYTES + len(body) + 6 * 2**20
    assert memory.held == 0
    assert not memory.turn.locked()


def test_a_port_where_nothing_listens_is_named() -> None:
    port = free_port()
    with pytest.raises(NoReply, match=f"^nothing listens at 127.0.0.1:{port}$") as caught:
        asyncio.run(post(f"http://127.0.0.1:{port}/?key={SECRET}"))
    assert checked(caught.value).code is ErrorCode.CONNECTION_ERROR


@pytest.mark.parametrize("form", ["http://user:{secret}@127.0.0.1:{port}", "127.0.0.1:{port}"])
def test_the_proxy_of_the_environment_is_used(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> tuple[Reply, list[str]]:
        async with Server(answer("200 OK", body=b"by proxy")) as proxy:
            monkeypatch.setenv("HTTP_PROXY", form.format(secret=SECRET, port=proxy.port))
            return await post("http://service.invalid/v1"), proxy.heads

    reply, heads = asyncio.run(run())
    assert reply.body == b"by proxy"
    assert heads[0].startswith("POST http://service.invalid/v1 HTTP")
    assert ("proxy-authorization: basic" in heads[0].lower()) == (
        SECRET in form.format(secret=SECRET, port=1)
    )


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("exempt", ["127.0.0.1", "*", "localhost,127.0.0.1"])
def test_an_exempt_host_is_reached_without_the_proxy(
    variable: str, exempt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("NO_PROXY", exempt)
    assert ask(answer("200 OK", body=b"direct"))[0].body == b"direct"


def test_an_unreachable_proxy_is_reported_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("HTTP_PROXY", f"http://user:{SECRET}@127.0.0.1:{port}")
    with pytest.raises(NoReply, match=f"^cannot connect to the proxy at 127.0.0.1:{port} ") as caught:
        asyncio.run(post("http://service.invalid/v1"))
    assert checked(caught.value).code is ErrorCode.CONNECTION_ERROR


def test_a_proxy_that_refuses_a_tunnel_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with Server(answer("407 Proxy Authentication Required")) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://user:{SECRET}@127.0.0.1:{proxy.port}")
            await post("https://service.invalid/v1")

    with pytest.raises(NoReply, match=r"^the proxy refused \(407\)$") as caught:
        asyncio.run(run())
    checked(caught.value)


@pytest.mark.parametrize("count", [99, 20_000])
def test_interim_replies_are_skipped_but_not_without_an_end(count: int) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" * count)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()

    if count < 100:
        assert ask(behave)[0].body == b"{}"
        return
    with pytest.raises(NoReply, match="more than 100 interim replies come before it") as caught:
        ask(behave)
    assert checked(caught.value).code is ErrorCode.INVALID_RESPONSE
