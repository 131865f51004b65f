"""Which answers of a part that is not published yet are safe already?

Results are appended here as they come, so that a killed process loses what was in flight and no more. A
journal is private, binary, and gone once its part stands. It is written in frames, each with a checksum: a
frame that was cut, and whatever stands behind it, counts as not there. It knows no parts and no formats.

    journal = header, frame, frame, ...
    header  = magic, digest of what the journal belongs to, a number that is drawn for each
    frame   = checksum, bytes of each of the following, n, length of a vector (0: none)
              n x 16 bytes that tell what was asked, JSON of n rows and what was spent, vectors as float32

Files are used again, since the system takes several times as long for pages that it has to find: what an
earlier journal left behind the frames has checksums that began with another number.
"""

from __future__ import annotations

import os
import secrets
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import xxhash

from batchscore.output.cost import Cost
from batchscore.output.records.jsonl import error_fields, error_from, json_bytes
from batchscore.rows import RowError, Score, Settled
from batchscore.stores.errors import explain_errors
from batchscore.stores.storage import write_pieces

MAGIC = b"bscjrn01"
HEADER = struct.Struct("<8s16sQ")
CHECKSUM = struct.Struct("<Q")
COUNTS = struct.Struct("<QQQII")

#: Bytes of the digest of what a row asks.
ASKED_BYTES = 16

#: So many journals are open at once; more parts than that are seldom written to in turn.
MOST_OPEN = 64

SUFFIX = ".journal"

#: Files that are kept to be used again; what a killed run left of them is removed.
MOST_FREE = 2
FREE_SUFFIX = ".free"


@dataclass(slots=True)
class Entry:
    """One row's result, and the digest of what it asked."""

    settled: Settled
    asked: bytes


@dataclass(slots=True)
class Tail:
    """Where the next frame of a journal goes, and the number that its checksum begins with."""

    seed: int
    end: int = HEADER.size


@dataclass(slots=True)
class Journals:
    """The journals of one output, one a part, in a folder of their own.

    `identity` tells the run's settings: a journal of other settings is not read. May be used from several
    threads, of each name by one at a time. Raises `OutputError` where the disk refuses.
    """

    folder: Path
    identity: str
    present: set[str] = field(default_factory=set)
    open: OrderedDict[str, int] = field(default_factory=OrderedDict)
    tails: dict[str, Tail] = field(default_factory=dict)
    free: list[Path] = field(default_factory=list)
    spent: dict[str, Cost] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self) -> None:
        """See which journals a killed run has left."""
        self.free.clear()
        with explain_errors(self.folder, "read"), suppress(FileNotFoundError):
            for path in list(self.folder.iterdir()):
                if path.suffix == SUFFIX:
                    self.present.add(path.stem)
                elif path.suffix == FREE_SUFFIX:
                    path.unlink()

    def append(self, name: str, entries: Sequence[Entry], spent: Cost | None = None) -> None:
        """Add results to a journal, which is begun where there is none, and what was `spent` for them."""
        with explain_errors(self.path(name), "write"):
            descriptor = self.descriptor(name)
            tail = self.tails[name]
            pieces = frame(entries, tail.seed, spent)
            # Where an earlier frame broke off, this one takes its place.
            os.lseek(descriptor, tail.end, os.SEEK_SET)
            write_pieces(descriptor, pieces)
            tail.end += sum(map(len, pieces))

    def replay(self, name: str) -> dict[int, Entry]:
        """Return what a journal holds by row, of several results of a row the last.

        The next frame takes the place of what is cut; a journal of another run is removed. What was `spent`
        is known afterwards.
        """
        if name not in self.present:
            return {}
        entries: dict[int, Entry] = {}
        spent = self.spent[name] = Cost()
        with explain_errors(self.path(name), "read"):
            self.let_go(name)
            with self.path(name).open("rb") as file:
                tail = self.tail_of(file.read(HEADER.size), name)
                if tail is not None:
                    for found, cost, end in frames(file, tail.seed):
                        tail.end = end
                        spent.add(cost)
                        entries.update((entry.settled.row, entry) for entry in found)
        if tail is None:
            self.remove(name)
        else:
            self.tails[name] = tail
        return entries

    def remove(self, name: str) -> None:
        """Remove a journal whose part stands."""
        if name in self.present:
            self.let_go(name)
            with explain_errors(self.path(name), "remove"), self.lock, suppress(FileNotFoundError):
                self.present.discard(name)
                self.tails.pop(name, None)
                self.spent.pop(name, None)
                if len(self.free) < MOST_FREE:
                    free = self.path(name).with_suffix(FREE_SUFFIX)
                    self.path(name).replace(free)
                    self.free.append(free)
                else:
                    self.path(name).unlink()

    def clear(self) -> None:
        """Remove all journals."""
        self.find()
        for name in list(self.present):
            self.remove(name)

    def close(self) -> None:
        """Close what is open, and remove the folder where nothing is left in it."""
        for name in list(self.open):
            self.let_go(name)
        with suppress(OSError):
            for path in self.free:
                path.unlink()
            self.folder.rmdir()

    def path(self, name: str) -> Path:
        """Return the place of a journal."""
        return self.folder / f"{name}{SUFFIX}"

    def descriptor(self, name: str) -> int:
        """Return the open file of a journal, begun anew unless it was written or replayed before."""
        with self.lock:
            found = self.open.get(name)
            if found is not None:
                self.open.move_to_end(name)
                return found
            while len(self.open) >= MOST_OPEN:
                os.close(self.open.popitem(last=False)[1])
            fresh = name not in self.tails
            if fresh:
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                if self.free and name not in self.present:
                    self.free.pop().replace(self.path(name))
            flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
            descriptor = os.open(self.path(name), flags, 0o600)
            if fresh:
                tail = self.tails[name] = Tail(secrets.randbits(64))
                os.write(descriptor, HEADER.pack(MAGIC, self.belongs_to(name), tail.seed))
            self.present.add(name)
            self.open[name] = descriptor
            return descriptor

    def let_go(self, name: str) -> None:
        """Close a journal."""
        with self.lock:
            descriptor = self.open.pop(name, None)
        if descriptor is not None:
            with explain_errors(self.path(name), "write"):
                os.close(descriptor)

    def belongs_to(self, name: str) -> bytes:
        """Return a digest of the run's settings and the journal's name."""
        return xxhash.xxh3_128_digest(f"{self.identity}\n{name}".encode())

    def tail_of(self, header: bytes, name: str) -> Tail | None:
        """Return the tail of an empty journal with this header, `None` where it is of another run or name."""
        if len(header) < HEADER.size:
            return None
        magic, digest, seed = HEADER.unpack(header)
        return Tail(seed) if (magic, digest) == (MAGIC, self.belongs_to(name)) else None


def frame(entries: Sequence[Entry], seed: int, spent: Cost | None = None) -> list[bytes]:
    """Return a frame of these results and of what was spent for them, as pieces."""
    values = [entry.settled.result.value for entry in entries if isinstance(entry.settled.result, Score)]
    vectors = [value for value in values if isinstance(value, np.ndarray)]
    asked = b"".join([entry.asked for entry in entries])
    cost = [] if spent is None or not spent.attempts else [[spent.attempts, spent.billed, spent.kept]]
    rows = json_bytes([*(row_of(entry.settled) for entry in entries), *cost])
    block: list[Any] = [vector.data.cast("B") for vector in vectors]
    length = vectors[0].size if vectors else 0
    counts = (len(asked), len(rows), 4 * length * len(vectors), len(entries), length)
    digest = xxhash.xxh3_64(COUNTS.pack(*counts), seed)
    for piece in (asked, rows, *block):
        digest.update(piece)
    return [CHECKSUM.pack(digest.intdigest()), COUNTS.pack(*counts), asked, rows, *block]


def frames(file: Any, seed: int) -> Iterator[tuple[list[Entry], Cost, int]]:
    """Give the results of each whole frame, what was spent for them, and where it ends."""
    size = os.fstat(file.fileno()).st_size
    head_bytes = CHECKSUM.size + COUNTS.size
    while len(head := file.read(head_bytes)) == head_bytes:
        (checksum,) = CHECKSUM.unpack_from(head)
        counts = COUNTS.unpack_from(head, CHECKSUM.size)
        asked_bytes, rows_bytes, block_bytes, n, length = counts
        following = asked_bytes + rows_bytes + block_bytes
        if following > size - file.tell():
            return
        body = file.read(following)
        digest = xxhash.xxh3_64(COUNTS.pack(*counts), seed)
        digest.update(body)
        if len(body) < following or digest.intdigest() != checksum or asked_bytes != n * ASKED_BYTES:
            return
        asked, rows = body[:asked_bytes], orjson.loads(body[asked_bytes : asked_bytes + rows_bytes])
        block = np.frombuffer(body, np.float32, offset=asked_bytes + rows_bytes)
        vectors = iter(block.reshape(-1, length) if length else ())
        yield (
            [
                Entry(settled_from(row, vectors), asked[place * ASKED_BYTES : (place + 1) * ASKED_BYTES])
                for place, row in enumerate(rows[:n])
            ],
            Cost(*(rows[n] if len(rows) > n else ())),
            file.tell(),
        )


def row_of(settled: Settled) -> dict[str, Any]:
    """Return a row's result as JSON, but for its vector."""
    row: dict[str, Any] = {"file": settled.file, "row": settled.row}
    if settled.id is not None:
        row["id"] = settled.id
    if settled.kept:
        row["kept"] = settled.kept
    if settled.truncated:
        row["truncated"] = True
    result = settled.result
    if isinstance(result, RowError):
        row["error"] = error_fields(result)
    else:
        if result.finish_reason is not None:
            row["finish_reason"] = result.finish_reason
        if result.usage is not None:
            row["usage"] = result.usage
        if result.raw is not None:
            row["raw"] = result.raw
        if not isinstance(result.value, np.ndarray):
            row["text"] = result.value
    return row


def settled_from(row: Mapping[str, Any], vectors: Iterator[Any]) -> Settled:
    """Return a result from its JSON and, where it has no text, the next vector."""
    result: Score | RowError
    if "error" in row:
        result = error_from(row["error"])
    else:
        value = row["text"] if "text" in row else next(vectors)
        result = Score(value, row.get("finish_reason"), row.get("usage"), row.get("raw"))
    return Settled(
        row["file"], row["row"], result, row.get("id"), row.get("kept", {}), row.get("truncated", False)
    )
