"""What does a service say of a batch?

It reads the forms that services are known to send: states in capitals, times as text, empty texts for null,
errors as a list or one object (OpenAI's API reference and Microsoft's how-to pages, seen 2026-11). An unknown
state counts as running. It never raises, and it calls nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

#: States after which nothing more happens, in lower case.
COMPLETED, FAILED, EXPIRED, CANCELLED = "completed", "failed", "expired", "cancelled"
ENDED = frozenset({COMPLETED, FAILED, EXPIRED, CANCELLED})
#: The years 2001 to 2100. A gateway may count milliseconds.
PLAUSIBLE_TIMES = (1e9, 4.1e9)

OTHER_NAMES = {"canceled": CANCELLED, "error": FAILED}


@dataclass(frozen=True, slots=True)
class FileProblem:
    """Why a service refuses a file of requests; `line` counts from 1; `None`: the whole file."""

    code: str
    line: int | None
    param: str


@dataclass(frozen=True, slots=True)
class BatchState:
    """A batch as its service describes it. Times are seconds since the epoch, `None` if it gives none.

    The counts are for people only: rows are reconciled one by one. `usage` are the tokens of prompts and of
    answers, 0 if the service gives none. `id` is empty if the reply was no batch.
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
    usage: tuple[int, int]
    problems: tuple[FileProblem, ...]
    metadata: Mapping[str, str]

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
    given = fields_of(found)
    status = text_of(given.get("status")).lower()
    counts, usage = fields_of(given.get("request_counts")), fields_of(given.get("usage"))
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
        usage=(whole(usage.get("input_tokens")), whole(usage.get("output_tokens"))),
        problems=tuple(problems_of(given.get("errors"))),
        metadata={str(name): text_of(value) for name, value in fields_of(given.get("metadata")).items()},
    )


def problems_of(errors: Any) -> list[FileProblem]:
    """Return the refusals of a file: a list, an object that holds one, or a single one."""
    held = errors.get("data", [errors]) if isinstance(errors, dict) else errors
    several = held if isinstance(held, list) else [held]
    return [
        FileProblem(name_of(each.get("code")), line_of(each.get("line")), name_of(each.get("param")))
        for each in several
        if isinstance(each, dict)
    ]


def line_of(value: Any) -> int | None:
    """Return the number of a line, which one specification types as text."""
    text = str(value)
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def fields_of(value: Any) -> Mapping[str, Any]:
    """Return the fields of an object, of the SDK or of JSON; none for null and everything else."""
    if hasattr(value, "to_dict"):
        value = value.to_dict(mode="python", warnings=False)
    return value if isinstance(value, dict) else {}


def text_of(value: Any) -> str:
    """Return a text, "" for null and everything else."""
    return value if isinstance(value, str) else ""


def name_of(value: Any) -> str:
    """Return a service's code or parameter if it is a name; other texts may quote an input."""
    text = text_of(value)
    return text if len(text) <= 64 and text.replace("_", "").replace(".", "").isalnum() else ""


def whole(value: Any) -> int:
    """Return a count, 0 for null and everything else."""
    return value if isinstance(value, int) and value > 0 else 0


def moment(value: Any) -> float | None:
    """Return seconds since the epoch from a number, an ISO time or a day, which is in UTC without a zone.

    `None` for a time in no plausible year.
    """
    try:
        found = value if isinstance(value, (int, float)) else iso_seconds(value)
        return float(found) if PLAUSIBLE_TIMES[0] < found < PLAUSIBLE_TIMES[1] else None
    except (TypeError, ValueError, OverflowError):
        return None


def iso_seconds(text: str) -> float:
    """Return seconds since the epoch of an ISO time; raises `TypeError` or `ValueError` for anything else."""
    # Python 3.10 reads neither Z nor seven digits of a second.
    fraction = re.search(r"\.\d+", text)
    at = datetime.fromisoformat(re.sub(r"\.\d+", "", text).replace("Z", "+00:00"))
    at = at if at.tzinfo else at.replace(tzinfo=timezone.utc)
    return at.timestamp() + float(fraction[0] if fraction else 0)
