"""What does a service's Batch API take? One table; a new service is a row of it.

Limits and names are the services' own (their pages on batch, seen 2026-11), with some room.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from batchscore.endpoint.target import Target
from batchscore.task import Task

#: Whether MB is 10**6 or 2**20 is not stated for the limit of 200 MB.
MOST_BYTES = 190 * 10**6

#: A day, in seconds.
DAY = 86400


@dataclass(frozen=True, slots=True)
class Traits:
    """What one kind of service takes.

    `tasks` are the names of tasks, empty for all. `line_path` is put before a task's path in each line, and
    `endpoint_path` in the request that makes a batch. `most_inputs` counts the texts of embeddings.
    `expiry_seconds` are the shortest and the longest life of a file that may be asked for. `expires`: a batch
    ends by itself after its window. `takes_metadata`: a batch keeps texts of ours.
    `takes_live`: what takes batches answers live requests, too.
    """

    name: str
    tasks: Collection[str] = ()
    line_path: str = "/v1"
    endpoint_path: str = "/v1"
    purpose: str = "batch"
    window: str = "24h"
    most_lines: int = 50_000
    most_bytes: int = MOST_BYTES
    most_inputs: int = 50_000
    expiry_seconds: tuple[int, int] | None = (3600, 30 * DAY)
    expires: bool = True
    takes_metadata: bool = True
    takes_live: bool = True

    def takes(self, task: Task) -> bool:
        """Whether rows of this task can be sent."""
        return not self.tasks or task.name in self.tasks


OPENAI = Traits("OpenAI")
AZURE_V1 = Traits(
    "Azure OpenAI",
    tasks=("chat", "responses"),
    endpoint_path="",
    expiry_seconds=(14 * DAY, 30 * DAY),
    expires=False,
    takes_live=False,
)
AZURE_DATED = replace(AZURE_V1, tasks=("chat",), line_path="")

#: Services that copy OpenAI's shape may not know of expiry.
COMPATIBLE = replace(OPENAI, name="this service", expiry_seconds=None)


TRAITS = {"openai": OPENAI, "compatible": COMPATIBLE, "azure-v1": AZURE_V1, "azure-dated": AZURE_DATED}


def service_of(target: Target) -> str:
    """Return the kind of service that a target belongs to, a name of `TRAITS`."""
    if target.surface == "azure-v1":
        return "azure-v1"
    if target.surface == "azure-deployments":
        return "azure-dated"
    host = urlsplit(target.url).hostname or ""
    return "openai" if host == "api.openai.com" or host.endswith(".api.openai.com") else "compatible"


def traits_of(target: Target) -> Traits:
    """Return what the service of a target takes."""
    return TRAITS[service_of(target)]
