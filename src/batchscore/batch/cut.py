"""Where does one chunk end and the next begin, and how many are there?

A chunk is cut by the first limit that its next row would exceed. It knows sizes, not rows or calls.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import ceil, inf

from batchscore.errors import ErrorCode
from batchscore.provider.traits import Traits
from batchscore.rows import RowError
from batchscore.settings.fields import Settings
from batchscore.settings.slices import BatchSettings
from batchscore.task import Task

#: Bytes of results in one file: services close the connection of larger downloads (openai-python 2959, seen
#: 2026-11).
MOST_OUTPUT_BYTES = 100_000_000


#: Part of the token budget that one chunk may use, so that several run at once.
PART_OF_BUDGET = 4

#: Predicted bytes of an answer: around it, of a vector of unknown length, and of a text without a limit.
AROUND_BYTES, VECTOR_BYTES, TEXT_BYTES = 1500, 16_400, 4000

#: Bytes of a line besides the prompt and the parameters.
LINE_BYTES = 150

#: Rows of the first chunk of an output, which shows whether the service takes such requests.
CANARY_ROWS = 20


def predicted_bytes(settings: BatchSettings | Settings, task: Task) -> int:
    """Return about how many bytes of results a row has."""
    if task.answer == "vector":
        length = settings.api_params.get("dimensions")
        return AROUND_BYTES + (length * 16 // 3 if isinstance(length, int) else VECTOR_BYTES)
    tokens = settings.answer_tokens
    text = TEXT_BYTES if tokens is None else min(TEXT_BYTES, round(tokens * 8))
    return AROUND_BYTES + text * settings.answers_per_row


@dataclass(slots=True)
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


def is_full(chunk: Size, row: Size, limits: Size) -> bool:
    """Whether a row belongs into the next chunk. A row that is only predicted to be too large goes alone."""
    return chunk.lines > 0 and (  # without a sum of both, for it is asked for each row
        chunk.lines + row.lines > limits.lines
        or chunk.bytes + row.bytes > limits.bytes
        or chunk.tokens + row.tokens > limits.tokens
        or chunk.inputs + row.inputs > limits.inputs
        or chunk.output_bytes + row.output_bytes > limits.output_bytes
    )


def too_large(row: Size, limits: Size) -> RowError | None:
    """Return the error of a row that no file can hold."""
    if row.bytes <= limits.bytes:
        return None
    text = f"The row has {row.bytes:,} bytes, and a file of batch requests at most {limits.bytes:,}."
    return RowError(ErrorCode.INPUT_TOO_LONG, text)


def limits_of(traits: Traits, batch_tokens: int | None) -> Size:
    """Return the limits of one chunk; `batch_tokens` may be in all chunks at once."""
    tokens = inf if batch_tokens is None else batch_tokens / PART_OF_BUDGET
    return Size(traits.most_lines, traits.most_bytes, tokens, traits.most_inputs, MOST_OUTPUT_BYTES)


def chunks_of(rows: Size, limits: Size) -> int:
    """Return about how many chunks rows of this total size fill."""
    parts = [getattr(rows, each.name) / getattr(limits, each.name) for each in fields(rows)]
    return ceil(max(parts)) if rows.lines else 0
