"""How does a run that has the output for itself record its results?"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from batchscore.output.ledger import (
    Ledger,
    begin_file,
    encode_part,
    publish_part,
    read_output,
    save_manifest,
)
from batchscore.output.manifest import Commit
from batchscore.output.part_files import EncodedPart
from batchscore.output.parts import FileInParts, Part, take_over_records


@dataclass(slots=True)
class SingleLedger(Ledger):
    """The ledger of a run that holds the output's lock."""

    def prepare(self, *, overwrite: bool) -> int:
        """Read the output, or discard it; return the discarded scores. Raises `OutputError`."""
        return read_output(self, self.spec, overwrite=overwrite)

    def start(self, file: str, digest: str) -> FileInParts | None:
        """Begin with an input file; `None` if nothing is left to do. Raises `OutputError` if it changed."""
        return begin_file(self, file, digest, self.parts.are_there, self.take_over)

    def take_over(self, part: Part, commit: Commit, rows: AbstractSet[int]) -> None:
        """Settle the rows whose published record is final."""
        records = self.parts.load(commit)
        take_over_records(part, commit, records, rows, retry_errors=self.spec.retry_errors)

    def encode(self, part: Part) -> EncodedPart | None:
        """Return the content of a part's files; `None` if the part is empty."""
        return encode_part(self, part)

    def publish(self, encoded: EncodedPart | None) -> None:
        """Write a part's files, then its commit record into the manifest."""
        if encoded is not None:
            publish_part(self, encoded)

    def write_manifest(self, file: str) -> None:
        """Write a file's manifest, and remove the journals of the parts that it names."""
        save_manifest(self, file)
        self.remove_published_journals(file)

    def finish(self, file: str) -> None:
        """Write a file's last manifest."""
        self.write_manifest(file)
