"""How does a correct reply travel through odd gateways, and what does a hostile one send?

It must not know requests nor models. Official clients read all of these replies, except those of gigabytes.
"""

from __future__ import annotations

import asyncio
import gzip
import re

from aiohttp import web

from batchscore.simulator.error_replies import ServiceReply

_BLANKS = b" " * 2**24
_TEXT = re.compile(rb'"(content|text)":"')


def odd_reply(reply: ServiceReply, way: str) -> ServiceReply:
    """Return a reply as it is sent in one of the ways of `script.REPLY_WAYS` that keep to HTTP."""
    body, headers = reply.body, dict(reply.headers)
    if way in {"gzip", "gzip_twice"}:
        headers["content-encoding"] = "gzip"
        body = gzip.compress(gzip.compress(body) if way == "gzip_twice" else body)
    elif way == "gzip_bomb":
        headers["content-encoding"] = "gzip"
        body = gzip.compress(_BLANKS) * 128
    elif way == "bom":
        body = b"\xef\xbb\xbf" + body
    elif way == "utf_16":
        body = body.decode().encode("utf-16")
    elif way == "half_emoji":
        body = _TEXT.sub(rb'"\1":"\\ud83d', body)
    elif way == "large_header":
        headers["content-security-policy"] = "default-src 'self'; " * 500
    elif way == "many_headers":
        headers |= {f"x-gateway-{number}": "yes" for number in range(200)}
    return reply._replace(body=body, headers=headers)


async def send_endless(request: web.Request, reply: ServiceReply) -> web.StreamResponse:
    """Send blanks until the client closes the connection."""
    response = web.StreamResponse(status=reply.status)
    await response.prepare(request)
    while True:
        await response.write(_BLANKS[: 2**18])
        await asyncio.sleep(0)


def send_lengths(request: web.Request, reply: ServiceReply, way: str) -> web.StreamResponse:
    """Announce the body's length twice, or send it in chunks, too; then close the connection."""
    length, body = f"Content-Length: {len(reply.body)}\r\n", reply.body
    second = length
    if way == "length_and_chunks":
        second, body = "Transfer-Encoding: chunked\r\n", b"%X\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    if request.transport is not None:
        head = f"HTTP/1.1 {reply.status} Odd\r\nContent-Type: application/json\r\n{length}{second}\r\n"
        request.transport.write(head.encode() + body)
        request.transport.close()
    return web.Response()  # never sent
