"""How are rows read from a frame of pandas, polars or pyarrow, and how do columns get into a copy of it?

It knows the libraries' frames, not scores. A library is loaded only if its frame is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

from batchscore.errors import UsageError
from batchscore.rows import Table

#: Cells of a column that are looked at to see whether it holds text.
MOST_LOOKED_AT = 1000

#: Rows of a pyarrow table that are Python objects at a time.
BATCH_ROWS = 1000

#: The types in pandas of columns without and with missing cells, by their type in Arrow.
PANDAS_TYPES: Mapping[str, tuple[Any, Any]] = {
    "int64": ("int64", "Int64"),
    "double": ("float64", "float64"),
    "bool": ("bool", "boolean"),
}

GIVE = "give a DataFrame of pandas or polars, or a pyarrow Table."


#: The cells of a column in row order, and their type in Arrow.
Cells: TypeAlias = tuple[Sequence[Any], Any]


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
            full, nullable = PANDAS_TYPES.get(str(kind), (object, object))
            dtype = nullable if any(cell is None for cell in cells) else full
            more[name] = pd.Series(list(cells), index=frame.index, dtype=dtype)
        return pd.concat([frame, pd.DataFrame(more, index=frame.index)], axis="columns")
    import pyarrow as pa  # noqa: PLC0415 - it takes 0.1 s

    arrays = {name: pa.array(cells, type=kind) for name, (cells, kind) in columns.items()}
    if library == "polars":
        import polars as pl  # noqa: PLC0415 - loaded already

        return frame.with_columns([pl.Series(name, pl.from_arrow(cells)) for name, cells in arrays.items()])
    for name, cells in arrays.items():
        frame = frame.append_column(name, cells)
    return frame
