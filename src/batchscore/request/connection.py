"""How does one request go over one connection, and how does its reply come back?

It knows bytes, not what they mean, nor who made the connection. A reply belongs to the request that was sent
last, if nothing arrived before that request or after that reply; otherwise the connection is closed.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Awaitable
from typing import Any

from batchscore.request.reply_body import MOST_ERROR_BYTES, BodyReader, UnusableBody
from batchscore.request.reply_head import BrokenReply, ReplyParser

#: A larger body is sent in pieces of this size: of one that is given whole, all that the socket does not take
#: at once is copied.
PIECE_BYTES = 2**18

#: One buffer serves all connections: each reads at once what it has received.
READ_BYTES = 2**17

#: A larger body is received where it stays, at most this much at a time.
IN_PLACE_BYTES = 2**18


class ConnectionClosed(Exception):  # noqa: N818 - a reason to retry, not an error of the run
    """The connection was closed before a reply was complete; `in_body`: after its head."""

    def __init__(self, error: Exception | None, *, in_body: bool) -> None:
        super().__init__()
        self.error = error
        self.in_body = in_body


class Connection(asyncio.BufferedProtocol):
    """One connection. `parser` has the head of the reply that was read last.

    `received` is the buffer that all connections share; the body of an error has `error_seconds`.
    """

    transport: Any  # of asyncio or uvloop

    def __init__(self, received: memoryview, error_seconds: float) -> None:
        self.parser = ReplyParser(self._begin_body, self._take)
        self.closed = False
        self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self._received = received
        self._error_seconds = error_seconds
        self._waiter: asyncio.Future[bytes | memoryview] | None = None
        self._reading: BodyReader | None = None
        self._rest: memoryview | None = None
        self._writable: asyncio.Future[None] | None = None
        self._unsent = False
        self._error: Exception | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._turn: asyncio.Task[None] | None = None
        self._poll: select.poll | None = None

    def exchange(self, head: bytes, body: bytes, reading: BodyReader) -> Awaitable[bytes | memoryview]:
        """Send a request; to await is to wait for the body of its reply as it was sent.

        Raises `ConnectionClosed`, `BrokenReply` or `UnusableBody`. The caller calls `release` in any case.
        """
        waiter = self._expect_reply(reading)
        if len(body) > PIECE_BYTES:
            return self._send_pieces(head, memoryview(body), waiter)
        self.transport.write(head + body)
        return waiter

    async def open_tunnel(self, head: bytes) -> int:
        """Send a request for a tunnel to a proxy and return the status of its reply, without the body.

        After a 200, `secure` must follow.
        """
        waiter = self._expect_reply(None)
        self.transport.write(head)
        await waiter
        self._waiter = None
        self.parser.skip_body()
        return self.parser.status

    def secure(self, transport: Any) -> None:
        """Use a transport with TLS from now on."""
        self.transport = transport

    def release(self) -> bool:
        """End the exchange; return whether the connection can carry another request, else close it."""
        waiter, self._waiter, self._reading = self._waiter, None, None
        parser = self.parser
        reusable = (
            parser.complete
            and parser.keep_alive
            and not parser.trailing
            and not self.closed
            and not self._unsent
            and not self.transport.get_write_buffer_size()
        )
        if not reusable:
            self.abort()
            if waiter is not None and waiter.done() and not waiter.cancelled():
                waiter.exception()  # else asyncio would log one that was overtaken by a cancellation
        return reusable

    def quiet(self) -> bool:
        """Whether nothing has arrived since the last reply, not even the end of the connection."""
        if self.closed or self.transport.is_closing():
            return False
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.transport.get_extra_info("socket"), select.POLLIN)
        return not self._poll.poll(0)

    def abort(self) -> None:
        """Close the connection at once."""
        self.closed = True
        self._end_waits()
        self.transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: Any) -> None:
        """Take the connection."""
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Return where to put what is received next."""
        return self._received if self._rest is None else self._rest[:IN_PLACE_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        """Read what was received."""
        waiter, parser = self._waiter, self.parser
        if waiter is None or waiter.done():
            self.abort()  # it belongs to no request
            return
        try:
            if self._rest is not None:
                self._receive_in_place(nbytes)
                return
            was_in_head = parser.in_head
            parser.feed(self._received[:nbytes])
            if parser.complete or (self._reading is None and not parser.in_head):
                self._finish()
            elif was_in_head and not parser.in_head:
                self._rest = self._begin_in_place()
        except (BrokenReply, UnusableBody) as reason:
            self._fail(reason)

    def eof_received(self) -> None:
        """Note that the service sends no more, which may end a reply; asyncio then closes the connection."""
        self._note_end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is closed."""
        self._note_end(exc)

    def pause_writing(self) -> None:
        """Send no more for now."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """Continue to send."""
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    # How a reply is read.

    def _expect_reply(self, reading: BodyReader | None) -> asyncio.Future[bytes | memoryview]:
        self.parser.begin()
        if self.closed:
            raise ConnectionClosed(self._error, in_body=False)
        self._reading, self._waiter = reading, self._loop.create_future()
        return self._waiter

    async def _send_pieces(
        self, head: bytes, body: memoryview, waiter: asyncio.Future[bytes | memoryview]
    ) -> bytes | memoryview:
        self._unsent = True
        self.transport.write(head)
        for start in range(0, len(body), PIECE_BYTES):
            if self._writable is not None:
                await self._writable
            if waiter.done():
                return await waiter  # a service may refuse a body that it has not read
            self.transport.write(body[start : start + PIECE_BYTES])
        self._unsent = False
        return await waiter

    def _begin_body(self) -> None:
        """Take the end of a head."""
        reading, parser = self._reading, self.parser
        if reading is None:
            return
        if not 200 <= parser.status < 300:
            reading.most = min(reading.most, MOST_ERROR_BYTES)
            self._timer = self._loop.call_later(self._error_seconds, self._end_error)
        if parser.length is not None:
            reading.check_size(parser.length)

    def _take(self, piece: bytes) -> None:
        """Take a piece of a body."""
        if self._reading is not None:
            if self._reading.add(piece):
                self._pause(self._reading)
        elif 200 <= self.parser.status < 300:
            raise BrokenReply  # in a tunnel, the service sends first

    def _pause(self, reading: BodyReader) -> None:
        if self._turn is None:
            self.transport.pause_reading()
            self._turn = self._loop.create_task(self._wait_for_turn(reading))

    async def _wait_for_turn(self, reading: BodyReader) -> None:
        await reading.wait_for_turn()
        self._turn = None
        if not self.closed:
            self.transport.resume_reading()

    def _begin_in_place(self) -> memoryview | None:
        reading, length = self._reading, self.parser.length
        if reading is None or length is None or length - reading.size < READ_BYTES:
            return None
        return reading.place(length)

    def _receive_in_place(self, size: int) -> None:
        reading = self._reading
        assert self._rest is not None
        assert reading is not None
        if reading.hold(size, reading.size):
            self._pause(reading)
        reading.size += size
        self._rest = self._rest[size:]
        if not self._rest:
            self._rest = None
            self.parser.skip_body()
            self._finish()

    def _note_end(self, error: Exception | None) -> None:
        self.closed = True
        self._error = error
        if self._waiter is None or self._waiter.done():
            return
        if error is None and self._rest is None and self.parser.end():
            self._finish()
        else:
            self._fail(ConnectionClosed(error, in_body=not self.parser.in_head))

    def _end_error(self) -> None:
        self._fail(UnusableBody(f"it does not end within {self._error_seconds:g} s"))

    def _fail(self, reason: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(reason)
        self.abort()

    def _finish(self) -> None:
        if self._unsent and 200 <= self.parser.status < 300:
            raise BrokenReply("it came before the request was sent")
        if self._waiter is not None:
            self._waiter.set_result(b"" if self._reading is None else self._reading.body())
        if self._turn is not None and not self.closed:
            self.transport.resume_reading()
        self._end_waits()

    def _end_waits(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
