"""What do the headers of a reply say: how long to wait, and what the quota is?

Pure. Absent, unreadable and negative values mean "not said", and so does zero but where it is what is left:
Azure sends -1 and 0 where it does not know (facts seen 2026-09).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

DURATION = re.compile(r"^(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?$")

RESET = "x-ratelimit-reset-"
REMAINING = "x-ratelimit-remaining-"


def wait_seconds(headers: Mapping[str, str], *, limited: bool, now: datetime | None = None) -> float | None:
    """Return the seconds to wait by `retry-after-ms`, `retry-after`, else `x-ratelimit-reset-*`.

    `headers` are looked up by lower-case names. `retry-after` may be seconds, with decimals, or an HTTP date
    (RFC 9110, 10.2.3). Resets say when a quota is whole again, on every reply, so they count only where that
    quota was the reason (`limited`), and only of what is used up. Of two the longer counts. Never raises.
    """
    seconds = number(headers.get("retry-after-ms"), unit_seconds=0.001)
    if seconds is not None:
        return seconds
    after = headers.get("retry-after")
    seconds = number(after)
    if seconds is None and after:
        seconds = until_date(after, now or datetime.now(timezone.utc))
    if seconds is not None:
        return seconds
    if not limited:
        return None
    lower = {name.lower(): value for name, value in headers.items()}
    resets = {name: value for name, value in lower.items() if name.startswith(RESET)}
    used_up = [name for name in resets if remainder(lower.get(name.replace(RESET, REMAINING))) == 0]
    waits = [duration(resets[name]) for name in used_up or resets]
    return max((wait for wait in waits if wait is not None), default=None)


def number(text: str | None, *, unit_seconds: float = 1.0) -> float | None:
    """Return a positive finite number of seconds, else `None`."""
    try:
        value = float(text or "") * unit_seconds
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def until_date(text: str, now: datetime) -> float | None:
    """Return the seconds until an HTTP date, `None` for the past or for what is no date."""
    try:
        then = parsedate_to_datetime(text)
        seconds = (then if then.tzinfo else then.replace(tzinfo=timezone.utc)).timestamp() - now.timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return seconds if seconds > 0 else None


def duration(text: str) -> float | None:
    """Return the seconds of `1s`, `6m0s`, `120ms` or a bare number, else `None`."""
    bare = number(text)
    if bare is not None:
        return bare
    found = DURATION.match(text.strip())
    if found is None or not text.strip():
        return None
    hours, minutes, seconds, milliseconds = (float(group or 0) for group in found.groups())
    total = hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    return total if math.isfinite(total) and total > 0 else None


@dataclass(frozen=True, slots=True)
class LimitHeaders:
    """What a reply says of the quota: limits and what remains, each `None` where it is not said."""

    tokens: float | None = None
    requests: float | None = None
    remaining_tokens: float | None = None


def limit_headers(headers: Mapping[str, str]) -> LimitHeaders:
    """Return the `x-ratelimit-*` of a reply. Never raises.

    A limit of zero or less means "not known"; so does a remainder below zero. A remainder without its limit
    is not trusted, since services that send placeholders send both.
    """
    tokens = number(headers.get("x-ratelimit-limit-tokens"))
    requests = number(headers.get("x-ratelimit-limit-requests"))
    return LimitHeaders(
        tokens,
        requests,
        remainder(headers.get("x-ratelimit-remaining-tokens")) if tokens is not None else None,
    )


def remainder(text: str | None) -> float | None:
    """Return a finite number that is not negative, else `None`."""
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
