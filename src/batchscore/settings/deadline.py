"""When must a run have ended, as people write it?

Pure: the current time is an argument. There are three forms: a duration (`2h`, `90m`, `1h30m`), the next
occurrence of a time of day (`6:30`), or a date with a time (`2026-11-22T06:30`, also with an offset). Without
an offset the time is local.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime, time, timedelta

from batchscore.errors import UsageError, setting_name

UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}

#: Each unit at most once, the largest first; ASCII digits only.
DURATION = re.compile(
    "".join(rf"(?:(?P<{name}>\d{{1,9}}(?:\.\d{{1,9}})?){unit})?" for unit, name in UNITS.items()), re.ASCII
)
CLOCK = re.compile(r"\d{1,2}:\d\d(:\d\d)?", re.ASCII)
#: The part of ISO 8601 that every Python since 3.10 reads, and `Z`.
DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{3}(\d{3})?)?)?([+-]\d\d:\d\d|Z)?", re.ASCII)


def duration_of(word: str) -> timedelta | None:
    """Return a duration; `None` if it is none, 0 or longer than the calendar."""
    match = DURATION.fullmatch(word)
    parts = {} if match is None else match.groupdict()
    with suppress(OverflowError):
        duration = timedelta(**{name: float(number) for name, number in parts.items() if number})
        return duration if duration > timedelta(0) else None
    return None


def seconds_of(setting: str, text: str) -> float:
    """Return the seconds of a setting that is a duration; raises `UsageError` if it cannot be read."""
    duration = duration_of(text.strip())
    if duration is None:
        raise UsageError(
            f"{setting_name(setting)} cannot be read; give a duration such as 24h, 90m, 45s or 1h30m."
        )
    return duration.total_seconds()


def parse_deadline(text: str) -> timedelta | time | datetime:
    """Return the meaning of a deadline; raises `UsageError` if the text cannot be read."""
    word = text.strip()
    with suppress(ValueError):  # such as 25:00 or February 30th
        if CLOCK.fullmatch(word):
            return time.fromisoformat(word.zfill(5 if word.count(":") == 1 else 8))
        if DATE_TIME.fullmatch(word):
            return datetime.fromisoformat(word.replace("Z", "+00:00"))
    duration = duration_of(word)
    if duration is None:
        raise UsageError(
            f"{setting_name('deadline')} cannot be read; give a duration such as 2h, 90m, 45s or 1h30m, a "
            "time such as 6:30, or a date with a time such as 2026-11-22T06:30."
        )
    return duration


def moment_of(text: str, now: datetime) -> datetime:
    """Return the moment of a deadline, with its time zone; for a time of day, the next one after `now`.

    `now` must have a time zone, too. Raises `UsageError` if the text cannot be read or the moment has passed.
    """
    found = parse_deadline(text)
    try:
        if isinstance(found, timedelta):
            return now + found
        if isinstance(found, time):
            here = now.astimezone().replace(tzinfo=None)
            # Compare moments: when the clocks change, an hour happens twice or not at all.
            days = (datetime.combine(here.date() + timedelta(days), found) for days in range(3))
            return next(moment for day in days if (moment := day.astimezone()) > now)
        moment = found.astimezone()
    except (ValueError, OverflowError):
        raise UsageError(f"{setting_name('deadline')} is beyond the calendar.") from None
    if moment <= now:
        raise UsageError(f"{setting_name('deadline')} {text} has passed; give a later one.")
    return moment
