"""What do people see in a cell of a workbook?

Its value, and of its number format what tells dates, times, durations and codes apart. Numbers stay numbers,
so that a table that comes back can hold them: a percentage is 0.25, an amount has no currency. It opens no
workbook.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Any

#: Numbers have 15 digits in a cell, as Excel computes and shows them.
_EXACT = 10**15

#: How a text in a workbook writes a character that XML cannot hold (ECMA-376 part 1, 22.9.2.19).
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")

#: A dash or a blank in a number format, and formats of zeros alone, also with dashes or blanks between them.
_SEPARATOR = re.compile(r'\\([- ])|"([- ])"')
_ZEROS = re.compile(r"0+(?:[- ]0+)*")

#: What is no part of a point in time in a format: texts, colours and languages, escaped characters, AM/PM.
_NO_LETTERS = re.compile(r'"[^"]*"|\[[^]]*\]|[\\_*].|am/pm|a/p')

#: In the format of a duration: all hours, minutes or seconds, those of the next larger unit, and texts.
_ELAPSED = re.compile(r"\[(?:h+|m+|s+)\]")
_PARTS_OF_SECONDS = re.compile(r"s\]?\.(0+)")
_DURATION = re.compile(
    r'\[(?P<all>h+|m+|s+)\]|(?P<some>h+|m+|s+)|(?P<part>\.0+)|"(?P<text>[^"]*)"|\\(?P<escaped>.)|\[[^]]*\]|[_*].'
)
#: Programs write "never" as the end of 9999.
_LAST_SECOND = datetime(9999, 12, 31, 23, 59, 59)  # noqa: DTZ001 - cells have no time zone

_SECONDS = {"h": 3600, "m": 60, "s": 1}


def shown_value(cell: Any) -> Any:
    """Return a cell's value as people see it."""
    value = cell.value
    kind = type(value)
    if kind is str:
        return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), value) if "_x" in value else value or None
    if value is None or kind is bool:
        return value
    if kind is int:
        form = cell.number_format
        return _code(value, form) if form.startswith("0") and len(form) > 1 else value
    if kind is float:
        shown = float(f"{value:.15g}")
        return int(shown) if shown.is_integer() and abs(shown) < _EXACT else shown
    if kind is datetime:
        form = cell.number_format
        shows, value = _shows(form), _rounded(value, form) if value.microsecond else value
        return value.date() if shows == "date" else value.time() if shows == "time" else value
    if kind is time:
        form = cell.number_format
        if value.microsecond:
            value = _rounded(datetime.combine(date.min, value), form).time()
        return (
            value if (shows := _shows(form)) == "time" else _first_day(cell, value, with_time=shows != "date")
        )
    if kind is timedelta:
        return _duration(value, cell.number_format)
    return value


def _code(value: int, form: str) -> int | str:
    """Return a number that is shown with zeros before it, such as a postal code, as a text."""
    places = _places(form)
    if not places:
        return value
    count = places.count("0")
    digits = str(abs(value)).zfill(count)
    last = iter(digits[-count:])
    shown = "".join(next(last) if place == "0" else place for place in places)
    return f"{'-' if value < 0 else ''}{digits[:-count]}{shown}"


@lru_cache(maxsize=256)
def _places(form: str) -> str:
    """Return the zeros of a format that has no others, with what is between them; empty for other formats."""
    places = _SEPARATOR.sub(r"\1\2", form)
    return places if _ZEROS.fullmatch(places) else ""


@lru_cache(maxsize=256)
def _shows(form: str) -> str:
    """Return which part of a point in time a format shows: "date", "time" or "datetime"."""
    letters = set(_NO_LETTERS.sub("", form.partition(";")[0].lower()))
    has_time = bool(letters & {"h", "s"})
    has_date = bool(letters & {"d", "y"}) or ("m" in letters and not has_time)
    return "datetime" if has_time == has_date else "date" if has_date else "time"


def _rounded(point: datetime, form: str) -> datetime:
    """Return a point in time to the second, as Excel shows it, unless its format shows parts of seconds."""
    if ".0" in form:
        return point
    whole = point.replace(microsecond=0)
    is_last = whole == _LAST_SECOND
    return whole if point.microsecond < 500_000 or is_last else whole + timedelta(seconds=1)


def _first_day(cell: Any, value: time, *, with_time: bool) -> Any:
    """Return the point in time of a number below 1, as that of an empty cell: Excel shows a day 0 of 1900."""
    if cell.parent.parent.epoch.year == 1904:
        day = datetime.combine(date(1904, 1, 1), value)
        return day if with_time else day.date()
    return f"1900-01-00T{value.isoformat()}" if with_time else "1900-01-00"


def _duration(value: timedelta, form: str) -> str:
    """Return a duration as its format shows it: 30:05:00 for [h]:mm:ss."""
    form = form.partition(";")[0].lower()
    form = form if _ELAPSED.search(form) else "[h]:mm:ss"
    parts = _PARTS_OF_SECONDS.search(form)
    scale = 10 ** len(parts[1]) if parts else 1
    seconds, part = divmod(round(abs(value) / timedelta(seconds=1) * scale), scale)

    def shown(found: re.Match[str]) -> str:
        if letters := found["all"]:
            return str(seconds // _SECONDS[letters[0]]).zfill(len(letters))
        if letters := found["some"]:
            return str(seconds // _SECONDS[letters[0]] % 60).zfill(len(letters))
        if found["part"]:
            return f".{str(part).zfill(len(found['part']) - 1)}"
        return found["text"] or found["escaped"] or ""

    return ("-" if value < timedelta() else "") + _DURATION.sub(shown, form)
