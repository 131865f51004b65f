"""What was the prompt of each row of a part, and was the row scored?

Each part has a small file beside the manifest, from which a later run recognizes an input's rows in any
position. It holds digests of 16 bytes and the rows' ids, but no answers. The part's commit record names it by
its digest: another file, such as an older one, would give rows the answers of other rows.

    file     = magic, rows n, with ids?, with kept columns?, n row numbers, n flags (1: scored),
               n x 16 bytes of prompts' digests, n x 16 of kept columns' digests, JSON of n ids, checksum
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, TypeAlias

import numpy as np
import orjson
import xxhash

from batchscore.errors import OutputError
from batchscore.output.manifest import Commit
from batchscore.output.records.json_value import json_bytes
from batchscore.rows import Score, Settled
from batchscore.stores import storage
from batchscore.stores.address import Place

MAGIC = b"bscrow01"
HEADER = struct.Struct("<8sQ??")
CHECKSUM = struct.Struct("<Q")

#: The digest of a row that another worker has read; no prompt has it.
UNKNOWN = bytes(16)


class DigestsByRow(MutableMapping[int, bytes]):
    """Digests of rows that are next to each other, 16 bytes each: a dictionary takes 120 bytes a row.

    A run through batches has read all rows before the first one is settled. `UNKNOWN` is not a digest.
    """

    __slots__ = ("data", "first")

    def __init__(self) -> None:
        """Begin without rows."""
        self.first, self.data = 0, bytearray()

    def __setitem__(self, row: int, digest: bytes) -> None:
        """Set the digest of a row; O(1) in the order of rows."""
        at = (row - self.first) * 16
        if at == len(self.data) and at:
            self.data += digest
        elif not self.data:
            self.first, self.data = row, bytearray(digest)
        elif at < 0:
            self.first, self.data = row, bytearray(digest).ljust(-at, b"\0") + self.data
        else:
            self.data += bytes(max(0, at - len(self.data)))
            self.data[at : at + 16] = digest

    def __getitem__(self, row: int) -> bytes:
        """Return the digest of a row; raises `KeyError`."""
        at = (row - self.first) * 16
        digest = bytes(self.data[at : at + 16]) if at >= 0 else b""
        if not digest or digest == UNKNOWN:
            raise KeyError(row)
        return digest

    def of(self, rows: Iterable[int]) -> list[bytes]:
        """Return the digest of each row, `UNKNOWN` if there is none; a third of the time of one by one."""
        data, first, beyond = self.data, self.first, len(self.data)
        return [
            bytes(data[at : at + 16]) if 0 <= (at := (row - first) * 16) < beyond else UNKNOWN for row in rows
        ]

    def joined(self, rows: Sequence[int]) -> bytes:
        """Return the digests of rows in ascending order one after the other, as `of` gives them."""
        at, size = (rows[0] - self.first) * 16, len(rows) * 16
        if at >= 0 and rows[-1] - rows[0] < len(rows) and at + size <= len(self.data):
            return bytes(self.data[at : at + size])  # no row between them is missing
        return b"".join(self.of(rows))

    def __delitem__(self, row: int) -> None:
        """Forget a row; raises `KeyError`."""
        self[row]
        self[row] = UNKNOWN

    def __iter__(self) -> Iterator[int]:
        """Give the rows, in order."""
        rows = range(self.first, self.first + len(self.data) // 16)
        return (row for row in rows if self.data[(at := (row - self.first) * 16) : at + 16] != UNKNOWN)

    def __len__(self) -> int:
        """Return the number of rows."""
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        """Whether there may be rows."""
        return bool(self.data)


#: Digests of n rows, `(n, 2)` of 64 bits each.
Halves: TypeAlias = "np.ndarray[Any, np.dtype[np.uint64]]"


@dataclass(frozen=True, slots=True)
class Digests:
    """The rows of one part, `n` of them: row numbers and flags `(n,)`, digests `(n, 2)`.

    `kept_digests` is `None` if no columns are kept, and `ids` if there is no id column.
    """

    rows: np.ndarray[Any, np.dtype[np.int64]]
    scored: np.ndarray[Any, np.dtype[np.bool_]]
    prompt_digests: Halves
    kept_digests: Halves | None
    ids: list[str | None] | None

    def keys(self) -> Halves:
        """Return the digest that identifies each row: of its id, else of its prompt."""
        if self.ids is None:
            return self.prompt_digests
        return halves([xxhash.xxh3_128_digest(json_bytes(each)) for each in self.ids])

    def prompts_by_row(self) -> dict[int, bytes]:
        """Return the digest of each row's prompt, by row number, if it is known."""
        data = self.prompt_digests.astype("<u8").tobytes()
        known = {row: data[16 * at : 16 * at + 16] for at, row in enumerate(self.rows.tolist())}
        return {row: digest for row, digest in known.items() if digest != UNKNOWN}

    def versions(self) -> Halves:
        """Return a digest of each row's id, prompt and kept columns together."""
        versions: Halves = self.prompt_digests.copy()
        for other, factor in ((self.keys(), 0x9E3779B97F4A7C15), (self.kept_digests, 0xC2B2AE3D27D4EB4F)):
            if other is not None:
                versions = (versions ^ (versions >> np.uint64(29))) * np.uint64(factor) + other
        return versions


def halves(digests: Sequence[bytes]) -> Halves:
    """Return digests of 16 bytes each as `(n, 2)` numbers."""
    numbers: Halves = np.frombuffer(b"".join(digests), np.dtype("<u8")).astype(np.uint64)
    pairs: Halves = numbers.reshape(-1, 2)
    return pairs


class SortedDigests:
    """The digests of `n` rows, sorted: 16 bytes a row. `order` gives the rows in this order: `(n,)`."""

    __slots__ = ("first", "order", "second")

    def __init__(self, digests: Sequence[Halves]) -> None:
        """Sort the digests of several parts."""
        pairs: Halves = np.concatenate([np.empty((0, 2), np.uint64), *digests])
        self.order = np.argsort(pairs[:, 0], kind="stable")
        self.first, self.second = pairs[self.order, 0], pairs[self.order, 1]

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.first.size)

    def find(self, digest: bytes) -> Iterator[int]:
        """Yield the places of a digest."""
        (pair,) = halves([digest])
        at = int(np.searchsorted(self.first, pair[0]))
        while at < len(self) and self.first[at] == pair[0]:
            if self.second[at] == pair[1]:
                yield at
            at += 1


def encode_digests(
    settled: Sequence[Settled],
    prompt_digests: DigestsByRow,
    kept_digests: DigestsByRow,
    *,
    with_id: bool,
) -> bytes:
    """Return the file of a part's settled rows."""
    rows = [row.row for row in settled]
    pieces = [
        HEADER.pack(MAGIC, len(rows), with_id, bool(kept_digests)),
        np.array(rows, np.dtype("<i8")).tobytes(),
        bytes([isinstance(row.result, Score) for row in settled]),
        prompt_digests.joined(rows),
    ]
    if kept_digests:
        pieces.append(kept_digests.joined(rows))
    if with_id:
        pieces.append(json_bytes([row.id for row in settled]))
    body = b"".join(pieces)
    return body + CHECKSUM.pack(xxhash.xxh3_64_intdigest(body))


def read_digests(place: Place, commit: Commit) -> Digests | None:
    """Return the digests of a part's rows; `None` if the file is missing, damaged or not that of the part."""
    try:
        data = storage.whole(place)
    except OutputError:
        return None
    is_own = f"xxh3:{xxhash.xxh3_128_hexdigest(data)}" == commit.row_digests
    return decode_digests(data) if is_own else None


def damage_of_digests(place: Place, commit: Commit) -> str | None:
    """Return how a part's file of digests differs from its commit record; raises `OutputError`.

    A record without a digest of it says nothing, and `read_digests` does not use the file.
    """
    if not commit.row_digests:
        return None
    try:
        is_own = storage.digest_file(place) == commit.row_digests
    except OutputError:
        # Another worker may remove it at any moment.
        if storage.size_of(place) is not None:
            raise
        return "is missing"
    if is_own:
        return None
    return "was changed, or is not that of its part: its digest is not the same"


def decode_digests(data: bytes) -> Digests | None:
    """Return the digests in a file's content, `None` if it is damaged."""
    if len(data) < HEADER.size + CHECKSUM.size:
        return None
    body, (checksum,) = data[: -CHECKSUM.size], CHECKSUM.unpack(data[-CHECKSUM.size :])
    magic, n, with_ids, with_kept = HEADER.unpack_from(body)
    if magic != MAGIC or xxhash.xxh3_64_intdigest(body) != checksum:
        return None
    ends = list(accumulate((8 * n, n, 16 * n, 16 * n * with_kept), initial=HEADER.size))
    if len(body) < ends[-1] or (len(body) > ends[-1] and not with_ids):
        return None
    rows, scored, prompts, kept = (body[start:end] for start, end in pairwise(ends))
    try:
        ids = orjson.loads(body[ends[-1] :]) if with_ids else None
    except ValueError:
        return None
    if ids is not None and not (
        isinstance(ids, list) and len(ids) == n and all(isinstance(each, str | None) for each in ids)
    ):
        return None
    return Digests(
        rows=np.frombuffer(rows, np.dtype("<i8")).astype(np.int64),
        scored=np.frombuffer(scored, np.uint8) != 0,
        prompt_digests=halves([prompts]),
        kept_digests=halves([kept]) if with_kept else None,
        ids=ids,
    )
