"""What do a job's results say: curves of loss and accuracy, the gap of validation, and the best checkpoint?

Pure. Services have given results in four vintages of columns, as CSV or as its base64 (OpenAI), with empty
cells or -1 for no value (Azure). All columns that are numbers are read; unknown ones keep their names.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from statistics import stdev
from typing import Any

from batchscore.errors import InputError
from batchscore.provider.job_object import JobCheckpoint

#: Our name of a column, and those of the services; compared in lower case.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "step": (),
    "epoch": (),
    "elapsed_tokens": (),
    "elapsed_examples": (),
    "train_loss": ("training_loss",),
    "train_token_accuracy": ("train_mean_token_accuracy", "training_token_accuracy", "train_accuracy"),
    "train_sequence_accuracy": ("training_sequence_accuracy",),
    "valid_loss": ("validation_loss",),
    "valid_token_accuracy": (
        *("valid_mean_token_accuracy", "validation_mean_token_accuracy", "validation_token_accuracy"),
        "valid_accuracy",
    ),
    "valid_sequence_accuracy": ("validation_sequence_accuracy",),
    "full_valid_loss": ("full_validation_loss",),
    "full_valid_token_accuracy": ("full_valid_mean_token_accuracy", "full_validation_mean_token_accuracy"),
    "train_reward": ("train_mean_reward", "train_reward_mean"),
    "valid_reward": ("valid_mean_reward", "valid_reward_mean", "validation_mean_reward"),
    "full_valid_reward": (
        *("full_valid_mean_reward", "full_valid_reward_mean", "full_validation_mean_reward"),
    ),
}
_NAMES = {other: name for name, others in COLUMNS.items() for other in (name, *others)}

#: Columns of which no value can be negative, so that -1 means none.
NOT_NEGATIVE = re.compile(r".*(loss|accuracy)$|elapsed_.*|epoch$")

#: Measurements that are averaged for the level at a step: a single batch says little.
WINDOW = 10

#: Differences that are noise: this part of a value, or this many standard errors of two levels.
NOISE, STANDARD_ERRORS = 0.01, 2.0

#: Validation loss divided by training loss: up to the first all is well, from the last it is overfit.
GAP_FINE, GAP_WATCH, GAP_OVERFIT = 1.2, 1.5, 2.0


@dataclass(frozen=True, slots=True)
class ResultTable:
    """The rows of results by their step, which rises. `nan` is no value.

    `total_steps` are those of the whole training, 0 if they are not known. `skipped` rows had no step.
    """

    steps: tuple[int, ...]
    columns: Mapping[str, tuple[float, ...]]
    total_steps: int = 0
    skipped: int = 0

    def has(self, name: str) -> bool:
        """Whether a column has a value."""
        return any(not isnan(value) for value in self.columns.get(name, ()))

    def points(self, name: str) -> list[tuple[int, float]]:
        """Return the steps at which a column has a value, with it."""
        values = self.columns.get(name, ())
        return [(step, each) for step, each in zip(self.steps, values, strict=False) if not isnan(each)]

    def window(self, name: str, step: int) -> list[float]:
        """Return the last values up to a step."""
        return [value for at, value in self.points(name) if at <= step][-WINDOW:]

    def level(self, name: str, step: int) -> float:
        """Return the mean of the last values up to a step, `nan` without any."""
        values = self.window(name, step)
        return sum(values) / len(values) if values else nan

    def error(self, name: str, step: int) -> float:
        """Return the standard error of the level at a step, 0 if it cannot be known."""
        values = self.window(name, step)
        return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def table_of(data: bytes) -> ResultTable:
    """Return the results in the bytes of a file; raises `InputError` if they are none."""
    try:
        text = plain_bytes(data).decode("utf-8-sig")
    except ValueError:
        raise InputError("The results file is neither CSV nor its base64.") from None
    lines = csv.reader(io.StringIO(text.replace("\0", "")))
    heads = [name_of_column(each) for each in next(lines, [])]
    if "step" not in heads:
        raise InputError("The results file has no column step.")
    return joined(
        values_of(zip(heads, cells, strict=False)) for cells in lines if any(cell.strip() for cell in cells)
    )


def table_of_metrics(found: Iterable[Mapping[str, float]]) -> ResultTable:
    """Return the results that events hold, oldest first, for a service that gives no file of them yet."""
    return joined(
        values_of((name_of_column(name), str(value)) for name, value in metrics.items())
        for metrics in found
        if metrics
    )


def values_of(cells: Iterable[tuple[str | None, str]]) -> dict[str, float]:
    """Return the numbers of a row by their columns. Of cells with one column, the first number counts."""
    found: dict[str, float] = {}
    for name, cell in cells:
        if name is not None and isnan(found.get(name, nan)):
            found[name] = number_of(name, cell)
    return found


def joined(found: Iterable[dict[str, float]]) -> ResultTable:
    """Return a table of rows, each a dictionary with its step."""
    rows: dict[int, dict[str, float]] = {}
    names: dict[str, None] = {}
    skipped = total_steps = 0
    for values in found:
        step, total = values.pop("step", nan), values.pop("total_steps", nan)
        total_steps = total_steps if isnan(total) else int(total)
        if isnan(step):
            skipped += 1
            continue
        names |= dict.fromkeys(values)
        # A job that was interrupted may have written a step twice: the last value counts.
        row = rows.setdefault(int(step), {})
        row.update({name: value for name, value in values.items() if not isnan(value) or name not in row})
    steps = sorted(rows)
    columns = {name: tuple(rows[step].get(name, nan) for step in steps) for name in names}
    return ResultTable(tuple(steps), columns, total_steps, skipped)


def plain_bytes(data: bytes) -> bytes:
    """Return the CSV of results that may be base64, as OpenAI gives them."""
    if is_table(data):
        return data
    try:
        decoded = base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error:
        raise ValueError from None
    if not is_table(decoded):
        raise ValueError
    return decoded


def is_table(data: bytes) -> bool:
    """Whether bytes begin with the head of results."""
    first = data.lstrip(b"\xef\xbb\xbf \t\r\n").split(b"\n", 1)[0].lower()
    return b"step" in re.split(rb'[,\s"]+', first)


def name_of_column(head: str) -> str | None:
    """Return our name of a column; one that we do not know is kept, if it is a name."""
    name = head.strip().strip('"').lower()
    found = _NAMES.get(name, name)
    return found if re.fullmatch(r"[a-z0-9_./ -]{1,80}", found) else None


def number_of(name: str, cell: str) -> float:
    """Return the number in a cell, `nan` if it has none; 0.0 is a number."""
    try:
        value = float(cell)
    except ValueError:
        return nan
    if not math.isfinite(value) or (value == -1 and (name == "step" or NOT_NEGATIVE.fullmatch(name))):
        return nan
    return value


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """The end of an epoch, with the levels there. `gap` is validation loss divided by training loss."""

    epoch: int
    step: int
    train_loss: float
    valid_loss: float

    @property
    def gap(self) -> float:
        """How much worse the model is on what it has not seen: 1 is equal, `nan` is unknown."""
        return self.valid_loss / self.train_loss if self.train_loss > 0 else nan


def epoch_ends(table: ResultTable, epochs: Any, *, is_complete: bool) -> list[EpochEnd]:
    """Return the ends of the epochs so far, computed or where the whole validation file was measured.

    `is_complete`: the table reaches to the end of the training.
    """
    if not table.steps:
        return []
    full = [step for step, _ in table.points("full_valid_loss")]
    last = table.steps[-1]
    length = last if is_complete else table.total_steps
    if isinstance(epochs, (int, float)) and not isinstance(epochs, bool) and 1 <= epochs <= length:
        steps = [round(length * number / int(epochs)) for number in range(1, int(epochs) + 1)]
        # A measurement of the whole file near the computed end shows where it was.
        near = max(1.0, length / int(epochs) / 10)
        steps = [min([*(each for each in full if abs(each - step) <= near), step]) for step in steps]
        steps = [step for step in steps if step <= last]
    else:
        steps = full
    return [
        EpochEnd(number, step, table.level("train_loss", step), validation_at(table, step))
        for number, step in enumerate(steps, 1)
    ]


def validation_at(table: ResultTable, step: int) -> float:
    """Return the validation loss at a step: of the whole file if it was measured there, else of batches."""
    whole = dict(table.points("full_valid_loss")).get(step)
    return table.level("valid_loss", step) if whole is None else whole


def losses_at_end(table: ResultTable, ends: Sequence[EpochEnd]) -> list[tuple[str, float, str]]:
    """Return the losses at the end of the last epoch, or of the table: name, value, and what it is of."""
    if not table.steps:
        return []
    step = ends[-1].step if ends else table.steps[-1]
    is_whole = step in dict(table.points("full_valid_loss"))
    found = [
        ("training loss", table.level("train_loss", step), level_text(table, "train_loss", step)),
        (
            "validation loss",
            validation_at(table, step),
            "of the whole validation file" if is_whole else level_text(table, "valid_loss", step),
        ),
    ]
    at = "" if step == table.steps[-1] else f", at step {step:,}"
    return [(name, value, f"{what}{at}") for name, value, what in found if not isnan(value)]


def level_text(table: ResultTable, name: str, step: int) -> str:
    """Return what the level of a column is of."""
    count = len(table.window(name, step))
    return "one measurement" if count == 1 else f"mean of the last {count} measurements"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model of a job: a checkpoint, or the last one.

    `value` is its measure, `nan` if it has none, and `error` the standard error of a value that is a mean.
    """

    step: int
    model: str
    value: float
    error: float
    is_last: bool


@dataclass(frozen=True, slots=True)
class Proposal:
    """The model to use. `why` says it in a sentence; `measure` is the column that was compared, if any."""

    step: int
    model: str
    is_last: bool
    why: str
    measure: str = ""
    candidates: tuple[Candidate, ...] = ()


#: What is compared, best first, and whether less is better. What is of the whole validation file counts as it
#: is; what is of one batch says little, so the level at a step counts.
MEASURES = (
    ("full_valid_loss", "loss of the whole validation file", True),
    ("full_valid_reward", "reward of the whole validation file", False),
    ("valid_loss", "validation loss", True),
    ("valid_reward", "validation reward", False),
)


def proposal(table: ResultTable, kept: Sequence[JobCheckpoint], model: str) -> Proposal | None:
    """Return the checkpoint to use, `None` if there is none. `model` is the job's own, "" before its end."""
    found = {each.step: each.model for each in kept if each.model}
    if model:
        # The last checkpoint and the job's model are one.
        own = [step for step, name in found.items() if name == model]
        final = max(own or [*table.steps[-1:], *(each.step for each in kept)], default=0)
        found = {step: name for step, name in found.items() if step < final and name != model}
        found[final] = model
    if not found:
        return None
    metrics = {each.step: each.metrics for each in kept}
    steps = sorted(found)
    for measure, words, is_less_better in MEASURES:
        values = [
            measured(table, measure, step, before, metrics.get(step, {}))
            for before, step in zip([0, *steps], steps, strict=False)
        ]
        candidates = tuple(
            Candidate(step, found[step], value, error, step == steps[-1])
            for step, (value, error) in zip(steps, values, strict=True)
        )
        known = [each for each in candidates if not isnan(each.value)]
        # Without the last one, the comparison would say nothing of the model that is used by default.
        if known and known[-1].is_last:
            return compared(known, candidates, measure, words, is_less_better=is_less_better)
    why = "It is the last one: nothing was measured on a validation file, so none can be called better."
    return Proposal(steps[-1], found[steps[-1]], True, why)


def measured(
    table: ResultTable, measure: str, step: int, before: int, metrics: Mapping[str, float]
) -> tuple[float, float]:
    """Return a measure of a checkpoint and its standard error. `before` is the step of the one before it.

    `metrics` are the checkpoint's own.
    """
    own = [number_of(measure, str(value)) for name, value in metrics.items() if _NAMES.get(name) == measure]
    own_value = next((value for value in own if not isnan(value)), nan)
    if not measure.startswith("full_"):
        level = table.level(measure, step)
        return (own_value, 0.0) if isnan(level) else (level, table.error(measure, step))
    # What was measured shortly before the checkpoint was saved is of it.
    near = [value for at, value in table.points(measure) if (before + step) / 2 < at <= step]
    return (near[-1] if isnan(own_value) and near else own_value), 0.0


def compared(
    known: Sequence[Candidate],
    candidates: tuple[Candidate, ...],
    measure: str,
    words: str,
    *,
    is_less_better: bool,
) -> Proposal:
    """Return the best of several candidates; a difference within the noise leaves the last one."""
    best = (min if is_less_better else max)(known, key=lambda each: each.value)
    last = known[-1]
    better = "lowest" if is_less_better else "highest"
    distance = abs(last.value - best.value)
    noise = max(NOISE * abs(best.value), STANDARD_ERRORS * math.hypot(last.error, best.error))
    if best.step == last.step:
        why = f"The {words} is {better} at the last step: {best.value:.4g}."
        if len(known) == 1:
            why = f"It is the only one with a {words}: {best.value:.4g}."
    elif distance <= noise:
        why = (
            f"The {words} of the last step, {last.value:.4g}, and of step {best.step:,}, {best.value:.4g}, "
            "differ by less than the noise."
        )
        best = last
    else:
        much = f"{100 * distance / abs(best.value):.0f} % " if best.value else ""
        worse = "higher" if is_less_better else "lower"
        why = (
            f"The {words} is {better} at step {best.step:,}: {best.value:.4g}. At the last step it is "
            f"{last.value:.4g}, {much}{worse}: the model has learned the training file too closely."
        )
    return Proposal(best.step, best.model, best.is_last, why, measure, candidates)


def gap_text(ends: Sequence[EpochEnd]) -> tuple[str, str]:
    """Return what the last gap means, as the class of a finding and a sentence; empty if it is unknown."""
    known = [each for each in ends if not isnan(each.gap)]
    if not known:
        return "", ""
    gap = known[-1].gap
    text = f"At the end, the validation loss is {gap:.2f} times the training loss"
    if gap <= GAP_FINE:
        return "fine", f"{text}: the model has learned what it can use on new rows."
    if gap < GAP_WATCH:
        return "fine", f"{text}: a usual gap."
    if gap < GAP_OVERFIT:
        return "look", f"{text}: watch for overfitting. Fewer epochs or more examples may help."
    return "look", f"{text}: the model is overfit. Use an earlier checkpoint, fewer epochs or more examples."
