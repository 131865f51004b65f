"""When will a run end?

Pure: `now` is an argument, in seconds of any steady clock; memory is O(1). At first the ETA comes from the
remaining work and the current limits, later from the observed throughput, weighted towards the last half of
the run. Time in which no request could be sent is counted separately: one outage may be an accident, repeated
outages are typical for this service. If nothing is known, there is no ETA.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from batchscore.rows import DeploymentState, Expected

#: Seconds after which the observed throughput weighs as much as the limits.
TRUSTED_AFTER_SECONDS = 30.0

#: Seconds of responses before an observed throughput is used.
LEAST_SECONDS = 5.0

#: How far back the throughput is measured: a share of the time since the start, within these bounds.
MEMORY_SHARE = 0.5
SHORTEST_MEMORY_SECONDS = 15.0
LONGEST_MEMORY_SECONDS = 900.0

#: A shorter pause is part of the normal pace.
SHORT_PAUSE_SECONDS = 2.0

#: Two estimates with a smaller ratio are shown as one.
SAME_RATIO = 1.3


@dataclass(frozen=True, slots=True)
class WorkDone:
    """What a run has done: rows with a score or an error, answered requests, tokens charged.

    `known` rows had a record before the run. `prompt_tokens` are the part of `tokens` for prompts;
    `answer_tokens` is what a request is charged for its answer, if that has a limit. `prompt_bytes` are the
    JSON bytes of the answered prompts.
    """

    rows: int
    known: int
    answered: int
    prompt_tokens: float
    tokens: float
    answer_tokens: float | None = 0.0
    prompt_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Remaining:
    """The remaining work of a run."""

    rows: float
    requests: float
    tokens: float


@dataclass(frozen=True, slots=True)
class Eta:
    """Seconds to the end: between `low` and `high`; `high` is `None` if only the least is known."""

    low: float
    high: float | None


def remaining_work(expected: Expected, done: WorkDone) -> Remaining | None:
    """Return the remaining work; `None` if there are more rows than expected."""
    rows = float(expected.rows - done.known - done.rows)
    if rows < 0 or (rows == 0 and not expected.exact):
        return None
    share = rows / expected.rows if expected.rows else 0.0
    requests, prompt_tokens = expected.requests * share, expected.prompt_tokens * share
    if done.answered and done.rows:
        requests, prompt_tokens = (rows * each / done.rows for each in (done.answered, done.prompt_tokens))
        bytes_left = expected.prompt_bytes * (1 - done.known / expected.rows) - done.prompt_bytes
        if expected.prompt_bytes and done.prompt_bytes and bytes_left >= 0:
            prompt_tokens = bytes_left * done.prompt_tokens / done.prompt_bytes
    answers = rows * (done.tokens - done.prompt_tokens) / max(done.rows, 1)
    if done.answer_tokens is not None:
        answers = requests * done.answer_tokens
    return Remaining(rows, requests, prompt_tokens + answers)


def seconds_at_limits(left: Remaining, deployments: Sequence[DeploymentState]) -> float | None:
    """Return the duration of the remaining work at the current limits; `None` if one is unknown."""
    tokens = left.tokens / left.requests if left.requests else 0.0
    requests_a_minute = 0.0
    for each in deployments:
        if each.state == "up":
            by_tokens = math.inf if each.tpm is None or not tokens else each.tpm / tokens
            requests_a_minute += min(by_tokens, math.inf if each.rpm is None else each.rpm)
    if not requests_a_minute or requests_a_minute == math.inf:
        return None
    return left.requests / requests_a_minute * 60


def tokens_bind(left: Remaining, deployments: Sequence[DeploymentState]) -> bool:
    """Whether the token limits are tighter than the request limits."""
    usable = [each for each in deployments if each.state == "up"]
    tpm, rpm = sum(each.tpm or 0.0 for each in usable), sum(each.rpm or 0.0 for each in usable)
    return tpm > 0 and (not rpm or left.tokens / tpm > left.requests / rpm)


@dataclass(slots=True)
class Forecast:
    """The observed throughput and the ETA from it. Old sums decay, so that the last half weighs most."""

    began: float = 0.0
    at: float = 0.0
    done: WorkDone | None = None
    rows: float = 0.0
    tokens: float = 0.0
    seconds: float = 0.0
    limited_seconds: float = 0.0
    stalled_seconds: float = 0.0
    stalls: int = 0
    stalled: bool = False

    def observe(self, now: float, done: WorkDone, deployments: Sequence[DeploymentState]) -> None:
        """Add the work done so far and the state of the deployments. O(deployments)."""
        before, passed = self.done, now - self.at
        self.at, self.done = now, done
        if before is None or not before.rows:
            # Before the first responses there is no throughput, only latency.
            self.began = now
            return
        memory = min(LONGEST_MEMORY_SECONDS, max(SHORTEST_MEMORY_SECONDS, MEMORY_SHARE * (now - self.began)))
        decay = math.exp(-passed / memory)
        self.rows = self.rows * decay + done.rows - before.rows
        self.tokens = self.tokens * decay + done.tokens - before.tokens
        # No request can be sent at the moment because of the service.
        stalled = bool(deployments) and all(
            each.state != "up" or each.paused_seconds > SHORT_PAUSE_SECONDS for each in deployments
        )
        self.stalls += stalled and not self.stalled
        self.stalled = stalled
        self.seconds = self.seconds * decay + (0.0 if stalled else passed)
        self.stalled_seconds = self.stalled_seconds * decay + (passed if stalled else 0.0)
        limited = not stalled and any(each.for_quota for each in deployments if each.state == "up")
        self.limited_seconds = self.limited_seconds * decay + (passed if limited else 0.0)

    def eta(self, left: Remaining, deployments: Sequence[DeploymentState]) -> Eta | None:
        """Return the ETA, if it is known: not before the last row that waits is sent again."""
        found = self.of_requests(left, deployments)
        least = max((each.retry_seconds for each in deployments if each.state == "up"), default=0.0)
        if found is None:
            return Eta(least, None) if least > SHORT_PAUSE_SECONDS else None
        return Eta(max(found.low, least), None if found.high is None else max(found.high, least))

    def of_requests(self, left: Remaining, deployments: Sequence[DeploymentState]) -> Eta | None:
        """Return the ETA of the requests that can be sent now, if it is known."""
        usable = [each for each in deployments if each.state == "up"]
        if not usable:
            return None
        paused = min(each.paused_seconds for each in usable)
        by_limits = seconds_at_limits(left, deployments)
        observed = self.observed(left, deployments)
        if observed is None:
            if by_limits is None:
                return None
            waits = any(each.for_quota for each in usable)
            return Eta(by_limits + paused, by_limits + paused if waits else None)
        observed += paused
        if by_limits is None:
            return Eta(observed, observed)
        limited = min(1.0, self.limited_seconds / self.seconds) if self.seconds else 0.0
        trust = limited * TRUSTED_AFTER_SECONDS / (TRUSTED_AFTER_SECONDS + self.seconds)
        likely = trust * (by_limits + paused) + (1 - trust) * observed
        # The less is known, the wider the range.
        low = likely - trust * max(0.0, likely - by_limits - paused)
        return Eta(low, likely + trust * max(0.0, observed - likely))

    def observed(self, left: Remaining, deployments: Sequence[DeploymentState]) -> float | None:
        """Return how long the rest takes at the observed throughput; `None` if there is none yet."""
        if self.seconds < LEAST_SECONDS:
            return None
        by_tokens = self.tokens > 0 and tokens_bind(left, deployments)
        work, speed = (left.tokens, self.tokens) if by_tokens else (left.rows, self.rows)
        if speed <= 0:
            return None
        again = (self.stalls - 1) / self.stalls if self.stalls else 0.0
        return work / speed * (self.seconds + again * self.stalled_seconds)
