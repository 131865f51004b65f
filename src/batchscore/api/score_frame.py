"""Score a table in memory: how does a frame come back with its answers as columns?

It takes frames of pandas, polars and pyarrow, and gives a copy of the same kind, in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batchscore.api.frames import (
    FrameColumn,
    columns_of,
    length_of,
    library_of,
    rows_of,
    table_of,
    with_columns,
)
from batchscore.api.progress_text import shown
from batchscore.api.score_rows import FOR_ROWS, Scored, results_of
from batchscore.errors import BatchscoreError, UsageError
from batchscore.mlflow_model.resolve import settings_without_output
from batchscore.prompts.prompt import builder_for, parse_spec, text_column
from batchscore.settings.arguments import RowSettings, show_settings
from batchscore.settings.fields import Settings
from batchscore.settings.json_schema import resolve
from batchscore.settings.slices import PromptSettings, cut
from batchscore.task import TASKS

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: The columns of answers that are texts, and of what ended a row.
ANSWER, FINISH_REASON, ERROR_CODE, ERROR_MESSAGE = "answer", "finish_reason", "error_code", "error_message"

#: The code of rows that a call did not reach before an error ended it.
NOT_REACHED = "not_reached"


@show_settings(RowSettings)
def score_frame(
    frame: Any, *, task: str, model: str, progress: bool = False, **settings: Unpack[RowSettings]
) -> Any:
    """Return a copy of a frame with the answers as columns; pandas keeps its index.

    The frame is a DataFrame of pandas or polars, or a pyarrow Table. The new columns are `embeddings`,
    or `answer` (with a `schema` one for each of its fields) and `finish_reason`, and then `error_code` and
    `error_message`, which are null for scored rows. A field whose name the frame has is `answer.NAME`. None,
    NaN, NaT and NA are empty cells. `progress` shows a line in a terminal or a notebook.

    The signature shows all settings, and `batchscore score --help` explains them. Most calls set `column` or
    `prompt`; `simulate=True` is a free rehearsal. Raises `UsageError` and `InputError` before the first
    request. If a `BatchscoreError` ends the work later, its attribute `frame` has the rows that were scored,
    and the others with the error code `not_reached`. For work that must survive a crash, use `score_files`.
    """
    library_of(frame)
    chosen = settings_without_output({**settings, "task": task, "model": model}, FOR_ROWS)
    chosen = with_text_column(chosen, frame)
    fields = answer_fields(chosen)
    names = new_names(columns_of(frame), chosen, fields)
    results: list[Scored | None] = [None] * length_of(frame)
    try:
        if results:
            fill(results, frame, chosen, progress=progress)
    except BatchscoreError as error:
        error.frame = with_columns(frame, answer_columns(results, chosen, fields, names))
        raise
    return with_columns(frame, answer_columns(results, chosen, fields, names))


def with_text_column(settings: Settings, frame: Any) -> Settings:
    """Return settings that name the frame's text column; raises `InputError` if a column is missing."""
    spec, table = parse_spec(cut(PromptSettings, settings)), table_of(frame)
    if not length_of(frame):
        return settings
    builder_for(table, spec)
    column = text_column(table, spec)
    return settings if column is None else replace(settings, column=column)


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


def answer_fields(settings: Settings) -> dict[str, Any] | None:
    """Return the schemas of the answers' fields by name, `None` if an answer is one value."""
    root: Any = settings.schema
    while isinstance(root, Mapping) and "$ref" in root:
        root = resolve(root["$ref"], settings.schema)
    properties = root.get("properties") if isinstance(root, Mapping) else None
    if not isinstance(properties, Mapping) or not properties or settings.answers_per_row > 1:
        return None
    return dict(properties)


def new_names(taken: Sequence[str], settings: Settings, fields: Mapping[str, Any] | None) -> list[str]:
    """Return the names of the answers' columns; raises `UsageError` if the frame has one of the others."""
    if TASKS[settings.task].answer == "vector":
        names = [settings.task]
        others = [settings.task, ERROR_CODE, ERROR_MESSAGE]
    else:
        own = {*taken, FINISH_REASON, ERROR_CODE, ERROR_MESSAGE}
        names = (
            [ANSWER] if fields is None else [f"{ANSWER}.{name}" if name in own else name for name in fields]
        )
        others = [*names, FINISH_REASON, ERROR_CODE, ERROR_MESSAGE]
    clash = next((name for name in others if name in taken), None)
    if clash is not None:
        raise UsageError(f"frame has a column {clash!r}, as the answers would; drop or rename it.")
    return names


def answer_columns(
    results: Sequence[Scored | None],
    settings: Settings,
    fields: Mapping[str, Any] | None,
    names: Sequence[str],
) -> list[FrameColumn]:
    """Return the columns that hold the results."""
    import pyarrow as pa  # noqa: PLC0415 - it takes 0.1 s

    from batchscore.output.records.answer_types import answer_type  # noqa: PLC0415 - loads pyarrow

    many = settings.answers_per_row > 1
    values = [None if each is None else each.value for each in results]
    text: Any = pa.list_(pa.string()) if many else pa.string()
    columns: list[FrameColumn] = []
    if TASKS[settings.task].answer == "vector":
        columns.append(FrameColumn(names[0], values, pa.list_(pa.float32())))
    elif fields is not None:
        for name, (key, part) in zip(names, fields.items(), strict=True):
            kind = answer_type(part, settings.schema)
            cells = [kind.to_cell(None if value is None else value.get(key)) for value in values]
            columns.append(FrameColumn(name, cells, kind.arrow))
    elif settings.schema is not None:
        part = settings.schema if not many else {"type": "array", "items": settings.schema}
        kind = answer_type(part, settings.schema)
        columns.append(FrameColumn(names[0], list(map(kind.to_cell, values)), kind.arrow))
    else:
        columns.append(FrameColumn(names[0], values, text))
    if TASKS[settings.task].answer != "vector":
        reasons = [None if each is None else each.finish_reason for each in results]
        columns.append(FrameColumn(FINISH_REASON, reasons, text))
    codes = [code_of(each) for each in results]
    errors = [None if each is None or each.error is None else each.error.message for each in results]
    return [
        *columns,
        FrameColumn(ERROR_CODE, codes, pa.string()),
        FrameColumn(ERROR_MESSAGE, errors, pa.string()),
    ]


def code_of(result: Scored | None) -> str | None:
    """Return the error code of a row; `None` if it was scored."""
    if result is None:
        return NOT_REACHED
    return None if result.error is None else result.error.code.value
