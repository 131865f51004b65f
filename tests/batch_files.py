"""Files of requests for tests of the Batch API, and what their results hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import openai

from batchscore.simulator import Running
from simulated import Project

PREFIXES = {"openai": "/v1", "azure_v1": "/openai/v1", "azure": "/openai"}
_direct = build_opener(ProxyHandler({}))


def chat_line(
    custom_id: str, text: str = "The parcel was late. I want a refund.", **changes: Any
) -> dict[str, Any]:
    body = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": text}],
        **changes.pop("body", {}),
    }
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body, **changes}


def as_file(lines: Iterable[Any], name: str = "in.jsonl") -> tuple[str, BytesIO, str]:
    """Return lines, each an object or bytes, as a file to upload."""
    raw = b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    return name, BytesIO(raw), "application/jsonl"


def submit(client: openai.OpenAI, lines: Iterable[Any], **settings: Any) -> Any:
    """Upload lines and create a batch of them."""
    file = client.files.create(file=as_file(lines), purpose="batch")
    given: dict[str, Any] = {"endpoint": "/v1/chat/completions", "completion_window": "24h", **settings}
    return client.batches.create(input_file_id=file.id, **given)


def results(client: openai.OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    """Return the lines of a result file."""
    if not file_id:
        return []
    raw = client.files.content(file_id).read()
    return [json.loads(line) for line in raw.split(b"\n") if line]


class Reply:
    """A reply of any status."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body)


class PlainClient:
    """A client that sends what it is given and shows what comes back, on one surface of the simulator."""

    def __init__(self, simulator: Running, project: Project, surface: str = "openai") -> None:
        self._url = simulator.endpoint + PREFIXES[surface]
        self._version = "?api-version=2024-10-21" if surface == "azure" else ""
        self._key = (
            {"authorization": f"Bearer {project.key}"} if surface == "openai" else {"api-key": project.key}
        )

    def send(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send bytes as they are and others as JSON. Headers with `authorization` replace the key."""
        given = {name.lower(): value for name, value in (headers or {}).items()}
        keys = {} if {"authorization", "api-key"} & given.keys() else self._key
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        joined = path + (self._version.replace("?", "&") if "?" in path else self._version)
        request = Request(
            self._url + joined, data, {"content-type": "application/json", **keys, **given}, method=method
        )
        try:
            with _direct.open(request, timeout=20) as reply:
                return Reply(reply.status, reply.headers, reply.read())
        except HTTPError as error:
            with error:
                return Reply(error.code, error.headers, error.read())

    def get(self, path: str, **headers: str) -> Reply:
        return self.send(
            "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )

    def post(self, path: str, body: Any = None) -> Reply:
        return self.send("POST", path, body)

    def upload(self, part: str = "Content-Type: application/jsonl\r\n", **fields: str) -> Reply:
        """Upload a line, with these headers of the file's part and these fields."""
        given = {"purpose": "batch", **fields}
        parts = [f'name="{name}"\r\n\r\n{value}' for name, value in given.items()]
        parts.append(f'name="file"; filename="in.jsonl"\r\n{part}\r\n{json.dumps(chat_line("a"))}\n')
        text = "".join(f"--edge\r\nContent-Disposition: form-data; {each}\r\n" for each in parts)
        form = {"content-type": "multipart/form-data; boundary=edge"}
        return self.send("POST", "/files", f"{text}--edge--\r\n".encode(), form)
