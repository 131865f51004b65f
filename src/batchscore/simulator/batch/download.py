"""How is a file sent: whole, from a byte on, compressed, or not to its end?

It must not know what is in it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from aiohttp import web

from batchscore.simulator.batch.faults import CallFault
from batchscore.simulator.batch.files import SimulatedFile

_PIECE = 2**18
_TYPE = "application/octet-stream"


async def send_file(
    request: web.Request, file: SimulatedFile, fault: CallFault | None, *, ranges: bool
) -> web.StreamResponse:
    """Send a file. `ranges` says whether a client may ask for a part of it."""
    headers = {
        "content-type": _TYPE,
        "content-disposition": f'attachment; filename="{file.id}"',
        "x-simulator": "batchscore",
    }
    cut_after = None if fault is None else fault.cut_after
    # As FileResponse writes it, which knows `If-Range` only with a date.
    tag = f'"{file.path.stat().st_mtime_ns:x}-{file.size:x}"'
    unchanged = request.headers.get("if-range") in {None, tag}
    if ranges and unchanged and cut_after is None and not (fault and fault.gzip):
        return web.FileResponse(file.path, chunk_size=_PIECE, headers=headers)
    if ranges:
        headers |= {"etag": tag, "accept-ranges": "bytes"}
    start = (request.http_range.start or 0) if ranges and unchanged else 0
    response = web.StreamResponse(status=206 if start else 200, headers=headers)
    if start:
        response.headers["content-range"] = f"bytes {start}-{file.size - 1}/{file.size}"
    pieces = _pieces(file, start)
    if cut_after is not None:
        assert fault is not None
        return await _cut(request, response, _first(pieces, cut_after), fault.cut, file.size - start)
    compress = fault is not None and fault.gzip
    if compress:
        response.headers["content-encoding"] = "gzip"
        pieces = _compressed(pieces)
    else:
        response.content_length = file.size - start
    await response.prepare(request)
    for piece in pieces:
        await response.write(piece)
    await response.write_eof()
    return response


async def _cut(
    request: web.Request, response: web.StreamResponse, pieces: Iterator[bytes], cut: str, length: int
) -> web.StreamResponse:
    """Send some bytes; then close the connection."""
    transport = request.transport
    assert transport is not None
    if cut == "close":
        lines = [f"HTTP/1.1 {response.status} Cut", "connection: close"]
        lines += [f"{name}: {value}" for name, value in response.headers.items()]
        transport.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        for piece in pieces:
            transport.write(piece)
        transport.close()
        return web.Response()  # never sent
    if cut == "length":
        response.content_length = length
    else:
        response.enable_chunked_encoding()
    await response.prepare(request)
    for piece in pieces:
        await response.write(piece)
    transport.close()
    return response


def _pieces(file: SimulatedFile, start: int) -> Iterator[bytes]:
    with file.path.open("rb") as source:
        source.seek(start)
        while piece := source.read(_PIECE):
            yield piece


def _first(pieces: Iterator[bytes], count: int) -> Iterator[bytes]:
    """Give the first `count` bytes."""
    for piece in pieces:
        if count <= 0:
            return
        yield piece[:count]
        count -= len(piece)


def _compressed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(1, wbits=31)
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()
