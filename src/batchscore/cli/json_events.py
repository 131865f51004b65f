"""What does `--json` print while a run works? One JSON object per line.

A listener of the run's events. A run that has a result ends with a line `finished`. It shows no
cell of the input and no secret. A reader that has gone away changes nothing for the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import orjson

from batchscore.errors import name_settings
from batchscore.report.tally import Tally
from batchscore.report.words import json_safe
from batchscore.rows import Event, FileFinished, Notice
from batchscore.settings.declare import as_flag
from batchscore.settings.secrets import mask_text

#: Seconds between two lines of progress.
PROGRESS_SECONDS = 10.0

#: What is shown of a finished file, and of the run so far.
FILE_FIELDS = ("file", "state", "rows", "ok", "errors", "empty", "known", "not_reached")
PROGRESS_FIELDS = (
    *("ok", "failed", "known", "files_finished", "requests"),
    *("prompt_tokens", "completion_tokens"),
)


class JsonEvents:
    """Gives each event to `write` as a line of bytes; with `None` it writes nothing. O(1) per event."""

    def __init__(self, write: Callable[[bytes], object] | None) -> None:
        self.write = write
        self.enabled = write is not None
        self.tally = Tally()
        self.started = self.last = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Handle one event."""
        self.tally.add(event)
        if isinstance(event, Notice):
            self.write_line("notice", text=mask_text(name_settings(event.text, as_flag)))
        elif isinstance(event, FileFinished):
            problem = {"problem": name_settings(event.problem, as_flag)} if event.problem else {}
            self.write_line("file", **{name: getattr(event, name) for name in FILE_FIELDS}, **problem)
        elif time.monotonic() - self.last >= PROGRESS_SECONDS:
            self.last = time.monotonic()
            now = self.tally.statistics()
            figures = {name: getattr(now, name) for name in PROGRESS_FIELDS}
            figures |= {"errors": now.errors.total(), "retried": now.retried.total()}
            self.write_line("progress", **figures, seconds=round(self.last - self.started, 3))

    def write_line(self, event: str, **fields: Any) -> None:
        """Write one line."""
        if self.write is None:
            return
        try:
            self.write(orjson.dumps(json_safe({"event": event, **fields})))
        except OSError:
            self.write = None
