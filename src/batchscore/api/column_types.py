"""Which type has a column of answers in a frame, given the JSON Schema of its cells?

The one rule for `score_frame` and `read_scores(flatten=True)`. It knows cells and schemas, not frames.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

#: The types in pandas of columns without and with missing cells, by their type in Arrow.
PANDAS_TYPES: Mapping[str, tuple[Any, Any]] = {
    "int64": ("int64", "Int64"),
    "double": ("float64", "float64"),
    "bool": ("bool", "boolean"),
}

#: The cells of a column in row order, and their type in Arrow.
Cells: TypeAlias = tuple[Sequence[Any], Any]


def pandas_type(cells: Sequence[Any], kind: Any) -> Any:
    """Return the type in pandas of cells that have a type in Arrow."""
    full, nullable = PANDAS_TYPES.get(str(kind), (object, object))
    return nullable if any(cell is None for cell in cells) else full


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
