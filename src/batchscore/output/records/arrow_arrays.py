"""How do cells become a column of an Arrow table, and its vectors a block of numbers?

`pa.array` and `to_numpy` load pandas, to see whether they are given a Series. That takes a tenth of a run of
20,000 vectors and 30 MiB, so buffers are made and read here.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa

from batchscore.rows import replace_surrogates

#: The bytes of texts, or items of lists, that one array can hold.
MOST_ITEMS = 2**31 - 1


def column_of(cells: Sequence[Any], kind: Any, most: int = MOST_ITEMS) -> pa.ChunkedArray:
    """Return cells as a column of a type that records may have; `None` is null.

    Lone surrogates in texts are replaced. The column has several arrays if one would have more than `most`
    items. Raises `TypeError`, `AttributeError` or `OverflowError` for a cell of another type.
    """
    return pa.chunked_array(_arrays(cells, kind, most), kind)


def float_array(block: np.ndarray[Any, np.dtype[np.float32]]) -> pa.Array:
    """Return the numbers of a block as an array, without a copy."""
    return pa.Array.from_buffers(pa.float32(), block.size, [None, pa.py_buffer(block)])


def vectors_of(column: pa.ChunkedArray) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    """Return a column of vectors as rows of one array a chunk, without a copy where Arrow allows.

    Raises `ValueError` for a cell that is no vector, and for a chunk with vectors of several lengths.
    """
    return [vector for chunk in column.chunks if len(chunk) for vector in _block_of(chunk)]


def _block_of(vectors: pa.Array) -> np.ndarray[Any, np.dtype[np.float32]]:
    kind = vectors.type
    if vectors.null_count:
        raise ValueError("a vector is missing")
    if pa.types.is_fixed_size_list(kind) and kind.value_type == pa.float32():
        size, numbers = kind.list_size, vectors.values
        start = numbers.offset + vectors.offset * size
        block = np.frombuffer(numbers.buffers()[1], np.float32, len(vectors) * size, 4 * start)
    else:  # other programs write lists of any length
        block = vectors.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
        if not pa.types.is_fixed_size_list(kind) and len(np.unique(np.diff(vectors.offsets))) > 1:
            raise ValueError("its vectors have several lengths")
    return block.reshape(len(vectors), -1)


class _TooManyItemsError(OverflowError):
    """One array cannot hold this many items."""


def _arrays(cells: Sequence[Any], kind: Any, most: int) -> list[pa.Array]:
    try:
        return [_array(cells, kind, most)]
    except _TooManyItemsError:
        if len(cells) == 1:
            raise
    half = len(cells) // 2
    return [*_arrays(cells[:half], kind, most), *_arrays(cells[half:], kind, most)]


def _array(cells: Sequence[Any], kind: Any, most: int) -> pa.Array:
    nulls = None
    if None in cells:
        nulls = _bits([cell is not None for cell in cells])
    if pa.types.is_struct(kind):
        children = [
            _array([None if cell is None else cell.get(field.name) for cell in cells], field.type, most)
            for field in kind
        ]
        return pa.Array.from_buffers(kind, len(cells), [nulls], children=children)
    if pa.types.is_list(kind):
        _check_types(cells, list, tuple)
        items = [item for cell in cells if cell is not None for item in cell]
        buffers = [nulls, _ends([0 if cell is None else len(cell) for cell in cells], most)]
        child = _array(items, kind.value_type, most)
        return pa.Array.from_buffers(kind, len(cells), buffers, children=[child])
    if pa.types.is_string(kind):
        texts = _encoded(cells)
        buffers = [nulls, _ends(list(map(len, texts)), most), pa.py_buffer(b"".join(texts))]
    elif pa.types.is_boolean(kind):
        _check_types(cells, bool)
        buffers = [nulls, _bits([cell is True for cell in cells])]
    else:
        # `array` refuses what its type cannot hold; numpy would cut it.
        code = {pa.int64(): "q", pa.float64(): "d"}[kind]
        buffers = [nulls, pa.py_buffer(array(code, [0 if cell is None else cell for cell in cells]))]
    return pa.Array.from_buffers(kind, len(cells), buffers)


def _check_types(cells: Sequence[Any], *kinds: type) -> None:
    """Raise `TypeError` for a cell of another type, which would be read as something else."""
    others = set(map(type, cells)) - {*kinds, type(None)}
    if others:
        raise TypeError(f"a cell is {others.pop().__name__}; please report this")


def _bits(flags: list[bool]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(np.array(flags, np.bool_), bitorder="little"))


def _ends(lengths: list[int], most: int) -> pa.Buffer:
    """Return the place of each value's first item, and the place after the last item."""
    ends = list(accumulate(lengths, initial=0))
    if ends[-1] > most:
        raise _TooManyItemsError(f"one array cannot hold {ends[-1]:,} items; please report this")
    return pa.py_buffer(array("i", ends))


def _encoded(cells: Sequence[str | None]) -> list[bytes]:
    try:
        return [b"" if cell is None else cell.encode() for cell in cells]
    except UnicodeEncodeError:  # JSON text can hold lone surrogates; looking for them in each cell costs more
        return [b"" if cell is None else replace_surrogates(cell).encode() for cell in cells]
