"""How does an answer go out, or fail to?

It must not know what is in it: status, headers and bytes are given.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Mapping

from aiohttp import web

_DRIPS = 20


def reset(request: web.Request) -> web.StreamResponse:
    """End the connection at once, so that the caller sees a reset; the response given goes nowhere."""
    transport = request.transport
    if transport is not None:
        link = transport.get_extra_info("socket")
        if link is not None:
            with contextlib.suppress(OSError):
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()


def close(request: web.Request) -> web.StreamResponse:
    """End the connection without an answer."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()


async def truncated(
    request: web.Request, status: int, headers: Mapping[str, str], body: bytes, share: float
) -> web.StreamResponse:
    """Promise the whole body by `content-length`, send a part of it, and close."""
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: max(1, int(len(body) * share))] if share else b"")
    if request.transport is not None:
        request.transport.close()
    return response


async def dripped(
    request: web.Request, status: int, headers: Mapping[str, str], body: bytes, seconds: float
) -> web.StreamResponse:
    """Send the body in pieces, spread over so many seconds."""
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = len(body)
    await response.prepare(request)
    step = max(1, -(-len(body) // _DRIPS))
    for start in range(0, len(body), step):
        await asyncio.sleep(seconds / _DRIPS)
        await response.write(body[start : start + step])
    await response.write_eof()
    return response
