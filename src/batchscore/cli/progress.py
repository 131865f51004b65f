"""What does a person see while a run works?

A few lines that are drawn anew on a terminal, a plain line now and then elsewhere, both on standard error.
A thread of its own writes, so that a terminal that is stopped or slow never holds up the run. It hears events
and shows what `Watch` makes of them; it decides nothing.
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
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console

from batchscore.cli.panel import panel
from batchscore.cli.terminal import Canvas
from batchscore.errors import name_settings
from batchscore.report.progress.line import describe
from batchscore.report.progress.view import View, Watch
from batchscore.rows import Attempt, Event, Notice
from batchscore.settings.declare import as_flag

#: Seconds between two drawings.
DRAWN_SECONDS = 0.5

#: Seconds between plain lines: this at first, a part of the run's time later, and never more than the last.
PLAIN_SECONDS = 10.0
PLAIN_PART = 0.05
PLAIN_SECONDS_AT_MOST = 300.0

#: After so long the main thread has surely been told that the process goes on.
CONTINUED_SECONDS = 0.1

#: So many notices may wait for a terminal that takes none.
MOST_NOTICES = 1000

#: So long is waited for a terminal that takes nothing when the run ends.
LAST_SECONDS = 2.0


class Progress:
    """A listener that shows a run; use it as a context. O(1) an event, no I/O in the caller's thread."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        in_place: bool = True,
        verbose: bool = False,
        answer_tokens: float | None = 0.0,
        cost: Callable[[int, int], float | None] = lambda _prompt, _completion: None,
    ) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.verbose = verbose
        self.watch = Watch(answer_tokens, cost)
        self.console = Console(file=self.stream)
        unicode = self.console.encoding.lower().startswith("utf")
        self.canvas = (
            Canvas(self.stream, colours=not self.console.no_color, unicode=unicode)
            if in_place and is_terminal(self.stream)
            else None
        )
        self.notices: deque[str] = deque(maxlen=MOST_NOTICES)
        self.view: View | None = None
        self.viewed_at = 0.0
        self.told_at = self.watch.started
        self.wake, self.ended = threading.Event(), threading.Event()
        self.continued = False
        self.before: Any = None
        self.thread = threading.Thread(target=self.show, name="progress", daemon=True)

    def __enter__(self) -> Progress:  # noqa: PYI034 - typing.Self is newer than Python 3.10
        if self.canvas is not None and hasattr(signal, "SIGCONT"):
            # A shell has written below the lines when a run that was suspended goes on.
            with suppress(ValueError):
                self.before = signal.signal(signal.SIGCONT, self.goes_on)
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self.wake.set()
        self.thread.join(LAST_SECONDS)
        if self.before is not None:
            signal.signal(signal.SIGCONT, self.before)

    def goes_on(self, _number: int, _frame: object) -> None:
        """Note that the process was suspended and goes on."""
        self.continued = True

    def __call__(self, event: Event) -> None:
        """Take one event."""
        self.watch(event)
        if isinstance(event, Attempt):
            return  # what becomes of its rows is told next
        now = time.monotonic()
        if now - self.viewed_at >= DRAWN_SECONDS:
            # Made in the thread that changes the figures, so that they belong together.
            self.viewed_at = now
            self.view = self.watch.view(now)
        if isinstance(event, Notice):
            self.notices.append(name_settings(event.text, as_flag))
            self.wake.set()

    def show(self) -> None:
        """Draw or tell until the run ends, or nobody can see it any more."""
        looked_at = time.monotonic()
        try:
            while not self.ended.is_set():
                self.wake.wait(DRAWN_SECONDS)
                self.wake.clear()
                if time.monotonic() - looked_at > 2 * DRAWN_SECONDS:
                    # It may have been suspended; the main thread is told of that a moment later.
                    time.sleep(CONTINUED_SECONDS)
                looked_at = time.monotonic()
                self.step(looked_at)
            self.step(time.monotonic(), last=True)
        except (OSError, ValueError):
            # The terminal is closed, or whoever read has gone: that changes nothing for the run.
            return

    def step(self, now: float, *, last: bool = False) -> None:
        """Show what there is to show at this moment."""
        notices = [self.notices.popleft() for _ in range(len(self.notices))]
        view = self.view
        if self.canvas is None:
            self.tell(notices, None if last else view, now)
            return
        size = self.console.size
        if self.continued:
            self.continued = False
            self.canvas.forget()
        # Words stay whole where a terminal would break a line anywhere.
        notices = [line for text in notices for line in wrap(text, max(20, size.width - 1))]
        if view is None or last:
            if notices or self.canvas.widths:
                self.canvas.draw((), size.width, above=notices)
            return
        view = view.later(now)
        self.canvas.draw(
            panel(view, size.width - 1, size.height - 1, verbose=self.verbose), size.width, above=notices
        )

    def tell(self, notices: list[str], view: View | None, now: float) -> None:
        """Write plain lines: notices at once, the state of things every so often."""
        for text in notices:
            self.stream.write(f"{text}\n")
        passed = now - self.watch.started
        due = min(PLAIN_SECONDS_AT_MOST, max(PLAIN_SECONDS, PLAIN_PART * passed))
        if view is not None and now - self.told_at >= due:
            self.told_at = now
            self.stream.write(f"{describe(view.later(now), verbose=self.verbose)}\n")
        self.stream.flush()


def is_terminal(stream: TextIO) -> bool:
    """Whether lines can be drawn anew in place."""
    try:
        return stream.isatty() and os.environ.get("TERM", "").lower() not in {"dumb", "unknown", ""}
    except ValueError:
        return False
