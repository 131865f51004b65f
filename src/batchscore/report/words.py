"""How are figures and names written? The terminal, the page and the docs agree.

Pure. Every figure has its unit beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from batchscore.errors import duration_text

FORMULA_STARTS = (*"=+-@\t\r\n", *"\uff1d\uff0b\uff0d\uff20")

#: Of OpenAI and Azure, vLLM and TGI, Anthropic, Mistral, Google and DeepSeek; `None` and `several` are ours.
_REASONS = """
stop length content_filter tool_calls function_call abort eos_token stop_sequence end_turn max_tokens
tool_use refusal model_length error STOP MAX_TOKENS SAFETY RECITATION OTHER insufficient_system_resource eos
None several
"""
FINISH_REASONS = frozenset(_REASONS.split())

#: Names of deployments are shortened to this many characters.
LONGEST_NAME = 32


def counts_text(counts: Mapping[str, int]) -> str:
    """Return counts by code, the highest first: 4 rate limited, 1 timeout."""
    items = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{count:,} {code_text(code)}" for code, count in items)


def csv_cell(value: Any) -> Any:
    """Return a cell for a csv file: spreadsheets run a text as a formula by its first letter.

    Those are `=`, `+`, `-` and `@` (also in full width), tab and line breaks; a `'` before them shows them.
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def finish_reason_text(reason: str) -> str:
    """Return a finish reason that services are known to give; any other may be a word of the prompt."""
    return reason if reason in FINISH_REASONS else "other"


def large_count_text(count: float) -> str:
    """Return a count in few characters: 950, 12,300, 1.24 M, 3.1 G."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if count >= size:
            return f"{count / size:,.3g} {unit}"
    return f"{count:,.0f}"


def code_text(code: str) -> str:
    """Return a code or the name of a setting as words."""
    return "none given" if code == "None" else code.replace("_", " ")


def rough_duration_text(seconds: float) -> str:
    """Return an estimated duration, rounded: 5 s, 40 s, 1.5 min, 12 min, 3 h 20 min, 2 d 4 h."""
    if seconds < 57.5:
        return f"{max(5, 5 * round(seconds / 5))} s"
    if seconds < 170:
        return f"{round(seconds / 30) / 2:g} min"
    # Whole minutes below an hour, five below a day, hours from there on.
    step = 60 if seconds < 3570 else 300 if seconds < 86100 else 3600
    return duration_text(step * round(seconds / step))


def percent_text(part: float, whole: float = 1.0, *, decimals: int = 0) -> str:
    """Return a share: 100 % only if nothing is missing, 0 % only if there is nothing."""
    share = 100 * part / whole if whole else 0.0
    least = 10.0**-decimals
    if 0 < share < least / 2:
        return f"<{least:g} %"
    shown = min(round(share, decimals), 100 - least) if share < 100 else round(share, decimals)
    return f"{shown:g} %"


def rate_text(amount: float) -> str:
    """Return an amount per minute or second, with more digits if it is small."""
    return f"{amount:,.{2 if 0 < amount < 1 else 1 if 0 < amount < 10 and amount % 1 else 0}f}"


def money_text(amount: float) -> str:
    """Return a cost, with more digits if it is small."""
    # A Decimal never needs an exponent, as 2.74e-05 would.
    return f"{amount:,.2f}" if amount >= 1 or not amount else f"{Decimal(f'{amount:.3g}'):f}"


def size_text(size: float) -> str:
    """Return a number of bytes: 950 bytes, 1.2 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.{0 if unit == 'bytes' else 1}f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def moment_text(seconds: float) -> str:
    """Return a time, given in seconds since 1970, as date and time in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def short_name(name: str, most: int = LONGEST_NAME) -> str:
    """Return a name, cut in the middle if it is long: names may differ at either end."""
    if len(name) <= most:
        return name
    head = (most - 1) // 2
    return f"{name[:head]}…{name[head + 1 - most :]}"


def json_safe(value: Any) -> Any:
    """Return a value whose texts can be written as JSON: bytes in paths that are not UTF-8 are escaped."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {str(json_safe(key)): json_safe(each) for key, each in value.items()}
    return [json_safe(each) for each in value] if isinstance(value, (list, tuple)) else value
