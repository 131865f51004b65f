"""Where does a reply begin and end in the bytes of a connection, and what does its head say?

It knows HTTP/1.1, as llhttp reads it, and how much a service may send before the body of its reply: the
status, the headers, and interim replies. It knows neither sockets nor what a body means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NoReturn

import httptools

#: A reply has a few headers of a few words, but policies and cookies of gateways are long.
MOST_HEADERS = 1000
MOST_HEADER_BYTES = 2**15

#: All that comes before a body, and all headers together: several hundred connections may hold as much each.
MOST_HEAD_BYTES = 2**17

#: A reply may follow a few interim ones (100, 103).
MOST_INTERIM = 100

#: What most clients read, though it is not quite HTTP.
_LENIENT = dict.fromkeys(
    (
        "lenient_headers",
        "lenient_optional_cr_before_lf",
        "lenient_spaces_after_chunk_size",
        "lenient_chunked_length",  # beside chunks, a length does not count
    ),
    True,
)

#: Headers of which several are one list.
_LISTS = (b"transfer-encoding", b"content-encoding")

#: How llhttp's message about a reply begins, and what we say; the rest of it may quote the service.
_BROKEN = {
    "Invalid character in Content-Length": "its Content-Length is not a number",
    "Duplicate Content-Length": "it has two Content-Length headers",
    "Expected HTTP/": "it is not HTTP/1.1",
    "Invalid HTTP version": "it is not HTTP/1.1",
    "Invalid status code": "it is not HTTP/1.1",
    "Invalid response status": "it is not HTTP/1.1",
}


class BrokenReply(Exception):  # noqa: N818 - a reason to retry, not an error of the run
    """A reply that is not HTTP, or begins beyond all bounds; the message says why, and quotes nothing."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(": ".join(filter(None, ("the reply breaks HTTP", reason))))


class HeaderNames:
    """The header names of a reply in their order, and the place of each by its name in small letters.

    Nearly all replies of a service have the same names, so they are put into small letters once. Of several
    headers with one name, the place is that of the first.
    """

    __slots__ = ("names", "places")

    def __init__(self, names: Sequence[bytes]) -> None:
        self.names = [*names]
        self.places: dict[bytes, int] = {}
        for place, name in enumerate(names):
            self.places.setdefault(name.lower(), place)

    def join_lists(self, values: list[bytes]) -> None:
        """Put several headers that are one list together, at the place of the first."""
        for listed in _LISTS:
            if listed in self.places:
                pairs = zip(self.names, values, strict=True)
                of_list = [value.rstrip() for name, value in pairs if name.lower() == listed]
                values[self.places[listed]] = b", ".join(of_list)


class Headers(Mapping[str, str]):
    """The headers of a reply; names ignore case, and the first of several with one name counts.

    They are decoded when they are read: most never are.
    """

    __slots__ = ("_places", "_values")

    def __init__(self, names: HeaderNames, values: Sequence[bytes]) -> None:
        self._places = names.places
        self._values = values

    def __getitem__(self, name: str) -> str:
        value = self._values[self._places[name.lower().encode()]]
        return value.rstrip().decode("utf-8", "surrogateescape")

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower().encode() in self._places

    def __iter__(self) -> Iterator[str]:
        return (name.decode("utf-8", "surrogateescape") for name in self._places)

    def __len__(self) -> int:
        return len(self._places)

    def raw(self, name: bytes) -> bytes | None:
        """Return the value of a header, whose name is in small letters, as it was sent."""
        place = self._places.get(name)
        return None if place is None else self._values[place]


NO_NAMES = HeaderNames(())
NO_HEADERS = Headers(NO_NAMES, ())


class ReplyParser:
    """Reads the replies of one connection, one at a time.

    `take_head` is called after the head, `take` gets the pieces of the body; both may raise. After the head:
    `status`, `headers`, `length` (if the head gives it), and whether the service keeps the connection
    (`keep_alive`). `trailing`: bytes follow the reply, which belong to no request.
    """

    __slots__ = (
        *(
            "take_head",
            "take",
            "on_header",
            "status",
            "headers",
            "length",
            "keep_alive",
            "in_head",
            "complete",
            "trailing",
        ),
        *("_parser", "_failure", "_received", "_names", "_values", "_known"),
        *("_counted", "_count", "_size", "_interim", "_until_closed"),
    )

    def __init__(self, take_head: Callable[[], None], take: Callable[[bytes], None]) -> None:
        self.take_head = take_head
        self.take = take
        self._parser: httptools.HttpResponseParser | None = None
        self._names: list[bytes] = []
        self._values: list[bytes] = []
        self._known = NO_NAMES
        add_name, add_value = self._names.append, self._values.append

        def on_header(name: bytes, value: bytes) -> None:
            add_name(name)
            add_value(value)

        self.on_header = on_header  # httptools calls it for each header, which may also follow a body
        self.begin()

    def begin(self) -> None:
        """Begin to read a reply."""
        self.status = 0
        self.headers = NO_HEADERS
        self.length: int | None = None
        self.in_head = True
        self.keep_alive = self.complete = self.trailing = self._until_closed = False
        self._failure: Exception | None = None
        self._names.clear()
        self._values.clear()
        self._received = self._counted = self._count = self._size = self._interim = 0

    def feed(self, data: bytes | memoryview) -> None:
        """Read received bytes; raises `BrokenReply`, and what `take` raises."""
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpResponseParser(self)
            parser.set_dangerous_leniencies(**_LENIENT)
        self._received += len(data)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.trailing = True  # another protocol, which nobody requested
        except httptools.HttpParserError as error:
            if not self.complete:
                if self._failure is not None:
                    failure, self._failure = self._failure, None
                    raise failure from None
                message = str(error)
                reasons = [text for start, text in _BROKEN.items() if message.startswith(start)]
                raise BrokenReply(*reasons) from None
            self.trailing = True
        if not self.in_head and len(self._names) > self._counted:  # a trailer says nothing about the body
            before, self._counted = self._counted, len(self._names)
            self._count += self._counted - before
            self._refuse_large(self._names[before:], self._values[before:])
        if self._received > MOST_HEAD_BYTES and not self.complete:
            raise BrokenReply(f"its headers are larger than {MOST_HEAD_BYTES // 2**10} kB together")

    def skip_body(self) -> None:
        """Note that the rest of the body was received without `feed`."""
        self._parser = None
        self.complete = True

    def end(self) -> bool:
        """Note that the service sends no more; return whether the reply is complete."""
        self.complete = self.complete or self._until_closed
        return self.complete

    def on_message_begin(self) -> None:
        """Take the first byte of a reply, or of what follows a complete one (for httptools)."""
        if self.complete:
            self.trailing = True
            self._fail(BrokenReply())

    def on_headers_complete(self) -> None:
        """Take the end of a head (for httptools)."""
        parser, names, values = self._parser, self._names, self._values
        assert parser is not None
        self.status = status = parser.get_status_code()
        self._counted = len(names)
        self._count += self._counted
        if self._count > MOST_HEADERS or self._received > MOST_HEADER_BYTES:
            self._refuse_large(names, values)  # else all that was received is smaller than one header may be
        if 100 <= status < 200 and status != 101:
            self._interim += 1
            if self._interim > MOST_INTERIM:
                self._fail(BrokenReply(f"more than {MOST_INTERIM} interim replies come before it"))
            names.clear()
            values.clear()
            self._counted = 0
            return
        self.in_head = False
        if names != self._known.names:
            self._known = HeaderNames(names)
        places = self._known.places
        if len(places) < len(values):
            self._known.join_lists(values)
        self.headers = Headers(self._known, values[:])
        self.keep_alive = status >= 200 and parser.should_keep_alive()
        length = values[places[b"content-length"]] if b"content-length" in places else None
        if b"transfer-encoding" in places:
            last = values[places[b"transfer-encoding"]].lower().rpartition(b",")[2]
            self._until_closed = last.strip() != b"chunked"
            if length is not None:
                # The service and a proxy before it may not agree on the end.
                self.keep_alive = False
                if self._until_closed:
                    self._fail(BrokenReply("it has both Content-Length and Transfer-Encoding"))
        elif length is not None:
            self.length = int(length)
        else:
            self._until_closed = True
        try:
            self.take_head()
        except Exception as reason:
            self._fail(reason)

    def _refuse_large(self, names: list[bytes], values: list[bytes]) -> None:
        if self._count > MOST_HEADERS:
            self._fail(BrokenReply(f"it has more than {MOST_HEADERS:,} headers"))
        sizes = [len(name) + len(value) for name, value in zip(names, values, strict=True)]
        self._size += sum(sizes)
        if max(sizes, default=0) > MOST_HEADER_BYTES:
            self._fail(BrokenReply(f"one of its headers is larger than {MOST_HEADER_BYTES // 2**10} kB"))
        if self._size > MOST_HEAD_BYTES:
            self._fail(BrokenReply(f"its headers are larger than {MOST_HEAD_BYTES // 2**10} kB together"))

    def on_body(self, piece: bytes) -> None:
        """Take a piece of the body (for httptools)."""
        self._received = 0  # from here on it counts what is between two pieces, or after the last
        try:
            self.take(piece)
        except Exception as reason:
            self._fail(reason)

    def on_message_complete(self) -> None:
        """Take the end of a reply, which may be an interim one (for httptools)."""
        assert self._parser is not None
        self.complete = not self.in_head
        # A trailer may say that the service closes the connection.
        self.keep_alive = self.keep_alive and self._parser.should_keep_alive()

    def _fail(self, reason: Exception) -> NoReturn:
        # httptools gives its own error for any that is raised while it reads.
        self._failure = reason
        raise reason
