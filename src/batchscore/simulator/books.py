"""What was each deployment sent, what did it answer, and what is it to do next?

It must not know HTTP: it is told what came and what went.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from batchscore.simulator.limits import Limits
from batchscore.simulator.script import Script
from batchscore.simulator.settings import SimulatorSettings

#: Bodies kept in all; the oldest go first. Counts are kept of every request.
_KEPT_BYTES = 128 * 1024 * 1024
_SECRET_HEADERS = frozenset({"api-key", "authorization", "cookie", "ocp-apim-subscription-key"})


@dataclass(slots=True)
class Entry:
    """One request; `status` is None while in hand, 0 if it went unanswered. `at`: seconds since start."""

    at: float
    path: str
    headers: dict[str, str]
    authentication: str | None
    raw: bytes = b""
    status: int | None = None
    tokens: int = 0

    def to_json(self) -> dict[str, Any]:
        """Give it with the body parsed; a body that is no JSON is given as text."""
        try:
            body = orjson.loads(self.raw) if self.raw else None
        except orjson.JSONDecodeError:
            body = self.raw.decode("utf-8", "replace")
        return {
            "at": self.at,
            "path": self.path,
            "headers": self.headers,
            "authentication": self.authentication,
            "body": body,
            "status": self.status,
        }


class DeploymentBook:
    """State of one deployment: its limits, its script, and what came and went."""

    def __init__(self, settings: SimulatorSettings, shelf: Shelf) -> None:
        self._settings = settings
        self._shelf = shelf
        self.script = Script()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._clear()
        self.set_limits(settings.rpm, settings.tpm, settings.burst_seconds)

    def _clear(self) -> None:
        self.script.clear()
        self.entries: deque[Entry] = deque()
        self.count = 0
        self.in_hand = 0
        self.most_in_hand = 0
        self.statuses: Counter[str] = Counter()
        self.tokens_served = 0

    def set_limits(self, rpm: float | None, tpm: float | None, burst_seconds: float) -> None:
        """Start new books of the limits, full."""
        self.limits = Limits(
            rpm=rpm,
            tpm=tpm,
            burst_seconds=burst_seconds,
            charge_refused=self._settings.charge_refused,
            now=time.monotonic(),
        )

    def reset(self) -> None:
        """Forget everything, back to the limits that the simulator was started with."""
        self._clear()
        self.set_limits(self._settings.rpm, self._settings.tpm, self._settings.burst_seconds)

    def arrived(self, entry: Entry) -> None:
        """Note a request as it comes; its status and tokens are set later."""
        self.count += 1
        self.in_hand += 1
        self.most_in_hand = max(self.most_in_hand, self.in_hand)
        if self._settings.record_last:
            self.entries.append(entry)
            self._shelf.keep(entry)
            if len(self.entries) > self._settings.record_last:
                self.entries.popleft()
        for waiter in [one for one in self._waiting if one[0] <= self.count]:
            self._waiting.remove(waiter)
            if not waiter[1].done():
                waiter[1].set_result(None)

    def left(self, entry: Entry) -> None:
        """Note that a request is dealt with, whatever became of it."""
        self.in_hand = max(0, self.in_hand - 1)
        entry.status = entry.status or 0
        self.statuses[str(entry.status)] += 1
        if entry.status == 200:
            self.tokens_served += entry.tokens

    async def wait_for(self, count: int, timeout_s: float) -> bool:
        """Wait until so many requests have come since the last reset; False if they didn't in time."""
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
        """Give a snapshot; `statuses` "0" counts requests that went unanswered."""
        return {
            "count": self.count,
            "in_hand": self.in_hand,
            "most_in_hand": self.most_in_hand,
            "statuses": dict(self.statuses),
            "tokens_served": self.tokens_served,
            "behaviours_left": len(self.script),
        }


class Shelf:
    """Bounds the bytes of all bodies kept."""

    def __init__(self, most_bytes: int = _KEPT_BYTES) -> None:
        self._most = most_bytes
        self._held = 0
        self._order: deque[tuple[Entry, int]] = deque()

    def keep(self, entry: Entry) -> None:
        """Count a body in, and empty the oldest ones when there are too many."""
        self._order.append((entry, len(entry.raw)))
        self._held += len(entry.raw)
        while self._held > self._most or len(self._order) > 200_000:
            oldest, size = self._order.popleft()
            oldest.raw = b""
            self._held -= size


class Books:
    """The books of all deployments, opened when a name is first heard of."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._shelf = Shelf()
        self._started = time.monotonic()
        self.by_name: dict[str, DeploymentBook] = {}

    def of(self, name: str) -> DeploymentBook:
        """Give the book of that deployment."""
        if name not in self.by_name:
            self.by_name[name] = DeploymentBook(self._settings, self._shelf)
        return self.by_name[name]

    def entry(self, path: str, headers: Mapping[str, str], authentication: str | None) -> Entry:
        """Give a record of a request, without what is secret in it."""
        plain = {
            name.lower(): value for name, value in headers.items() if name.lower() not in _SECRET_HEADERS
        }
        return Entry(time.monotonic() - self._started, path, plain, authentication)
