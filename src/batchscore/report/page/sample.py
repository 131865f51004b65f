"""Which few thousand scores stand for an output of any size, and what are they?

The choice is the same every time: by a hash, spread over files and parts. However large the output is, only
some parts are opened, and of large ones some stripes are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from batchscore.report.page.answers import Answer, Measured, answer_of, measured
from batchscore.report.page.gather import Until
from batchscore.report.page.model import FileAccount, PartAccount
from batchscore.report.page.read_parts import bytes_for, some_records, vector_of
from batchscore.report.page.runs import is_number, text
from batchscore.report.page.vectors import Map, Origin, map_of
from batchscore.stores.address import Place

LONGEST_FILE_NAME = 1000


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is looked at: so many records of so many parts, and bytes."""

    records: int = 3000
    parts: int = 64
    bytes: int = 512 * 2**20


#: What `batchscore report` looks at.
THOROUGH = Extent()

#: When a run ends nobody asked to wait, and to look at a score costs as much as to make two or three.
ONE_OF = 150
FEWEST_AT_THE_END, MOST_AT_THE_END = 150, 1000


def at_the_end(rows: int) -> Extent:
    """Return what is looked at when a run of so many rows ends."""
    records = max(FEWEST_AT_THE_END, min(rows // ONE_OF, MOST_AT_THE_END))
    return Extent(records=records, parts=24, bytes=48 * 2**20)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A part, and how many records of it are to be looked at."""

    part: PartAccount
    wanted: int


def chosen(files: Sequence[FileAccount], extent: Extent) -> list[Chosen]:
    """Return which parts are looked at: one of each file in turn, in an order that a hash gives.

    Where there are few parts with few rows, the others give more.
    """
    having = [
        sorted((part for part in each.parts if part.ok), key=lambda part: drawn(part.name))
        for each in sorted(files, key=lambda each: drawn(each.file))
    ]
    most = max((len(parts) for parts in having), default=0)
    turns = (parts[turn] for turn in range(most) for parts in having if turn < len(parts))
    parts = [part for part, _ in zip(turns, range(extent.parts), strict=False)]
    left, found = extent.records, list[Chosen]()
    for number, part in enumerate(sorted(parts, key=lambda part: part.ok)):
        wanted = min(part.ok, -(-left // (len(parts) - number)))
        left -= wanted
        if wanted:
            found.append(Chosen(part, wanted))
    return found


def drawn(name: str) -> bytes:
    """Return what puts names in an order that means nothing, and is always the same."""
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def sampled(
    folder: Place, task: str, files: Sequence[FileAccount], extent: Extent, until: Until
) -> Iterator[Mapping[str, Any]]:
    """Give the chosen records; a part that cannot be read is passed over, and reading ends in time."""
    columns = ("file", "row", "id", task, *(() if task == "embeddings" else ("finish_reason", "usage")))
    size = 0
    for each in sorted(chosen(files, extent), key=lambda each: drawn(each.part.name)):
        place = folder / task / each.part.name
        size += bytes_for(place, each.part.bytes, each.part.ok, each.wanted)
        if until.over or (size > extent.bytes and size > each.part.bytes):
            return
        try:
            yield from some_records(place, each.part.bytes, each.part.ok, each.wanted, columns)
        except Exception:  # noqa: S112 - as with error records: `verify` tells what is wrong with a part
            continue


def map_of_sample(folder: Place, files: Sequence[FileAccount], extent: Extent, until: Until) -> Map | None:
    """Return the map of some vectors; `None` where there is none."""
    vectors: list[np.ndarray[Any, np.dtype[np.float32]]] = []
    origins: list[Origin] = []
    for record in islice(sampled(folder, "embeddings", files, extent, until), extent.records):
        vector = vector_of(record.get("embeddings"))
        if vector is None or (vectors and len(vector) != len(vectors[0])):
            continue
        vectors.append(vector)
        origins.append(origin_of(record))
    return map_of(np.stack(vectors), origins) if vectors else None


def answers_of_sample(
    folder: Place, task: str, files: Sequence[FileAccount], extent: Extent, until: Until
) -> Measured | None:
    """Return the measures of some answers; `None` where there is none."""
    found: list[Answer] = [
        answer_of(record.get(task), record.get("finish_reason"), record.get("usage"))
        for record in islice(sampled(folder, task, files, extent, until), extent.records)
    ]
    return measured(found) if found else None


def origin_of(record: Mapping[str, Any]) -> Origin:
    """Return the row that a record is of."""
    file, row = record.get("file"), record.get("row")
    return Origin(
        file[:LONGEST_FILE_NAME] if isinstance(file, str) else "",
        int(row) if is_number(row) else -1,
        text(record.get("id")) or None,
    )
