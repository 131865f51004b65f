"""What did the answers of some rows cost, and how much of that is in records?"""

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
        """Add another cost to this one."""
        self.attempts += other.attempts
        self.billed += other.billed
        self.kept += other.kept

    def take(self) -> Cost:
        """Return the present cost and set this one to zero."""
        cost = Cost(self.attempts, self.billed, self.kept)
        self.attempts = self.billed = self.kept = 0
        return cost


def share(total: int, rows: int, of: int) -> int:
    """Return the share of `rows` among `of` rows, rounded down."""
    return total * rows // of if of else 0


def split_by_part(
    prompts: Sequence[Prompt], tokens: int, rows_per_part: int, *, kept: bool
) -> Iterator[tuple[str, int, Cost]]:
    """Yield each part (file and number) of one request with its cost: the tokens are shared by rows.

    In each file the request counts once. O(1) if all rows are of one part, as nearly always.
    """
    first, last = prompts[0], prompts[-1]
    if (first.file, first.row // rows_per_part) == (last.file, last.row // rows_per_part):
        yield first.file, first.row // rows_per_part, Cost(1, tokens, tokens if kept else 0)
        return
    rows: dict[tuple[str, int], int] = {}
    for prompt in prompts:
        part = prompt.file, prompt.row // rows_per_part
        rows[part] = rows.get(part, 0) + 1
    left, files = tokens, set[str]()
    for count, ((file, number), rows_of_part) in enumerate(rows.items(), 1):
        billed = left if count == len(rows) else share(tokens, rows_of_part, len(prompts))
        left -= billed
        yield file, number, Cost(int(file not in files), billed, billed if kept else 0)
        files.add(file)
