"""Where a reply ends, and which connection the next request uses: real sockets, odd servers."""

from __future__ import annotations

import asyncio
import gzip
import socket
from contextlib import suppress
from functools import partial

import pytest
from test_wire import MOST, Behave, Server, ask, free_port, lost, post, sign

from batchscore.errors import ErrorCode, SettingsError
from batchscore.request.connect import Connector
from batchscore.request.connection import PIECE_BYTES, READ_BYTES, Connection
from batchscore.request.head_bytes import Address
from batchscore.request.reply_body import BodyReader, ReplyMemory
from batchscore.request.send import NoReply
from batchscore.request.wire import Pool, ended, open_wire
from batchscore.rows import Reply

LARGE = b"x" * (3 * READ_BYTES + 1)


def sent(*parts: bytes, close: bool = False) -> Behave:
    """Answer with bytes as they are, each after the others have arrived."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0)
        if close:
            writer.close()

    return behave


def chunked(body: bytes, size: int = 7) -> bytes:
    """Return a body in chunks, with what a service may add to them."""
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    chunks = b"".join(b"%X;name=value\r\n%b\r\n" % (len(part), part) for part in parts)
    return chunks + b"0\r\nX-Trailer: Content-Length: 3\r\n\r\n"


OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: 2\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("reply", "body"),
    [
        (OK + LENGTH + b"\r\n{}", b"{}"),
        (OK + b"content-LENGTH:2 \r\nX-Empty:\r\nX-Next: a\r\n\r\n{}", b"{}"),
        (OK.replace(b"\r\n", b"\n") + b"Content-Length: 2\n\n{}", b"{}"),
        (b"HTTP/1.1 200\r\n" + LENGTH + b"\r\n{}", b"{}"),
        (b"HTTP/1.1 200 \xff\xe9\r\nX: \xff\xe9\r\n" + LENGTH + b"\r\n{}", b"{}"),
        (OK + b"Content-Length: 0\r\n\r\n", b""),
        (OK + b"Content-Length: %d\r\n\r\n" % len(LARGE) + LARGE, LARGE),
        (OK + b"Content-Length: %d\r\n\r\n" % READ_BYTES + LARGE[:READ_BYTES], LARGE[:READ_BYTES]),
        (OK + CHUNKED + chunked(b"{} " * 9), b"{} " * 9),
        (OK + CHUNKED + chunked(LARGE, 100_000), LARGE),
        (OK + CHUNKED + chunked(LARGE[:20_000], 2), LARGE[:20_000]),
        (OK + CHUNKED + b"2  \r\n{}\r\n0\r\n\r\n", b"{}"),
        (OK + b"Transfer-Encoding: CHUNKED\r\n\r\n" + chunked(b"{}"), b"{}"),
        (OK + b"Content-Encoding: gzip\r\n" + CHUNKED + chunked(gzip.compress(LARGE, mtime=0)), LARGE),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + LENGTH + b"\r\n{}", b"{}"),
        (b"HTTP/1.1 102 Processing\r\nX: y\r\n\r\n" * 2 + OK + LENGTH + b"\r\n{}", b"{}"),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + LENGTH + b"\r\n{}", b"{}"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
    ids=range(18),
)
@pytest.mark.parametrize("size", [None, 1, 9])
def test_a_reply_ends_where_it_says_and_its_connection_is_used_again(
    reply: bytes, body: bytes, size: int | None
) -> None:
    """Also if it arrives byte by byte."""
    if size is not None and len(reply) > 1000:
        parts = [reply[:60], *(reply[at : at + 1] for at in range(60, 90)), reply[90:-1], reply[-1:]]
    else:
        parts = [reply[at : at + (size or len(reply))] for at in range(0, len(reply), size or len(reply))]
    found, server = ask(sent(*parts), times=2)
    assert found.body == body
    assert server.connections == 1


@pytest.mark.parametrize(
    "reply",
    [
        OK + b"\r\n{}",
        OK + b"Connection: close\r\n" + LENGTH + b"\r\n{}",
        OK + b"Connection: close\r\n" + CHUNKED + chunked(b"{}"),
        b"HTTP/1.0 200 OK\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\n" + LENGTH + b"\r\n{}",
        OK + b"Transfer-Encoding: identity\r\n\r\n{}",
        OK + b"Transfer-Encoding: chunked, x-chunked\r\n\r\n{}",
        OK + LENGTH + CHUNKED + chunked(b"{}"),
        OK + b"Content-Length: 99\r\n" + CHUNKED + chunked(b"{}"),
        OK + CHUNKED + b"2\r\n{}\r\n0\r\nConnection: close\r\n\r\n",
    ],
)
def test_a_reply_may_end_with_its_connection(reply: bytes) -> None:
    found, server = ask(sent(reply, close=True), times=2)
    assert found.body == b"{}"
    assert server.connections == 2


@pytest.mark.parametrize(
    ("reply", "connections"),
    [
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc", 2),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", 2),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 1),
        (b"HTTP/1.1 429 No\r\nRetry-After: 1\r\nRetry-After: 2\r\n" + LENGTH + b"\r\n{}", 1),
    ],
)
def test_other_statuses_are_replies_too(reply: bytes, connections: int) -> None:
    found, server = ask(sent(reply), times=2)
    assert found.status == int(reply[9:12])
    assert server.connections == connections
    assert found.headers.get("retry-after", "1") == "1"


@pytest.mark.parametrize(
    ("reply", "detail"),
    [
        (OK + b"Content-Length: 9\r\n\r\n{}", "the reply was cut off"),
        (OK + b"Content-Length: %d\r\n\r\n" % len(LARGE) + LARGE[:-1], "the reply was cut off"),
        (OK + CHUNKED + b"2\r\n{}\r\n", "the reply was cut off"),
        (OK + CHUNKED + b"2\r\n{}\r\n0\r\n", "the reply was cut off"),
        (OK + LENGTH, "the service closed the connection"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "the service closed the connection"),
        (OK + b"Content-Length: -2\r\n\r\n{}", "the reply breaks HTTP: its Content-Length is not a number"),
        (OK + b"Content-Length: 2, 2\r\n\r\n{}", "the reply breaks HTTP: its Content-Length is not a number"),
        (OK + b"Content-Length: 99999999999999999999999\r\n\r\n{}", "the reply breaks HTTP"),
        (OK + CHUNKED + b"2\r\n{}x\r\n0\r\n\r\n", "the reply breaks HTTP"),
        (OK + b"X" * 300_000, "the reply breaks HTTP: its headers are larger than 128 kB together"),
        (
            OK + CHUNKED + b"2;" + b"X" * 300_000,
            "the reply breaks HTTP: its headers are larger than 128 kB together",
        ),
        (
            OK + CHUNKED + b"2\r\n{}\r\n0\r\n" + b"X" * 300_000,
            "the reply breaks HTTP: its headers are larger than 128 kB together",
        ),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "the reply breaks HTTP: it is not HTTP/1.1"),
        (b"HTTP/1.1 20 OK\r\n\r\n", "the reply breaks HTTP: it is not HTTP/1.1"),
    ],
)
def test_a_reply_without_its_end_is_no_reply(reply: bytes, detail: str) -> None:
    assert lost(sent(reply, close=True)).detail == detail


def test_an_error_that_is_cut_off_keeps_its_status() -> None:
    found = lost(sent(b"HTTP/1.1 503 No\r\n" + CHUNKED + b"2\r\n{}\r\n", close=True))
    assert (found.code, found.detail) == (ErrorCode.INVALID_RESPONSE, "it was cut off (status 503)")
    assert found.head is not None
    assert found.head.status == 503


def test_a_large_request_arrives_whole() -> None:
    body = bytes(range(256)) * (5 * PIECE_BYTES // 256)

    async def run() -> bytes:
        async with (
            Server(sent(OK + LENGTH + b"\r\n{}")) as server,
            open_wire(server.url(), {}, sign, ReplyMemory()) as send,
        ):
            for _ in range(2):
                await send(body, MOST)
            assert server.connections == 1
            return server.bodies[-1]

    assert asyncio.run(run()) == body


async def refuse_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}")
    await reader.read()


async def answer_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(OK + LENGTH + b"\r\n{}")
    await reader.read()


async def post_much(behave: Behave) -> tuple[list[Reply], int]:
    """Post a body twice that no socket takes whole; return the replies and the number of connections."""
    connections = 0

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            with suppress(ConnectionError):
                await behave(reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=2**16)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    try:
        async with open_wire(url, {}, sign, ReplyMemory()) as send:
            replies = [await send(b"x" * 2**25, MOST) for _ in range(2)]
    finally:
        server.close()
        await asyncio.sleep(0.01)  # in which its connections end
    return replies, connections


def test_a_service_may_refuse_a_request_before_it_has_read_it() -> None:
    replies, connections = asyncio.run(post_much(refuse_early))
    assert [(reply.status, reply.body) for reply in replies] == [(413, b"{}")] * 2
    assert connections == 2, "the rest of the body would be read as the next request"


def test_an_answer_before_the_request_was_sent_is_not_its_own() -> None:
    with pytest.raises(NoReply, match="it came before the request was sent"):
        asyncio.run(post_much(answer_early))


def test_a_host_that_has_no_address_is_an_error_for_a_person() -> None:
    with pytest.raises(NoReply, match=r"^the host name cannot be resolved$") as caught:
        asyncio.run(post(f"http://{'x' * 64}.example/"))
    assert caught.value.needs_action


def test_the_next_address_of_a_host_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one refuses connections."""
    plain = socket.getaddrinfo

    def two(host: str, port: int, *_: int, flags: int = 0, **__: int) -> object:
        if flags == socket.AI_NUMERICHOST and host == "host.invalid":
            raise socket.gaierror
        return [plain("127.0.0.1", at, type=socket.SOCK_STREAM)[0] for at in (free_port(), port)]

    async def run() -> tuple[Reply, int]:
        async with Server(sent(OK + LENGTH + b"\r\n{}")) as server:
            monkeypatch.setattr(socket, "getaddrinfo", two)
            return await post(server.url().replace("127.0.0.1", "host.invalid"), 2), server.connections

    reply, connections = asyncio.run(run())
    assert (reply.body, connections) == (b"{}", 1)


def test_idle_connections_are_closed_after_a_while() -> None:
    async def run() -> None:
        async with Server(sent(OK + LENGTH + b"\r\n{}")) as server:
            new = partial(Connection, memoryview(bytearray(READ_BYTES)), 1.0)
            pool = Pool(Connector(Address("127.0.0.1", server.port, secure=False), None, True, new), 0.05)
            both = [await pool.connector.connect() for _ in range(2)]
            for connection in both:
                head = b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n"
                assert await connection.exchange(head, b"{}", BodyReader(MOST, ReplyMemory())) == b"{}"
                pool.give_back(connection)
            assert pool.take() is both[1], "the latest first"
            pool.give_back(both[1])
            await asyncio.sleep(0.15)
            assert [connection.closed for connection in both] == [True, True]
            assert not pool.idle
            await pool.close()

    asyncio.run(run())


def test_a_cancellation_while_connecting_is_never_lost() -> None:
    """Also at the moment at which the connection is made: else the end of a run would wait for a reply."""

    async def run() -> None:
        async with Server(sent(OK + LENGTH + b"\r\n{}")) as server:
            new = partial(Connection, memoryview(bytearray(READ_BYTES)), 1.0)
            connector = Connector(Address("127.0.0.1", server.port, secure=False), None, True, new)
            for turns in [*range(24)] * 8:
                connecting = asyncio.create_task(connector.connect())
                for _ in range(turns):
                    await asyncio.sleep(0)
                if connecting.cancel():
                    await asyncio.wait({connecting})
                    assert connecting.cancelled(), turns
                else:
                    connecting.result().abort()
            connector.close()

    asyncio.run(run())


def test_a_cancellation_while_an_error_is_unpacked_is_never_lost() -> None:
    async def unpack() -> bytes:
        for _ in range(3):
            await asyncio.sleep(0)
        return b"{}"

    async def run() -> None:
        for turns in range(1, 12):
            unpacking = asyncio.create_task(ended(unpack(), 5.0))
            for _ in range(turns):
                await asyncio.sleep(0)
            if unpacking.cancel():
                await asyncio.wait({unpacking})
                assert unpacking.cancelled(), turns
            else:
                assert unpacking.result() == b"{}"

    asyncio.run(run())


@pytest.mark.parametrize("proxy", ["http://proxy:port", "http://:3128", "https://"])
def test_a_proxy_without_an_address_is_an_error_of_the_settings(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(SettingsError, match="The proxy variables hold no address"):
        asyncio.run(post("http://service.invalid/"))


def test_headers_may_not_break_a_line() -> None:
    with pytest.raises(SettingsError, match="The header X-Own has a line break in its value"):
        asyncio.run(with_header("a\r\nHost: other"))


async def with_header(value: str) -> None:
    async with open_wire("http://127.0.0.1:1/", {"X-Own": value}, sign, ReplyMemory()) as send:
        await send(b"{}", MOST)
