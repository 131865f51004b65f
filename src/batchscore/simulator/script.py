"""Which fault does the next request get, by a test's script or at random?

It must not know HTTP nor aiohttp: a client that writes a script and the server that runs it share it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from batchscore.simulator.reply_shapes import BROKEN_ANSWERS, check_shape
from batchscore.simulator.settings import SimulatorSettings
from batchscore.simulator.too_long import check_wording

Fault = TypeVar("Fault")

#: The faults of vectors in a response with status 200: see `Behaviour.vectors`.
VECTOR_FAULTS = ("shuffled", "missing", "duplicated", "wrong_dimension", "floats", "not_finite")

#: How a correct reply is sent: see `Behaviour.way`.
REPLY_WAYS = (
    *("gzip", "gzip_twice", "bom", "utf_16", "half_emoji", "large_header", "many_headers"),
    *("two_lengths", "length_and_chunks", "gzip_bomb", "endless"),
)


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What happens to the next `times` requests (None: to all requests until a reset).

    `when_input_contains` restricts it to requests with that text in an input, prompt or message.
    `latency` (seconds) comes first and combines with all the others. At most one of the rest is set
    (`way` may go with `status`).
    Without any, the deployment sends the correct response:

    - `status`, with `headers`, and `body` (JSON) or `text` (HTML). Without a body it is the
      service's error body for that status, with `code` and `message` in it. `retry_after` in seconds sets
      `retry-after` and `retry-after-ms`.
    - `drop`: the connection is reset "before" the body is read (if the URL names the deployment) or "after".
    - `hang`: no response for this many seconds, then the connection is closed.
    - `drip`: the correct response, spread over this many seconds.
    - `truncate`: this share of the correct response, then the connection is closed.
    - `vectors`: "shuffled" (indices correct), "missing" (one too few), "duplicated" (one index twice),
      "wrong_dimension" (the last one is one number short), "floats" (although base64 was requested),
      "not_finite" (the last one begins with NaN; null among floats).
    - `shape`: the correct response in another form, or something in its place with status 200: one of
      `reply_shapes.REPLY_SHAPES`, or "finish_" and a finish reason.
    - `wording`: the correct response; if an input is too long, it is refused in the words of another service,
      one of `too_long.WORDINGS`.
    - `way`: the correct response, or the one of `status`, as odd gateways send it: "gzip", "gzip_twice"
      (named once), "bom", "utf_16", "half_emoji" (a lone surrogate in each answer), "large_header",
      "many_headers", "two_lengths" (Content-Length twice), "length_and_chunks" (two kinds of length),
      "gzip_bomb" (2 GiB in 2 MB instead of the response), "endless" (blanks until the client hangs up).
    """

    times: int | None = 1
    when_input_contains: str | None = None
    latency: float = 0.0
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    text: str | None = None
    code: str | None = None
    message: str | None = None
    retry_after: float | None = None
    drop: str | None = None
    hang: float | None = None
    drip: float | None = None
    truncate: float | None = None
    vectors: str | None = None
    shape: str | None = None
    wording: str | None = None
    way: str | None = None

    def __post_init__(self) -> None:
        check_times(self.times)
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError(f"status must be between 200 and 599, not {self.status}")
        if self.drop not in {None, "before", "after"}:
            raise ValueError(f"drop must be 'before' or 'after', not {self.drop!r}")
        if self.vectors is not None and self.vectors not in VECTOR_FAULTS:
            raise ValueError(f"vectors must be one of {', '.join(VECTOR_FAULTS)}, not {self.vectors!r}")
        if self.way is not None and self.way not in REPLY_WAYS:
            raise ValueError(f"way must be one of {', '.join(REPLY_WAYS)}, not {self.way!r}")
        check_shape(self.shape)
        check_wording(self.wording)
        if self.truncate is not None and not 0 <= self.truncate < 1:
            raise ValueError(f"truncate must be at least 0 and less than 1, not {self.truncate}")
        for name in ("latency", "hang", "drip", "retry_after"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} must not be negative, not {value}")

    @property
    def replaces_answer(self) -> bool:
        """Whether it sends no correct response at all."""
        return self.status is not None or self.drop is not None or self.hang is not None


@dataclass
class Pending(Generic[Fault]):
    """A fault for `left` more requests, `None` for all, after the next `skip`."""

    fault: Fault
    left: int | None
    skip: int = 0


def take(script: list[Pending[Fault]], pending: Pending[Fault]) -> Fault:
    """Return a pending fault for one request."""
    if pending.left is not None:
        pending.left -= 1
        if not pending.left:
            script.remove(pending)
    return pending.fault


def check_times(times: int | None) -> None:
    """Raise ValueError for a number of requests that cannot be."""
    if times is not None and times < 1:
        raise ValueError(f"times must be at least 1, or None for ever, not {times}")


class Script:
    """The pending behaviours. A request takes the first one that matches."""

    def __init__(self) -> None:
        self._pending: list[Pending[Behaviour]] = []

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, behaviour: Behaviour) -> None:
        """Append one."""
        self._pending.append(Pending(behaviour, behaviour.times))

    def take_before_body(self) -> Behaviour | None:
        """Take the first one if it needs only the URL."""
        if self._pending:
            first = self._pending[0]
            if first.fault.drop == "before" and first.fault.when_input_contains is None:
                return take(self._pending, first)
        return None

    def take(self, text: Callable[[], str]) -> Behaviour | None:
        """Take the first one that matches. `text` returns all text that the model would read."""
        request_text: str | None = None
        for pending in self._pending:
            contained = pending.fault.when_input_contains
            if contained is not None:
                request_text = text() if request_text is None else request_text
                if contained not in request_text:
                    continue
            return take(self._pending, pending)
        return None


class RandomFaults:
    """Draws the latency and the fault of each request. The same seed gives the same series."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._random = random.Random(settings.seed)  # noqa: S311 - not for secrets
        self._table = (
            (settings.fail_500, Behaviour(status=500)),
            (settings.fail_503, Behaviour(status=503)),
            (settings.fail_429, Behaviour(status=429, retry_after=1.0)),
            (settings.reset, Behaviour(drop="after")),
            (settings.hang, Behaviour(hang=settings.hang_seconds)),
            (settings.truncate, Behaviour(truncate=0.5)),
            *(
                (settings.broken_answers / len(BROKEN_ANSWERS), Behaviour(shape=shape))
                for shape in BROKEN_ANSWERS
            ),
        )
        self._any = any(share for share, _ in self._table)

    def draw(self) -> Behaviour | None:
        """Return the fault of the next request; mostly None."""
        if not self._any:
            return None
        rest = self._random.random()
        for share, behaviour in self._table:
            rest -= share
            if rest < 0:
                return behaviour
        return None

    def latency(self) -> float:
        """Return the seconds to wait before a response."""
        jitter = self._settings.latency_jitter
        return self._settings.latency + (jitter * self._random.random() if jitter else 0.0)
