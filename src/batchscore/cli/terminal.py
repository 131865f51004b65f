"""How are lines redrawn in place on a terminal, and text printed above them?

It writes to a console and knows nothing of runs. Each drawing is one write and starts where the last one
started. The cursor is never hidden, so a killed process leaves the terminal as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

#: Replacements for a terminal without Unicode.
PLAIN = str.maketrans({"·": "|", "█": "#", "▓": "x", "░": "-", "…": "~"})

#: Go to the start of the line; clear right of the cursor; clear below it.
HOME, CLEAR_RIGHT, CLEAR_BELOW = "\r", "\x1b[K", "\x1b[J"


@dataclass(slots=True)
class Canvas:
    """The last lines of a terminal."""

    console: Console
    widths: list[int] = field(default_factory=list)

    def draw(self, lines: Sequence[Text], width: int, *, above: Sequence[str] = ()) -> None:
        """Replace the last drawing with these lines, below any text that stays. Raises `OSError`."""
        # A terminal that has become narrower has wrapped its lines.
        up = sum(max(1, -(-each // max(width, 1))) for each in self.widths)
        start = f"{HOME}\x1b[{up}A" if up else HOME
        with self.console.capture() as styled:
            self.console.print(*lines, sep="\n", soft_wrap=True)
        below = styled.get().split("\n")[: len(lines)]
        drawn = "".join(f"{line}{CLEAR_RIGHT}\r\n" for line in (*above, *below))
        if not self.console.encoding.lower().startswith("utf"):
            drawn = drawn.translate(PLAIN)
        self.widths = [line.cell_len for line in lines]
        self.console.file.write(f"{start}{drawn}{CLEAR_BELOW}")
        self.console.file.flush()

    def forget(self) -> None:
        """Start the next drawing below what other programs have written."""
        self.widths = []
