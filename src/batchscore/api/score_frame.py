"""Score a table in memory: how does a frame come back with its answers as columns?

It takes frames of pandas, polars and pyarrow, and gives a copy of the same kind, in the same order. A library
is loaded only if its frame is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any

from batchscore.api.column_types import Cells, pandas_type, typed
from batchscore.api.progress_text import shown
from batchscore.api.score_rows import Scored, results_of, settings_of_rows, with_text_column
from batchscore.errors import BatchscoreError, UsageError
from batchscore.output.answer_columns import STATUS, answer_columns, free_names
from batchscore.rows import Table
from batchscore.settings.arguments import RowSettings, show_settings
from batchscore.settings.fields import Settings
from batchscore.task import TASKS

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: The JSON Schema of answers that have none.
TEXT = {"type": "string"}

#: The code of rows that a call did not reach before an error ended it.
NOT_REACHED = "not_reached"

#: Cells of a column that are looked at to see whether it holds text.
MOST_LOOKED_AT = 1000

#: Rows of a pyarrow table that are Python objects at a time.
BATCH_ROWS = 1000

GIVE = "give a DataFrame of pandas or polars, or a pyarrow Table."


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
    request. If a `BatchscoreError` or `KeyboardInterrupt` ends the work later, its attribute `frame` has the
    rows that were scored, and the others with the error code `not_reached`. For work that must survive a
    crash, use `score_files`.
    """
    library_of(frame)
    chosen = settings_of_rows({**settings, "task": task, "model": model})
    table = table_of(frame)
    results: list[Scored | None] = [None] * length_of(frame)
    if results:
        chosen = with_text_column(chosen, table)
    try:
        if results:
            fill(results, frame, chosen, progress=progress)
    except (BatchscoreError, KeyboardInterrupt) as error:
        vars(error)["frame"] = with_columns(frame, new_columns(columns_of(frame), results, chosen))
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


def code_of(result: Scored | None) -> str | None:
    """Return the error code of a row; `None` if it was scored."""
    if result is None:
        return NOT_REACHED
    return None if result.error is None else result.error.code.value


def library_of(frame: Any) -> str:
    """Return `pandas`, `polars` or `pyarrow`; raises `UsageError` for anything else than their frames."""
    kind = type(frame)
    names = {f"{each.__module__.partition('.')[0]}.{each.__name__}" for each in kind.__mro__}
    for library, name in (("pandas", "DataFrame"), ("polars", "DataFrame"), ("pyarrow", "Table")):
        if f"{library}.{name}" in names:
            return library
    hint = "collect() it first." if "polars.LazyFrame" in names else GIVE
    raise UsageError(f"frame is {kind.__module__.partition('.')[0]}.{kind.__name__}; {hint}")


def columns_of(frame: Any) -> list[str]:
    """Return the names of the columns as text; raises `UsageError` if two have one name."""
    names = [str(name) for name in getattr(frame, "column_names", frame.columns)]
    for position, name in enumerate(names):
        if name in names[:position]:
            raise UsageError(f"frame has two columns called {name!r}; rename one of them.")
    return names


def length_of(frame: Any) -> int:
    """Return the number of rows."""
    return int(frame.num_rows) if hasattr(frame, "num_rows") else len(frame)


def rows_of(frame: Any) -> Iterator[Mapping[str, Any]]:
    """Yield each row as its cells by column, as the library gives them."""
    names, library = columns_of(frame), library_of(frame)
    if library == "pandas":
        # An array gives its own scalars: a float32 stays one, and its text stays short.
        arrays = [frame.iloc[:, number].array for number in range(len(names))]
        for cells in zip(*arrays, strict=True):
            yield dict(zip(names, cells, strict=True))
    elif library == "polars":
        for cells in frame.iter_rows():
            yield dict(zip(names, cells, strict=True))
    else:
        for batch in frame.to_batches(max_chunksize=BATCH_ROWS):
            yield from batch.to_pylist()


def table_of(frame: Any) -> Table:
    """Return the columns of a frame, and which of them hold text."""
    names = columns_of(frame)
    texts: set[str] = set()
    for row in islice(rows_of(frame), MOST_LOOKED_AT):
        texts.update(name for name, cell in row.items() if isinstance(cell, str))
    in_order = tuple(name for name in names if name in texts)
    return Table(tuple(names), in_order, headerless=False, rows=iter(()))


def with_columns(frame: Any, columns: Mapping[str, Cells]) -> Any:
    """Return a copy of a frame with more columns; pandas keeps its index.

    In pandas, whole numbers and truth values stay so if some are missing. Texts, lists, arrays and mappings
    are objects, and `None` if they are missing.
    """
    library = library_of(frame)
    if library == "pandas":
        import pandas as pd  # noqa: PLC0415 - loaded already

        more = {}
        for name, (cells, kind) in columns.items():
            more[name] = pd.Series(list(cells), index=frame.index, dtype=pandas_type(cells, kind))
        return pd.concat([frame, pd.DataFrame(more, index=frame.index)], axis="columns")
    import pyarrow as pa  # noqa: PLC0415 - it takes 0.1 s

    arrays = {name: pa.array(cells, type=kind) for name, (cells, kind) in columns.items()}
    if library == "polars":
        import polars as pl  # noqa: PLC0415 - loaded already

        return frame.with_columns([pl.Series(name, pl.from_arrow(cells)) for name, cells in arrays.items()])
    for name, cells in arrays.items():
        frame = frame.append_column(name, cells)
    return frame
