"""How good are the scores of one or several outputs? One evaluation, from what the user asks to its result.

It reads outputs, inputs and labels, and sends nothing. Models are compared on the rows that all of them were
given.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from batchscore.errors import InputError, UsageError
from batchscore.evaluate.figures import (
    Figure,
    FigureOptions,
    check_names,
    compare,
    confusion_of,
    detectable,
    figure_of,
)
from batchscore.evaluate.find_label import HOWS
from batchscore.evaluate.fold import Labels, text_of
from batchscore.evaluate.gates import Gate, Requirement, check
from batchscore.evaluate.judges import Reading
from batchscore.evaluate.labels import JoinCounts, LabelSource, label_names
from batchscore.evaluate.measure import EvaluatedRow, ModelRows, measure
from batchscore.evaluate.metrics.classification import per_class
from batchscore.evaluate.outcomes import OUTCOMES, RowOutcome, vector_outcome
from batchscore.evaluate.scored import ScoredOutput
from batchscore.evaluate.statistics.compare import Comparison, with_holm
from batchscore.evaluate.tasks import EVALUATION_TASKS, EvaluationTask, guess_task
from batchscore.evaluate.vector_judges import TrainingRows

#: How many labels are read to guess the task, and how many texts without a label are reported.
_GUESSED_FROM = 1000
_MOST_TEXTS = 20

#: Labels of more classes than this are most likely texts, or ids.
_MOST_CLASSES = 2000


@dataclass(frozen=True, slots=True)
class EvaluationSpec:
    """What the user asks for. `labels` may be empty: then they are those that occur. `task` may be guessed.

    `baseline` is the place of the output that the others are compared with. `metrics` are figures beside
    those of the task. `pair` has the other vectors of pairs, `train` those that a probe learns from.
    """

    source: LabelSource
    task: EvaluationTask | None
    labels: Labels
    options: FigureOptions
    field: str | None = None
    pattern: re.Pattern[str] | None = None
    slices: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    baseline: int = 0
    pair: ScoredOutput | None = None
    train: ScoredOutput | None = None


@dataclass(frozen=True, slots=True)
class SliceFigure:
    """The main figure of the rows that have one value in a column."""

    column: str
    value: str
    figure: Figure


@dataclass(frozen=True, slots=True)
class ModelResult:
    """What was measured of one model.

    `confusion` and `classes` are of a task with labels. `outcomes` and `hows` count the rows. `texts` are the
    most frequent ones that gave no label. `cut`: answered rows whose text was cut after the answer.
    `only_here` counts rows that other models have not.
    """

    name: str
    output: ScoredOutput
    counts: JoinCounts
    figures: Mapping[str, Figure]
    outcomes: Mapping[str, int]
    hows: Mapping[str, int]
    texts: Sequence[tuple[str, int]]
    cut: int
    slices: Sequence[SliceFigure]
    comparisons: Mapping[str, Comparison | None]
    confusion: npt.NDArray[np.intp] | None = None
    only_here: int = 0

    @property
    def coverage(self) -> float:
        """The share of rows with an answer."""
        total = sum(self.outcomes.values())
        return self.outcomes.get(OUTCOMES[0], 0) / total if total else 0.0

    @property
    def classes(self) -> Mapping[str, Any] | None:
        """Precision, recall, F1 and support of each class."""
        return None if self.confusion is None else per_class(self.confusion)

    def values(self) -> dict[str, float | None]:
        """Return all figures that a requirement can name."""
        return {"coverage": self.coverage} | {name: each.value for name, each in self.figures.items()}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result. `guessed`: nobody named the task. `detectable` is a difference of the main figure."""

    task: EvaluationTask
    guessed: bool
    labels: tuple[str, ...]
    main: str
    models: tuple[ModelResult, ...]
    baseline: int
    rows: int
    detectable: float | None
    gates: tuple[Gate, ...]
    options: FigureOptions

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
        raise UsageError("two models have the same name. Give each output a name of its own.")
    reading = _reading(outputs, spec)
    measured = [
        measure(name, output, spec.source, reading, lambda row, name=name: write(name, row))  # type: ignore[misc]
        for name, output in outputs
    ]
    names = tuple(dict.fromkeys((*reading.task.shown, *spec.metrics, *_required(spec))))
    check_names(names, reading, measured[0].tables)
    common, only_here = _common(measured, reading)
    baseline = common[spec.baseline]
    results = []
    for place, (rows, others_left_out) in enumerate(zip(common, only_here, strict=True)):
        result = _result(rows, None if place == spec.baseline else baseline, names, reading, spec.options)
        results.append(replace(result, only_here=others_left_out))
    models = _corrected(results, names)
    main = names[0]
    others = [rows for place, rows in enumerate(common) if place != spec.baseline]
    before = models[spec.baseline].values()
    return Evaluation(
        reading.task,
        spec.task is None,
        reading.labels.names,
        main,
        tuple(models),
        spec.baseline,
        len(baseline),
        detectable(main, others[0] if others else baseline, baseline if others else None, reading),
        tuple(
            check(each, model.name, model.values(), before) for each in spec.requirements for model in models
        ),
        spec.options,
    )


def _required(spec: EvaluationSpec) -> list[str]:
    return [each.name for each in spec.requirements if each.name != "coverage"]


def _reading(outputs: Sequence[tuple[str, ScoredOutput]], spec: EvaluationSpec) -> Reading:
    """Return how answers are read; the labels that occur are read first if the task has labels."""
    _refuse_other_answers(outputs, spec)
    task = spec.task
    if task is None:
        task = _vector_task(spec) or guess_task(_some_golds(outputs[0][1], spec.source))
    labels = spec.labels
    if task.kind == "labels":
        labels = Labels(labels.names or _names_in(outputs, spec.source), labels.spellings)
        if labels.unknown:
            raise InputError(
                f"other spellings are given for {labels.unknown[0]!r}, which is none of the labels: "
                f"{', '.join(labels.names)}."
            )
    partners: Mapping[int, RowOutcome] = {}
    if spec.pair is not None:
        rows = spec.source.rows(spec.pair, JoinCounts())
        partners = {row.key: vector_outcome(row.scored.settled) for row in rows}
    training = None
    if spec.train is not None and task.kind == "probe":
        labels = Labels(_names_in([*outputs, ("", spec.train)], spec.source))
        training = _training_rows(spec.train, spec.source, labels)
    return Reading(
        task, labels, spec.field, spec.pattern, spec.slices, spec.options.cluster, partners, training
    )


def _vector_task(spec: EvaluationSpec) -> EvaluationTask | None:
    if spec.pair is not None:
        return EVALUATION_TASKS["sts"]
    return None if spec.train is None else EVALUATION_TASKS["embedding-classification"]


def _training_rows(output: ScoredOutput, source: LabelSource, labels: Labels) -> TrainingRows:
    places = {name: place for place, name in enumerate(labels.names)}
    vectors, golds = [], []
    for row in source.rows(output, JoinCounts()):
        outcome = vector_outcome(row.scored.settled)
        if row.gold is not None and outcome.is_answered:
            vectors.append(outcome.value)
            golds.append(places[text_of(row.gold) or ""])
    if len(set(golds)) < 2:
        raise InputError(f"{output.named}: a probe needs labelled rows of two labels or more to learn from.")
    return TrainingRows(np.stack(vectors), np.array(golds, dtype=np.intp))


def _refuse_other_answers(outputs: Sequence[tuple[str, ScoredOutput]], spec: EvaluationSpec) -> None:
    """Raise `UsageError` if the scores are not what the task measures: vectors, or texts."""
    kind = (spec.task or _vector_task(spec) or EVALUATION_TASKS["text-generation"]).kind
    needed = {"pairs": ("--pair", spec.pair), "probe": ("--train", spec.train)}.get(kind)
    for _, output in outputs:
        if needed is None and output.task.answer == "vector":
            raise UsageError(
                f"{output.named} has vectors. Give --pair and the column of similarities, or --train and the "
                "column of classes."
            )
        if needed is not None and output.task.answer != "vector":
            raise UsageError(f"{output.named} has texts, and {needed[0]} is for vectors.")
    if needed is not None and (needed[1] is None or needed[1].task.answer != "vector"):
        raise UsageError(f"this task measures vectors: give other vectors with {needed[0]}.")


def _some_golds(output: ScoredOutput, source: LabelSource) -> list[Any]:
    golds: list[Any] = []
    for row in source.rows(output, JoinCounts()):
        if row.gold is not None:
            golds.append(row.gold)
        if len(golds) == _GUESSED_FROM:
            break
    return golds


def _names_in(outputs: Sequence[tuple[str, ScoredOutput]], source: LabelSource) -> list[str]:
    if source.file is not None:
        found: set[Any] = {text_of(gold) for gold in source.file.by_id.values()}
    else:
        # All outputs, since one of them may have rows that the others have not.
        found = set()
        for _, output in outputs:
            for row in source.rows(output, JoinCounts()):
                if row.gold is not None:
                    found.add(text_of(row.gold))
    if len(found) > _MOST_CLASSES:
        raise InputError(
            f"the column {source.column!r} has {len(found):,} different labels, which is too many classes. "
            "Name another column, or another task, such as question-answering."
        )
    return label_names(found - {None})


def _common(measured: Sequence[ModelRows], reading: Reading) -> tuple[list[ModelRows], list[int]]:
    """Return the rows that all models have, in one order, and how many others each has."""
    if len(measured) == 1:
        return list(measured), [0]
    shared = measured[0].keys
    for each in measured[1:]:
        shared = np.intersect1d(shared, each.keys)
    if not shared.size:
        raise InputError(
            "no row is in all outputs, so they cannot be compared. They must be scores of the same files, or "
            "have ids: then give a file of labels by id."
        )
    chosen = []
    for each in measured:
        keys, first = np.unique(each.keys, return_index=True)
        chosen.append(each.choose(first[np.searchsorted(keys, shared)]))
    if reading.task.kind == "labels":
        width = len(reading.labels.names) + 1
        golds = [each.cells // width for each in chosen if each.cells is not None]
        if any(not np.array_equal(golds[0], each) for each in golds[1:]):
            raise InputError(
                "the outputs have different labels for the same rows. Give one file of labels by id."
            )
    return chosen, [len(each) - len(shared) for each in measured]


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
        rows.output,
        rows.counts,
        {name: figure_of(name, rows, reading, options) for name in names},
        {name: outcomes[name] for name in OUTCOMES if outcomes[name]},
        {name: hows[name] for name in HOWS if hows[name]} if reading.task.kind == "labels" else {},
        sorted(rows.texts.items(), key=lambda each: (-each[1], each[0]))[:_MOST_TEXTS],
        rows.cut,
        _slices(rows, names[0], reading, options),
        {} if baseline is None else {name: compare(name, rows, baseline, reading, options) for name in names},
        confusion_of(rows, reading) if reading.task.kind == "labels" else None,
    )


def _slices(rows: ModelRows, main: str, reading: Reading, options: FigureOptions) -> list[SliceFigure]:
    found = []
    for column in reading.slices:
        values = rows.group_names[column]
        for code in sorted(set(rows.groups[column].tolist()), key=values.__getitem__):
            chosen = rows.choose(np.flatnonzero(rows.groups[column] == code))
            found.append(SliceFigure(column, values[code], figure_of(main, chosen, reading, options)))
    return found
