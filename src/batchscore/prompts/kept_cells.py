"""How are the many cells of a row kept, in a tenth of the memory that a dictionary of them takes?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import xxhash

from batchscore.rows import Settled

#: A row with fewer columns stays a dictionary, which takes less time.
LEAST_CELLS = 256

#: The approximate memory of a cell and its place in a dictionary, besides its text.
CELL_BYTES = 100

#: What is between two cells.
_END = "\0"


class KeptCells(Mapping[str, str]):
    """The texts of a row by column, as one text; all rows of a file share the `names` of the columns.

    Each look at a cell takes as long as `unpacked`, which whoever needs several cells calls once. `digest` is
    that of all cells.
    """

    __slots__ = ("digest", "names", "text")

    def __init__(self, names: tuple[str, ...], text: str, digest: bytes) -> None:
        self.names = names
        self.text = text
        self.digest = digest

    def __getitem__(self, name: str) -> str:
        return unpacked(self)[name]  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def digest_of_cells(cells: Mapping[str, Any]) -> bytes:
    """Return the digest of a row's kept cells, 16 bytes."""
    if isinstance(cells, KeptCells):
        return cells.digest
    return xxhash.xxh3_128_digest(repr(cells).encode("utf-8", "replace"))


def memory_of_cells(cells: Mapping[str, Any]) -> int:
    """Return the approximate bytes of memory that cells take."""
    if isinstance(cells, KeptCells):
        return len(cells.text)
    return sum([CELL_BYTES + (len(cell) if isinstance(cell, str) else 0) for cell in cells.values()])


def packed(cells: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the cells packed if they are many texts in the columns of these `names`; else as they are."""
    if len(cells) < LEAST_CELLS or tuple(cells) != names:
        return cells
    try:
        text = _END.join(cells.values())
    except TypeError:  # not all are texts
        return cells
    whole = text.count(_END) == len(names) - 1
    return KeptCells(names, text, digest_of_cells(cells)) if whole else cells


def unpacked(cells: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cells as a dictionary, which nobody changes."""
    if isinstance(cells, KeptCells):
        return dict(zip(cells.names, cells.text.split(_END), strict=True))
    return cells if isinstance(cells, dict) else dict(cells)


def with_unpacked_cells(row: Settled) -> Settled:
    """Return a row whose cells are a dictionary."""
    return replace(row, kept=unpacked(row.kept)) if isinstance(row.kept, KeptCells) else row
