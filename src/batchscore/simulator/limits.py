"""Do the rate limits admit a request now, and if not, when?

It must not know HTTP nor the clock: `now` (seconds, from any start) is an argument.
Like Azure, it charges an estimate at admission, failures included (docs: quota pages, seen 09/2026).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from batchscore.simulator.error_replies import Surface


class Bucket:
    """The level of one limit. It refills by `per_minute` / 60 per second, up to `burst_seconds` of it."""

    def __init__(self, per_minute: float, burst_seconds: float, now: float) -> None:
        self.per_minute = per_minute
        self.per_second = per_minute / 60
        self.capacity = max(1.0, self.per_second * burst_seconds)
        self.level = self.capacity
        self._at = now

    def seconds_until(self, amount: float, now: float) -> float:
        """Return the seconds until `amount` fits. More than the capacity fits a full bucket."""
        if now > self._at:
            self.level = min(self.capacity, self.level + (now - self._at) * self.per_second)
            self._at = now
        missing = min(amount, self.capacity) - self.level
        # Rounding of the clock must not refuse a client that waited exactly as long as required.
        return missing / self.per_second if missing > 1e-6 * self.capacity else 0.0


@dataclass(frozen=True)
class Admission:
    """`wait_seconds` is 0 for an admitted request. `refused_by` is "requests", "tokens" or None."""

    wait_seconds: float
    refused_by: str | None
    headers: dict[str, str]


class DeploymentLimits:
    """The RPM and TPM of one deployment. None means no limit."""

    def __init__(
        self, rpm: float | None, tpm: float | None, burst_seconds: float, *, charge_refused: bool, now: float
    ) -> None:
        self._requests = None if rpm is None else Bucket(rpm, burst_seconds, now)
        self._tokens = None if tpm is None else Bucket(tpm, burst_seconds, now)
        self._charge_refused = charge_refused

    def admit(self, tokens: int, now: float, surface: Surface) -> Admission:
        """Charge one request and its tokens, or refuse it, in constant time.

        A refused request charges one request (never below zero) and no tokens.
        """
        requests, budget = self._requests, self._tokens
        request_wait = requests.seconds_until(1, now) if requests else 0.0
        token_wait = budget.seconds_until(tokens, now) if budget else 0.0
        refused = request_wait > 0 or token_wait > 0
        if requests and not refused:
            requests.level -= 1
        elif requests and self._charge_refused:
            requests.level = max(min(requests.level, 0.0), requests.level - 1)
            request_wait = requests.seconds_until(1, now)
        if budget and not refused:
            budget.level -= tokens
        wait = max(request_wait, token_wait) if refused else 0.0
        headers: dict[str, str] = {}
        for name, bucket in (("requests", requests), ("tokens", budget)):
            if bucket:
                headers[f"x-ratelimit-limit-{name}"] = f"{bucket.per_minute:.0f}"
                headers[f"x-ratelimit-remaining-{name}"] = str(max(0, math.floor(bucket.level)))
                refill = (bucket.capacity - bucket.level) / bucket.per_second
                headers[f"x-ratelimit-reset-{name}"] = _duration(refill, surface)
        if refused:
            headers |= retry_after_headers(wait)
        refused_by = ("tokens" if token_wait >= request_wait else "requests") if refused else None
        return Admission(wait, refused_by, headers)


def retry_after_headers(seconds: float) -> dict[str, str]:
    """Return both headers: whole seconds and milliseconds, both rounded up."""
    return {"retry-after": str(math.ceil(seconds)), "retry-after-ms": str(math.ceil(seconds * 1000))}


def _duration(seconds: float, surface: Surface) -> str:
    """Return whole seconds (Azure), or a duration in Go's notation such as `1m3.5s` (OpenAI)."""
    if surface is not Surface.OPENAI:
        return str(math.ceil(seconds))
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    return (f"{minutes:.0f}m" if minutes else "") + f"{rest:g}s"
