"""What is a cell of any type as text for the model, and as JSON?

A cell has one meaning, whether it is sent, kept in a record or used as the id. It knows no row and no
template. Cells may come from any library, so nothing here trusts a type: an unusual value becomes a plain
one, or an error of its row. A function for JSON's `default` must never call the JSON library: that recursion
is in C, and ends the process.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import orjson

from batchscore.rows import replace_surrogates

#: The types of JSON, which need no conversion. A subclass may be anything, such as a named tuple.
JSON_TYPES = frozenset({str, bool, int, float, dict, list, type(None)})

#: How libraries give the values of their arrays and scalars: numpy and pandas, pyarrow, polars.
TO_PYTHON = ("tolist", "as_py", "to_pylist", "to_list")

#: Whole numbers up to this one are exact as float64.
MOST_EXACT = 2**53


class UnreadableCellError(ValueError):
    """A cell that cannot be sent; the message says what it holds, without quoting it."""


def is_missing(cell: Any) -> bool:
    """Whether a cell is null, in the words of any library: None, NaN, NaT or NA."""
    if cell is None or isinstance(cell, float):
        return cell is None or math.isnan(cell)
    kind = type(cell)
    if kind in JSON_TYPES:
        return False
    if kind.__name__ in {"NAType", "NaTType"}:
        return True
    if isinstance(cell, Decimal):
        return cell.is_nan()
    # A scalar of numpy; in an array each cell counts for itself.
    return hasattr(cell, "dtype") and getattr(cell, "ndim", 1) == 0 and bool(cell != cell)  # noqa: PLR0124


def is_blank(cell: Any) -> bool:
    """Whether a cell is empty: missing, or only white space."""
    if isinstance(cell, (str, bytes)):
        return not cell or cell.isspace()
    return is_missing(cell)


def cell_text(value: Any) -> str:
    """Return a cell as text for the model: null is empty; values other than text become JSON.

    Raises `UnreadableCellError` for a value without an equivalent text.
    """
    if isinstance(value, str):
        return value
    if is_blank(value):
        return ""
    if type(value) not in JSON_TYPES:
        value = plain(value)
        if value is None or isinstance(value, str):
            return value or ""
    try:
        text = orjson.dumps(value, default=plain, option=orjson.OPT_NON_STR_KEYS).decode()
        suspect = "null" in text
    except TypeError:  # too deep for orjson, more than 64 bits, a lone surrogate, or an unusual key
        text, suspect = slow_json(value), True
    if suspect:
        refuse_non_finite(value)
    return text


def slow_json(value: Any) -> str:
    """Return JSON of what orjson refuses; raises `RecursionError` if it is nested too deeply."""
    try:
        return json.dumps(value, default=plain, ensure_ascii=False, separators=(",", ":"))
    except TypeError:  # a key that is not text
        return json.dumps(all_plain(value), ensure_ascii=False, separators=(",", ":"))


def id_text(value: Any) -> str | None:
    """Return a cell as an id, `None` if it is missing."""
    return None if is_missing(value) else cell_text(id_cell(value))


def id_cell(value: Any) -> Any:
    """Return the value of an id: pandas makes floats of whole numbers beside a null."""
    whole = isinstance(value, float) and value.is_integer() and abs(value) <= MOST_EXACT
    return int(value) if whole else value


def plain(value: Any) -> Any:
    """Return a value that is not of a JSON type in such a type, or as text; only its own level is converted.

    Raises `UnreadableCellError` for bytes that are not text, and for an object without a text.
    """
    if is_missing(value):
        return None
    if isinstance(value, (bytes, bytearray, memoryview)):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            raise UnreadableCellError("bytes that are not UTF-8") from None
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    if isinstance(value, (set, frozenset)):
        # The order of a set differs from process to process.
        return sorted(value, key=repr)
    dtype = getattr(value, "dtype", None)
    if getattr(dtype, "kind", "") == "f" and dtype.itemsize < 8:  # type: ignore[union-attr]
        return shortest_floats(value)
    if getattr(dtype, "kind", "") in {"m", "M"} and hasattr(value, "astype"):
        # Nanoseconds would become whole numbers.
        if value.ndim:
            return value.astype(f"{dtype.kind}8[us]").tolist()  # type: ignore[union-attr]
        value = _time_of(value)
    if isinstance(value, timedelta):
        return _duration(value)
    if callable(getattr(value, "isoformat", None)):
        return str(value.isoformat())
    for name in TO_PYTHON:
        convert = getattr(value, name, None)
        if callable(convert):
            converted = convert()
            return converted if type(converted) is not type(value) else str(value)
    text = str(value)
    if text.startswith("<") and " at 0x" in text:
        raise UnreadableCellError("an object that has no text")
    return text


def _time_of(value: Any) -> Any:
    """Return a time or duration of numpy as Python's, as pandas does; as text if Python has none."""
    kind, unit = value.dtype.kind, value.dtype.name.rpartition("[")[2].rstrip("]")
    if unit not in {"h", "m", "s", "ms", "us", "ns", *(["D"] if kind == "m" else [])}:
        return str(value)
    found = value.astype(f"{kind}8[us]")
    exact = found.astype(value.dtype) == value or (unit == "ns" and kind == "m")
    found = found.tolist()
    return found if exact and not isinstance(found, int) else str(value)


def _duration(value: timedelta) -> str:
    """Return a duration in hours, minutes and seconds, as a sheet shows it: 30:05:00."""
    seconds, part = divmod(abs(value), timedelta(seconds=1))
    hours, seconds = divmod(seconds, 3600)
    sign, parts = "-" if value < timedelta() else "", f".{part.microseconds:06}" if part else ""
    return f"{sign}{hours}:{seconds // 60:02}:{seconds % 60:02}{parts}"


def shortest_floats(value: Any) -> Any:
    """Return numpy's float32 or float16 values as the floats of their shortest text: 0.1, not 0.100000001."""
    return value.astype(str).astype("float64").tolist()


def all_plain(value: Any) -> Any:
    """Return a value with all levels of JSON's types, and keys that are text.

    Raises `RecursionError` if it is too deep, or in itself.
    """
    if type(value) not in JSON_TYPES:
        value = plain(value)
    if isinstance(value, dict):
        return {key_text(key): all_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [all_plain(item) for item in value]
    return value if type(value) in JSON_TYPES else all_plain(value)


def key_text(key: Any) -> str:
    """Return the key of an object: text, or what the value would be as text."""
    if isinstance(key, str):
        return key
    return cell_text(key) if not is_missing(key) else "null"


def refuse_non_finite(value: Any) -> None:
    """Raise `UnreadableCellError` if a number is infinite or NaN, which JSON would turn into null."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, Mapping):
            pending.extend(item.values())
        elif isinstance(item, (list, tuple)):
            pending.extend(item)
        elif isinstance(item, float):
            if not math.isfinite(item):
                raise UnreadableCellError("a number that is infinite or not a number")
        elif callable(getattr(item, "tolist", None)):
            pending.append(plain(item))


def json_bytes(value: Any) -> bytes:
    """Return `value` as JSON; lone surrogates, which UTF-8 cannot encode, become U+FFFD."""
    try:
        # A copy, since orjson's bytes of a short text keep ten times the memory that they need.
        return b"%b" % orjson.dumps(value)
    except TypeError:  # a lone surrogate, a value that is not of JSON, or too deep for orjson
        clean = without_surrogates(all_plain(value))
    try:
        return orjson.dumps(clean)
    except TypeError:
        return slow_json(clean).encode()


def without_surrogates(value: Any) -> Any:
    """Return `value` without lone surrogates in its texts, and with null for numbers that JSON lacks."""
    if isinstance(value, str):
        return replace_surrogates(value)
    if isinstance(value, dict):
        return {replace_surrogates(key): without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_surrogates(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
