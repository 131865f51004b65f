"""How long does a run take at given rate limits, and which of them decides?

Pure arithmetic. It ignores latency: if limits are generous, the service's own speed decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batchscore.settings.fields import Settings


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What one deployment allows per minute; `None` if that is not known."""

    rpm: float | None
    tpm: float | None


#: Limits that deployments often have: Azure grants six requests a minute per thousand tokens
#: (learn.microsoft.com, Azure OpenAI quotas, seen 2026-09).
COMMON_LIMITS = tuple(
    RateLimits(rpm=tpm * 6 / 1000, tpm=tpm)
    for tpm in (30_000.0, 120_000.0, 350_000.0, 1_000_000.0, 5_000_000.0)
)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long the work takes; `decided_by` is `tokens`, `requests`, or empty if there is no work."""

    minutes: float
    decided_by: str


def rate_limits_of(settings: Settings) -> tuple[RateLimits, ...]:
    """Return this worker's share of the limits of the settings' deployments."""
    tables = settings.deployments or ({"rpm": settings.rpm, "tpm": settings.tpm},)
    part = settings.quota_share
    return tuple(
        RateLimits(*(None if table.get(name) is None else table[name] * part for name in ("rpm", "tpm")))
        for table in tables
    )


def pace(requests: float, charged: float, deployments: Sequence[RateLimits]) -> Pace | None:
    """Return how long `requests` of `charged` tokens in total take; `None` if a deployment has no limit.

    Each deployment takes as much work as its own limits allow.
    """
    if requests <= 0:
        return Pace(0.0, "")
    mean = charged / requests
    rate = by_tokens = 0.0
    for each in deployments:
        tokens = None if each.tpm is None else each.tpm / max(mean, 1e-9)
        known = [limit for limit in (tokens, each.rpm) if limit is not None]
        if not known:
            return None
        rate += min(known)
        by_tokens += min(known) if tokens is not None and tokens <= min(known) else 0.0
    return Pace(requests / rate, "tokens" if by_tokens * 2 >= rate else "requests")
