"""How much may a service send before the body of its reply? The status and the headers, and interim replies.

It knows bytes and messages, not what they mean. aiohttp bounds each header and their number, but not their
sum, and skips interim replies one by one without an end.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError

#: A reply has a few headers of a few words, but policies and cookies of gateways are long.
MOST_HEADERS = 1000
MOST_HEADER_BYTES = 2**15

#: All that comes before a body, and all headers together: several hundred connections may hold as much each.
MOST_HEAD_BYTES = 2**17

#: A reply may follow a few interim ones (100, 103).
MOST_INTERIM = 100


class BoundedHandler(ResponseHandler):
    """One connection, which is closed if a reply does not begin within bounds."""

    # Until a request is sent, aiohttp judges what arrives.
    _head_bytes = 0
    _interim = 0
    _in_head = False

    def set_response_params(self, **params: Any) -> None:
        """Begin to read a reply."""
        self._head_bytes = self._interim = 0
        self._in_head = True
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Read bytes; before the body they count."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MOST_HEAD_BYTES:
            self._refuse("Too large head")

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Take the head of a reply, which may be an interim one."""
        message = data[0]
        self._in_head = message.code in range(100, 200) and message.code != 101
        self._interim += self._in_head
        if self._interim > MOST_INTERIM:
            self._refuse("Too many interim replies")
        elif self._head_bytes > MOST_HEAD_BYTES and _size_of_headers(message) > MOST_HEAD_BYTES:
            # Nearly always less was received altogether, so the headers need not be added up.
            self._refuse("Too large head")
        else:
            super().feed_data(data, size)

    def _refuse(self, message: str) -> None:
        self._in_head = False
        if self.transport is not None:
            self.transport.close()
        self.set_exception(HttpProcessingError(message=message))


def _size_of_headers(message: Any) -> int:
    return sum([len(name) + len(value) for name, value in message.raw_headers])


class BoundedConnector(aiohttp.TCPConnector):
    """Makes connections that bound how a reply begins; aiohttp has no setting for it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = partial(BoundedHandler, loop=self._loop)  # type: ignore[assignment]
