"""How good are the scores of one or several outputs? One evaluation, from what the user asks to its result.

It reads outputs, inputs and labels, and sends nothing. Models are compared on the rows that all of them were
given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from batchscore.errors import InputError, UsageError, count_text
from batchscore.evaluate.comparisons import compare, detectable
from batchscore.evaluate.costs import AnswerCost, cost_of
from batchscore.evaluate.figures import (
    Figure,
    FigureOptions,
    check_names,
    confusion_of,
    figure_of,
    right_rows,
    value_of,
)
from batchscore.evaluate.find_label import HOWS
from batchscore.evaluate.gates import COUNTS, Gate, Requirement, check, check_answered, check_joined
from batchscore.evaluate.judges import Reading
from batchscore.evaluate.labels import JoinCounts
from batchscore.evaluate.measure import EvaluatedRow, ModelRows, measure, refuse_field
from batchscore.evaluate.metrics.classification import per_class
from batchscore.evaluate.notices import (
    comparison_notices,
    conflict_notices,
    empty_notices,
    failed_texts,
    label_notices,
    missing_text,
    model_notices,
    unlearned_notices,
    withheld_notices,
)
from batchscore.evaluate.outcomes import OUTCOMES
from batchscore.evaluate.scored import ScoredOutput
from batchscore.evaluate.spec import EvaluationSpec, reading_of, with_second
from batchscore.evaluate.statistics.compare import Comparison, with_holm
from batchscore.evaluate.tasks import EvaluationTask
from batchscore.evaluate.vector_judges import TrainingRows

#: How many texts without a label are reported.
_MOST_TEXTS = 20


@dataclass(frozen=True, slots=True)
class SliceFigure:
    """The main figure, that of `metric`, `of` the rows that have one value in a column."""

    column: str
    of: str
    metric: str
    figure: Figure


@dataclass(frozen=True, slots=True)
class ModelResult:
    """What was measured of one model, whose `rows` are those that all models have.

    `confusion` and `classes` are of a task with labels, and not if other vectors are missing. `outcomes` and
    `hows` count the rows. `texts` are the most frequent ones that gave no label. `cut`: answered rows whose
    text was cut after the answer. `only_here` counts rows that other models have not, `failed_here` those of
    them without an answer. `notices` are for the reader.
    """

    name: str
    rows: ModelRows
    counts: JoinCounts
    figures: Mapping[str, Figure]
    outcomes: Mapping[str, int]
    hows: Mapping[str, int]
    texts: Sequence[tuple[str, int]]
    cut: int
    slices: Sequence[SliceFigure]
    comparisons: Mapping[str, Comparison | None]
    cost: AnswerCost
    confusion: npt.NDArray[np.intp] | None = None
    only_here: int = 0
    failed_here: int = 0
    notices: tuple[str, ...] = ()

    @property
    def output(self) -> ScoredOutput:
        """Its scores."""
        return self.rows.output

    @property
    def coverage(self) -> float:
        """The share of rows with an answer; rows without one count also if other models have not got them."""
        total = sum(self.outcomes.values()) + self.failed_here
        return self.outcomes.get(OUTCOMES[0], 0) / total if total else 0.0

    @property
    def classes(self) -> Mapping[str, Any] | None:
        """Precision, recall, F1 and support of each class."""
        return None if self.confusion is None else per_class(self.confusion)

    def values(self, *, of_answered: bool) -> dict[str, float | None]:
        """Return all figures that a requirement can name; `of_answered` those in place of withheld ones."""
        counts = self.counts
        shares = (self.coverage, len(self.rows), counts.rows_with_label, counts.labels_with_row)
        return dict(zip(COUNTS, shares, strict=True)) | {
            name: each.of_answered if of_answered and each.unanswered == "withheld" else each.value
            for name, each in self.figures.items()
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result. `guessed`: nobody named the task. `detectable` is a difference of the main figure.

    `label` is the column of the labels, empty if they are relevances.
    """

    reading: Reading
    label: str
    guessed: bool
    main: str
    models: tuple[ModelResult, ...]
    baseline: int
    rows: int
    detectable: float | None
    gates: tuple[Gate, ...]
    options: FigureOptions
    notices: tuple[str, ...] = ()

    @property
    def task(self) -> EvaluationTask:
        """What was measured."""
        return self.reading.task

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that rows may have."""
        return self.reading.labels.names

    @property
    def is_good_enough(self) -> bool:
        """Whether every requirement is met."""
        return all(gate.met for gate in self.gates)


Write = Callable[[str, EvaluatedRow], None]


def evaluate(
    outputs: Sequence[tuple[str, ScoredOutput]], spec: EvaluationSpec, write: Write = lambda *_: None
) -> Evaluation:
    """Measure the outputs, each with the name of its model; `write` gets each row.

    Raises `InputError` if labels cannot be found or used, `UsageError` for a metric that the task has not.
    """
    if len({name for name, _ in outputs}) < len(outputs):
        raise UsageError("two models have the same name. Give each output a name of its own with --names.")
    if len(outputs) == 1 and (rule := next((each for each in spec.requirements if each.of_baseline), None)):
        raise UsageError(
            f"{rule.text!r} compares with a baseline, and {outputs[0][1].named} is the only output. Name "
            "that of the baseline, too: batchscore evaluate BASELINE SCORES …"
        )
    reading = reading_of(outputs, spec)
    measured, learned = [], list[Sequence[int]]()
    for place, (name, output) in enumerate(outputs):
        own = with_second(reading, spec, place)
        learned += [own.second.labels.tolist()] if isinstance(own.second, TrainingRows) else []
        measured.append(measure(name, output, spec.source, own, partial(write, name)))
    refuse_field(measured)
    names = tuple(dict.fromkeys((*reading.task.shown, *spec.figures)))
    check_names(names, reading, measured[0].tables)
    common = _common(measured)
    baseline = common[spec.baseline]
    results = []
    for place, (rows, whole) in enumerate(zip(common, measured, strict=True)):
        result = _result(rows, None if place == spec.baseline else baseline, names, reading, spec.options)
        failed = int((~whole.answered).sum() - (~rows.answered).sum())
        notices = (*model_notices(rows, reading), *(f"{each}." for each in failed_texts(failed, rows.counts)))
        left_out = len(whole) - len(rows)
        results.append(replace(result, only_here=left_out, failed_here=failed, notices=notices))
    models = _corrected(results, names)
    known = [each for each in models if each.counts.others_known]
    main = names[0]
    others = [rows for place, rows in enumerate(common) if place != spec.baseline]
    return Evaluation(
        reading,
        spec.source.column,
        spec.task is None,
        main,
        tuple(models),
        spec.baseline,
        len(baseline),
        detectable(main, others[0] if others else None, baseline, reading, spec.options),
        _gates(models, spec, reading),
        spec.options,
        (
            *([reading.unsure] if reading.unsure else []),
            *label_notices(reading.labels),
            *conflict_notices(spec.source.file),
            *empty_notices(reading.labels, models[0].confusion),
            *unlearned_notices(reading.labels, learned),
            *comparison_notices(
                [each.comparisons for each in known if baseline.counts.others_known],
                spec.options.sampling.confidence,
            ),
            *withheld_notices([each.figures for each in known]),
        ),
    )


def _gates(models: Sequence[ModelResult], spec: EvaluationSpec, reading: Reading) -> tuple[Gate, ...]:
    """Return whether requirements are met; the baseline is not compared with itself."""
    covered = any(each.is_floor_of_coverage for each in spec.requirements)
    values = [each.values(of_answered=covered) for each in models]
    gates = [
        replace(gate, caveat=(_caveat if gate.met else _why_unknown)(each, model, models[spec.baseline]))
        for each in spec.requirements
        for place, model in enumerate(models)
        if not (each.of_baseline and place == spec.baseline)
        for gate in [
            _check(each, (model, models[spec.baseline]), (values[place], values[spec.baseline]), reading)
        ]
    ]
    if not covered:
        needed = {
            each.name: each.coverage
            for place, each in enumerate(models)
            if _needs_answers(each, spec, is_baseline=place == spec.baseline)
        }
        gates += check_answered(needed, min(each.coverage for each in models))
    named = {each.name for each in spec.requirements}
    if named and not {"rows_with_label", "labels_with_row"} & named:
        shares = ((each.name, each.counts.rows_with_label, each.counts.labels_with_row) for each in models)
        gates += [gate for each in shares if not (gate := check_joined(*each)).met]
    return tuple(gates)


def _check(
    requirement: Requirement,
    compared: tuple[ModelResult, ModelResult],
    values: tuple[Mapping[str, float | None], Mapping[str, float | None]],
    reading: Reading,
) -> Gate:
    """Return whether a model meets a requirement, on the rows that count in its figure and the baseline's."""
    name, model = requirement.name, compared[0].name
    both = _counted(requirement, *compared) if requirement.of_baseline else None
    if both is None or any(each[name] is None for each in values):
        return check(requirement, model, *values)
    own, before = ({name: value_of(name, each.rows.choose(both), reading)} for each in compared)
    return replace(check(requirement, model, own, before), both_answered=len(both))


def _counted(
    requirement: Requirement, model: ModelResult, baseline: ModelResult
) -> npt.NDArray[np.intp] | None:
    """Return the rows that count for a requirement; `None` if rows without an answer count, too."""
    compared = (model, baseline) if requirement.of_baseline else (model,)
    figures = [each.figures[requirement.name] for each in compared if requirement.name in each.figures]
    if not any(each.leaves_out for each in figures):
        return None
    return np.flatnonzero(np.all([each.rows.answered for each in compared], axis=0))


def _why_unknown(requirement: Requirement, model: ModelResult, baseline: ModelResult) -> str:
    """Return which other vectors a figure, or that of the baseline, lacks; empty if none are missing."""
    compared = (model, baseline) if requirement.of_baseline else (model,)
    return "; ".join(
        f"{each.name}: {missing_text(each.counts)}" if requirement.of_baseline else missing_text(each.counts)
        for each in compared
        if requirement.name in each.figures and not each.counts.others_known
    )


def _caveat(requirement: Requirement, model: ModelResult, baseline: ModelResult) -> str:
    """Return why a requirement that is met may not be met by more rows; empty if nothing says so."""
    measured = model.comparisons if requirement.of_baseline else model.figures
    found, caveats = measured.get(requirement.name), []
    if found is not None and found.low is not None and found.high is not None:
        low, high = found.low, found.high
        if not (requirement.holds(low, requirement.bound) and requirement.holds(high, requirement.bound)):
            what = "interval of the difference" if requirement.of_baseline else "interval"
            caveats.append(f"the {what}, {low:.4f} to {high:.4f}, holds figures that do not meet it")
    counted = _counted(requirement, model, baseline)
    if counted is not None and (left_out := len(model.rows) - len(counted)):
        caveats.append(f"{count_text(left_out, 'row')} without an answer left out")
    if model.output.is_cut:
        caveats.append("the run was limited to some rows")
    caveats += failed_texts(model.failed_here, model.counts)
    if missing := model.outcomes.get("not_reached", 0):
        caveats.append(f"{count_text(missing, 'labelled row')} not scored yet")
    return "; ".join(caveats)


def _needs_answers(model: ModelResult, spec: EvaluationSpec, *, is_baseline: bool) -> bool:
    """Whether a row without an answer could meet a requirement: then all rows must have one."""
    figures = [each for each in spec.requirements if each.name in model.figures]
    return (
        any(each.is_ceiling or spec.options.exclude or model.failed_here for each in figures)
        or any(
            model.figures[each.name].unanswered == "withheld" and model.counts.others_known
            for each in figures
        )
        or (is_baseline and any(each.of_baseline for each in spec.requirements))
    )


def _common(measured: Sequence[ModelRows]) -> list[ModelRows]:
    """Return the rows that all models have, in one order."""
    if len(measured) == 1:
        return list(measured)
    numbered = [_numbered(each.keys[:, 0]) for each in measured]
    shared = numbered[0]
    for keys in numbered[1:]:
        shared = np.intersect1d(shared, keys)
    if not shared.size:
        raise InputError(
            "no row is in all outputs, so they cannot be compared. They must be scores of the same files, or "
            "have ids: then give a file of labels by id."
        )
    chosen = []
    for each, keys in zip(measured, numbered, strict=True):
        order = np.argsort(keys)
        chosen.append(each.choose(order[np.searchsorted(keys, shared, sorter=order)]))
    if any(not np.array_equal(chosen[0].keys[:, 1], each.keys[:, 1]) for each in chosen[1:]):
        raise InputError(
            "the outputs have different labels for the same rows, as those of different versions of a file "
            "have. Give one file of labels by id."
        )
    return chosen


def _numbered(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return keys that differ, also of rows with one id: the second of them is paired with the second."""
    order = np.argsort(keys, kind="stable")
    begins = np.r_[True, np.diff(keys[order]) > 0]
    numbers = np.arange(len(keys)) - np.flatnonzero(begins)[np.cumsum(begins) - 1]
    found: npt.NDArray[np.uint64] = keys.copy()
    found[order] += numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return found


def _corrected(models: Sequence[ModelResult], names: Sequence[str]) -> list[ModelResult]:
    """Return the results with p-values that are corrected for the number of models."""
    corrected: list[dict[str, Comparison | None]] = [dict(each.comparisons) for each in models]
    for name in names:
        places = [place for place, each in enumerate(corrected) if each.get(name) is not None]
        found = with_holm([each for place in places if (each := corrected[place][name]) is not None])
        for place, comparison in zip(places, found, strict=True):
            corrected[place][name] = comparison
    return [replace(each, comparisons=found) for each, found in zip(models, corrected, strict=True)]


def _result(
    rows: ModelRows,
    baseline: ModelRows | None,
    names: Sequence[str],
    reading: Reading,
    options: FigureOptions,
) -> ModelResult:
    outcomes = Counter(OUTCOMES[place] for place in rows.outcomes.tolist())
    hows = Counter(HOWS[place] for place in rows.hows[rows.answered].tolist())
    return ModelResult(
        rows.name,
        rows,
        rows.counts,
        {name: figure_of(name, rows, reading, options) for name in names},
        {name: outcomes[name] for name in OUTCOMES if outcomes[name]},
        {name: hows[name] for name in HOWS if hows[name]} if reading.task.kind == "labels" else {},
        sorted(rows.texts.items(), key=lambda each: (-each[1], each[0]))[:_MOST_TEXTS],
        rows.cut,
        _slices(rows, names[0], reading, options),
        {} if baseline is None else {name: compare(name, rows, baseline, reading, options) for name in names},
        cost_of(
            rows.output,
            len(rows) - outcomes["not_reached"],
            right_rows(rows, reading) if rows.counts.others_known else None,
        ),
        confusion_of(rows, reading) if reading.task.has_classes and rows.counts.others_known else None,
    )


def _slices(rows: ModelRows, main: str, reading: Reading, options: FigureOptions) -> list[SliceFigure]:
    found = []
    for column in reading.slices:
        values = rows.group_names[column]
        for code in sorted(set(rows.groups[column].tolist()), key=values.__getitem__):
            chosen = rows.choose(np.flatnonzero(rows.groups[column] == code))
            found.append(SliceFigure(column, values[code], main, figure_of(main, chosen, reading, options)))
    return found
