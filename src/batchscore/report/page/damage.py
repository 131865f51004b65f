"""Are the parts that manifests name there, and as long as they say?

It looks at names and sizes, so that it costs a page next to nothing; `batchscore verify` reads them. A
store is asked nothing: there each part would be a request.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from batchscore.report.page.gather import Until
from batchscore.report.page.model import FileAccount
from batchscore.stores import storage
from batchscore.stores.address import Place


def damaged_parts(folder: Place, task: str, files: Sequence[FileAccount], until: Until) -> list[str]:
    """Return, in words, which parts are missing or have another size; ends when time is over."""
    if not isinstance(folder, Path):
        return []
    found: list[str] = []
    for name, size in parts_of(task, files):
        if until.over:
            break
        there = storage.size_of(folder / name)
        if there is None:
            found.append(f"{name} is missing.")
        elif there != size:
            found.append(f"{name} has {there:,} bytes instead of {size:,}.")
    return found


def parts_of(task: str, files: Sequence[FileAccount]) -> Iterator[tuple[str, int]]:
    """Give the parts that manifests name, by their place in the output, with their bytes."""
    for each in files:
        for part in each.parts:
            if part.name and part.bytes:
                yield f"{task}/{part.name}", part.bytes
            if part.name and part.error_bytes:
                yield f"errors/{task}/{part.name}", part.error_bytes
