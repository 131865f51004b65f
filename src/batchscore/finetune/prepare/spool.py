"""Where do examples wait until it is known which part they belong to? In a file without a name, in order."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.stores.errors import explain_errors


@dataclass(frozen=True, slots=True)
class ExampleSpool:
    """A file that is written once and then read once; a failure names its `folder`."""

    file: IO[bytes]
    folder: Place

    def write(self, line: bytes) -> None:
        """Append a line; raises `OutputError`."""
        try:
            self.file.write(line)
        except OSError:
            with explain_errors(self.folder, "write to"):
                raise

    def rewind(self) -> None:
        """Go to the first line; raises `OutputError`."""
        with explain_errors(self.folder, "write to"):
            self.file.seek(0)

    def read(self, size: int) -> bytes:
        """Return the next line, whose size is known."""
        return self.file.read(size)


@contextmanager
def open_spool() -> Iterator[ExampleSpool]:
    """Give an empty spool in the folder for temporary files; raises `OutputError`."""
    folder = storage.temporary_folder()
    with explain_errors(folder, "write to"):
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed below
    try:
        yield ExampleSpool(file, folder)
    finally:
        file.close()
