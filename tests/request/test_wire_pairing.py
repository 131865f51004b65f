"""No reply is ever given to another request, whatever a server sends, and in whatever pieces."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batchscore.request.connection import PIECE_BYTES
from batchscore.request.reply_body import ReplyMemory
from batchscore.request.send import NoReply
from batchscore.request.wire import open_wire
from hypothesis_profiles import examples

#: A reply to a request that was never sent.
STRAY = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"of":"nobody"}'

AFTER = {
    "nothing": b"",
    "a reply": STRAY,
    "half a reply": STRAY[:30],
    "an empty line": b"\r\n",
    "an interim reply": b"HTTP/1.1 100 Continue\r\n\r\n",
    "no HTTP": b"\0\xff{}",
}


@dataclass(frozen=True)
class Manner:
    """How a server replies: `cuts` are thousandths of the reply after which it waits for a moment."""

    framing: str = "length"
    padding: int = 0
    packed: bool = False
    interim: int = 0
    cuts: tuple[int, ...] = ()
    after: str = "nothing"
    end: str = "keep"
    early: bool = False
    broken_at: int = 1000
    noise: bytes = b""

    def reply(self, name: bytes) -> bytes:
        """Return the reply to a request, perhaps with noise in it or without its end."""
        body = b'{"of":"%b"}' % name + b" " * self.padding
        body = gzip.compress(body, 1) if self.packed else body
        lines = [b"HTTP/1.%d 200 OK" % (not self.framing.startswith("old"))]
        lines += [b"Content-Encoding: gzip"] * self.packed
        if self.framing in {"length", "old", "old kept"}:
            lines.append(b"Content-Length: %d" % len(body))
        elif self.framing == "chunks":
            lines.append(b"Transfer-Encoding: chunked")
            third = len(body) // 3 + 1
            chunks = [body[start : start + third] for start in range(0, len(body), third)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in (*chunks, b""))
        lines += [b"Connection: keep-alive"] * (self.framing == "old kept")
        head = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" * self.interim
        whole = head + b"\r\n".join([*lines, b"", b""]) + body
        at = len(whole) * self.broken_at // 1000
        return whole[:at] + self.noise + (whole[at:] if self.noise else b"")

    @property
    def closes(self) -> bool:
        """Whether the server closes the connection after the reply."""
        return self.end != "keep" or self.framing == "closed" or self.broken_at < 1000


MANNERS = st.builds(
    Manner,
    framing=st.sampled_from(["length", "chunks", "closed", "old", "old kept"]),
    padding=st.sampled_from([0, 0, 100, 300_000]),
    packed=st.booleans(),
    interim=st.sampled_from([0, 0, 1, 3]),
    cuts=st.lists(st.integers(1, 999), max_size=4).map(tuple),
    after=st.sampled_from([*AFTER]),
    end=st.sampled_from(["keep", "keep", "keep", "close", "reset"]),
    early=st.booleans(),
    broken_at=st.one_of(st.just(1000), st.integers(0, 1000)),
    noise=st.one_of(st.just(b""), st.binary(max_size=4), st.sampled_from([b"\r\n", b"\r\n\r\n", b"0", b":"])),
)


class HostileServer:
    """Replies in one manner after the other, and counts the requests by name."""

    def __init__(self, manners: list[Manner]) -> None:
        self.manners = manners
        self.count = 0
        self.seen: Counter[bytes] = Counter()
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self.answer(reader, writer):
                    pass
        finally:
            writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().rpartition(b"content-length:")[2])
        name = await reader.readexactly(8)
        self.seen[name] += 1
        manner = self.manners[self.count % len(self.manners)]
        self.count += 1
        if not manner.early:
            await reader.readexactly(length - 8)
        reply = manner.reply(name)
        cuts = sorted({len(reply) * cut // 1000 for cut in manner.cuts})
        for start, end in zip([0, *cuts], [*cuts, len(reply)], strict=True):
            await asyncio.sleep(0)
            writer.write(reply[start:end])
        if not manner.closes:
            # At once: what arrives after the next request was sent cannot be distinguished from its reply.
            writer.write(AFTER[manner.after])
        elif manner.end == "reset":
            writer.transport.abort()
        if manner.early:
            await reader.readexactly(length - 8)
        return not manner.closes


async def sign() -> Mapping[str, str]:
    return {}


async def exchange(manners: list[Manner], sizes: list[int], pause: float = 0.0) -> tuple[int, HostileServer]:
    """Send requests of three workers; return how many had a reply."""
    hostile = HostileServer(manners)
    server = await asyncio.start_server(hostile.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    good = 0

    async def work(worker: int) -> None:
        nonlocal good
        for number, size in enumerate(sizes):
            await asyncio.sleep(pause)
            name = b"%02d-%05d" % (worker, number)
            try:
                reply = await asyncio.wait_for(send(name + b"x" * size, 2**20), 50)
            except NoReply:
                continue
            known = {*hostile.seen, b"nobody"} - {name}  # noise may change a name
            others = known.intersection(re.findall(rb'"of":"([^"]*)"', reply.body))
            assert not others, f"{name!r} got the reply of {others}"
            good += name in reply.body

    async with open_wire(url, {}, sign, ReplyMemory()) as send:
        await asyncio.gather(*map(work, range(3)))
    server.close()
    for writer in hostile.writers:
        writer.transport.abort()
    await asyncio.sleep(0.002)  # in which its connections end
    return good, hostile


@settings(max_examples=examples(in_ci=400))
@given(
    st.lists(MANNERS, min_size=1, max_size=4),
    st.lists(st.sampled_from([0, 10, 3 * PIECE_BYTES]), min_size=2, max_size=4),
)
@example([Manner(after="a reply")], [0] * 4)
@example([Manner(framing="chunks", after="a reply", cuts=(500,))], [0] * 4)
@example([Manner(padding=300_000, after="a reply")], [0] * 4)
@example([Manner(), Manner(end="close")], [0] * 4)
@example([Manner(early=True)], [3 * PIECE_BYTES] * 2)
def test_a_reply_belongs_to_its_request(manners: list[Manner], sizes: list[int]) -> None:
    """And no request is sent again by itself: it may be paid for."""
    _, hostile = asyncio.run(exchange(manners, sizes))
    assert max(hostile.seen.values(), default=0) <= 1


@pytest.mark.parametrize("after", [*AFTER])
@pytest.mark.parametrize("framing", ["length", "chunks", "old kept"])
def test_what_follows_a_reply_costs_the_connection_and_no_request(framing: str, after: str) -> None:
    good, _ = asyncio.run(exchange([Manner(framing=framing, after=after)], [0] * 5))
    assert good == 15


def test_a_connection_that_the_server_closes_is_not_used_again() -> None:
    """Many do not announce it: they close idle connections."""
    good, _ = asyncio.run(exchange([Manner(), Manner(end="close")], [0] * 6, pause=0.01))
    assert good == 18
