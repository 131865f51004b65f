"""What are the totals of a run's events?

Pure: events in, figures out. Everything that shows or stores figures reads `statistics()`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from batchscore.errors import ErrorCode
from batchscore.rows import Attempt, Event, FileFinished, FileOpened, RowsSettled


@dataclass(frozen=True, slots=True)
class Statistics:
    """The figures at one moment.

    `ok` and `errors` are rows settled by this run, `known` rows settled by earlier runs. `requests` counts
    all attempts, `retried` the failed ones by cause. Tokens are those that the service reported;
    `kept_tokens` are those of answers that were kept.
    """

    ok: int
    errors: Mapping[str, int]
    known: int
    finish_reasons: Mapping[str, int]
    requests: int
    retried: Mapping[str, int]
    prompt_tokens: int
    completion_tokens: int
    kept_tokens: int
    files_finished: int
    slowest_seconds: float

    @property
    def failed(self) -> int:
        """Rows with an error record, except empty rows."""
        return sum(self.errors.values()) - self.empty

    @property
    def empty(self) -> int:
        """Rows without text."""
        return self.errors.get(ErrorCode.EMPTY_INPUT.value, 0)

    @property
    def rows(self) -> int:
        """Rows settled by this run."""
        return self.ok + sum(self.errors.values())


@dataclass(slots=True)
class Tally:
    """Adds up events. O(1) per event."""

    ok: int = 0
    known_of: dict[str, int] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    finish_reasons: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    retried: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    kept_tokens: int = 0
    files: list[FileFinished] = field(default_factory=list)
    slowest_seconds: float = 0.0

    def add(self, event: Event) -> None:
        """Add one event."""
        if isinstance(event, Attempt):
            self.requests += 1
            self.prompt_tokens += event.prompt_tokens
            self.completion_tokens += event.completion_tokens
            self.slowest_seconds = max(self.slowest_seconds, event.seconds)
            if event.cause:
                self.retried[event.cause] += 1
            elif event.rows:
                self.kept_tokens += event.prompt_tokens + event.completion_tokens
        elif isinstance(event, RowsSettled):
            self.ok += event.ok
            if event.errors:
                for code, count in event.errors.items():
                    self.errors[code.value] += count
            # `Counter.update` would take as long as everything else here.
            for reason, count in event.finish_reasons.items():
                self.finish_reasons[reason] += count
        elif isinstance(event, FileFinished):
            self.files.append(event)
            self.known_of[event.file] = event.known
        elif isinstance(event, FileOpened):
            self.known_of[event.file] = event.known

    def statistics(self) -> Statistics:
        """Return the current figures."""
        return Statistics(
            ok=self.ok,
            errors=dict(self.errors),
            known=sum(self.known_of.values()),
            finish_reasons=dict(self.finish_reasons),
            requests=self.requests,
            retried=dict(self.retried),
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            kept_tokens=self.kept_tokens,
            files_finished=len(self.files),
            slowest_seconds=self.slowest_seconds,
        )
