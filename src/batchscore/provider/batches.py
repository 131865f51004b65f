"""What is a batch at a service, and how is one made, looked at, found and cancelled?

It reads the forms of a batch that services are known to send: states in capitals, times as text, empty texts
for null, errors as a list or one object (OpenAI's API reference and Microsoft's how-to pages, seen 2026-11).
An unknown state counts as running.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import openai

from batchscore.provider.client import ControlPlane, NotThere, plain

#: States after which nothing more happens, in lower case.
COMPLETED, FAILED, EXPIRED, CANCELLED = "completed", "failed", "expired", "cancelled"
ENDED = frozenset({COMPLETED, FAILED, EXPIRED, CANCELLED})
OTHER_NAMES = {"canceled": CANCELLED, "error": FAILED}

#: Batches that a service gives in one page of its list.
PAGE = 100


@dataclass(frozen=True, slots=True)
class FileProblem:
    """Why a service refuses a file of requests; `line` counts from 1; `None`: the whole file."""

    code: str
    line: int | None
    param: str


@dataclass(frozen=True, slots=True)
class BatchState:
    """A batch as its service describes it. Times are seconds since the epoch, `None` if it gives none.

    The counts are for people only: rows are reconciled one by one.
    """

    id: str
    status: str
    input_file: str
    output_file: str
    error_file: str
    created: float | None
    expires: float | None
    total: int
    completed: int
    failed: int
    problems: tuple[FileProblem, ...]
    metadata: Mapping[str, str]
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def ended(self) -> bool:
        """Whether nothing more happens."""
        return self.status in ENDED

    @property
    def files(self) -> tuple[str, ...]:
        """The files of results that there are."""
        return tuple([each for each in (self.output_file, self.error_file) if each])


def batch_state(found: Any) -> BatchState:
    """Return the state that a batch's object describes."""
    given: Mapping[str, Any] = found.to_dict(mode="python") if hasattr(found, "to_dict") else found
    status = text_of(given.get("status")).lower()
    counts, usage = mapping(given.get("request_counts")), mapping(given.get("usage"))
    return BatchState(
        id=text_of(given.get("id")),
        status=OTHER_NAMES.get(status, status),
        input_file=text_of(given.get("input_file_id")),
        output_file=text_of(given.get("output_file_id")),
        error_file=text_of(given.get("error_file_id")),
        created=moment(given.get("created_at")),
        expires=moment(given.get("expires_at")),
        total=whole(counts.get("total")),
        completed=whole(counts.get("completed")),
        failed=whole(counts.get("failed")),
        problems=tuple(problems_of(given.get("errors"))),
        metadata={str(name): text_of(value) for name, value in mapping(given.get("metadata")).items()},
        prompt_tokens=whole(usage.get("input_tokens")),
        completion_tokens=whole(usage.get("output_tokens")),
    )


def problems_of(errors: Any) -> list[FileProblem]:
    """Return the refusals of a file: a list, an object that holds one, or a single one."""
    held = errors.get("data", [errors]) if isinstance(errors, dict) else errors
    several = held if isinstance(held, list) else [held]
    return [
        FileProblem(plain(each.get("code")), line_of(each.get("line")), plain(each.get("param")))
        for each in several
        if isinstance(each, dict)
    ]


def line_of(value: Any) -> int | None:
    """Return the number of a line, which one specification types as text."""
    return int(value) if str(value).isdecimal() else None


def text_of(value: Any) -> str:
    """Return a text, "" for null and everything else."""
    return value if isinstance(value, str) else ""


def mapping(value: Any) -> Mapping[str, Any]:
    """Return an object, an empty one for null and everything else."""
    return value if isinstance(value, dict) else {}


def whole(value: Any) -> int:
    """Return a count, 0 for null and everything else."""
    return value if isinstance(value, int) and value > 0 else 0


def moment(value: Any) -> float | None:
    """Return seconds since the epoch from a number or an ISO text."""
    if isinstance(value, (int, float)):
        return float(value) or None
    try:
        return datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
    except (AttributeError, ValueError):
        return None


async def create(
    plane: ControlPlane,
    *,
    input_file: str,
    endpoint: str,
    window: str,
    metadata: Mapping[str, str] | None,
    expires_seconds: int | None,
) -> BatchState:
    """Make a batch. It is asked for one time only: if `Unknown` is raised, look for it with `newest`."""
    expiry: Any = openai.omit
    if expires_seconds is not None:
        expiry = {"anchor": "created_at", "seconds": expires_seconds}

    async def call(headers: Mapping[str, str]) -> BatchState:
        found = await plane.client.batches.create(
            input_file_id=input_file,
            endpoint=endpoint,  # type: ignore[arg-type]  # Azure's has no version
            completion_window=window,  # type: ignore[arg-type]  # others have windows of their own
            metadata=dict(metadata) if metadata is not None else openai.omit,
            output_expires_after=expiry,
            extra_headers=headers,
        )
        return batch_state(found)

    return await plane.once("the creation of a batch", call)


async def look(plane: ControlPlane, batch: str) -> BatchState:
    """Return a batch as it is now. Raises `CallFailed`; `NotThere` also for another project's."""

    async def call(headers: Mapping[str, str]) -> BatchState:
        return batch_state(await plane.client.batches.retrieve(batch, extra_headers=headers))

    return await plane.repeat("a look at a batch", call)


async def cancel(plane: ControlPlane, batch: str) -> BatchState:
    """Cancel a batch, and return it; one that has ended stays as it is. Raises `CallFailed`."""

    async def call(headers: Mapping[str, str]) -> BatchState:
        return batch_state(await plane.client.batches.cancel(batch, extra_headers=headers))

    try:
        return await plane.repeat("the cancellation of a batch", call)
    except NotThere:
        raise
    except Exception:
        state = await look(plane, batch)
        if state.ended or state.status == "cancelling":
            return state
        raise


async def newest(plane: ControlPlane, since: float) -> AsyncIterator[BatchState]:
    """Give the batches of a resource, newest first, but none made before `since`. Raises `CallFailed`."""
    after = ""
    while True:

        async def call(headers: Mapping[str, str], after: str = after) -> tuple[list[BatchState], bool]:
            page = await plane.client.batches.list(
                limit=PAGE, after=after or openai.omit, extra_headers=headers
            )
            return [batch_state(each) for each in page.data or []], bool(page.has_more)

        found, more = await plane.repeat("the list of batches", call)
        for each in found:
            if each.created is not None and each.created < since:
                return
            yield each
        if not more or not found or found[-1].id == after:
            return
        after = found[-1].id
