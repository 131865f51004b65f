"""What of paths and flags can stand in JSON? They may hold bytes that are no UTF-8."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def for_json(value: Any) -> Any:
    """Return a value in which such bytes stand by their number, all else as it is."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {str(for_json(key)): for_json(each) for key, each in value.items()}
    return [for_json(each) for each in value] if isinstance(value, (list, tuple)) else value
