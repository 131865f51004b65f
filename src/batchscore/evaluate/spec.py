"""What does the user ask for, and how are the answers of each model read then?

The task is guessed if nobody named it, and the labels are those that occur. Other vectors that a task needs
are read. It computes nothing.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from batchscore.errors import InputError, UsageError, count_text, setting_name
from batchscore.evaluate.figures import FigureOptions
from batchscore.evaluate.fold import Labels, merged_names, text_of
from batchscore.evaluate.gates import COUNTS, Requirement
from batchscore.evaluate.judges import Reading
from batchscore.evaluate.labels import JoinCounts, LabelSource, label_order
from batchscore.evaluate.metrics.classification import FIGURES
from batchscore.evaluate.outcomes import RowOutcome, vector_outcome
from batchscore.evaluate.scored import ScoredOutput
from batchscore.evaluate.tasks import EVALUATION_TASKS, SECOND, EvaluationTask, guess_task, lists_in
from batchscore.evaluate.vector_judges import Documents, PairedRows, Second, TrainingRows

#: How many labels are read to guess the task.
_GUESSED_FROM = 1000

#: Labels of more classes than this are most likely texts, or ids.
_MOST_CLASSES = 2000

#: The task if nobody named one, by the option that names other vectors.
_GUESSED = {"pair": "sts", "train": "embedding-classification", "documents": "retrieval"}


@dataclass(frozen=True, slots=True)
class EvaluationSpec:
    """What the user asks for. `labels` may be empty: then they are those that occur. `task` may be guessed.

    `baseline` is the place of the output that the others are compared with. `metrics` are figures beside
    those of the task. `second` are the outputs with the other vectors that a task needs, one for each model
    or one for all; `option` is `pair`, `train` or `documents`, and says what they are.
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
    option: str = ""
    second: tuple[ScoredOutput, ...] = ()
    ignore_identical: bool = False

    @property
    def figures(self) -> tuple[str, ...]:
        """The figures beside those of the task, also those of requirements."""
        of_rules = (each.name for each in self.requirements if each.name not in COUNTS)
        return tuple(dict.fromkeys((*self.metrics, *of_rules)))

    def asks_for_classes(self, task: EvaluationTask) -> bool:
        """Whether what the user gives is for classes, and not for a task that was guessed."""
        of_classes = any(name in FIGURES and name not in task.shown for name in self.figures)
        return of_classes or bool(self.labels.names or self.labels.spellings)

    def options_for_others(self, task: EvaluationTask) -> Iterator[str]:
        """Yield the options that are given, and have no effect on a task."""
        if task.kind != "labels":
            yield from ["--labels"] if self.labels.names else []
            yield from ["--map"] if self.labels.spellings else []
        if self.pattern is not None and task.kind not in {"labels", "numbers"}:
            yield "--pattern"


Outputs = Sequence[tuple[str, ScoredOutput]]


def reading_of(outputs: Outputs, spec: EvaluationSpec) -> Reading:
    """Return how answers are read, still without other vectors; the labels that occur are read."""
    _refuse_other_answers(outputs, spec)
    task, unsure = spec.task, ""
    if task is None and spec.option:
        task = EVALUATION_TASKS[_GUESSED[spec.option]]
    elif task is None:
        golds = _some_golds(outputs[0][1], spec.source)
        task, unsure = guess_task(golds)
        if spec.asks_for_classes(task) and not lists_in(golds):
            task, unsure = EVALUATION_TASKS["text-classification"], ""
    labels = spec.labels
    _refuse_other_options(task, spec)
    if task.kind == "labels":
        if not labels.names:
            labels = _labels_in(outputs, spec.source, labels.spellings)
        if labels.unknown:
            raise InputError(
                f"other spellings are given for {labels.unknown[0]!r}, which is none of the labels: "
                f"{', '.join(labels.names)}."
            )
    if task.kind in {"probe", "neighbours", "clusters"}:
        training = [("", each) for each in spec.second]
        labels = _labels_in([*outputs, *training], spec.source)
    return Reading(
        task,
        labels,
        spec.field,
        spec.pattern,
        spec.slices,
        spec.options.cluster,
        metrics=spec.figures,
        ignore_identical=spec.ignore_identical,
        unsure=unsure,
    )


def with_second(reading: Reading, spec: EvaluationSpec, place: int) -> Reading:
    """Return how the answers of one model are read, with the other vectors that its task needs."""
    if not spec.second:
        return reading
    output = spec.second[place if len(spec.second) > 1 else 0]
    found: Second
    if spec.option == "pair":
        by_key = defaultdict[int, list[RowOutcome]](list)
        for key, settled in spec.source.keyed(output):
            by_key[key].append(vector_outcome(settled))
        found = PairedRows(by_key)
    elif spec.option == "train":
        found = _training_rows(output, spec.source, reading.labels)
    else:
        found = _documents(output)
    return replace(reading, second=found)


def _training_rows(output: ScoredOutput, source: LabelSource, labels: Labels) -> TrainingRows:
    places = {name: place for place, name in enumerate(labels.names)}
    vectors, golds, keys, absent = [], [], set[int](), 0
    for row in source.rows(output, JoinCounts()):
        outcome = vector_outcome(row.scored.settled)
        absent += not outcome.is_answered and (row.gold is not None or row.scored.is_unread)
        if row.gold is not None and outcome.is_answered:
            vectors.append(outcome.value)
            golds.append(places[labels.find(text_of(row.gold) or "") or ""])
            if source.file is not None:  # else two inputs may have a file of one name
                keys.add(row.key)
    if len(set(golds)) < 2:
        without = f" {count_text(absent, 'training row')} without a vector." if absent else ""
        raise InputError(
            f"{output.named}: rows of two labels or more, with vectors, are needed to learn from.{without}"
        )
    return TrainingRows(
        np.stack(vectors), np.array(golds, dtype=np.intp), frozenset(keys), absent, output.is_cut
    )


def _documents(output: ScoredOutput) -> Documents:
    vectors, ids, absent = [], dict[str, None](), 0
    for row in output.rows(frozenset()):
        outcome = vector_outcome(row.settled)
        if row.id is None and not (output.id_names and row.is_unread):
            where = f"{row.file}, row {row.row}, has no id. Give each document one, and score"
            where = where if output.id_names else "its rows have no ids. Score"
            raise InputError(f"{output.named}: {where} the documents with {setting_name('id')}.")
        if row.id in ids:
            raise InputError(f"{output.named}: two documents have the id {row.id!r}.")
        if row.id is not None and outcome.is_answered:
            ids[row.id] = None
            vectors.append(outcome.value)
        else:
            absent += 1
    if not vectors:
        raise InputError(f"{output.named}: no document has a vector.")
    return Documents(np.stack(vectors), list(ids), absent, output.is_cut)


def _refuse_other_answers(outputs: Outputs, spec: EvaluationSpec) -> None:
    """Raise `UsageError` if the scores are not what the task measures, or the other vectors are missing."""
    guessed = EVALUATION_TASKS[_GUESSED.get(spec.option, "text-generation")]
    needed = SECOND.get((spec.task or guessed).kind)
    kinds = {output.task.answer == "vector": output.named for _, output in outputs}
    if len(kinds) > 1:
        raise UsageError(
            f"{kinds[True]} has vectors and {kinds[False]} has texts: they cannot be compared. Evaluate each "
            "by itself."
        )
    for _, output in outputs:
        if needed is None and output.task.answer == "vector":
            raise UsageError(
                f"{output.named} has vectors. Give --pair and the column of similarities, --train and the "
                "column of classes, --documents and --qrels, or --as clustering and the column of classes."
            )
        if needed is not None and output.task.answer != "vector":
            raise UsageError(f"{output.named} has texts, and this task measures vectors.")
    if needed is None:
        return
    if needed != spec.option:
        wrong = f"--{spec.option} is for another task" if spec.option else "other vectors are needed"
        right = f"name their scores with --{needed}" if needed else "it needs no other vectors"
        raise UsageError(f"{(spec.task or guessed).name}: {wrong}; {right}.")
    for output in spec.second:
        if output.task.answer != "vector":
            raise UsageError(f"{output.named} has texts, and --{needed} is for vectors.")
    for output in spec.second:
        _refuse_same(output, [each for _, each in outputs], spec.option)
    if len(spec.second) not in {0, 1, len(outputs)}:
        raise UsageError(f"give --{needed} once for all SCORES, or once for each of them.")


def _refuse_other_options(task: EvaluationTask, spec: EvaluationSpec) -> None:
    """Raise `UsageError` if an option would have no effect."""
    for option in spec.options_for_others(task):
        other = ", or name the task that it is for with --as, such as text-classification"
        raise UsageError(
            f"{option} has no effect on {task.name}. Leave it out{'' if task.kind in SECOND else other}."
        )


def _refuse_same(second: ScoredOutput, outputs: Sequence[ScoredOutput], option: str) -> None:
    """Raise `UsageError` if other vectors are those that are measured: figures would be perfect."""
    for output in outputs:
        if option == "pair" and second.layout.root == output.layout.root:
            raise UsageError(
                f"--pair {second.named} is the output that is measured, so every pair would be of two equal "
                "vectors. Score the column of the second texts, and name that output."
            )
        shared = output.input_digests & second.input_digests
        if option == "train" and shared:
            file = next(each.file for each in second.manifests if each.input in shared)
            raise UsageError(
                f"--train {second.named} and {output.named} have scores of the same file, {file}: it would "
                "be measured on the rows that it learned from. Score other rows, and name their output with "
                "--train."
            )


def _some_golds(output: ScoredOutput, source: LabelSource) -> list[Any]:
    golds: list[Any] = []
    for row in source.rows(output, JoinCounts()):
        if row.gold is not None:
            golds.append(row.gold)
        if len(golds) == _GUESSED_FROM:
            break
    return golds


def _labels_in(outputs: Outputs, source: LabelSource, spellings: Mapping[str, str] | None = None) -> Labels:
    """Return the labels that occur, of which those that differ only in their spelling are one."""
    if source.file is not None:
        found = Counter(map(text_of, source.file.by_id.values()))
    else:
        # All outputs, since one of them may have rows that the others have not.
        found = Counter(
            text_of(row.gold) for _, output in outputs for row in source.rows(output, JoinCounts())
        )
    del found[None]
    if len(found) > _MOST_CLASSES:
        raise InputError(
            f"the column {source.column!r} has {len(found):,} different labels, which is too many classes. "
            "Name another column, or another task, such as question-answering."
        )
    names = merged_names({text: count for text, count in found.items() if text is not None})
    merged = {name: each for name, each in names.items() if len(each) > 1}
    return Labels(sorted(names, key=label_order), spellings, merged)
