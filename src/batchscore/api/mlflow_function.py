"""How does MLflow ask our engine: a DataFrame in, a DataFrame out?

MLflow finds this module by its name, which stands in every saved model (`loader_module`). It keeps MLflow's
habits apart from the engine: frames, `params` whose defaults are always filled in, and hosts that make text
of a null (`spark_udf`), so that a text column here is never null.

The frame that comes back has the input's index and for each row `embeddings` (float32, null where the row
failed) or `completions` or `chat` with `finish_reason`, and `error` and `error_message`, both empty where the
row was answered.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from batchscore.api.score_rows import NOT_FOR_ROWS, Scored, results_of
from batchscore.errors import ErrorCode, RowFailed, UsageError
from batchscore.mlflow_model.choose import beneath
from batchscore.mlflow_model.layout import ANSWERS
from batchscore.mlflow_model.read import SavedModel, own_settings, parameters, read_saved
from batchscore.prompts.prompt import asker_for, text_column
from batchscore.prompts.spec import wanted_by
from batchscore.rows import TEXT_COLUMN, Table
from batchscore.settings.argument_names import flags_called_arguments
from batchscore.settings.fields import Settings
from batchscore.settings.sources import gather, without_settings

#: Settings whose variables a host may have for other runs: they say something about files or records.
NOT_FOR_FRAMES = NOT_FOR_ROWS | {"model", "usage", "raw"}


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> ScoringModel:
    """Load a saved model, as MLflow asks: `path` is the `openai` flavour's file, not its folder."""
    folder = Path(path).parent
    saved = read_saved(folder)
    changed = {name: value for name, value in (model_config or {}).items() if saved.config.get(name) != value}
    given = own_settings(changed)
    if changed.get("simulate"):
        given["simulate"] = True
    return ScoringModel(read_saved(folder, config=model_config), given)


class ScoringModel:
    """What `mlflow.pyfunc.load_model` holds: one saved model and what was overridden when it was loaded."""

    def __init__(self, saved: SavedModel, given: Mapping[str, Any]) -> None:
        self.saved = saved
        self.given = given

    def get_raw_model(self) -> ScoringModel:
        """Return this model itself, as MLflow asks for what it wraps."""
        return self

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Score a frame's rows; `params` that are null were not given.

        Raises a `BatchscoreError` where nothing can be asked (`ServiceRefused`, `Outage`, `InputError`, ...), and
        with `on_error="raise"` the first row's `RowFailed`; an empty row is never a failure.
        """
        stored = {**self.saved.settings, **self.saved.settings["param"]}
        # MLflow fills the defaults in, which are what the model stores: who gave nothing gave these.
        said = {
            name: value
            for name, value in (params or {}).items()
            if value is not None and stored.get(name) != value
        }
        answer = {name: said.pop(name, self.saved.config.get(name)) or ANSWERS[name][0] for name in ANSWERS}
        for name, choices in ANSWERS.items():
            if answer[name] not in choices:
                raise UsageError(f"{name} is {answer[name]!r}; it must be one of {', '.join(choices)}.")
        frame = frame_of(data)
        with flags_called_arguments():
            settings = self.settings(said)
            if len(frame):
                settings = placed(settings, frame)
        settled = in_order(frame, settings, stop_at_failure=answer["on_error"] == "raise")
        if answer["returns"] == "values":
            return values_of(settled)
        return as_frame(settled, settings, frame.index)

    def settings(self, params: Mapping[str, Any]) -> Settings:
        """Return the settings of a call: params > overrides > variables > the model."""
        given = gather(
            {**self.given, **parameters(params), "output": "nowhere"},
            environ=without_settings(os.environ, NOT_FOR_FRAMES),
        )
        return Settings(**(beneath(self.saved, given, os.environ) | without(given, "param")))


def in_order(frame: pd.DataFrame, settings: Settings, *, stop_at_failure: bool) -> list[Scored]:
    """Return each row's result; raises `RowFailed` at the first failure where that was asked for."""
    if not len(frame):
        return []
    results: dict[int, Scored] = {}
    with closing(results_of(rows_of(frame), settings)) as settled:
        for scored in settled:
            if stop_at_failure and is_failure(scored):
                assert scored.error is not None
                raise RowFailed(f"row {scored.row}: {scored.error.code.value}: {scored.error.message}")
            results[scored.row] = scored
    return [results[row] for row in range(len(frame))]


def without(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a mapping without one of its keys."""
    return {key: value for key, value in given.items() if key != name}


def frame_of(data: Any) -> pd.DataFrame:
    """Return what a caller gave as a frame; a single column without a name holds the text."""
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
    return unnested(renamed)


def unnested(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a mapping of lists of texts, which MLflow makes one row of lists of."""
    cells: list[Any] = [frame.iloc[0, number] for number in range(frame.shape[1])] if len(frame) == 1 else []
    lists = [cell for cell in cells if isinstance(cell, list) and all(isinstance(each, str) for each in cell)]
    if not cells or len(lists) < len(cells) or len({len(cell) for cell in lists}) > 1:
        return frame
    rows: pd.DataFrame = pd.DataFrame(dict(zip(frame.columns, lists, strict=True)))
    return rows


def rows_of(frame: pd.DataFrame) -> Iterable[dict[str, Any]]:
    """Give each row's cells by column, with None for whatever pandas calls missing."""
    columns = [
        [None if missing else plain(cell) for cell, missing in zip(column, absent, strict=True)]
        for column, absent in (
            (frame.iloc[:, number].tolist(), frame.iloc[:, number].isna().tolist())
            for number in range(frame.shape[1])
        )
    ]
    names = list(frame.columns)
    return (dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True))


def plain(cell: Any) -> Any:
    """Return a cell as JSON would hold it: of a conversation pandas and Arrow make an array."""
    return cell.tolist() if isinstance(cell, np.ndarray) else cell


def placed(settings: Settings, frame: pd.DataFrame) -> Settings:
    """Return settings that name the frame's text column; raises `InputError` where it lacks what is asked."""
    wanted = wanted_by(settings)
    columns = tuple(map(str, frame.columns))
    texts = tuple(name for number, name in enumerate(columns) if may_hold_text(frame.iloc[:, number]))
    table = Table(columns, texts, headerless=False, rows=iter(()))
    asker_for(table, wanted)
    column = text_column(table, wanted)
    return settings if column is None else replace(settings, column=column)


def may_hold_text(column: pd.Series[Any]) -> bool:
    """Whether a column has a text in it, or nothing at all."""
    return any(isinstance(cell, str) for cell in column) or bool(column.isna().all())


def is_failure(scored: Scored) -> bool:
    """Whether a row was asked in vain; an empty one was not asked."""
    return scored.error is not None and scored.error.code is not ErrorCode.EMPTY_INPUT


def values_of(settled: Iterable[Scored]) -> list[Any]:
    """Return the bare answers, as MLflow's own flavour does; None for a row that failed."""
    return [
        scored.value.tolist() if isinstance(scored.value, np.ndarray) else scored.value for scored in settled
    ]


def as_frame(settled: list[Scored], settings: Settings, index: pd.Index[Any]) -> pd.DataFrame:
    """Return the answers and errors as a frame."""
    columns: dict[str, list[Any]] = {settings.task: [scored.value for scored in settled]}
    if settings.task != "embeddings":
        many = settings.answers_per_row > 1
        columns[settings.task] = [present(scored.value, many=many) for scored in settled]
        columns["finish_reason"] = [present(scored.finish_reason, many=many) for scored in settled]
    columns["error"] = [scored.error.code.value if scored.error else "" for scored in settled]
    columns["error_message"] = [scored.error.message if scored.error else "" for scored in settled]
    filled = {name: objects(cells) for name, cells in columns.items()}
    frame: pd.DataFrame = pd.DataFrame(filled, index=index)
    return frame


def present(text: Any, *, many: bool) -> Any:
    """Return a text, or with several answers a list of texts, in which nothing is null."""
    if many:
        return [each or "" for each in text or ()]
    return text or ""


def objects(cells: list[Any]) -> np.ndarray[Any, np.dtype[np.object_]]:
    """Return cells as a column whose vectors stay one cell each."""
    column = np.empty(len(cells), dtype=object)
    for number, cell in enumerate(cells):
        column[number] = cell
    return column
