"""How does a run that has the output for itself record its results?"""

from __future__ import annotations

from dataclasses import dataclass

from batchscore.output.ledger import Ledger, begin_file, encode_part, publish_part, save_manifest, settle_from
from batchscore.output.part_files import EncodedPart
from batchscore.output.parts import FileInParts, Part


@dataclass(slots=True)
class SingleLedger(Ledger):
    """The ledger of a run that holds the output's lock."""

    def start(self, file: str, digest: str) -> FileInParts | None:
        """Begin with an input file; `None` if nothing is left to do. Raises `OutputError` if it changed."""
        return begin_file(self, file, digest, self.parts.are_there, settle_from(self, self.parts.load))

    def encode(self, part: Part) -> EncodedPart | None:
        """Return the content of a part's files; `None` if the part is empty."""
        return encode_part(self, part)

    def publish(self, encoded: EncodedPart | None) -> None:
        """Write a part's files, then its commit record into the manifest."""
        publish_part(self, encoded)

    def write_manifest(self, file: str) -> None:
        """Write a file's manifest, and remove the journals of the parts that it names."""
        save_manifest(self, file)

    def finish(self, file: str) -> None:
        """Write a file's last manifest."""
        self.write_manifest(file)
