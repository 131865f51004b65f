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

DURATION = re.compile(r"^(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?$")

#: Names of headers, without the `x-` of some gateways.
RESET = "ratelimit-reset"
REMAINING = "ratelimit-remaining"
LIMIT = "ratelimit-limit"

#: The words in a header's name for what it counts (OpenAI, Cerebras, Mistral, Kong), and for how long, in
#: seconds. Quotas of an hour or a day say nothing about the pace.
UNITS = {"tokens": ("tokens",), "requests": ("requests", "req")}
WINDOWS = {"": 60.0, "-minute": 60.0, "-10-second": 10.0, "-second": 1.0}

#: The RateLimit fields for HTTP (IETF drafts, of 2021 and of 2025): a policy's quota and window, and the
#: current remainder and reset.
POLICY = re.compile(r"(?:^|[;,])\s*(?:q=)?(\d{1,12})\s*;\s*w=(\d{1,9})(?![^,]*qu=(?!\"?requests))")
CURRENT_LEFT = re.compile(r"(?:^|[;,\s])(?:r|remaining)=(\d{1,12})")
CURRENT_RESET = re.compile(r"(?:^|[;,\s])(?:t|reset)=(\d{1,9})")

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
    lower = {name.lower().removeprefix("x-"): value for name, value in headers.items()}
    if current := CURRENT_RESET.search(lower.get("ratelimit", "")):
        left_now = CURRENT_LEFT.search(lower["ratelimit"])
        lower |= {RESET: current[1], REMAINING: left_now[1] if left_now else ""}
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
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - a hundredth of a short run

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


def limit_headers(
    headers: Mapping[str, str], answered_tokens: float = 0.0, unnamed_seconds: float = WINDOWS[""]
) -> LimitHeaders:
    """Return the rate limits in a reply's headers. Never raises.

    `unnamed_seconds` is the window of a limit of requests whose header names none.

    A remaining amount without its limit is ignored, since services that send placeholders send both. So is a
    limit of tokens a minute that is smaller than a request which was answered (`answered_tokens`).
    """
    lower = {
        name.lower().removeprefix("x-"): value for name, value in headers.items() if "limit" in name.lower()
    }
    tokens, remaining = per_minute(lower, "tokens", WINDOWS[""])
    if tokens is not None and tokens < answered_tokens:
        tokens = remaining = None
    return LimitHeaders(tokens, per_minute(lower, "requests", unnamed_seconds)[0], remaining)


def per_minute(
    lower: Mapping[str, str], kind: str, unnamed_seconds: float
) -> tuple[float | None, float | None]:
    """Return the lowest limit a minute of this kind, and what remains of it, each `None` if unknown."""
    windows = WINDOWS | {"": unnamed_seconds}
    names = {f"-{unit}{window}": each for unit in UNITS[kind] for window, each in windows.items()}
    found: list[tuple[float, float | None]] = []
    if kind == "requests":
        names |= {window: each for window, each in WINDOWS.items() if window}  # Kong
        policies = [
            (int(each[1]), int(each[2])) for each in POLICY.finditer(lower.get("ratelimit-policy", ""))
        ]
        found += [(quota * 60 / window, None) for quota, window in policies if quota and 0 < window <= 60]
    for name, seconds in names.items():
        limit = positive(lower.get(LIMIT + name))
        if limit is not None:
            found.append((limit * 60 / seconds, number(lower.get(REMAINING + name))))
    return min(found, default=(None, None), key=lambda each: each[0])


#: A minute's limit allows the next request within 60 s / limit. A reset that is longer than this part of that
#: time may be the wait for the next request.
LARGEST_PART_OF_REFILL = 0.5

#: Two spans lie within this many seconds, so that at most one minute begins in them; and they last some time,
#: as a burst is not evidence.
LONGEST_SPANS_SECONDS = 50.0
SHORTEST_SPANS_SECONDS = 2.0

#: A span has more replies than this part of the limit.
SMALLEST_PART_OF_LIMIT = 1 / 6


@dataclass(slots=True)
class RequestWindow:
    """The window of a limit of requests whose header names none: a minute, unless it is surely a second.

    A span is a series of replies, more of them than any of them says that requests were used up. A minute's
    limit would have counted them all, except in the span in which a minute begins. So two spans show a limit
    of a second. A long reset, or a 429 once it is known, makes it a minute for the rest of the run.
    """

    is_second: bool = False
    given_up: bool = False
    replies: int = 0
    most_used: float = 0.0
    spans: int = 0
    began: float = float("-inf")

    @property
    def seconds(self) -> float:
        """The length of the window."""
        return WINDOWS["-second"] if self.is_second else WINDOWS[""]

    def note_rate_limit(self) -> None:
        """Note a 429: it refutes a second, and before that only ends the spans."""
        self.given_up = self.given_up or self.is_second
        self.is_second, self.began = False, float("-inf")

    def observe(self, headers: Mapping[str, str], now: float) -> None:
        """Learn from the headers of a reply. O(1)."""
        limit, left = (number(headers.get(f"x-{name}-requests")) for name in (LIMIT, REMAINING))
        reset = duration(headers.get(f"x-{RESET}-requests", ""))
        if self.given_up or limit is None or left is None or reset is None or left >= limit:
            return
        if reset > 1 or reset * limit > LARGEST_PART_OF_REFILL * WINDOWS[""]:
            self.is_second, self.given_up = False, True
        else:
            self.count(limit, limit - left, now)

    def count(self, limit: float, used: float, now: float) -> None:
        """Count a reply with a short reset."""
        if now - self.began > LONGEST_SPANS_SECONDS:
            self.replies, self.most_used, self.spans, self.began = 0, 0.0, 0, now
        if used < self.most_used / 2:  # after a burst
            self.replies, self.most_used = 0, 0.0
            self.began = self.began if self.spans else now
        self.replies += 1
        self.most_used = max(self.most_used, used)
        if self.replies > max(self.most_used, limit * SMALLEST_PART_OF_LIMIT):
            self.replies, self.most_used, self.spans = 0, 0.0, self.spans + 1
        if self.spans > 1 and now - self.began > SHORTEST_SPANS_SECONDS:
            self.is_second = True
