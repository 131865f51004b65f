"""How is a batch shown, in the usual form and in those that other services and pages show?

It must not know how a batch proceeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from batchscore.simulator.batch.books import TokenUse

#: The states that are shown with a time of their own, as `in_progress_at`.
TIMES = (
    *("created", "in_progress", "expires", "finalizing", "completed", "failed", "expired", "cancelling"),
    "cancelled",
)
#: Ids that may be absent.
_IDS = ("output_file_id", "error_file_id")


def times_of(times: Mapping[str, float]) -> dict[str, int | None]:
    """Return the times that a batch object shows, from those that have passed, and `expires`."""
    return {f"{name}_at": int(times[name]) if name in times else None for name in TIMES}


def usage_of(use: TokenUse) -> dict[str, Any]:
    """Return the usage of a batch, which only OpenAI shows."""
    return {
        "input_tokens": use.input,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": use.output,
        "output_tokens_details": {"reasoning_tokens": use.reasoning},
        "total_tokens": use.input + use.output,
    }


def in_forms(document: dict[str, Any], forms: tuple[str, ...]) -> dict[str, Any]:
    """Bring a batch object into other forms of `rules.BATCH_FORMS`, and return it."""
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
