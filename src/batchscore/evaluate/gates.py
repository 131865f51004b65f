"""Is a result good enough? It reads requirements such as `accuracy>=0.9` and compares figures with them.

It does not know how figures are measured. Beside them a requirement may name the number of labelled `rows`,
and the shares `coverage`, `rows_with_label` and `labels_with_row`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from batchscore.errors import UsageError
from batchscore.evaluate.tasks import ERRORS

_REQUIREMENT = re.compile(
    r"\s*(?P<name>[A-Za-z_][\w@.]*)\s*(?P<sign>>=|<=|>|<)\s*"
    r"(?:(?P<number>[-+]?\d+(?:\.\d+)?)(?P<percent>%)?|baseline\s*(?P<offset>[-+]\s*\d+(?:\.\d+)?)?)\s*"
)

#: What a requirement can name beside the metrics of a task.
COUNTS = ("coverage", "rows", "rows_with_label", "labels_with_row")

#: If less than this share of the rows have a label, and of the labels a row, ids do not fit.
FEW_JOINED = 0.5

#: Figures that may be more than 1.
_BEYOND_ONE = frozenset({"rows", "bleu", "chrf", "mean_absolute_error", "root_mean_squared_error"})

_SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": lambda value, bound: value >= bound - 1e-12,
    "<=": lambda value, bound: value <= bound + 1e-12,
    ">": lambda value, bound: value > bound + 1e-12,
    "<": lambda value, bound: value < bound - 1e-12,
}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement as the user wrote it. `bound` is a number, or to be added to that of the baseline."""

    text: str
    name: str
    sign: str
    bound: float
    of_baseline: bool

    @property
    def is_ceiling(self) -> bool:
        """Whether worse figures meet it, as those of failed rows are."""
        return (self.sign[0] == "<") != (self.name in ERRORS)

    @property
    def is_floor_of_coverage(self) -> bool:
        """Whether it says how many rows must have an answer."""
        return self.name == "coverage" and not self.of_baseline


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether a model meets a requirement on a metric: its value, the bound, `None` for what is not defined.

    `added` says why there is a requirement that the user has not written.
    """

    model: str
    requirement: str
    metric: str
    value: float | None
    bound: float | None
    met: bool
    added: str = ""


def requirement_of(text: str) -> Requirement:
    """Return a requirement; raises `UsageError` if it is none."""
    match = _REQUIREMENT.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{text!r} is no requirement. Write a metric, >= or <=, and a number or the baseline, such as "
            "'accuracy>=0.9', 'coverage>=99%' or 'f1_score_macro>=baseline-0.01'."
        )
    if match["name"] == "coverage" and match["sign"][0] == "<":
        raise UsageError(f"{text!r}: rows that fail would meet it. Write coverage>=99%.")
    if match["number"] is not None:
        number = float(match["number"]) / (100 if match["percent"] else 1)
        if number > 1 and match["sign"][0] == ">" and match["name"] not in _BEYOND_ONE:
            raise UsageError(f"{text!r} can never be met: {match['name']} is 1 at most. Write 90% or 0.9.")
        return Requirement(text, match["name"], match["sign"], number, of_baseline=False)
    offset = float((match["offset"] or "0").replace(" ", ""))
    return Requirement(text, match["name"], match["sign"], offset, of_baseline=True)


def check(
    requirement: Requirement,
    model: str,
    values: Mapping[str, float | None],
    baseline: Mapping[str, float | None],
) -> Gate:
    """Return whether a model meets a requirement; a figure that is not defined does not."""
    value = values.get(requirement.name)
    bound: float | None = requirement.bound
    if requirement.of_baseline:
        before = baseline.get(requirement.name)
        bound = None if before is None else before + requirement.bound
    met = value is not None and bound is not None and _SIGNS[requirement.sign](value, bound)
    return Gate(model, requirement.text, requirement.name, value, bound, met)


def check_answered(model: str, coverage: float) -> Gate:
    """Return the requirement that goes with those which failed rows could meet, if none is about coverage.

    These are requirements on figures of answered rows alone, on a baseline whose rows fail, and that a figure
    is no better than a bound.
    """
    enough = min(math.floor(coverage * 100), 99)
    added = (
        f"added, since failed rows could meet the others; to allow this, give --require 'coverage>={enough}%'"
    )
    return Gate(model, "coverage>=100%", "coverage", coverage, 1.0, coverage >= 1 - 1e-12, added)


def check_joined(model: str, rows_with_label: float, labels_with_row: float) -> Gate:
    """Return the requirement that goes with all others if none is about this: enough rows found their label.

    A sample of the rows may have labels, or the labels be of more rows; if both sides hardly fit, figures of
    the few others say nothing.
    """
    share = max(rows_with_label, labels_with_row)
    text = f"rows_with_label or labels_with_row>={FEW_JOINED:.0%}"
    added = "added to all requirements; to change it, give one on either share"
    return Gate(model, text, "rows_with_label", share, FEW_JOINED, share >= FEW_JOINED, added)
