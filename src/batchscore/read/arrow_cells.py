"""Which Python values do the cells of an Arrow column have?

Values are those of JSON where Python has them, and dates, decimals and bytes otherwise. A cell that Python
cannot hold becomes its text if Arrow has one: a date after the year 9999, an interval. It knows no file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    import pyarrow as pa

Convert = Callable[[Any], Any]

_NO_FRACTION = re.compile(r"\.0+(?![0-9])")
_OUT_OF_RANGE = "<value out of range"


def cells_of(column: pa.Array) -> list[Any]:
    """Return the cells of a column. Raises any exception if one of them has no value and no text."""
    import pyarrow as pa  # noqa: PLC0415

    kind = column.type
    if pa.types.is_dictionary(kind):
        try:
            column = column.dictionary_decode()
        except pa.ArrowNotImplementedError:  # of views, as polars writes categories
            return list(column.to_pylist())
        kind = column.type
    if pa.types.is_float32(kind):
        if not column.null_count:
            return _shortest(column.to_numpy(zero_copy_only=False))
        numbers = _shortest(column.fill_null(0.0).to_numpy(zero_copy_only=False))
        nulls = column.is_null().to_pylist()
        return [None if null else number for number, null in zip(numbers, nulls, strict=True)]
    try:
        cells = list(column.to_pylist())
    except (OverflowError, ValueError):
        if len(column) > 1:
            return [cells_of(column.slice(place, 1))[0] for place in range(len(column))]
        kind = _with_texts(kind)
        cells = list(column.cast(kind).to_pylist())
        if _OUT_OF_RANGE in str(cells):
            raise
        if isinstance(cells[0], str):
            # As in `isoformat`, and in the cells that Python can hold.
            return [_NO_FRACTION.sub("", cells[0].replace(" ", "T", 1))]
    convert = _converter(kind)
    return cells if convert is None else [None if cell is None else convert(cell) for cell in cells]


def _shortest(values: Any) -> list[float]:
    """Return float32 or float16 values as the floats of their shortest text: 0.1, not 0.10000000149011612."""
    if values.dtype.itemsize == 4 and abs(values).max(initial=0) < float("inf"):
        return list(orjson.loads(orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)))
    return list(values.astype(str).astype("float64").tolist())


@lru_cache(maxsize=256)
def _converter(kind: pa.DataType) -> Convert | None:
    """Return what makes a cell of this type, which is not null, plain; `None` if it is plain already."""
    import pyarrow as pa  # noqa: PLC0415

    types = pa.types
    if types.is_float32(kind) or types.is_float16(kind):
        return lambda cell: _shortest(_numbers([cell], kind))[0]
    if kind.id == pa.month_day_nano_interval().id:
        return _interval_text
    if types.is_map(kind):
        key, item = _converter(kind.key_type) or _same, _converter(kind.item_type) or _same
        return lambda cell: {_hashable(key(name)): _null_or(item, value) for name, value in cell}
    if types.is_struct(kind):
        found = {field.name: _converter(field.type) for field in kind}
        changed = {name: convert for name, convert in found.items() if convert is not None}
        if not changed:
            return None
        return lambda cell: cell | {name: _null_or(convert, cell[name]) for name, convert in changed.items()}
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _converter(kind.value_type)
    value_type = getattr(kind, "value_type", None)  # of any kind of list
    inner = None if value_type is None else _converter(value_type)
    if inner is None:
        return None
    convert_all: Convert = partial(_convert_items, inner)
    if not types.is_float32(value_type):
        return convert_all
    # Vectors have thousands of values.
    return lambda cell: convert_all(cell) if None in cell else _shortest(_numbers(cell, value_type))


def _convert_items(convert: Convert, cell: list[Any]) -> list[Any]:
    return [_null_or(convert, value) for value in cell]


def _same(cell: Any) -> Any:
    return cell


def _hashable(key: Any) -> Any:
    """Return a map's key; a list or an object as its JSON text."""
    return orjson.dumps(key, default=str).decode() if isinstance(key, (list, dict)) else key


def _numbers(values: list[Any], kind: pa.DataType) -> Any:
    import numpy as np  # noqa: PLC0415

    return np.array(values, kind.to_pandas_dtype())


def _null_or(convert: Convert, cell: Any) -> Any:
    return None if cell is None else convert(cell)


def _interval_text(interval: Any) -> str:
    """Return an interval as DuckDB and PostgreSQL write it, such as `1 year 2 months 03:04:05.5`."""
    months, days, nanoseconds = interval
    # The parts are truncated towards zero, each with its own sign.
    years, months = (
        (abs(months) // 12, abs(months) % 12) if months >= 0 else (-(-months // 12), -(-months % 12))
    )
    counts = ((years, "year"), (months, "month"), (days, "day"))
    texts = [f"{count} {name}{'' if abs(count) == 1 else 's'}" for count, name in counts if count]
    seconds, nanoseconds_left = divmod(abs(nanoseconds), 10**9)
    if nanoseconds or not texts:
        fraction = f".{nanoseconds_left:09}".rstrip("0") if nanoseconds_left else ""
        sign = "-" if nanoseconds < 0 else ""
        texts.append(f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{fraction}")
    return " ".join(texts)


def _with_texts(kind: pa.DataType) -> pa.DataType:
    """Return a type with text in place of dates and times, on all levels."""
    import pyarrow as pa  # noqa: PLC0415

    types = pa.types
    if types.is_temporal(kind):
        return pa.string()
    if types.is_struct(kind):
        return pa.struct([field.with_type(_with_texts(field.type)) for field in kind])
    if types.is_list(kind) or types.is_large_list(kind):
        field = kind.value_field.with_type(_with_texts(kind.value_type))
        return pa.list_(field) if types.is_list(kind) else pa.large_list(field)
    if types.is_map(kind):
        return pa.map_(_with_texts(kind.key_type), _with_texts(kind.item_type))
    return kind
