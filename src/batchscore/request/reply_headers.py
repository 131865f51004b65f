"""What do the headers of a reply say: how long to wait, and what the quota is?

Pure. Absent, unreadable and negative values mean "unknown". Zero does too, except in a remaining amount:
Azure sends -1 and 0 if it does not know (facts seen 2026-09).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timezone
from email.utils import parsedate_to_datetime

DURATION = re.compile(r"^(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?$")

RESET = "x-ratelimit-reset-"
REMAINING = "x-ratelimit-remaining-"


def wait_seconds(headers: Mapping[str, str], *, limited: bool, now: float) -> float | None:
    """Return the seconds to wait by `retry-after-ms`, `retry-after`, else `x-ratelimit-reset-*`.

    `headers` are looked up by lower-case names; `now` is in seconds since 1970. `retry-after` may be seconds,
    with decimals, or an HTTP date (RFC 9110, 10.2.3). Resets are in every reply, so they count only if that
    quota was the reason (`limited`), and only for what is used up. The longer of two counts. Never raises.
    """
    seconds = positive(headers.get("retry-after-ms"), unit_seconds=0.001)
    if seconds is not None:
        return seconds
    after = headers.get("retry-after")
    seconds = positive(after)
    if seconds is None and after:
        seconds = until_date(after, now)
    if seconds is not None:
        return seconds
    if not limited:
        return None
    lower = {name.lower(): value for name, value in headers.items()}
    resets = {name: value for name, value in lower.items() if name.startswith(RESET)}
    used_up = [name for name in resets if number(lower.get(name.replace(RESET, REMAINING))) == 0]
    waits = [duration(resets[name]) for name in used_up or resets]
    return max((wait for wait in waits if wait is not None), default=None)


def number(text: str | None) -> float | None:
    """Return a finite number that is not negative, else `None`."""
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def positive(text: str | None, *, unit_seconds: float = 1.0) -> float | None:
    """Return a positive finite number, in seconds if it has a unit, else `None`."""
    return (number(text) or 0.0) * unit_seconds or None


def until_date(text: str, now: float) -> float | None:
    """Return the seconds until an HTTP date; `None` if it has passed or is not a date."""
    try:
        then = parsedate_to_datetime(text)
        seconds = (then if then.tzinfo else then.replace(tzinfo=timezone.utc)).timestamp() - now
    except (ValueError, TypeError, OverflowError):
        return None
    return seconds if seconds > 0 else None


def duration(text: str) -> float | None:
    """Return the seconds of `1s`, `6m0s`, `120ms` or a bare number, else `None`."""
    bare = positive(text)
    if bare is not None:
        return bare
    match = DURATION.match(text.strip())
    if match is None or not text.strip():
        return None
    hours, minutes, seconds, milliseconds = (float(group or 0) for group in match.groups())
    total = hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    return total if math.isfinite(total) and total > 0 else None


@dataclass(frozen=True, slots=True)
class LimitHeaders:
    """The quota in a reply's headers: limits and what remains, each `None` if unknown."""

    tokens: float | None = None
    requests: float | None = None
    remaining_tokens: float | None = None


def limit_headers(headers: Mapping[str, str]) -> LimitHeaders:
    """Return the `x-ratelimit-*` of a reply. Never raises.

    A limit of zero or less means "unknown"; so does a remaining amount below zero. A remaining amount without
    its limit is ignored, since services that send placeholders send both.
    """
    tokens = positive(headers.get("x-ratelimit-limit-tokens"))
    requests = positive(headers.get("x-ratelimit-limit-requests"))
    remaining = number(headers.get("x-ratelimit-remaining-tokens")) if tokens is not None else None
    return LimitHeaders(tokens, requests, remaining)
