"""Which answers of an unpublished part are safe already?

Results are appended here as they come, so that a killed process loses only what was in flight. A journal is
private, binary, and removed once its part is published. It consists of frames, each with a checksum: a frame
that was cut or holds what no run writes, and all bytes behind it, count as missing. This module knows no
parts and no formats.

    journal = header, frame, frame, ...
    header  = magic, digest of settings and name, a random number (the seed)
    frame   = checksum, bytes of each of the following, n, length of a vector (0: none)
              n x 16 bytes of prompt digests, JSON of n rows and of their cost, vectors as float32

A file is used for one journal after the other, since new pages cost the system several times as much.
Checksums begin with the seed, so that frames of an earlier journal in the same file do not match.
"""

from __future__ import annotations

import os
import secrets
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import orjson
import xxhash

from batchscore.output.cost import Cost
from batchscore.output.manifest_check import is_count
from batchscore.output.records.json_value import json_bytes
from batchscore.output.records.jsonl import row_to_json, settled_from_json
from batchscore.rows import RowError, Score, Settled
from batchscore.stores.errors import explain_errors
from batchscore.stores.links import open_own, refuse_link
from batchscore.stores.sink import write_pieces
from batchscore.stores.storage import open_file

MAGIC = b"bscjrn01"
HEADER = struct.Struct("<8s16sQ")
CHECKSUM = struct.Struct("<Q")
COUNTS = struct.Struct("<QQQII")

#: Bytes of the digest of a prompt.
DIGEST_BYTES = 16

#: The maximum number of open journals; more parts than that are seldom written to in turn.
MAX_OPEN = 64

SUFFIX = ".journal"

#: The suffix if the part is published, and the journal holds only answers to rows that no run has read since.
UNREAD_SUFFIX = ".unread"

#: The maximum number of files that are kept to be used again, and their suffix.
MAX_FREE = 2
FREE_SUFFIX = ".free"


class JournalEntry(NamedTuple):
    """One row's result, and the digest of its prompt; any such pair will do."""

    settled: Settled
    prompt_digest: bytes


@dataclass(slots=True)
class JournalEnd:
    """The position of a journal's next frame, and the seed of its checksums."""

    seed: int
    position: int = HEADER.size


@dataclass(slots=True)
class Journals:
    """The journals of one output, one per part, in a folder of their own.

    `identity` names the run's settings: a journal of other settings is not read. A result of another kind
    than `answer` is not returned: a vector among texts, or the other way round. Of the `present` ones, those
    in `unread` have that suffix. Several threads may use
    this, but each journal only one at a time. `on_close` is called last. Raises `OutputError` if the disk
    fails.
    """

    folder: Path
    identity: str
    answer: Literal["vector", "text", ""] = ""
    on_close: Callable[[], None] = lambda: None
    present: set[str] = field(default_factory=set)
    unread: set[str] = field(default_factory=set)
    open: OrderedDict[str, int] = field(default_factory=OrderedDict)
    written_to: set[str] = field(default_factory=set)
    ends: dict[str, JournalEnd] = field(default_factory=dict)
    free: list[Path] = field(default_factory=list)
    spent: dict[str, Cost] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, *, tidy: bool = True) -> None:
        """Find the journals that a killed run has left; `tidy` removes what it has left besides."""
        self.free.clear()
        with explain_errors(self.folder, "read"), suppress(FileNotFoundError):
            refuse_link(self.folder)
            for path in list(self.folder.iterdir()):
                if path.suffix in {SUFFIX, UNREAD_SUFFIX}:
                    self.present.add(path.stem)
                elif path.suffix == FREE_SUFFIX and tidy:
                    path.unlink()
                if path.suffix == UNREAD_SUFFIX:
                    self.unread.add(path.stem)
            for name in [name for name in self.unread if self.path(name, SUFFIX).exists()]:
                # A run that was killed as it removed published rows has left both.
                if tidy:
                    self.path(name).unlink()
                self.unread.discard(name)

    def append(self, name: str, entries: Sequence[tuple[Settled, bytes]], spent: Cost | None = None) -> None:
        """Add results and their cost to a journal, which is created if needed."""
        with explain_errors(self.path(name), "write"):
            try:
                descriptor = self.descriptor(name)
                end = self.ends[name]
                pieces = encode_frame(entries, end.seed, spent)
                # This replaces an earlier frame that was not completed.
                os.lseek(descriptor, end.position, os.SEEK_SET)
                write_pieces(descriptor, pieces)
                end.position += sum(map(len, pieces))
            finally:
                self.written_to.discard(name)

    def replay(self, name: str) -> dict[int, JournalEntry]:
        """Return a journal's results by row; of several results of one row the last counts.

        Afterwards `spent` holds their cost, and the next frame replaces what was cut. A journal of another
        run is removed.
        """
        if name not in self.present:
            return {}
        self.close_file(name)
        entries, self.spent[name], end = self.look(name)
        if end is None:
            self.remove(name)
        else:
            self.ends[name] = end
        return entries

    def look(
        self, name: str, *, any_settings: bool = False
    ) -> tuple[dict[int, JournalEntry], Cost, JournalEnd | None]:
        """Return a journal's results by row, their cost and its end, and change nothing.

        A journal of another run has no end, unless those of `any_settings` are read.
        """
        entries: dict[int, JournalEntry] = {}
        spent = Cost()
        with explain_errors(self.path(name), "read"), open_file(self.path(name)) as file:
            header = file.read(HEADER.size)
            seed = int.from_bytes(header[-8:], "little")
            end = JournalEnd(seed) if any_settings or header == self.header(name, seed) else None
            if end is not None:
                for of_frame, cost, position in read_frames(file, end.seed):
                    end.position = position
                    spent.add(cost)
                    fitting = [entry for entry in of_frame if self.fits(entry)]
                    entries.update((entry.settled.row, entry) for entry in fitting)
        return entries, spent, end

    def scores_of_any_settings(self) -> int:
        """Return how many rows have a score here, also in journals that are not this run's."""
        scores = 0
        for name in self.present:
            with explain_errors(self.path(name), "read"), open_file(self.path(name)) as file:
                seed = int.from_bytes(file.read(HEADER.size)[-8:], "little")
                settled = [entry.settled for frame in read_frames(file, seed) for entry in frame[0]]
            scores += len({each.row for each in settled if isinstance(each.result, Score)})
        return scores

    def remove(self, name: str) -> None:
        """Remove a journal whose part is published."""
        if name in self.present:
            self.close_file(name)
            with explain_errors(self.path(name), "remove"), self.lock, suppress(FileNotFoundError):
                self.present.discard(name)
                self.ends.pop(name, None)
                self.spent.pop(name, None)
                path = self.path(name)
                self.unread.discard(name)
                if len(self.free) < MAX_FREE:
                    self.free.append(path.replace(path.with_suffix(FREE_SUFFIX)))
                else:
                    path.unlink()

    def remove_rows(self, name: str, rows: Container[int]) -> None:
        """Remove the results of published rows, and the cost; the journal goes if no others are left."""
        left = [entry for row, entry in self.replay(name).items() if row not in rows]
        if not left:
            self.remove(name)
            return
        self.close_file(name)
        end = JournalEnd(secrets.randbits(64))
        # If a kill leaves it, the next run removes it.
        new = self.path(f"{name}-new", FREE_SUFFIX)
        with explain_errors(new, "write"):
            descriptor = open_own(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                pieces = [self.header(name, end.seed), *encode_frame(left, end.seed)]
                write_pieces(descriptor, pieces)
            finally:
                os.close(descriptor)
            new.replace(self.path(name, UNREAD_SUFFIX))
            if name not in self.unread:
                self.path(name).unlink()
                self.unread.add(name)
        end.position = sum(map(len, pieces))
        self.ends[name], self.spent[name] = end, Cost()

    def clear(self) -> None:
        """Remove all journals."""
        self.find()
        for name in list(self.present):
            self.remove(name)

    def close(self) -> None:
        """Close all journals, and remove the folder if it is empty then."""
        for name in list(self.open):
            self.close_file(name)
        with suppress(OSError):
            for path in self.free:
                path.unlink()
            self.folder.rmdir()
        self.on_close()
        self.on_close = lambda: None  # a second call must not repeat it

    def path(self, name: str, suffix: str = "") -> Path:
        """Return the place of a journal, or the one with a suffix."""
        return self.folder / f"{name}{suffix or (UNREAD_SUFFIX if name in self.unread else SUFFIX)}"

    def descriptor(self, name: str) -> int:
        """Return the open file of a journal; a new journal unless it was written or replayed before.

        It stays open until the journal is in `written_to` no more.
        """
        with self.lock:
            self.written_to.add(name)
            present = self.open.get(name)
            if present is not None:
                self.open.move_to_end(name)
                return present
            if len(self.open) >= MAX_OPEN:
                # Another thread may be writing to the oldest, whose number would become another file's.
                idle = next((each for each in self.open if each not in self.written_to), None)
                if idle is not None:
                    os.close(self.open.pop(idle))
            new = name not in self.ends
            if new:
                refuse_link(self.folder)
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                if self.free and name not in self.present:
                    self.free.pop().replace(self.path(name))
            if name in self.unread:
                self.path(name).replace(self.path(name, SUFFIX))
                self.unread.discard(name)
            descriptor = open_own(self.path(name), os.O_WRONLY | os.O_CREAT, 0o600)
            if new:
                end = self.ends[name] = JournalEnd(secrets.randbits(64))
                os.write(descriptor, self.header(name, end.seed))
            self.present.add(name)
            self.open[name] = descriptor
            return descriptor

    def close_file(self, name: str) -> None:
        """Close a journal."""
        with self.lock:
            descriptor = self.open.pop(name, None)
        if descriptor is not None:
            with explain_errors(self.path(name), "write"):
                os.close(descriptor)

    def fits(self, entry: JournalEntry) -> bool:
        """Whether a result is of the kind that these journals hold."""
        result = entry.settled.result
        is_vector = isinstance(result, Score) and isinstance(result.value, np.ndarray)
        return not self.answer or isinstance(result, RowError) or is_vector == (self.answer == "vector")

    def header(self, name: str, seed: int) -> bytes:
        """Return the first bytes of a journal; they depend on the run's settings and the journal's name."""
        owner = xxhash.xxh3_128_digest(f"{self.identity}\n{name}".encode())
        return HEADER.pack(MAGIC, owner, seed)


def encode_frame(
    entries: Sequence[tuple[Settled, bytes]], seed: int, spent: Cost | None = None
) -> list[bytes]:
    """Return a frame of these results and their cost, as pieces."""
    values = [settled.result.value for settled, _ in entries if isinstance(settled.result, Score)]
    vectors = [value for value in values if isinstance(value, np.ndarray)]
    digests = b"".join([digest for _, digest in entries])
    cost = [] if spent is None or not spent.attempts else [[spent.attempts, spent.billed, spent.kept]]
    rows = json_bytes([*[row_to_json(settled) for settled, _ in entries], *cost])
    block: list[Any] = [vector.data.cast("B") for vector in vectors]
    length = vectors[0].size if vectors else 0
    counts = (len(digests), len(rows), 4 * length * len(vectors), len(entries), length)
    checksum = xxhash.xxh3_64(COUNTS.pack(*counts), seed)
    for piece in (digests, rows, *block):
        checksum.update(piece)
    return [CHECKSUM.pack(checksum.intdigest()), COUNTS.pack(*counts), digests, rows, *block]


def read_frames(file: Any, seed: int) -> Iterator[tuple[list[JournalEntry], Cost, int]]:
    """Yield each complete frame's results, their cost, and the position of the frame's end."""
    size = os.fstat(file.fileno()).st_size
    head_bytes = CHECKSUM.size + COUNTS.size
    while len(head := file.read(head_bytes)) == head_bytes:
        (checksum,) = CHECKSUM.unpack_from(head)
        counts = COUNTS.unpack_from(head, CHECKSUM.size)
        digests_bytes, rows_bytes, block_bytes, n, length = counts
        body_bytes = digests_bytes + rows_bytes + block_bytes
        if body_bytes > size - file.tell():
            return
        body = file.read(body_bytes)
        digest = xxhash.xxh3_64(COUNTS.pack(*counts), seed)
        digest.update(body)
        if len(body) < body_bytes or digest.intdigest() != checksum or digests_bytes != n * DIGEST_BYTES:
            return
        at = digests_bytes + rows_bytes
        try:
            rows = orjson.loads(body[digests_bytes:at])
            block = np.frombuffer(body, np.float32, offset=at)
            entries = decode_rows(rows[:n], body[:digests_bytes], block, length)
            figures = rows[n] if len(rows) > n else ()
            # A figure that no reader can hold counts as 0.
            spent = Cost(*(each if is_count(each) else 0 for each in figures))
        except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
            return
        yield entries, spent, file.tell()


def decode_rows(rows: list[Any], digests: bytes, block: Any, length: int) -> list[JournalEntry]:
    """Return the results of a frame; raises `ValueError` and other errors if no run has written them."""
    vectors = iter(block.reshape(-1, length) if length else ())
    entries = [
        JournalEntry(settled_from_json(row, vectors), digests[at : at + DIGEST_BYTES])
        for row, at in zip(rows, range(0, len(digests), DIGEST_BYTES), strict=True)
    ]
    if next(vectors, None) is not None or not np.isfinite(block).all():
        raise ValueError("there are other vectors than those of the rows")
    return entries
