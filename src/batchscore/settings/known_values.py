"""Which values of a parameter do services know today, and is another one a slip for one of them?

A service may know new values tomorrow, so only what looks like a known one is refused.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

#: The values of `reasoning_effort` that services have, the usual ones first (OpenAI, seen 2026-11).
EFFORTS = ("low", "medium", "high", "minimal", "max", "none", "xhigh")


def near_miss(value: str, known: Sequence[str]) -> str:
    """Return the known value that another one is a slip for: its beginning, other case, or a wrong letter.

    A value that looks like none of them may be a new one of a service.
    """
    plain = value.strip().lower()
    if value in known or not plain:
        return ""

    def is_near(name: str) -> bool:
        one_letter = difflib.SequenceMatcher(None, name, plain).ratio() >= 0.8
        swapped = sorted(name) == sorted(plain)
        return name.startswith(plain) or (name[0] == plain[0] and (one_letter or swapped))

    return next(filter(is_near, known), "")
