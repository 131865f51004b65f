"""Which rows belong to which part, and when is a part whole?

One input file's rows are cut at fixed row numbers. Rows come in input order, their results in any
order; a part is handed out when the input has been read past its end and each of its rows is
settled. It knows no format and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np
import xxhash

from batchscore.errors import TRANSIENT, ErrorCode, OutputError
from batchscore.output.cost import Cost, share
from batchscore.output.journal import Entry
from batchscore.output.manifest import Commit
from batchscore.rows import Prompt, RowError, Score, Settled


@dataclass(slots=True)
class Part:
    """The rows `[number x rows_per_part, ...)` of one file while they are being settled.

    `cost` is what was spent for them by all runs, `uncounted` what of it no journal tells yet.
    """

    file: str
    number: int
    read: int = 0
    whole: bool = False
    settled: dict[int, Settled] = field(default_factory=dict)
    asked: dict[int, bytes] = field(default_factory=dict)
    carried: dict[int, bytes] = field(default_factory=dict)
    digest: Any = field(default_factory=xxhash.xxh3_128)
    held_bytes: int = 0
    in_journal: bool = True
    spilled: set[int] = field(default_factory=set)
    cost: Cost = field(default_factory=Cost)
    uncounted: Cost = field(default_factory=Cost)

    @property
    def waiting(self) -> int:
        """How many rows were read and are not settled."""
        return self.read - len(self.settled) - len(self.spilled)

    @property
    def complete(self) -> bool:
        """Whether every row is read and settled."""
        return self.whole and not self.waiting

    def expect(self, item: Prompt | Settled) -> None:
        """Note a row that was read, and what it asks."""
        self.read += 1
        row, identity = item.row, item.id
        asked = self.asked[row] = asked_by(item)
        if identity is None:
            self.digest.update(b"%d:%s" % (row, asked))
        else:
            self.digest.update(b"%d:%s\0%s" % (row, asked, identity.encode("utf-8", "replace")))
        if item.kept:
            carried = xxhash.xxh3_128_digest(repr(item.kept).encode("utf-8", "replace"))
            self.carried[item.row] = carried
            self.digest.update(b"\0" + carried)

    @property
    def inputs(self) -> str:
        """The digest of what the rows read so far ask and carry, in order."""
        return str(self.digest.hexdigest())

    def settle(self, settled: Settled) -> None:
        """Take a row's result. O(1)."""
        self.settled[settled.row] = settled
        self.held_bytes += bytes_of(settled)

    def settle_all(self, rows: Sequence[Settled]) -> list[Entry]:
        """Take the results of rows of this part; returns what a journal keeps of them."""
        self.settled.update([(settled.row, settled) for settled in rows])
        self.held_bytes += sum(map(bytes_of, rows))
        asked = self.asked
        return [Entry(settled, asked[settled.row]) for settled in rows]

    def charge(self, cost: Cost) -> None:
        """Note what was spent. O(1)."""
        self.cost.add(cost)
        self.uncounted.add(cost)

    def spill(self) -> None:
        """Forget the results, which are in the journal, but for their rows."""
        self.spilled.update(self.settled)
        self.settled.clear()
        self.held_bytes = 0

    def recall(self, entries: Mapping[int, Entry]) -> None:
        """Take back what was forgotten."""
        self.settled.update((row, entries[row].settled) for row in self.spilled if row in entries)
        self.spilled.clear()

    def in_order(self) -> list[Settled]:
        """Return the settled rows by row number."""
        return [self.settled[row] for row in sorted(self.settled)]


def asked_by(item: Prompt | Settled) -> bytes:
    """Return a digest of what one row asks; 16 bytes. Rows that ask the same have the same."""
    if isinstance(item, Prompt):
        return xxhash.xxh3_128_digest(item.body)
    code = item.result.code.value if isinstance(item.result, RowError) else ""
    return xxhash.xxh3_128_digest(b"\0" + code.encode())


def answered_as(item: Prompt | Settled, known: Settled) -> Settled:
    """Return the record of a row whose answer is known, maybe from another place."""
    return replace(known, file=item.file, row=item.row, id=item.id, kept=item.kept)


def bytes_of(settled: Settled) -> int:
    """Return about the memory that a result takes."""
    value = settled.result.value if isinstance(settled.result, Score) else None
    if isinstance(value, np.ndarray):
        return value.nbytes + ROW_BYTES
    return ROW_BYTES + sum(len(text) for text in (value if isinstance(value, list) else [value or ""]))


#: Gives the records of a part that is already published.
Load = Callable[[Commit], Mapping[int, Settled]]

#: Gives what a killed run had of a part.
Replay = Callable[[int], Mapping[int, Entry]]

#: Gives what a killed run had spent for a part whose results were replayed.
Spent = Callable[[int], Cost]

#: About what a result takes beside its value.
ROW_BYTES = 400


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
    replay: Replay
    damaged: frozenset[int] = frozenset()
    retry_errors: bool = False
    spent: Spent = lambda _: Cost()
    ways_on: str = ""
    open: dict[int, Part] = field(default_factory=dict)
    limited: bool = False
    ended: bool = False
    replayed: int = 0

    @property
    def damage(self) -> str:
        """What is not there any more as an earlier run left it, in words."""
        count = len(self.damaged)
        parts = "1 part of its records is" if count == 1 else f"{count:,} parts of its records are"
        return f"{self.file}: {parts} damaged or gone; the rows that are lost are asked, and paid for, again."

    def unanswered(self, items: Iterator[Prompt | Settled]) -> Iterator[Prompt | Settled]:
        """Give on the rows that no earlier run has settled, in order; the rest is skipped.

        Raises `OutputError` where an earlier run published other rows than these. Memory: one part's
        rows where an earlier run has published it, else none.
        """
        for number, group in groupby(items, key=lambda item: item.row // self.rows_per_part):
            for part in self.open.values():
                part.whole = True
            commit = self.committed.get(number)
            if commit is None:
                part = self.open[number] = Part(self.file, number)
                entries = self.replay(number)
                part.cost.add(self.spent(number))
                for item in group:
                    part.expect(item)
                    if not entries or not self.stands(part, item, entries):
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
                f"{self.file} has changed since it was scored (at row {first} or soon after). {self.ways_on}"
            )
        if commit.nothing_left(retry_errors=self.retry_errors) and commit.part not in self.damaged:
            return
        for item in items[commit.rows :]:
            part.expect(item)
        self.take_over(part, commit, {item.row for item in items})
        self.open[part.number] = part
        entries = self.replay(commit.part)
        unknown = [item for item in items if item.row not in part.settled and item.row not in part.spilled]
        if any(item.row in entries for item in unknown):
            part.cost.add(self.spent(commit.part))
        for item in unknown:
            if not self.stands(part, item, entries):
                yield item

    def take_over(self, part: Part, commit: Commit, rows: AbstractSet[int]) -> None:
        """Settle those of the rows whose record stands."""
        for row, old in self.load(commit).items():
            if row in rows and final(old, retry_errors=self.retry_errors):
                part.settle(old)
        scored = sum(isinstance(old.result, Score) for old in part.settled.values())
        part.cost = Cost(commit.attempts, commit.tokens_billed, share(commit.tokens_kept, scored, commit.ok))
        part.in_journal = not part.settled

    def stands(self, part: Part, item: Prompt | Settled, entries: Mapping[int, Entry]) -> bool:
        """Whether a killed run had the answer to what this row asks; it is taken over."""
        entry = entries.get(item.row)
        if entry is None or entry.asked != part.asked[item.row]:
            return False
        if not final(entry.settled, retry_errors=self.retry_errors):
            return False
        part.settle(answered_as(item, entry.settled))
        self.replayed += 1
        return True

    def end(self) -> None:
        """Note that the input was read to its end."""
        self.ended = True
        for part in self.open.values():
            part.whole = True

    @property
    def waiting(self) -> bool:
        """Whether a row that was read is not settled."""
        return any(part.waiting for part in self.open.values())

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
