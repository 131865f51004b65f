"""How are lines drawn anew in place on a terminal, and text put above them?

It writes to a stream and knows no run. Every drawing is one write, and it begins where the last one did; the
cursor is never hidden, so whatever ends the process leaves the terminal as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

from rich.cells import cell_len
from rich.color import ColorSystem
from rich.style import Style

from batchscore.cli.panel import Piece

#: What a terminal that knows no Unicode shows instead.
PLAIN = str.maketrans({"·": "|", "█": "#", "▓": "x", "░": "-", "…": "~"})

#: To the line's beginning; what is right of the cursor; what is below it.
HOME, CLEAR_RIGHT, CLEAR_BELOW = "\r", "\x1b[K", "\x1b[J"


@dataclass(slots=True)
class Canvas:
    """The last lines of a terminal; `colours` and `unicode` are what it can show."""

    stream: TextIO
    colours: bool = True
    unicode: bool = True
    widths: list[int] = field(default_factory=list)

    def draw(self, lines: Sequence[Sequence[Piece]], width: int, *, above: Sequence[str] = ()) -> None:
        """Replace what was drawn by text that stays, if any, and these lines. Raises `OSError`."""
        drawn = [self.start(width), *(f"{self.shown(text)}{CLEAR_RIGHT}\r\n" for text in above)]
        drawn += [f"{self.line(line)}{CLEAR_RIGHT}\r\n" for line in lines]
        self.widths = [sum(cell_len(piece.text) for piece in line) for line in lines]
        self.write("".join([*drawn, CLEAR_BELOW]))

    def clear(self, width: int) -> None:
        """Take the lines away."""
        self.draw((), width)

    def forget(self) -> None:
        """Draw the next lines below whatever stands there now: others have written."""
        self.widths = []

    def start(self, width: int) -> str:
        """Return what leads back to where the last drawing began.

        A terminal that has become narrower has broken its lines.
        """
        up = sum(max(1, -(-each // max(width, 1))) for each in self.widths)
        return f"{HOME}\x1b[{up}A" if up else HOME

    def line(self, pieces: Sequence[Piece]) -> str:
        """Return one line with its styles."""
        return "".join([self.styled(piece) for piece in pieces])

    def styled(self, piece: Piece) -> str:
        """Return some characters in their style."""
        style = Style.parse(piece.style)
        if not self.colours:
            style = style.without_color
        return style.render(self.shown(piece.text), color_system=ColorSystem.STANDARD)

    def shown(self, text: str) -> str:
        """Return a text as this terminal can show it."""
        return text if self.unicode else text.translate(PLAIN)

    def write(self, text: str) -> None:
        """Write it at once."""
        self.stream.write(text)
        self.stream.flush()
