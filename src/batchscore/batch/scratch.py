"""Where are the prompts of rows whose answers will come in any order, hours later?

In files of this machine that one process uses and that may be lost: the input has it all. Memory: eight bytes
a row. It knows no services.
"""

from __future__ import annotations

import pickle
import shutil
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from batchscore.rows import Prompt

#: What is not there.
NOTHING = 2**64 - 1


@dataclass(slots=True)
class PromptFile:
    """Prompts by index in a file of our own. `prompts` counts them."""

    file: BinaryIO
    starts: array[int] = field(default_factory=lambda: array("Q"))
    size: int = 0
    prompts: int = 0

    def put(self, index: int, prompt: Prompt) -> None:
        """Store a prompt."""
        data = pickle.dumps(
            (
                prompt.file,
                prompt.row,
                prompt.body,
                prompt.id,
                dict(prompt.kept),  # a mapping proxy has no pickle
                prompt.truncated,
                prompt.image_bytes,
                prompt.image_tokens,
            ),
            pickle.HIGHEST_PROTOCOL,
        )
        starts = self.starts
        if index == len(starts):
            starts.append(self.size)
        else:
            starts.extend([NOTHING] * (index + 1 - len(starts)))
            starts[index] = self.size
        self.file.write(data)
        self.size += len(data)
        self.prompts += 1

    def get(self, index: int) -> Prompt | None:
        """Return a prompt; `None` if there is none of this index."""
        if not 0 <= index < len(self.starts) or self.starts[index] == NOTHING:
            return None
        self.file.seek(self.starts[index])
        return Prompt(*pickle.load(self.file))  # noqa: S301 - this process wrote it


@dataclass(slots=True)
class Scratch:
    """The folder of one run, with the files that it has open there."""

    folder: Path
    open: list[BinaryIO] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make the folder anew: what a killed run left in it is removed."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, mode=0o700)

    def prompts(self, key: str) -> PromptFile:
        """Return a new file for the prompts of a chunk."""
        return PromptFile(self.create(f"{key}.prompts", "w+b"))

    def create(self, name: str, mode: str = "wb") -> BinaryIO:
        """Create a file, to be closed by `remove` at the latest."""
        file = cast("BinaryIO", (self.folder / name).open(mode, buffering=2**18))
        self.open.append(file)
        return file

    def remove(self, file: BinaryIO) -> None:
        """Close and remove a file."""
        file.close()
        self.open.remove(file)
        Path(file.name).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove all of it."""
        for file in self.open:
            file.close()
        shutil.rmtree(self.folder, ignore_errors=True)
