"""What shall a deployment do with its next requests, other than answer them as it should?

It must not know HTTP nor aiohttp: the client that writes a script and the server that plays it share it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

#: What may be wrong with the vectors of a 200: see `Behaviour.vectors`.
VECTOR_FAULTS = ("shuffled", "missing", "duplicated", "wrong_dimension", "floats", "not_finite")


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What happens to `times` requests (None: to all that come, until a reset).

    `when_input_contains` restricts it to requests with that text in an input, prompt or message.
    `latency` (seconds) comes before anything else and goes with all the others. Of the rest one
    is chosen; with none the request is answered as it should be, only late:

    - `status`, with `headers`, and `body` (JSON) or `text` (of `content_type`), else the error body that
      the service has for that status with `code` and `message` in it; `retry_after` in seconds sets
      `retry-after` and `retry-after-ms`.
    - `drop`: "before" the body is read (where the URL names the deployment, else after) or "after";
      the connection is reset.
    - `hang`: no answer for so many seconds, then the connection is closed.
    - `drip`: the right answer, spread over so many seconds.
    - `truncate`: that share of the right answer, then the connection is closed.
    - `vectors`: "shuffled" (indices right), "missing" (one too few), "duplicated" (one index twice),
      "wrong_dimension" (the last one short by one), "floats" (though base64 was asked),
      "not_finite" (the last one begins with NaN; null among floats).
    """

    times: int | None = 1
    when_input_contains: str | None = None
    latency: float = 0.0
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    text: str | None = None
    content_type: str = "text/html"
    code: str | None = None
    message: str | None = None
    retry_after: float | None = None
    drop: str | None = None
    hang: float | None = None
    drip: float | None = None
    truncate: float | None = None
    vectors: str | None = None

    def __post_init__(self) -> None:
        if self.times is not None and self.times < 1:
            raise ValueError(f"times must be at least 1, or None for ever, not {self.times}")
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError(f"status must be between 200 and 599, not {self.status}")
        if self.drop not in {None, "before", "after"}:
            raise ValueError(f"drop must be 'before' or 'after', not {self.drop!r}")
        if self.vectors is not None and self.vectors not in VECTOR_FAULTS:
            raise ValueError(f"vectors must be one of {', '.join(VECTOR_FAULTS)}, not {self.vectors!r}")
        if self.truncate is not None and not 0 <= self.truncate < 1:
            raise ValueError(f"truncate must be at least 0 and less than 1, not {self.truncate}")
        for name in ("latency", "hang", "drip", "retry_after"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} must not be negative, not {value}")

    @property
    def replaces_answer(self) -> bool:
        """Whether the request is not answered as it should be at all."""
        return self.status is not None or self.drop is not None or self.hang is not None

    def to_json(self) -> dict[str, Any]:
        """Give the fields that differ from their defaults, and `times`."""
        plain = asdict(self)
        return {name: value for name, value in plain.items() if name == "times" or value not in (None, {})}

    @classmethod
    def from_json(cls, value: Any) -> Behaviour:
        """Read what `to_json` wrote; ValueError names what is unknown or out of bounds."""
        if not isinstance(value, dict):
            raise ValueError("a behaviour must be a JSON object")  # noqa: TRY004 - answered as 400
        unknown = set(value) - {item.name for item in fields(cls)}
        if unknown:
            raise ValueError(f"unknown fields of a behaviour: {', '.join(sorted(unknown))}")
        return cls(**value)


class Script:
    """The behaviours still to be played; the first that fits a request is taken."""

    def __init__(self) -> None:
        self._pending: list[tuple[Behaviour, int | None]] = []

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, behaviour: Behaviour) -> None:
        """Put one at the end."""
        self._pending.append((behaviour, behaviour.times))

    def clear(self) -> None:
        """Forget what was not played."""
        self._pending.clear()

    def take_unread(self) -> Behaviour | None:
        """Take the first one if it needs nothing but the URL."""
        if self._pending:
            first = self._pending[0][0]
            if first.drop == "before" and first.when_input_contains is None:
                return self._take(0)
        return None

    def take(self, text: Callable[[], str]) -> Behaviour | None:
        """Take the first that fits; `text` gives all that the request would have a model read."""
        known: str | None = None
        for place, (behaviour, _) in enumerate(self._pending):
            if behaviour.when_input_contains is not None:
                known = text() if known is None else known
                if behaviour.when_input_contains not in known:
                    continue
            return self._take(place)
        return None

    def _take(self, place: int) -> Behaviour:
        behaviour, left = self._pending[place]
        if left is not None:
            if left == 1:
                del self._pending[place]
            else:
                self._pending[place] = (behaviour, left - 1)
        return behaviour
