"""What does a machine hear while a run works, one JSON object a line?

A listener of the run's events. Whatever was begun ends with a line `finished` or `failed`. No cell of the
input, no secret. A reader that has gone away changes nothing for the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import orjson

from batchscore.errors import BatchscoreError, ExitCode, name_settings
from batchscore.report.json_text import for_json
from batchscore.report.tally import Statistics, Tally
from batchscore.rows import Event, FileFinished, Notice
from batchscore.settings.declare import as_flag

#: Seconds between two lines of progress.
PROGRESS_SECONDS = 10.0


class Events:
    """Gives each event to `write` as a line of bytes; `None` writes none. O(1) an event."""

    def __init__(self, write: Callable[[bytes], object] | None) -> None:
        self.write = write
        self.wanted = write is not None
        self.tally = Tally()
        self.started = self.last = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Take one event."""
        self.tally.add(event)
        if isinstance(event, Notice):
            self.say("notice", text=name_settings(event.text, as_flag))
        elif isinstance(event, FileFinished):
            self.say("file", **file_fields(event))
        elif time.monotonic() - self.last >= PROGRESS_SECONDS:
            self.last = time.monotonic()
            self.say(
                "progress", **figures(self.tally.statistics()), seconds=round(self.last - self.started, 3)
            )

    def say(self, event: str, **fields: Any) -> None:
        """Write one line."""
        if self.write is None:
            return
        try:
            self.write(orjson.dumps(for_json({"event": event, **fields})))
        except OSError:
            self.write = None

    def start(self, *, task: str, model: str, simulated: bool, inputs: Sequence[str], output: str) -> None:
        """Tell what is about to be scored."""
        self.say("started", task=task, model=model, simulated=simulated, inputs=list(inputs), output=output)

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Tell of an error that ends the run before it has an account of itself."""
        try:
            yield
        except BatchscoreError as error:
            self.say("failed", exit_code=int(error.exit_code), reason=name_settings(error.text, as_flag))
            raise
        except KeyboardInterrupt:
            self.say("failed", exit_code=int(ExitCode.CONTINUE_LATER), reason="interrupted by a signal")
            raise


def file_fields(file: FileFinished) -> Mapping[str, Any]:
    """Return a file's account."""
    fields = {
        "file": file.file,
        "state": file.state,
        "rows": file.rows,
        "ok": file.ok,
        "errors": file.errors,
        "empty": file.empty,
        "known": file.known,
        "not_reached": file.rows - file.ok - file.errors,
    }
    return fields | ({"problem": file.problem} if file.problem else {})


def figures(now: Statistics) -> Mapping[str, Any]:
    """Return the figures of this run so far."""
    return {
        "ok": now.ok,
        "errors": sum(now.errors.values()),
        "failed": now.failed,
        "known": now.known,
        "files_finished": now.files_finished,
        "requests": now.requests,
        "retried": sum(now.retried.values()),
        "prompt_tokens": now.prompt_tokens,
        "completion_tokens": now.completion_tokens,
    }
