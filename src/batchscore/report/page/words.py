"""In which words does a page tell figures and reasons?

Pure. Every figure has its unit beside it.
"""

from __future__ import annotations

from datetime import datetime, timezone

from batchscore.errors import ErrorCode

#: What a person can do about rows with each error.
ADVICE: dict[str, str] = {
    ErrorCode.EMPTY_INPUT: "Nothing to do: these rows have no text. They never count as failed.",
    ErrorCode.UNREADABLE_ROW: "Mend these rows in the input file.",
    ErrorCode.ROW_TOO_LARGE: "Split these rows, or raise --max-row-bytes.",
    ErrorCode.MISSING_COLUMN: "Give these rows the column that the prompt uses.",
    ErrorCode.INVALID_MESSAGES: "Mend the messages column of these rows.",
    ErrorCode.INPUT_TOO_LONG: "Shorten these rows, or score their beginning with --on-long-input truncate, into a "
    "new folder.",
    ErrorCode.CONTENT_FILTER: "The service's content filter refused these rows; asking again gives the same.",
    ErrorCode.INVALID_REQUEST: "See the message; once that is mended, --retry-errors asks these rows again.",
    ErrorCode.OVER_QUOTA: "Raise the limit (--tpm), shorten these rows, or lower --max-tokens.",
    ErrorCode.RATE_LIMITED: "Asked again by the same command.",
    ErrorCode.SERVER_ERROR: "The same command asks these rows again by itself.",
    ErrorCode.TIMEOUT: "The same command asks these rows again by itself; a longer --timeout may help.",
    ErrorCode.CONNECTION_ERROR: "The same command asks these rows again by itself.",
    ErrorCode.INVALID_RESPONSE: "The same command asks these rows again by itself.",
}

#: What an exit code says.
EXITS = {
    0: "done",
    1: "a person must act",
    2: "wrong usage",
    3: "rows failed",
    4: "stopped, goes on later",
    5: "output held by another run",
}


def counted(count: float, noun: str) -> str:
    """Return a count with its noun: 1 row, 2 rows."""
    return f"{count:,.0f} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return a duration for a person: 230 ms, 4.2 s, 3 min 5 s, 2 h 14 min, 3 d 4 h."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, small, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size:,} {unit}" + (f" {rest} {part}" if rest else "")
    return f"{whole} s"


def large(count: float) -> str:
    """Return a count that has room for few letters: 950, 12,300, 1.24 M, 3.1 G."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if count >= size:
            return f"{count / size:,.3g} {unit}"
    return f"{count:,.0f}"


def money(amount: float) -> str:
    """Return an amount; a small one with the digits that say something."""
    return f"{amount:,.2f}" if amount >= 1 or not amount else f"{amount:.3g}"


def percent(share: float) -> str:
    """Return a share; never 100 % where something is missing, nor 0 % where there is something."""
    shown = f"{share * 100:.1f}"
    if shown == "100.0" and share < 1:
        shown = "99.9"
    if shown == "0.0" and share > 0:
        return "under 0.1 %"
    return f"{shown.removesuffix('.0')} %"


def day_and_time(seconds: float) -> str:
    """Return a moment in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def plain(code: str) -> str:
    """Return a code as words."""
    return code.replace("_", " ")
