"""Is a file of scores what its manifest states, to the byte, and are its records those of its rows?

`merge`, one file of a run and `read_scores` use it. Parts that were exchanged together with their digests fit
their manifests, so each record's file and row are compared, too. This module repairs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NoReturn

import orjson
import xxhash

from batchscore.errors import OutputError
from batchscore.output.manifest import Commit, Manifest, PartFile
from batchscore.output.part_files import CHANGED, refuse_damaged
from batchscore.output.records.schema import all_damage
from batchscore.stores import storage
from batchscore.stores.address import Place


@dataclass(frozen=True, slots=True)
class StatedScores:
    """What a manifest states of a score file: the `written` bytes, and `count` scores of an `input` file.

    `rows` are the numbers that the rows of this part may have.
    """

    written: PartFile
    input: str
    rows: range
    count: int


def stated_in(manifest: Manifest, commit: Commit, written: PartFile, count: int) -> StatedScores:
    """Return what a manifest states of `count` records of one of its parts."""
    most = manifest.fingerprint["rows_per_part"]
    rows = range(commit.part * most, (commit.part + 1) * most)
    return StatedScores(written, manifest.file, rows, count)


class RecordCheck:
    """Compares the records of a score file, in their order, with what is stated; `None`: nothing is known.

    Its methods raise `OutputError` at the first record that does not belong to this file.
    """

    def __init__(self, path: Place, stated: StatedScores | None) -> None:
        self.path = path
        self.stated = stated
        self.count = 0
        self.last = -1 if stated is None else stated.rows.start - 1

    def add(self, files: Iterable[object], rows: Iterable[object]) -> None:
        """Compare the next records."""
        if self.stated is not None:
            for file in files:
                self._add_file(file)
            self._add_rows(rows)

    def add_lines(self, data: bytes, start: int, stop: int) -> None:
        """Compare the next records, which are lines in `data[start:stop]`."""
        if self.stated is None:
            return
        # Lines as runs write them are not read as JSON, which would take ten times as long.
        head = b'{"file":' + orjson.dumps(self.stated.input) + b',"row":'
        rows: list[object] = []
        try:
            while start < stop:
                end, number = data.index(b"\n", start), start + len(head)
                if data.startswith(head, start):
                    rows.append(int(data[number : data.index(b",", number)]))
                else:
                    record = orjson.loads(data[start:end])
                    self._add_file(record["file"])
                    rows.append(record["row"])
                start = end + 1
        except (ValueError, TypeError, KeyError):
            self._refuse("holds a line that is not a record")
        self._add_rows(rows)

    def _add_file(self, file: object) -> None:
        if self.stated is not None and file != self.stated.input:
            self._refuse(f"holds a record of {file}")

    def _add_rows(self, rows: Iterable[object]) -> None:
        assert self.stated is not None
        last, stop = self.last, self.stated.rows.stop
        for row in rows:
            if type(row) is not int or not last < row < stop:
                known = type(row) is int and row in self.stated.rows
                what = "twice or out of order" if known else "which belongs to another part"
                self._refuse(f"holds row {row}, {what}")
            last = row
            self.count += 1
        self.last = last

    def end(self) -> None:
        """Compare the number of records."""
        if self.stated is not None and self.count != self.stated.count:
            self._refuse(f"holds {self.count:,} records; its manifest says {self.stated.count:,}")

    def _refuse(self, what: str) -> NoReturn:
        raise OutputError(f"{self.path} {what}.{all_damage(self.path)}")


def refuse_changed(path: Place, stated: StatedScores | None) -> None:
    """Raise `OutputError` if a score file is not as its manifest says, to the byte."""
    refuse_damaged(path, None if stated is None else stated.written)


def checked_chunks(path: Place, stated: StatedScores | None) -> Iterator[bytes]:
    """Yield the bytes of a file of JSON Lines; raises `OutputError`, also at the end, if it was changed."""
    if stated is not None and storage.size_of(path) != stated.written.bytes:
        refuse_changed(path, stated)
    digest, check = xxhash.xxh3_128(), RecordCheck(path, stated)
    pieces: list[bytes] = []
    for chunk in storage.chunks(path):
        digest.update(chunk)
        yield chunk
        start, stop = chunk.find(b"\n") + 1, chunk.rfind(b"\n") + 1
        if stop:
            # The line that began in an earlier chunk.
            line = b"".join((*pieces, chunk[:start]))
            check.add_lines(line, 0, len(line))
            check.add_lines(chunk, start, stop)
            pieces.clear()
        pieces.append(chunk[stop:])
    if stated is not None and f"xxh3:{digest.hexdigest()}" != stated.written.digest:
        raise OutputError(f"{path} {CHANGED}.{all_damage(path)}")
    check.end()
