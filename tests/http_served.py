"""Plain HTTP servers for tests that need another service than the simulator."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, TypeVar

S = TypeVar("S", bound=ThreadingHTTPServer)


class Handler(BaseHTTPRequestHandler):
    """Replies in whole, and writes no log."""

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(self, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def reply_json(self, status: int, answer: Any, headers: Mapping[str, str] | None = None) -> None:
        content = json.dumps(answer).encode()
        self.reply(status, content, {"Content-Type": "application/json", **(headers or {})})

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running(server: S) -> Iterator[S]:
    """Serve in a thread until the block ends."""
    with server:
        thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
