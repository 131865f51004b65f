"""Which few thousand records represent an output of any size?

The choice is the same every time: by a hash, spread over files and parts. However large the output is, only
some parts are opened. Of large JSON Lines parts a few stripes are read, of Parquet the required columns.
Records are not validated: each field is checked where it is used.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from heapq import nsmallest
from io import BytesIO
from itertools import accumulate, chain, islice, zip_longest
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from batchscore.errors import ErrorCode
from batchscore.report.page.answers import (
    Answer,
    AnswerStats,
    answer_of,
    answer_stats,
    answers_of,
    enum_counts,
)
from batchscore.report.page.model import FailedRow, Failures, FileAccount, StoredPart
from batchscore.report.page.runs import is_number, mapping, text
from batchscore.report.page.vectors import Floats, Origin, VectorMap, map_of
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.stores.objects import StoredFile
from batchscore.task import EMBEDDINGS

#: Parts up to this size are read completely.
SMALL_BYTES = 2 * 2**20

#: Number of stripes that are read of a larger part, and their greatest length.
STRIPES = 4
LONGEST_STRIPE = 16 * 2**20

#: Of a larger Parquet part some row groups are read, one for this number of records. A group of vectors has
#: a MiB.
RECORDS_OF_GROUP = 16
GROUP_BYTES = 2**20

#: Greatest numbers of error records and of bytes of their parts, and of rows that are shown for each code.
MOST_ERRORS = 50_000
MOST_ERROR_BYTES = 64 * 2**20
MOST_EXAMPLES = 30

LONGEST_MESSAGE = 400
LONGEST_FILE_NAME = 1000


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is read for a page: `seconds` in total, and at most this many records, parts and bytes."""

    seconds: float = inf
    records: int = 3000
    parts: int = 64
    bytes: int = 512 * 2**20


THOROUGHLY = Effort()
WITHOUT_SAMPLE = Effort(records=0)


def quickly(rows: int) -> Effort:
    """Return the effort at the end of a run with this many scores, when the user should not wait."""
    # Reading a score costs as much as making two or three.
    return Effort(seconds=1.0, records=max(150, min(rows // 150, 1000)), parts=24, bytes=48 * 2**20)


def parts_to_read(files: Sequence[FileAccount], effort: Effort) -> list[tuple[StoredPart, int]]:
    """Return the parts to read, and how many records of each: one part of each file in turn, by a hash.

    If some parts have few rows, more are read of the others.
    """
    with_scores = (each for each in files if each.scores)
    having = [
        sorted(each.scores, key=lambda part: hash_order(part.name))
        # Each has its turn before one has a second: of thousands of files no further ones are reached.
        for each in nsmallest(effort.parts, with_scores, key=lambda each: hash_order(each.file))
    ]
    turns = chain.from_iterable(zip_longest(*having))
    parts = list(islice((part for part in turns if part is not None), effort.parts))
    left, found = effort.records, list[tuple[StoredPart, int]]()
    for number, part in enumerate(sorted(parts, key=lambda part: part.rows)):
        wanted = min(part.rows, -(-left // (len(parts) - number)))
        left -= wanted
        if wanted:
            found.append((part, wanted))
    return sorted(found, key=lambda each: hash_order(each[0].name))


def hash_order(name: str) -> bytes:
    """Return a key that sorts names in an arbitrary order, always the same."""
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def read_sample(
    folder: Place, task: str, files: Sequence[FileAccount], effort: Effort, until: float
) -> Iterator[Mapping[str, Any]]:
    """Yield the records; parts that cannot be read are skipped, and reading ends in time."""
    columns = ("file", "row", "id", task, *(() if task == EMBEDDINGS.name else ("finish_reason", "usage")))
    read = 0
    for part, wanted in parts_to_read(files, effort):
        in_stripes = part.bytes > SMALL_BYTES and part.name.lower().endswith(".jsonl")
        size = part.bytes
        if in_stripes and wanted < part.rows:
            size = min(size, (wanted + 2 * STRIPES) * (size // part.rows + 1))
        elif task == EMBEDDINGS.name and part.name.lower().endswith(".parquet"):
            size = min(size, row_groups(wanted) * GROUP_BYTES)
        read += size
        if time.monotonic() >= until or (read > effort.bytes and read > size):
            return
        yield from records_of(folder, part, wanted, columns)


def map_of_sample(records: Iterator[Mapping[str, Any]]) -> VectorMap | None:
    """Return the map of some vectors; `None` if there are none."""
    vectors, origins = list[Floats](), list[Origin]()
    for record in records:
        vector = vector_of(record.get(EMBEDDINGS.name))
        if vector is None or (vectors and len(vector) != len(vectors[0])):
            continue
        vectors.append(vector)
        origins.append(Origin(*row_of(record)))
    return map_of(np.stack(vectors), origins) if vectors else None


def vector_of(value: Any) -> Floats | None:
    """Return a vector `(d,)` float32; `None` if it is not a vector."""
    try:
        vector = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError):
        return None
    return vector if vector.ndim == 1 and len(vector) else None


def answers_of_sample(
    records: Iterator[Mapping[str, Any]], task: str, schema: Any = None
) -> AnswerStats | None:
    """Return the statistics of some answers, which may match a schema; `None` if there are none."""
    found, values = list[Answer](), list[Any]()
    for record in records:
        value, reason = record.get(task), record.get("finish_reason")
        found.append(answer_of(value, reason, record.get("usage")))
        if schema is not None:
            values += [each for each in answers_of(value, reason) if each is not None]
    return answer_stats(found, enum_counts(values, schema)) if found else None


def read_failures(folder: Place, files: Sequence[FileAccount], until: float) -> Failures:
    """Return error records by code; parts that cannot be read are skipped."""
    by_code: Counter[str] = Counter()
    examples: dict[str, list[FailedRow]] = {}
    size = 0
    # The first part with errors of every file, then the second, and so on.
    turns = chain.from_iterable(zip_longest(*(each.error_parts for each in files)))
    for part in (part for part in turns if part is not None):
        size += part.bytes
        if by_code.total() >= MOST_ERRORS or size > MOST_ERROR_BYTES or time.monotonic() >= until:
            break
        for record in records_of(folder, part, part.rows, ("file", "row", "id", "error")):
            error = mapping(record.get("error"))
            code = text(error.get("code")) or "unknown"
            with suppress(ValueError):
                code = ErrorCode(code).value  # records of earlier versions have other names
            by_code[code] += 1
            shown = examples.setdefault(code, [])
            if len(shown) < MOST_EXAMPLES:
                shown.append(failed_row(record, error))
    total = sum(each.errors for each in files)
    return Failures(by_code.total(), total, dict(by_code.most_common()), examples)


def failed_row(record: Mapping[str, Any], error: Mapping[str, Any]) -> FailedRow:
    """Return the fields of an error record that a page shows."""
    status, attempts, message = error.get("status"), error.get("attempts"), error.get("message")
    return FailedRow(
        *row_of(record),
        message=message[:LONGEST_MESSAGE] if isinstance(message, str) else "",
        status=int(status) if is_number(status) else None,
        attempts=int(attempts) if is_number(attempts) else 0,
    )


def row_of(record: Mapping[str, Any]) -> tuple[str, int, str | None]:
    """Return the file, the row and the id of a record."""
    file, row = record.get("file"), record.get("row")
    return (
        file[:LONGEST_FILE_NAME] if isinstance(file, str) else "",
        int(row) if is_number(row) else -1,
        text(record.get("id")) or None,
    )


def records_of(
    folder: Place, part: StoredPart, wanted: int, columns: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yield about `wanted` records of a part, spread over it, always the same."""
    place = folder / part.name
    # A part may be missing or damaged in any way; `verify` reports that.
    with suppress(Exception):
        if place.suffix.lower() == ".parquet":
            yield from parquet_records(place, wanted, columns)
        else:
            records = map(orjson.loads, some_lines(place, part, wanted))
            yield from (record for record in records if isinstance(record, dict))


def some_lines(place: Place, part: StoredPart, wanted: int) -> list[bytes]:
    """Return about `wanted` complete lines of a file, spread over it."""
    size = part.bytes
    if size <= SMALL_BYTES or wanted >= part.rows:
        with storage.open_file(place) as file:
            lines = BytesIO(file.read(max(size, SMALL_BYTES))).readlines()
        step = max(len(lines) / max(wanted, 1), 1.0)
        return [lines[int(number * step)] for number in range(min(wanted, len(lines)))]
    each = -(-wanted // STRIPES)
    # Stripes must not overlap, or records would be read twice.
    stripe = min(int((each + 2) * 1.1 * size / part.rows), LONGEST_STRIPE, size // STRIPES)
    found: list[bytes] = []
    with storage.open_file(place) if isinstance(place, Path) else StoredFile(place) as file:
        for number in range(STRIPES):
            start = number * size // STRIPES
            file.seek(start)
            lines = file.read(stripe).split(b"\n")
            # The first and the last line are incomplete, except the first line of the file.
            found += lines[1 if start else 0 : -1][:each]
    return [line for line in found if line]


def parquet_records(place: Place, wanted: int, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield some records of a Parquet part, evenly spread."""
    import pyarrow as pa  # noqa: PLC0415 - 0.1 s that JSON Lines does not need

    from batchscore.output.records.arrow_arrays import vectors_of  # noqa: PLC0415
    from batchscore.stores.objects import open_parquet_part  # noqa: PLC0415

    with open_parquet_part(place) as file:
        having = [name for name in columns if name in file.schema_arrow.names]
        of_file = file.metadata
        # To decode a group takes as long for one of its rows as for all.
        least = -(-wanted * of_file.num_row_groups // max(of_file.num_rows, 1))
        groups = evenly(of_file.num_row_groups, max(least, row_groups(wanted)))
        sizes = [of_file.row_group(group).num_rows for group in groups]
        places = evenly(sum(sizes), wanted)
        for group, end in zip(groups, accumulate(sizes), strict=True):  # one at a time is in memory
            start = end - of_file.row_group(group).num_rows
            within = [place - start for place in places if start <= place < end]
            if not within:
                continue
            table = file.read_row_group(group, columns=having)
            # `take` would load pandas.
            table = pa.concat_tables([table.slice(row, 1) for row in within])
            cells = {name: table[name].to_pylist() for name in having if name != EMBEDDINGS.name}
            if EMBEDDINGS.name in having:
                # Copies, or each would keep its group in memory.
                cells[EMBEDDINGS.name] = [each.copy() for each in vectors_of(table[EMBEDDINGS.name])]
            yield from (dict(zip(cells, values, strict=True)) for values in zip(*cells.values(), strict=True))


def row_groups(wanted: int) -> int:
    """Return the number of row groups that are read for this number of records."""
    return -(-wanted // RECORDS_OF_GROUP)


def evenly(count: int, wanted: int) -> list[int]:
    """Return at most `wanted` of `count` places, evenly spread."""
    step = max(count / max(wanted, 1), 1.0)
    return [int(number * step) for number in range(min(wanted, count))]
