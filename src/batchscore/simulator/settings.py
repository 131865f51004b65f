"""How can the simulator be set up, in which units and bounds, and what does each setting change?

It must not know argparse, click or aiohttp: each of them reads this one table in its own way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

#: Width that text-embedding-3-large has, the widest of the models imitated.
WIDEST = 3072


def _setting(
    default: Any,
    help_text: str,
    *,
    low: float | None = None,
    high: float | None = None,
    flag: str | None = None,
) -> Any:
    """Give a field with its help; `flag` where the flag isn't the field's name with dashes."""
    kind = str if default is None or isinstance(default, tuple) else type(default)
    if default is None:
        kind = float  # the only settings without a default are rates
    return field(
        default=default,
        metadata={
            "help": help_text,
            "low": low,
            "high": high,
            "flag": flag,
            "kind": kind,
            "many": isinstance(default, tuple),
        },
    )


@dataclass(frozen=True, kw_only=True)
class SimulatorSettings:
    """What a simulator is started with; ValueError names the setting that is out of its bounds.

    Each field's metadata: `help`, `low`, `high`, `flag` (or None), `kind` (int, float, str, bool) and
    `many` (a tuple of texts; on a command line repeatable and comma-separated).
    """

    port: int = _setting(0, "Port on 127.0.0.1; 0 takes a free one.", low=0, high=65535)
    key: str = _setting("simulator", "The key that callers must present.")
    tokens: tuple[str, ...] = _setting((), "A bearer token that works besides the key.", flag="--token")
    deployments: tuple[str, ...] = _setting(
        (), "Serve only these names, separated by commas; any name when left out."
    )
    dimensions: int = _setting(1536, "Length of a vector when the request names none.", low=1, high=WIDEST)
    rpm: float | None = _setting(None, "Requests a minute of each deployment; unlimited if left out.", low=0)
    tpm: float | None = _setting(None, "Tokens a minute of each deployment; unlimited if left out.", low=0)
    burst_seconds: float = _setting(
        10.0, "Seconds of the minute's rate that may come at once.", low=0.01, high=60
    )
    charge_refused: bool = _setting(
        default=True, help_text="A refused call uses up one request too, as at the service."
    )
    latency: float = _setting(0.0, "Seconds before each answer.", low=0)
    latency_jitter: float = _setting(0.0, "Up to so many seconds more, at random.", low=0)
    fail_500: float = _setting(0.0, "Share of requests answered 500.", low=0, high=1)
    fail_503: float = _setting(0.0, "Share of requests answered 503.", low=0, high=1)
    fail_429: float = _setting(0.0, "Share of requests answered 429 for no reason.", low=0, high=1)
    reset: float = _setting(0.0, "Share of requests whose connection is reset unanswered.", low=0, high=1)
    hang: float = _setting(0.0, "Share of requests left unanswered for --hang-seconds.", low=0, high=1)
    truncate: float = _setting(0.0, "Share of answers that break off half-way.", low=0, high=1)
    hang_seconds: float = _setting(600.0, "How long a hanging request hangs.", low=0)
    seed: int = _setting(0, "Seed of faults and jitter.", low=0)
    max_inputs: int = _setting(2048, "Most inputs of one embeddings request.", low=1)
    context_tokens: int = _setting(
        128_000, "Context length of the completions and chat models, in tokens.", low=16
    )
    record_last: int = _setting(
        10_000, "How many requests of each deployment to remember; counts are kept of all.", low=0
    )
    exit_with_parent: bool = _setting(default=False, help_text="End when standard input ends.")

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            low, high = item.metadata["low"], item.metadata["high"]
            if value is None or not isinstance(value, (int, float)):
                continue
            if (low is not None and value < low) or (high is not None and value > high):
                bounds = f"at least {low}" if high is None else f"between {low} and {high}"
                raise ValueError(f"{flag_of(item)} must be {bounds}, not {value}")
        if not self.key:
            raise ValueError("--key must not be empty")
        for name, rate in (("--rpm", self.rpm), ("--tpm", self.tpm)):
            if rate is not None and rate == 0:
                raise ValueError(f"{name} must be more than 0; leave it out for no limit")
        shares = self.fail_500 + self.fail_503 + self.fail_429 + self.reset + self.hang + self.truncate
        if shares > 1:
            raise ValueError(f"the shares of faults add up to {shares:g}; they must not exceed 1")


def flag_of(item: Any) -> str:
    """Give the command-line flag of a field of `SimulatorSettings`."""
    return str(item.metadata["flag"]) if item.metadata["flag"] else "--" + item.name.replace("_", "-")


def to_arguments(settings: SimulatorSettings) -> list[str]:
    """Give the command line that `python -m batchscore.simulator` reads back as these settings."""
    arguments: list[str] = []
    for item in fields(settings):
        value = getattr(settings, item.name)
        if value == item.default:
            continue
        flag = flag_of(item)
        if item.metadata["kind"] is bool:
            arguments.append(flag if value else "--no-" + flag[2:])
        elif item.metadata["many"]:
            arguments.extend(f"{flag}={one}" for one in value)
        else:
            arguments.append(f"{flag}={value}")
    return arguments


def split_names(values: Iterable[str]) -> tuple[str, ...]:
    """Give the names of a repeatable, comma-separated flag, in order, without blanks."""
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())
