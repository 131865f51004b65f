"""In which row of a spreadsheet do people find a row? Ours count from 0, without header and blank rows."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

#: Blank rows that are noted, so that memory is bounded; places behind more of them are not known.
MOST_BLANKS = 100_000


@dataclass(slots=True)
class SheetRows:
    """`before` are the rows before row 0 that are not blank. `blanks` has the number that each precedes."""

    before: int
    blanks: list[int] = field(default_factory=list)

    def note_blank(self, number: int) -> None:
        """Note a blank row before the row with this number."""
        if len(self.blanks) < MOST_BLANKS:
            self.blanks.append(number)

    def __call__(self, number: int) -> int | None:
        """Return the row of the sheet, from 1; `None` if it is not known."""
        blanks = bisect_right(self.blanks, number)
        return None if blanks == MOST_BLANKS else number + 1 + self.before + blanks
