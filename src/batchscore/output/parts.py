"""Which rows belong to which part, and when is a part complete?

One input file's rows are cut at fixed row numbers. Rows come in input order, their results in any order. A
part is handed out when the input has been read past its end and each of its rows is settled. This module
knows no format and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import xxhash

from batchscore.errors import HAS_CHANGED, TRANSIENT, ErrorCode, InputChanged, count_text
from batchscore.output.cost import Cost, share
from batchscore.output.journal import JournalEntry, Journals
from batchscore.output.layout import journal_name
from batchscore.output.manifest import Commit
from batchscore.output.records.json_value import json_bytes
from batchscore.output.row_digests import DigestsByRow
from batchscore.output.share import ShareOfFile
from batchscore.prompts.duplicates import copy_answer
from batchscore.prompts.kept_cells import digest_of_cells, memory_of_cells
from batchscore.rows import Prompt, RowError, Score, Settled

#: The approximate memory of a result besides its value.
ROW_BYTES = 400

#: The memory of a value that matches a schema, as a multiple of its JSON.
OBJECT_FACTOR = 8


@dataclass(slots=True)
class Part:
    """The rows `[number x rows_per_part, ...)` of one file while they are being settled.

    `fully_read`: the input was read to the part's end. The results of `spilled` rows are in the journal
    or a published part alone; `spilled_bytes` is about the memory that they take. `cost` is what all runs
    spent for these rows, `cost_not_in_journal` the share of it that no journal holds yet.
    """

    file: str
    number: int
    read: int = 0
    fully_read: bool = False
    settled: dict[int, Settled] = field(default_factory=dict)
    prompt_digests: DigestsByRow = field(default_factory=DigestsByRow)
    kept_digests: DigestsByRow = field(default_factory=DigestsByRow)
    digest: Any = field(default_factory=xxhash.xxh3_128)
    held_bytes: int = 0
    in_journal: bool = True
    spilled: set[int] = field(default_factory=set)
    spilled_bytes: int = 0
    cost: Cost = field(default_factory=Cost)
    cost_not_in_journal: Cost = field(default_factory=Cost)

    @property
    def waiting(self) -> int:
        """The number of rows that were read and are not settled."""
        return self.read - len(self.settled) - len(self.spilled)

    @property
    def complete(self) -> bool:
        """Whether every row is read and settled."""
        return self.fully_read and not self.waiting

    def expect(self, item: Prompt | Settled) -> None:
        """Note a row that was read, and the digest of its prompt."""
        self.read += 1
        row = item.row
        prompt = self.prompt_digests[row] = digest_of_prompt(item)
        if item.id is None:
            self.digest.update(b"%d:%s" % (row, prompt))
        else:
            self.digest.update(b"%d:%s\0%s" % (row, prompt, item.id.encode("utf-8", "replace")))
        if item.kept:
            kept = digest_of_cells(item.kept)
            self.kept_digests[row] = kept
            self.digest.update(b"\0" + kept)

    @property
    def inputs(self) -> str:
        """The digest of prompts and kept columns of all rows read so far, in order."""
        return str(self.digest.hexdigest())

    def settle(self, settled: Settled) -> None:
        """Take a row's result. O(1)."""
        self.settled[settled.row] = settled
        self.held_bytes += memory_of(settled)

    def settle_all(self, rows: Sequence[Settled]) -> list[tuple[Settled, bytes]]:
        """Take the results of rows of this part; return their journal entries."""
        self.settled.update([(settled.row, settled) for settled in rows])
        self.held_bytes += sum(map(memory_of, rows))
        digests = self.prompt_digests.of([settled.row for settled in rows])
        return list(zip(rows, digests, strict=True))

    def charge(self, attempts: int, billed: int, kept: int) -> None:
        """Add to the cost. O(1)."""
        cost, new = self.cost, self.cost_not_in_journal
        cost.attempts += attempts
        cost.billed += billed
        cost.kept += kept
        new.attempts += attempts
        new.billed += billed
        new.kept += kept

    def spill(self) -> None:
        """Drop the results from memory; they are in the journal, or published."""
        self.spilled.update(self.settled)
        self.settled.clear()
        self.spilled_bytes += self.held_bytes
        self.held_bytes = 0

    def recall(self, entries: Mapping[int, JournalEntry]) -> None:
        """Take spilled results back into memory."""
        self.settled.update((row, entries[row].settled) for row in self.spilled if row in entries)
        self.spilled.clear()

    def in_order(self) -> list[Settled]:
        """Return the settled rows by row number."""
        return [self.settled[row] for row in sorted(self.settled)]


def digest_of_prompt(item: Prompt | Settled) -> bytes:
    """Return a digest of a row's prompt, 16 bytes; rows with equal prompts have the same."""
    if isinstance(item, Prompt):
        return xxhash.xxh3_128_digest(item.body)
    code = item.result.code.value if isinstance(item.result, RowError) else ""
    return xxhash.xxh3_128_digest(b"\0" + code.encode())


def memory_of(settled: Settled) -> int:
    """Return the approximate bytes of memory that a result and its kept cells take."""
    result = settled.result
    around = ROW_BYTES + memory_of_cells(settled.kept) if settled.kept else ROW_BYTES
    if not isinstance(result, Score):
        return around
    value = result.value
    if result.size:
        return around + OBJECT_FACTOR * result.size
    if isinstance(value, str):
        return around + len(value)
    if isinstance(value, np.ndarray):
        return around + int(value.nbytes)
    texts = value if isinstance(value, list) else (value,)
    if all(text is None or isinstance(text, str) for text in texts):
        return around + sum([len(text) for text in texts if text])
    return around + OBJECT_FACTOR * len(json_bytes(value))  # of a journal


#: Settles those rows of a part whose published record is final.
TakeOver: TypeAlias = Callable[[Part, Commit, AbstractSet[int]], None]


@dataclass(slots=True)
class FileInParts:
    """One input file on its way into parts, on top of the parts that an earlier run `committed`.

    A file of a `damaged` part is missing or cut; the rest of the part is used. With `retry_errors` no error
    is final. `images` is what people call an image of a row, if rows have any, and `reading` how the input
    is read otherwise than before. `advice` says what the user can do if the input has changed.
    `share` is that of this worker; `None` for all.
    """

    file: str
    rows_per_part: int
    committed: Mapping[int, Commit]
    take_over: TakeOver
    journals: Journals
    damaged: frozenset[int] = frozenset()
    retry_errors: bool = False
    images: str = ""
    reading: str = ""
    advice: str = ""
    share: ShareOfFile | None = None
    open: dict[int, Part] = field(default_factory=dict)
    limited: bool = False
    ended: bool = False
    replayed: int = 0

    @property
    def damage(self) -> str:
        """A message about the damaged parts."""
        return f"{self.file}: {damage_text(len(self.damaged))}."

    def unanswered(self, items: Iterator[Prompt | Settled]) -> Iterator[Prompt | Settled]:
        """Yield the rows that no earlier run has settled, in order.

        Raises `OutputError` if an earlier run published other rows than these. Memory: one part's rows if an
        earlier run has published it, else none.
        """
        item = next(items, None)
        while item is not None:
            for part in self.open.values():
                part.fully_read = True
            number = item.row // self.rows_per_part
            end = (number + 1) * self.rows_per_part
            commit = self.committed.get(number)
            if commit is None:
                part = self.open[number] = Part(self.file, number)
                entries, cost = self.replay(number)
                part.cost.add(cost)
                while item is not None and item.row < end:
                    part.expect(item)
                    if not entries or not self.settle_from_journal(part, item, entries):
                        yield item
                    item = next(items, None)
            else:
                of_part = [item]
                while (item := next(items, None)) is not None and item.row < end:
                    of_part.append(item)
                yield from self.resume_part(commit, of_part)

    def resume_part(self, commit: Commit, items: list[Prompt | Settled]) -> Iterator[Prompt | Settled]:
        """Yield the rows that a published part leaves to score."""
        part = Part(self.file, commit.part)
        for item in items[: commit.rows]:
            part.expect(item)
        if part.read < commit.rows and self.limited:
            return
        if part.inputs != commit.inputs or (commit.whole and len(items) > commit.rows):
            raise self.error_of_change(commit.part * self.rows_per_part)
        if commit.is_done(retry_errors=self.retry_errors) and commit.part not in self.damaged:
            return
        for item in items[commit.rows :]:
            part.expect(item)
        self.take_over(part, commit, {item.row for item in items})
        self.open[part.number] = part
        entries, cost = self.replay(commit.part)
        unknown = [item for item in items if item.row not in part.settled and item.row not in part.spilled]
        if any(item.row in entries for item in unknown):
            part.cost.add(cost)
        for item in unknown:
            if not self.settle_from_journal(part, item, entries):
                yield item

    def error_of_change(self, row: int) -> InputChanged:
        """Return the error of an input that is not what was scored, at or after a row."""
        what = f", or {self.images}," if self.images else ""
        what = ", as it is read now," if self.reading else what
        why = f": {self.reading}" if self.reading else ""
        return InputChanged(
            f"{self.file}{what} {HAS_CHANGED} (at row {row} or soon after){why}. {self.advice}",
            name=self.file,
        )

    def replay(self, number: int) -> tuple[Mapping[int, JournalEntry], Cost]:
        """Return the results of a part that a killed run left in its journal, and their cost."""
        name = journal_name(self.file, number)
        entries = self.journals.replay(name)
        return entries, self.journals.spent.get(name) or Cost()

    def settle_from_journal(
        self, part: Part, item: Prompt | Settled, entries: Mapping[int, JournalEntry]
    ) -> bool:
        """Settle a row whose prompt a killed run had answered; return whether that was so."""
        entry = entries.get(item.row)
        if entry is None:
            return False
        if entry.prompt_digest != part.prompt_digests[item.row]:
            if self.reading:  # new answers would replace those of a killed run, for what may be a mistake
                raise self.error_of_change(item.row)
            return False
        if not is_final(entry.settled, retry_errors=self.retry_errors):
            return False
        part.settle(copy_answer(item, entry.settled))
        self.replayed += 1
        return True

    def end(self) -> None:
        """Note that the input was read completely."""
        self.ended = True
        for part in self.open.values():
            part.fully_read = True

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


def damage_text(parts: int) -> str:
    """Return what is said of damaged parts."""
    what = f"{count_text(parts, 'part')} of its records {'is' if parts == 1 else 'are'}"
    return f"{what} damaged or missing. The lost rows are scored, and paid for, again"


def is_final(settled: Settled, *, retry_errors: bool) -> bool:
    """Whether a record is not retried: a score, an empty row, or a permanent error without `retry_errors`."""
    if isinstance(settled.result, Score) or settled.result.code is ErrorCode.EMPTY_INPUT:
        return True
    return not retry_errors and settled.result.code not in TRANSIENT


def split_by_part(
    prompts: Sequence[Prompt], tokens: int, rows_per_part: int, requests: int = 1
) -> list[tuple[str, int, int, int]]:
    """Return each part of one request: file and number, requests and tokens, which are shared by rows.

    In each file one request counts once; of several, each has one of the prompts. O(1) for one request if all
    rows are of one part, as nearly always.
    """
    first, last = prompts[0], prompts[-1]
    number = first.row // rows_per_part
    if requests == 1 and (first.file, number) == (last.file, last.row // rows_per_part):
        return [(first.file, number, 1, tokens)]
    costs = []
    rows: dict[tuple[str, int], int] = {}
    for prompt in prompts:
        part = prompt.file, prompt.row // rows_per_part
        rows[part] = rows.get(part, 0) + 1
    left, files = tokens, set[str]()
    for count, ((file, number), rows_of_part) in enumerate(rows.items(), 1):
        billed = left if count == len(rows) else share(tokens, rows_of_part, len(prompts))
        left -= billed
        of_part = int(file not in files) if requests == 1 else rows_of_part
        costs.append((file, number, of_part, billed))
        files.add(file)
    return costs
