"""How are paths and flags written as JSON? They may hold bytes that are not UTF-8."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def json_safe(value: Any) -> Any:
    """Return a value in which such bytes are escaped; everything else is unchanged."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {str(json_safe(key)): json_safe(each) for key, each in value.items()}
    return [json_safe(each) for each in value] if isinstance(value, (list, tuple)) else value
