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
from typing import BinaryIO

from batchscore.rows import Prompt

#: What is not there.
NOTHING = 2**64 - 1


def new_scratch(folder: Path) -> Path:
    """Return an empty folder for this run; what a killed run left in it is removed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    return folder


def remove_scratch(folder: Path) -> None:
    """Remove the folder of this run."""
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(slots=True)
class PromptFile:
    """Prompts by index in a file of our own. `prompts` counts them."""

    path: Path
    file: BinaryIO = field(init=False)
    starts: array[int] = field(default_factory=lambda: array("Q"))
    size: int = 0
    prompts: int = 0

    def __post_init__(self) -> None:
        """Create the file."""
        self.file = self.path.open("w+b")

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

    def close(self) -> None:
        """Remove the file."""
        self.file.close()
        self.path.unlink(missing_ok=True)
