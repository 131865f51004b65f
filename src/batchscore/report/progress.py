"""What does a person see while a run works?

One line that is drawn anew on a terminal, a plain line now and then elsewhere, both on standard error.
It hears events and reads `Tally.statistics()`; it decides nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from batchscore.report.tally import Statistics, Tally
from batchscore.rows import Event, Notice

#: Seconds between plain lines.
PLAIN_SECONDS = 10.0

#: Times a second that the terminal's line is drawn.
DRAWN_PER_SECOND = 4


class Progress:
    """A listener that shows a run; use it as a context. Cost: O(1) an event, no I/O in most."""

    def __init__(self, console: Console, *, files: Callable[[], int | None]) -> None:
        self.console = console
        self.files = files
        self.tally = Tally()
        self.started = time.monotonic()
        self.last_plain = self.started
        self.live = (
            Live(
                get_renderable=self.line, console=console, transient=True, refresh_per_second=DRAWN_PER_SECOND
            )
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Progress:  # noqa: PYI034 - typing.Self is newer than Python 3.10
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def __call__(self, event: Event) -> None:
        """Take one event."""
        self.tally.add(event)
        if isinstance(event, Notice):
            self.console.print(escape(event.text), highlight=False, soft_wrap=True)
        elif self.live is None and time.monotonic() - self.last_plain >= PLAIN_SECONDS:
            self.last_plain = time.monotonic()
            self.console.print(self.text(), highlight=False, soft_wrap=True)

    def line(self) -> Text:
        """Return the line for the terminal."""
        return Text(self.text(), no_wrap=True, overflow="ellipsis")

    def text(self) -> str:
        """Return the state of things in one line."""
        return describe(self.tally.statistics(), time.monotonic() - self.started, self.files())


def describe(now: Statistics, seconds: float, files: int | None) -> str:
    """Return figures as one line of text."""
    pieces = [counted(now.rows + now.known, "row")]
    if now.known:
        pieces.append(f"{now.known:,} of them from before")
    pieces.append(f"{now.failed:,} failed")
    if now.empty:
        pieces.append(f"{now.empty:,} empty")
    rate = now.rows / max(seconds, 0.001)
    pieces.append(f"{rate:,.{2 if 0 < rate < 1 else 0}f} rows/s")
    pieces.append(counted(now.requests, "request"))
    if now.retried:
        pieces.append(f"{sum(now.retried.values()):,} came to nothing ({named(now.retried)})")
    if files is not None:
        pieces.append(f"{now.files_finished} of {files} files")
    pieces.append(clock(seconds))
    return " · ".join(pieces)


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: 1 row, 2 rows."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def named(counts: Mapping[str, int]) -> str:
    """Return counts by name, most first."""
    items = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in items)


def clock(seconds: float) -> str:
    """Return a duration as people write it: 3.2 s, 4:05, 2:03:04."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
