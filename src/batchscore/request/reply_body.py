"""How is the body of a reply read, whatever the service sends?

It knows pieces of bytes, sizes and compressions, not what a body means. A body is bounded by what was asked
for, also after decompression, and each step lets the other requests have their turn, so that timeouts hold.
"""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: What a request offers in `Accept-Encoding`: what is decompressed here.
ACCEPTED_ENCODINGS = "gzip, deflate"

#: An error is a few words, or a page of a gateway.
MOST_ERROR_BYTES = 2**20

#: The unfinished replies of a run hold about this much; beyond it, they are read one after the other.
MOST_HELD_BYTES = 32 * 2**20

#: The first piece of a body is nearly always all of it. So few bytes are not counted.
UNCOUNTED_BYTES = 2**14

#: JSON has at least this many bytes per value, except to fill memory: a number takes 32 bytes there.
BYTES_PER_VALUE = 10

#: What an object, a list and a text take in memory; the texts of an object are mostly its keys, which
#: are kept once. Those of a reply may take `MOST_OBJECT_BYTES`, and a multiple of the bytes that were asked
#: for, as answers with `logprobs` need.
OBJECT_BYTES, LIST_BYTES, TEXT_BYTES = 216, 64, 64
KEYS_PER_OBJECT = 4
MOST_OBJECT_BYTES = 40 * 2**20
OBJECT_BYTES_PER_BYTE = 3

#: In smaller bodies the values need not be counted: they take less than 100 MB.
COUNTED_FROM_BYTES = 3 * 2**20

#: The bytes that are decompressed before other requests have their turn.
STEP_BYTES = 2**20
_INPUT_STEP_BYTES = 2**16

#: What `Content-Encoding` may name. Any other word, such as a charset, is ignored, as by other clients.
_UNPACKED = {"gzip", "x-gzip", "deflate"}
_NOT_ACCEPTED = {"br", "zstd", "compress", "x-compress", "dcb", "dcz"}

#: A gateway may compress what the service has compressed already.
MOST_LAYERS = 3

_GZIP = b"\x1f\x8b"


class UnusableBody(Exception):  # noqa: N818 - a reason to retry, not an error of the run
    """A body that is larger than any right one, or that cannot be decompressed; the message says why."""


def is_packed(body: bytes | memoryview, encoding: bytes | None) -> bool:
    """Whether a body is compressed, as its header says or as it begins."""
    return bool(body) and (bool(encoding) or body[:2] == _GZIP)


@dataclass(slots=True)
class ReplyMemory:
    """How much the unfinished replies of a run hold; above the bound, only one at a time is read on."""

    held: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True)
class BodyReader:
    """Collects one body of at most `most` bytes, and decompresses it if it is compressed.

    `size` is what was received so far.
    """

    most: int
    memory: ReplyMemory
    size: int = 0
    held: int = 0
    in_turn: bool = False
    received: bytes | bytearray = b""
    placed: np.ndarray[Any, np.dtype[np.uint8]] | None = None

    def add(self, piece: bytes) -> bool:
        """Take the next piece of the body; return whether to wait, as `hold` does.

        A service may send millions of two bytes each.
        """
        if not self.size and len(piece) <= UNCOUNTED_BYTES and len(piece) <= self.most:
            self.size, self.received = len(piece), piece
            return False
        before, self.size = self.size, self.size + len(piece)
        must_wait = self.hold(len(piece), before)
        if not self.received:
            self.received = piece
        else:
            if isinstance(self.received, bytes):
                self.received = bytearray(self.received)
            self.received += piece
        return must_wait

    def place(self, length: int) -> memoryview:
        """Return where to put the rest of a body of this length; what is never received takes no memory."""
        self.placed = np.empty(length, np.uint8)
        view = self.placed.data
        view[: self.size] = self.received
        self.received = b""
        return view[self.size :]

    def body(self) -> bytes | memoryview:
        """Return the body as it was sent; one that was received in place is not copied."""
        body = bytes(self.received) if self.placed is None else self.placed.data.toreadonly()
        self.received, self.placed = b"", None
        return body

    def release(self) -> None:
        """Drop what was received; an exception may refer to it for longer than anything needs it."""
        self.received, self.placed = b"", None
        if self.held:
            self.memory.held -= self.held
            self.held = 0
        if self.in_turn:
            self.in_turn = False
            self.memory.turn.release()

    def check_size(self, size: int) -> None:
        """Raise `UnusableBody` if a body has more bytes than were asked for."""
        if size > self.most:
            raise UnusableBody(f"it is larger than {self.most / 2**20:,.0f} MB, more than was asked for")

    def hold(self, size: int, before: int) -> bool:
        """Count more bytes of a body that had `before`; return whether to wait, since all hold too many."""
        if before + size > self.most:
            self.check_size(before + size)
        self.held += size
        self.memory.held += size
        return self.memory.held > MOST_HELD_BYTES and not self.in_turn

    async def wait_for_turn(self) -> None:
        """Wait until no other unfinished body is read on."""
        await self.memory.turn.acquire()
        self.in_turn = True

    async def decompress(self, body: bytes, encoding: str) -> bytes:
        """Return the body without the compressions that the header names, and those it forgot.

        Raises `UnusableBody`.
        """
        names = [name.strip().lower() for name in encoding.split(",")]
        if not _NOT_ACCEPTED.isdisjoint(names):
            raise UnusableBody("it is compressed in a way that was not asked for")
        layers = [name for name in names if name in _UNPACKED]
        for number in range(MOST_LAYERS):
            if not body or (number >= len(layers) and not body.startswith(_GZIP)):
                return body
            body = await self.inflate(body)
        if len(layers) > MOST_LAYERS or body.startswith(_GZIP):
            raise UnusableBody("it is compressed again and again")
        return body

    async def inflate(self, body: bytes) -> bytes:
        """Return gzip, zlib or raw deflate decompressed, in steps that let other requests have their turn."""
        wrapped = body.startswith(_GZIP) or body[0] & 0xF == zlib.DEFLATED
        bits = zlib.MAX_WBITS + 32 if wrapped else -zlib.MAX_WBITS
        decoder = zlib.decompressobj(bits)
        pieces: list[bytes] = []
        size = 0
        try:
            for start in range(0, len(body), _INPUT_STEP_BYTES):
                data = body[start : start + _INPUT_STEP_BYTES]
                while data:
                    if decoder.eof:
                        if data[0] != _GZIP[0]:
                            return b"".join(pieces)  # padding
                        decoder = zlib.decompressobj(bits)
                    piece = decoder.decompress(data, STEP_BYTES)
                    data = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
                    if self.hold(len(piece), size):
                        await self.wait_for_turn()
                    pieces.append(piece)
                    size += len(piece)
                    if size > STEP_BYTES or start:
                        await asyncio.sleep(0)
            pieces.append(decoder.flush())
        except zlib.error:
            raise UnusableBody("it cannot be decompressed") from None
        if not decoder.eof:
            raise UnusableBody("its compressed data is cut off")
        return b"".join(pieces)

    def check_values(self, body: bytes | memoryview) -> None:
        """Raise `UnusableBody` for JSON that would take far more memory than its text."""
        data = np.frombuffer(body, np.uint8)  # counts in a third of the time that `bytes` needs
        commas, objects, lists, quotes = (int(np.count_nonzero(data == sign)) for sign in b',{["')
        texts = max(quotes // 2 - KEYS_PER_OBJECT * objects, 0)
        taken = objects * OBJECT_BYTES + lists * LIST_BYTES + texts * TEXT_BYTES
        values = commas + objects + lists
        allowed = MOST_OBJECT_BYTES + OBJECT_BYTES_PER_BYTE * self.most
        if values * BYTES_PER_VALUE > self.most or taken > allowed:
            raise UnusableBody("it holds far more values than were asked for")
