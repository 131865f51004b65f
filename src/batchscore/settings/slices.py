"""Which settings does each stage need? The doors cut `Settings`; a stage takes only its slice.

The values of a slice are checked already. Its fields have the names of settings or of properties of
`Settings`; only `task` becomes a `Task`. Nothing compares or shows a slice, and methods for that would take a
third of the time to load this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from batchscore.settings.fields import Settings
from batchscore.settings.prices import Live
from batchscore.task import TASKS, Task

Slice = TypeVar("Slice")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class GatewaySettings:
    """What the gateway before a service wants of each request and connection."""

    key_header: str | None
    header: Mapping[str, str]
    query: Mapping[str, str]
    client_cert: str | None
    client_key_file: str | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class EndpointSettings(GatewaySettings):
    """Which service is called, and how to sign in. Limits are requests and tokens a minute."""

    task: Task
    model: str
    endpoint: str | None
    deployment: str | None
    api_version: str | None
    auth: str | None
    api_key_from: str | None
    simulate: bool
    rpm: float | None
    tpm: float | None
    deployments: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class SchemaSettings:
    """Which form each answer must have, and how the schema is sent."""

    schema: Mapping[str, Any] | None
    schema_mode: str
    schema_feedback: bool


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class PromptSettings(SchemaSettings):
    """What each row sends, and which of its columns go into records."""

    task: Task
    column: str | None
    prompt: str | None
    system: str | None
    messages: str | None
    text_field: str | None
    id: str | None
    keep: tuple[str, ...]
    drop_last_assistant: bool | None
    image: tuple[str, ...]
    image_detail: str
    model: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class RequestSettings(SchemaSettings):
    """How requests are built, paced and retried. Times are seconds."""

    task: Task
    api_params: Mapping[str, Any]
    max_tokens: int | None
    answers_per_row: int
    answer_tokens: float | None
    batch_size: int
    max_concurrency: int
    quota_share: float
    timeout: float | None
    max_retries: int
    max_outage: float
    on_long_input: str
    dedup: bool
    usage: bool
    raw: bool


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class BatchSettings(RequestSettings):
    """What rows are sent as through the Batch API, and how many at once."""

    via: str
    simulate: bool
    max_spend: float | None
    cost: Callable[[int, int, Live], float | None]
    batch_tokens: int | None
    batch_rounds: int
    batch_patience: str | None
    finish_live: bool
    live_deployment: str | None
    no_canary: bool
    no_wait: bool
    keep_batch_files: bool


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class OutputSettings:
    """Where scores go, in which form, and what may happen to earlier ones."""

    task: Task
    output: str
    format: str
    csv_bom: bool
    allow_formulas: bool
    rows_per_part: int
    overwrite: bool
    incremental: bool
    limit: int | None
    retry_errors: bool
    shared_output: bool
    part_of: str | None
    sync: bool
    scratch_dir: str | None
    base_dir: str | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class RecordSettings(PromptSettings):
    """What determines a record; only runs that agree in all of it can share an output, hence many fields."""

    deployment: str | None
    api_params: Mapping[str, Any]
    on_long_input: str
    txt: str
    reading: Mapping[str, Any]
    usage: bool
    raw: bool
    format: str
    rows_per_part: int
    simulate: bool


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class StopSettings:
    """What ends a run before its work is done; `cost` is that of prompt and answer tokens by the prices."""

    task: Task
    max_errors: int | None
    max_total_tokens: int | None
    max_spend: float | None
    deadline: str | None
    cost: Callable[[int, int, Live], float | None]


def cut(kind: type[Slice], settings: Settings) -> Slice:
    """Return the slice of this kind."""
    values = {each.name: getattr(settings, each.name) for each in fields(kind)}  # type: ignore[arg-type]
    return kind(**values | {"task": TASKS[settings.task]})
