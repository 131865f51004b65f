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

#: The only account of a project, as Azure's management names it.
ACCOUNT_ID = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/simulator"
    "/providers/Microsoft.CognitiveServices/accounts/simulator"
)

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

    def wait_for(self, count: int, timeout_s: float = 50.0) -> DeploymentStatistics:
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


@dataclass(frozen=True)
class SentCall(SentRequest):
    """A call of files or batches. The body of an upload is its fields, with `filename` and `content_type`."""

    call: str


@dataclass(frozen=True)
class ProjectBooks:
    """What a project has enqueued, executed and to pay, and what it holds. See `Project.books`.

    `enqueued_tokens` and `enqueued_requests` are by model, without zeros. `billed` has for each model
    `lines`, `input_tokens`, `output_tokens` and `half_price_tokens`. `calls` counts the calls by kind
    (`faults.CALLS`), `happened` those that took effect, also if their reply was lost. `batches` are the
    objects of all batches, also of those that cannot be seen, oldest first.
    """

    enqueued_tokens: Mapping[str, int]
    enqueued_requests: Mapping[str, int]
    billed: Mapping[str, Mapping[str, float]]
    calls: Mapping[str, int]
    happened: Mapping[str, int]
    now: float
    files: int
    file_bytes: int
    batches: list[dict[str, Any]]
    faults_left: int


class Project:
    """The files, batches and fine-tuning of one project of a running simulator. Each test uses its own.

    Its clients send `key`, those of Azure's management `arm_token`; `account` is the path of its only
    account. Without a name, the project is that of the simulator's plain key.
    """

    account = ACCOUNT_ID

    def __init__(self, endpoint: str, key: str, name: str | None = None) -> None:
        self.key = f"{key}@{name}" if name else key
        self.arm_token = f"{key}~management@{name}" if name else f"{key}~management"
        self._url = f"{endpoint}/_simulator/projects/{quote(name or 'default', safe='')}"

    def set_rules(self, **rules: Any) -> None:
        """Change some of the fields of `BatchRules`."""
        call("PATCH", self._url + "/rules", rules)

    def identity(self) -> dict[str, str]:
        """Return the variables by which azure-identity gets the tokens of this project."""
        return {"IDENTITY_ENDPOINT": self._url + "/token", "IDENTITY_HEADER": "any"}

    def set_tuning(self, **rules: Any) -> None:
        """Change some of the fields of `FineTuneRules`."""
        call("PATCH", self._url + "/tuning", rules)

    def meter(self) -> dict[str, Any]:
        """Return what fine-tuning cost until now: `training`, `hosting`, `total`, `created` and `held`."""
        found: dict[str, Any] = call("GET", self._url + "/meter")
        return found

    def end_at_once(self) -> None:
        """Let a batch go through all its states by the first poll."""
        self.set_rules(validating=0, in_progress=0, finalizing=0, cancelling=0)

    def will(self, kind: str | None, **fault: Any) -> None:
        """Add a fault for the next call of a kind, from the fields of `CallFault`.

        `project.will("create", drop=True, happened=True)`
        """
        call("POST", self._url + "/faults", {"calls": [{"call": kind, **fault}]})

    def will_spoil(self, **fault: Any) -> None:
        """Add a fault for lines of batches, from the fields of `LineFault`.

        `project.will_spoil(line="missing", share=0.01)`
        """
        call("POST", self._url + "/faults", {"lines": [fault]})

    def drop_faults(self) -> None:
        """Drop the pending faults."""
        call("DELETE", self._url + "/faults")

    def stop_clock(self) -> None:
        """Let the time pass only by `advance`."""
        call("PUT", self._url + "/clock", {"running": False})

    def advance(self, seconds: float) -> None:
        """Turn the clock forward, and return when all batches have done what is due by then."""
        call("PUT", self._url + "/clock", {"advance": seconds}, timeout_s=600)

    def executions(self, at_least: int = 1) -> dict[str, int]:
        """Return how often each `custom_id` was executed, of those that were so at least this often."""
        counts: dict[str, int] = call("GET", f"{self._url}/executions?at_least={at_least}")["counts"]
        return counts

    def execution_totals(self) -> tuple[int, int]:
        """Return how many lines were executed, and how many different ids they had."""
        totals = call("GET", f"{self._url}/executions?at_least=1000000000")
        return totals["executions"], totals["ids"]

    def requests(self, kind: str | None = None) -> list[SentCall]:
        """Return the last calls, or those of a kind, oldest first."""
        found = [SentCall(**one) for one in call("GET", self._url + "/requests")]
        return [one for one in found if kind in {None, one.call}]

    def books(self) -> ProjectBooks:
        """Return its books."""
        return self._books("")

    def wait_for(
        self, kind: str, count: int = 1, *, happened: bool = False, timeout_s: float = 50.0
    ) -> ProjectBooks:
        """Wait for this many calls of a kind, or until they have taken effect; else raise TimeoutError."""
        query = f"?call={kind}&count={count}&timeout={timeout_s}{'&happened=1' if happened else ''}"
        return self._books(query, timeout_s + 10)

    def reset(self) -> None:
        """Forget it: files, batches, books, rules and faults."""
        call("DELETE", self._url)

    def _books(self, query: str, timeout_s: float = 30.0) -> ProjectBooks:
        found = call("GET", self._url + query, timeout_s=timeout_s)
        if not found.pop("reached"):
            raise TimeoutError(f"the calls were {found['calls']}, and of these happened {found['happened']}")
        return ProjectBooks(**found)
