"""How is a reply sent, and how does a scripted fault lose or spoil it?

It must not know which reply is correct.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import uuid

import orjson
from aiohttp import web

from batchscore.simulator import error_replies
from batchscore.simulator.error_replies import ServiceReply, Surface
from batchscore.simulator.odd_replies import odd_reply, send_endless, send_lengths
from batchscore.simulator.script import Behaviour
from batchscore.simulator.state import retry_after_headers

#: Pieces of a response that is sent slowly.
_PIECES = 20


async def replace_reply(request: web.Request, behaviour: Behaviour, surface: Surface) -> web.StreamResponse:
    """Send a behaviour's error, or break the connection, instead of a reply."""
    if behaviour.status is not None:
        reply = _scripted_reply(behaviour, behaviour.status, surface)
        return await send_in_its_way(request, reply, behaviour)
    if behaviour.hang is not None:
        await asyncio.sleep(behaviour.hang)
    transport = request.transport
    if transport is not None and behaviour.hang is not None:
        transport.close()
    elif transport is not None:
        with contextlib.suppress(OSError, AttributeError):
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()  # never sent


def _scripted_reply(behaviour: Behaviour, status: int, surface: Surface) -> ServiceReply:
    """Return the reply that a behaviour defines."""
    headers = dict(behaviour.headers)
    if behaviour.retry_after is not None:
        headers = retry_after_headers(behaviour.retry_after) | headers
    if behaviour.text is not None:
        return ServiceReply(status, behaviour.text.encode(), {"content-type": "text/html", **headers})
    if behaviour.body is not None:
        return ServiceReply(status, orjson.dumps(behaviour.body), headers)
    if status < 400:
        return ServiceReply(status, b"", headers)
    error = error_replies.default_error(surface, status, code=behaviour.code, message=behaviour.message)
    return error._replace(headers=headers)


async def send_in_its_way(
    request: web.Request, reply: ServiceReply, behaviour: Behaviour
) -> web.StreamResponse:
    """Send a reply as a behaviour's gateway does."""
    if behaviour.way == "endless":
        return await send_endless(request, reply)
    if behaviour.way in {"two_lengths", "length_and_chunks"}:
        return send_lengths(request, reply, behaviour.way)
    return send_reply(odd_reply(reply, behaviour.way or ""))


async def send_badly(request: web.Request, reply: ServiceReply, behaviour: Behaviour) -> web.StreamResponse:
    """Announce the whole body in `content-length`; then send it slowly, or only a part of it."""
    response = web.StreamResponse(status=reply.status, headers=_headers(reply))
    length = response.content_length = len(reply.body)
    await response.prepare(request)
    if behaviour.drip is not None:
        step = max(1, -(-length // _PIECES))
        for start in range(0, length, step):
            await asyncio.sleep(behaviour.drip / _PIECES)
            await response.write(reply.body[start : start + step])
        await response.write_eof()
        return response
    share = behaviour.truncate or 0.0
    await response.write(reply.body[: max(1, int(length * share))] if share else b"")
    if request.transport is not None:
        request.transport.close()
    return response


def _headers(reply: ServiceReply) -> dict[str, str]:
    identifier = str(uuid.uuid4())
    return {
        **({"content-type": "application/json"} if reply.body else {}),
        "x-simulator": "batchscore",
        "x-request-id": identifier,
        "apim-request-id": identifier,
        "x-ms-region": "Simulator",
        **reply.headers,
    }


def send_reply(reply: ServiceReply) -> web.Response:
    """Return the response with a whole reply."""
    return web.Response(status=reply.status, body=reply.body, headers=_headers(reply))
