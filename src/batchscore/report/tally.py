"""What are the totals of a run's events?

Pure: events in, figures out. Everything that shows or stores figures reads `statistics()`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields

from batchscore.errors import ErrorCode
from batchscore.report.words import finish_reason_text
from batchscore.rows import Attempt, Event, FileFinished, FileOpened, Notice, RowsSettled


@dataclass(slots=True)
class Statistics:
    """The figures at one moment.

    `ok` and `errors` are rows settled by this run, `known` rows settled by earlier runs. `requests` counts
    all attempts, `retried` the failed ones by cause. Tokens are those that the service reported;
    `tokens_kept` are those of answers that were kept, `full_price_…` those of requests that a run through
    batches has sent live. `billed_twice` is what was said of rows that may be.
    """

    ok: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    known: int = 0
    finish_reasons: Counter[str] = field(default_factory=Counter)
    without_text: int = 0
    requests: int = 0
    retried: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    full_price_prompt_tokens: int = 0
    full_price_completion_tokens: int = 0
    tokens_kept: int = 0
    files_finished: int = 0
    slowest_seconds: float = 0.0
    billed_twice: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        """Rows with an error record, except empty rows."""
        return self.errors.total() - self.empty

    @property
    def empty(self) -> int:
        """Rows without text."""
        return self.errors[ErrorCode.EMPTY_INPUT.value]

    @property
    def full_price(self) -> tuple[int, int]:
        """Tokens of prompts and answers at the full price, in a run through batches."""
        return self.full_price_prompt_tokens, self.full_price_completion_tokens

    @property
    def rows(self) -> int:
        """Rows settled by this run."""
        return self.ok + self.errors.total()


@dataclass(slots=True)
class Tally(Statistics):
    """Adds up events. O(1) per event."""

    known_of: dict[str, int] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        """Add one event."""
        if isinstance(event, Attempt):
            self.requests += event.requests
            self.prompt_tokens += event.prompt_tokens
            self.completion_tokens += event.completion_tokens
            if event.full_price:
                self.full_price_prompt_tokens += event.prompt_tokens
                self.full_price_completion_tokens += event.completion_tokens
            if event.seconds > self.slowest_seconds:
                self.slowest_seconds = event.seconds
            if event.cause:
                self.retried[event.cause] += 1
            elif event.rows:
                self.tokens_kept += event.prompt_tokens + event.completion_tokens
        elif isinstance(event, RowsSettled):
            self.ok += event.ok
            if event.errors:
                for code, count in event.errors.items():
                    self.errors[code.value] += count
            # `Counter.update` would take as long as everything else here.
            for reason, count in event.finish_reasons.items():
                self.finish_reasons[finish_reason_text(reason)] += count
            self.without_text += event.without_text
        elif isinstance(event, (FileOpened, FileFinished)):
            self.known += event.known - self.known_of.get(event.file, 0)
            self.known_of[event.file] = event.known
            self.files_finished += isinstance(event, FileFinished)
        elif isinstance(event, Notice) and event.billed_twice:
            self.billed_twice += (event.text,)

    def statistics(self) -> Statistics:
        """Return a copy of the current figures."""
        values = {each.name: getattr(self, each.name) for each in fields(Statistics)}
        copies = {name: value.copy() for name, value in values.items() if isinstance(value, Counter)}
        return Statistics(**values | copies)
