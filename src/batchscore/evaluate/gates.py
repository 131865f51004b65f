"""Is a result good enough? It reads requirements such as `accuracy>=0.9` and compares figures with them.

It does not know how figures are measured. Beside them a requirement may name the number of labelled `rows`,
and the shares `coverage`, `rows_with_label` and `labels_with_row`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from batchscore.errors import UsageError
from batchscore.evaluate.tasks import ERRORS

_AMOUNT = r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_REQUIREMENT = re.compile(
    r"\s*(?P<name>[A-Za-z_][\w@.-]*)?\s*(?P<sign>[<>=!≤≥]*)\s*(?P<bound>.*?)\s*", re.DOTALL
)
_BOUND = re.compile(rf"(?P<number>[-+]?{_AMOUNT})\s*(?P<percent>%)?|baseline\s*(?P<offset>[-+]\s*{_AMOUNT})?")

#: What a requirement can name beside the metrics of a task.
COUNTS = ("coverage", "rows", "rows_with_label", "labels_with_row")

#: If less than this share of the rows have a label, and of the labels a row, ids do not fit.
FEW_JOINED = 0.5

#: The least and the most that figures can be, if that is not 0 and 1.
_RANGES: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(("rows", *ERRORS), (0.0, math.inf)),
    **dict.fromkeys(("bleu", "chrf"), (0.0, 100.0)),
    **dict.fromkeys(("matthews_correlation", "cohen_kappa", "quadratic_kappa"), (-1.0, 1.0)),
    **dict.fromkeys(("pearson_correlation", "spearman_correlation"), (-1.0, 1.0)),
    **dict.fromkeys(("cosine_pearson", "cosine_spearman", "adjusted_mutual_information"), (-1.0, 1.0)),
    "r2_score": (-math.inf, 1.0),
}

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

    def holds(self, value: float, bound: float) -> bool:
        """Whether a value keeps a bound."""
        return _SIGNS[self.sign](value, bound)

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

    `added` says why there is a requirement that the user has not written, `caveat` why one that is met may
    not hold for other rows, or why the figure of one that is not met is not known. `both_answered`: the value
    and that of the baseline are of this many rows, which both answered.
    """

    model: str
    requirement: str
    metric: str
    value: float | None
    bound: float | None
    met: bool
    added: str = ""
    caveat: str = ""
    both_answered: int | None = None


def requirement_of(text: str) -> Requirement:
    """Return a requirement; raises `UsageError` if it is none, or no figure could miss or meet it."""
    match = _REQUIREMENT.fullmatch(text)
    assert match is not None
    name, sign = match["name"] or "", match["sign"]
    bound = _BOUND.fullmatch(match["bound"])
    if not name or sign not in _SIGNS or bound is None:
        raise UsageError(f"{text!r} is no requirement: {_problem(name, sign, match['bound'])}")
    if name == "coverage" and sign[0] == "<":
        raise UsageError(f"{text!r}: rows that fail would meet it. Write coverage>=99%.")
    of_baseline, percent = bound["number"] is None, bound["percent"]
    number = float("".join((bound["number"] or bound["offset"] or "0").split()))
    if percent and _range_of(name)[1] != 1:
        share = f" or, for a share, 'rows_with_label{sign}{number:g}%'" if name == "rows" else ""
        raise UsageError(f"{text!r}: {name} is no share of 1. Write '{name}{sign}{number:g}'{share}.")
    number /= 100 if percent else 1
    if name == "rows" and not of_baseline and number % 1:
        raise UsageError(f"{text!r}: rows is a number of rows. Write a whole number, such as 'rows>=500'.")
    requirement = Requirement(text, name, sign, number, of_baseline)
    _refuse_idle(requirement)
    return requirement


def _range_of(name: str) -> tuple[float, float]:
    return _RANGES.get(name, (0.0, 1.0))


def _problem(name: str, sign: str, bound: str) -> str:
    """Return what is wrong with a text that is no requirement, and one that works."""
    bounds = "<=0.5" if name in ERRORS else _EXAMPLES.get(_range_of(name)[1], ">=0.9")
    works = f"Write for example --require '{name or 'accuracy'}{bounds}', in quotes."
    if not name:
        return f"it does not begin with the name of a metric. {works}"
    if not sign:
        return f"no >= or <= follows {name}. {works} Without quotes a shell takes > and < for files."
    if sign not in _SIGNS:
        return f"{sign!r} is none of >=, >, <= and <. {works}"
    if not bound:
        return f"no number follows {sign}. {works}"
    return f"{bound!r} is neither a number nor the baseline, such as 0.9, 90% or baseline-0.01. {works}"


#: What a requirement may say of a figure that has no other most than this.
_EXAMPLES: Mapping[float, str] = {100.0: ">=30", math.inf: ">=500"}


def _refuse_idle(requirement: Requirement) -> None:
    """Raise `UsageError` if every figure meets a requirement, or none can.

    A floor of 0 for a share of rows with a label, or of labels with a row, is allowed: it takes the place of
    the requirement that is added.
    """
    name, sign, bound = requirement.name, requirement.sign, requirement.bound
    low, high = _range_of(name)
    what = f"{name} is "
    if requirement.of_baseline:
        low, high, what = low - high, high - low, f"the difference of two figures {name} is "
    what += f"{low:g} or more" if high == math.inf else f"from {low:g} to {high:g}"
    what = what if low > -math.inf else f"{name} is {high:g} or less"
    if sign == ">=" and bound == 0 and name in COUNTS[2:]:
        return
    best, worst = (high, low) if sign[0] == ">" else (low, high)
    if not requirement.holds(best, bound):
        is_share = 1 < bound <= 100 and high == 1 and not requirement.of_baseline
        hint = f" Is '{name}{sign}{bound:g}%' meant?" if is_share else ""
        raise UsageError(f"{requirement.text!r} can never be met: {what}.{hint}")
    if requirement.holds(worst, bound):
        raise UsageError(
            f"{requirement.text!r} is always met: {what}. Write another number, or leave it out."
        )


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
    met = value is not None and bound is not None and requirement.holds(value, bound)
    return Gate(model, requirement.text, requirement.name, value, bound, met)


def check_answered(coverages: Mapping[str, float], lowest: float) -> list[Gate]:
    """Return the requirements that go with those which failed rows could meet, if none is about coverage.

    These are requirements on figures of answered rows alone, of a model whose failed rows other outputs have
    not, on a baseline whose rows fail, and that a figure is no better than a bound. The last says which
    coverage all models have, if any; `lowest` is that of one.
    """
    added = "added, since failed rows could meet the others"
    missed = [
        Gate(model, "coverage>=100%", "coverage", coverage, 1.0, met=False, added=added)
        for model, coverage in coverages.items()
        if coverage < 1 - 1e-12
    ]
    if missed and (enough := min(math.floor(lowest * 100), 99)):
        offer = f"{added}; to allow this, give --require 'coverage>={enough}%'"
        missed[-1] = replace(missed[-1], added=offer)
    return missed


def check_joined(model: str, rows_with_label: float, labels_with_row: float) -> Gate:
    """Return the requirement that goes with all others if none is about this: enough rows found their label.

    A sample of the rows may have labels, or the labels be of more rows; if both sides hardly fit, figures of
    the few others say nothing.
    """
    share = max(rows_with_label, labels_with_row)
    text = f"rows_with_label or labels_with_row>={FEW_JOINED:.0%}"
    added = "added to all requirements; to change it, give one on either share"
    return Gate(model, text, "rows_with_label", share, FEW_JOINED, share >= FEW_JOINED, added)
