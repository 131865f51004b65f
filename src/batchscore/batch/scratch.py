"""Where are the prompts of rows whose answers will come in any order, hours later?

In files of this machine that one process uses and that may be lost: the input has it all. Memory: 12 bytes
a row. It knows no services.
"""

from __future__ import annotations

import os
import pickle
import shutil
from array import array
from dataclasses import dataclass, field, fields
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, cast

from batchscore.prompts.kept_cells import unpacked
from batchscore.rows import Prompt

#: The values of a prompt's fields, in their order.
VALUES = attrgetter(*(each.name for each in fields(Prompt)))

#: What is not there.
NOTHING = 2**64 - 1

#: Bytes of prompts that are read at once.
MOST_WHOLE = 32 * 2**20


@dataclass(slots=True)
class PromptFile:
    """Prompts by index in a file of our own, which has a second handle without a buffer for reading.

    `prompts` counts them.
    """

    file: BinaryIO
    reader: BinaryIO
    starts: array[int] = field(default_factory=lambda: array("Q"))
    lengths: array[int] = field(default_factory=lambda: array("I"))
    size: int = 0
    whole: bytes | None = None
    prompts: int = 0

    def put(self, index: int, prompt: Prompt) -> None:
        """Store a prompt."""
        # A mapping proxy has no pickle.
        values = [unpacked(each) if each is prompt.kept else each for each in VALUES(prompt)]
        data = pickle.dumps(values, pickle.HIGHEST_PROTOCOL)
        missing = index + 1 - len(self.starts)
        if missing > 0:
            self.starts.extend([NOTHING] * missing)
            self.lengths.extend([0] * missing)
        self.starts[index], self.lengths[index] = self.size, len(data)
        self.file.write(data)
        self.size += len(data)
        self.prompts += 1
        self.whole = None

    def get(self, index: int) -> Prompt | None:
        """Return a prompt; `None` if there is none of this index."""
        if not 0 <= index < len(self.starts) or self.starts[index] == NOTHING:
            return None
        start, length = self.starts[index], self.lengths[index]
        if self.whole is None:
            self.file.flush()
            # One read for all of them costs a tenth of one for each.
            self.whole = os.pread(self.reader.fileno(), self.size, 0) if self.size <= MOST_WHOLE else b""
        data = self.whole[start : start + length] or os.pread(self.reader.fileno(), length, start)
        return Prompt(*pickle.loads(data))  # noqa: S301 - this process wrote it


@dataclass(slots=True)
class Scratch:
    """The folder of one run, with the files that it has open there."""

    folder: Path
    open: list[BinaryIO] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make the folder empty: remove what a killed run left in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, mode=0o700)

    def prompts(self, key: str) -> PromptFile:
        """Return a new file for the prompts of a chunk."""
        file = self.create(f"{key}.prompts")
        reader = cast("BinaryIO", Path(file.name).open("rb", buffering=0))  # noqa: SIM115 - `close` does
        self.open.append(reader)
        return PromptFile(file, reader)

    def create(self, name: str) -> BinaryIO:
        """Create a file, which `close` closes at the latest."""
        file = (self.folder / name).open("wb", buffering=2**18)
        self.open.append(file)
        return file

    def remove(self, prompts: PromptFile) -> None:
        """Close and remove the prompts of a chunk."""
        for file in (prompts.file, prompts.reader):
            file.close()
            self.open.remove(file)
        Path(prompts.file.name).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove all of it."""
        for file in self.open:
            file.close()
        shutil.rmtree(self.folder, ignore_errors=True)
