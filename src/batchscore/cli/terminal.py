"""How are lines redrawn in place on a terminal, and text printed above them?

It writes to a stream and knows nothing of runs. Each drawing is one write and starts where the last one
started. The cursor is never hidden, so a killed process leaves the terminal as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

from rich.cells import cell_len
from rich.color import ColorSystem
from rich.style import Style

from batchscore.cli.panel import Piece

#: Replacements for a terminal without Unicode.
PLAIN = str.maketrans({"·": "|", "█": "#", "▓": "x", "░": "-", "…": "~"})

#: Go to the start of the line; clear right of the cursor; clear below it.
HOME, CLEAR_RIGHT, CLEAR_BELOW = "\r", "\x1b[K", "\x1b[J"


@dataclass(slots=True)
class Canvas:
    """The last lines of a terminal; `colours` and `unicode` say what it can show."""

    stream: TextIO
    colours: bool = True
    unicode: bool = True
    widths: list[int] = field(default_factory=list)

    def draw(self, lines: Sequence[Sequence[Piece]], width: int, *, above: Sequence[str] = ()) -> None:
        """Replace the last drawing with these lines, below any text that stays. Raises `OSError`."""
        drawn = [self.start(width), *(f"{self.shown(text)}{CLEAR_RIGHT}\r\n" for text in above)]
        drawn += [f"{''.join(map(self.styled, line))}{CLEAR_RIGHT}\r\n" for line in lines]
        self.widths = [sum(cell_len(piece.text) for piece in line) for line in lines]
        self.stream.write("".join([*drawn, CLEAR_BELOW]))
        self.stream.flush()

    def forget(self) -> None:
        """Start the next drawing below what other programs have written."""
        self.widths = []

    def start(self, width: int) -> str:
        """Return the control codes that go to the start of the last drawing.

        A terminal that has become narrower has wrapped its lines.
        """
        up = sum(max(1, -(-each // max(width, 1))) for each in self.widths)
        return f"{HOME}\x1b[{up}A" if up else HOME

    def styled(self, piece: Piece) -> str:
        """Return a piece with its style."""
        style = Style.parse(piece.style)
        if not self.colours:
            style = style.without_color
        return style.render(self.shown(piece.text), color_system=ColorSystem.STANDARD)

    def shown(self, text: str) -> str:
        """Return a text as this terminal can show it."""
        return text if self.unicode else text.translate(PLAIN)
