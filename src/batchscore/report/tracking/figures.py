"""Which parameters and metrics of a run does MLflow get?

Pure: settings and figures in, names and numbers out. Names are few and the same in every run, so that runs
can be compared; values are cut to what every tracking server takes.

Azure ML keeps 50 names of metrics a run and a million points of each
(learn.microsoft.com, "Service limits in Azure Machine Learning", seen 2026-11). A name must therefore never
hold a worker's name: workers of one job log what each has added, and the points of all add up.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from batchscore.report.tally import Statistics
from batchscore.rows import DeploymentState
from batchscore.settings.secrets import HIDDEN, without_secrets

#: Longest value of a parameter that servers of every age take, and of a tag in Azure ML.
LONGEST_PARAM = 500
LONGEST_TAG = 1000

#: A name that MLflow does not take is changed in these characters.
UNFIT = re.compile(r"[^\w./ -]", re.ASCII)

#: Seconds between two points at first; later a sixtieth of the run's age, so that a day is some 400 points.
FIRST_SECONDS = 10.0
POINTS_OF_A_RUN = 60

MINUTE_SECONDS = 60.0


def seconds_to_next(age_seconds: float) -> float:
    """Return how long after one point the next is due, in a run of this age."""
    return max(FIRST_SECONDS, age_seconds / POINTS_OF_A_RUN)


def params_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return what was set as parameters; what was not set is none, and no secret is."""
    found: dict[str, str] = {}
    for name, value in settings.items():
        if name == "param":
            found.update(
                (fit_name(f"param.{each}"), text_of(given))
                for each, given in without_secrets(value).items()
                if given != HIDDEN
            )
        elif value is not None and value not in ((), {}, ""):
            found[name] = text_of(value)
    return found


def fit_name(name: str) -> str:
    """Return a name that MLflow takes."""
    return UNFIT.sub("_", name)[:100]


def text_of(value: Any, longest: int = LONGEST_PARAM) -> str:
    """Return a value as text, cut where it is longer than servers take."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def totals(now: Statistics, cost: float | None) -> dict[str, float]:
    """Return what a run has done so far: figures that only grow."""
    found = {
        "rows_ok": now.ok,
        "rows_failed": now.failed,
        "rows_empty": now.empty,
        "requests": now.requests,
        "requests_retried": sum(now.retried.values()),
        "requests_rate_limited": now.retried.get("rate_limited", 0),
        "prompt_tokens": now.prompt_tokens,
        "completion_tokens": now.completion_tokens,
        "tokens_kept": now.kept_tokens,
    }
    return found | ({} if cost is None else {"cost": cost})


def rates(
    now: Mapping[str, float],
    before: Mapping[str, float],
    seconds: float,
    standings: Sequence[DeploymentState],
) -> dict[str, float]:
    """Return how fast a run goes since the point before, against the limits, and what is under way."""
    per_minute = MINUTE_SECONDS / max(seconds, 0.001)
    tokens = sum(now.get(name, 0) - before.get(name, 0) for name in ("prompt_tokens", "completion_tokens"))
    found = {
        "rows_per_minute": (now["rows_ok"] - before.get("rows_ok", 0)) * per_minute,
        "requests_per_minute": (now["requests"] - before.get("requests", 0)) * per_minute,
        "tokens_per_minute": tokens * per_minute,
    }
    if standings:
        found["in_flight"] = sum(one.in_flight for one in standings)
        found["deployments_up"] = sum(one.state == "up" for one in standings)
        requests = [one.rpm for one in standings]
        found.update(limit("requests_per_minute_limit", requests))
        found.update(limit("tokens_per_minute_limit", [one.tpm for one in standings]))
    return found


def limit(name: str, limits: Sequence[float | None]) -> dict[str, float]:
    """Return the limits of all deployments together; none where one of them is not known."""
    known = [each for each in limits if each is not None and math.isfinite(each)]
    return {name: sum(known)} if len(known) == len(limits) else {}


def added(now: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """Return what one of several workers has added since its point before; what stood still is left out."""
    grown = {name: value - before.get(name, 0) for name, value in now.items()}
    return {f"{name}_added": value for name, value in grown.items() if value}


def by_reason(now: Statistics) -> dict[str, float]:
    """Return how many rows failed by each code, and how many answers ended by each reason."""
    found = {f"errors.{code}": float(count) for code, count in now.errors.items()}
    return found | {
        fit_name(f"finish_reason.{reason}"): float(count) for reason, count in now.finish_reasons.items()
    }
