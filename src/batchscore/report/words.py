"""How are figures written for a person: counts, durations, shares, waits?

Pure, and the same words in the panel, in plain lines and in the summary.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Names of deployments are cut to so many characters.
LONGEST_NAME = 32


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: 1 row, 2 rows."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def named(counts: Mapping[str, int]) -> str:
    """Return counts by name, most first."""
    items = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{count:,} {worded(name)}" for name, count in items)


def worded(name: str) -> str:
    """Return the name of a code as words."""
    return name.replace("_", " ")


def clock(seconds: float) -> str:
    """Return a duration as people write it: 3.2 s, 4:05, 2:03:04."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def roughly(seconds: float) -> str:
    """Return a duration that is not known better: 5 s, 40 s, 12 min, 3 h 20 min, 2 d 4 h."""
    if seconds < 57.5:
        return f"{max(5, 5 * round(seconds / 5))} s"
    if seconds < 170:
        halves = round(seconds / 30)
        return f"{halves // 2}{'.5' if halves % 2 else ''} min"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        hours, minutes = divmod(5 * round(minutes / 5), 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def percent(part: float, whole: float) -> str:
    """Return a share; what is not whole is never called 100 %, what has begun never 0 %."""
    if not whole:
        return "0 %"
    share = 100 * part / whole
    shown = min(99, max(1, round(share))) if 0 < part < whole else round(share)
    return f"{shown} %"


def rate(amount: float) -> str:
    """Return an amount a minute or a second with the digits that say something."""
    return f"{amount:,.{2 if 0 < amount < 1 else 1 if 0 < amount < 10 and amount % 1 else 0}f}"


def short(name: str, most: int = LONGEST_NAME) -> str:
    """Return a name, cut in its middle where it is long: both ends tell names apart."""
    if len(name) <= most:
        return name
    head = (most - 1) // 2
    return f"{name[:head]}…{name[head + 1 - most :]}"


def money(amount: float) -> str:
    """Return an amount as people write it, a small one with the digits that say something."""
    return f"{amount:,.2f}" if amount >= 1 or not amount else f"{amount:.3g}"
