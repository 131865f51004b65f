"""How does a call from Python show its progress: in a terminal, in a notebook, or nowhere?

One line that is written again: no widgets, so that it works wherever a notebook is shown.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from batchscore.errors import duration_text

#: Seconds between two lines.
EVERY_SECONDS = 0.5


def line(done: int, rows: int, failed: int, seconds: float) -> str:
    """Return the progress as a line of text."""
    rate = done / seconds if seconds > 0 else 0.0
    left = f", {duration_text((rows - done) / rate)} left" if rate and done < rows else ""
    errors = f", {failed:,} failed" if failed else ""
    return f"{done:,} of {rows:,} rows ({done / max(rows, 1):.0%}){errors}, {rate:,.1f} rows/s{left}"


def notebook_output() -> Callable[[str], None] | None:
    """Return a function that shows a line in the current cell of a notebook; `None` outside of one."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display  # noqa: PLC0415 - loaded by the notebook

    handle: Any = display({"text/plain": ""}, raw=True, display_id=True)
    return lambda text: handle.update({"text/plain": text}, raw=True)


def write_in_terminal(text: str) -> None:
    """Write a line over the last one, which may be longer."""
    sys.stderr.write(f"\r{text}\x1b[K")
    sys.stderr.flush()


@contextmanager
def shown(rows: int, *, wanted: bool) -> Iterator[Callable[[int], None]]:
    """Give a function that takes the number of failed rows after each row, and shows the progress.

    Nothing is shown if it is not `wanted`, or where no person looks: standard error is a file.
    """
    write = notebook_output() if wanted else None
    in_terminal = write is None and wanted and sys.stderr.isatty()
    if in_terminal:
        write = write_in_terminal
    if write is None:
        yield lambda _: None
        return
    started, latest, done, failures = time.monotonic(), 0.0, 0, 0

    def count(failed: int) -> None:
        nonlocal latest, done, failures
        done, failures = done + 1, failed
        now = time.monotonic()
        if now - latest >= EVERY_SECONDS:
            latest = now
            write(line(done, rows, failed, now - started))

    try:
        yield count
    finally:
        # Progress must not hide why the work ended.
        with suppress(Exception):
            write(line(done, rows, failures, time.monotonic() - started))
            if in_terminal:
                sys.stderr.write("\n")
