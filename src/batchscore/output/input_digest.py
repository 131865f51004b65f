"""Is an input what it was when its rows were scored: the file, and the images that its rows name?

The digest of an input is that of its file, with that of its images if rows may name any. It knows no ledger.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import xxhash

from batchscore.prompts.prompt import PromptBuilder
from batchscore.read.files import digest
from batchscore.read.formats import open_rows
from batchscore.read.input_file import InputFile, ReadOptions
from batchscore.rows import Row


@dataclass(frozen=True, slots=True)
class ImagesDigest:
    """The digest of the images of a file's rows, which are added in order."""

    hash: xxhash.xxh3_128 = field(default_factory=xxhash.xxh3_128)

    def add(self, images: bytes) -> None:
        """Add the digest of the images of the next row."""
        self.hash.update(images)

    def with_file(self, digest: str) -> str:
        """Return the digest of an input, given that of its file or of an earlier version of its images."""
        return f"{without_images(digest)}+{self.hash.hexdigest()}"


def without_images(digest: str) -> str:
    """Return the digest of a file alone."""
    return digest.partition("+")[0]


def images_digest(builder: PromptBuilder) -> ImagesDigest | None:
    """Return what takes the digest of the images of a file's rows; `None` if they name none."""
    images = builder.images
    return None if images is None or images.read_file is None else ImagesDigest()


def digest_of_file(file: InputFile) -> str:
    """Return the digest of a file alone, not read again if its content is kept; raises `UnreadableFile`."""
    return digest(file.path) if file.content is None else f"xxh3:{xxhash.xxh3_128_hexdigest(file.content)}"


def digest_input(
    file: InputFile, builder: PromptBuilder, options: ReadOptions, is_over: Callable[[], bool] = lambda: False
) -> str:
    """Return the digest of a file, with that of the images that its rows name now; raises `UnreadableFile`.

    It is empty if `is_over` says that it is not needed any more.
    """
    own = digest_of_file(file)
    images = images_digest(builder)
    if images is None:
        return own
    with open_rows(file, options, builder.columns) as table:
        for row in table.rows:
            if is_over():
                return ""
            if isinstance(row, Row):
                images.add(builder.digest_of_images(row))
    return images.with_file(own)
