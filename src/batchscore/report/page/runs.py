"""What does a run's record say, even if it is old, damaged or of a later version?

Pure: bytes in, a run out. Parts that cannot be used are reported and left out, and never raise an error. No
value in it is trusted to have the right type.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, TypeGuard

import numpy as np
import orjson
from numpy.typing import NDArray

from batchscore.report.timeline import MOST_BINS, MOST_STEP, SUMS
from batchscore.report.timeline import VERSION as TIMELINE_VERSION
from batchscore.settings.prices import run_cost
from batchscore.task import TASKS

#: Longer names of deployments and causes are cut.
LONGEST_NAME = 120

#: A record of a longer run, or with shorter bins, is damaged.
LONGEST_SECONDS = 10 * 366 * 86400.0
SHORTEST_BIN = 0.001

#: The kinds of limits: requests and tokens per minute.
LIMITS = ("rpm", "tpm")


#: The lists of a run's record that name each file.
LISTS_OF_FILES = ("files", "earlier", "complete_files")


@dataclass(frozen=True, slots=True)
class RunTimeline:
    """A run's timeline; it starts `after` seconds after the run, and has `bins` of `width` seconds.

    Each of the `columns` is `(bins,)`. `limits` are `(2, bins)` for each deployment, `nan` if unknown.
    """

    after: float
    width: float
    bins: int
    columns: Mapping[str, NDArray[np.float64]]
    limits: Mapping[str, NDArray[np.float64]]
    round_trips: Sequence[Mapping[int, int]]
    record: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """One run: `started` is in seconds since 1970; `problem` says what of its record cannot be used."""

    name: str
    task: str
    started: float
    seconds: float
    host: str
    record: Mapping[str, Any]
    timeline: RunTimeline | None = None
    problem: str = ""
    this_run: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The recorded settings."""
        return mapping(self.record.get("settings"))

    @property
    def shared(self) -> bool:
        """Whether it was one of several workers."""
        return self.settings.get("shared_output") is True

    @property
    def ended(self) -> bool:
        """Whether it wrote its record at its end: it was not killed, and is not working now."""
        return self.record.get("exit_code", 0) is not None

    @property
    def simulated(self) -> bool:
        """Whether the simulator answered."""
        return self.settings.get("simulate") is True or self.record.get("simulated") is True

    @property
    def cost(self) -> float | None:
        """The cost of its tokens at its prices, `None` without prices, or if it did not end."""
        if not self.ended:
            return None
        prices = (self.settings.get(name) for name in ("price_in", "price_out"))
        price_in, price_out = (price if is_number(price) else None for price in prices)
        tokens, full_price = (
            (
                number(self.this_run, f"{which}prompt_tokens"),
                number(self.this_run, f"{which}completion_tokens"),
            )
            for which in ("", "full_price_")
        )
        factor = self.settings.get("batch_price_factor") if self.settings.get("via") == "batch" else 1.0
        factor = factor if is_number(factor) else 1.0
        return run_cost(self.task, (price_in, price_out), tokens, full_price, factor)


def without_files(data: bytes) -> bytes:
    """Return the record of a run, as a run writes it, without its lists of files: they are most of it."""
    for name in LISTS_OF_FILES:
        head = f'\n  "{name}": ['.encode()
        start = data.find(head + b"\n")
        end = data.find(b"\n  ]", start)
        if -1 < start < end:
            data = data[: start + len(head)] + data[end:]
    return data


def run_from(name: str, data: bytes) -> RecordedRun | str:
    """Return the run of a record, or why the record cannot be used."""
    try:
        record = orjson.loads(data)
    except ValueError:
        return "is damaged: it is not JSON"
    task = mapping(mapping(record).get("settings")).get("task")
    try:
        started = datetime.fromisoformat(str(record["started"]))
    except (KeyError, TypeError, ValueError):
        return "is damaged, or of another version: it has no start time"
    if not isinstance(task, str) or task not in TASKS:
        return "is damaged, or of another version: it names no task"
    if started.tzinfo is None:
        started = started.replace(tzinfo=timezone.utc)
    timeline, problem = timeline_from(record.get("timeline"))
    return RecordedRun(
        name=name,
        task=task,
        started=started.timestamp(),
        seconds=max(float(number(record, "seconds")), 0.0),
        host=text(record.get("host")) or text(record.get("worker")),
        record=record,
        timeline=timeline,
        # A run writes its timeline at its end.
        problem="" if record.get("exit_code", 0) is None else problem,
        this_run=mapping(record.get("this_run")),
    )


def timeline_from(data: Any) -> tuple[RunTimeline | None, str]:
    """Return the timeline, or why it cannot be used."""
    if data is None:
        return None, "has no timeline: it was written by an earlier version"
    try:
        if data["version"] > TIMELINE_VERSION:
            return None, "has a timeline of a later version of batchscore"
        after, width = float(data["after_seconds"]), float(data["bin_seconds"])
        columns = np.array([data["columns"][name] for name in SUMS], float)
        limits = {
            text(name): np.array([each[kind] for kind in LIMITS], float)
            for name, each in data["limits"].items()
        }
        round_trips = [{int(step): int(count) for step, count in each} for each in data["round_trips"]]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None, "has a damaged timeline"
    bins = len(round_trips)
    sound = (
        0 < bins <= 10 * MOST_BINS
        and 0 <= after < LONGEST_SECONDS
        and SHORTEST_BIN <= width < LONGEST_SECONDS / bins
        and columns.shape == (len(SUMS), bins)
        and bool((np.isfinite(columns) & (columns >= 0)).all())
        and all(each.shape == (len(LIMITS), bins) and not np.isinf(each).any() for each in limits.values())
        and all(0 <= step <= MOST_STEP and count >= 0 for each in round_trips for step, count in each.items())
    )
    if not sound:
        return None, "has a damaged timeline"
    limits = {name: np.where(each > 0, each, np.nan) for name, each in limits.items()}
    by_name = dict(zip(SUMS, columns, strict=True))
    return RunTimeline(after, width, bins, by_name, limits, round_trips, data), ""


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def number(record: Mapping[str, Any], name: str) -> float:
    """Return a figure; 0 if there is none."""
    value = record.get(name)
    return value if is_number(value) else 0


def mapping(value: Any) -> Mapping[str, Any]:
    """Return the value if it is an object, otherwise an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Mapping[str, Any]]:
    """Return the objects in a list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def counts(value: Any) -> dict[str, int]:
    """Return counts by name."""
    return {text(name): int(count) for name, count in mapping(value).items() if is_number(count)}


def text(value: Any) -> str:
    """Return the value, shortened, if it is text; otherwise an empty text."""
    return value[:LONGEST_NAME] if isinstance(value, str) else ""
