"""May a request be served now, and if not, when?

It must not know HTTP nor the clock: `now` (seconds, from any start) is an argument.
Charged as at Azure: at admission, by estimate, failures included (docs: quota pages, seen 09/2026).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from batchscore.simulator.problems import Surface


class Bucket:
    """Level of one limit: filled at `a_minute` / 60 a second up to `burst_seconds` of it."""

    def __init__(self, a_minute: float, burst_seconds: float, now: float) -> None:
        self.a_minute = a_minute
        self.a_second = a_minute / 60
        self.capacity = max(1.0, self.a_second * burst_seconds)
        self.level = self.capacity
        self._at = now

    def wait(self, amount: float, now: float) -> float:
        """Give the seconds until `amount` fits; more than the capacity fits when it is full."""
        if now > self._at:
            self.level = min(self.capacity, self.level + (now - self._at) * self.a_second)
            self._at = now
        missing = min(amount, self.capacity) - self.level
        # A clock's last digits must not refuse what a caller waited for exactly.
        return missing / self.a_second if missing > 1e-6 * self.capacity else 0.0


@dataclass(frozen=True)
class Verdict:
    """`wait_seconds` is 0 for an admitted request; `what` names the limit that refused it."""

    wait_seconds: float
    what: str | None
    headers: dict[str, str]


class Limits:
    """RPM and TPM of one deployment, either of which may be None: no limit."""

    def __init__(
        self,
        *,
        rpm: float | None,
        tpm: float | None,
        burst_seconds: float,
        charge_refused: bool,
        now: float,
    ) -> None:
        self._requests = None if rpm is None else Bucket(rpm, burst_seconds, now)
        self._tokens = None if tpm is None else Bucket(tpm, burst_seconds, now)
        self._charge_refused = charge_refused

    def admit(self, tokens: int, now: float, surface: Surface) -> Verdict:
        """Charge one request and its tokens, or refuse; O(1).

        A refused call takes one request (never below none left) and no tokens.
        """
        calls, budget = self._requests, self._tokens
        for_call = calls.wait(1, now) if calls else 0.0
        for_tokens = budget.wait(tokens, now) if budget else 0.0
        refused = for_call > 0 or for_tokens > 0
        if calls and not refused:
            calls.level -= 1
        elif calls and self._charge_refused:
            calls.level = max(min(calls.level, 0.0), calls.level - 1)
            for_call = calls.wait(1, now)
        if budget and not refused:
            budget.level -= tokens
        wait = max(for_call, for_tokens) if refused else 0.0
        headers: dict[str, str] = {}
        for name, bucket in (("requests", calls), ("tokens", budget)):
            if bucket:
                headers[f"x-ratelimit-limit-{name}"] = f"{bucket.a_minute:.0f}"
                headers[f"x-ratelimit-remaining-{name}"] = str(max(0, math.floor(bucket.level)))
                left = (bucket.capacity - bucket.level) / bucket.a_second
                headers[f"x-ratelimit-reset-{name}"] = _duration(left, surface)
        if refused:
            headers |= retry_headers(wait)
        return Verdict(
            wait, ("tokens" if for_tokens >= for_call else "requests") if refused else None, headers
        )


def retry_headers(seconds: float) -> dict[str, str]:
    """Give both headers: whole seconds, rounded up, and milliseconds, rounded up."""
    return {"retry-after": str(math.ceil(seconds)), "retry-after-ms": str(math.ceil(seconds * 1000))}


def _duration(seconds: float, surface: Surface) -> str:
    """Give whole seconds (Azure), or a duration in Go's notation as `1m3.5s` (OpenAI)."""
    if surface is not Surface.OPENAI:
        return str(math.ceil(seconds))
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    return (f"{minutes:.0f}m" if minutes else "") + f"{rest:g}s"
