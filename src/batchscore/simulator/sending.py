"""How is a response sent, or a connection broken?

It must not know the content: it receives a response and bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

from aiohttp import web

_PIECES = 20


def reset_connection(request: web.Request) -> web.StreamResponse:
    """Reset the connection. The returned response is never sent."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()


def close_connection(request: web.Request) -> web.StreamResponse:
    """Close the connection without a response."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()


async def send_part(
    request: web.Request, response: web.StreamResponse, body: bytes, share: float
) -> web.StreamResponse:
    """Announce the whole body in `content-length`, send a part of it, and close the connection."""
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: max(1, int(len(body) * share))] if share else b"")
    if request.transport is not None:
        request.transport.close()
    return response


async def send_slowly(
    request: web.Request, response: web.StreamResponse, body: bytes, seconds: float
) -> web.StreamResponse:
    """Send the body in pieces, spread over this many seconds."""
    response.content_length = len(body)
    await response.prepare(request)
    step = max(1, -(-len(body) // _PIECES))
    for start in range(0, len(body), step):
        await asyncio.sleep(seconds / _PIECES)
        await response.write(body[start : start + step])
    await response.write_eof()
    return response
