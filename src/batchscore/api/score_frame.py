"""Score a table in memory: how does a frame come back with its answers as columns?

It takes frames of pandas, polars and pyarrow, and gives a copy of the same kind, in the same order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from batchscore.api.frames import Cells, columns_of, length_of, library_of, rows_of, table_of, with_columns
from batchscore.api.progress_text import shown
from batchscore.api.score_rows import FOR_ROWS, Scored, results_of, with_text_column
from batchscore.errors import BatchscoreError
from batchscore.mlflow_model.resolve import settings_without_output
from batchscore.output.answer_columns import STATUS, answer_columns, free_names
from batchscore.settings.arguments import RowSettings, show_settings
from batchscore.settings.fields import Settings
from batchscore.task import TASKS

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: The JSON Schema of answers that have none.
TEXT = {"type": "string"}

#: The code of rows that a call did not reach before an error ended it.
NOT_REACHED = "not_reached"


@show_settings(RowSettings)
def score_frame(
    frame: Any, *, task: str, model: str, progress: bool = False, **settings: Unpack[RowSettings]
) -> Any:
    """Return a copy of a frame with the answers as columns; pandas keeps its index.

    The frame is a DataFrame of pandas or polars, or a pyarrow Table. The new columns are `embeddings`,
    or `answer` (with a `schema` one for each of its fields, and `answer` for whole answers that have more)
    and `finish_reason`, and then `error_code` and `error_message`, which are null for scored rows. A new
    column whose name the frame has gets a number (`answer_1`). None, NaN, NaT and NA are empty cells.
    `progress` shows a line in a terminal or a notebook.

    The signature shows all settings, and `batchscore score --help` explains them. Most calls set `column` or
    `prompt`; `simulate=True` is a free rehearsal. Raises `UsageError` and `InputError` before the first
    request. If a `BatchscoreError` ends the work later, its attribute `frame` has the rows that were scored,
    and the others with the error code `not_reached`. For work that must survive a crash, use `score_files`.
    """
    library_of(frame)
    chosen = settings_without_output({**settings, "task": task, "model": model}, FOR_ROWS)
    table = table_of(frame)
    results: list[Scored | None] = [None] * length_of(frame)
    if results:
        chosen = with_text_column(chosen, table)
    try:
        if results:
            fill(results, frame, chosen, progress=progress)
    except BatchscoreError as error:
        error.frame = with_columns(frame, new_columns(columns_of(frame), results, chosen))
        raise
    return with_columns(frame, new_columns(columns_of(frame), results, chosen))


def fill(results: list[Scored | None], frame: Any, settings: Settings, *, progress: bool) -> None:
    """Score the rows of a frame, and put each result into its place."""
    failed = 0
    with (
        shown(len(results), wanted=progress) as count,
        closing(results_of(rows_of(frame), settings)) as scored,
    ):
        for each in scored:
            results[each.row] = each
            failed += each.error is not None
            count(failed)


def new_columns(
    taken: Sequence[str], results: Sequence[Scored | None], settings: Settings
) -> dict[str, Cells]:
    """Return the columns that hold the results; `taken` are the names of the frame's own."""
    import pyarrow as pa  # noqa: PLC0415 - it takes 0.1 s

    many, text = settings.answers_per_row > 1, pa.string()
    reason: Any = pa.list_(text) if many else text
    status: list[Cells] = [
        ([None if each is None else each.finish_reason for each in results], reason),
        ([code_of(each) for each in results], text),
        ([None if each is None or each.error is None else each.error.message for each in results], text),
    ]
    values = [None if each is None else each.value for each in results]
    if TASKS[settings.task].answer == "vector":
        answers: list[Cells] = [(values, pa.list_(pa.float32()))]
        names, status = [settings.task], status[1:]
    else:
        shown = answer_columns(settings.schema, many=many)
        names, rows = shown.names, [shown.cells(value) for value in values]
        whole = {"type": "array", "items": settings.schema or TEXT} if many else settings.schema or TEXT
        schemas = [*shown.fields.values(), {} if shown.fields else whole]
        answers = [
            typed([cells[place] for cells in rows], schemas[place], settings.schema)
            for place in range(len(names))
        ]
    own = free_names(STATUS[-len(status) :], taken)
    all_names = [*free_names(names, [*taken, *own]), *own]
    return dict(zip(all_names, [*answers, *status], strict=True))


def typed(values: Sequence[Any], schema: Any, root: Any) -> Cells:
    """Return cells with the type in Arrow of a part of a JSON Schema; JSON text if it cannot hold them."""
    import pyarrow as pa  # noqa: PLC0415 - as above

    from batchscore.output.records.answer_types import answer_type  # noqa: PLC0415 - loads pyarrow

    kind = answer_type(schema, root, lossless=False)
    with suppress(ArithmeticError, TypeError, ValueError):
        cells = [kind.to_cell(value) for value in values]
        pa.array(cells, type=kind.arrow)
        # An object in an answer may have more fields than its schema names.
        if not pa.types.is_nested(kind.arrow) or all(
            without_nulls(kind.from_cell(cell)) == without_nulls(value)
            for cell, value in zip(cells, values, strict=True)
        ):
            return cells, kind.arrow
    return [None if value is None else json.dumps(value) for value in values], pa.string()


def without_nulls(value: Any) -> Any:
    """Return a value of JSON without fields that are null: in a struct, a missing field is null."""
    if isinstance(value, list):
        return [without_nulls(each) for each in value]
    if isinstance(value, dict):
        return {name: without_nulls(each) for name, each in value.items() if each is not None}
    return value


def code_of(result: Scored | None) -> str | None:
    """Return the error code of a row; `None` if it was scored."""
    if result is None:
        return NOT_REACHED
    return None if result.error is None else result.error.code.value
