"""How much of each file is read for a plan, and which stretches of it?

Ordinary inputs are read whole, so that rows are counted and not estimated. Of very large ones each file shows
some stretches; of very many files some are read. It knows bytes and names, no rows.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batchscore.read import InputFile

#: Compressed text, seen as the text that it holds: about so many times its size.
INFLATION = 4

#: Formats in which any line end is the end of a row, so that reading may begin behind each of them.
LINES = (".jsonl", ".ndjson", ".txt")

#: Formats that say themselves how many rows they have; they are read by rows and not by bytes.
COLUMNAR = (".parquet", ".arrow", ".feather", ".ipc")


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be read: up to `whole_bytes` everything, above that about `sample_bytes` of all together.

    Of no file are fewer than `least_bytes` read. After `seconds` reading ends wherever it is. Of each file
    the tokens of `counted_bytes` of prompts are counted, and then of one part in sixteen.
    """

    whole_bytes: int
    sample_bytes: int
    least_bytes: int
    seconds: float | None = None
    counted_bytes: int = 256 * 2**10


#: A cut file gives no more bytes at once, so that what is taken and what rows came of it stay close.
GRAIN = 16 * 2**10

#: Of a plan: half a minute on one core. Of `--exact`. Of what a run expects: it is beginning meanwhile.
FOR_A_PLAN = Budget(512 * 2**20, 128 * 2**20, 2**20)
EVERYTHING = Budget(2**63, 0, 0)
FOR_A_RUN = Budget(4 * 2**20, 2 * 2**20, 64 * 2**10, seconds=0.2, counted_bytes=16 * 2**10)


@dataclass(frozen=True)
class CutFile(InputFile):
    """A file of which only some stretches are given, each to its last line end where `at_lines`.

    `stretches` are first and last byte, in order and apart; `given` counts the bytes that were taken.
    """

    stretches: tuple[tuple[int, int], ...] = ()
    at_lines: bool = False
    given: Counter[str] = field(default_factory=Counter)

    def open(self) -> io.RawIOBase:
        """Open the stretches as one stream of bytes."""
        return Stretches(super().open(), self.stretches, self.given, at_lines=self.at_lines)


class Stretches(io.RawIOBase):
    """Some stretches of a file as one stream; one that begins within a line begins with the next."""

    def __init__(
        self,
        raw: io.RawIOBase,
        stretches: Sequence[tuple[int, int]],
        given: Counter[str],
        *,
        at_lines: bool,
    ) -> None:
        super().__init__()
        self.raw = raw
        self.left = list(stretches)
        self.given = given
        self.at_lines = at_lines
        # A view, since what is left of a stretch is cut off again and again.
        self.held = memoryview(b"")
        self.given.clear()

    def readable(self) -> bool:
        """Say that it is there to be read."""
        return True

    def readinto(self, buffer: object) -> int:
        """Give the next bytes."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        while not self.held and self.left:
            self.held = memoryview(self.stretch(*self.left.pop(0)))
        given = self.held[: min(len(view), GRAIN)]
        view[: len(given)] = given
        self.held = self.held[len(given) :]
        self.given["bytes"] += len(given)
        return len(given)

    def stretch(self, first: int, last: int) -> bytes:
        """Read one stretch."""
        if first:
            self.raw.seek(first)
        pieces, wanted = [], last - first
        while wanted > 0 and (piece := self.raw.read(min(wanted, 2**20))):
            pieces.append(piece)
            wanted -= len(piece)
        found = b"".join(pieces)
        if self.at_lines:
            start = found.find(b"\n") + 1 if first else 0
            found = found[start : found.rfind(b"\n") + 1 or (0 if first else None)]
        return found

    def close(self) -> None:
        """Close the file below."""
        self.raw.close()
        super().close()


def weight(file: InputFile) -> int:
    """Return the bytes that reading a file costs."""
    return file.size * (INFLATION if file.compression else 1)


def shares(files: Sequence[InputFile], budget: Budget) -> list[float]:
    """Return what part of each file is to be read: 1 is all of it, 0 nothing."""
    total = sum(map(weight, files))
    if total <= budget.whole_bytes:
        return [1.0] * len(files)
    part = budget.sample_bytes / total
    wanted = [max(part, min(1.0, budget.least_bytes / (weight(file) or 1))) for file in files]
    cost = sum(share * weight(file) for share, file in zip(wanted, files, strict=True))
    # Where the least of each is too much together, every so manieth file stands for its neighbours.
    every = max(1, round(cost / (2 * budget.sample_bytes)))
    return [share if place % every == 0 else 0.0 for place, share in enumerate(wanted)]


def cut(file: InputFile, share: float) -> InputFile:
    """Return the file as it is to be read: its beginning, and where lines are rows its middle and end."""
    if file.suffix in COLUMNAR:
        return file
    wanted = file.size if share >= 1 else max(1, int(file.size * share))
    stretches: tuple[tuple[int, int], ...] = ((0, wanted),)
    at_lines = share < 1 and file.compression is None and file.suffix != ".json"
    if at_lines and file.suffix in LINES and isinstance(file.path, Path):
        third = max(1, wanted // 3)
        middle = (file.size - third) // 2
        if third < middle:
            stretches = ((0, third), (middle, middle + third), (file.size - third, file.size))
    told = {name: getattr(file, name) for name in ("path", "name", "suffix", "compression", "size")}
    return CutFile(**told, stretches=stretches, at_lines=at_lines)


def part_given(file: InputFile) -> float:
    """Return what part of a file's bytes was taken, of one that `cut` gave."""
    return file.given["bytes"] / file.size if isinstance(file, CutFile) and file.size else 1.0
