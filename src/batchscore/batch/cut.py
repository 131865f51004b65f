"""Where does one chunk end and the next begin?

A chunk is cut by the first limit that its next row would exceed. It knows sizes, not rows or services.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from batchscore.errors import ErrorCode
from batchscore.rows import RowError

#: Bytes of results in one file: services close the connection of larger downloads (openai-python 2959, seen
#: 2026-11).
MOST_OUTPUT_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a row's line, of a chunk, or the limits of one. `inputs` are the texts of embeddings."""

    lines: int = 0
    bytes: int = 0
    tokens: float = 0.0
    inputs: int = 0
    output_bytes: int = 0

    def __add__(self, other: Size) -> Size:
        """Return the size of both."""
        return Size(
            self.lines + other.lines,
            self.bytes + other.bytes,
            self.tokens + other.tokens,
            self.inputs + other.inputs,
            self.output_bytes + other.output_bytes,
        )

    def exceeds(self, limits: Size) -> str:
        """Return the name of the first limit that this size exceeds, "" if it fits."""
        if (  # in one expression, for it is asked for each row
            self.lines <= limits.lines
            and self.bytes <= limits.bytes
            and self.tokens <= limits.tokens
            and self.inputs <= limits.inputs
            and self.output_bytes <= limits.output_bytes
        ):
            return ""
        return next(
            each.name for each in fields(self) if getattr(self, each.name) > getattr(limits, each.name)
        )


def is_full(chunk: Size, row: Size, limits: Size) -> bool:
    """Whether a row belongs into the next chunk. A row that is only predicted to be too large goes alone."""
    return chunk.lines > 0 and bool((chunk + row).exceeds(limits))


def too_large(row: Size, limits: Size) -> RowError | None:
    """Return the error of a row that no file can hold."""
    if row.bytes <= limits.bytes:
        return None
    text = f"The row has {row.bytes:,} bytes, and a file of batch requests at most {limits.bytes:,}."
    return RowError(ErrorCode.INPUT_TOO_LONG, text)
