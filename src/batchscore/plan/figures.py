"""What is known of a run before it starts? The figures of one file, and of all files together.

It holds numbers and names, and does not know how they were found.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class FileFigures:
    """One file's figures; it has many fields, since each is one count of what was read.

    If not all of the file was read, multiply each count by `scale`. `read` is the share that was read (0:
    estimated from other files). Of the `rows` read, `known` have records from earlier runs. The others send
    `prompts` texts of `prompt_bytes` of JSON; `counted_bytes` of these have `counted_tokens`. These rows send
    nothing: `empty`, `unreadable`, `row_too_large` to be read, `input_too_long` for the model, `above_quota`
    of a minute. `rows_in_footer` is the count in a Parquet or Arrow file's footer. `record_bytes` are those
    of ids and columns in records. `problem`: why the file cannot be scored completely. Images of
    `with_images` rows have `image_tokens` by the published rules; `with_pictures` rows have some whose tokens
    are not counted.
    """

    file: str
    read: float = 1.0
    scale: float = 1.0
    rows: int = 0
    rows_in_footer: int | None = None
    known: float = 0.0
    prompts: float = 0.0
    prompt_bytes: float = 0.0
    counted_bytes: int = 0
    counted_tokens: float = 0.0
    with_pictures: int = 0
    with_images: int = 0
    image_tokens: float = 0.0
    truncated: int = 0
    empty: int = 0
    unreadable: int = 0
    row_too_large: int = 0
    input_too_long: int = 0
    above_quota: int = 0
    record_bytes: int = 0
    problem: str = ""

    @property
    def all_rows(self) -> int:
        """The rows of the whole file: counted, from its footer, or estimated from what was read."""
        return self.rows_in_footer if self.rows_in_footer is not None else round(self.rows * self.scale)

    @property
    def exact(self) -> bool:
        """Whether `all_rows` is not an estimate."""
        return self.read >= 1 or self.rows_in_footer is not None

    @property
    def oversized(self) -> int:
        """Rows that are too large to be read, too long for the model, or above a minute's quota."""
        return self.row_too_large + self.input_too_long + self.above_quota

    def total(self, name: str) -> int:
        """Return a count of the whole file."""
        count: float = getattr(self, name)
        return round(count * self.scale)

    @property
    def tokens(self) -> float:
        """The tokens of the prompts that are left to send."""
        images = self.image_tokens * self.scale
        if not self.counted_bytes:
            return images
        return images + self.counted_tokens / self.counted_bytes * self.prompt_bytes * self.scale


@dataclass(slots=True)
class PlanTotals:
    """The figures of all files, and the `requests` that hold the `packed` of the `taken` prompts.

    Fewer prompts are packed than taken if duplicates are sent once; their bytes are `packed_bytes` and
    `taken_bytes`. `middle` of these prompts are in requests other than the first and the last, whose size is
    not typical. `limited`: the input has more rows than `--limit`.
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
        """Whether `rows` is not an estimate."""
        return all(file.exact for file in self.files)

    @property
    def sampled(self) -> bool:
        """Whether any file was not read as a whole."""
        return any(file.read < 1 for file in self.files)

    @property
    def known(self) -> int:
        """Rows that have records from earlier runs."""
        return round(sum(file.known * file.scale for file in self.files))

    @property
    def carried_bytes(self) -> float:
        """Bytes of file names, ids and kept columns in the records of all prompts."""
        return sum((len(file.file) * file.prompts + file.record_bytes) * file.scale for file in self.files)

    @property
    def tokens(self) -> int:
        """Tokens of the prompts that are left, of duplicates as often as they are sent."""
        once = self.packed_bytes / self.taken_bytes if self.taken_bytes else 1.0
        return round(sum(file.tokens for file in self.files) * once)

    @property
    def sent(self) -> float:
        """Prompts that are sent: those that are left, without duplicates."""
        return self.prompts * (self.packed / self.taken if self.taken else 1.0)

    @property
    def prompts(self) -> int:
        """Rows that are left to score."""
        return round(sum(file.prompts * file.scale for file in self.files))

    @property
    def all_requests(self) -> int:
        """The requests of all files; beyond the packed prompts estimated by how full a request usually is."""
        if not self.packed or self.prompts <= self.taken:
            return self.requests
        usual = self.middle / (self.requests - 2) if self.requests > 2 else self.packed / self.requests
        return max(self.requests, round(self.sent / usual))
