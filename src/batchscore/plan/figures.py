"""What is known of a run before it: the figures of one file, and of all of them together.

They hold numbers and names; how they came about is the other modules' business.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from batchscore.errors import ErrorCode

#: Codes under which rows are told apart; all others count as unreadable.
APART = (ErrorCode.EMPTY_INPUT, ErrorCode.ROW_TOO_LARGE)


@dataclass(slots=True)
class FileFigures:
    """One file: counts of what was read of it, each to be multiplied by `scale` where that was not all.

    `read` is the part of the file that was read (1: all, 0: others stand for it). `rows` were met, `known` of
    them have their records from earlier runs. Those that are left ask `prompts` texts of `prompt_bytes` of
    JSON, of which `counted_bytes` were looked at and have `counted_tokens`. `errors` counts rows that ask
    nothing by code; `input_too_long` is above the model's input, `above_quota` above a minute's tokens. `rows_told`
    is what a Parquet or Arrow file says of itself. `record_bytes` are those of ids and columns that records
    carry. `problem`: why it cannot be scored, or not to its end.
    """

    file: str
    read: float = 1.0
    scale: float = 1.0
    rows: int = 0
    rows_told: int | None = None
    known: float = 0.0
    prompts: float = 0.0
    prompt_bytes: float = 0.0
    counted_bytes: int = 0
    counted_tokens: float = 0.0
    with_pictures: int = 0
    truncated: int = 0
    input_too_long: int = 0
    above_quota: int = 0
    record_bytes: int = 0
    problem: str = ""
    errors: Counter[ErrorCode] = field(default_factory=Counter)

    @property
    def all_rows(self) -> int:
        """The rows of the whole file: counted, told by the file, or estimated by what was read."""
        return self.rows_told if self.rows_told is not None else round(self.rows * self.scale)

    @property
    def exact(self) -> bool:
        """Whether `all_rows` is no estimate."""
        return self.read >= 1 or self.rows_told is not None

    @property
    def empty(self) -> int:
        """Rows that have nothing to ask."""
        return round(self.errors[ErrorCode.EMPTY_INPUT] * self.scale)

    @property
    def row_too_large(self) -> int:
        """Rows that are too large to be read."""
        return self.errors[ErrorCode.ROW_TOO_LARGE]

    @property
    def oversized(self) -> int:
        """Rows that are too large to be read, too long for the model, or above a minute's quota."""
        return round((self.row_too_large + self.input_too_long + self.above_quota) * self.scale)

    @property
    def unreadable(self) -> int:
        """Rows that cannot be read, or asked."""
        return round(sum(count for code, count in self.errors.items() if code not in APART) * self.scale)

    @property
    def tokens(self) -> float:
        """The tokens of the prompts that are left to ask."""
        if not self.counted_bytes:
            return 0.0
        return self.counted_tokens / self.counted_bytes * self.prompt_bytes * self.scale


@dataclass(slots=True)
class Found:
    """All files, and the `requests` that hold the `packed` prompts, of the `taken` ones of what was read.

    Fewer are packed where equal ones are asked once; their bytes are `packed_bytes` and `taken_bytes`.
    `middle` of these prompts are in other requests than the first and the last, which tell little. `limited`:
    there is more than `--limit` takes.
    """

    files: list[FileFigures] = field(default_factory=list)
    requests: int = 0
    taken: int = 0
    taken_bytes: int = 0
    packed: int = 0
    packed_bytes: int = 0
    middle: int = 0
    limited: bool = False

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.all_rows for file in self.files)

    @property
    def exact(self) -> bool:
        """Whether `rows` is no estimate."""
        return all(file.exact for file in self.files)

    @property
    def sampled(self) -> bool:
        """Whether a file was not read as a whole."""
        return any(file.read < 1 for file in self.files)

    @property
    def counted_in_part(self) -> bool:
        """Whether of some file's prompts only some were counted."""
        return any(file.counted_bytes < file.prompt_bytes for file in self.files)

    @property
    def known(self) -> int:
        """Rows that have their records from earlier runs."""
        return round(sum(file.known * file.scale for file in self.files))

    @property
    def tokens(self) -> int:
        """Tokens of the prompts that are left to ask, of equal ones as often as they are asked."""
        once = self.packed_bytes / self.taken_bytes if self.taken_bytes else 1.0
        return round(sum(file.tokens for file in self.files) * once)

    @property
    def asked(self) -> float:
        """Prompts that are asked: those that are left, less those that equal another."""
        return self.prompts * (self.packed / self.taken if self.taken else 1.0)

    @property
    def prompts(self) -> int:
        """Rows that are left to ask."""
        return round(sum(file.prompts * file.scale for file in self.files))

    @property
    def all_requests(self) -> int:
        """The requests of all files; of more prompts than were packed by how full a request usually is."""
        if not self.packed or self.prompts <= self.taken:
            return self.requests
        usual = self.middle / (self.requests - 2) if self.requests > 2 else self.packed / self.requests
        return max(self.requests, round(self.asked / usual))
