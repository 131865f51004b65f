"""How do the token counts of a reply become a cell with a field for each, and how do they come back?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa


def usage_type(counts: Mapping[str, Any]) -> Any:
    """Return the type of the cells of a task's counts; details of a count are fields within it."""
    return pa.struct(
        [(name, pa.int64() if below is None else usage_type(below)) for name, below in counts.items()]
    )


def usage_cell(usage: Any, counts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the counts of a `usage` that have a column; details are objects in it."""
    if not isinstance(usage, Mapping):
        return None
    cell: dict[str, Any] = {}
    for name, below in counts.items():
        count = usage.get(name)
        if below is not None:
            cell[name] = usage_cell(count, below)
        # A service may report any number, but a column has 64 bits.
        elif type(count) is int and abs(count) < 2**63:
            cell[name] = count
    return cell


def counts_of(usage: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return a `usage` cell without the counts that the service did not name."""
    if usage is None:
        return None
    return {
        name: counts_of(count) if isinstance(count, Mapping) else count
        for name, count in usage.items()
        if count is not None
    }
