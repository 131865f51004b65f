"""How often may the rows of a request be sent, and what has happened to them so far?"""

from __future__ import annotations

from dataclasses import dataclass

from batchscore.errors import ErrorCode
from batchscore.rows import InvalidReply


@dataclass(slots=True)
class RetryBudget:
    """How many retries the rows of a request have, and what they have used.

    `retries` is how many failures of the service they may have; `failures` (those of the request that it is a
    part of, too) and `rate_limits` count those since `failing_since`, `limited_alone` those 429s between
    which others were answered, the latest at `limited_at` with a wait of `asked_wait`. `others_answered`: a
    request that was sent after `failing_since` was answered before the latest attempt. `counts` are the
    deployment's 429s (and its own later ones), answers, and requests with a 429 at the first one;
    `few_others_limited`: since then many more requests were answered than got a 429. `limited_for_rows`: 429s
    are for its rows, or for those of the request that it is a part of, since another one was answered.
    `attempts` counts all requests, `request_seconds` is how long they took. `causes` are those of the last
    two failures, and `unusable` says in which wrong form the last two replies were, "" if in none. `parted`
    counts how often the request was divided because it failed, since `first_failed`; the latest failure was
    at `failed_at`. `refused_at` is when the service first refused this request as if it refused all.
    """

    retries: int
    attempts: int = 0
    failures: int = 0
    rate_limits: int = 0
    timeouts: int = 0
    causes: tuple[ErrorCode | None, ErrorCode | None] = (None, None)
    request_seconds: float = 0.0
    failing_since: float | None = None
    others_answered: bool = False
    first_failed: float | None = None
    failed_at: float = 0.0
    parted: int = 0
    limited_alone: int = 0
    limited_at: float | None = None
    limited_for_rows: bool = False
    few_others_limited: bool = True
    counts: tuple[int, int, int] = (0, 0, 0)
    asked_wait: float = 0.0
    refused_at: float | None = None
    unusable: tuple[str, str] = ("", "")

    @property
    def alike(self) -> int:
        """How many failures in a row had the latest one's cause: 0, 1 or more, which is 2."""
        before, latest = self.causes
        return 0 if latest is None else 2 if before is latest else 1

    @property
    def is_limited(self) -> bool:
        """Whether the latest failure was a 429."""
        return self.causes[1] is ErrorCode.RATE_LIMITED

    @property
    def failed_by_itself(self) -> bool:
        """Whether its rows failed twice, and others were answered between two of its failures."""
        return self.others_answered and None not in self.causes

    @property
    def same_again(self) -> bool:
        """Whether the last two replies had the same wrong form: a further one would, too."""
        before, latest = self.unusable
        return bool(latest) and latest == before

    def note_failure(
        self, now: float, seconds: float, cause: ErrorCode, *, unusable: InvalidReply | None = None
    ) -> None:
        """Note a failure of the service after this many seconds."""
        limited, only_limited = cause is ErrorCode.RATE_LIMITED, self.rate_limits and not self.failures
        self.unusable = self.unusable[1], unusable.form if unusable is not None else ""
        self.causes = self.causes[1], cause
        if self.failing_since is None or (only_limited and not limited):
            # What was answered between 429s shows nothing about the failures after them.
            self.failing_since, self.others_answered = now, False
        if self.first_failed is None:
            self.first_failed = now
        self.failed_at = now
        self.failures += not limited
        self.rate_limits += limited
        self.timeouts += cause is ErrorCode.TIMEOUT
        self.request_seconds += seconds

    def note_rate_limit(self, now: float, asked_wait: float, counts: tuple[int, int, int]) -> float | None:
        """Note a 429, and the `counts` so far; return when the one before it was."""
        before, self.limited_at = self.limited_at, now
        self.asked_wait = asked_wait
        if before is None:
            self.counts = counts
        else:
            self.counts = self.counts[0] + 1, *self.counts[1:]
        answers, others = counts[1] - self.counts[1], counts[2] - self.counts[2]
        self.few_others_limited = 0 <= others <= max(answers // 4, 1)
        return before

    def reset(self) -> None:
        """Forget the failures: an outage caused them."""
        self.unusable = "", ""
        self.causes = None, None
        self.failures = self.rate_limits = self.timeouts = self.limited_alone = 0
        self.request_seconds = 0.0
        self.failing_since = self.first_failed = self.refused_at = None
        self.others_answered = False

    def begin_long_wait(self, limited_alone: int) -> None:
        """Forget the rate limits, except for this many, before a wait for their end."""
        self.limited_alone, self.rate_limits, self.failing_since = limited_alone, 0, None
        self.others_answered = False

    def for_part(self, *, failed: bool) -> RetryBudget:
        """Return the budget of each part of a divided request: what is left.

        If the request `failed`, a part that fails too is divided at once: there is a bad row in it. If not,
        a part has at least one retry. A single 429 is one of the part, too.
        """
        limited = failed and self.is_limited and self.rate_limits == 1 and not self.limited_for_rows
        return RetryBudget(
            self.retries,
            self.attempts,
            min(self.failures, self.retries - (0 if failed else min(self.retries, 1))),
            rate_limits=int(limited),
            timeouts=self.timeouts,
            failing_since=self.failing_since if limited else None,
            request_seconds=self.request_seconds,
            first_failed=self.first_failed,
            parted=self.parted + failed,
            limited_for_rows=self.limited_for_rows,
            refused_at=self.refused_at,
            unusable=("", self.unusable[1]),
        )
