"""Training files, jobs, and calls of Azure's management, for tests of fine-tuning."""

from __future__ import annotations

import io
import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import openai

from batch_files import Reply
from batchscore.simulator import Running
from simulated import ACCOUNT_ID, Project

_direct = build_opener(ProxyHandler({}))
AZURE = {"trainingType": "GlobalStandard"}
MODEL = "gpt-4.1-mini-2025-04-14"


def example(number: int, **more: Any) -> dict[str, Any]:
    """Return a chat example: parcels are late, and bills are wrong."""
    label = "delivery" if number % 2 else "billing"
    text = f"My parcel number {number} is late." if number % 2 else f"The bill number {number} is wrong."
    return {
        "messages": [
            {"role": "system", "content": "Name the topic."},
            {"role": "user", "content": text},
            {"role": "assistant", "content": label},
        ],
        **more,
    }


def training_file(count: int = 40, *others: Any) -> tuple[str, io.BytesIO, str]:
    lines = [*map(example, range(count)), *others]
    raw = b"".join(one if isinstance(one, bytes) else json.dumps(one).encode() + b"\n" for one in lines)
    return "train.jsonl", io.BytesIO(raw), "application/jsonl"


def is_azure(client: openai.OpenAI) -> bool:
    return "/openai/" in str(client.base_url)


def upload(client: openai.OpenAI, count: int = 40, *others: Any) -> str:
    return client.files.create(file=training_file(count, *others), purpose="fine-tune").id


def create(client: openai.OpenAI, file: str | None = None, **given: Any) -> Any:
    """Create a job, as each service wants it."""
    given = {"model": MODEL, "training_file": file or upload(client), **given}
    if is_azure(client) and "extra_body" not in given:
        given["extra_body"] = AZURE
    return client.fine_tuning.jobs.create(**given)


def end(project: Project, client: openai.OpenAI, job: Any) -> Any:
    project.advance(100)
    return client.fine_tuning.jobs.retrieve(job.id)


class Management:
    """Calls of Azure's management."""

    def __init__(self, simulator: Running, project: Project) -> None:
        self._endpoint = simulator.endpoint
        self._token = project.arm_token

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """Send a call below the account, or at a path that begins with /subscriptions."""
        path = path if path.startswith(("/subscriptions", "http")) else ACCOUNT_ID + path
        version = "" if "api-version" in path else f"{'&' if '?' in path else '?'}api-version=2024-10-01"
        url = path if path.startswith("http") else self._endpoint + path
        given = {"authorization": f"Bearer {self._token}", "content-type": "application/json", **headers}
        data = None if body is None else json.dumps(body).encode()
        try:
            with _direct.open(Request(url + version, data, given, method=method), timeout=20) as reply:
                return Reply(reply.status, reply.headers, reply.read())
        except HTTPError as error:
            with error:
                return Reply(error.code, error.headers, error.read())

    def put(self, name: str, model: str, sku: str = "Standard", capacity: int = 50, **more: Any) -> Reply:
        return self.send(
            "PUT",
            f"/deployments/{name}",
            {
                "sku": {"name": sku, "capacity": capacity},
                "properties": {"model": {"format": "OpenAI", "name": model, "version": "1"}},
                **more,
            },
        )

    def state(self, name: str) -> str:
        reply = self.send("GET", f"/deployments/{name}")
        return reply.json()["properties"]["provisioningState"] if reply.status == 200 else str(reply.status)
