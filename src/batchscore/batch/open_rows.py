"""Is a row at the service already, and in which chunk? Memory: about 30 bytes a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from batchscore.batch.custom_id import DIGEST_BYTES


@dataclass(frozen=True, slots=True)
class OpenRows:
    """The rows of chunks, sorted by the first half of their digests."""

    firsts: np.ndarray[Any, Any]
    digests: np.ndarray[Any, Any]
    owners: np.ndarray[Any, Any]
    indexes: np.ndarray[Any, Any]

    @classmethod
    def of(cls, chunks: Sequence[bytes]) -> OpenRows:
        """Return the rows of chunks, each given by the digests of its rows, oldest chunk first."""
        every = np.frombuffer(b"".join(chunks), np.uint8).reshape(-1, DIGEST_BYTES)
        counts = [len(each) // DIGEST_BYTES for each in chunks]
        owners = np.repeat(np.arange(len(chunks), dtype=np.uint32), counts)
        indexes = np.concatenate([np.empty(0, np.uint32), *[np.arange(n, dtype=np.uint32) for n in counts]])
        firsts = np.ascontiguousarray(every[:, :8]).view(">u8").reshape(-1).astype(np.uint64)
        # Stable, so that of equal rows the last chunk's comes last.
        order = np.argsort(firsts, kind="stable")
        return cls(firsts[order], every[order], owners[order], indexes[order])

    def find(self, digest: bytes) -> tuple[int, int] | None:
        """Return the number of the last chunk that has a row, and its index there. O(log rows)."""
        if not len(self.firsts):
            return None
        first = np.uint64(int.from_bytes(digest[:8], "big"))
        at = int(np.searchsorted(self.firsts, first, side="right")) - 1
        while at >= 0 and self.firsts[at] == first:
            if self.digests[at].tobytes() == digest:
                return int(self.owners[at]), int(self.indexes[at])
            at -= 1
        return None
