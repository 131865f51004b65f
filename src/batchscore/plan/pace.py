"""How long does it take at such limits, and which of them decides?

Pure arithmetic. It knows nothing of latency: where limits are generous, the service's own speed decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batchscore.settings.fields import Settings


@dataclass(frozen=True, slots=True)
class Allowed:
    """What one deployment allows a minute; `None` where that was not said."""

    rpm: float | None
    tpm: float | None


#: Limits that deployments often have: six requests a minute for each thousand tokens, as Azure gives them out
#: (learn.microsoft.com, Azure OpenAI quotas, seen 2026-09).
USUAL = tuple(
    Allowed(rpm=tpm * 6 / 1000, tpm=tpm) for tpm in (30_000.0, 120_000.0, 350_000.0, 1_000_000.0, 5_000_000.0)
)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long the work takes; `decided_by` is `tokens`, `requests` or nothing where there is no work."""

    minutes: float
    decided_by: str


def allowed_by(settings: Settings) -> tuple[Allowed, ...]:
    """Return the limits of the settings' deployments, this worker's share of them."""
    tables = settings.deployments or ({"rpm": settings.rpm, "tpm": settings.tpm},)
    part = settings.quota_share
    return tuple(
        Allowed(*(None if table.get(name) is None else table[name] * part for name in ("rpm", "tpm")))
        for table in tables
    )


def pace(requests: float, charged: float, deployments: Sequence[Allowed]) -> Pace | None:
    """Return how long `requests` of `charged` tokens in all take; `None` where a deployment has no limit.

    Work flows to whoever has room, so that each deployment takes as much as its own limits let through.
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
