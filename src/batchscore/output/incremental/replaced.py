"""Which files must be replaced, whatever their old version holds?

Those that an overwriting run has found, until each has its new version. A small file keeps them, so that a
later run of the same settings continues with them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson

from batchscore.output.spec import OutputSpec
from batchscore.stores import storage
from batchscore.stores.address import Place


@dataclass(slots=True)
class ReplacedFiles:
    """The names of `files` to replace, kept beside the next versions of an output."""

    spec: OutputSpec
    files: set[str] = field(default_factory=set)

    @property
    def path(self) -> Place:
        """The file that keeps the names."""
        return self.spec.layout.root / "replaced.json"

    def read(self, present: Iterable[str]) -> None:
        """Read the names of files that are present in the output, if they were written by equal settings."""
        if storage.exists(self.path):
            kept = orjson.loads(b"".join(storage.chunks(self.path)))
            if kept["fingerprint"] == self.spec.fingerprint:
                self.files = set(kept["files"]) & set(present)

    def write(self) -> None:
        """Write the names; without names there is no file."""
        if not self.files:
            storage.remove(self.path)
            return
        kept = {"fingerprint": self.spec.fingerprint, "files": sorted(self.files)}
        storage.write_whole(self.path, orjson.dumps(kept))

    def discard(self, file: str) -> None:
        """Note that a file has been replaced or dropped."""
        if file in self.files:
            self.files.discard(file)
            self.write()
