"""How much of each file is read for a plan, and which stretches of it?

Ordinary inputs are read whole, so that rows are counted and not estimated. Of very large files some stretches
are read; of very many files only some are. It knows bytes and names, but no rows.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import BinaryIO

from batchscore.read.formats import FORMATS
from batchscore.read.input_file import InputFile

#: The size of a compressed text, as a multiple of its compressed size.
INFLATION = 4


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be read: everything up to `whole_bytes` in total, else about `sample_bytes`.

    At least `least_bytes` of each file are read. After `seconds` reading ends. Images are read for at most
    `image_seconds`; those of other rows are estimated from them. The tokens of the first
    `counted_bytes` of each file's prompts are counted, then those of one part in 16.
    """

    whole_bytes: int
    sample_bytes: int
    least_bytes: int
    seconds: float = inf
    counted_bytes: int = 256 * 2**10
    image_seconds: float = 10.0


#: Most bytes that a cut file gives at once, so that its bytes and rows are counted about together.
GRAIN = 16 * 2**10

#: For a plan: half a minute on one core. For `--exact`. For a run, while it starts.
FOR_A_PLAN = Budget(512 * 2**20, 128 * 2**20, 2**20)
EVERYTHING = Budget(2**63, 0, 0, image_seconds=inf)
FOR_A_RUN = Budget(4 * 2**20, 2**20, 64 * 2**10, seconds=0.2, counted_bytes=16 * 2**10, image_seconds=0.1)


@dataclass(frozen=True)
class CutFile(InputFile):
    """A file that gives only some stretches; with `at_lines` each ends at its last line end.

    `stretches` are first and last byte, in order and without overlap; `given` counts the bytes read. The
    bytes of a file in memory are `kept` and not its `content`, which a reader takes without counting.
    """

    kept: bytes | None = field(default=None, repr=False, compare=False)
    stretches: tuple[tuple[int, int], ...] = ()
    at_lines: bool = False
    given: Counter[str] = field(default_factory=Counter)

    def open(self) -> io.RawIOBase | BinaryIO:
        """Open the stretches as one stream of bytes."""
        return Stretches(super().open() if self.kept is None else io.BytesIO(self.kept), self)


class Stretches(io.RawIOBase):
    """Some stretches of a file as one stream; a stretch that begins within a line skips to the next."""

    def __init__(self, raw: io.RawIOBase | BinaryIO, file: CutFile) -> None:
        super().__init__()
        self.raw = raw
        self.file = file
        self.left = list(file.stretches)
        # A view, since the rest of a stretch is sliced many times.
        self.held = memoryview(b"")
        file.given.clear()

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: object) -> int:
        """Give the next bytes."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        while not self.held and self.left:
            self.held = memoryview(self.read_stretch(*self.left.pop(0)))
        given = self.held[: min(len(view), GRAIN)]
        view[: len(given)] = given
        self.held = self.held[len(given) :]
        self.file.given["bytes"] += len(given)
        return len(given)

    def read_stretch(self, first: int, last: int) -> bytes:
        """Read one stretch."""
        if first:
            self.raw.seek(first)
        pieces, wanted = [], last - first
        while wanted > 0 and (piece := self.raw.read(min(wanted, 2**20))):
            pieces.append(piece)
            wanted -= len(piece)
        found = b"".join(pieces)
        if self.file.at_lines:
            start = found.find(b"\n") + 1 if first else 0
            found = found[start : found.rfind(b"\n") + 1 or (0 if first else None)]
        return found

    def close(self) -> None:
        """Close the file below."""
        self.raw.close()
        super().close()


def bytes_to_read(file: InputFile) -> int:
    """Return the bytes that reading a whole file takes."""
    return file.size * (INFLATION if file.compression else 1)


def shares(files: Sequence[InputFile], budget: Budget) -> list[float]:
    """Return which share of each file to read: 1 is all of it, 0 nothing."""
    total = sum(map(bytes_to_read, files))
    if total <= budget.whole_bytes:
        return [1.0] * len(files)
    part = budget.sample_bytes / total
    wanted = [max(part, min(1.0, budget.least_bytes / (bytes_to_read(file) or 1))) for file in files]
    cost = sum(share * bytes_to_read(file) for share, file in zip(wanted, files, strict=True))
    # If the minimum of all files is too much in total, every nth file represents its neighbours.
    every = max(1, round(cost / (2 * budget.sample_bytes)))
    return [share if place % every == 0 else 0.0 for place, share in enumerate(wanted)]


def cut_file(file: InputFile, share: float) -> InputFile:
    """Return the file as it should be read: its beginning, and if lines are rows its middle and end."""
    layout = FORMATS[file.suffix].layout
    if not FORMATS[file.suffix].is_text:
        return file
    wanted = file.size if share >= 1 else max(1, int(file.size * share))
    stretches: tuple[tuple[int, int], ...] = ((0, wanted),)
    at_lines = share < 1 and file.compression is None and layout != "document"
    if file.encoding is not None and file.encoding.startswith(("utf-16", "utf-32")):
        at_lines = False  # a line end has several bytes
    if at_lines and layout == "lines" and isinstance(file.path, Path):
        third = max(1, wanted // 3)
        middle = (file.size - third) // 2
        if third < middle:
            stretches = ((0, third), (middle, middle + third), (file.size - third, file.size))
    names = ("path", "name", "suffix", "compression", "size", "encoding")
    same = {name: getattr(file, name) for name in names}
    return CutFile(**same, kept=file.content, stretches=stretches, at_lines=at_lines)


def part_given(file: InputFile) -> float:
    """Return which share of a file's bytes was read; the file comes from `cut_file`."""
    return file.given["bytes"] / file.size if isinstance(file, CutFile) and file.size else 1.0
