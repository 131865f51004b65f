"""Are the files of a published part as its commit record says, and which records do they hold?

It reads nothing but these files and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from batchscore.errors import OutputError
from batchscore.output.layout import Layout
from batchscore.output.manifest import Commit, PartFile
from batchscore.output.records.formats import format_of
from batchscore.output.records.infer_schema import schema_of
from batchscore.output.records.schema import RecordSchema
from batchscore.rows import Settled
from batchscore.stores import storage
from batchscore.stores.address import Place


def damage_of(path: Place, part: PartFile) -> str | None:
    """Return how a part's file differs from its commit record; raises `OutputError` if it cannot be read."""
    if part.name != path.name:
        return f"is not the file that its manifest names: {part.name}"
    try:
        size = path.stat().st_size if isinstance(path, Path) else storage.size_of(path)
    except FileNotFoundError:
        size = None
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {error.strerror}.") from None
    if size is None:
        return "is missing"
    if size != part.bytes:
        return f"has {size:,} bytes instead of {part.bytes:,}"
    return None if storage.digest_file(path) == part.digest else "was changed: its digest is not the same"


def intact(layout: Layout, commit: Commit) -> bool:
    """Whether a part's files are as its commit record says, to the byte, and it has no other file."""
    named = commit.scores or commit.error_records
    if named is None:
        return True
    try:
        return all(
            not storage.exists(folder / named.name)
            if part is None
            else damage_of(folder / part.name, part) is None
            for folder, part in ((layout.scores, commit.scores), (layout.errors, commit.error_records))
        )
    except OutputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return False  # removed between two calls
        raise


def read_part(
    layout: Layout, commit: Commit, schema: RecordSchema | None = None, *, skip_damaged: bool = False
) -> Iterator[Iterator[Settled]]:
    """Yield the records of a part's error file, then those of its score file, each in the file's order.

    Without a `schema` each file's first record shows it. Raises `BatchscoreError` if a file cannot be read.
    """
    if commit.error_records is not None:
        path = layout.errors / commit.error_records.name
        if not (skip_damaged and damage_of(path, commit.error_records)):
            yield format_of(path).decode_errors(path, schema or schema_of(path, layout.task, errors=True))
    if commit.scores is not None:
        path = layout.scores / commit.scores.name
        if not (skip_damaged and damage_of(path, commit.scores)):
            yield format_of(path).decode_scores(path, schema or schema_of(path, layout.task))
