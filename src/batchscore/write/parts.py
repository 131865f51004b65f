"""Which rows belong to which part, and when is a part whole?

One input file's rows are cut at fixed row numbers. Rows come in input order, their results in any
order; a part is handed out when the input has been read past its end and each of its rows is
settled. It knows no format and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import xxhash

from batchscore.errors import TRANSIENT, ErrorCode, OutputError
from batchscore.rows import Prompt, RowError, Score, Settled
from batchscore.write.manifest import Commit


@dataclass(slots=True)
class Part:
    """The rows `[number x rows_per_part, ...)` of one file while they are being settled."""

    file: str
    number: int
    read: int = 0
    whole: bool = False
    settled: dict[int, Settled] = field(default_factory=dict)
    asked: Any = field(default_factory=xxhash.xxh3_128)

    @property
    def complete(self) -> bool:
        """Whether every row is read and settled."""
        return self.whole and len(self.settled) == self.read

    def expect(self, item: Prompt | Settled) -> None:
        """Note a row that was read, and what it asks."""
        self.read += 1
        digest_row(self.asked, item)

    @property
    def inputs(self) -> str:
        """The digest of what the rows read so far ask, in order."""
        return str(self.asked.hexdigest())

    def in_order(self) -> list[Settled]:
        """Return the settled rows by row number."""
        return [self.settled[row] for row in sorted(self.settled)]


def digest_row(digest: Any, item: Prompt | Settled) -> None:
    """Add what one row asks, and what its record carries, to a digest."""
    if isinstance(item, Prompt):
        digest.update(b"%d:%d:" % (item.row, len(item.body)) + item.body)
    else:
        code = item.result.code.value if isinstance(item.result, RowError) else ""
        digest.update(b"%d:%s:" % (item.row, code.encode()))
    if item.id is not None:
        digest.update(item.id.encode("utf-8", "replace"))
    if item.kept:
        digest.update(repr(item.kept).encode("utf-8", "replace"))


#: Gives the records of a part that is already published.
Load = Callable[[Commit], Mapping[int, Settled]]


@dataclass(slots=True)
class FileInParts:
    """One input file on its way into parts, on top of what an earlier run `committed`.

    Of a `damaged` part a file is gone or cut; what still stands of it is kept. With `retry_errors` no error
    stands.
    """

    file: str
    rows_per_part: int
    committed: Mapping[int, Commit]
    load: Load
    damaged: frozenset[int] = frozenset()
    retry_errors: bool = False
    open: dict[int, Part] = field(default_factory=dict)
    limited: bool = False
    ended: bool = False

    def unanswered(self, items: Iterator[Prompt | Settled]) -> Iterator[Prompt | Settled]:
        """Give on the rows that no earlier run has settled, in order; the rest is skipped.

        Raises `OutputError` where an earlier run answered other rows than these. Memory: one part's
        rows where an earlier run has published it, else none.
        """
        for number, group in groupby(items, key=lambda item: item.row // self.rows_per_part):
            for part in self.open.values():
                part.whole = True
            commit = self.committed.get(number)
            if commit is None:
                part = self.open[number] = Part(self.file, number)
                for item in group:
                    part.expect(item)
                    yield item
            else:
                yield from self.resumed(commit, list(group))

    def resumed(self, commit: Commit, items: list[Prompt | Settled]) -> Iterator[Prompt | Settled]:
        """Give on what a published part leaves to ask."""
        part = Part(self.file, commit.part)
        for item in items[: commit.rows]:
            part.expect(item)
        if part.read < commit.rows and self.limited:
            return
        if part.inputs != commit.inputs or (commit.whole and len(items) > commit.rows):
            first = commit.part * self.rows_per_part
            raise OutputError(
                f"{self.file} has changed since it was scored (at row {first} or soon after). Score "
                "it into another folder, or discard the old scores with --overwrite."
            )
        if commit.nothing_left(retry_errors=self.retry_errors) and commit.part not in self.damaged:
            return
        for item in items[commit.rows :]:
            part.expect(item)
        rows = {item.row for item in items}
        part.settled.update(
            (row, old)
            for row, old in self.load(commit).items()
            if row in rows and final(old, retry_errors=self.retry_errors)
        )
        self.open[part.number] = part
        for item in items:
            if item.row not in part.settled:
                yield item

    def end(self) -> None:
        """Note that the input was read to its end."""
        self.ended = True
        for part in self.open.values():
            part.whole = True

    def settle(self, settled: Settled) -> None:
        """Take a row's result. O(1)."""
        self.open[settled.row // self.rows_per_part].settled[settled.row] = settled

    @property
    def waiting(self) -> bool:
        """Whether a row that was read is not settled."""
        return any(len(part.settled) < part.read for part in self.open.values())

    def completed(self) -> list[Part]:
        """Return the open parts that are complete, and close them."""
        complete = [part for part in self.open.values() if part.complete]
        for part in complete:
            del self.open[part.number]
        return complete


def final(settled: Settled, *, retry_errors: bool) -> bool:
    """Whether a record stands: a score, or an error that would come again and is not to be retried.

    A row that has nothing to ask is never retried.
    """
    if isinstance(settled.result, Score) or settled.result.code is ErrorCode.EMPTY_INPUT:
        return True
    return not retry_errors and settled.result.code not in TRANSIENT


def counts(settled: list[Settled]) -> tuple[int, int, int, int]:
    """Return how many rows are ok, errors, of these transient, of these empty."""
    errors = [row.result for row in settled if isinstance(row.result, RowError)]
    transient = sum(error.code in TRANSIENT for error in errors)
    empty = sum(error.code is ErrorCode.EMPTY_INPUT for error in errors)
    return len(settled) - len(errors), len(errors), transient, empty
