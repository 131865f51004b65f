"""What do a reply's headers say about waiting, and about the quota?

Pure. Absent, unreadable and negative values mean "unknown". Zero does too, except in a remaining amount:
Azure sends -1 and 0 if it does not know (facts seen 2026-09). A wait of more than a year is a moment since
1970.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timezone
from email.utils import parsedate_to_datetime

DURATION = re.compile(r"^(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?$")

RESET = "x-ratelimit-reset"
REMAINING = "x-ratelimit-remaining"

#: No service asks to wait longer; a larger number is seconds since 1970, or milliseconds if larger still.
YEAR_SECONDS = 366 * 86_400.0
LARGEST_EPOCH_SECONDS = 1e11


def wait_seconds(
    headers: Mapping[str, str], *, limited: bool, now: float, tokens: float = 1.0
) -> float | None:
    """Return the seconds to wait by `retry-after-ms`, `retry-after`, else `x-ratelimit-reset*`.

    `headers` are looked up by lower-case names; `now` is in seconds since 1970. `retry-after` may be seconds,
    with decimals, or an HTTP date (RFC 9110, 10.2.3). Resets are in every reply, so they count only if that
    quota was the reason (`limited`): if less remains than one request of this many tokens needs. Of several
    such quotas the longest counts. If none is known to be used up, it is the shortest. Never raises.
    """
    after = headers.get("retry-after", "")
    seconds = positive(headers.get("retry-after-ms"), unit_seconds=0.001)
    seconds = seconds or until_moment(positive(after), now) or until_date(after, now)
    if seconds is not None or not limited:
        return seconds
    lower = {name.lower(): value for name, value in headers.items()}
    used_up: list[float] = []
    unknown: list[float] = []
    left_over: list[float] = []
    for name, value in lower.items():
        wait = until_moment(duration(value), now) if name.startswith(RESET) else None
        if wait is None:
            continue
        left = number(lower.get(name.replace(RESET, REMAINING)))
        needed = tokens if "token" in name else 1.0
        (unknown if left is None else used_up if left < needed else left_over).append(wait)
    return max(used_up) if used_up else min(unknown or left_over, default=None)


def until_moment(seconds: float | None, now: float) -> float | None:
    """Return a wait as it is, or the seconds until it if it is a moment; `None` if that has passed."""
    if seconds is None or seconds <= YEAR_SECONDS:
        return seconds
    moment = seconds if seconds < LARGEST_EPOCH_SECONDS else seconds / 1000
    return moment - now if 0 < moment - now <= YEAR_SECONDS else None


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
    match = DURATION.match(text.strip())
    if match is None:
        return positive(text)
    hours, minutes, seconds, milliseconds = (float(group or 0) for group in match.groups())
    total = hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    return total if 0 < total < math.inf else None


@dataclass(frozen=True, slots=True)
class LimitHeaders:
    """The quota in a reply's headers: limits and what remains, each `None` if unknown."""

    tokens: float | None = None
    requests: float | None = None
    remaining_tokens: float | None = None


def limit_headers(headers: Mapping[str, str], answered_tokens: float = 0.0) -> LimitHeaders:
    """Return the `x-ratelimit-*` of a reply. Never raises.

    A remaining amount without its limit is ignored, since services that send placeholders send both. So is a
    limit of tokens a minute that is smaller than a request which was answered (`answered_tokens`).
    """
    tokens = positive(of_a_minute(headers, "limit-tokens"))
    requests = positive(of_a_minute(headers, "limit-requests"))
    if tokens is not None and tokens < answered_tokens:
        tokens = None
    remaining = number(of_a_minute(headers, "remaining-tokens")) if tokens is not None else None
    return LimitHeaders(tokens, requests, remaining)


def of_a_minute(headers: Mapping[str, str], name: str) -> str | None:
    """Return a header's value; some services say in its name that it counts a minute (Cerebras)."""
    return headers.get(f"x-ratelimit-{name}") or headers.get(f"x-ratelimit-{name}-minute")
