"""How are some records of a part read without reading all of it?

Of JSON Lines a few stripes are read, of Parquet the required columns. Records are not validated: the caller
checks what it needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.stores.objects import StoredFile
from batchscore.task import EMBEDDINGS

#: Parts up to this size are read completely.
SMALL_BYTES = 2 * 2**20

#: Number of stripes that are read of a larger part, and their greatest length.
STRIPES = 4
LONGEST_STRIPE = 16 * 2**20


def some_records(
    place: Place, size: int, rows: int, wanted: int, columns: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yield about `wanted` records of a part, spread over it, always the same ones.

    `size` is in bytes. Raises `OSError`, `ValueError` or an error of pyarrow if it cannot be read.
    """
    if place.suffix.lower() == ".parquet":
        yield from parquet_records(place, wanted, columns)
        return
    for line in some_lines(place, size, rows, wanted):
        record = orjson.loads(line)
        if isinstance(record, dict):
            yield record


def bytes_for(place: Place, size: int, rows: int, wanted: int) -> int:
    """Return about how many bytes `some_records` reads."""
    if size <= SMALL_BYTES or place.suffix.lower() == ".parquet" or wanted >= rows:
        return size
    return min(size, (wanted + 2 * STRIPES) * (size // max(rows, 1) + 1))


def some_lines(place: Place, size: int, rows: int, wanted: int) -> list[bytes]:
    """Return about `wanted` complete lines of a file, spread over it."""
    if size <= SMALL_BYTES or wanted >= rows:
        with storage.open_file(place) as file:
            lines = file.read(max(size, SMALL_BYTES)).splitlines()
        step = max(len(lines) / max(wanted, 1), 1.0)
        return [lines[int(number * step)] for number in range(min(wanted, len(lines)))]
    each = -(-wanted // STRIPES)
    # Stripes must not overlap, or records would be read twice.
    stripe = min(int((each + 2) * 1.1 * size / max(rows, 1)), LONGEST_STRIPE, size // STRIPES)
    found: list[bytes] = []
    with place.open("rb") if isinstance(place, Path) else StoredFile(place) as file:
        for number in range(STRIPES):
            start = number * size // STRIPES
            file.seek(start)
            lines = file.read(stripe).split(b"\n")
            # The first and the last line are incomplete, except the first line of the file.
            found += lines[1 if start else 0 : -1][:each]
    return [line for line in found if line]


def parquet_records(place: Place, wanted: int, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield some records of a Parquet part, evenly spread."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - 0.1 s that JSON Lines does not need

    from batchscore.output.records.columnar import vectors_of  # noqa: PLC0415
    from batchscore.stores.objects import open_arrow_file  # noqa: PLC0415

    with pq.ParquetFile(open_arrow_file(place)) as file:
        having = [name for name in columns if name in file.schema_arrow.names]
        rows = file.metadata.num_rows
        step = max(rows / max(wanted, 1), 1.0)
        picked = [int(number * step) for number in range(min(wanted, rows))]
        table = file.read(columns=having).take(picked)
        cells = {
            name: vectors_of(table[name]) if name == EMBEDDINGS.name else table[name].to_pylist()
            for name in having
        }
        for values in zip(*cells.values(), strict=True):
            yield dict(zip(having, values, strict=True))


def vector_of(value: Any) -> np.ndarray[Any, np.dtype[np.float32]] | None:
    """Return a vector `(d,)` float32; `None` if it is not a vector."""
    try:
        vector = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError):
        return None
    return vector if vector.ndim == 1 and len(vector) else None
