"""How much may a reply of the control plane take: in bytes, and in seconds until its end?

A broken or hostile service may send a body without an end, or a few bytes that decompress to gigabytes. The
content of a file is written to disk as it comes, so only its memory is bounded here. The SDK's HTTP library,
which has another name in each of its versions, is not imported.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from math import inf
from typing import Any

#: The largest reply that is not a file: thousands of objects in a list.
MOST_BYTES = 32 * 2**20

#: The largest one that is compressed, though it was asked for as it is, and in a way that makes a thousand
#: bytes of one at most.
MOST_COMPRESSED_BYTES = 2**15
COMPRESSIONS = frozenset({"gzip", "deflate"})

#: Ways in which a few bytes make any number of them. Any other word, such as a charset, is ignored, as by the
#: library.
UNBOUNDED_COMPRESSIONS = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz"})


class UnboundedReply(ValueError):  # noqa: N818 - what is wrong with it
    """A reply is larger than any that could be needed, or does not end in time."""


class Bounded:
    """A body that ends with an error after a number of bytes, or at a moment of the monotonic clock."""

    def __init__(self, body: Any, most_bytes: float, until: float) -> None:
        self.body = body
        self.most_bytes = most_bytes
        self.until = until

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they come."""
        size = 0
        async for chunk in self.body:
            size += len(chunk)
            if size > self.most_bytes:
                raise UnboundedReply("the reply is too large")
            if time.monotonic() > self.until:
                raise UnboundedReply("the reply did not end in time")
            yield chunk

    async def aclose(self) -> None:
        """Close the connection, or give it back after the body's end."""
        await self.body.aclose()


def bound_reply(reply: Any, seconds: float) -> None:
    """Let the body of a reply end with an error if it is too large, or has no end after these seconds."""
    named = reply.headers.get("content-encoding", "").lower().split(",")
    layers = [name.strip() for name in named if name.strip() in COMPRESSIONS | UNBOUNDED_COMPRESSIONS]
    most, until = MOST_COMPRESSED_BYTES if layers else MOST_BYTES, time.monotonic() + seconds
    is_file = reply.is_success and reply.request.url.path.endswith("/content")
    limits = (inf, inf) if is_file else (most, until)
    if len(layers) > 1 or not COMPRESSIONS.issuperset(layers):
        limits = 0, until
    # The library looks whether the body is one of its own.
    kind = type("BoundedBody", (Bounded, type(reply.stream)), {})
    reply.stream = kind(reply.stream, *limits)
