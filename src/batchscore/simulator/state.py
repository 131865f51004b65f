"""What do a deployment's limits admit, what has it received and sent, and what is scripted next?

It must not know HTTP: the server reports each request and its end.
Like Azure, the limits charge an estimate at admission, failures included (docs: quota pages, seen 09/2026).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from batchscore.simulator.error_replies import Surface
from batchscore.simulator.script import Script
from batchscore.simulator.settings import SimulatorSettings

_SECRET_HEADERS = frozenset({"api-key", "authorization", "cookie", "ocp-apim-subscription-key"})


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


@dataclass(slots=True)
class RequestRecord:
    """One request. `status` is None in flight and 0 without a response. `at`: seconds since the start."""

    at: float
    path: str
    headers: dict[str, str]
    authentication: str | None
    raw: bytes = b""
    status: int | None = None
    tokens: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return it with the body parsed. A body that is not JSON is returned as text."""
        try:
            body = orjson.loads(self.raw) if self.raw else None
        except orjson.JSONDecodeError:
            body = self.raw.decode("utf-8", "replace")
        names = ("at", "path", "headers", "authentication", "status")
        return {name: getattr(self, name) for name in names} | {"body": body}


class SimulatedDeployment:
    """The state of one deployment: its limits, its script and its requests."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self.reset()

    def reset(self) -> None:
        """Clear the records and restore the limits that the simulator was started with."""
        self.script = Script()
        self.records: deque[RequestRecord] = deque(maxlen=self._settings.record_last)
        self.count = 0
        self.in_flight = 0
        self.max_in_flight = 0
        self.statuses: Counter[str] = Counter()
        self.tokens_served = 0
        self.set_limits(self._settings.rpm, self._settings.tpm, self._settings.burst_seconds)

    def set_limits(self, rpm: float | None, tpm: float | None, burst_seconds: float) -> None:
        """Replace the limits. Their buckets start full."""
        charge_refused, now = self._settings.charge_refused, time.monotonic()
        self.limits = DeploymentLimits(rpm, tpm, burst_seconds, charge_refused=charge_refused, now=now)

    def record_arrival(self, record: RequestRecord) -> None:
        """Record a request on arrival. Its status and tokens are set later."""
        self.count += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self.records.append(record)

    def record_end(self, record: RequestRecord) -> None:
        """Record the end of a request, with or without a response."""
        self.in_flight = max(0, self.in_flight - 1)
        record.status = record.status or 0
        self.statuses[str(record.status)] += 1
        if record.status == 200:
            self.tokens_served += record.tokens

    async def wait_for(self, count: int, timeout_s: float) -> bool:
        """Wait for this many requests since the last reset. Return False if the wait times out."""
        ends = time.monotonic() + timeout_s
        while self.count < count and time.monotonic() < ends:  # noqa: ASYNC110 - only tests wait
            await asyncio.sleep(0.002)
        return self.count >= count

    def statistics(self) -> dict[str, Any]:
        """Return a snapshot. Status "0" in `statuses` counts requests without a response."""
        return {
            "count": self.count,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "statuses": dict(self.statuses),
            "tokens_served": self.tokens_served,
            "behaviours_left": len(self.script),
        }


class SimulatedDeployments:
    """The states of all deployments, each created on its first request."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._started = time.monotonic()
        self.by_name: dict[str, SimulatedDeployment] = {}

    def get(self, name: str) -> SimulatedDeployment:
        """Return the state of a deployment."""
        if name not in self.by_name:
            self.by_name[name] = SimulatedDeployment(self._settings)
        return self.by_name[name]

    def new_record(self, path: str, headers: Mapping[str, str], authentication: str | None) -> RequestRecord:
        """Return the record of a request, without its secrets."""
        lower = {name.lower(): value for name, value in headers.items()}
        shown = {name: value for name, value in lower.items() if name not in _SECRET_HEADERS}
        return RequestRecord(time.monotonic() - self._started, path, shown, authentication)
