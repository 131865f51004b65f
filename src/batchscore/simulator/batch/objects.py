"""How is a batch shown, in the usual form and in those that other services and pages show?

It must not know how a batch proceeds: a snapshot in, JSON out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from batchscore.simulator.batch.books import TokenUse
from batchscore.simulator.error_replies import Surface

#: The states that are shown with a time of their own, as `in_progress_at`.
TIMES = (
    *("created", "in_progress", "expires", "finalizing", "completed", "failed", "expired", "cancelling"),
    "cancelled",
)
#: Ids that may be absent.
_IDS = ("output_file_id", "error_file_id")


@dataclass(frozen=True)
class BatchSnapshot:
    """A batch at one moment. `times` has those of `TIMES` that have passed, and `expires`."""

    id: str
    surface: Surface
    status: str
    endpoint: str
    completion_window: str
    input_file_id: str
    output_file_id: str | None
    error_file_id: str | None
    model: str | None
    times: Mapping[str, float]
    counts: tuple[int, int, int]
    errors: list[dict[str, Any]]
    metadata: Mapping[str, str] | None
    usage: TokenUse


def batch_object(batch: BatchSnapshot, forms: tuple[str, ...]) -> dict[str, Any]:
    """Return the batch object, in other forms of `rules.BATCH_FORMS`."""
    total, completed, failed = batch.counts
    document: dict[str, Any] = {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": {"object": "list", "data": batch.errors} if batch.errors else None,
        "input_file_id": batch.input_file_id,
        "completion_window": batch.completion_window,
        "status": batch.status,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        **{f"{name}_at": int(batch.times[name]) if name in batch.times else None for name in TIMES},
        "request_counts": {"total": total, "completed": completed, "failed": failed},
        "metadata": batch.metadata,
    }
    if batch.surface is Surface.OPENAI:
        use = batch.usage
        document["model"] = batch.model
        document["usage"] = {
            "input_tokens": use.input,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": use.output,
            "output_tokens_details": {"reasoning_tokens": use.reasoning},
            "total_tokens": use.input + use.output,
        }
    for form in forms:
        _change(document, form)
    return document


def _change(document: dict[str, Any], form: str) -> None:
    """Bring a batch object into another form. Forms that change what happens are not of this module."""
    status = document["status"]
    if form == "capital_status":
        document["status"] = status.capitalize()
    elif form == "upper_status":
        document["status"] = status.upper()
    elif form == "unknown_status" and status == "validating":
        document["status"] = "pre_schedule"
    elif form == "canceled" and status == "cancelled":
        document["status"] = "canceled"
    elif form == "iso_times":
        for name in TIMES:
            seconds = document[f"{name}_at"]
            if seconds is not None:
                moment = datetime.fromtimestamp(seconds, timezone.utc)
                document[f"{name}_at"] = moment.isoformat().replace("+00:00", "Z")
    elif form == "null_counts":
        document["request_counts"] = {"total": None, "completed": None, "failed": None}
    elif form == "null_endpoint":
        document["endpoint"] = None
    elif form == "empty_ids":
        document.update({name: "" for name in _IDS if document[name] is None})
    elif form == "errors_list" and document["errors"]:
        document["errors"] = document["errors"]["data"]
    elif form == "errors_object" and document["errors"]:
        first = document["errors"]["data"][0]
        document["errors"]["data"] = {**first, "line": str(first["line"])}
    elif form == "unknown_fields":
        document.update(output_blob=None, region="simulator", newer={"field": [1]})
