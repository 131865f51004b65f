"""What have the requests for some rows cost, and what is the share of a part of them?"""

from __future__ import annotations

from dataclasses import dataclass

from batchscore.output.manifest_check import MOST


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
        if self.billed > MOST:
            # A service may report any number of tokens, but what is written must be a number to every reader.
            self.billed, self.kept = MOST, min(self.kept, MOST)

    def take(self) -> Cost:
        """Return the present cost and set this one to zero."""
        cost = Cost(self.attempts, self.billed, self.kept)
        self.attempts = self.billed = self.kept = 0
        return cost


def share(total: int, rows: int, of: int) -> int:
    """Return the share of `rows` among `of` rows, rounded down."""
    return total * rows // of if of else 0
