"""How does a test script a simulated deployment and read the requests it received?

It calls the simulator's control API with the standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

from batchscore.simulator.script import Behaviour

# Requests to loopback must not go through the machine's proxy.
_direct = build_opener(ProxyHandler({}))


@dataclass(frozen=True)
class SentRequest:
    """A request as the server received it, without secrets.

    `at` is in seconds since the server's start. `headers` have lower-case names. `authentication` is
    "key", "bearer" or None. `body` is the parsed JSON. `status` is None while the request is in flight
    and 0 if it got no response.
    """

    at: float
    path: str
    headers: Mapping[str, str]
    authentication: str | None
    body: Any
    status: int | None


@dataclass(frozen=True)
class DeploymentStatistics:
    """Counts since the start or the last reset. Status "0" in `statuses` means no response."""

    count: int
    in_flight: int
    max_in_flight: int
    statuses: Mapping[str, int]
    tokens_served: int
    behaviours_left: int


def call(method: str, url: str, body: Any = None, *, timeout_s: float = 30.0) -> Any:
    """Return the JSON reply of the control API. Raise ValueError with the reason if it refuses."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data=data, method=method)
    try:
        with _direct.open(request, timeout=timeout_s) as reply:
            return json.loads(reply.read())
    except HTTPError as error:
        raise ValueError(error.read().decode("utf-8", "replace")) from None


class Deployment:
    """One deployment of a running simulator. Each test uses its own name."""

    def __init__(self, endpoint: str, name: str) -> None:
        self.name = name
        self._url = f"{endpoint}/_simulator/deployments/{quote(name, safe='')}"

    def will(self, *behaviours: Behaviour, **fields: Any) -> None:
        """Add behaviours for the next requests, in order, or one from the fields of `Behaviour`.

        `deployment.will(status=429, retry_after=0.2, times=3)`
        """
        script = [asdict(one) for one in behaviours]
        call("POST", self._url + "/behaviours", [*script, fields] if fields else script)

    def will_drop(self, *, before_reading: bool = False, **when: Any) -> None:
        """Reset the connection. `when` takes `times` and `when_input_contains`, here and below."""
        self.will(drop="before" if before_reading else "after", **when)

    def will_hang(self, seconds: float = 600.0, **when: Any) -> None:
        """Send no response for this many seconds, then close the connection."""
        self.will(hang=seconds, **when)

    def will_be_slow(self, seconds: float, **when: Any) -> None:
        """Send the correct response after a delay."""
        self.will(latency=seconds, **when)

    def will_drip(self, seconds: float, **when: Any) -> None:
        """Send the correct response, spread over this many seconds."""
        self.will(drip=seconds, **when)

    def will_truncate(self, share: float = 0.5, **when: Any) -> None:
        """Send this share of the correct response, then close the connection."""
        self.will(truncate=share, **when)

    def will_spoil_vectors(self, fault: str, **when: Any) -> None:
        """Send status 200 with wrong vectors: one of `script.VECTOR_FAULTS`."""
        self.will(vectors=fault, **when)

    def will_not_speak_json(self, status: int = 200, **when: Any) -> None:
        """Send an HTML page, as a gateway does."""
        self.will(status=status, text="<html><body>gateway</body></html>", **when)

    def will_send(self, way: str, **when: Any) -> None:
        """Send the correct response in one of `script.REPLY_WAYS`."""
        self.will(way=way, **when)

    def set_limits(
        self, *, rpm: float | None = None, tpm: float | None = None, burst_seconds: float = 10.0
    ) -> None:
        """Replace this deployment's limits until a reset. None means no limit."""
        call("PUT", self._url + "/limits", {"rpm": rpm, "tpm": tpm, "burst_seconds": burst_seconds})

    def requests(self, last: int | None = None) -> list[SentRequest]:
        """Return the last requests, oldest first."""
        return [SentRequest(**one) for one in call("GET", f"{self._url}/requests")][-(last or 0) :]

    def statistics(self) -> DeploymentStatistics:
        """Return the counts."""
        return self._statistics("")

    def wait_for(self, count: int, timeout_s: float = 10.0) -> DeploymentStatistics:
        """Wait for this many requests since the last reset. Raise TimeoutError if fewer arrive."""
        return self._statistics(f"?count={count}&timeout={timeout_s}", timeout_s + 10)

    def reset(self) -> None:
        """Clear the script and the records, and restore the limits."""
        call("DELETE", self._url)

    def _statistics(self, query: str, timeout_s: float = 30.0) -> DeploymentStatistics:
        counts = call("GET", self._url + query, timeout_s=timeout_s)
        if not counts.pop("reached"):
            raise TimeoutError(f"deployment {self.name!r} received {counts['count']} requests")
        return DeploymentStatistics(**counts)
