"""Which settings do the Python functions take as arguments, and how do their signatures show them?

The dictionaries are for type checkers; `show_settings` is for `help()`, notebooks and completion. Each key is
a setting of the same name in `fields`, with the same type unless a sequence is more convenient.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from inspect import Parameter, signature
from typing import Any, TypedDict, TypeVar

from batchscore.errors import UsageError
from batchscore.settings.fields import Settings
from batchscore.settings.near_names import REQUEST_PARAMETERS, near_name

Function = TypeVar("Function", bound=Callable[..., Any])


class StoredSettings(TypedDict, total=False):
    """Settings that a saved MLflow model stores, besides `task` and `model`."""

    deployment: str | None
    column: str | None
    prompt: str | None
    system: str | None
    messages: str | os.PathLike[str] | None
    text_field: str | None
    image: str | Sequence[str]
    image_detail: str
    drop_last_assistant: bool | None
    schema: type | str | os.PathLike[str] | Mapping[str, Any] | None
    schema_mode: str
    schema_feedback: bool
    param: Mapping[str, Any]
    dimensions: int | None
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    seed: int | None
    reasoning_effort: str | None
    stop: str | Sequence[str]
    rpm: float | None
    tpm: float | None
    quota_share: float
    batch_size: int
    max_concurrency: int
    timeout: float | None
    max_retries: int
    max_outage: float
    on_long_input: str
    dedup: bool


class RowSettings(StoredSettings, total=False):
    """Settings for rows in memory."""

    endpoint: str | None
    deployments: Sequence[Mapping[str, Any]]
    api_version: str | None
    auth: str | None
    api_key_from: str | None
    key_header: str | None
    header: Mapping[str, str]
    query: Mapping[str, str]
    client_cert: str | os.PathLike[str] | None
    client_key_file: str | os.PathLike[str] | None
    simulate: bool
    usage: bool
    raw: bool
    max_row_bytes: int


class FileSettings(RowSettings, total=False):
    """Settings for files: all but `task`, `model` and `output`."""

    txt: str
    encoding: str
    delimiter: str
    quote: str
    escape: str
    no_header: bool
    skip_lines: int | None
    records: str | None
    sheet: str | None
    stdin_format: str
    id: str | None
    keep: str | Sequence[str]
    format: str
    csv_bom: bool
    allow_formulas: bool
    rows_per_part: int
    overwrite: bool
    incremental: bool
    prune: bool
    retry_errors: bool
    shared_output: bool
    part_of: str | None
    scratch_dir: str | os.PathLike[str] | None
    base_dir: str | os.PathLike[str] | None
    follow_links: bool
    limit: int | None
    error_threshold: float
    max_errors: int | None
    max_total_tokens: int | None
    max_spend: float | None
    price_in: float | None
    price_out: float | None
    prices: str | os.PathLike[str] | Mapping[str, Any] | None
    deadline: str | None
    sync: bool
    track: bool | None
    via: str
    batch_tokens: int | None
    batch_rounds: int
    batch_price_factor: float
    batch_patience: str | None
    finish_live: bool
    live_deployment: str | None
    no_canary: bool
    no_wait: bool
    keep_batch_files: bool


def show_settings(kind: type) -> Callable[[Function], Function]:
    """Return a decorator that shows `**settings` in a function's signature as one parameter per setting."""
    declared = {one.name: one for one in fields(Settings)}
    return show_parameters(
        Parameter(
            name,
            Parameter.KEYWORD_ONLY,
            default={} if declared[name].default is MISSING else declared[name].default,
            annotation=declared[name].type,
        )
        for name in kind.__annotations__
    )


def show_parameters(parameters: Iterable[Parameter]) -> Callable[[Function], Function]:
    """Return a decorator that shows these parameters in a function's signature instead of `**keywords`."""
    shown = tuple(parameters)

    def decorate(function: Function) -> Function:
        own = signature(function)
        kept = [each for each in own.parameters.values() if each.kind is not Parameter.VAR_KEYWORD]
        function.__signature__ = own.replace(parameters=[*kept, *shown])  # type: ignore[attr-defined]
        return function

    return decorate


def check_names(given: Collection[str], known: Collection[str]) -> None:
    """Raise `UsageError` for an argument that is not one of the known settings."""
    for name in given:
        if name not in known:
            near = near_name(name, known)
            hint = f"did you mean {near}?" if near else f"the settings are {', '.join(sorted(known))}."
            if name in REQUEST_PARAMETERS and "param" in known and not near:
                hint = f"a parameter of the model is set by param={{{name!r}: VALUE}}."
            raise UsageError(f"{name} is not a setting of this function; {hint}")
