"""Which few thousand scores represent an output of any size?

The choice is the same every time: by a hash, spread over files and parts. However large the output is, only
some parts are opened, and only some stripes of large parts are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from typing import Any

import numpy as np

from batchscore.report.page.answers import Answer, AnswerStats, answer_of, answer_stats
from batchscore.report.page.gather import TimeLimit
from batchscore.report.page.model import FileAccount, PartAccount
from batchscore.report.page.read_parts import bytes_for, some_records, vector_of
from batchscore.report.page.runs import is_number, text
from batchscore.report.page.vectors import Origin, VectorMap, map_of
from batchscore.stores.address import Place
from batchscore.task import EMBEDDINGS

LONGEST_FILE_NAME = 1000


@dataclass(frozen=True, slots=True)
class SampleSize:
    """How much is read: the greatest numbers of records, parts and bytes."""

    records: int = 3000
    parts: int = 64
    bytes: int = 512 * 2**20


#: What `batchscore report` reads.
THOROUGH = SampleSize()

#: At the end of a run the user should not wait, and reading a score costs as much as making two or three.
ROWS_PER_RECORD = 150
FEWEST_AT_THE_END, MOST_AT_THE_END = 150, 1000


def at_the_end(rows: int) -> SampleSize:
    """Return how much is read at the end of a run with this many rows."""
    records = max(FEWEST_AT_THE_END, min(rows // ROWS_PER_RECORD, MOST_AT_THE_END))
    return SampleSize(records=records, parts=24, bytes=48 * 2**20)


@dataclass(frozen=True, slots=True)
class SampledPart:
    """A part, and how many of its records to read."""

    part: PartAccount
    wanted: int


def parts_to_read(files: Sequence[FileAccount], size: SampleSize) -> list[SampledPart]:
    """Return the parts to read: one of each file in turn, in the order of a hash.

    If some parts have few rows, more are read of the others.
    """
    having = [
        sorted((part for part in each.parts if part.ok), key=lambda part: hash_order(part.name))
        for each in sorted(files, key=lambda each: hash_order(each.file))
    ]
    turns = chain.from_iterable(zip_longest(*having))
    parts = list(islice((part for part in turns if part is not None), size.parts))
    left, found = size.records, list[SampledPart]()
    for number, part in enumerate(sorted(parts, key=lambda part: part.ok)):
        wanted = min(part.ok, -(-left // (len(parts) - number)))
        left -= wanted
        if wanted:
            found.append(SampledPart(part, wanted))
    return found


def hash_order(name: str) -> bytes:
    """Return a key that sorts names in an arbitrary order, always the same."""
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def read_sample(
    folder: Place, task: str, files: Sequence[FileAccount], size: SampleSize, until: TimeLimit
) -> Iterator[Mapping[str, Any]]:
    """Yield the records; parts that cannot be read are skipped, and reading ends in time."""
    columns = ("file", "row", "id", task, *(() if task == EMBEDDINGS.name else ("finish_reason", "usage")))
    read = 0
    for each in sorted(parts_to_read(files, size), key=lambda each: hash_order(each.part.name)):
        place = folder / task / each.part.name
        read += bytes_for(place, each.part.bytes, each.part.ok, each.wanted)
        if until.over or (read > size.bytes and read > each.part.bytes):
            return
        try:
            yield from some_records(place, each.part.bytes, each.part.ok, each.wanted, columns)
        except Exception:  # noqa: S112 - `verify` reports damaged parts
            continue


def map_of_sample(
    folder: Place, files: Sequence[FileAccount], size: SampleSize, until: TimeLimit
) -> VectorMap | None:
    """Return the map of some vectors; `None` if there are none."""
    vectors: list[np.ndarray[Any, np.dtype[np.float32]]] = []
    origins: list[Origin] = []
    for record in islice(read_sample(folder, EMBEDDINGS.name, files, size, until), size.records):
        vector = vector_of(record.get(EMBEDDINGS.name))
        if vector is None or (vectors and len(vector) != len(vectors[0])):
            continue
        vectors.append(vector)
        origins.append(origin_of(record))
    return map_of(np.stack(vectors), origins) if vectors else None


def answers_of_sample(
    folder: Place, task: str, files: Sequence[FileAccount], size: SampleSize, until: TimeLimit
) -> AnswerStats | None:
    """Return the statistics of some answers; `None` if there are none."""
    found: list[Answer] = [
        answer_of(record.get(task), record.get("finish_reason"), record.get("usage"))
        for record in islice(read_sample(folder, task, files, size, until), size.records)
    ]
    return answer_stats(found) if found else None


def origin_of(record: Mapping[str, Any]) -> Origin:
    """Return the row of a record."""
    file, row = record.get("file"), record.get("row")
    return Origin(
        file[:LONGEST_FILE_NAME] if isinstance(file, str) else "",
        int(row) if is_number(row) else -1,
        text(record.get("id")) or None,
    )
