"""When will a run end?

Pure: `now` is an argument, in seconds of any steady clock; memory is O(1). Early on the answer comes from
what is left and the limits now in force, later from what was observed, weighed towards the last half of the
run. An outage is no speed, so time in which nothing could be asked is kept apart: once may be an accident,
what comes again and again is how this service is. Where nothing can be known, there is no answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from batchscore.rows import DeploymentState, Expected

#: What was observed weighs as much as the limits after so many seconds.
TRUSTED_AFTER_SECONDS = 30.0

#: Before so many seconds of answers a speed that no limit explains says nothing.
LEAST_SECONDS = 5.0

#: How far what was done is remembered: a part of the time since the start, within these bounds.
MEMORY_PART = 0.5
SHORTEST_MEMORY_SECONDS = 15.0
LONGEST_MEMORY_SECONDS = 900.0

#: A pause shorter than this is part of the ordinary pace.
SHORT_PAUSE_SECONDS = 2.0

#: Rows so much longer or shorter than expected are taken for a bad estimate, from the second on for a part
#: of the input that is unlike the rest; likewise rows of late that are unlike those before.
BAD_ESTIMATE, UNLIKE = 1.2, 1.5
STEADY, DRIFTING = 1.05, 1.2

#: Two estimates that differ by less are told as one.
ABOUT = 1.3


@dataclass(frozen=True, slots=True)
class Done:
    """What a run has done: rows settled by answers or errors, requests that were answered, tokens charged.

    `known` rows had their records before; `prompt_tokens` are those of `tokens` that prompts came to,
    `answer_tokens` what a request is charged for its answer where that is bounded. `prompt_bytes` are those
    of the prompts that were answered, as JSON.
    """

    rows: int
    known: int
    answered: int
    prompt_tokens: float
    tokens: float
    answer_tokens: float | None = 0.0
    prompt_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Left:
    """What lies before a run."""

    rows: float
    requests: float
    tokens: float


@dataclass(frozen=True, slots=True)
class Eta:
    """Seconds to the end: between `low` and `high`, `None` where only the least can be told."""

    low: float
    high: float | None


def left_of(expected: Expected, done: Done, drift: float = 1.0) -> Left | None:
    """Return what is left; `None` where there turned out to be more than was expected.

    `drift` is how much longer rows are of late than they were on the whole.
    """
    rows = float(expected.rows - done.known - done.rows)
    if rows < 0 or (rows == 0 and not expected.exact):
        return None
    share = rows / expected.rows if expected.rows else 0.0
    requests, prompt_tokens = expected.requests * share, expected.prompt_tokens * share
    if done.answered and done.rows:
        requests = rows * done.answered / done.rows
        unknown = expected.rows - done.known
        bytes_left = expected.prompt_bytes * unknown / expected.rows - done.prompt_bytes
        by_rows = rows * done.prompt_tokens / done.rows
        whole = expected.prompt_tokens * (1 - done.known / expected.rows) if expected.rows else 0.0
        prompt_tokens = mixed(by_rows, max(0.0, whole - done.prompt_tokens), prompt_tokens, drift)
        if expected.prompt_bytes and done.prompt_bytes and bytes_left >= 0:
            # What a byte costs is known by now, and what is left of them as well.
            prompt_tokens = bytes_left * done.prompt_tokens / done.prompt_bytes
    answers = (
        rows * (done.tokens - done.prompt_tokens) / max(done.rows, 1)
        if done.answer_tokens is None
        else requests * done.answer_tokens
    )
    return Left(rows, requests, prompt_tokens + answers)


def mixed(by_rows: float, by_difference: float, expected: float, drift: float) -> float:
    """Return the prompt tokens that are left, by the rows so far or by what was expected in all.

    Rows that are somewhat longer than expected were estimated badly, and so are all others; where they are
    much longer, or become ever shorter, the rest is likely to be unlike them.
    """
    if by_rows <= 0 or expected <= 0:
        return by_rows
    like = 1 - beyond(by_rows / expected, BAD_ESTIMATE, UNLIKE)
    like *= 1 - beyond(drift, STEADY, DRIFTING)
    return by_rows * like + by_difference * (1 - like)


def beyond(ratio: float, little: float, much: float) -> float:
    """Return how far a ratio is from 1, above or below: 0 up to `little`, 1 from `much` on."""
    if ratio <= 0:
        return 1.0
    off = abs(math.log(ratio))
    return min(1.0, max(0.0, (off - math.log(little)) / math.log(much / little)))


def seconds_at_limits(left: Left, deployments: Sequence[DeploymentState]) -> float | None:
    """Return how long what is left takes at the limits in force; `None` where one that is up has none."""
    tokens = left.tokens / left.requests if left.requests else 0.0
    requests_a_minute = 0.0
    for each in deployments:
        if each.state != "up":
            continue
        by_tokens = math.inf if each.tpm is None or not tokens else each.tpm / tokens
        by_requests = math.inf if each.rpm is None else each.rpm
        requests_a_minute += min(by_tokens, by_requests)
    if not requests_a_minute or requests_a_minute == math.inf:
        return None
    return left.requests / requests_a_minute * 60


def tokens_bind(left: Left, deployments: Sequence[DeploymentState]) -> bool:
    """Whether it is tokens more than requests that the limits in force leave too few of."""
    tpm = sum(each.tpm or 0.0 for each in deployments if each.state == "up")
    rpm = sum(each.rpm or 0.0 for each in deployments if each.state == "up")
    return tpm > 0 and (not rpm or left.tokens / tpm > left.requests / rpm)


@dataclass(slots=True)
class Forecast:
    """What was observed, and what it says of the rest. Sums fade, so that the last half weighs most."""

    began: float | None = None
    at: float = 0.0
    done: Done | None = None
    rows: float = 0.0
    tokens: float = 0.0
    prompt_tokens: float = 0.0
    seconds: float = 0.0
    limited_seconds: float = 0.0
    stalled_seconds: float = 0.0
    stalls: int = 0
    stalled: bool = False

    def take(self, now: float, done: Done, deployments: Sequence[DeploymentState]) -> None:
        """Note what is done by now and how the deployments stand. O(deployments)."""
        before, passed = self.done, now - self.at
        self.at, self.done = now, done
        if before is None or self.began is None or not before.rows:
            # Until the first answers have come there is no speed: that is how long one takes.
            self.began = now
            return
        memory = min(LONGEST_MEMORY_SECONDS, max(SHORTEST_MEMORY_SECONDS, MEMORY_PART * (now - self.began)))
        fading = math.exp(-passed / memory)
        self.rows = self.rows * fading + done.rows - before.rows
        self.tokens = self.tokens * fading + done.tokens - before.tokens
        self.prompt_tokens = self.prompt_tokens * fading + done.prompt_tokens - before.prompt_tokens
        stalled = is_stalled(deployments)
        self.stalls += stalled and not self.stalled
        self.stalled = stalled
        self.seconds = self.seconds * fading + (0.0 if stalled else passed)
        self.stalled_seconds = self.stalled_seconds * fading + (passed if stalled else 0.0)
        limited = not stalled and any(each.for_quota for each in deployments if each.state == "up")
        self.limited_seconds = self.limited_seconds * fading + (passed if limited else 0.0)

    def left(self, expected: Expected, done: Done) -> Left | None:
        """Return what is left, by what was expected and what came."""
        drift = 1.0
        if self.rows > 0 and self.prompt_tokens > 0 and done.rows and done.prompt_tokens:
            drift = (self.prompt_tokens / self.rows) / (done.prompt_tokens / done.rows)
        return left_of(expected, done, drift)

    def eta(self, left: Left, deployments: Sequence[DeploymentState]) -> Eta | None:
        """Return when it ends, as far as that can be known."""
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
        # The less is known, the further apart the two ends.
        return Eta(
            likely - trust * max(0.0, likely - by_limits - paused),
            likely + trust * max(0.0, observed - likely),
        )

    def observed(self, left: Left, deployments: Sequence[DeploymentState]) -> float | None:
        """Return how long the rest takes at the speed so far; `None` while there is none."""
        if self.seconds < LEAST_SECONDS:
            return None
        by_tokens = self.tokens > 0 and tokens_bind(left, deployments)
        work, speed = (left.tokens, self.tokens) if by_tokens else (left.rows, self.rows)
        if speed <= 0:
            return None
        again = (self.stalls - 1) / self.stalls if self.stalls else 0.0
        return work / speed * (self.seconds + again * self.stalled_seconds)


def is_stalled(deployments: Sequence[DeploymentState]) -> bool:
    """Whether nothing can be asked for the moment, for a reason that is not ours."""
    return bool(deployments) and all(
        each.state != "up" or each.paused_seconds > SHORT_PAUSE_SECONDS for each in deployments
    )
