"""How is a file ended: its last parts and its last manifest are written, and what failed is kept?

It knows no other file and no event loop.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from batchscore.output.ledger import Ledger
from batchscore.output.manifest import Manifest
from batchscore.output.part_files import EncodedPart
from batchscore.output.parts import FileInParts, Part


@dataclass(slots=True)
class EndingFile:
    """A file whose last parts and manifest are written.

    `unscored` are rows that the manifest does not hold. New scores that no part holds are `in_journal` or
    `not_saved`. `encode` and `write` may run in a thread; what fails is the `failure`.
    """

    ledger: Ledger
    manifest: Manifest
    progress: FileInParts
    parts: list[Part]
    encoded: dict[int, EncodedPart | None] = field(default_factory=dict)
    unscored: int = 0
    in_journal: int = 0
    not_saved: int = 0
    failure: Exception | None = None

    @property
    def memory(self) -> int:
        """The approximate bytes of memory that the rows of its parts take, also those that are recalled."""
        return sum(part.held_bytes + part.spilled_bytes for part in self.parts)

    def encode(self) -> None:
        """Encode the parts; one that fails is tried again by `write`."""
        with suppress(Exception):
            for part in self.parts:
                self.encoded[part.number] = self.ledger.encode(part)

    def write(self) -> None:
        """Write the parts and the last manifest; a part that is written leaves memory."""
        manifest, ledger = self.manifest, self.ledger
        for part in self.parts:
            # Twice: a disk may refuse for a moment, and a file that was replaced in place is lost by then.
            if self.publish(part) or self.publish(part):
                part.spill()
            else:
                with suppress(Exception):
                    saved, lost = ledger.scores_in_journal(part)
                    self.in_journal, self.not_saved = self.in_journal + saved, self.not_saved + lost
            if part.number not in manifest.parts:  # none of its rows is settled, or it cannot be written
                self.unscored += part.read
        complete = self.progress.ended and not self.progress.waiting and self.failure is None
        manifest.state = "unreadable" if manifest.problem else "complete" if complete else "partial"
        try:
            ledger.finish(manifest.file)
        except Exception as error:
            self.failure, manifest.state = self.failure or error, "partial"

    def publish(self, part: Part) -> bool:
        """Write a part; return whether that worked."""
        known = part.number in self.encoded
        try:
            self.ledger.publish(self.encoded.pop(part.number) if known else self.ledger.encode(part))
        except Exception as error:
            self.failure = self.failure or error
            return False
        return True
