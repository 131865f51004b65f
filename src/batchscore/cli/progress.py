"""What does the user see while a run works?

A few lines that are redrawn on a terminal, or a plain line from time to time elsewhere; both on standard
error. A separate thread writes, so that a stopped or slow terminal never blocks the run.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from textwrap import wrap
from typing import TYPE_CHECKING, Any, TextIO

from batchscore.cli.say import worded
from batchscore.errors import with_reply
from batchscore.report.progress.line import status_line
from batchscore.report.progress.view import View, Watch
from batchscore.rows import Attempt, Event, Notice

if TYPE_CHECKING:
    from batchscore.cli.draw_panel import Canvas

#: Seconds between two drawings.
DRAWN_SECONDS = 0.5

#: Seconds between plain lines: the first at the start, then this share of the run's time, at most the last.
PLAIN_SECONDS = 10.0
PLAIN_SHARE = 0.05
PLAIN_SECONDS_AT_MOST = 300.0

#: Seconds after which the main thread has received SIGCONT for certain.
CONTINUED_SECONDS = 0.1

#: Greatest number of notices that wait for a blocked terminal.
MOST_NOTICES = 1000

#: Seconds to wait for a blocked terminal when the run ends.
LAST_SECONDS = 2.0


class Progress:
    """A listener that shows a run; use it as a context. O(1) per event, no I/O in the caller's thread."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        in_place: bool = True,
        verbose: bool = False,
        answer_tokens: float | None = 0.0,
        cost: Callable[[int, int, tuple[float, float]], float | None] = lambda *_: None,
    ) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.verbose = verbose
        self.watch = Watch(answer_tokens, cost)
        self.canvas: Canvas | None = None
        if in_place and is_terminal(self.stream):
            # Slow to load.
            from rich.console import Console  # noqa: PLC0415

            from batchscore.cli.draw_panel import Canvas  # noqa: PLC0415

            self.canvas = Canvas(Console(file=self.stream))
        self.notices: deque[str] = deque(maxlen=MOST_NOTICES)
        self.view: View | None = None
        self.viewed_at = 0.0
        self.written_at = self.watch.started
        self.wake, self.ended = threading.Event(), threading.Event()
        self.continued = False
        self.before: Any = None
        self.thread = threading.Thread(target=self.show, name="progress", daemon=True)

    def __enter__(self) -> Progress:  # noqa: PYI034 - typing.Self is newer than Python 3.10
        if self.canvas is not None and hasattr(signal, "SIGCONT"):
            # When a suspended run continues, the shell has written below the lines.
            with suppress(ValueError):
                self.before = signal.signal(signal.SIGCONT, self.on_continue)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.wake.set()
        self.thread.join(LAST_SECONDS)
        if self.before is not None:
            signal.signal(signal.SIGCONT, self.before)

    def on_continue(self, _number: int, _frame: object) -> None:
        """Note that the process was suspended and continues."""
        self.continued = True

    def __call__(self, event: Event) -> None:
        """Handle one event."""
        self.watch(event)
        if isinstance(event, Attempt):
            return  # an event about its rows follows
        now = time.monotonic()
        # No event may follow a notice for long, such as the one that a table is written.
        if now - self.viewed_at >= DRAWN_SECONDS or isinstance(event, Notice):
            # Made in the thread that changes the figures, so that they are consistent.
            self.viewed_at = now
            self.view = self.watch.view(now)
        if isinstance(event, Notice):
            self.notices.append(worded(with_reply(event.text, event.service_reply)))
            self.wake.set()

    def show(self) -> None:
        """Draw, or write lines, until the run ends or the terminal is closed."""
        looked_at = time.monotonic()
        try:
            while not self.ended.is_set():
                self.wake.wait(DRAWN_SECONDS)
                self.wake.clear()
                if time.monotonic() - looked_at > 2 * DRAWN_SECONDS:
                    # The process may have been suspended; the main thread gets SIGCONT a moment later.
                    time.sleep(CONTINUED_SECONDS)
                looked_at = time.monotonic()
                self.step(looked_at)
            self.step(time.monotonic(), last=True)
        except (OSError, ValueError):
            # The terminal is closed, or the reader has gone away: that changes nothing for the run.
            return

    def step(self, now: float, *, last: bool = False) -> None:
        """Show notices and the state of this moment."""
        notices = [self.notices.popleft() for _ in range(len(self.notices))]
        view = self.view
        if self.canvas is None:
            self.write_lines(notices, None if last else view, now)
            return
        width = self.canvas.console.width
        if self.continued:
            self.continued = False
            self.canvas.widths = []
        # A terminal would break lines within words.
        notices = [line for text in notices for line in wrap(text, max(20, width - 1))]
        if view is None or last:
            if notices or self.canvas.widths:
                self.canvas.draw((), width, above=notices)
            return
        self.canvas.draw_view(view.later(now), verbose=self.verbose, above=notices)

    def write_lines(self, notices: list[str], view: View | None, now: float) -> None:
        """Write plain lines: notices at once, the state from time to time."""
        for text in notices:
            self.stream.write(f"{text}\n")
        passed = now - self.watch.started
        due = min(PLAIN_SECONDS_AT_MOST, max(PLAIN_SECONDS, PLAIN_SHARE * passed))
        if view is not None and now - self.written_at >= due:
            self.written_at = now
            self.stream.write(f"{status_line(view.later(now), verbose=self.verbose)}\n")
        self.stream.flush()


def is_terminal(stream: TextIO) -> bool:
    """Whether lines can be redrawn in place."""
    try:
        return stream.isatty() and os.environ.get("TERM", "").lower() not in {"dumb", "unknown", ""}
    except ValueError:
        return False
