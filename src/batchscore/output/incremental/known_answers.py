"""Which answer did an earlier run get to what a row asks, wherever that row stood?

An index of digests over the parts of several accounts, 32 bytes a row. The answers themselves stay on disk: a
part whose answers are wanted is unpacked once into a nameless file, where any order of asking costs the same.
It knows no inputs and writes nothing that lasts.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson

from batchscore.errors import BatchscoreError
from batchscore.output.journal import row_of, settled_from
from batchscore.output.layout import Layout
from batchscore.output.manifest import Commit, Manifest
from batchscore.output.parts import final
from batchscore.output.read_part import read_part
from batchscore.output.records.jsonl import json_bytes
from batchscore.output.row_digests import halves, read_digests
from batchscore.rows import Score, Settled
from batchscore.stores.errors import explain_errors

LENGTHS = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class Source:
    """A part whose answers may be used again."""

    layout: Layout
    manifest: Manifest
    commit: Commit


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of earlier runs by what was asked.

    `first` and `second` are the halves of digests, sorted; `sources` and `rows` say where each stands.
    `without` counts the rows of parts whose digests are gone, so that nobody knows what they asked.
    """

    parts: Sequence[Source]
    first: np.ndarray[Any, Any]
    second: np.ndarray[Any, Any]
    sources: np.ndarray[Any, Any]
    rows: np.ndarray[Any, Any]
    without: int
    unpacked: Unpacked

    def __len__(self) -> int:
        return int(self.first.size)

    def find(self, asked: bytes, *, retry_errors: bool) -> Settled | None:
        """Return a record that stands for whatever asks this, `None` where there is none."""
        (pair,) = halves([asked])
        at = int(np.searchsorted(self.first, pair[0]))
        while at < len(self) and self.first[at] == pair[0]:
            if self.second[at] == pair[1]:
                part = int(self.sources[at])
                found = self.unpacked.record(part, self.parts[part], int(self.rows[at]))
                if found is not None and final(found, retry_errors=retry_errors):
                    return found
            at += 1
        return None


@dataclass(slots=True)
class Unpacked:
    """Records of parts, unpacked one part after the other as they are wanted.

    `places` are, for each part, its rows in order and where their records begin: 16 bytes a row.
    """

    folder: Path
    file: BinaryIO | None = None
    places: dict[int, np.ndarray[Any, np.dtype[np.int64]]] = field(default_factory=dict)

    def record(self, number: int, source: Source, row: int) -> Settled | None:
        """Return one record of a part; a damaged part has none."""
        if number not in self.places:
            self.places[number] = self.unpack(source)
        rows, places = self.places[number]
        at = int(np.searchsorted(rows, row))
        if at == rows.size or rows[at] != row:
            return None
        file = self.opened()
        with explain_errors(self.folder, "read"):
            file.seek(int(places[at]))
            text_bytes, vector_bytes = LENGTHS.unpack(file.read(LENGTHS.size))
            text, vector = file.read(text_bytes), file.read(vector_bytes)
        vectors = iter([np.frombuffer(vector, np.float32)])
        return settled_from(orjson.loads(text), vectors)

    def unpack(self, source: Source) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Write a part's records into the file; returns the rows, and where each one's begins: `(2, n)`."""
        file, places = self.opened(), dict[int, int]()
        for settled in records(source):
            value = settled.result.value if isinstance(settled.result, Score) else None
            vector = value.tobytes() if isinstance(value, np.ndarray) else b""
            text = json_bytes(row_of(replace(settled, kept={})))
            with explain_errors(self.folder, "write"):
                places[settled.row] = file.seek(0, 2)
                file.write(LENGTHS.pack(len(text), len(vector)) + text + vector)
        rows = sorted(places)
        return np.array([rows, [places[row] for row in rows]], np.int64)

    def opened(self) -> BinaryIO:
        """Return the file, begun where it is not there; nobody else can see it."""
        if self.file is None:
            with explain_errors(self.folder, "use"):
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                self.file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115 - lives as long as this
        return self.file

    def close(self) -> None:
        """Forget everything."""
        self.places.clear()
        if self.file is not None:
            self.file.close()
            self.file = None


def answers_of(accounts: Sequence[tuple[Layout, Manifest]], folder: Path) -> Answers:
    """Return the answers that these accounts hold; `folder` takes what is unpacked."""
    parts: list[Source] = []
    firsts, seconds, sources, rows = [], [], [], []
    without = 0
    for layout, manifest in accounts:
        for number in sorted(manifest.parts):
            commit = manifest.parts[number]
            digests = read_digests(layout.digests(manifest.file, number))
            if digests is None:
                without += commit.ok
                continue
            firsts.append(digests.asked[:, 0])
            seconds.append(digests.asked[:, 1])
            rows.append(digests.rows)
            sources.append(np.full(digests.rows.size, len(parts), np.uint32))
            parts.append(Source(layout, manifest, commit))
    first, second = joined(firsts, np.uint64), joined(seconds, np.uint64)
    order = np.argsort(first, kind="stable")
    return Answers(
        tuple(parts),
        first[order],
        second[order],
        joined(sources, np.uint32)[order],
        joined(rows, np.int64)[order],
        without,
        Unpacked(folder),
    )


def joined(arrays: Sequence[Any], kind: Any) -> np.ndarray[Any, Any]:
    """Return arrays as one, also where there are none."""
    return np.concatenate(arrays) if arrays else np.empty(0, kind)


def records(source: Source) -> Iterator[Settled]:
    """Yield the records of a part, but not those of a file that is missing, cut or changed."""
    with suppress(BatchscoreError):
        for file in read_part(source.layout, source.commit, skip_damaged=True):
            yield from file
