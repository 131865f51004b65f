"""Which parameters and metrics of a run are logged to MLflow?

Pure: settings and figures in, names and numbers out. The names are few and the same for every run, so that
runs can be compared.

Azure ML stores 50 metric names per run and a million points of each (learn.microsoft.com, "Service limits in
Azure Machine Learning", seen 2026-11). So a name never contains the name of a worker: each worker of a job
logs what it has added, and the sum of all points is the total.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from batchscore.report.progress.view import total_limit
from batchscore.report.tally import Statistics
from batchscore.rows import DeploymentState
from batchscore.settings.secrets import HIDDEN, shown_settings

#: Greatest length of a parameter's value on servers of any version, and of a tag in Azure ML.
LONGEST_PARAM = 500
LONGEST_TAG = 1000

#: Characters that MLflow does not allow in a name; they are replaced.
NOT_ALLOWED = re.compile(r"[^\w./ -]", re.ASCII)

#: Seconds between two points at first; later this fraction of the run's age, so about 400 points a day.
FIRST_SECONDS = 10.0
AGE_FRACTION = 1 / 60


def seconds_to_next(age_seconds: float) -> float:
    """Return the seconds until the next point, in a run of this age."""
    return max(FIRST_SECONDS, age_seconds * AGE_FRACTION)


def params_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the given settings as parameters, without secrets."""
    found: dict[str, str] = {}
    for name, value in shown_settings(settings).items():
        if name == "param":
            params = {key: each for key, each in value.items() if each != HIDDEN}
            found.update({fit_name(f"param.{key}"): text_of(each) for key, each in params.items()})
        elif value is not None and value not in ([], {}, ""):
            found[name] = text_of(value)
    return found


def fit_name(name: str) -> str:
    """Return a name that MLflow allows."""
    return NOT_ALLOWED.sub("_", name)[:100]


def text_of(value: Any, longest: int = LONGEST_PARAM) -> str:
    """Return a value as text, cut to the length that servers allow."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def totals(now: Statistics, cost: float | None) -> dict[str, float]:
    """Return the totals of a run so far."""
    names = ("requests", "prompt_tokens", "completion_tokens", "tokens_kept")
    found: dict[str, float] = {name: getattr(now, name) for name in names}
    found |= {f"rows_{name}": getattr(now, name) for name in ("ok", "failed", "empty")}
    found |= {
        "requests_retried": now.retried.total(),
        "requests_rate_limited": now.retried["rate_limited"],
    }
    return found | ({} if cost is None else {"cost": cost})


def rates(
    now: Mapping[str, float],
    before: Mapping[str, float],
    seconds: float,
    deployments: Sequence[DeploymentState],
) -> dict[str, float]:
    """Return the rates per minute since the previous point, their limits, and what is in flight."""

    def per_minute(*names: str) -> float:
        return sum(now.get(name, 0) - before.get(name, 0) for name in names) * 60 / max(seconds, 0.001)

    found = {
        "rows_per_minute": per_minute("rows_ok"),
        "requests_per_minute": per_minute("requests"),
        "tokens_per_minute": per_minute("prompt_tokens", "completion_tokens"),
    }
    if deployments:
        found["in_flight"] = sum(one.in_flight for one in deployments)
        found["deployments_up"] = sum(one.state == "up" for one in deployments)
        limits = {
            "requests_per_minute_limit": total_limit([one.rpm for one in deployments]),
            "tokens_per_minute_limit": total_limit([one.tpm for one in deployments]),
        }
        found |= {name: limit for name, limit in limits.items() if limit is not None}
    return found


def growth(now: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """Return what one of several workers has added since its previous point, without zeros."""
    added = {f"{name}_added": value - before.get(name, 0) for name, value in now.items()}
    return {name: value for name, value in added.items() if value}


def counts_by_code(now: Statistics) -> dict[str, float]:
    """Return the failed rows by error code, and the answers by finish reason."""
    errors = {f"errors.{code}": float(count) for code, count in now.errors.items()}
    reasons = now.finish_reasons.items()
    return errors | {fit_name(f"finish_reason.{reason}"): float(count) for reason, count in reasons}
