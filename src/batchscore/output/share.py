"""Which parts of each file does one of several workers score?

A part belongs to the worker that its number and its file's name say, whatever other files there are. So the
shares of N workers are disjoint and whole, also if a worker starts later and finds more files. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from batchscore.output.layout import stem_of


@dataclass(frozen=True, slots=True)
class Share:
    """The share of worker `number`, from 1, of `workers`."""

    number: int = 1
    workers: int = 1

    @property
    def is_whole(self) -> bool:
        """Whether it holds every part."""
        return self.workers == 1

    def holds(self, file: str, part: int) -> bool:
        """Whether a part of an input file belongs to this worker."""
        return self.holds_journal(f"{stem_of(file)}-{part}")

    def holds_journal(self, name: str) -> bool:
        """Whether the part of a journal of this name belongs to this worker."""
        if self.workers == 1:
            return True
        stem, _, part = name.rpartition("-")
        # Small files begin with different workers: the end of the stem is a digest of the file's path.
        return (int(stem[-8:], 16) + int(part)) % self.workers == self.number - 1


#: The share of a worker that has none beside it.
WHOLE = Share()


@dataclass(slots=True)
class ShareOfFile:
    """A worker's share of one file while the rows are read; `seen` are the parts that have rows, of all."""

    of: Share
    file: str
    rows_per_part: int
    seen: set[int] = field(default_factory=set)
    last: tuple[int, bool] = (-1, False)

    def holds(self, row: int) -> bool:
        """Whether the next row that was read belongs to this worker. O(1)."""
        number = row // self.rows_per_part
        if number != self.last[0]:
            self.seen.add(number)
            self.last = number, self.of.holds(self.file, number)
        return self.last[1]
