"""What has each deployment received and sent, and what is scripted next?

It must not know HTTP: the server reports each request and its end.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from batchscore.simulator.limits import DeploymentLimits
from batchscore.simulator.script import Script
from batchscore.simulator.settings import SimulatorSettings

#: Memory for recorded bodies; the oldest are dropped first. Every request is counted.
_MAX_BODY_BYTES = 128 * 1024 * 1024
_SECRET_HEADERS = frozenset({"api-key", "authorization", "cookie", "ocp-apim-subscription-key"})


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

    def __init__(self, settings: SimulatorSettings, bodies: BodyMemory) -> None:
        self._settings = settings
        self._bodies = bodies
        self.script = Script()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self.reset()

    def reset(self) -> None:
        """Clear the records and restore the limits that the simulator was started with."""
        self.script.clear()
        self.records: deque[RequestRecord] = deque()
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
        if self._settings.record_last:
            self.records.append(record)
            self._bodies.add(record)
            if len(self.records) > self._settings.record_last:
                self.records.popleft()
        for waiter in [one for one in self._waiting if one[0] <= self.count]:
            self._waiting.remove(waiter)
            if not waiter[1].done():
                waiter[1].set_result(None)

    def record_end(self, record: RequestRecord) -> None:
        """Record the end of a request, with or without a response."""
        self.in_flight = max(0, self.in_flight - 1)
        record.status = record.status or 0
        self.statuses[str(record.status)] += 1
        if record.status == 200:
            self.tokens_served += record.tokens

    async def wait_for(self, count: int, timeout_s: float) -> bool:
        """Wait for this many requests since the last reset. Return False if the wait times out."""
        if self.count >= count:
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((count, future))
        try:
            await asyncio.wait_for(future, timeout_s)
        except asyncio.TimeoutError:
            return False
        return True

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


class BodyMemory:
    """Limits the total size of the recorded bodies."""

    def __init__(self, max_bytes: int = _MAX_BODY_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._order: deque[tuple[RequestRecord, int]] = deque()

    def add(self, record: RequestRecord) -> None:
        """Add a body, and drop the oldest bodies above the limit."""
        self._order.append((record, len(record.raw)))
        self._bytes += len(record.raw)
        while self._bytes > self._max_bytes or len(self._order) > 200_000:
            oldest, size = self._order.popleft()
            oldest.raw = b""
            self._bytes -= size


class DeploymentStates:
    """The states of all deployments, each created on its first request."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._bodies = BodyMemory()
        self._started = time.monotonic()
        self.by_name: dict[str, SimulatedDeployment] = {}

    def get(self, name: str) -> SimulatedDeployment:
        """Return the state of a deployment."""
        if name not in self.by_name:
            self.by_name[name] = SimulatedDeployment(self._settings, self._bodies)
        return self.by_name[name]

    def new_record(self, path: str, headers: Mapping[str, str], authentication: str | None) -> RequestRecord:
        """Return the record of a request, without its secrets."""
        lower = {name.lower(): value for name, value in headers.items()}
        shown = {name: value for name, value in lower.items() if name not in _SECRET_HEADERS}
        return RequestRecord(time.monotonic() - self._started, path, shown, authentication)
