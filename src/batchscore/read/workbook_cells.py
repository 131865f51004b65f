"""What do people see in a cell of a workbook?

Its value, and of its number format what distinguishes dates, times, durations and codes. Numbers stay
as they are, so that a table that comes back can hold them: a percentage is 0.25, an amount has no
currency. It opens no workbook.
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Any

from batchscore.rows import replace_surrogates

#: Numbers have 15 digits in a cell, as Excel computes and shows them.
_EXACT = 10**15

#: How a text in a workbook writes a character that XML cannot hold (ECMA-376 part 1, 22.9.2.19).
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")

#: A dash or a blank in a number format, and formats of zeros alone, also with dashes or blanks between them.
_SEPARATOR = re.compile(r'\\([- ])|"([- ])"')
_ZEROS = re.compile(r"0+(?:[- ]0+)*")

#: What is not part of a point in time in a format: texts, colours and languages, escaped characters, AM/PM.
_NO_LETTERS = re.compile(r'"[^"]*"|\[[^]]*\]|[\\_*].|am/pm|a/p')

#: In the format of a duration: all hours, minutes or seconds, those of the next larger unit, and texts.
_ELAPSED = re.compile(r"\[(?:h+|m+|s+)\]")
_PARTS_OF_SECONDS = re.compile(r"s\]?\.(0+)")
_DURATION = re.compile(
    r'\[(?P<all>h+|m+|s+)\]|(?P<some>h+|m+|s+)|(?P<part>\.0+)|"(?P<text>[^"]*)"|\\(?P<escaped>.)|\[[^]]*\]|[_*].'
)
#: Days are counted to the end of 9999, from two days before 1900 or, in some workbooks, from 1904.
_FIRST_DAY, _FIRST_DAY_OF_1904 = date(1899, 12, 30), date(1904, 1, 1)
_MOST_DAYS = (date.max - _FIRST_DAY).days

#: Excel has these days before March of 1900, by their number.
_NO_DAYS = {0: "1900-01-00", 60: "1900-02-29"}

_DAY_SECONDS = 86_400
_SECONDS = {"h": 3600, "m": 60, "s": 1}


def shown_value(cell: Any) -> Any:
    """Return a cell's value as people see it."""
    value = cell.value
    kind = type(value)
    if kind is str:
        if "_x" in value:
            value = replace_surrogates(_ESCAPED.sub(lambda found: chr(int(found[1], 16)), value))
        return value or None
    if value is None or kind is bool:
        return value
    if kind is float or kind is int:
        form = cell.number_format
        shows = _shows(form)
        if shows in {"number", "code"}:
            if kind is float:
                value = float(f"{value:.15g}")
                if not value.is_integer() or abs(value) >= _EXACT:
                    return value
                value = int(value)
            return _code(value, form) if shows == "code" else value
        try:
            if shows == "duration":
                return _duration(timedelta(days=value), form)
            return _point(value, form, shows, since_1904=cell.parent.parent.epoch.year == 1904)
        except (OverflowError, ValueError):
            return "#VALUE!"
    # Some programs write points in time as texts of ISO 8601.
    if kind is datetime:
        shows = _shows(cell.number_format)
        return value.date() if shows == "date" else value.time() if shows == "time" else value
    if kind is timedelta:
        return _duration(value, cell.number_format)
    return value


def _code(value: int, form: str) -> str:
    """Return a number that is shown with zeros before it, such as a postal code, as a text."""
    places = _places(form)
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
    """Return what a format shows: "number", "code", "duration", "date", "time" or "datetime"."""
    from openpyxl.styles.numbers import is_date_format, is_timedelta_format  # noqa: PLC0415 - as in `workbook`

    if not is_date_format(form):
        return "code" if len(form) > 1 and _places(form) else "number"
    if is_timedelta_format(form):
        return "duration"
    letters = set(_NO_LETTERS.sub("", form.partition(";")[0].lower()))
    has_time = bool(letters & {"h", "s"})
    has_date = bool(letters & {"d", "y"}) or ("m" in letters and not has_time)
    return "datetime" if has_time == has_date else "date" if has_date else "time"


def _point(serial: float, form: str, shows: str, *, since_1904: bool) -> Any:
    """Return the point in time of a number of days, to the second unless the format shows parts of seconds.

    As in Excel, a day that no calendar has is a text. Raises `OverflowError` after 9999.
    """
    scale = 1000 if ".0" in form else 1
    day, part = divmod(math.floor(serial * _DAY_SECONDS * scale + 0.5), _DAY_SECONDS * scale)
    most = _MOST_DAYS - (_FIRST_DAY_OF_1904 - _FIRST_DAY).days * since_1904
    if serial < most + 1 <= day:  # programs write "never" as the end of 9999
        day, part = most, _DAY_SECONDS * scale - 1
    at = (datetime.combine(_FIRST_DAY, time()) + timedelta(milliseconds=part * 1000 // scale)).time()
    if shows == "time":
        return at
    if not since_1904 and day in _NO_DAYS:
        return _NO_DAYS[day] if shows == "date" else f"{_NO_DAYS[day]}T{at.isoformat()}"
    first = _FIRST_DAY_OF_1904 if since_1904 else _FIRST_DAY
    found = first + timedelta(days=day + (not since_1904 and 0 < day < 60))
    return found if shows == "date" else datetime.combine(found, at)


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
