"""What does one run's record say, whoever wrote it and whatever became of it since?

Pure: bytes in, a run out. A record may be old, damaged or of a later version; what of it cannot be used is
told and left out, never an error, and nothing in it is trusted to be of the kind that it should be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, TypeGuard

import orjson

from batchscore.report.timeline import MOST_BINS, MOST_STEP, SUMS
from batchscore.report.timeline import VERSION as TIMELINE_VERSION

#: A name of a deployment or a cause is cut where it is longer.
LONGEST_NAME = 120

#: No run lasts ten years: what says so is damaged.
LONGEST_SECONDS = 10 * 366 * 86400.0


@dataclass(frozen=True, slots=True)
class Course:
    """A run's timeline that can be used: `columns` and `limits` have one figure for each of `bins`.

    It begins `after` so many seconds of the run.
    """

    after: float
    width: float
    bins: int
    columns: Mapping[str, Sequence[float]]
    limits: Mapping[str, Mapping[str, Sequence[float | None]]]
    round_trips: Sequence[Mapping[int, int]]
    record: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """One run: `started` is in seconds since 1970; `problems` tell what of its record cannot be used."""

    name: str
    task: str
    started: float
    seconds: float
    host: str
    record: Mapping[str, Any]
    course: Course | None = None
    problems: tuple[str, ...] = ()
    this_run: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> Mapping[str, Any]:
        """What was set."""
        return mapping(self.record.get("settings"))

    @property
    def shared(self) -> bool:
        """Whether it was one of several workers."""
        return self.settings.get("shared_output", self.settings.get("shared")) is True

    @property
    def simulated(self) -> bool:
        """Whether the simulator answered."""
        return self.settings.get("simulate") is True

    @property
    def money(self) -> float | None:
        """What its tokens cost by the prices that it was given, `None` without prices."""
        price_in, price_out = self.settings.get("price_in"), self.settings.get("price_out")
        if self.task == "embeddings":
            price_out = 0.0
        if not is_number(price_in) or not is_number(price_out):
            return None
        asked, answered = (number(self.this_run, f"{kind}_tokens") for kind in ("prompt", "completion"))
        return float(asked * price_in + answered * price_out) / 1e6


def run_from(name: str, data: bytes) -> Run | str:
    """Return the run that a record tells of, or in words why it cannot be used."""
    try:
        record = orjson.loads(data)
    except ValueError:
        return "is damaged: it is not JSON"
    task = mapping(mapping(record).get("settings")).get("task")
    try:
        started = datetime.fromisoformat(str(record["started"]))
    except (KeyError, TypeError, ValueError):
        return "is damaged, or of another version: it does not say when it began"
    if task not in {"embeddings", "completions", "chat"}:
        return "is damaged, or of another version: it names no task"
    if started.tzinfo is None:
        started = started.replace(tzinfo=timezone.utc)
    course, problem = course_from(record.get("timeline"))
    return Run(
        name=name,
        task=task,
        started=started.timestamp(),
        seconds=max(float(number(record, "seconds")), 0.0),
        host=text(record.get("host")) or text(record.get("worker")),
        record=record,
        course=course,
        problems=(problem,) if problem else (),
        this_run=mapping(record.get("this_run")),
    )


def course_from(found: Any) -> tuple[Course | None, str]:
    """Return a timeline, or why there is none that can be used."""
    if found is None:
        return None, "has no timeline: it was written by an earlier version"
    version = mapping(found).get("version")
    if is_number(version) and version > TIMELINE_VERSION:
        return None, "has a timeline of a later version of batchscore"
    try:
        width = found["bin_seconds"]
        columns = {name: numbers(found["columns"][name]) for name in SUMS}
        bins = len(columns["requests"])
        limits = {
            text(name): {kind: limits_from(each[kind], bins) for kind in ("rpm", "tpm")}
            for name, each in found["limits"].items()
        }
        round_trips = [{int(step): int(count) for step, count in each} for each in found["round_trips"]]
        after = number(found, "after_seconds")
        if not (is_number(width) and width > 0 and 0 < bins <= 10 * MOST_BINS):
            return None, "has a damaged timeline"
        if not (0 <= after < LONGEST_SECONDS and width * bins < LONGEST_SECONDS):
            return None, "has a damaged timeline"
        if len(round_trips) != bins or any(len(each) != bins for each in columns.values()):
            return None, "has a damaged timeline"
        if any(
            not 0 <= step <= MOST_STEP or count < 0 for each in round_trips for step, count in each.items()
        ):
            return None, "has a damaged timeline"
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None, "has a damaged timeline"
    return Course(after, float(width), bins, columns, limits, round_trips, found), ""


def limits_from(found: Any, bins: int) -> list[float | None]:
    """Return a column of limits; raises `ValueError` where it is none."""
    if not isinstance(found, list) or len(found) != bins:
        raise ValueError("no column of limits")
    return [float(each) if is_number(each) and each > 0 else None for each in found]


def numbers(found: Any) -> list[float]:
    """Return a column of figures; raises `ValueError` where it is none."""
    if not isinstance(found, list) or not all(is_number(each) and each >= 0 for each in found):
        raise ValueError("no column of figures")
    return found


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a number that one can count with."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def number(record: Mapping[str, Any], name: str) -> float:
    """Return a figure; 0 where there is none."""
    value = record.get(name)
    return value if is_number(value) else 0


def mapping(value: Any) -> Mapping[str, Any]:
    """Return an object; an empty one where it is none."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Mapping[str, Any]]:
    """Return a list's objects."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def counts(value: Any) -> dict[str, int]:
    """Return counts by name."""
    return {text(name): int(count) for name, count in mapping(value).items() if is_number(count)}


def text(value: Any) -> str:
    """Return a short text; an empty one where it is none."""
    return value[:LONGEST_NAME] if isinstance(value, str) else ""
