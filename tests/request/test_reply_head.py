"""Does each reply of a connection get its own headers, however those of the last one looked?"""

from __future__ import annotations

import pytest

from batchscore.request.reply_head import MOST_HEADERS, BrokenReply, ReplyParser


def reader() -> tuple[ReplyParser, list[bytes]]:
    body: list[bytes] = []
    return ReplyParser(lambda: None, body.append), body


def read(parser: ReplyParser, headers: bytes) -> dict[str, str]:
    parser.begin()
    parser.feed(b"HTTP/1.1 200 OK\r\n" + headers + b"Content-Length: 2\r\n\r\n{}")
    assert parser.complete
    return dict(parser.headers)


def test_each_reply_has_its_own_headers() -> None:
    parser, _ = reader()
    first = read(parser, b"X-Request-Id: a\r\nRetry-After: 1\r\n")
    kept = parser.headers
    # The same names, another order, other letters, a name twice, and fewer of them.
    assert read(parser, b"X-Request-Id: b\r\nRetry-After: 2\r\n") == first | {
        "x-request-id": "b",
        "retry-after": "2",
    }
    assert read(parser, b"Retry-After: 3\r\nX-Request-Id: c\r\n")["x-request-id"] == "c"
    assert read(parser, b"retry-after: 4\r\nx-request-id: d\r\n")["x-request-id"] == "d"
    assert read(parser, b"x-request-id: e\r\nX-Request-Id: f\r\n")["x-request-id"] == "e"
    assert read(parser, b"") == {"content-length": "2"}
    assert kept["X-REQUEST-ID"] == "a"


def test_the_headers_of_a_list_are_joined_in_each_reply() -> None:
    parser, _ = reader()
    for first in ("gzip", "deflate"):
        lines = f"Content-Encoding: {first}\r\nA: 1\r\ncontent-encoding: br\r\n".encode()
        assert read(parser, lines)["content-encoding"] == f"{first}, br"


def test_trailers_say_nothing_of_the_body_and_are_counted() -> None:
    parser, body = reader()
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    parser.feed(start + b"Content-Length: 7\r\n\r\n")
    assert (parser.complete, body, dict(parser.headers)) == (True, [b"{}"], {"transfer-encoding": "chunked"})
    parser.begin()
    with pytest.raises(BrokenReply, match="more than 1,000 headers"):
        parser.feed(start + b"A: 1\r\n" * MOST_HEADERS + b"\r\n")


def test_interim_replies_give_no_headers() -> None:
    parser, _ = reader()
    parser.feed(
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 0\r\n\r\n"
    )
    assert (parser.status, dict(parser.headers)) == (200, {"a": "1", "content-length": "0"})
