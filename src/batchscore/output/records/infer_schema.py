"""Which columns do the records of a part have, as the part itself shows?

It must not know settings: parts may come without the run that made them.
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
    """Return the first record of a part of any format; raises `InputError` where it has none."""
    try:
        if part.suffix.lower() == ".parquet":
            import pyarrow.parquet as pq  # noqa: PLC0415 - 0.1 s that JSON Lines does without

            from batchscore.output.records.columnar import at_any_place  # noqa: PLC0415

            with pq.ParquetFile(at_any_place(part)) as opened:
                record: Any = next(opened.iter_batches(batch_size=1)).to_pylist()[0]
        else:
            with storage.open_file(part) as lines:
                record = orjson.loads(lines.readline())
        if isinstance(record, dict):
            return record
        reason = "its first record is no object"
    except (OSError, ValueError, StopIteration, IndexError) as error:
        reason = str(error) or "it is empty"
    raise InputError(f"{part}: cannot be read as scores ({reason}); `batchscore verify` says more.")


def schema_of(
    part: Place, task: str, keep: tuple[str, ...] | None = None, *, answer: str | None = None
) -> RecordSchema:
    """Return the schema of records such as this part's first; what is not in them is as by default.

    `answer` is the column that makes them records, if not the task's; `keep` names the kept columns where
    that is known. In JSON Lines the first record need not have them all; then each keeps what it has.
    Raises `InputError` where the part has no such record.
    """
    record = first_record(part)
    absent = [name for name in ("file", "row", answer or task) if name not in record]
    if absent:
        raise InputError(f"{part}: its first record has no {absent[0]}; `batchscore verify` says more.")
    value = record.get(task)
    is_vector = task == "embeddings" and isinstance(value, list)
    own = RecordSchema(task).taken
    others = tuple(name for name in record if name not in own)
    if part.suffix.lower() == ".parquet" or (keep is None and not others):
        keep = others
    return RecordSchema(
        task=task,
        with_id="id" in record,
        keep=keep,
        many=task != "embeddings" and isinstance(value, list),
        with_truncated="truncated" in record,
        with_usage="usage" in record,
        with_raw="raw" in record,
        dimensions=len(record[task]) if is_vector else None,
    )
