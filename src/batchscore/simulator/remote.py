"""How does a test or a rehearsal tell a deployment what to do, and read what it was sent?

It must not know the server's insides: it speaks the control surface, by the standard library alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

from batchscore.simulator.script import Behaviour

# Whatever proxy the machine uses, loopback is reached without it.
_direct = build_opener(ProxyHandler({}))


@dataclass(frozen=True)
class Sent:
    """A request as the server got it, oldest first in a list; nothing secret is in it.

    `at` is in seconds since the server's start; `headers` have lower-case names; `authentication` is
    "key", "bearer" or None; `body` is the parsed JSON; `status` is None while the request is in hand and
    0 where it went unanswered.
    """

    at: float
    path: str
    headers: Mapping[str, str]
    authentication: str | None
    body: Any
    status: int | None


@dataclass(frozen=True)
class Statistics:
    """Counts since the start or the last reset; `statuses` has "0" for requests that went unanswered."""

    count: int
    in_hand: int
    most_in_hand: int
    statuses: Mapping[str, int]
    tokens_served: int
    behaviours_left: int


def call(method: str, url: str, body: Any = None, *, timeout_s: float = 30.0) -> Any:
    """Give the JSON that the control surface answers; ValueError with its reason if it refuses."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data=data, method=method)  # noqa: S310 - our own loopback address
    try:
        with _direct.open(request, timeout=timeout_s) as reply:
            return json.loads(reply.read())
    except HTTPError as error:
        raise ValueError(error.read().decode("utf-8", "replace")) from None


class Deployment:
    """One deployment of a running simulator; each test takes a name of its own."""

    def __init__(self, endpoint: str, name: str) -> None:
        self.name = name
        self._url = f"{endpoint}/_simulator/deployments/{quote(name, safe='')}"

    def will(self, *behaviours: Behaviour, **fields: Any) -> None:
        """Add behaviours for the next requests, in order; or one, by the fields of `Behaviour`.

        `deployment.will(status=429, retry_after=0.2, times=3)`
        """
        asked = [one.to_json() for one in behaviours]
        if fields:
            asked.append(Behaviour(**fields).to_json())
        call("POST", self._url + "/behaviours", asked)

    def will_drop(self, *, before_reading: bool = False, **when: Any) -> None:
        """Reset the connection; `when` takes `times` and `when_input_contains`, as in all that follow."""
        self.will(drop="before" if before_reading else "after", **when)

    def will_hang(self, seconds: float = 600.0, **when: Any) -> None:
        """Give no answer for so long, then close."""
        self.will(hang=seconds, **when)

    def will_be_slow(self, seconds: float, **when: Any) -> None:
        """Answer rightly, so much later."""
        self.will(latency=seconds, **when)

    def will_drip(self, seconds: float, **when: Any) -> None:
        """Answer rightly, spread over so many seconds."""
        self.will(drip=seconds, **when)

    def will_truncate(self, share: float = 0.5, **when: Any) -> None:
        """Send that share of the right answer, then close."""
        self.will(truncate=share, **when)

    def will_spoil_vectors(self, fault: str, **when: Any) -> None:
        """Answer 200 with vectors that are wrong: one of `script.VECTOR_FAULTS`."""
        self.will(vectors=fault, **when)

    def will_not_speak_json(self, status: int = 200, **when: Any) -> None:
        """Answer with an HTML page, as a gateway in between does."""
        self.will(status=status, text="<html><body>gateway</body></html>", **when)

    def set_limits(
        self, *, rpm: float | None = None, tpm: float | None = None, burst_seconds: float | None = None
    ) -> None:
        """Replace this deployment's limits, until a reset; None: no limit."""
        call("PUT", self._url + "/limits", {"rpm": rpm, "tpm": tpm, "burst_seconds": burst_seconds})

    def requests(self, last: int | None = None) -> list[Sent]:
        """Give the last requests, oldest first."""
        query = "" if last is None else f"?last={last}"
        return [Sent(**one) for one in call("GET", f"{self._url}/requests{query}")]

    def statistics(self) -> Statistics:
        """Give the counts."""
        return self._statistics("")

    def wait_for(self, count: int, timeout_s: float = 10.0) -> Statistics:
        """Wait until so many requests have come since the last reset; TimeoutError if they don't."""
        return self._statistics(f"?count={count}&timeout={timeout_s}", timeout_s + 10)

    def reset(self) -> None:
        """Forget the script, the records and the limits set."""
        call("DELETE", self._url)

    def _statistics(self, query: str, timeout_s: float = 30.0) -> Statistics:
        found = call("GET", self._url + query, timeout_s=timeout_s)
        if not found.pop("reached"):
            raise TimeoutError(f"deployment {self.name!r} has had {found['count']} requests")
        return Statistics(**found)
