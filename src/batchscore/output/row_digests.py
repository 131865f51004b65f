"""What was the prompt of each row of a part, and was the row scored?

Each part has a small file beside the manifest, from which a later run recognizes an input's rows in any
position. It holds digests of 16 bytes and the rows' ids, but no answers.

    file     = magic, rows n, with ids?, with kept columns?, n row numbers, n flags (1: scored),
               n x 16 bytes of prompts' digests, n x 16 of kept columns' digests, JSON of n ids, checksum
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import orjson
import xxhash

from batchscore.errors import OutputError
from batchscore.output.records.jsonl import json_bytes
from batchscore.rows import Score, Settled
from batchscore.stores import storage
from batchscore.stores.address import Place

MAGIC = b"bscrow01"
HEADER = struct.Struct("<8sQ??")
CHECKSUM = struct.Struct("<Q")

#: The digest of a row that another worker has read; no prompt has it.
UNKNOWN = bytes(16)

#: Digests of n rows, `(n, 2)` of 64 bits each.
Halves: TypeAlias = "np.ndarray[Any, np.dtype[np.uint64]]"


@dataclass(frozen=True, slots=True)
class Digests:
    """The rows of one part, `n` of them: row numbers and flags `(n,)`, digests `(n, 2)`.

    `asked` are of the prompts, `carried` of the kept columns, `None` if none are kept; `ids` is `None` if
    there is no id column.
    """

    rows: np.ndarray[Any, np.dtype[np.int64]]
    scored: np.ndarray[Any, np.dtype[np.bool_]]
    asked: Halves
    carried: Halves | None
    ids: list[str | None] | None

    def keys(self) -> Halves:
        """Return the digest that identifies each row: of its id, else of its prompt."""
        if self.ids is None:
            return self.asked
        return halves([xxhash.xxh3_128_digest(json_bytes(each)) for each in self.ids])

    def asked_by_row(self) -> dict[int, bytes]:
        """Return the digest of each row's prompt, by row number."""
        data = self.asked.astype("<u8").tobytes()
        return {row: data[16 * at : 16 * at + 16] for at, row in enumerate(self.rows.tolist())}

    def versions(self) -> Halves:
        """Return a digest of each row's id, prompt and kept columns together."""
        versions: Halves = self.asked.copy()
        for other, factor in ((self.keys(), 0x9E3779B97F4A7C15), (self.carried, 0xC2B2AE3D27D4EB4F)):
            if other is not None:
                versions = (versions ^ (versions >> np.uint64(29))) * np.uint64(factor) + other
        return versions


def halves(digests: Sequence[bytes]) -> Halves:
    """Return digests of 16 bytes each as `(n, 2)` numbers."""
    numbers: Halves = np.frombuffer(b"".join(digests), np.dtype("<u8")).astype(np.uint64)
    pairs: Halves = numbers.reshape(-1, 2)
    return pairs


def encode_digests(
    settled: Sequence[Settled], asked: Mapping[int, bytes], carried: Mapping[int, bytes], *, with_id: bool
) -> bytes:
    """Return the file of a part's settled rows."""
    n = len(settled)
    pieces = [
        HEADER.pack(MAGIC, n, with_id, bool(carried)),
        np.array([row.row for row in settled], np.dtype("<i8")).tobytes(),
        bytes([isinstance(row.result, Score) for row in settled]),
        b"".join([asked.get(row.row, UNKNOWN) for row in settled]),
    ]
    if carried:
        pieces.append(b"".join([carried.get(row.row, UNKNOWN) for row in settled]))
    if with_id:
        pieces.append(json_bytes([row.id for row in settled]))
    body = b"".join(pieces)
    return body + CHECKSUM.pack(xxhash.xxh3_64_intdigest(body))


def read_digests(path: Place) -> Digests | None:
    """Return the digests in a file, `None` if it is missing or damaged."""
    try:
        if storage.size_of(path) is None:
            return None
        data = b"".join(storage.chunks(path))
    except OutputError:
        return None
    if len(data) < HEADER.size + CHECKSUM.size:
        return None
    body, (checksum,) = data[: -CHECKSUM.size], CHECKSUM.unpack(data[-CHECKSUM.size :])
    magic, n, with_ids, with_carried = HEADER.unpack_from(body)
    if magic != MAGIC or xxhash.xxh3_64_intdigest(body) != checksum:
        return None
    rows = np.frombuffer(body, np.dtype("<i8"), n, HEADER.size).astype(np.int64)
    scored = np.frombuffer(body, np.bool_, n, HEADER.size + 8 * n)
    at = HEADER.size + 9 * n
    asked = halves([body[at : at + 16 * n]])
    at += 16 * n
    carried = halves([body[at : at + 16 * n]]) if with_carried else None
    at += 16 * n * with_carried
    return Digests(rows, scored, asked, carried, orjson.loads(body[at:]) if with_ids else None)
