"""What did the answers of some rows cost, and how much of that stands in records?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from batchscore.rows import Prompt


@dataclass(slots=True)
class Cost:
    """`attempts` are requests sent, `billed` the tokens that the service reported for them.

    `kept` of these are the tokens of answers that became records.
    """

    attempts: int = 0
    billed: int = 0
    kept: int = 0

    def add(self, other: Cost) -> None:
        """Add what else was spent."""
        self.attempts += other.attempts
        self.billed += other.billed
        self.kept += other.kept

    def taken(self) -> Cost:
        """Return what it is, and begin anew with nothing."""
        found = Cost(self.attempts, self.billed, self.kept)
        self.attempts = self.billed = self.kept = 0
        return found


def share(total: int, rows: int, of: int) -> int:
    """Return the share of so many rows among others, rounded down."""
    return total * rows // of if of else 0


def shares(
    asked: Sequence[Prompt], tokens: int, rows_per_part: int, *, kept: bool
) -> Iterator[tuple[str, int, Cost]]:
    """Give what each part (by file and number) bears of one request: its tokens by rows.

    In each file the request counts once. O(1) where all rows are of one part, as nearly always.
    """
    first, last = asked[0], asked[-1]
    if (first.file, first.row // rows_per_part) == (last.file, last.row // rows_per_part):
        yield first.file, first.row // rows_per_part, Cost(1, tokens, tokens if kept else 0)
        return
    rows: dict[tuple[str, int], int] = {}
    for prompt in asked:
        place = prompt.file, prompt.row // rows_per_part
        rows[place] = rows.get(place, 0) + 1
    left, files = tokens, set[str]()
    for number, ((file, part), count) in enumerate(rows.items(), 1):
        mine = left if number == len(rows) else share(tokens, count, len(asked))
        left -= mine
        yield file, part, Cost(int(file not in files), mine, mine if kept else 0)
        files.add(file)
