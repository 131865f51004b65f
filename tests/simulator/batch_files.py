"""Files of requests for tests of the Batch API, and what their results hold."""

from __future__ import annotations

import json
from collections.abc import Iterable
from io import BytesIO
from typing import Any

import openai


def chat_line(custom_id: str, text: str = "The parcel was late. I want a refund.", **changes: Any) -> dict[str, Any]:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **changes.pop("body", {})}
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
