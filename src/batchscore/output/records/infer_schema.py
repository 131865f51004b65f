"""Which columns do the records of a part have, as its first record shows?

It knows no settings: parts may come without the run that wrote them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from batchscore.errors import InputError
from batchscore.output.records.schema import RecordSchema
from batchscore.stores import storage
from batchscore.stores.address import Place


def first_record(part: Place) -> Mapping[str, Any]:
    """Return the first record of a part of any format; raises `InputError` if it has none."""
    try:
        if part.suffix.lower() == ".parquet":
            import pyarrow.parquet as pq  # noqa: PLC0415 - takes 0.1 s that JSON Lines does not need

            from batchscore.output.records.columnar import open_source  # noqa: PLC0415

            with pq.ParquetFile(open_source(part)) as file:
                record: Any = next(file.iter_batches(batch_size=1)).to_pylist()[0]
        else:
            with storage.open_file(part) as lines:
                record = orjson.loads(lines.readline())
        if isinstance(record, dict):
            return record
        reason = "its first record is not an object"
    except (OSError, ValueError, StopIteration, IndexError) as error:
        reason = str(error) or "it is empty"
    raise InputError(f"{part}: cannot be read as scores ({reason}). `batchscore verify` shows all damage.")


def schema_of(
    part: Place, task: str, keep: tuple[str, ...] | None = None, *, errors: bool = False
) -> RecordSchema:
    """Return the schema of records like the first one of this part; other fields have their defaults.

    `errors`: these are error records. `keep` names the kept columns if they are known. Otherwise each JSON
    Lines record keeps the columns that it has, since the first one may not have all. Raises `InputError` if
    the part has no such record.
    """
    record = first_record(part)
    answer = "error" if errors else task
    absent = [name for name in ("file", "row", answer) if name not in record]
    if absent:
        raise InputError(
            f"{part}: its first record has no {absent[0]}. `batchscore verify` shows all damage."
        )
    schema = RecordSchema(task)
    value = record.get(task)
    others = tuple(name for name in record if name not in schema.own_names)
    if part.suffix.lower() == ".parquet" or (keep is None and not others):
        keep = others
    return RecordSchema(
        task=task,
        with_id="id" in record,
        keep=keep,
        many=not schema.is_vector and isinstance(value, list),
        with_truncated="truncated" in record,
        with_usage="usage" in record,
        with_raw="raw" in record,
        dimensions=len(value) if schema.is_vector and isinstance(value, list) else None,
    )
