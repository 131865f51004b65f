"""Which rows does the page show, and what is in them?

They are chosen from the arrays of all rows, and read from rows.parquet. The number of rows is limited, and
the page says so. It writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from batchscore.evaluate.evaluation import Evaluation
from batchscore.evaluate.figures import row_values
from batchscore.evaluate.statistics.intervals import Floats
from batchscore.evaluate.write import ROWS_PER_GROUP
from batchscore.stores.address import Place
from batchscore.stores.objects import open_parquet_part

#: Most rows of one cell of a confusion matrix, of one list, and of one chart; most cells of one matrix.
PER_CELL, PER_LIST, PER_CHART, MOST_CELLS = 5, 15, 1000, 60

Places = Sequence[int]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a confusion matrix: how many rows it has, and the first of them."""

    gold: int
    found: int
    count: int
    rows: Places


@dataclass(frozen=True, slots=True)
class Examples:
    """What the page shows of rows. `cells` are of each model, `lists` have titles; `points` are of a chart.

    `row(model, place)` gives a row as rows.parquet has it; places count the rows that all models have.
    """

    cells: Sequence[Sequence[Cell]]
    lists: Sequence[tuple[str, Places]]
    points: Places
    known: Mapping[tuple[int, int], Mapping[str, Any]] = field(default_factory=dict)

    def row(self, model: int, place: int) -> Mapping[str, Any]:
        """Return one row of a model."""
        return self.known[model, place]


def examples_of(evaluation: Evaluation, rows_file: Place) -> Examples:
    """Choose the rows that the page shows, and read them."""
    values = [row_values(evaluation.main, model.rows, evaluation.reading) for model in evaluation.models]
    chosen = Examples(
        [_cells(model.confusion, model.rows.cells) for model in evaluation.models],
        _lists(evaluation, [each for each in values if each is not None]),
        _points(evaluation),
    )
    every = range(len(evaluation.models))
    wanted = {(model, place) for _, places in chosen.lists for place in places for model in every}
    wanted |= {(model, place) for model in every for each in chosen.cells[model] for place in each.rows}
    wanted |= {(model, place) for model in every for place in chosen.points}
    return Examples(chosen.cells, chosen.lists, chosen.points, _read(evaluation, rows_file, wanted))


def _cells(confusion: npt.NDArray[np.intp] | None, cells: npt.NDArray[np.intp] | None) -> list[Cell]:
    """Return the cells of wrong rows, those with most rows first."""
    if confusion is None or cells is None:
        return []
    width, found = confusion.shape[1], list[Cell]()
    order = np.argsort(-confusion, axis=None, kind="stable")
    for code in order.tolist():
        gold, answer = divmod(code, width)
        count = int(confusion[gold, answer])
        if count and gold != answer and len(found) < MOST_CELLS:
            places = np.flatnonzero(cells == code)[:PER_CELL]
            found.append(Cell(gold, answer, count, places.tolist()))
    return found


@np.errstate(all="ignore")
def _lists(evaluation: Evaluation, values: Sequence[Floats]) -> list[tuple[str, Places]]:
    """Return rows where models differ in both directions, then those that are worst for all."""
    models = evaluation.models
    if len(values) < len(models):
        return []
    base = values[evaluation.baseline]
    found = []
    for place, (model, own) in enumerate(zip(models, values, strict=True)):
        compared = (model, models[evaluation.baseline])
        if place == evaluation.baseline or not all(each.counts.others_known for each in compared):
            continue
        for sign, word in ((1, "better"), (-1, "worse")):
            gain = np.nan_to_num(sign * (own - base))
            title = f"{model.name} is {word} than {models[evaluation.baseline].name}"
            found.append((title, _first(-gain, gain > 0)))
    together = np.nan_to_num(np.stack(values), nan=-np.inf).sum(axis=0)
    if evaluation.task.has_classes:
        title = "Wrong for all models" if len(models) > 1 else "Wrong rows"
        return [*found, (title, _first(together, together == 0))]
    title = f"Lowest {evaluation.main}"
    shown = np.isfinite(together)
    if evaluation.task.kind == "numbers":
        title, shown = "Answers furthest from their labels", shown & (together < 0)
    if evaluation.task.kind == "pairs":
        title = "Cosines furthest from their labels, both in standard deviations from their means"
    return [*found, (title, _first(together, shown))]


def _first(order: Floats, chosen: npt.NDArray[np.bool_]) -> list[int]:
    places = np.flatnonzero(chosen)
    return [int(each) for each in places[np.argsort(order[places], kind="stable")][:PER_LIST]]


def _points(evaluation: Evaluation) -> list[int]:
    """Return answered rows of the first model at equal distances, for a chart of pairs."""
    if evaluation.task.kind not in {"pairs", "numbers"}:
        return []
    answered = np.flatnonzero(evaluation.models[0].rows.answered)
    step = max(1, -(-len(answered) // PER_CHART))
    return [int(each) for each in answered[::step]]


def _read(
    evaluation: Evaluation, rows_file: Place, wanted: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], Mapping[str, Any]]:
    """Return rows of models by their places, reading only the groups that hold them."""
    starts = np.cumsum([0, *(model.counts.labelled for model in evaluation.models)])
    by_group: dict[int, dict[int, tuple[int, int]]] = {}
    for model, place in sorted(wanted):
        at = int(starts[model] + evaluation.models[model].rows.positions[place])
        by_group.setdefault(at // ROWS_PER_GROUP, {})[at % ROWS_PER_GROUP] = (model, place)
    found = dict[tuple[int, int], Mapping[str, Any]]()
    with open_parquet_part(rows_file) as file:
        for group, keys in by_group.items():
            rows = file.read_row_group(group, use_threads=False).take(list(keys)).to_pylist()
            found.update(zip(keys.values(), rows, strict=True))
    return found
