"""By when must a run be over, as people write it?

Pure: a text and the time now in, a moment out. Three ways to write it: a duration (`2h`, `90m`, `1h30m`),
the next such time on the clock (`6:30`), or a date with a time (`2026-11-22T06:30`, also with an offset).
Without an offset the time is this machine's.
"""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from typing import TypeAlias

from batchscore.errors import UsageError

#: What was written: from now on, the next such time, or this very moment.
Deadline: TypeAlias = "timedelta | time | datetime"

UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}

#: Each unit at most once, the largest first; digits are those of ASCII, as everywhere in command lines.
DURATION = re.compile(
    "".join(rf"(?:(?P<{name}>\d{{1,9}}(?:\.\d{{1,9}})?){unit})?" for unit, name in UNITS.items()), re.ASCII
)
CLOCK = re.compile(r"\d{1,2}:\d\d(:\d\d)?", re.ASCII)
#: Of ISO 8601 what every Python from 3.10 on reads, and `Z`.
DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{3}(\d{3})?)?)?([+-]\d\d:\d\d|Z)?", re.ASCII)


def parse_deadline(text: str) -> Deadline:
    """Return what a deadline's text means; raises `UsageError` where it means nothing."""
    word = text.strip()
    try:
        if CLOCK.fullmatch(word):
            return time.fromisoformat(word.zfill(5 if word.count(":") == 1 else 8))
        if DATE_TIME.fullmatch(word):
            return datetime.fromisoformat(word.replace("Z", "+00:00"))
        match = DURATION.fullmatch(word)
        if match is not None:
            parts = {name: float(number) for name, number in match.groupdict().items() if number}
            duration = timedelta(**parts)
            if duration > timedelta(0):
                return duration
    except (ValueError, OverflowError):
        # As of 25:00, of February 30th, or of a million years.
        pass
    raise UsageError(
        f"--deadline is {text!r}; give a duration such as 2h, 90m, 45s or 1h30m, a time such as 6:30, or a "
        "date with a time such as 2026-11-22T06:30."
    )


def moment_of(text: str, now: datetime) -> datetime:
    """Return the moment that a deadline's text means, aware; of a time on the clock the next one after `now`.

    `now` is aware, too. Raises `UsageError` where the text means nothing, or what has passed.
    """
    found = parse_deadline(text)
    try:
        if isinstance(found, timedelta):
            return now + found
        if isinstance(found, time):
            here = now.astimezone().replace(tzinfo=None)
            # Compared as moments: on the day that the clocks change, an hour comes twice or not at all.
            days = (datetime.combine(here.date() + timedelta(days), found) for days in range(3))
            return next(moment for day in days if (moment := day.astimezone()) > now)
        moment = found.astimezone()
    except (ValueError, OverflowError):
        raise UsageError(f"--deadline is {text!r}, which no calendar holds.") from None
    if moment <= now:
        raise UsageError(f"--deadline {text} has passed; give a later one.")
    return moment
