"""What is the next step of a chunk? Tables that decide; `work.py` acts.

A creation has no idempotency key. So it is sent once, and if its reply is lost, the batch is looked for in
the list of batches before another one is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from batchscore.output.submitted import Chunk
from batchscore.provider.batch_object import FAILED, BatchState
from batchscore.provider.client import CallFailed, NotThere, Unknown

#: A batch may be listed with a time before our own clock's: seconds before the call that made it.
CLOCK_SECONDS = 600.0

#: The code of a quota of tokens in batches that have not ended, and its sign in a message.
TOKEN_LIMIT = "token_limit_exceeded"  # noqa: S105 - a code, not a secret

#: A line problem of more rows than this is a fault of every line.
SAME_PROBLEMS = 20

#: After this many refusals in about an hour, a chunk is too large by itself.
MOST_REFUSALS = 8

#: How often something is looked for that the service does not find yet.
MOST_LOOKS = 5


class Move(Enum):
    """What to do next."""

    ADOPT = "adopt"  # a batch of this chunk exists
    LOOK_AGAIN = "look_again"
    CREATE = "create"
    WAIT_FOR_QUOTA = "wait_for_quota"
    WAIT_FOR_FILE = "wait_for_file"
    READ_RESULTS = "read_results"
    HALVE = "halve"  # the service refuses the chunk for its tokens again and again
    DROP_LINES = "drop_lines"  # the service refuses the file for some of its lines
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Decision:
    """A move. `batch` is adopted. `lines` are problems by their line."""

    move: Move
    batch: BatchState | None = None
    seconds: float = 0.0
    code: str = ""
    lines: Mapping[int, str] = field(default_factory=dict)


def after_looking(chunk: Chunk, found: Iterable[BatchState], waits: Sequence[float]) -> Decision:
    """Return the move after the list of batches was read; `waits` are left until it is read again."""
    ours = own_batches(chunk, found)
    if ours:
        return Decision(Move.ADOPT, ours[0])
    if waits:
        return Decision(Move.LOOK_AGAIN, seconds=waits[0])
    return Decision(Move.CREATE)


def own_batches(chunk: Chunk, found: Iterable[BatchState]) -> Sequence[BatchState]:
    """Return the batches of a chunk, oldest first: by its file, which is always listed, or by its key."""
    ours = [
        each
        for each in found
        if each.id not in chunk.refused
        and (
            (chunk.input_file and each.input_file == chunk.input_file)
            or each.metadata.get("chunk") == chunk.key
        )
    ]
    return sorted(ours, key=lambda each: (each.created or 0.0, each.id))


def after_failure(failure: CallFailed, tries: int) -> Decision:
    """Return the move after a creation failed; it has failed `tries` times for want of its file."""
    # A service's code counts; one that gives none names the limit in its message (Azure).
    if not isinstance(failure, Unknown) and (failure.code == TOKEN_LIMIT or TOKEN_LIMIT in failure.words):
        return Decision(Move.WAIT_FOR_QUOTA, code=TOKEN_LIMIT)
    if isinstance(failure, Unknown):
        return Decision(Move.LOOK_AGAIN)
    if isinstance(failure, NotThere) and tries < MOST_LOOKS:
        return Decision(Move.WAIT_FOR_FILE)
    return Decision(Move.STOP, code=failure.code or str(failure.status))


def after_end(batch: BatchState, rows: int) -> Decision:
    """Return the move after a batch of this many rows has ended."""
    if batch.status != FAILED:
        return Decision(Move.READ_RESULTS)
    if any(problem.code == TOKEN_LIMIT for problem in batch.problems):
        return Decision(Move.WAIT_FOR_QUOTA, code=TOKEN_LIMIT)
    # The probe is the line after the rows: what is wrong with it is wrong with all.
    lines = {
        problem.line - 1: problem.code
        for problem in batch.problems
        if problem.line is not None and 0 < problem.line <= rows
    }
    codes = [*lines.values()]
    same = max(map(codes.count, set(codes)), default=0)
    if lines and len(lines) == len(batch.problems) and same < min(rows, SAME_PROBLEMS):
        return Decision(Move.DROP_LINES, lines=lines)
    if batch.problems:
        return Decision(Move.STOP, code=batch.problems[0].code)
    return Decision(Move.READ_RESULTS)
