"""How does MLflow call our engine: a DataFrame in, a DataFrame out?

MLflow finds this module by its name, which is in each saved model (`loader_module`). It handles what is
special about MLflow: frames, `params` with their defaults filled in, and hosts that turn null into text
(`spark_udf`), so text columns here are never null.

The returned frame has the input's index. Each row has `embeddings` (float32, null if the row failed) or
`completions` or `chat` with `finish_reason`, and `error` and `error_message`, which are empty for scored
rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd

from batchscore.api.score_rows import FOR_ROWS, Scored, refuse_batches, results_of, with_text_column
from batchscore.errors import ErrorCode, RowFailed, UsageError
from batchscore.mlflow_model.folder import ANSWERS, check_answers
from batchscore.mlflow_model.read import SavedModel, own_settings, parameters, read_saved
from batchscore.mlflow_model.resolve import settings_below
from batchscore.rows import TEXT_COLUMN, Table
from batchscore.settings.arguments import FileSettings
from batchscore.settings.fields import Settings
from batchscore.settings.json_schema import schema_document
from batchscore.settings.sources import gather, without_settings
from batchscore.task import TASKS

#: Settings whose variables a host may have for other runs, about files or records. The caller of a model that
#: is served must not be able to name files.
NOT_FOR_FRAMES = FileSettings.__annotations__.keys() - FOR_ROWS
NOT_FOR_FRAMES |= {"output", "model", "usage", "raw", "image", "image_detail"}


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> ScoringModel:
    """Load a saved model for MLflow; `path` is the file of the `openai` flavour, not its folder."""
    folder = Path(path).parent
    saved = read_saved(folder)
    changed = {name: value for name, value in (model_config or {}).items() if saved.config.get(name) != value}
    given = own_settings(changed)
    if changed.get("simulate"):
        given["simulate"] = True
    return ScoringModel(read_saved(folder, config=model_config), given)


class ScoringModel:
    """The model that `mlflow.pyfunc.load_model` returns: a saved model and its overrides at load time."""

    def __init__(self, saved: SavedModel, given: Mapping[str, Any]) -> None:
        self.saved = saved
        self.given = given

    def get_raw_model(self) -> ScoringModel:
        """Return this model itself, for MLflow's `unwrap_python_model`."""
        return self

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Score the rows of a frame; `params` that are null count as not given.

        Raises a `BatchscoreError` if no row can be scored (`ServiceRefused`, `Outage`, `InputError`, ...).
        With `on_error="raise"`, raises `RowFailed` for the first failed row; an empty row is not a failure.
        """
        stored = {**self.saved.settings, **self.saved.settings["param"]}
        # MLflow fills in the defaults, which are the stored values, so these count as not given.
        given = {
            name: value
            for name, value in (params or {}).items()
            if value is not None and stored.get(name) != value
        }
        answer = {name: given.pop(name, self.saved.config.get(name)) or ANSWERS[name][0] for name in ANSWERS}
        check_answers(answer)
        frame = frame_of(data)
        settings = self.settings(given)
        if len(frame):
            settings = with_column(settings, frame)
        results = results_in_order(frame, settings, stop_at_failure=answer["on_error"] == "raise")
        if answer["returns"] == "values":
            # Only the answers, as MLflow's own flavour does; None for a failed row.
            return [plain_answer(scored.value, settings) for scored in results]
        return frame_from(results, settings, frame.index)

    def settings(self, params: Mapping[str, Any]) -> Settings:
        """Return the settings of a call: params > overrides > variables > the model."""
        given, _ = gather(
            {**self.given, **parameters(params, TASKS[self.saved.task]), "output": "unused"},
            environ=without_settings(os.environ, NOT_FOR_FRAMES),
        )
        refuse_batches(given)
        stored = settings_below(self.saved, given, os.environ)
        chosen = stored | {name: value for name, value in given.items() if name != "param"}
        return Settings(**chosen | {"schema": schema_document(chosen.get("schema"))})


def results_in_order(frame: pd.DataFrame, settings: Settings, *, stop_at_failure: bool) -> list[Scored]:
    """Return each row's result in order; raises `RowFailed` at the first failure if requested."""
    if not len(frame):
        return []
    results: list[Scored] = []
    # The caller of a model that is served must not read files of its host.
    with closing(results_of(cells_by_row(frame), settings, files=False)) as settled:
        for scored in settled:
            error = scored.error
            if stop_at_failure and error is not None and error.code is not ErrorCode.EMPTY_INPUT:
                raise RowFailed(f"row {scored.row}: {error.code.value}: {error.message}")
            results.append(scored)
    return sorted(results, key=lambda scored: scored.row)


def frame_of(data: Any) -> pd.DataFrame:
    """Return the caller's data as a frame; a single column without a name holds the text."""
    if isinstance(data, pd.DataFrame):
        frame = data
    elif isinstance(data, str):
        frame = pd.DataFrame({TEXT_COLUMN: [data]})
    elif isinstance(data, Mapping):
        single = not any(isinstance(cell, (list, tuple, np.ndarray)) for cell in data.values())
        frame = pd.DataFrame([data] if single else dict(data))
    elif isinstance(data, (pd.Series, list, tuple, np.ndarray)):
        frame = pd.DataFrame(data)
    else:
        raise UsageError(f"data is {type(data).__name__}; give a DataFrame with the model's columns.")
    names = [str(name) for name in frame.columns]
    if names == ["0"]:
        names = [TEXT_COLUMN]
    renamed: pd.DataFrame = frame.set_axis(names, axis="columns")
    return unnest_rows(renamed)


def unnest_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per text for a mapping of lists of texts, which MLflow turns into one row of lists."""
    cells: list[Any] = [frame.iloc[0, number] for number in range(frame.shape[1])] if len(frame) == 1 else []
    lists = [cell for cell in cells if isinstance(cell, list) and all(isinstance(each, str) for each in cell)]
    if not cells or len(lists) < len(cells) or len({len(cell) for cell in lists}) > 1:
        return frame
    rows: pd.DataFrame = pd.DataFrame(dict(zip(frame.columns, lists, strict=True)))
    return rows


def cells_by_row(frame: pd.DataFrame) -> Iterable[dict[str, Any]]:
    """Return each row's cells by column, with None for missing values of pandas."""
    columns = []
    for number in range(frame.shape[1]):
        column = frame.iloc[:, number]
        cells = zip(column.tolist(), column.isna().tolist(), strict=True)
        columns.append([None if missing else json_cell(cell) for cell, missing in cells])
    names = list(frame.columns)
    return (dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True))


def json_cell(cell: Any) -> Any:
    """Return a cell or an answer as in JSON; pandas and Arrow turn a conversation into an array."""
    return cell.tolist() if isinstance(cell, np.ndarray) else cell


def plain_answer(value: Any, settings: Settings) -> Any:
    """Return an answer as the model's signature says: a value that matches a schema is JSON text."""
    if settings.schema is None or value is None:
        return json_cell(value)
    if settings.answers_per_row > 1:
        return [None if each is None else orjson.dumps(each).decode() for each in value]
    return orjson.dumps(value).decode()


def with_column(settings: Settings, frame: pd.DataFrame) -> Settings:
    """Return settings that name the frame's text column; raises `InputError` if a column is missing."""
    columns, texts = tuple(map(str, frame.columns)), list[str]()
    for number, name in enumerate(columns):
        column = frame.iloc[:, number]
        # An empty column may be the text's.
        if any(isinstance(cell, str) for cell in column) or column.isna().all():
            texts.append(name)
    return with_text_column(settings, Table(columns, tuple(texts), headerless=False, rows=iter(())))


def frame_from(results: list[Scored], settings: Settings, index: pd.Index[Any]) -> pd.DataFrame:
    """Return the answers and errors as a frame."""
    columns: dict[str, list[Any]] = {settings.task: [scored.value for scored in results]}
    if TASKS[settings.task].answer == "text":
        many = settings.answers_per_row > 1
        answers = [plain_answer(scored.value, settings) for scored in results]
        columns[settings.task] = [without_null(answer, many=many) for answer in answers]
        columns["finish_reason"] = [without_null(scored.finish_reason, many=many) for scored in results]
    errors = [scored.error for scored in results]
    columns["error"] = [error.code.value if error else "" for error in errors]
    columns["error_message"] = [error.message if error else "" for error in errors]
    filled = {name: pd.Series(cells, index=index, dtype=object) for name, cells in columns.items()}
    frame: pd.DataFrame = pd.DataFrame(filled, index=index)
    return frame


def without_null(text: Any, *, many: bool) -> Any:
    """Return a text, or a list of texts for several answers, with empty texts for nulls."""
    return [each or "" for each in text or ()] if many else text or ""
